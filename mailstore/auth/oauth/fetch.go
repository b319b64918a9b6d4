package oauth

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"pillarbox/mailstore/durable"
	"pillarbox/mailstore/foreign"
)

// fetch asks the token server for a new token.
func (s *source) fetch(ctx context.Context) (Token, error) {
	var secret, refresh string
	var err error
	if s.cfg.SecretFile != "" {
		if secret, err = durable.ReadSecretLine(s.cfg.SecretFile); err != nil {
			return Token{}, &Error{"the client's secret for OAuth is not available", err.Error()}
		}
	}
	if s.cfg.TokenFile != "" {
		if refresh, err = s.refreshToken(); err != nil {
			return Token{}, &Error{"the refresh token is not available", err.Error()}
		}
	}
	ctx = context.WithValue(ctx, oauth2.HTTPClient, s.tokens.client)
	started := time.Now()
	got, err := s.request(ctx, secret, refresh)
	if err != nil {
		return Token{}, s.explain(err, foreign.NewMask(secret, refresh))
	}
	if err := s.check(got); err != nil {
		return Token{}, err
	}
	if got.RefreshToken != "" && refresh != "" && got.RefreshToken != refresh {
		s.keepRefreshToken(got.RefreshToken)
	}
	expires := got.Expiry
	if expires.IsZero() {
		expires = started.Add(defaultLife)
	}
	return Token{Value: got.AccessToken, Expires: expires}, nil
}

func (s *source) request(ctx context.Context, secret, refresh string) (*oauth2.Token, error) {
	if refresh == "" {
		cfg := clientcredentials.Config{
			ClientID: s.cfg.ClientID, ClientSecret: secret, TokenURL: s.cfg.TokenURL,
			Scopes: strings.Fields(s.cfg.Scope), AuthStyle: oauth2.AuthStyleInParams,
		}
		return cfg.Token(ctx)
	}
	cfg := oauth2.Config{
		ClientID: s.cfg.ClientID, ClientSecret: secret,
		Endpoint: oauth2.Endpoint{TokenURL: s.cfg.TokenURL, AuthStyle: oauth2.AuthStyleInParams},
	}
	return cfg.TokenSource(ctx, &oauth2.Token{RefreshToken: refresh}).Token()
}

// check refuses a token that no mail server would take.
func (s *source) check(got *oauth2.Token) error {
	bad := strings.ContainsFunc(got.AccessToken, func(r rune) bool { return r <= ' ' || r > '~' })
	switch {
	case len(got.AccessToken) > maxToken:
		return s.errorf("sent a token of %d octets; at most %d are taken", len(got.AccessToken),
			maxToken)
	case bad:
		return s.errorf("sent a token with characters that no token has")
	case !strings.EqualFold(got.Type(), "bearer"):
		return s.errorf("sent a token of the type %q; mail servers take Bearer", got.Type())
	case !got.Expiry.IsZero() && !got.Expiry.After(time.Now()):
		return s.errorf("sent a token that has expired")
	}
	return nil
}

func (s *source) errorf(format string, args ...any) *Error {
	text := "the token server " + s.host() + " " + fmt.Sprintf(format, args...)
	return &Error{Text: foreign.Printable(text, maxText)}
}

func (s *source) host() string {
	u, err := url.Parse(s.cfg.TokenURL)
	if err != nil {
		return "?"
	}
	return u.Host
}

// explain says in words why a request failed. mask hides the secrets that were sent.
func (s *source) explain(err error, mask foreign.Mask) error {
	refused, ok := errors.AsType[*oauth2.RetrieveError](err)
	var e *Error
	switch {
	case !ok:
		e = s.explainConnection(err)
	case refused.ErrorCode != "":
		text := refused.ErrorCode
		if first, _, _ := strings.Cut(refused.ErrorDescription, "\n"); first != "" {
			text += ": " + strings.TrimSpace(first)
		}
		e = s.errorf("refuses the request: %s", mask.Hide(text))
		e.Hint = s.hint(refused.ErrorCode)
	default:
		e = s.errorf("answered %s", mask.Hide(refused.Response.Status))
		e.Hint = "check oauth_token_url"
	}
	e.Text = foreign.Printable(mask.Hide(e.Text), maxText)
	return e
}

func (s *source) explainConnection(err error) *Error {
	var timeout net.Error
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	cause := err
	if u, ok := errors.AsType[*url.Error](err); ok {
		cause = u.Err // without the URL
	}
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return s.errorf("took too long")
	case untrusted:
		return s.errorf("has a certificate that was not accepted: %v", cause)
	case cause != err:
		return s.errorf("cannot be reached: %v", cause)
	case strings.Contains(err.Error(), "missing access_token"):
		return s.errorf("sent an answer without access_token")
	}
	return s.errorf("sent an answer that is not JSON with a token")
}

// hint explains the error codes of RFC 6749 §5.2.
func (s *source) hint(code string) string {
	switch code {
	case "invalid_grant":
		return "the refresh token is no longer valid: get a new one and write it into " +
			s.cfg.TokenFile
	case "invalid_client", "unauthorized_client":
		return "check oauth_client_id and the secret in oauth_secret_file, which may have expired"
	case "invalid_scope":
		return "check oauth_scope"
	}
	return ""
}

// refreshToken returns the current refresh token.
func (s *source) refreshToken() (string, error) {
	if s.refresh != "" {
		s.keepRefreshToken(s.refresh)
	}
	if s.refresh != "" {
		return s.refresh, nil
	}
	return durable.ReadSecretLine(s.cfg.TokenFile)
}

// keepRefreshToken writes a new refresh token over the old one, which the token server may no longer
// accept. If that fails, the new one is kept in memory and written with the next request.
func (s *source) keepRefreshToken(token string) {
	if strings.ContainsAny(token, "\r\n\x00") {
		return
	}
	s.refresh = ""
	if err := writeSecret(s.cfg.TokenFile, token); err != nil {
		s.refresh = token
		s.tokens.log.Error("a new refresh token could not be written", "file", s.cfg.TokenFile,
			"error", err, "hint", "the server must be able to write into the folder of the file; "+
				"until then a restart may lose the token")
	}
}

func writeSecret(path, secret string) error {
	root, err := durable.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	err = durable.WriteFile(root, filepath.Base(path), []byte(secret+"\n"), os.FileMode(0o600))
	return errors.Join(err, root.Close())
}
