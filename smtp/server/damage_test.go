package server

import (
	"os"
	"strings"
	"testing"

	"pillarbox/mailstore/directory"
	"pillarbox/smtp"
)

// TestDamagedDomain has a domain with a damaged file and a sound one. Only mail to and from the
// damaged one is refused, with a temporary error.
func TestDamagedDomain(t *testing.T) {
	for name, text := range map[string]string{"an unknown member": `{"new": 1}`, "empty": "", "half": `{"aliases": {"a": "x@`} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t, smtp.MTA, func(c *Config) { c.Wire.TLS = nil })
			o.mailbox(t, "anna", "")
			if err := o.dir.AddDomain("second.example"); err != nil {
				t.Fatal(err)
			}
			f, err := o.disk.OpenFile(directory.DomainDir("second.example")+"/domain.json", os.O_CREATE|os.O_WRONLY, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			f.Write([]byte(text))
			f.Close()
			replies := o.converse(t, "EHLO x\r\nMAIL FROM:<a@remote.example>\r\nRCPT TO:<anna@office.example>\r\n"+
				"RCPT TO:<x@second.example>\r\nDATA\r\nFrom: a@remote.example\r\n\r\nx\r\n.\r\nMAIL FROM:<x@second.example>\r\nQUIT\r\n")
			for _, want := range []string{"250 2.1.5 <anna@office.example>", "451 4.3.5 The settings for the recipient cannot be read", "250 2.6.0 Message accepted", "451 4.3.5 The settings for the sender"} {
				if !strings.Contains(replies, want) {
					t.Errorf("no %q in\n%s", want, replies)
				}
			}
			if all := o.messages(t, "anna"); len(all) != 1 {
				t.Errorf("%d messages", len(all))
			}
		})
	}
}
