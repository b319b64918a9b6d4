package main

import "testing"

// Hints name the configuration that the command was given.
func TestTyped(t *testing.T) {
	for _, test := range []struct{ config, text, want string }{
		{"usual.toml", "'pillarbox admin reload' applies it", "'pillarbox admin reload' applies it"},
		{"var/p.toml", "'pillarbox admin reload' applies it",
			"'pillarbox admin reload --config var/p.toml' applies it"},
		{"var/p.toml", "a's: 'pillarbox admin domain add x' or 'pillarbox serve'; or 'passwd'",
			"a's: 'pillarbox admin domain add x --config var/p.toml' or 'pillarbox serve --config var/p.toml'; or 'passwd'"},
		{"var/p.toml", "'pillarbox serve --config x'", "'pillarbox serve --config x'"},
		{"my files/p.toml", "'pillarbox serve'", `'pillarbox serve --config "my files/p.toml"'`},
		{"var/p.toml", "the log of pillarbox", "the log of pillarbox"},
	} {
		a := &app{config: test.config, usualConfig: "usual.toml"}
		if got := a.typed(test.text); got != test.want {
			t.Errorf("%s, %s:\n got %s\nwant %s", test.config, test.text, got, test.want)
		}
	}
}
