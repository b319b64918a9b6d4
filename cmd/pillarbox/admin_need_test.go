package main

import (
	"testing"

	"github.com/spf13/cobra"
)

// Every command of "pillarbox admin" has its place in needOf: who adds one decides
// which operators may have it done by the server.
func TestEveryCommandHasItsNeed(t *testing.T) {
	root := new(app).rootCommand()
	var look func(cmd *cobra.Command)
	look = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			look(sub)
		}
		if isAdmin(cmd) && !cmd.HasSubCommands() && needOf(cmd) == needsUnknown {
			t.Errorf("%s: what does it ask of an operator? Say it in needOf", callName(cmd))
		}
	}
	look(root)
}

func TestWithoutConfig(t *testing.T) {
	for _, tt := range []struct{ args, want []string }{
		{[]string{"--config", "x", "admin", "reload"}, []string{"admin", "reload"}},
		{[]string{"admin", "--config=x", "reload"}, []string{"admin", "reload"}},
		{[]string{"admin", "reload", "--config"}, []string{"admin", "reload"}},
		{[]string{"admin", "alias", "add", "--", "--config", "x"}, []string{"admin", "alias", "add", "--", "--config", "x"}},
	} {
		got := withoutConfig(tt.args)
		if len(got) != len(tt.want) {
			t.Errorf("%q: %q", tt.args, got)
			continue
		}
		for i := range got {
			if got[i] != tt.want[i] {
				t.Errorf("%q: %q", tt.args, got)
			}
		}
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
