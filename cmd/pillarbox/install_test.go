package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// sourceTree makes a directory with the Makefile, all that install copies, and one source file.
func sourceTree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"Makefile", "README.md", "CHANGELOG.md", "LICENSE",
		"etc/pillarbox.toml", "etc/docs/storage.md", "etc/systemd/pillarbox.service", "etc/systemd/pillarbox.socket", "go.mod", "go.sum",
		"cmd/pillarbox/main.go"} {
		text, err := os.ReadFile(filepath.Join("..", "..", name))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name), string(text), time.Hour)
	}
	return dir
}

// write makes a file that was changed some time ago.
func write(t *testing.T, file, text string, ago time.Duration) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	then := time.Now().Add(-ago)
	if err := os.Chtimes(file, then, then); err != nil {
		t.Fatal(err)
	}
}

func makeInstall(dir, goCommand string) (output, installed string, err error) {
	cmd := exec.Command("make", "install", "DESTDIR="+filepath.Join(dir, "root"), "GO="+goCommand)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	text, _ := os.ReadFile(filepath.Join(dir, "root/usr/local/bin/pillarbox"))
	return string(out), string(text), err
}

// "make install" installs a binary that is there without Go, which sudo's PATH may lack.
func TestInstallWithoutGo(t *testing.T) {
	const noGo = "no-such-go"
	dir := sourceTree(t)
	if out, _, err := makeInstall(dir, noGo); err == nil || !strings.Contains(out, "run 'make build' as a user with Go, then 'sudo make install'") {
		t.Errorf("without a binary: %v\n%s", err, out)
	}
	write(t, filepath.Join(dir, "bin/pillarbox"), "the binary", 0)
	if out, got, err := makeInstall(dir, noGo); err != nil || got != "the binary" || strings.Contains(out, "older") {
		t.Errorf("with a binary: %v\n%s", err, out)
	}
	write(t, filepath.Join(dir, "bin/pillarbox"), "an old binary", 2*time.Hour)
	if out, got, err := makeInstall(dir, noGo); err != nil || got != "an old binary" || !strings.Contains(out, "bin/pillarbox is older than") {
		t.Errorf("with an old binary: %v\n%s", err, out)
	}
}

// An old binary is built again if Go is there; a new one is not.
func TestInstallBuildsAnOldBinary(t *testing.T) {
	dir := sourceTree(t)
	write(t, filepath.Join(dir, "go"), "#!/bin/sh\nwhile [ $# -gt 0 ]; do [ \"$1\" = -o ] && echo built >\"$2\"; shift; done\n", 0)
	goCommand := filepath.Join(dir, "go")
	write(t, filepath.Join(dir, "bin/pillarbox"), "the binary", 0)
	if out, got, err := makeInstall(dir, goCommand); err != nil || got != "the binary" {
		t.Errorf("a new binary: %q, %v\n%s", got, err, out)
	}
	write(t, filepath.Join(dir, "bin/pillarbox"), "an old binary", 2*time.Hour)
	if out, got, err := makeInstall(dir, goCommand); err != nil || got != "built\n" {
		t.Errorf("an old binary: %q, %v\n%s", got, err, out)
	}
}

// An upgrade tells systemd that the unit has changed.
func TestInstallReloadsSystemd(t *testing.T) {
	text, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	_, install, _ := strings.Cut(string(text), "\ninstall: ")
	install, _, _ = strings.Cut(install, "\n\n")
	if unit, reload := strings.Index(install, "etc/systemd"), strings.Index(install, "systemctl daemon-reload"); unit < 0 || reload < unit {
		t.Errorf("install does not reload systemd after it has written the unit:\n%s", install)
	}
}

// The next step is the set-up at first, and a restart for an upgrade.
func TestInstallNamesTheNextStep(t *testing.T) {
	dir := sourceTree(t)
	write(t, filepath.Join(dir, "bin/pillarbox"), "the binary", 0)
	if out, _, err := makeInstall(dir, "no-such-go"); err != nil || !strings.Contains(out, "\nNext: pillarbox setup ") {
		t.Errorf("a new machine: %v\n%s", err, out)
	}
	write(t, filepath.Join(dir, "root/etc/pillarbox/pillarbox.toml"), "", 0)
	out, _, err := makeInstall(dir, "no-such-go")
	if err != nil || !strings.Contains(out, "\nNext: sudo systemctl restart pillarbox\n") {
		t.Errorf("an upgrade: %v\n%s", err, out)
	}
}
