package main

import (
	"strings"
	"syscall"
	"testing"

	"pillarbox/cmd/internal/config"
)

func TestDataNote(t *testing.T) {
	cfg := config.Default()
	cfg.Data = "/var/lib/pilarbox"
	for _, c := range []struct {
		err  error
		want []string
	}{
		{nil, nil},
		{syscall.ENOENT, []string{"the directory /var/lib/pilarbox does not exist", "correct the path", "pillarbox setup"}},
		{syscall.EACCES, []string{"this user may not open the data directory /var/lib/pilarbox", "were not checked", "sudo pillarbox config check"}},
	} {
		got := dataNote(&cfg, c.err)
		if (got == "") != (c.want == nil) {
			t.Errorf("%v: %q", c.err, got)
		}
		for _, want := range c.want {
			if !strings.Contains(got, want) {
				t.Errorf("%v: %q lacks %q", c.err, got, want)
			}
		}
	}
}
