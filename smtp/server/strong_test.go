package server

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	gosmtp "net/smtp"
	"strings"
	"testing"

	"pillarbox/smtp"
	"pillarbox/smtp/policy"
)

// A site that demands 128 bits refuses mail and logins over 3DES.
func TestStrongCiphers(t *testing.T) {
	for _, demanded := range []bool{false, true} {
		o := newOffice(t, smtp.Submission, func(c *Config) {
			c.Wire.TLS.CipherSuites = []uint16{tls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA}
			site := c.Rules.Sites["submission"]
			site.Require128Bit = policy.Setting[bool]{Value: demanded}
			c.Rules.Sites["submission"] = site
		})
		o.mailbox(t, "anna", "secret")
		c, err := gosmtp.Dial(o.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		old := o.tls.Clone()
		old.MaxVersion, old.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA}
		if err := c.StartTLS(old); err != nil {
			t.Fatal(err)
		}
		say := func(line string) string {
			id, err := c.Text.Cmd("%s", line)
			if err != nil {
				t.Fatal(err)
			}
			c.Text.StartResponse(id)
			defer c.Text.EndResponse(id)
			code, text, err := c.Text.ReadResponse(0)
			if err != nil {
				t.Fatal(err)
			}
			return fmt.Sprint(code, " ", text)
		}
		if offered, _ := c.Extension("AUTH"); offered == demanded {
			t.Errorf("demanded %v: AUTH is offered %v", demanded, offered)
		}
		login := "AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00anna\x00secret"))
		for _, line := range []string{login, "MAIL FROM:<anna@office.example>"} {
			if got := say(line); (got[0] != '2') != demanded || demanded && !strings.Contains(got, "128 bits") {
				t.Errorf("demanded %v: %.10s: %s", demanded, line, got)
			}
		}
	}
}
