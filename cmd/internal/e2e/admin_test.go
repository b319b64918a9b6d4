//go:build e2e

package e2e

import (
	"encoding/base64"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
)

// sendPassword tries to log in for submission, and returns the reply.
func (o *office) sendPassword(t testing.TB, user, password string) string {
	t.Helper()
	s := o.mustDial(t, "submission")
	defer s.Close()
	s.startTLSAfterEHLO(t, o)
	reply, err := s.say("AUTH PLAIN %s", base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password)))
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

func (s *session) startTLSAfterEHLO(t testing.TB, o *office) {
	t.Helper()
	s.ask(t, "250", "EHLO pc")
	s.ask(t, "220", "STARTTLS")
	s.startTLS(t, o)
	s.ask(t, "250", "EHLO pc")
}

// wantLogins logs in by POP3 and SMTP. The replies must begin with the given text; "" means
// success.
func (o *office) wantLogins(t *testing.T, user, password, pop3, smtp string) {
	t.Helper()
	s, err := o.logIn(user, password)
	if err == nil {
		s.ask(t, "+OK", "QUIT")
		s.Close()
	}
	var refused *refusal
	if pop3 == "" && err != nil || pop3 != "" && !(errors.As(err, &refused) && strings.HasPrefix(refused.reply, pop3)) {
		t.Errorf("%s logs in for reading: %v, want %q", user, err, pop3)
	}
	if smtp == "" {
		smtp = "235"
	}
	if reply := o.sendPassword(t, user, password); !strings.HasPrefix(reply, smtp) {
		t.Errorf("%s logs in for sending: %s, want %q", user, reply, smtp)
	}
}

// TestAdminAtOnce changes mailboxes while the server runs and has the passwords in its cache. Every
// change must take effect at once.
func TestAdminAtOnce(t *testing.T) {
	o := newOffice(t)
	o.serve(t)
	const wrongPOP3, wrongSMTP, lockedPOP3, lockedSMTP = "-ERR [AUTH]", "535 5.7.8", "-ERR [SYS/PERM]", "535 5.7.13"
	o.wantLogins(t, anna, annaPassword, "", "")

	o.pillarbox(t, "", "admin", "mailbox", "lock", anna)
	o.wantLogins(t, anna, annaPassword, lockedPOP3, lockedSMTP)
	o.wantLogins(t, boss, bossPassword, "", "")
	o.deliver(t, letter("to a locked mailbox"), anna)
	if n := len(o.files(t, anna)); n != 1 {
		t.Errorf("the locked mailbox holds %d messages, want 1", n)
	}
	o.pillarbox(t, "", "admin", "mailbox", "unlock", anna)
	o.wantLogins(t, anna, annaPassword, "", "")

	// A right for each service, after the right password only.
	const both = ""
	for _, tt := range []struct{ access, pop3, smtp string }{
		{"pop3", both, lockedSMTP}, {"smtp", lockedPOP3, both}, {"none", lockedPOP3, lockedSMTP}, {"both", both, both},
	} {
		o.pillarbox(t, "", "admin", "mailbox", "access", anna, tt.access)
		o.wantLogins(t, anna, annaPassword, tt.pop3, tt.smtp)
	}

	o.pillarbox(t, claraPassword+"\n", "admin", "mailbox", "passwd", anna, "--password-stdin")
	o.wantLogins(t, anna, annaPassword, wrongPOP3, wrongSMTP)
	o.wantLogins(t, anna, claraPassword, "", "")

	o.wantLogins(t, clara, claraPassword, wrongPOP3, wrongSMTP)
	o.pillarbox(t, claraPassword+"\n", "admin", "mailbox", "add", clara, "--password-stdin")
	o.wantLogins(t, clara, claraPassword, "", "")
	o.deliver(t, letter("to a new mailbox"), clara)
}

// addStaff adds the group of all mailboxes.
func (o *office) addStaff(t *testing.T) {
	t.Helper()
	o.pillarbox(t, "", "admin", "group", "add", staff)
	for member := range mailboxes {
		o.pillarbox(t, "", "admin", "group", "member", "add", staff, member)
	}
}

// TestGroup checks that a message to a group is stored once, whatever the number of members.
func TestGroup(t *testing.T) {
	o := newOffice(t)
	o.pillarbox(t, claraPassword+"\n", "admin", "mailbox", "add", clara, "--password-stdin")
	o.addStaff(t)
	o.serve(t)
	o.deliver(t, letter("to all"), staff, anna)
	var first os.FileInfo
	for address := range mailboxes {
		files := o.files(t, address)
		if len(files) != 1 {
			t.Fatalf("%s has %d messages, want 1", address, len(files))
		}
		info, err := os.Stat(files[0])
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = info
		}
		if links := info.Sys().(*syscall.Stat_t).Nlink; !os.SameFile(first, info) || int(links) != len(mailboxes) {
			t.Errorf("%s has a file of its own, with %d links, want one with %d", address, links, len(mailboxes))
		}
	}
}
