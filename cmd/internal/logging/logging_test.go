package logging

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// lines logs one line at each level for a part, and returns the levels that were written.
func lines(t *testing.T, l *Levels, p Part) string {
	t.Helper()
	var out bytes.Buffer
	log := slog.New(l.Handler(p, Lines(&out, nil, false))).With("a", 1).WithGroup("g")
	log.Debug("d")
	log.Info("i")
	log.Warn("w")
	log.Error("e")
	var got []string
	for line := range strings.Lines(out.String()) {
		_, rest, _ := strings.Cut(line, "level=")
		got = append(got, strings.Fields(rest)[0])
	}
	return strings.Join(got, " ")
}

func TestLevels(t *testing.T) {
	const debug, info, warn = "DEBUG INFO WARN ERROR", "INFO WARN ERROR", "WARN ERROR"
	for _, tt := range []struct {
		base slog.Level
		word Word
		want string
	}{
		{slog.LevelInfo, "", info}, {slog.LevelWarn, "", warn}, {slog.LevelError, "", "ERROR"},
		{slog.LevelInfo, "debug", debug}, {slog.LevelDebug, "warn", warn},
		{slog.LevelDebug, "none", ""}, {slog.LevelDebug, "minimum", "ERROR"},
		{slog.LevelError, "medium", warn}, {slog.LevelError, "maximum", info},
	} {
		var l Levels
		l.Configure(tt.base, Words{POP3: tt.word})
		if got := lines(t, &l, POP3); got != tt.want {
			t.Errorf("%v, %q: %q, want %q", tt.base, tt.word, got, tt.want)
		}
		if got := lines(t, &l, SMTP); got != lines(t, &l, Queue) {
			t.Errorf("%v: the level of POP3 has changed that of SMTP: %q", tt.base, got)
		}
	}
}

func TestSetLastsUntilConfigure(t *testing.T) {
	var l Levels
	l.Configure(slog.LevelInfo, Words{Queue: "warn"})
	if before, err := l.Set(Queue, "debug"); before != "warn" || err != nil {
		t.Errorf("%q, %v", before, err)
	}
	if got := lines(t, &l, Queue); got != "DEBUG INFO WARN ERROR" {
		t.Error(got)
	}
	if got := l.List()[Queue]; got != (PartLevel{"queue", "debug", "warn"}) {
		t.Errorf("%+v", got)
	}
	for _, word := range []Word{"", "none", "maximum", "INFO"} {
		if _, err := l.Set(Queue, word); err == nil {
			t.Errorf("queue has the level %q", word)
		}
	}
	l.Configure(slog.LevelInfo, Words{Queue: "warn"})
	if got := l.List()[Queue]; got != (PartLevel{"queue", "warn", "warn"}) {
		t.Errorf("%+v", got)
	}
}

func TestPartNames(t *testing.T) {
	for _, name := range PartNames() {
		if p, ok := ParsePart(name); !ok || name == "" || p.String() != name {
			t.Errorf("%q: %v, %v", name, p, ok)
		}
	}
	if _, ok := ParsePart("SMTP"); ok {
		t.Error("a name in capitals was found")
	}
}

func TestPriorities(t *testing.T) {
	var out bytes.Buffer
	h := withPriorities(&out, func(to io.Writer) slog.Handler {
		return slog.NewTextHandler(to, &slog.HandlerOptions{
			Level: slog.LevelDebug,
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
					return slog.Attr{}
				}
				return a
			},
		})
	})
	log := slog.New(h).With("a", 1)
	log.Debug("d")
	log.Info("two\n<0>lines")
	log.Warn("w")
	log.Error("e")
	want := "<7>msg=d a=1\n<6>msg=\"two\\n<0>lines\" a=1\n<4>msg=w a=1\n<3>msg=e a=1\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

func TestIsJournal(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "stream"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	stat := info.Sys().(*syscall.Stat_t)
	stream := fmt.Sprintf("%d:%d", stat.Dev, stat.Ino)
	if !isJournal(file, stream) {
		t.Error("the stream was not found")
	}
	if isJournal(file, "") || isJournal(file, stream+"1") || isJournal(new(bytes.Buffer), stream) {
		t.Error("another file was taken for the journal")
	}
}
