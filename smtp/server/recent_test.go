package server

import (
	"net/netip"
	"strings"
	"testing"

	"pillarbox/mailstore/directory"
	"pillarbox/smtp"
	"pillarbox/smtp/policy"
)

// A client that has read mail by POP3 may send as its user without a login, also to other servers. It
// may not send as another user, and a locked mailbox permits nothing.
func TestPOPBeforeSMTP(t *testing.T) {
	o := newOffice(t, smtp.MTA, func(c *Config) {
		site := c.Rules.Sites["smtp"]
		site.Anonymous = policy.Setting[bool]{Origin: "config"}
		c.Rules.Sites["smtp"] = site
	})
	o.mailbox(t, "anna", "secret")
	o.mailbox(t, "boss", "secret")
	say := func(from string) string {
		t.Helper()
		return o.converse(t, "EHLO pc\r\nMAIL FROM:<"+from+"@office.example>\r\nRCPT TO:<x@remote.example>\r\n"+
			"DATA\r\nFrom: "+from+"@office.example\r\n\r\nHello\r\n.\r\nQUIT\r\n")
	}
	want := func(what, got, reply string) {
		t.Helper()
		if !strings.Contains(got, "\r\n"+reply) {
			t.Errorf("%s: want %s:\n%s", what, reply, got)
		}
	}
	o.server.Recent.Add(netip.MustParseAddr("127.0.0.1"), address(t, "anna"))
	want("no network is named", say("anna"), "530 5.7.0")
	o.server.Recent.SetNetworks([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")})
	want("nothing was read", say("anna"), "530 5.7.0")
	o.server.Recent.Add(netip.MustParseAddr("127.0.0.1"), address(t, "anna"))
	want("anna has read mail", say("anna"), "250 2.6.0")
	want("as another user", say("boss"), "553 5.7.1 anna@office.example may not send as boss")
	if queued := o.outbox.all(); len(queued) != 1 || queued[0].Source.User != address(t, "anna") {
		t.Errorf("queued: %+v", queued)
	}
	o.server.Recent.Add(netip.MustParseAddr("127.0.0.1"), address(t, "boss"))
	want("two users at one address: the first", say("anna"), "250 2.6.0")
	want("two users at one address: the second", say("boss"), "250 2.6.0")
	gateway := o.converse(t, "EHLO gw\r\nMAIL FROM:<carl@partner.example>\r\nMAIL FROM:<>\r\nQUIT\r\n")
	if strings.Contains(gateway, "553") || strings.Count(gateway, "\r\n530") != 2 {
		t.Errorf("a gateway at the same address is taken for the user:\n%s", gateway)
	}
	change := func(do func(a *directory.Account)) {
		t.Helper()
		for _, name := range []string{"anna", "boss"} {
			err := o.dir.UpdateAccount(address(t, name), func(a *directory.Account) error { do(a); return nil })
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	change(func(a *directory.Account) { a.Access = directory.AccessPOP3 })
	want("no right to send", say("anna"), "530 5.7.0")
	change(func(a *directory.Account) { a.Access, a.Locked = directory.AccessBoth, true })
	want("locked", say("anna"), "530 5.7.0")
}
