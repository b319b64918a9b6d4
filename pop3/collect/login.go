package collect

import (
	"context"
	"crypto/md5"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"

	"pillarbox/mailstore/auth/oauth"
)

// capabilities are the extensions that a server announces (RFC 2449).
type capabilities struct {
	known      bool // the server knows the command CAPA
	stls       bool
	user       bool
	sasl       []string // its SASL mechanisms (RFC 5034)
	loginDelay bool     // it demands a pause between two logins
}

func (c *conn) capabilities() (caps capabilities, err error) {
	_, err = c.command("CAPA")
	if _, refused := errors.AsType[*refusal](err); refused {
		return caps, nil
	} else if err != nil {
		return caps, err
	}
	caps.known = true
	err = c.lines(func(line string) {
		words := strings.Fields(strings.ToUpper(line))
		if len(words) == 0 {
			return
		}
		switch words[0] {
		case "STLS":
			caps.stls = true
		case "USER":
			caps.user = true
		case "LOGIN-DELAY":
			caps.loginDelay = true
		case "SASL":
			caps.sasl = append(caps.sasl, words[1:]...)
		}
	})
	return caps, err
}

// authenticate starts TLS as the options demand, and logs in.
func (c *conn) authenticate(ctx context.Context) (capabilities, error) {
	caps, err := c.capabilities()
	if err != nil {
		return caps, err
	}
	if !c.secure && c.opts.TLS != TLSOff {
		if caps, err = c.stls(ctx, caps); err != nil {
			return caps, err
		}
	}
	return caps, c.logIn(caps)
}

// stls starts TLS by STLS (RFC 2595 §4). It asks for the capabilities again afterwards, since those
// announced before are not protected.
func (c *conn) stls(ctx context.Context, caps capabilities) (capabilities, error) {
	demanded := c.opts.TLS == TLSRequired || c.opts.TLS == TLSVerified
	missing := &Error{
		Class: ErrTLS, Text: c.opts.Host + " offers no TLS on this port",
		Hint: `try port 995; if the server has no TLS at all, tls = "off" ` +
			"sends the password unencrypted",
	}
	if caps.known && !caps.stls {
		if demanded {
			return caps, missing
		}
		return caps, nil
	}
	_, err := c.command("STLS")
	if refused, ok := errors.AsType[*refusal](err); ok {
		if demanded {
			missing.Err = refused
			return caps, missing
		}
		return caps, nil
	} else if err != nil {
		return caps, err
	}
	if c.in.Buffered() > 0 {
		// An attacker may have injected this, to have it taken for a reply inside TLS.
		return caps, &Error{
			Class: ErrTLS,
			Text: c.opts.Host + " sent more plain text after it had agreed to TLS; " +
				"the connection may be under attack",
		}
	}
	if err := c.startTLS(ctx); err != nil {
		return caps, err
	}
	return c.capabilities()
}

// startTLS does the handshake.
func (c *conn) startTLS(ctx context.Context) error {
	cfg := &tls.Config{ServerName: c.opts.Host, RootCAs: c.opts.Roots, MinVersion: tls.VersionTLS12}
	if c.opts.TLS != TLSVerified {
		cfg.InsecureSkipVerify = true
	}
	if c.opts.TLS == TLSOpportunistic {
		cfg.MinVersion = tls.VersionTLS10 // the alternative is plain text
	}
	c.pace.setDeadline(commandTime)
	tc := tls.Client(c.pace, cfg)
	if err := tc.HandshakeContext(ctx); err != nil {
		e := &Error{Class: ErrTLS, Text: "no TLS with " + c.opts.Host, Err: err}
		if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
			e.Hint = `use the name in the certificate, or tls = "required", ` +
				"which accepts any certificate"
		}
		if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
			e.Hint = "the server does not speak TLS on this port; try port 110"
		}
		return e
	}
	c.secure = true
	c.setNet(tc)
	return nil
}

// timestamp is the time stamp that a server with APOP puts into its greeting (RFC 1939 §7).
var timestamp = regexp.MustCompile(`<[!-;=?-~]+@[!-;=?-~]+>`)

// logIn logs in. Without TLS it prefers APOP, which does not send the password itself.
func (c *conn) logIn(caps capabilities) error {
	user, password := c.opts.User, c.opts.Password
	if strings.ContainsAny(user+password, "\r\n\x00") {
		text := "the name or the password contains a line end or a NUL"
		return &Error{Class: ErrLogin, Text: text}
	}
	stamp := timestamp.FindString(c.greeting)
	var err error
	switch {
	case c.opts.Token != "":
		err = c.sendToken(caps)
	case !c.secure && stamp != "":
		sum := md5.Sum([]byte(stamp + password))
		digest := hex.EncodeToString(sum[:])
		c.mask.Add(digest) // passwords can be guessed against it
		_, err = c.command("APOP " + user + " " + digest)
		if _, refused := errors.AsType[*refusal](err); refused && c.opts.TLS == TLSOff {
			err = c.userPass(user, password) // the server may have no APOP for this mailbox
		}
	case caps.known && !caps.user && slices.Contains(caps.sasl, "PLAIN"):
		response := "\x00" + user + "\x00" + password
		_, err = c.command("AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte(response)))
	default:
		err = c.userPass(user, password)
	}
	if refused, ok := errors.AsType[*refusal](err); ok {
		return c.loginError(refused)
	}
	return err
}

// sendToken logs in with the access token. The response is too long for the command line (RFC 5034
// §4), so it follows in a line of its own. Before it refuses a token, a server says why in a
// challenge (RFC 7628 §3.2.2).
func (c *conn) sendToken(caps capabilities) error {
	if !c.secure && c.opts.TLS != TLSOff {
		return &Error{
			Class: ErrTLS, Text: "the access token is not sent without TLS",
			Hint: `set tls = "required"`,
		}
	}
	mechanisms := oauth.Mechanisms()
	i := slices.IndexFunc(mechanisms, func(m string) bool { return slices.Contains(caps.sasl, m) })
	if len(caps.sasl) == 0 {
		i = 0 // the server does not tell what it has
	} else if i < 0 {
		text := "the server offers no login with an access token (XOAUTH2, OAUTHBEARER)"
		return &Error{Class: ErrLogin, Text: text}
	}
	challenge, err := c.exchange("AUTH " + mechanisms[i])
	if err != nil || challenge == nil {
		return err
	}
	encode := base64.StdEncoding.EncodeToString
	response := oauth.Response(mechanisms[i], c.opts.User, c.opts.Host, c.opts.Port, c.opts.Token)
	if challenge, err = c.exchange(encode(response)); err != nil || challenge == nil {
		return err
	}
	_, err = c.command(encode(oauth.Abort(mechanisms[i])))
	why := c.mask.Hide(oauth.Refusal(challenge))
	if refused, ok := errors.AsType[*refusal](err); ok && why != "" {
		refused.text += " [" + why + "]"
	}
	return err
}

// exchange sends a line of a SASL exchange. It returns the server's challenge, or nil if the login
// is done.
func (c *conn) exchange(line string) (challenge []byte, err error) {
	c.pace.setDeadline(commandTime)
	if _, err := io.WriteString(c.net, line+"\r\n"); err != nil {
		return nil, c.connError(err)
	}
	answer, err := c.line()
	if err != nil {
		return nil, err
	}
	if text, ok := strings.CutPrefix(answer, "+ "); ok || answer == "+" {
		challenge, err = base64.StdEncoding.DecodeString(strings.TrimSpace(text))
		if err != nil {
			return []byte{}, nil // its text only explains a refusal
		}
		return append([]byte{}, challenge...), nil
	}
	_, err = c.parseReply(answer)
	return nil, err
}

func (c *conn) userPass(user, password string) error {
	_, err := c.command("USER " + user)
	if err == nil {
		_, err = c.command("PASS " + password)
	}
	return err
}

func (c *conn) loginError(r *refusal) error {
	switch r.code {
	case "IN-USE":
		return &Error{
			Class: ErrBusy, Text: "the mailbox is in use: " + r.text,
			Hint: "another program has it open; the next attempt may succeed",
		}
	case "LOGIN-DELAY":
		return &Error{
			Class: ErrBusy, Text: "the server demands a pause between logins: " + r.text,
			Hint: "collect less often (every)",
		}
	case "SYS/TEMP", "SYS/PERM":
		return &Error{Class: ErrBusy, Text: "the server reports a fault of its own: " + r.text}
	}
	if c.opts.Token != "" {
		return &Error{
			Class: ErrLogin,
			Text: "the server refuses the access token for " + c.printable(c.opts.User) + ": " +
				r.text,
			Hint: "check name and oauth_scope, and that the mailbox permits POP3 for this client",
		}
	}
	return &Error{
		Class: ErrLogin,
		Text:  "the server refuses the login of " + c.printable(c.opts.User) + ": " + r.text,
		Hint:  "check name and password, and that the provider allows POP3 for this mailbox",
	}
}
