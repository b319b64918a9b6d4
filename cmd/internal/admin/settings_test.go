package admin

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// The new file has the owner, the group and the mode of the old one whatever the umask, and links
// to it stay.
func TestReplaceConfig(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	for _, mode := range []os.FileMode{0o600, 0o640, 0o664, 0o666, 0o444} {
		dir := t.TempDir()
		file := filepath.Join(dir, "pillarbox.toml")
		if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		uid, gid := os.Getuid(), os.Getgid()
		if uid == 0 { // only root may give a file away
			uid, gid = 0, 4242
		}
		if err := os.Chown(file, uid, gid); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		if err := replaceConfig(file, []byte("new")); err != nil {
			t.Fatal(err)
		}
		checkConfigFile(t, file, mode, uid, gid)
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
			t.Errorf("the directory has %v, %v", entries, err)
		}
	}
}

func checkConfigFile(t *testing.T, file string, mode os.FileMode, uid, gid int) {
	t.Helper()
	fi, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	own := fi.Sys().(*syscall.Stat_t)
	if fi.Mode() != mode || int(own.Uid) != uid || int(own.Gid) != gid {
		t.Errorf("mode %v, uid %d, gid %d; want %v, %d, %d", fi.Mode(), own.Uid, own.Gid, mode, uid, gid)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "new" {
		t.Errorf("the text is %q, %v", text, err)
	}
}

// A hard link and a symbolic link to the file stay, and show the new value. A shorter text leaves no
// rest of the longer one.
func TestWriteSettingKeepsLinks(t *testing.T) {
	o := office(t)
	const text = "hostname = \"mail.office.example\"\nlog.level = \"debug\"\n"
	for name, link := range map[string]func(oldname, newname string) error{"hard": os.Link, "symbolic": os.Symlink} {
		dir := t.TempDir()
		file, linked := filepath.Join(dir, "real.toml"), filepath.Join(dir, "pillarbox.toml")
		if err := os.WriteFile(file, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
		if err := link(file, linked); err != nil {
			t.Fatal(err)
		}
		before, _ := os.Lstat(linked)
		if _, err := o.writeSetting(SettingToWrite{File: linked, Key: "log.level", Value: `"info"`}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		after, _ := os.Lstat(linked)
		if !os.SameFile(before, after) {
			t.Errorf("%s: the link is another file", name)
		}
		want := "hostname = \"mail.office.example\"\nlog.level = \"info\"\n"
		if got, err := os.ReadFile(file); err != nil || string(got) != want {
			t.Errorf("%s: the file is %q, %v", name, got, err)
		}
	}
}
