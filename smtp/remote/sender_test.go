package remote

import (
	"bytes"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
	"pillarbox/smtp/dkim"
	"pillarbox/smtp/footer"
	"pillarbox/smtp/route"
)

// The message that is sent has no Return-Path, and a signature only if it is ours to sign.
func TestPrepare(t *testing.T) {
	keys := dkim.Open(mailtest.NewPowerFS())
	for _, domain := range []addr.Domain{"office.example", "else.example"} {
		if _, err := keys.Create(domain, "now", dkim.Ed25519, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	anna := addr.Address{Local: "anna", Domain: "office.example"}
	const text = "From: Anna <anna@office.example>\r\nSubject: x\r\n\r\ntext\r\n"
	for name, test := range map[string]struct {
		from   addr.Address
		local  bool
		off    bool // [authenticity] sign
		stored string
		want   string // what the message begins with
	}{
		"ours":               {anna, true, false, text, "DKIM-Signature: "},
		"switched off":       {anna, true, true, text, "From: Anna"},
		"of a stranger":      {anna, false, false, text, "From: Anna"},
		"no key":             {addr.Address{Local: "x", Domain: "no.example"}, true, false, "From: x@no.example\r\n\r\n", "From: x"},
		"another author":     {anna, true, false, strings.Replace(text, "anna@office", "boss@else", 1), "From: Anna"},
		"no author":          {anna, true, false, "Subject: x\r\n\r\n", "Subject: x"},
		"a null sender":      {addr.Address{}, true, false, text, "From: Anna"},
		"only a Return-Path": {anna, false, false, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := NewSender(SenderConfig{Options: Options{Routes: func() *route.Table { return nil }}, Sign: !test.off}, keys, nil)
			defer s.Close()
			stored := smtp.ReturnPath(test.from) + test.stored
			a := smtp.Attempt{
				Envelope: smtp.Envelope{From: test.from}, Local: test.local, Size: int64(len(stored)),
				Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(stored)), nil },
			}
			s.prepare(&a)
			for range 2 { // an attempt may read the message again
				f, err := a.Open()
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(f)
				if err != nil || int64(len(got)) != a.Size {
					t.Errorf("%d octets, announced %d, %v", len(got), a.Size, err)
				}
				if a.Sign != nil {
					got = append(a.Sign(bytes.NewReader(got)), got...)
				}
				if !strings.HasPrefix(string(got), test.want) || !strings.HasSuffix(string(got), test.stored) {
					t.Errorf("%q", got)
				}
			}
		})
	}
}

// A local sender's message gets the footer of the sender's domain, and is signed with it.
func TestFooter(t *testing.T) {
	keys := dkim.Open(mailtest.NewPowerFS())
	if _, err := keys.Create("office.example", "now", dkim.Ed25519, time.Now()); err != nil {
		t.Fatal(err)
	}
	anna := addr.Address{Local: "anna", Domain: "office.example"}
	const text = "From: Anna <anna@office.example>\r\nSubject: x\r\n\r\ntext\r\n"
	const withFooter = "From: Anna <anna@office.example>\r\nSubject: x\r\nContent-Type: text/plain; charset=utf-8\r\n" +
		"MIME-Version: 1.0\r\nContent-Transfer-Encoding: 8bit\r\n\r\ntext\r\n\r\nMüller\r\n"
	for what, test := range map[string]struct {
		from   addr.Address
		local  bool
		stored string
		want   string
	}{
		"ours":           {anna, true, text, withFooter},
		"of a stranger":  {anna, false, text, text},
		"another domain": {addr.Address{Local: "x", Domain: "no.example"}, true, text, text},
		"null sender":    {addr.Address{}, true, text, text},
		"signed":         {anna, true, "DKIM-Signature: x\r\n" + text, "DKIM-Signature: x\r\n" + text},
	} {
		s := NewSender(SenderConfig{
			Options: Options{Routes: func() *route.Table { return nil }}, Sign: true,
			Footer: func(d addr.Domain) footer.Footer {
				if d != "office.example" {
					return footer.Footer{}
				}
				return footer.Footer{Text: "Müller"}
			},
		}, keys, slog.New(slog.DiscardHandler))
		stored := smtp.ReturnPath(test.from) + test.stored
		a := smtp.Attempt{
			Envelope: smtp.Envelope{From: test.from}, Local: test.local, Size: int64(len(stored)),
			Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(stored)), nil },
		}
		s.prepare(&a)
		f, err := a.Open()
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(f)
		if err != nil || string(got) != test.want || int64(len(got)) != a.Size {
			t.Errorf("%s: %q of %d octets, %v", what, got, a.Size, err)
		}
		if a.Envelope.Body8 != (what == "ours") {
			t.Errorf("%s: eight bits: %v", what, a.Envelope.Body8)
		}
		s.Close()
	}
}

// A forwarded message is sealed with the key of the domain that forwards it.
func TestForwardedIsSealed(t *testing.T) {
	keys := dkim.Open(mailtest.NewPowerFS())
	if _, err := keys.Create("office.example", "now", dkim.RSA2048, time.Now()); err != nil {
		t.Fatal(err)
	}
	carl := addr.Address{Local: "carl", Domain: "partner.example"}
	const text = "Authentication-Results: mail.office.example; spf=pass\r\nFrom: Carl <carl@partner.example>\r\n\r\ntext\r\n"
	for name, test := range map[string]struct {
		sender addr.Domain
		off    bool
		want   string
	}{
		"forwarded":     {"office.example", false, "ARC-Seal: i=1; "},
		"no key":        {"second.example", false, "Authentication-Results: "},
		"switched off":  {"office.example", true, "Authentication-Results: "},
		"not forwarded": {"", false, "Authentication-Results: "},
	} {
		t.Run(name, func(t *testing.T) {
			p := &peer{}
			r := via(t, p, func(_ *route.Route, o *Options) { o.Hostname = "mail.office.example" })
			s := NewSender(SenderConfig{Options: r.opts, Sign: true, Seal: !test.off}, keys, slog.New(slog.DiscardHandler))
			defer s.Close()
			a := attempt(smtp.ReturnPath(carl)+text, "b@x.example")
			a.Envelope.From = carl
			if test.sender != "" {
				a.Envelope.Sender = addr.Address{Local: "SRS0=x", Domain: test.sender}
			}
			if got := summary(s.Deliver(t.Context(), a)); got != "delivered 250 2.0.0" {
				t.Fatal(got)
			}
			p.mu.Lock()
			got := p.messages[0]
			p.mu.Unlock()
			if !strings.HasPrefix(got, test.want) || !strings.HasSuffix(got, text) ||
				strings.HasPrefix(test.want, "ARC") && !strings.Contains(got, "ARC-Authentication-Results: i=1; mail.office.example; spf=pass;\r\n\tarc=none\r\n") {
				t.Errorf("%s", got)
			}
		})
	}
}
