package setup

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pillarbox/cmd/internal/netinfo"
	"pillarbox/mailstore/addr"
)

// office runs a setup in a directory of its own and returns the notes.
func office(t *testing.T, req Request) []string {
	t.Helper()
	req.Domain = "office.example"
	req.Mailboxes = []addr.Address{{Local: "anna", Domain: req.Domain}}
	result, err := Run(req, func(addr.Address, bool) (string, error) { return "correct horse", nil }, false)
	if err != nil {
		t.Fatal(err)
	}
	return result.Notes
}

func noted(notes []string, all ...string) bool {
	for _, note := range notes {
		missing := false
		for _, want := range all {
			missing = missing || !strings.Contains(note, want)
		}
		if !missing {
			return true
		}
	}
	return false
}

// A second setup names a network that the machine has joined since the first one.
func TestNewLAN(t *testing.T) {
	lan := func(prefix string) []netinfo.Interface {
		return []netinfo.Interface{{Name: "eth0", Up: true, Prefixes: []netip.Prefix{netip.MustParsePrefix(prefix)}}}
	}
	req := Request{ConfigFile: filepath.Join(t.TempDir(), "p.toml"), PortOffset: 20000, Interfaces: lan("192.168.1.10/24")}
	office(t, req)
	if notes := office(t, req); noted(notes, "network") {
		t.Errorf("the same network: %q", notes)
	}
	req.Interfaces = lan("10.1.2.3/16")
	if notes := office(t, req); !noted(notes, "10.1.0.0/16", "auth.plaintext_networks") {
		t.Errorf("a new network: %q", notes)
	}
	req.Interfaces = lan("192.168.1.130/25") // part of the network that is known
	if notes := office(t, req); noted(notes, "network") {
		t.Errorf("a part of the network: %q", notes)
	}
}

// A second setup names a file that the server's account cannot use, and the command that mends it.
func TestOwners(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	const nobody = 65534
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // t.TempDir makes two levels
		t.Fatal(err)
	}
	req := Request{ConfigFile: filepath.Join(dir, "p.toml"), PortOffset: 20000}
	office(t, req)
	data := filepath.Join(dir, "data")
	if err := filepath.WalkDir(data, func(path string, _ os.DirEntry, err error) error {
		return os.Chown(path, nobody, nobody)
	}); err != nil {
		t.Fatal(err)
	}
	if notes := office(t, req); noted(notes, "chown") {
		t.Errorf("all belongs to the server: %q", notes)
	}
	box := filepath.Join(data, "mailbox/office.example/P3_anna.mbx")
	if err := os.Chown(box, 0, 0); err != nil {
		t.Fatal(err)
	}
	if notes := office(t, req); !noted(notes, box, "chown -R nobody:", " "+box) {
		t.Errorf("a mailbox of root's: %q", notes)
	}
	if err := os.Chmod(req.ConfigFile, 0o600); err != nil {
		t.Fatal(err)
	}
	if notes := office(t, req); !noted(notes, "cannot read "+req.ConfigFile, "chown nobody:") {
		t.Errorf("a configuration of root's: %q", notes)
	}
}
