package pop3

import (
	"net"
	"strconv"
	"strings"
	"testing"

	"pillarbox/etc/lab/mailtest"
)

// TestDialogues runs testdata/*.dialog against a real server with a real store. Options of a
// dialogue:
//
//	%mailbox USER PASSWORD   a mailbox
//	%locked USER PASSWORD    a locked mailbox
//	%message USER "TEXT"     a message for it, a Go string
//	%left USER N             the number of messages at the end
//	%logged TEXT             appears in the log at the end
//	%listener pop3s          implicit TLS
//	%plaintext no            no login without TLS
//	%tls no                  no certificate
//	%maxerrors N, %greeting TEXT
func TestDialogues(t *testing.T) {
	mailtest.RunDialogues(t, "testdata/*.dialog", func(t *testing.T, d *mailtest.Dialogue) mailtest.Peer {
		o := newOffice(t)
		for _, v := range d.Options["mailbox"] {
			user, password, _ := strings.Cut(v, " ")
			o.addMailbox(user, password, false)
		}
		for _, v := range d.Options["locked"] {
			user, password, _ := strings.Cut(v, " ")
			o.addMailbox(user, password, true)
		}
		for _, v := range d.Options["message"] {
			user, text, _ := strings.Cut(v, " ")
			text, err := strconv.Unquote(text)
			o.must(err)
			o.deliver(user, text)
		}
		t.Cleanup(func() { o.checkEnd(d) }) // runs after the server's own cleanup, the last first
		address := o.listen(o.newServer(func(c *Config) { configure(t, c, d) }), d.Option("listener", "") == "pop3s")
		return mailtest.Peer{
			Dial: func() (net.Conn, error) { return net.Dial("tcp", address) },
			TLS:  clientTLS(),
		}
	})
}

func configure(t *testing.T, c *Config, d *mailtest.Dialogue) {
	var err error
	if c.MaxErrors, err = strconv.Atoi(d.Option("maxerrors", "0")); err != nil {
		t.Fatal(err)
	}
	if greeting := d.Option("greeting", ""); greeting != "" {
		c.Greeting = func() string { return greeting }
	}
	if d.Option("plaintext", "yes") == "no" {
		c.PlaintextNetworks = nil
	}
	if d.Option("tls", "yes") == "no" {
		c.TLS = nil
	}
}

func (o *office) checkEnd(d *mailtest.Dialogue) {
	for _, v := range d.Options["left"] {
		user, n, _ := strings.Cut(v, " ")
		if got := strconv.Itoa(len(o.files(user))); got != n {
			o.t.Errorf("%s: %s has %s messages in the end, want %s", d.File, user, got, n)
		}
	}
	for _, text := range d.Options["logged"] {
		if !strings.Contains(o.log.String(), text) {
			o.t.Errorf("%s: not in the log: %s\n%s", d.File, text, o.log)
		}
	}
	for _, v := range append(d.Options["mailbox"], d.Options["locked"]...) {
		if _, password, _ := strings.Cut(v, " "); strings.Contains(o.log.String(), password) {
			o.t.Errorf("%s: the password is in the log:\n%s", d.File, o.log)
		}
	}
}
