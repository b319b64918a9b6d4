//go:build e2e

package e2e

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"pillarbox/mailstore/auth/ntlm"
)

// ways returns the mechanisms in "admin mailbox show": those that work, and the lines of the
// others.
func (o *office) ways(t *testing.T, user string) (by, not string) {
	t.Helper()
	for line := range strings.Lines(o.pillarbox(t, "", "admin", "mailbox", "show", user)) {
		if ways, ok := strings.CutPrefix(line, "Log in by:"); ok {
			by = strings.TrimSpace(ways)
		}
		if strings.HasPrefix(line, "Not by:") {
			not += line
		}
	}
	return by, not
}

// secretsOf returns a password and the secrets derived from it, in all encodings.
func secretsOf(password string) (all []string) {
	nt := ntlm.Hash(password)
	all = []string{password, base64.StdEncoding.EncodeToString([]byte(password)), hex.EncodeToString([]byte(password))}
	return append(all, base64.StdEncoding.EncodeToString(nt), hex.EncodeToString(nt), strings.ToUpper(hex.EncodeToString(nt)))
}

// TestLogInFills checks that a mailbox with SPA gets its secret at the next login with the
// password. Neither the disk nor the log may contain the password or an equivalent in the clear.
func TestLogInFills(t *testing.T) {
	needs(t, "curl")
	o := newOffice(t)
	o.set(t, "auth", "challenge_networks", `["127.0.0.0/8"]`)
	s := o.serve(t)
	send := submission{service: "submission", security: "starttls", login: "NTLM", user: anna, password: annaPassword,
		to: boss, file: o.write(t, "message.eml", letter("filled")), ca: o.ca}
	spa := func(by string) bool { return strings.Contains(by, "NTLM") }

	by, not := o.ways(t, anna)
	if by != "PLAIN, LOGIN" || !strings.Contains(not, "NTLM: spa is not stored") {
		t.Errorf("at first: by %s, not by\n%s", by, not)
	}
	o.pillarbox(t, "", "admin", "mailbox", "secrets", anna, "spa", "cram-md5")
	if by, not = o.ways(t, anna); spa(by) || !strings.Contains(not, "the next login with PLAIN or LOGIN, or a new password, stores spa") {
		t.Errorf("before the log-in: by %s, not by\n%s", by, not)
	}
	plain := send
	plain.login = "PLAIN"
	mustRun(t, curlSend(t, o, plain))
	if by, not = o.ways(t, anna); by != "NTLM (its second version only; auth.ntlm_v1), CRAM-MD5, PLAIN, LOGIN" {
		t.Errorf("after the log-in: by %s, not by\n%s", by, not)
	}
	s.wantLog(t, "the secrets of a mailbox are stored")
	eventually(t, "NTLM is offered and works", func() bool {
		_, code := run(t, curlSend(t, o, send))
		return code == 0 && s.logIns("NTLM") == 1
	})

	info, err := os.Stat(o.path("data", "secrets.key"))
	if err != nil || info.Mode().Perm() != 0o600 || info.Size() != 32 {
		t.Errorf("secrets.key: %v, %v", info, err)
	}
	for _, secret := range append(secretsOf(annaPassword), read(t, o.path("data", "secrets.key"))) {
		for name, text := range map[string]string{"account.json": read(t, o.mailbox(anna)+"/account.json"), "the log": s.log.String()} {
			if strings.Contains(text, secret) {
				t.Errorf("%s holds a secret: %s", name, secret)
			}
		}
	}
	o.pillarbox(t, "", "admin", "mailbox", "secrets", anna, "none")
	if by, _ = o.ways(t, anna); by != "PLAIN, LOGIN" {
		t.Errorf("after secrets none: by %s", by)
	}
}

// TestLogInRefused checks that every mechanism gives the same reply to a wrong password, an unknown
// user and a mailbox without the secret. Only the log distinguishes them. Each case has its own
// user, because repeated failures are delayed.
func TestLogInRefused(t *testing.T) {
	needs(t, "curl", "gsasl")
	o := newSecretOffice(t)
	s := o.serve(t)
	for _, mechanism := range []string{"NTLM", "CRAM-MD5", "SCRAM-SHA-256", "APOP"} {
		for _, tt := range []struct{ name, password, reason string }{
			{"wrong", wrongPassword, "wrong password"},
			{"nobody", annaPassword, "no such user"},
			{"without", annaPassword, "the mailbox has no secret for this mechanism"},
		} {
			t.Run(mechanism+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				user := strings.ToLower(tt.name+"."+mechanism) + "@" + domain
				if tt.name != "nobody" {
					o.pillarbox(t, annaPassword+"\n", "admin", "mailbox", "add", user, "--password-stdin")
				}
				if tt.name == "wrong" {
					o.pillarbox(t, "", "admin", "mailbox", "secrets", user, "spa", "cram-md5", "apop", "scram")
					o.pillarbox(t, annaPassword+"\n", "admin", "mailbox", "passwd", user, "--password-stdin")
				}
				o.wantRefused(t, mechanism, user, tt.password)
				s.wantLog(t, "user="+user+" remote_ip=127.0.0.1 mechanism="+mechanism+` reason="invalid user name or password: `+tt.reason)
			})
		}
	}
}

// wantRefused expects the reply to a failed login, by SMTP and, if programs have the mechanism
// there, by POP3.
func (o *office) wantRefused(t *testing.T, mechanism, user, password string) {
	t.Helper()
	if mechanism != "APOP" {
		out, _ := run(t, o.gsasl(t, mechanism, user, password, "--no-cb"))
		if !strings.Contains(out, "535 5.7.8 User name or password is wrong, or this mailbox is not set up for "+mechanism+"; choose normal password (PLAIN or LOGIN) in the mail program\r\n") {
			t.Errorf("SMTP: another answer:\n%s", out)
		}
	}
	if mechanism != "SCRAM-SHA-256" {
		cmd := curlList(t, o, fetch{service: "pop3s", security: "implicit", login: mechanism, user: user, password: password})
		cmd.Args = append(cmd.Args, "--verbose")
		out, code := run(t, cmd)
		if code != 67 || !strings.Contains(out, "< -ERR [AUTH] user name or password is wrong, or this mailbox is not set up for "+mechanism+"; choose normal password in the mail program\r\n") {
			t.Errorf("POP3: exit code %d, want 67 (login denied)\n%s", code, out)
		}
	}
}

// TestLogInV1 checks that programs with only the first version of NTLM are refused, with a line in
// the log that names the key, until the key permits them.
func TestLogInV1(t *testing.T) {
	needs(t, "msmtp", "swaks", "fetchmail", "curl")
	o := newSecretOffice(t)
	o.set(t, "auth", "ntlm_v1", "false")
	s := o.serve(t)
	send := submission{service: "submission", security: "starttls", login: "NTLM", user: anna, password: annaPassword,
		to: boss, file: o.write(t, "message.eml", letter("v1")), ca: o.ca}
	poll := fetch{service: "pop3", security: "starttls", login: "NTLM", user: anna, password: annaPassword, ca: o.ca, out: o.path("fetched")}
	try := func() (codes [3]int) {
		_, codes[0] = run(t, msmtpSend(t, o, send))
		_, codes[1] = run(t, swaksSend(t, o, send))
		_, codes[2] = run(t, fetchmailBy(t, o, poll))
		return codes
	}
	s.wantLogIn(t, curlSend(t, o, send), "NTLM") // curl has the second version
	if codes := try(); codes != [3]int{77, 28, 3} {
		t.Errorf("exit codes %v, want those for a refused log-in", codes)
	}
	const reason = "the first version of NTLM, which auth.ntlm_v1 does not allow"
	if n := strings.Count(s.log.String(), reason); n < 3 {
		t.Errorf("the log names the key %d times, want 3", n)
	}
	o.set(t, "auth", "ntlm_v1", "true")
	o.pillarbox(t, "", "admin", "reload")
	if codes := try(); codes != [3]int{0, 0, 1} { // 1: no mail
		t.Errorf("exit codes %v once it is allowed", codes)
	}
}

// TestLogInSPAOnly checks that with require_spa only NTLM is offered and accepted, even over TLS.
func TestLogInSPAOnly(t *testing.T) {
	needs(t, "curl")
	o := newSecretOffice(t)
	o.set(t, "auth", "require_spa", "true")
	s := o.serve(t)
	send := submission{service: "smtps", security: "implicit", user: anna, password: annaPassword,
		to: boss, file: o.write(t, "message.eml", letter("spa")), ca: o.ca}
	for _, mechanism := range []string{"PLAIN", "LOGIN", "CRAM-MD5", "APOP"} {
		f := fetch{service: "pop3s", security: "implicit", login: mechanism, user: anna, password: annaPassword}
		if out, code := run(t, curlList(t, o, f)); code == 0 {
			t.Errorf("POP3 %s: curl is content\n%s", mechanism, out)
		}
		if send.login = mechanism; mechanism != "APOP" {
			if out, code := run(t, curlSend(t, o, send)); code == 0 || !strings.Contains(out, "AUTH NTLM") {
				t.Errorf("SMTP %s: exit code %d\n%s", mechanism, code, out)
			}
		}
	}
	smtp := o.mustDial(t, "submission")
	smtp.ask(t, "250", "EHLO pc."+domain)
	smtp.startTLSBy(t, o, "220", "STARTTLS")
	smtp.ask(t, "250", "EHLO pc."+domain)
	smtp.ask(t, "504 5.5.4 ", "AUTH PLAIN %s", base64.StdEncoding.EncodeToString([]byte("\x00"+anna+"\x00"+annaPassword)))
	pop3 := o.mustDial(t, "pop3")
	pop3.startTLSBy(t, o, "+OK", "STLS")
	pop3.ask(t, "-ERR only Secure Password Authentication (SPA)", "USER anna")
	if n := strings.Count(s.log.String(), "authentication succeeded"); n > 0 {
		t.Errorf("%d log-ins without SPA", n)
	}
	send.login = "NTLM"
	s.wantLogIn(t, curlSend(t, o, send), "NTLM")
	s.wantLogIn(t, curlList(t, o, fetch{service: "pop3", security: "plain", login: "NTLM", user: anna, password: annaPassword}), "NTLM")
	if by, _ := o.ways(t, anna); by != "NTLM" {
		t.Errorf("mailbox show: by %s", by)
	}
}

// startTLSBy sends the command for TLS and starts TLS.
func (s *session) startTLSBy(t *testing.T, o *office, want, command string) {
	t.Helper()
	s.ask(t, want, "%s", command)
	s.startTLS(t, o)
}

// TestLogInOthersSecrets checks that the secrets of one mailbox do not affect programs of another
// that choose the strongest mechanism. A program that is set to a mechanism can use it even where
// it is not offered.
func TestLogInOthersSecrets(t *testing.T) {
	needs(t, "curl")
	o := newOffice(t)
	s := o.serve(t)
	args, host := o.curl("submission", o.ca)
	auth := func(user, password string, more ...string) string {
		out, _ := run(t, o.command(t, "curl", append(append(args, "--verbose", "--user", user+":"+password, "smtp://"+host+"/pc."+domain,
			"--mail-from", user, "--request", "NOOP"), more...)...))
		var words []string
		for line := range strings.Lines(out) {
			if line = strings.TrimSpace(line); strings.HasPrefix(line, "< 235") || strings.HasPrefix(line, "< 535") || strings.Contains(line, "250-AUTH ") {
				words = append(words, line)
			}
		}
		return strings.Join(words, "\n")
	}
	fetch := func() string {
		args, host := o.curl("pop3", o.ca)
		out, code := run(t, o.command(t, "curl", append(args, "--user", boss+":"+bossPassword, "pop3://"+host+"/")...))
		return fmt.Sprint(code, out)
	}
	before, fetched := auth(boss, bossPassword), fetch()
	if !strings.Contains(before, "< 235") || !strings.HasPrefix(fetched, "0") {
		t.Fatalf("before:\n%s\n%s", before, fetched)
	}
	o.pillarbox(t, annaPassword+"\n", "admin", "mailbox", "passwd", anna, "--password-stdin", "--spa", "--cram-md5", "--apop")
	o.pillarbox(t, "", "admin", "mailbox", "secrets", anna, "spa", "cram-md5", "apop", "scram")
	auth(anna, annaPassword)
	time.Sleep(time.Second) // the server notices the change within this time
	if after := auth(boss, bossPassword); after != before {
		t.Errorf("after:\n%s\nbefore:\n%s", after, before)
	}
	if after := fetch(); after != fetched {
		t.Errorf("POP3 after: %s, before: %s", after, fetched)
	}
	if by, _ := o.ways(t, anna); !strings.Contains(by, "CRAM-MD5") {
		t.Errorf("anna can log in by %s", by)
	}

	o.set(t, "auth", "challenge_networks", `["127.0.0.0/8"]`)
	o.pillarbox(t, "", "admin", "reload")
	if got := auth(anna, annaPassword); !strings.Contains(got, "CRAM-MD5") || !strings.Contains(got, "< 235") {
		t.Errorf("anna in a named network:\n%s", got)
	}
	if got := auth(boss, bossPassword); !strings.Contains(got, "choose normal password (PLAIN or LOGIN)") {
		t.Errorf("boss is not told what to do:\n%s", got)
	}
	s.wantLog(t, "the mailbox has no secret for this mechanism")
	if got := auth(boss, bossPassword, "--login-options", "AUTH=PLAIN"); !strings.Contains(got, "< 235") {
		t.Errorf("boss after doing so:\n%s", got)
	}
}
