//go:build e2e

package e2e

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// perlETRN sends ETRN with Perl's Net::SMTP and prints the reply.
const perlETRN = `use Net::SMTP;
my $c = Net::SMTP->new("127.0.0.1", Port => shift, Hello => "branch.example", Timeout => 30) or die "no connection";
defined $c->supports("ETRN") or die "ETRN is not offered";
$c->etrn(shift);
print $c->code, " ", $c->message;
$c->quit;
`

// etrnClients request the mail of a node and print the reply.
var etrnClients = []struct {
	program string
	command func(t *testing.T, o *office, node string) *exec.Cmd
	started string // output if mail follows
	nothing string // output if there is none
	refused string // output if the client may not ask
}{
	{"perl", func(t *testing.T, o *office, node string) *exec.Cmd {
		return o.command(t, "perl", "-e", perlETRN, o.port("smtp"), node)
	}, "253 ", "251 ", "459 "},
	{"fetchmail", func(t *testing.T, o *office, node string) *exec.Cmd {
		rc := fmt.Sprintf("set pidfile %q\npoll 127.0.0.1 protocol ETRN port %s\n  sslproto \"\" fetchdomains %s\n", o.path("fetchmail.pid"), o.port("smtp"), node)
		return o.command(t, "fetchmail", "--verbose", "--nosyslog", "--fetchmailrc", o.write(t, "fetchmailrc", rc))
	}, "253 ", "251 ", "459 "},
}

// TestOutboundETRNServed checks that mail of a route is held until its server asks for it. Then the
// server gets the mail of the requested domain, and of no other. Other clients get nothing, and
// TURN is refused.
func TestOutboundETRNServed(t *testing.T) {
	k := newSink(t, "")
	o, _ := sendingOffice(t)
	o.route(t, `domains = ["branch.example", "*.branch.example"]`, `smart_host = ["[127.0.0.1]:`+k.port+`"]`, "hold = true", `etrn_hosts = ["127.0.0.1"]`)
	o.route(t, `domains = ["foreign.example"]`, `smart_host = ["[127.0.0.1]:`+k.port+`"]`, "hold = true", `etrn_hosts = ["192.0.2.25"]`)
	o.serve(t)
	o.submit(t, letter("not to be had"), "bob@foreign.example")
	o.submit(t, letter("below"), "bob@south.branch.example")

	arrived := 0
	for _, client := range etrnClients {
		t.Run(client.program, func(t *testing.T) {
			needs(t, client.program)
			for _, kept := range []string{"one", "two"} {
				o.submit(t, letter(kept), "bob@branch.example")
			}
			for _, m := range o.queue(t) {
				if m.State.Wait != "kept" || m.To[0].Attempts > 0 {
					t.Errorf("%s for %s does not wait: %+v", m.ID, m.To[0].Address, m)
				}
			}
			ask := func(node, want string) {
				t.Helper()
				// fetchmail's exit code only shows whether there was mail for it to count.
				if out, _ := run(t, client.command(t, o, node)); !strings.Contains(out, want) {
					t.Errorf("ETRN %s: want %q in\n%s", node, want, out)
				}
			}
			ask("foreign.example", client.refused)
			ask("unknown.example", client.refused)
			ask("branch.example", client.started)
			arrived += 2
			k.wantDumps(t, arrived)
			eventually(t, "what was sent has left the queue", func() bool { return len(o.queue(t)) == 2 })
			ask("branch.example", client.nothing)
		})
	}
	var subdomain []string
	for _, m := range o.queue(t) {
		subdomain = append(subdomain, m.To[0].Address)
	}
	if want := []string{"bob@foreign.example", "bob@south.branch.example"}; !slices.Equal(subdomain, want) {
		t.Errorf("the queue has mail for %v, want %v", subdomain, want)
	}
	s := o.mustDial(t, "smtp")
	s.ask(t, "250", "EHLO branch.example")
	s.ask(t, "502", "TURN")
	s.ask(t, "253", "ETRN @branch.example")
	k.wantDumps(t, arrived+1)
	s.ask(t, "221", "QUIT")
}

// TestOutboundETRNAsked requests the office's mail from Postfix, which holds it until then.
func TestOutboundETRNAsked(t *testing.T) {
	needs(t, "smtp-source")
	o, _ := sendingOffice(t)
	p := newPostfix(t, "relay_domains = office.example\nrelayhost = [127.0.0.1]:"+o.port("smtp")+"\n")
	for n := 1; n <= 2; n++ {
		mustRun(t, o.command(t, "smtp-source", "-f", "someone@other.example", "-t", anna, "-S", fmt.Sprint("waiting ", n), "127.0.0.1:"+p.port))
	}
	eventually(t, "Postfix has tried in vain", func() bool { return strings.Count(p.log(t), "status=deferred") >= 2 })
	o.edit(t, func(config string) string {
		return config + "\n[[fetch]]\nname = \"isp\"\netrn_server = \"[127.0.0.1]:" + p.port + "\"\netrn_domains = [\"" + domain + "\"]\nevery = \"1h\"\n"
	})
	s := o.serve(t)
	for _, text := range o.wantMail(t, anna, 2) {
		if !strings.Contains(text, "Subject: waiting ") {
			t.Errorf("anna has %q", text)
		}
	}
	if !strings.Contains(p.log(t), "etrn=1") {
		t.Error("Postfix saw no ETRN")
	}
	if n := p.waiting(t); n > 1 { // Postfix may still be removing the last one
		t.Errorf("%d messages still wait at Postfix", n)
	}
	s.stop(t)
}
