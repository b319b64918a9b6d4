//go:build e2e

package e2e

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestLogInExpired checks that an expired password is refused, and that only a client with the
// right password learns the reason. A new password works at once.
func TestLogInExpired(t *testing.T) {
	needs(t, "curl")
	o := newSecretOffice(t)
	o.set(t, "passwords", "max_age", "90")
	account := o.mailbox(anna) + "/account.json"
	old := regexp.MustCompile(`"password_set": "[^"]+"`).ReplaceAllString(read(t, account), `"password_set": "2025-01-02T03:04:05Z"`)
	if err := os.WriteFile(account, []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	s := o.serve(t)
	send := submission{service: "smtps", security: "implicit", user: anna, to: boss,
		file: o.write(t, "message.eml", letter("old")), ca: o.ca}
	poll := fetch{service: "pop3s", security: "implicit", user: anna}
	const smtp, pop3 = "535 5.7.8 The password has expired; ask your administrator", "-ERR [AUTH] the password has expired; ask the administrator"
	for _, mechanism := range []string{"PLAIN", "NTLM", "CRAM-MD5", "APOP"} {
		send.login, send.password = mechanism, annaPassword
		poll.login, poll.password = mechanism, annaPassword
		if mechanism != "APOP" {
			if out, code := run(t, curlSend(t, o, send)); code != 67 || !strings.Contains(out, smtp) {
				t.Errorf("SMTP %s: exit code %d\n%s", mechanism, code, out)
			}
		}
		cmd := curlList(t, o, poll)
		cmd.Args = append(cmd.Args, "--verbose")
		if out, code := run(t, cmd); code != 67 || !strings.Contains(out, pop3) {
			t.Errorf("POP3 %s: exit code %d\n%s", mechanism, code, out)
		}
	}
	send.login, send.password = "PLAIN", wrongPassword
	if out, _ := run(t, curlSend(t, o, send)); !strings.Contains(out, "535 5.7.8 Authentication credentials invalid") {
		t.Errorf("who does not know it is told of it:\n%s", out)
	}
	s.wantLog(t, `reason="the password is too old"`)
	if by, not := o.ways(t, anna); by != "" && by != "-" || !strings.Contains(not, "the password has expired") {
		t.Errorf("mailbox show: by %q, not by\n%s", by, not)
	}
	o.pillarbox(t, bossPassword+"\n", "admin", "mailbox", "passwd", anna, "--password-stdin")
	poll.login, poll.password = "NTLM", bossPassword
	s.wantLogIn(t, curlList(t, o, poll), "NTLM")
}
