package certs

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A name that is new gets into the certificates, which keep their names, their keys and their CA.
func TestWantedNames(t *testing.T) {
	dir := readyDir(t)
	before := mustContents(t, dir)
	m := mustOpen(t, Config{Dir: dir})
	old := m.Info()
	log, logged := records()
	var wanted []string
	m.Want(func() []string { return wanted })
	check := func(at time.Time, renewed bool) {
		t.Helper()
		fingerprint := m.Info().Fingerprint
		m.check(at, log)
		if got := m.Info().Fingerprint != fingerprint; got != renewed {
			t.Errorf("wanted %v: renewed is %v", wanted, got)
		}
	}
	now := epoch.Add(time.Hour)
	check(now, false)
	wanted = []string{"mail.office.example", "Mail", "not a host", "-.."}
	check(now, false)
	wanted = append(wanted, "autoconfig.second.example", "AUTOCONFIG.second.example")
	check(now, true)
	check(now, false)
	wanted = nil
	check(now, false)
	for _, info := range m.Infos() {
		if !slices.Equal(info.Names, append(slices.Clone(old.Names), "autoconfig.second.example")) || len(info.IPs) != len(old.IPs) {
			t.Errorf("%v %v", info.Names, info.IPs)
		}
	}
	after := mustContents(t, dir)
	for _, name := range []string{caFile, caKeyFile, serverKeyFile, ecdsaKeyFile} {
		if !bytes.Equal(before[name], after[name]) {
			t.Errorf("%s has changed", name)
		}
	}
	if got, want := logged(), "level=INFO msg=\"certificate renewed with new names\"\n"; got != want {
		t.Errorf("logged %q, want %q", got, want)
	}
	if _, err := handshake(m.TLSConfig("web", log), client(t, m, "autoconfig.second.example")); err != nil {
		t.Error(err)
	}

	// A key of the CA that is kept elsewhere is no error. One of another CA is told once an hour.
	key := filepath.Join(dir, caKeyFile)
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	wanted = []string{"autoconfig.third.example"}
	check(now, false)
	write(t, key, []byte("no key"))
	logged()
	for _, step := range []struct {
		after time.Duration
		lines int
	}{{0, 1}, {time.Minute, 0}, {time.Hour, 1}} {
		check(now.Add(step.after), false)
		if got := strings.Count(logged(), "cannot be renewed"); got != step.lines {
			t.Errorf("after %v: %d lines, want %d", step.after, got, step.lines)
		}
	}

	// Certificates from files are their issuer's.
	files := mustOpen(t, Config{Dir: dir, CertFile: filepath.Join(dir, serverFile), KeyFile: filepath.Join(dir, serverKeyFile)})
	files.Want(func() []string { return []string{"autoconfig.fourth.example"} })
	if missing := files.missingNames(); len(missing) > 0 {
		t.Errorf("missing %v", missing)
	}
}
