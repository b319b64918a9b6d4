package main

import (
	"os"
	"path/filepath"
	"testing"

	"pillarbox/cmd/internal/audit"
)

// What people put into names does nothing to a terminal, however it is parted.
func TestTerminalWriter(t *testing.T) {
	const (
		text = "a\x00b\x1b[2Jc\x7fd\u0085e\u009bf\u202eg\u2066h\u2069i\tä€😀 \r\nend\xff\x9b."
		want = "a?b?[2Jc?d?e?f?g?h?i\tä€😀 \r\nend\ufffd\ufffd."
	)
	for size := 1; size <= len(text); size++ {
		f, err := os.Create(filepath.Join(t.TempDir(), "terminal"))
		if err != nil {
			t.Fatal(err)
		}
		w := &terminalWriter{file: f}
		for at := 0; at < len(text); at += size {
			part := text[at:min(at+size, len(text))]
			if n, err := w.Write([]byte(part)); n != len(part) || err != nil {
				t.Fatal(n, err)
			}
		}
		f.Close()
		if got, err := os.ReadFile(f.Name()); string(got) != want || err != nil {
			t.Errorf("by %d: %q, %v; want %q", size, got, err, want)
		}
		if asItIs(w) != f || asItIs(f) != f || forPeople(f) != f {
			t.Error("a file is taken for a terminal, or is not found behind one")
		}
	}
}

// JSON is what it is, on a terminal too.
func TestJSONOnTerminal(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "terminal"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, tt := range []struct {
		args []string
		raw  bool
	}{
		{[]string{"tls", "export-ca", "--json"}, false}, // no such flag
		{[]string{"admin", "domain", "list", "--json"}, true},
		{[]string{"admin", "domain", "list"}, false},
	} {
		a := &app{stdout: &terminalWriter{file: f}, stderr: f}
		a.execute(t.Context(), append(tt.args, "--config", filepath.Join(t.TempDir(), "none")))
		if raw := a.stdout == f; raw != tt.raw {
			t.Errorf("%q: as it is: %v", tt.args, raw)
		}
	}
}

func TestAuditRowIsHarmless(t *testing.T) {
	got := auditRow(audit.Event{Who: "c\u009bx", From: "a\tb", Act: "do\nit", Object: "\u202ex", Refused: "\x1b[2J"})
	if want := localTime(audit.Event{}.Time) + "\tc?x\ta?b\tdo?it\t?x\trefused: ?[2J"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
