package setup

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"pillarbox/cmd/internal/netinfo"
)

func TestPortNote(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string // the end of the note
	}{
		{fmt.Errorf("listen tcp :25: bind: %w", syscall.EACCES), ""},
		{&netinfo.PortError{Address: ":25"}, "cannot start until the address is free"},
		{&netinfo.AddressError{Address: "192.0.2.9:25"}, "cannot start with this address in [listen]"},
	} {
		if got := portNote(c.err); !strings.HasSuffix(got, c.want) || (got == "") != (c.want == "") {
			t.Errorf("%v: %q, want %q", c.err, got, c.want)
		}
	}
}
