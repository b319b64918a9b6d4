package certs

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestStart checks that a server starts whatever is wrong with its certificate, says so every day,
// and takes the certificate when its files are back.
func TestStart(t *testing.T) {
	certs, key := chain(t)
	_, otherKey := chain(t)
	good := encodeCerts(certs...)
	for name, test := range map[string]struct {
		cert, key []byte // nil: missing
		directory bool   // the key is a directory, which cannot be read
		noCA      bool   // the own CA has not been set up
		damaged   bool   // the own CA's files are damaged
	}{
		"no certificate": {nil, key, false, false, false},
		"no key":         {good, nil, false, false, false},
		"no files":       {nil, nil, false, false, false},
		"another key":    {good, otherKey, false, false, false},
		"garbage":        {[]byte("x"), key, false, false, false},
		"unreadable key": {good, nil, true, false, false},
		"no own CA":      {nil, nil, false, true, false},
		"damaged own CA": {nil, nil, false, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			files := t.TempDir()
			cfg := Config{Dir: readyDir(t), CertFile: filepath.Join(files, "cert.pem"), KeyFile: filepath.Join(files, "key.pem")}
			put := func(file string, text []byte) {
				if text != nil {
					write(t, file, text)
				}
			}
			put(cfg.CertFile, test.cert)
			put(cfg.KeyFile, test.key)
			if test.directory {
				must(t, os.Mkdir(cfg.KeyFile, 0o700))
			}
			if test.noCA {
				must(t, os.RemoveAll(cfg.Dir))
			}
			if test.damaged {
				write(t, filepath.Join(cfg.Dir, serverFile), []byte("x"))
			}
			m, err := Start(cfg, []string{"mail.office.example"}, epoch)
			if err != nil {
				t.Fatal(err)
			}
			if m.Fault() == nil || m.Info().Source != FromOwnCA || m.Info().Fingerprint == fingerprint(certs[0]) {
				t.Errorf("fault %v, shown %+v", m.Fault(), m.Info())
			}
			log, logged := records()
			for day, want := range []int{1, 1, 2} { // the first two on one day
				m.check(epoch.Add(time.Duration(day/2)*25*time.Hour), log)
				if n := strings.Count(logged(), "level=ERROR"); n != []int{1, 0, 1}[day] {
					t.Errorf("check %d logged %d errors, want %d", day, n, want)
				}
			}
			if err := m.Reconfigure(cfg); err != nil || m.Fault() == nil {
				t.Errorf("another reload is refused: %v", err)
			}
			must(t, os.RemoveAll(cfg.KeyFile))
			write(t, cfg.CertFile, good)
			write(t, cfg.KeyFile, key)
			m.check(epoch, log)
			if text := logged(); m.Fault() != nil || m.Info().Fingerprint != fingerprint(certs[0]) ||
				!strings.Contains(text, "certificate reloaded") {
				t.Errorf("fault %v, shown %+v\n%s", m.Fault(), m.Info(), text)
			}
		})
	}
}

// TestStartMakesTheOwn checks that a missing certificate of the own CA is made again, by the same CA
// if that is there.
func TestStartMakesTheOwn(t *testing.T) {
	for _, missing := range [][]string{{serverFile}, {serverKeyFile}, {serverFile, serverKeyFile, ecdsaFile, ecdsaKeyFile}, {caFile, caKeyFile, serverFile}} {
		cfg := Config{Dir: readyDir(t)}
		for _, name := range missing {
			must(t, os.Remove(filepath.Join(cfg.Dir, name)))
		}
		m, err := Start(cfg, []string{"mail.office.example"}, epoch)
		if err != nil {
			t.Fatal(missing, err)
		}
		if _, err := handshake(m.TLSConfig("test", slog.New(slog.DiscardHandler)), client(t, m, "mail.office.example")); err != nil {
			t.Errorf("%v: %v", missing, err)
		}
		log, logged := records()
		m.check(epoch, log)
		if text := logged(); m.Fault() != nil || strings.Count(text, "level=ERROR") != 1 || !strings.Contains(text, "was missing at the start") {
			t.Errorf("%v: fault %v\n%s", missing, m.Fault(), text)
		}
	}
}

// TestRenewStandIn checks that the stand-in is renewed, and that its CA can be exported.
func TestRenewStandIn(t *testing.T) {
	cfg := Config{Dir: readyDir(t), CertFile: "/nowhere/cert.pem", KeyFile: "/nowhere/key.pem"}
	m, err := Start(cfg, []string{"mail.office.example"}, epoch)
	must(t, err)
	before := m.Info().Fingerprint
	must(t, m.Renew(epoch.Add(day)))
	if _, err := m.ExportCA("pem"); err != nil || m.Info().Fingerprint == before || m.Fault() == nil {
		t.Errorf("%v, fault %v", err, m.Fault())
	}
	any, err := OpenAny(cfg)
	if err != nil || any.Fault() == nil || any.Info().Fingerprint != m.Info().Fingerprint {
		t.Errorf("OpenAny: %v", err)
	}
	must(t, os.RemoveAll(cfg.Dir))
	if _, err := OpenAny(cfg); !errors.Is(err, ErrBadFile) {
		t.Errorf("OpenAny without an own CA: %v", err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
