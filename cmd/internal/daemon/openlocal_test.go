package daemon

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"pillarbox/cmd/internal/admin"
)

// A server that root starts gives the folders that it makes to the owner of the data directory.
func TestFoldersOfRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	for _, test := range []struct{ data, want uint32 }{{0, 0}, {65534, 65534}} {
		data, run := t.TempDir(), filepath.Join(t.TempDir(), "run")
		if err := os.Chown(data, int(test.data), int(test.data)); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second finds the folder
			l, err := openLocal(filepath.Join(run, "s.sock"), folderOwner(data))
			if err != nil {
				t.Fatal(err)
			}
			l.Close()
		}
		var st syscall.Stat_t
		if err := syscall.Stat(run, &st); err != nil || st.Uid != test.want || st.Gid != test.want {
			t.Errorf("data of %d: the folder is of %d:%d, %v", test.data, st.Uid, st.Gid, err)
		}
	}
}

// A folder that this account may not write gets a hint in the log.
func TestHintOfSocket(t *testing.T) {
	denied := &fs.PathError{Op: "open", Path: "x", Err: syscall.EACCES}
	path := filepath.Join(t.TempDir(), "run", "s.sock")
	_, err := openLocal(path, func(*os.File) error { return denied })
	if !errors.As(err, new(*admin.HintError)) || !slices.Contains(errorArgs(err), any("hint")) {
		t.Errorf("no hint in %v", errorArgs(err))
	}
}
