//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// somebody is a user of this machine other than root: an unused number, so that tests do not
// collide.
const somebody = "#54321"

// asSomebody runs pillarbox as another user, who may read only the configuration.
func (o *office) asSomebody(t *testing.T, stdin string, args ...string) (output string, code int) {
	t.Helper()
	uid := strings.TrimPrefix(somebody, "#")
	cmd := o.command(t, "setpriv", append([]string{"--reuid=" + uid, "--regid=" + uid, "--clear-groups", o.path("bin", "pillarbox")}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	return run(t, cmd)
}

// newTownHall returns a running office with two domains. All users of the machine can reach its
// configuration and operators' socket.
func newTownHall(t *testing.T, more ...func(*office)) *office {
	t.Helper()
	if os.Geteuid() != 0 {
		unavailable(t, "only root can become another user")
	}
	needs(t, "setpriv")
	o := newOffice(t)
	o.pillarbox(t, "", "admin", "domain", "add", "other.example")
	o.pillarbox(t, "", "admin", "mailbox", "add", "eve@other.example", "--no-password")
	o.edit(t, func(text string) string {
		return strings.Replace(text, "[operators]\n", "[operators]\nsocket = \""+o.path("run", "admin.sock")+"\"\n", 1)
	})
	for dir := o.dir; dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(o.config, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(o.path("bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	mustRun(t, exec.Command("install", "-m", "0755", binary, o.path("bin", "pillarbox")))
	for _, change := range more {
		change(o)
	}
	o.serve(t)
	return o
}

// TestOperator adds a user of the machine as an operator, who works over the socket, and removes
// the operator again.
func TestOperator(t *testing.T) {
	o := newTownHall(t)
	steps := []struct {
		name   string
		root   []string // commands of root before the test case
		stdin  string
		args   []string
		code   int
		output string
	}{
		{"a stranger", nil, "", []string{"mailbox", "list"}, 1, "the user " + somebody + " is no operator of this mail server"},
		{"he sees his domain", []string{"operator", "add", "unix:" + somebody, "--domain", domain}, "", []string{"mailbox", "list"}, 0, anna},
		{"and no other", nil, "", []string{"mailbox", "show", "eve@other.example"}, 1, "not permitted: " + somebody + " is not an operator of other.example"},
		{"he makes a mailbox", nil, claraPassword + "\n", []string{"mailbox", "add", clara, "--password-stdin"}, 0, "mailbox " + clara + " added"},
		{"not elsewhere", nil, "", []string{"mailbox", "add", "clara@other.example", "--no-password"}, 1, "not permitted"},
		{"he is asked before a loss", nil, "", []string{"mailbox", "remove", boss}, 1, "use --yes to do it without asking"},
		{"what is everybody's is not his", nil, "", []string{"queue", "list"}, 1, "not permitted: this needs an operator of all domains"},
		{"nor is the server", nil, "", []string{"reload"}, 1, "not permitted"},
		{"files of the server are not", nil, "", []string{"mailbox", "export", anna, o.path("stolen")}, 1, "not permitted: admin mailbox export: it works on files"},
		{"he makes no operators", nil, "", []string{"operator", "add", "unix:eve"}, 1, "not permitted"},
		{"a mistake is one", nil, "", []string{"mailbox", "lock", "nobody@" + domain}, 1, "not found"},
		{"a command line is understood here", nil, "", []string{"mailbox", "lock"}, 2, "an argument is missing"},
		{"all domains", []string{"operator", "add", "unix:@" + "no-such-group"}, "", []string{"queue", "list"}, 1, "not permitted"},
		{"he may do more now", []string{"operator", "remove", "unix:" + somebody}, "", []string{"mailbox", "list"}, 1, "is no operator"},
		{"of all, read-only", []string{"operator", "add", "unix:" + somebody, "--read-only"}, "", []string{"queue", "list"}, 0, "no matching messages"},
		{"he changes nothing", nil, "", []string{"mailbox", "lock", anna}, 1, "but not change it"},
		{"he sees who did what", nil, "", []string{"audit", "--object", clara}, 0, "control socket"},
		{"the end", []string{"operator", "remove", "unix:" + somebody}, "", []string{"audit"}, 1, "is no operator"},
	}
	for _, s := range steps {
		if s.root != nil {
			o.pillarbox(t, "", append([]string{"admin"}, s.root...)...)
		}
		output, code := o.asSomebody(t, s.stdin, append([]string{"admin"}, s.args...)...)
		if code != s.code || !strings.Contains(output, s.output) {
			t.Errorf("%s: exit code %d, want %d and %q:\n%s", s.name, code, s.code, s.output, output)
		}
	}
	if _, err := os.Stat(o.path("stolen")); err == nil {
		t.Error("mail was exported")
	}
	o.wantLogins(t, clara, claraPassword, "", "")
	events := strings.Join(strings.Fields(o.pillarbox(t, "", "admin", "audit", "--by", somebody, "-n", "0")), " ")
	for _, part := range []string{"mailbox add " + clara, "control socket", "refused: the user " + somebody} {
		if !strings.Contains(events, part) {
			t.Errorf("%q is not in the audit log:\n%s", part, events)
		}
	}
	if strings.Contains(events, claraPassword) {
		t.Errorf("the password is in the audit log:\n%s", events)
	}
}

// TestOneRoad has root and an operator do the same over the server, each under its own name.
func TestOneRoad(t *testing.T) {
	o := newTownHall(t, func(o *office) {
		o.set(t, "outbound", "retries", `["1h"]`)
		o.route(t, `domains = ["partner.example"]`, `smart_host = ["127.0.0.1:1"]`, `tls = "off"`)
	})
	o.pillarbox(t, "", "admin", "operator", "add", "unix:"+somebody)
	id := o.submit(t, letter("one road"), "bob@partner.example")
	o.wantDeferred(t, id)
	for who, from := range map[string]string{"root": "command line", somebody: "control socket"} {
		name := "dora" + strings.Trim(who, "#") + "@" + domain
		for _, step := range []struct {
			args   string
			output string
			act    string // in the audit log; "": nothing is changed
		}{
			{"admin queue hold --all", "held 1 message", "queue hold"},
			{"admin queue release " + id, "released 1 message", "queue release"},
			{"admin queue retry --domain partner.example", "gave 1 message their turn now", "queue retry"},
			{"winpop add " + name, "mailbox " + name + " added", "mailbox add"},
			{"winpop list " + domain, name, ""},
			{"winpop stat", domain, ""},
			{"settings " + name, "In the mail program of " + name, ""},
			{"admin retention set " + name + " --after 30 --yes", "deletes mail after 30 days", "retention set"},
			{"admin retention run " + name + " --yes", "no mail was due", ""},
			{"admin quota recalculate", domain, ""},
			{"admin reload", "reloaded", "reload"},
			{"winpop del " + name, "removed", "mailbox remove"},
		} {
			args, output := strings.Fields(step.args), ""
			if who == "root" {
				output = o.pillarbox(t, "", args...)
			} else {
				output, _ = o.asSomebody(t, "", args...)
			}
			if !strings.Contains(output, step.output) {
				t.Errorf("%s, %s: %s", who, step.args, output)
			}
			if step.act == "" {
				continue
			}
			last := strings.Join(strings.Fields(o.pillarbox(t, "", "admin", "audit", "-n", "1")), " ")
			if !strings.Contains(last, " "+who+" ") || !strings.Contains(last, " "+step.act+" ") ||
				!strings.Contains(last, from) && !strings.Contains(last, "winpop") {
				t.Errorf("%s, %s: the audit log has %s", who, step.args, last)
			}
		}
		if who == "root" { // an attempt is under way, or over
			o.wantDeferred(t, id)
		}
	}
}

// TestOperatorsFiles checks that other users cannot read the server's files, not even with an
// operator's commands.
func TestOperatorsFiles(t *testing.T) {
	o := newTownHall(t)
	o.pillarbox(t, "", "admin", "operator", "add", "unix:"+somebody)
	for _, name := range []string{"audit.log", "operators.json"} {
		info, err := os.Stat(o.path("data", name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	for _, args := range [][]string{
		{"--config", "/etc/shadow", "admin", "mailbox", "list"},
		{"admin", "tls", "export-ca", "--output", o.path("data", "planted")},
		{"admin", "policy", "diff", "/etc/shadow"},
	} {
		output, code := o.asSomebody(t, "", args...)
		if code == 0 || strings.Contains(output, "root:") {
			t.Errorf("%v: exit code %d\n%s", args, code, output)
		}
	}
	if _, err := os.Stat(o.path("data", "planted")); err == nil {
		t.Error("the server has written a file for an operator")
	}
	if output, code := o.asSomebody(t, "", "admin", "tls", "export-ca"); code != 0 || !strings.Contains(output, "BEGIN CERTIFICATE") {
		t.Errorf("the CA on standard output: exit code %d\n%s", code, output)
	}
}

// TestOperatorWithoutSocket tells an operator that the server does not answer, not to become root.
func TestOperatorWithoutSocket(t *testing.T) {
	o := newTownHall(t, func(o *office) {
		o.edit(t, func(text string) string {
			return strings.Replace(text, "[operators]\n", "[operators]\nenabled = false\n", 1)
		})
	})
	output, code := o.asSomebody(t, "", "admin", "mailbox", "list")
	if code != 1 || !strings.Contains(output, "the server does not answer on "+o.path("run", "admin.sock")) {
		t.Errorf("exit code %d\n%s", code, output)
	}
}
