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

	"pillarbox/mailstore/durable"
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

// A server that was started as another user than the owner of its data must not be given the data:
// the service would lose it.
func TestOwnerErrorOfAnotherAccount(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	data := t.TempDir()
	if err := errors.Join(os.Chmod(filepath.Dir(data), 0o755), os.Chown(data, 1, 1)); err != nil {
		t.Fatal(err)
	}
	nobody := account{65534, 65534}
	err := nobody.explain(data, &fs.PathError{Op: "open", Path: data, Err: syscall.EACCES})
	hinted, ok := errors.AsType[*HintError](err)
	if !ok || !strings.HasPrefix(err.Error(), "nobody may not use "+data+" (owner daemon)") ||
		strings.Contains(hinted.Hint, "chown") || !strings.Contains(hinted.Hint, "sudo systemctl start pillarbox") {
		t.Errorf("%v; %+v", err, hinted)
	}
	err = account{1, 1}.explain(data, &fs.PathError{Op: "open", Path: "devices.json", Err: syscall.EACCES})
	if hinted, _ := errors.AsType[*HintError](err); hinted == nil || !strings.Contains(hinted.Hint, "chown -R daemon:") {
		t.Errorf("the server's own account: %v; %+v", err, hinted)
	}
}

// The brief check sees the account of a mailbox, which root may have copied.
func TestOwnerFindingsOfAnAccount(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	o := town(t)
	data := o.Root.Name()
	err := filepath.WalkDir(data, func(path string, _ fs.DirEntry, err error) error { return os.Lchown(path, 1, 1) })
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"P3_anna.mbx/account.json", "domain.json"} {
		file := filepath.Join(data, "mailbox/ours.example", name)
		if err := os.Chown(file, 0, 0); err != nil {
			t.Fatal(err)
		}
		found := o.ownerFindings(t.Context(), account{})
		if len(found) != 1 || !strings.HasSuffix(found[0].File, name) || !strings.Contains(found[0].Hint, "chown -R daemon:") {
			t.Errorf("%s: %+v", name, found)
		}
		if err := os.Chown(file, 1, 1); err != nil {
			t.Fatal(err)
		}
	}
}

// deniedFiles denies the opening of one file.
type deniedFiles struct {
	Files
	denied string
}

func (f deniedFiles) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	if name == f.denied {
		return nil, &fs.PathError{Op: "openat", Path: name, Err: syscall.EACCES}
	}
	return f.Files.OpenFile(name, flag, perm)
}

// One mailbox or domain that cannot be read is no reason to hide the others.
func TestListsBesideAnUnreadableFile(t *testing.T) {
	for file, want := range map[string]struct{ boxes, domains int }{
		"mailbox/ours.example/P3_anna.mbx/account.json": {6, 2},
		"mailbox/ours.example/domain.json":              {3, 1},
	} {
		full := town(t)
		root, err := durable.Open(full.Root.Name())
		if err != nil {
			t.Fatal(err)
		}
		o, err := OpenOn(deniedFiles{root, file}, full.Config(), nil)
		if err != nil {
			t.Fatal(err)
		}
		var notes []string
		o.tell = func(p Part) { notes = append(notes, p.Note) }
		boxes, err := o.ListMailboxes("")
		if err != nil || len(boxes) != want.boxes || len(notes) != 1 || !strings.Contains(notes[0], "permission denied") {
			t.Errorf("%s: %d mailboxes, %q, %v", file, len(boxes), notes, err)
		}
		if want.boxes == 6 && !boxes[0].Damaged {
			t.Errorf("%s: %+v", file, boxes[0])
		}
		domains, err := o.ListDomains()
		stats, serr := o.StatDomains()
		quotas, qerr := o.ListQuotas("", 0)
		aliases, aerr := o.ListGroups("")
		if errors.Join(err, serr, qerr, aerr) != nil || len(domains) != want.domains || len(stats) != want.domains ||
			len(quotas) == 0 || len(aliases) == 0 {
			t.Errorf("%s: %d %d %d %d, %v %v %v %v", file, len(domains), len(stats), len(quotas), len(aliases), err, serr, qerr, aerr)
		}
		o.Close()
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
