package daemon

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"pillarbox/cmd/internal/netinfo"
)

func TestListenHint(t *testing.T) {
	busy, away := &netinfo.PortError{Address: ":25"}, &netinfo.AddressError{Address: "192.0.2.9:25"}
	denied := fmt.Errorf("listen.smtp: %w", syscall.EACCES)
	for _, c := range []struct {
		errs []error
		want []string // words of the parts
	}{
		{[]error{busy, busy}, []string{"stop the program"}},
		{[]error{away}, []string{"an address of this machine"}},
		{[]error{denied, denied}, []string{"CAP_NET_BIND_SERVICE"}},
		{[]error{busy, denied}, []string{"stop the program", "CAP_NET_BIND_SERVICE"}},
	} {
		got := strings.Split(listenHint(c.errs), "; ")
		text := strings.Join(got, "; ")
		for _, word := range c.want {
			if !strings.Contains(text, word) {
				t.Errorf("%v: %q lacks %q", c.errs, text, word)
			}
		}
		for _, word := range []string{"stop the program", "an address of this machine", "CAP_NET_BIND_SERVICE"} {
			if n := strings.Count(text, word); n > 1 || n == 1 && !strings.Contains(strings.Join(c.want, " "), word) {
				t.Errorf("%v: %q has %q %d times", c.errs, text, word, n)
			}
		}
	}
}
