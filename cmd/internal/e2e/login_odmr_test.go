//go:build e2e

package e2e

import (
	"fmt"
	"testing"
)

// TestLogInODMR fetches the mail that is held for boss's server by ATRN (RFC 2645) with fetchmail,
// whose only mechanism for that is CRAM-MD5.
func TestLogInODMR(t *testing.T) {
	needs(t, "fetchmail")
	k := newSink(t, "")
	o := relayingOffice(t)
	o.pillarbox(t, bossPassword+"\n", "admin", "mailbox", "passwd", boss, "--password-stdin", "--cram-md5")
	s := o.serve(t)
	o.submit(t, letter("one"), "bob@branch.example")
	o.submit(t, letter("two"), "bob@branch.example", "eve@branch.example")
	rc := fmt.Sprintf(`set pidfile "%s" set no bouncemail
poll 127.0.0.1 protocol odmr port %s
  username "%s" password "%s" fetchdomains branch.example smtphost 127.0.0.1/%s
`, o.path("fetchmail.pid"), o.port("odmr"), boss, bossPassword, k.port)
	cmd := o.command(t, "fetchmail", "--fetchmailrc", o.write(t, "fetchmailrc", rc), "--nosyslog", "--nodetach")
	mustRun(t, cmd)
	k.wantDumps(t, 2)
	s.wantLog(t, "mechanism=CRAM-MD5")
	o.wantQueueEmpty(t)
}
