//go:build e2e

package e2e

import (
	"encoding/base64"
	"os"
	"strings"
	"testing"
)

const (
	dora      = "dora@" + domain
	emil      = "emil@" + domain
	bertMeier = "bert.meier@" + domain
)

// letterFrom returns a message with this address in its From field.
func letterFrom(from string) string {
	return strings.Replace(letter("from "+from), "From: Anna <"+anna+">", "From: <"+from+">", 1)
}

func (o *office) hasMailbox(address string) bool {
	_, err := os.Stat(o.mailbox(address))
	return err == nil
}

// TestDirectoryPeople takes mailboxes, aliases, groups and quota from the directory. No local file
// contains them.
func TestDirectoryPeople(t *testing.T) {
	o, d := newOffice(t), newSlapd(t)
	o.useDirectory(t, d.entry("lookup = true"))
	s := o.serve(t)
	for _, test := range []struct{ to, want string }{
		{anna, "250"}, {"ANNA@Office.Example", "250"}, {"a.muster@" + domain, "250"}, {"muster@" + domain, "250"},
		{dora, "250"}, {bertMeier, "250"}, {"bert@" + domain, "250"}, {"dora+news@" + domain, "250"},
		{"team@" + domain, "250"}, {"list@" + domain, "250"}, {"postmaster@" + domain, "250"},
		{"empty@" + domain, "550 5.1.1"}, {"printer@" + domain, "550 5.1.1"}, {"bmeier@" + domain, "550 5.1.1"}, {"nobody@" + domain, "550 5.1.1"},
		{"*@" + domain, "550 5.1.1"}, {"ann*@" + domain, "550 5.1.1"}, {`"anna)(uid=*"@` + domain, "550 5.1.1"},
	} {
		o.wantRCPT(t, test.to, test.want)
	}
	if o.hasMailbox(dora) || o.hasMailbox(bertMeier) {
		t.Error("to ask for a mailbox makes it")
	}

	o.deliver(t, letter("to an alias"), "a.muster@"+domain, "bert@"+domain)
	o.deliver(t, letter("to a new mailbox"), dora)
	o.deliver(t, letter("with an extension"), "dora+news@"+domain)
	o.deliver(t, letter("to the team"), "team@"+domain)
	for address, want := range map[string]int{anna: 2, bertMeier: 2, dora: 2, emil: 0} {
		if n := len(o.files(t, address)); n != want {
			t.Errorf("%s has %d messages, want %d", address, n, want)
		}
	}
	s.wantLog(t, `msg="mailbox created at its first delivery" mailbox=`+dora)
	messages, _ := o.fetched(t, "bmeier", bertLDAP)
	if len(messages) != 2 || !strings.Contains(messages[0], "Subject: to an alias") {
		t.Errorf("bert fetches %d messages", len(messages))
	}
	if o.hasMailbox(emil) {
		t.Fatal("emil has a mailbox already")
	}
	o.wantDoors(t, "emil", emilLDAP, "", "")
	s.wantLog(t, `msg="mailbox created at its first login" mailbox=`+emil)

	// A remote member gets its copy from the queue.
	o.deliver(t, letter("to the list"), "list@"+domain)
	if n := len(o.files(t, emil)); n != 1 {
		t.Errorf("emil has %d messages of the list, want 1", n)
	}
	s.wantLog(t, "to=guest@elsewhere.example")

	// A local file overrides the directory.
	o.pillarbox(t, "", "admin", "alias", "add", "muster", boss)
	o.deliver(t, letter("by the alias of the file"), "muster@"+domain)
	if n := len(o.files(t, boss)); n != 1 {
		t.Errorf("boss has %d messages, want 1", n)
	}

	// A change in the directory takes effect within moments.
	d.modify(t, personDN("bmeier"), "changetype: modify\nadd: mailLocalAddress\nmailLocalAddress: bm@"+domain)
	d.modify(t, personDN("emil"), "changetype: modify\nreplace: mail\nmail: emil.neu@"+domain)
	eventually(t, "the new alias is known", func() bool { return strings.HasPrefix(o.rcpt(t, "bm@"+domain), "250") })
	eventually(t, "the new address is known", func() bool { return strings.HasPrefix(o.rcpt(t, "emil.neu@"+domain), "250") })
}

// TestDirectoryQuota checks that the directory's limit counts for a mailbox without a limit of its
// own.
func TestDirectoryQuota(t *testing.T) {
	o, d := newOffice(t), newSlapd(t)
	o.useDirectory(t, d.entry("lookup = true"))
	o.serve(t)
	room := func(to string, size int, want string) {
		t.Helper()
		c := o.mustDial(t, "smtp")
		defer c.Close()
		c.ask(t, "250", "EHLO other.example")
		c.ask(t, "250", "MAIL FROM:<someone@other.example> SIZE=%d", size)
		c.ask(t, want, "RCPT TO:<%s>", to)
	}
	c := o.mustDial(t, "smtp")
	c.ask(t, "250", "EHLO other.example")
	reply, err := c.transact("someone@other.example", fill(30_000), dora) // her mailbox does not exist yet
	noError(t, err)
	if !strings.HasPrefix(reply, "552 5.2.2") || len(o.files(t, dora)) != 0 {
		t.Errorf("a message of 30 KB was answered %q, and there are %d", reply, len(o.files(t, dora)))
	}
	room(dora, 15_000, "250")
	room(dora, 30_000, "552 5.2.2")
	room(anna, 30_000, "250")
	o.deliver(t, fill(19_000), dora)
	o.wantNotice(t, dora, "Your mailbox is ")
	room(dora, 15_000, "552 5.2.2")
	if out := o.pillarbox(t, "", "admin", "mailbox", "list"); !strings.Contains(out, "20KB") {
		t.Errorf("admin mailbox list says\n%s", out)
	}
	d.modify(t, personDN("dora"), "changetype: modify\nreplace: mailQuota\nmailQuota: 60000S")
	eventually(t, "there is more room", func() bool {
		c := o.mustDial(t, "smtp")
		defer c.Close()
		c.ask(t, "250", "EHLO other.example")
		c.ask(t, "250", "MAIL FROM:<someone@other.example> SIZE=30000")
		reply, err := c.say("RCPT TO:<%s>", dora)
		return err == nil && strings.HasPrefix(reply, "250")
	})
	o.pillarbox(t, "", "admin", "quota", "set", dora, "--size", "25KB")
	room(dora, 30_000, "552 5.2.2")
}

// TestDirectorySenders checks that the aliases of the directory may be used as senders.
func TestDirectorySenders(t *testing.T) {
	o, d := newOffice(t), newSlapd(t)
	o.useDirectory(t, d.entry("lookup = true"))
	o.serve(t)
	c := o.mustDial(t, "submission")
	c.ask(t, "250", "EHLO pc.example")
	c.ask(t, "235", "AUTH PLAIN %s", base64.StdEncoding.EncodeToString([]byte("\x00anna\x00"+annaLDAP)))
	for _, test := range []struct{ from, want string }{
		{anna, "250"}, {"a.muster@" + domain, "250"}, {"muster@" + domain, "250"},
		{"bert@" + domain, "55"}, {bertMeier, "55"}, {boss, "55"}, {"nobody@" + domain, "55"}, {"team@" + domain, "55"},
	} {
		reply, err := c.transact(test.from, letterFrom(test.from), boss)
		noError(t, err)
		if !strings.HasPrefix(reply, test.want) {
			t.Errorf("sending as %s was answered %q, want %s", test.from, reply, test.want)
		}
		c.ask(t, "250", "RSET")
	}
	if n := len(o.files(t, boss)); n != 3 {
		t.Errorf("%d messages arrived, want 3", n)
	}
}

// TestDirectoryCreate checks the setting for when mailboxes are created.
func TestDirectoryCreate(t *testing.T) {
	for _, test := range []struct {
		create             string
		rcpt, pop3, smtp   string
		before, afterLogIn bool
	}{
		{"delivery", "250", "", "", true, true},
		{"login", "550 5.1.1", "", "", false, true},
		{"never", "550 5.1.1", wrongPOP3, wrongSMTP, false, false},
	} {
		t.Run(test.create, func(t *testing.T) {
			o, d := newOffice(t), newSlapd(t)
			o.useDirectory(t, d.entry("lookup = true", `create = "`+test.create+`"`))
			s := o.serve(t)
			o.wantRCPT(t, dora, test.rcpt)
			if test.before {
				o.deliver(t, letter("the first"), dora)
			}
			if got := o.hasMailbox(dora); got != test.before {
				t.Errorf("after a message, there is a mailbox: %v", got)
			}
			o.wantDoors(t, "dora", doraLDAP+"x", wrongPOP3, wrongSMTP)
			if got := o.hasMailbox(dora); got != test.before {
				t.Errorf("after a wrong password, there is a mailbox: %v", got)
			}
			o.wantDoors(t, "dora", doraLDAP, test.pop3, test.smtp)
			if got := o.hasMailbox(dora); got != test.afterLogIn {
				t.Errorf("after a log-in, there is a mailbox: %v", got)
			}
			if test.create == "never" {
				o.pillarbox(t, "", "admin", "mailbox", "add", dora, "--no-password")
				o.wantDoors(t, "dora", doraLDAP, "", "")
			}
			o.deliver(t, letter("the next"), dora)
			s.stop(t)
		})
	}
}
