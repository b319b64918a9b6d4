package main

import (
	"testing"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
)

// Every command of "pillarbox admin" has a verb of its name, so that an operator can use it, and
// every verb has a command.
func TestEveryCommandHasItsVerb(t *testing.T) {
	local := map[string]bool{"quota template": true}                                                            // needs no server and no data
	inner := map[string]bool{"checkpoint": true, "recount": true, "sessions kill": true, "log level set": true, // of "mailbox import"; a flag of "sessions"; arguments of "log level"
		"mailbox second-factor add": true, "mailbox second-factor codes": true, "mailbox reset": true, "mailbox find": true, "backup restore-mailbox": true, "backup start": true, "undelete show": true} // of the page
	other := map[string]bool{"settings": true, "winpop stat": true, "winpop stat domain": true, "winpop set": true} // not under admin
	verbs := make(map[string]bool)
	for _, v := range admin.Verbs() {
		if !inner[v.Name()] && !other[v.Name()] {
			verbs[v.Name()] = true
		}
	}
	var look func(cmd *cobra.Command, name string)
	look = func(cmd *cobra.Command, name string) {
		for _, sub := range cmd.Commands() {
			look(sub, name+sub.Name()+" ")
		}
		if name = name[:max(len(name)-1, 0)]; cmd.HasSubCommands() || local[name] {
			return
		}
		if !verbs[name] {
			t.Errorf("admin %s has no verb", name)
		}
		delete(verbs, name)
	}
	look(new(app).adminCommand(), "")
	for name := range verbs {
		t.Errorf("the verb %s has no command", name)
	}
}

func TestLocalActor(t *testing.T) {
	for _, tt := range []struct {
		uid  int
		sudo string
		want string
	}{
		{0, "", "root"}, {0, "nobody", "root (sudo by nobody)"}, {0, "root", "root"}, {0, "no such user", "root"},
		{65534, "daemon", "nobody"}, {2000000000, "", "#2000000000"},
	} {
		if got := localUser(tt.uid, tt.sudo); got != tt.want {
			t.Errorf("%d, %q: %q, want %q", tt.uid, tt.sudo, got, tt.want)
		}
	}
	for _, tt := range []struct{ ssh, terminal, want string }{
		{"", "", "command line"}, {"192.0.2.7 40000 192.0.2.1 22", "pts/1", "command line, pts/1, 192.0.2.7"},
		{"2001:db8::7 1 x 2", "", "command line, 2001:db8::7"}, {"anything\n", "tty1", "command line, tty1"},
	} {
		if got := localPlace(tt.ssh, tt.terminal); got != tt.want {
			t.Errorf("%q, %q: %q, want %q", tt.ssh, tt.terminal, got, tt.want)
		}
	}
}
