//go:build e2e

package e2e

import (
	"crypto/rand"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"pillarbox/mailstore/auth/ntlm"
)

// finishNTLM continues when the server waits for the client's first message. begin precedes that
// message on its line; more is the beginning of a challenge.
func (s *session) finishNTLM(t *testing.T, begin, more, user, password, want string) {
	t.Helper()
	c := ntlm.Client{User: user, Domain: "OFFICE", Workstation: "PC", Password: password, Time: time.Now()}
	rand.Read(c.Nonce[:])
	encode := base64.StdEncoding.EncodeToString
	reply := s.ask(t, more, "%s", begin+encode(c.Negotiate()))
	challenge, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(reply, more))
	if err != nil {
		t.Fatalf("the challenge is %q: %v", reply, err)
	}
	answer, err := c.Authenticate(challenge)
	if err != nil {
		t.Fatal(err)
	}
	s.ask(t, want, "%s", encode(answer))
}

// TestLogInOutlook logs in like the programs of Windows ([MS-SMTPNTLM] and [MS-POP3] §4), and as in
// RFC 4954 and RFC 5034.
func TestLogInOutlook(t *testing.T) {
	o := newSecretOffice(t)
	o.serve(t)
	s := o.mustDial(t, "submission")
	s.ask(t, "250", "EHLO PC")
	if reply := s.ask(t, "334 ", "AUTH NTLM"); strings.Contains(reply, "\n") {
		t.Errorf("%q", reply)
	}
	s.finishNTLM(t, "", "334 ", "anna", wrongPassword, "535 5.7.8 ")
	s.ask(t, "334 ", "AUTH NTLM")
	s.ask(t, "501 ", "*")
	s.ask(t, "334 ", "auth ntlm")
	s.ask(t, "501 ", "TlRMTVNTUAAD") // the third message instead of the first
	s.ask(t, "334 ", "AUTH NTLM")
	s.finishNTLM(t, "", "334 ", "anna", annaPassword, "235 2.7.0 Authentication successful")
	if reply, err := s.transact(anna, letter("from Outlook"), boss); err != nil || !strings.HasPrefix(reply, "250") {
		t.Errorf("%s, %v", reply, err)
	}

	s = o.mustDial(t, "submission")
	s.ask(t, "250", "EHLO PC")
	s.finishNTLM(t, "AUTH NTLM ", "334 ", anna, annaPassword, "235 2.7.0 ")

	s = o.mustDial(t, "pop3")
	s.ask(t, "+OK", "AUTH ")
	if list, err := s.text(); err != nil || !strings.Contains(list, "NTLM\r\n") {
		t.Errorf("a bare AUTH lists %q, %v", list, err)
	}
	if reply := s.ask(t, "+OK", "AUTH NTLM"); reply != "+OK" {
		t.Errorf("AUTH NTLM: %q", reply)
	}
	s.finishNTLM(t, "", "+ ", "anna", annaPassword, "+OK")
	s.ask(t, "+OK 0 0", "STAT")
}
