package admin

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A server that may not use a file names the whole path and the command to type.
func TestOwnerError(t *testing.T) {
	data := t.TempDir()
	if err := os.Chmod(filepath.Dir(data), 0o755); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(filepath.Dir(data), "isp.password")
	failed := func(path string) error {
		return &fs.PathError{Op: "openat", Path: path, Err: syscall.EACCES}
	}
	nobody := account{65534, 65534}
	for path, want := range map[string]struct{ text, hint string }{
		"log/0001":                         {"may not use " + data + "/log/0001 (another user's): permission denied", "chown -R nobody:"},
		data:                               {"may not use " + data + " (owner ", " " + data + "'"},
		filepath.Join(data, "secrets.key"): {"may not use " + data + "/secrets.key", " " + data + "'"},
		other:                              {"may not use " + other, " " + other + "'"},
	} {
		err := nobody.explain(data, failed(path))
		hinted, ok := errors.AsType[*HintError](err)
		if !ok || !strings.Contains(err.Error(), want.text) || !strings.Contains(hinted.Hint, want.hint) {
			t.Errorf("%s: %v, want %q with %q", path, err, want.text, want.hint)
		}
		if strings.Contains(err.Error(), "openat") || !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if err := errors.New("other"); nobody.explain(data, err) != err {
		t.Error("another error was changed")
	}
}

// The check at start compares owners as the account that runs the server.
func TestOwnerFindingsOfTheServer(t *testing.T) {
	o := town(t)
	nobody := account{65534, 65534}
	found := o.ownerFindings(context.Background(), nobody)
	if len(found) != 1 || found[0].File != "." || !strings.Contains(found[0].Hint, "chown -R nobody:") {
		t.Errorf("%+v", found)
	}
	if found := o.ownerFindings(context.Background(), o.serverAccount()); len(found) != 0 {
		t.Errorf("the owner: %+v", found)
	}
}
