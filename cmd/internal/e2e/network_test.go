//go:build e2e

package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// inOwnNetwork runs the test once more in a network of its own. This machine has the address there,
// the names lead to it, and all ports are free. It returns false in the process outside, which has
// nothing more to do.
func inOwnNetwork(t *testing.T, address string, names ...string) bool {
	t.Helper()
	const inside = "PILLARBOX_E2E_INSIDE"
	if os.Getenv(inside) != "" {
		return true
	}
	if os.Geteuid() != 0 {
		unavailable(t, "only root makes a network")
	}
	needs(t, "unshare", "ip", "mount")
	hosts := filepath.Join(t.TempDir(), "hosts")
	noError(t, os.WriteFile(hosts, []byte("127.0.0.1 localhost\n"+address+" "+strings.Join(names, " ")+"\n"), 0o644))
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "unshare", "--net", "--mount", "sh", "-c", `ip link set lo up &&
		ip addr add "$1/32" dev lo && mount --bind "$2" /etc/hosts &&
		exec "$0" -test.v -test.count=1 -test.timeout=4m -test.run "^$3$"`, os.Args[0], address, hosts, t.Name())
	cmd.Env = append(os.Environ(), inside+"=1", "PILLARBOX_E2E_BINARY="+binary)
	out, code := run(t, cmd)
	if code != 0 {
		t.Fatalf("in a network of its own: exit code %d\n%s", code, out)
	}
	if strings.Contains(out, "--- SKIP") {
		t.Skip(out)
	}
	return false
}
