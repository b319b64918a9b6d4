//go:build e2e

package e2e

import (
	"strings"
	"testing"
)

// nmap runs nmap scripts against one service and returns their output.
func (o *office) nmap(t *testing.T, service, scripts string, args ...string) string {
	t.Helper()
	// The plus makes a script run on a port that it does not know.
	args = append(args, "-Pn", "-n", "--unprivileged", "-vv", "-p", o.port(service), "--script", scripts, "127.0.0.1")
	return mustRun(t, o.command(t, "nmap", args...))
}

// TestScan scans the server with nmap: its offers, and that it neither relays nor reveals which
// mailboxes exist.
func TestScan(t *testing.T) {
	needs(t, "nmap")
	o := newOffice(t)
	// Every probe must get a reply, even after the usual limit of errors.
	o.edit(t, func(config string) string {
		return strings.Replace(config, "# max_errors = 10", "max_errors = 1000", 1)
	})
	o.serve(t)
	tests := []struct {
		service, script string
		args            []string
		want            []string
	}{
		{"smtp", "+smtp-open-relay", nil, []string{"Server doesn't seem to be an open relay, all tests failed"}},
		{"smtp", "+smtp-commands", nil, []string{"PIPELINING", "SIZE 50000000", "8BITMIME", "SMTPUTF8",
			"ENHANCEDSTATUSCODES", "STARTTLS", "AUTH PLAIN LOGIN", "AUTH=LOGIN"}},
		{"pop3", "+pop3-capabilities", nil, []string{"STLS", "TOP", "UIDL", "USER", "PIPELINING", "RESP-CODES",
			"AUTH-RESP-CODE", "SASL(PLAIN LOGIN)", "EXPIRE(NEVER)", "IMPLEMENTATION("}},
	}
	for _, tt := range tests {
		t.Run(tt.script[1:], func(t *testing.T) {
			out := o.nmap(t, tt.service, tt.script, tt.args...)
			for _, want := range tt.want {
				if !strings.Contains(out, want) {
					t.Errorf("%q is missing:\n%s", want, out)
				}
			}
		})
	}
	if n := len(o.stored(t, anna)) + len(o.stored(t, boss)); n > 0 {
		t.Errorf("the scan left %d messages", n)
	}
}

// TestEnumerateUsers asks for existing names with VRFY and EXPN. (RCPT must reveal them: RFC 5321
// requires that unknown recipients are refused at once.)
func TestEnumerateUsers(t *testing.T) {
	needs(t, "nmap")
	o := newOffice(t)
	o.serve(t)
	names := o.write(t, "names", "anna\nboss\nroot\npostmaster\n")
	out := o.nmap(t, "smtp", "+smtp-enum-users", "--script-args",
		"smtp-enum-users.methods={VRFY,EXPN},smtp-enum-users.domain="+domain+",userdb="+names)
	if !strings.Contains(out, "smtp-enum-users:") || strings.Contains(out, "anna") || strings.Contains(out, "boss") {
		t.Errorf("nmap found users, or did not look for any:\n%s", out)
	}
}
