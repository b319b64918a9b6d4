package admin

import (
	"bytes"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pillarbox/cmd/internal/config"
	"pillarbox/mailstore/durable"
)

// TestDamagedSettings damages each settings file that belongs to no single domain. The check must
// report it, and its user must log the damage once.
func TestDamagedSettings(t *testing.T) {
	var text bytes.Buffer
	cfg := config.Default()
	cfg.Data = t.TempDir()
	o, err := Open(&cfg, slog.New(slog.NewTextHandler(&text, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	at := func(name string) string { return filepath.Join(cfg.Data, name) }
	put(t, at("fetch"), map[string]string{"isp.json": "{", "other.recent.json": `{"account": "u@h", "seen": {}}`, ".x.tmp": "{"})
	put(t, at("dkim/office.example"), map[string]string{
		"keys.json": `{"keys": [{"selector": "s1", "kind": "rsa2048"}]}`,
	})
	put(t, at("dkim/second.example"), map[string]string{"keys.json": `{"kyes": []}`})
	put(t, cfg.Data, map[string]string{"devices.json": `{"devices": [], "more": 1}`, "operators.json": "", "version": "one"})
	if err := errors.Join(syscall.Mkfifo(at("retention.json"), 0o600), syscall.Mkfifo(at("dkim/office.example/s1.pem"), 0o600)); err != nil {
		t.Fatal(err)
	}
	r, err := o.CheckMail(t.Context(), "", CheckOptions{})
	wantProblems(t, r, err, "!fetch isp.json", "!settings .", "!settings .", "!settings devices.json", "!settings operators.json",
		"!settings retention.json", "!settings version")
	for range 3 {
		o.Devices.Lookup(netip.MustParseAddr("192.0.2.1"))
		o.readWatched(time.Now())
		if err := o.KeepVersion(); err != nil {
			t.Error(err)
		}
	}
	for _, want := range []string{"devices.json", "retention.json", "operators.json", "version"} {
		if n := strings.Count(text.String(), "path="+at(want)); n != 1 {
			t.Errorf("%s is told %d times", want, n)
		}
	}
	if log := text.String(); !strings.Contains(log, "hint=") || !strings.Contains(log, `it has the member \"more\", which does not exist`) {
		t.Error(log)
	}
}

func TestDataVersion(t *testing.T) {
	for text, c := range map[string]struct{ err, log, after string }{
		"":      {"", "", "1.0\n"},
		"1.0\n": {"", "", "1.0\n"},
		"1.9\n": {"", "a newer release wrote into the data directory", "1.9\n"},
		"2.0\n": {"a newer release wrote it, in version 2.0", "", "2.0\n"},
	} {
		cfg := config.Default()
		cfg.Data = t.TempDir()
		file := filepath.Join(cfg.Data, durable.VersionFile)
		if text != "" {
			put(t, cfg.Data, map[string]string{durable.VersionFile: text})
		}
		var log bytes.Buffer
		o, err := Open(&cfg, slog.New(slog.NewTextHandler(&log, nil)))
		if err == nil {
			err = o.KeepVersion()
			o.Close()
		}
		after, _ := os.ReadFile(file)
		hinted, _ := errors.AsType[*HintError](err)
		if c.err == "" && err != nil || c.err != "" && (hinted == nil || !strings.Contains(err.Error(), c.err)) ||
			string(after) != c.after || !strings.Contains(log.String(), c.log) {
			t.Errorf("%q: %v, then %q; log: %s", text, err, after, &log)
		}
	}
}
