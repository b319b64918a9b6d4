package alert

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"pillarbox/mailstore/durable"
)

// SignatureHeader is the field with the HMAC-SHA256 of the body, as "sha256=" and hexadecimal.
const SignatureHeader = "X-Pillarbox-Signature"

const (
	hookTime  = 10 * time.Second // for one attempt
	maxAnswer = 64 << 10         // octets of an answer that are read
)

// Message is the body of a request to the webhook. Texts are in English.
type Message struct {
	Version int       `json:"version"` // 1
	ID      string    `json:"id"`      // the same in each attempt
	Server  string    `json:"server"`
	Alert   Kind      `json:"alert"`
	Event   string    `json:"event"` // raised, worse or ended
	Time    time.Time `json:"time"`
	Since   time.Time `json:"since"`
	Subject string    `json:"subject"`
	Text    string    `json:"text"` // with the remedy
}

// sendHook posts a notice. A notice is dropped if the webhook was taken out of the configuration.
func (a *Alerts) sendHook(ctx context.Context, n Notice) error {
	settings := a.Settings()
	if settings.Webhook == "" {
		return nil
	}
	secret, err := durable.ReadSecretLine(settings.SecretFile)
	if err != nil {
		return err
	}
	body, err := json.Marshal(n.message(settings.Hostname))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, hookTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, settings.Webhook,
		bytes.NewReader(body))
	if err != nil {
		return errors.New("alerts.webhook is not a URL")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "pillarbox")
	req.Header.Set(SignatureHeader, Sign(body, secret))
	res, err := a.Client.Do(req)
	if err != nil {
		return withoutURL(err)
	}
	defer res.Body.Close()
	io.Copy(io.Discard, io.LimitReader(res.Body, maxAnswer))
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("the webhook answered %d", res.StatusCode)
	}
	return nil
}

// withoutURL returns the cause of an error of an HTTP client. Some webhooks have a secret in their
// URL, which must not get into the log.
func withoutURL(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		return wrapped.Err
	}
	return err
}

// Sign returns the value of SignatureHeader.
func Sign(body []byte, secret string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

func (n Notice) message(hostname string) Message {
	subject, body := n.Text(false)
	id := sha256.Sum256(fmt.Appendf(nil, "%s %s %s %d %s", hostname, n.Kind, n.Event,
		n.Time.UnixNano(), n.Facts.Text))
	return Message{
		Version: 1, ID: hex.EncodeToString(id[:12]), Server: hostname, Alert: n.Kind,
		Event: n.Event, Time: n.Time.UTC(), Since: n.Since.UTC(), Subject: subject, Text: body,
	}
}

// NewClient returns a client for webhooks. It follows no redirect: the signature is for one server.
func NewClient(transport http.RoundTripper) *http.Client {
	return &http.Client{
		Transport: transport, Timeout: hookTime,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
}
