//go:build e2e

package e2e

import (
	"encoding/base64"
	"strings"
	"testing"

	"pillarbox/mailstore/auth/ntlm"
)

// TestRequire128Bit checks that a listener that requires 128 bits accepts neither mail nor a login
// over 3DES and gives the reason. The same computer can use AES.
func TestRequire128Bit(t *testing.T) {
	o := newXPOffice(t)
	for _, service := range services {
		o.set(t, "sites."+service, "require_128_bit", "true")
	}
	s := o.serve(t)
	plain := base64.StdEncoding.EncodeToString([]byte("\x00" + anna + "\x00" + annaPassword))
	negotiate := base64.StdEncoding.EncodeToString((&ntlm.Client{}).Negotiate())
	for _, service := range services {
		weak := o.mustDialTLS(t, oldPC, service, oldPrograms[0].config())
		strong := o.mustDialTLS(t, oldPC, service, oldPrograms[1].config())
		if protocolOf(service) == "smtp" {
			const why = "530 5.7.0 Encryption with at least 128 bits is required here"
			weak.ask(t, why, "MAIL FROM: <someone@other.example>")
			weak.ask(t, why, "AUTH PLAIN %s", plain)
			weak.ask(t, why, "AUTH NTLM %s", negotiate)
			if reply := weak.ask(t, "250", "EHLO PC"); strings.Contains(reply, "AUTH") {
				t.Errorf("%s: a log-in is offered over 3DES:\n%s", service, reply)
			}
			strong.ask(t, "235", "AUTH PLAIN %s", plain)
			strong.ask(t, "250", "MAIL FROM: <%s>", anna)
		} else {
			const why = "-ERR [AUTH] logging in here needs encryption with at least 128 bits; this mail program is too old for it"
			weak.ask(t, why, "USER anna")
			weak.ask(t, why, "AUTH PLAIN %s", plain)
			weak.ask(t, why, "AUTH NTLM")
			strong.ask(t, "+OK", "AUTH PLAIN %s", plain)
		}
		weak.quit(t)
		strong.quit(t)
	}
	s.wantLog(t, "sites.smtp.require_128_bit") // the key that an administrator looks for
}

// TestRequireTLS is the same for connections without TLS, from a network that may otherwise send
// passwords in the clear.
func TestRequireTLS(t *testing.T) {
	o := newXPOffice(t)
	open := []string{"smtp", "submission", "pop3"}
	for _, service := range open {
		o.set(t, "sites."+service, "require_tls", "true")
	}
	s := o.serve(t)
	plain := base64.StdEncoding.EncodeToString([]byte("\x00" + anna + "\x00" + annaPassword))
	for _, service := range open {
		c := o.mustDial(t, service)
		if protocolOf(service) == "smtp" {
			const why = "530 5.7.0 Must issue a STARTTLS command first"
			c.ask(t, "250", "EHLO PC")
			c.ask(t, why, "MAIL FROM: <someone@other.example>")
			c.ask(t, why, "AUTH PLAIN %s", plain)
			c.ask(t, why, "AUTH NTLM")
		} else {
			const why = "-ERR [AUTH] logging in from this address needs encryption; turn on SSL or TLS in the mail program"
			c.ask(t, why, "USER anna")
			c.ask(t, why, "AUTH NTLM")
			c.ask(t, why, "APOP anna 0123456789abcdef0123456789abcdef")
		}
		c.quit(t)
		o.mustDialTLS(t, stranger, service, newPrograms[0].config).quit(t)
	}
	s.wantLog(t, "sites.smtp.require_tls")
}

// TestMinTLS checks that one listener may require newer TLS than the others. It refuses mail, not
// the handshake, and its reply gives the reason.
func TestMinTLS(t *testing.T) {
	o := newOffice(t)
	o.set(t, "sites.smtps", "min_tls", `"1.3"`)
	o.serve(t)
	older := newPrograms[1].config
	c := o.mustDialTLS(t, stranger, "smtps", older)
	const why = "530 5.7.0 TLS 1.3 or newer is required here"
	c.ask(t, why, "MAIL FROM:<%s>", anna)
	c.ask(t, why, "AUTH LOGIN")
	c.quit(t)
	for service, cfg := range map[string]int{"submission": 1, "smtps": 0} {
		c := o.mustDialTLS(t, stranger, service, newPrograms[cfg].config)
		c.ask(t, "235", "AUTH PLAIN %s", base64.StdEncoding.EncodeToString([]byte("\x00"+anna+"\x00"+annaPassword)))
		c.ask(t, "250", "MAIL FROM:<%s>", anna)
		c.quit(t)
	}
	// With tls.min_version, for all clients, the handshake fails.
	o.set(t, "tls", "min_version", `"1.3"`)
	o.pillarbox(t, "", "admin", "reload")
	for _, service := range services {
		if _, err := o.dialTLS(t, stranger, service, older); err == nil {
			t.Errorf("%s speaks TLS 1.2", service)
		}
		o.mustDialTLS(t, stranger, service, newPrograms[0].config).quit(t)
	}
}
