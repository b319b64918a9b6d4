//go:build e2e

package e2e

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"
)

// TestDirectoryDown kills the directory during work. Cached users can still log in, no user is told
// that the password is wrong, and everything works again when the directory is back.
func TestDirectoryDown(t *testing.T) {
	o, d := newOffice(t), newSlapd(t)
	o.useDirectory(t, d.entry("lookup = true", `start_tls = true`, `ca_file = "`+d.File("ca.pem")+`"`))
	s := o.serve(t)
	s.errors = []string{"cannot look up the recipient"}
	known := func() {
		t.Helper()
		o.wantDoors(t, anna, annaLDAP, "", "")
		o.wantDoors(t, "bmeier", bertLDAP, "", "")
		o.wantDoors(t, "emil", emilLDAP, "", "")
		for _, to := range []string{anna, "a.muster@" + domain, bertMeier, "team@" + domain} {
			o.wantRCPT(t, to, "250")
		}
	}
	known()
	o.wantRCPT(t, "nobody@"+domain, "550")
	o.wantDoors(t, boss, bossLDAP+"x", wrongPOP3, wrongSMTP)
	time.Sleep(1100 * time.Millisecond) // until the cache has expired

	resume := func() {}
	for _, how := range []string{"killed", "hanging"} {
		if how == "killed" {
			d.Kill()
		} else {
			resume = d.Pause(t)
		}
		begun := time.Now()
		known()
		o.deliver(t, letter("while the directory is "+how), bertMeier)
		o.wantSends(t, "anna", annaLDAP, anna)
		o.wantSends(t, "emil", emilLDAP, emil) // his address is not in the cache
		o.wantDoors(t, "dora", doraLDAP, laterPOP3, laterSMTP)
		o.wantDoors(t, boss, bossLDAP+"x", laterPOP3, laterSMTP)
		o.wantDoors(t, anna, annaLDAP+"x", laterPOP3, laterSMTP)
		o.wantRCPT(t, dora, "451 4.3.0")
		o.wantRCPT(t, "new@"+domain, "451 4.3.0")
		if took := time.Since(begun); took > 30*time.Second {
			t.Errorf("%s: it took %v", how, took)
		}
		if how == "killed" {
			d.Start(t)
		} else {
			resume()
		}
		begun = time.Now()
		for range 400 {
			if strings.HasPrefix(o.rcpt(t, "new@"+domain), "550") {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("%s: it took %v until the directory was asked again", how, took)
		}
		known()
		o.wantDoors(t, anna, annaLDAP+"x", wrongPOP3, wrongSMTP)
		o.wantDoors(t, boss, bossLDAP+"x", wrongPOP3, wrongSMTP)
	}
	o.wantDoors(t, "dora", doraLDAP, "", "")
	o.wantDoors(t, boss, bossLDAP, "", "")
	if n := len(o.files(t, bertMeier)); n != 2 {
		t.Errorf("bert has %d messages, want 2", n)
	}
	s.stop(t)
	log := s.log.String()
	for _, line := range []string{"directory server down", "directory server up again"} {
		if n := strings.Count(log, `msg="`+line+`" directory=corp server=ldap://`+d.Plain); n != 2 {
			t.Errorf("the log tells %d times of %q, want 2", n, line)
		}
	}
	noSecrets(t, "the log", log)

	// A server that starts while the directory is down cannot check a password, but the existing
	// mailboxes tell it which mail to accept.
	d.Kill()
	s = o.serve(t)
	s.errors = []string{"cannot look up the recipient"}
	o.wantDoors(t, anna, annaLDAP, laterPOP3, laterSMTP)
	o.wantRCPT(t, anna, "250")
	o.wantRCPT(t, "dora@"+domain, "250")
	o.wantRCPT(t, "team@"+domain, "451 4.3.0")
	d.Start(t)
	eventually(t, "anna logs in again", func() bool {
		pop3, _ := o.doors(t, anna, annaLDAP)
		return strings.HasPrefix(pop3, "+OK")
	})
}

// wantSends sends a message to boss and expects success.
func (o *office) wantSends(t testing.TB, user, password, from string) {
	t.Helper()
	c := o.mustDial(t, "submission")
	defer c.Close()
	c.ask(t, "250", "EHLO pc.example")
	c.ask(t, "235", "AUTH PLAIN %s", base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password)))
	if reply, err := c.transact(from, letterFrom(from), boss); err != nil || !strings.HasPrefix(reply, "250 2.6.0") {
		t.Errorf("%s sends as %s: answered %q, %v", user, from, reply, err)
	}
}

// TestDirectoryServers checks that the second server is used if the first is dead, and that the
// first is used again when it is back.
func TestDirectoryServers(t *testing.T) {
	o, first, second := newOffice(t), newSlapd(t), newSlapd(t)
	o.useDirectory(t, second.entry("lookup = true", `servers = ["ldap://`+first.Plain+`", "ldap://`+second.Plain+`"]`))
	s := o.serve(t)
	o.wantDoors(t, anna, annaLDAP, "", "")
	first.Kill()
	o.wantDoors(t, boss, bossLDAP, "", "")
	o.wantRCPT(t, dora, "250")
	o.wantRCPT(t, "nobody@"+domain, "550")
	s.wantLog(t, `msg="directory server down" directory=corp server=ldap://`+first.Plain)
	out, code := run(t, o.command(t, binary, "admin", "directory", "test", "corp"))
	flat := strings.Join(strings.Fields(out), " ")
	if code != 1 || !strings.Contains(flat, "ldap://"+first.Plain+" connect FAILED") || !strings.Contains(flat, "ldap://"+second.Plain+" connect ok") {
		t.Errorf("admin directory test: exit code %d\n%s", code, out)
	}
	first.Start(t)
	eventually(t, "the first server serves again", func() bool {
		o.rcpt(t, "new"+time.Now().Format("150405000")+"@"+domain)
		return strings.Contains(s.log.String(), `msg="directory server up again" directory=corp server=ldap://`+first.Plain)
	})
	second.Kill()
	o.wantDoors(t, "emil", emilLDAP, "", "")
	o.wantDoors(t, anna, annaLDAP+"x", wrongPOP3, wrongSMTP)
	s.stop(t)
}
