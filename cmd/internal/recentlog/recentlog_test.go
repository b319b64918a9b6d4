package recentlog

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
)

func TestEntries(t *testing.T) {
	var out bytes.Buffer
	h := New(slog.NewTextHandler(&out, nil))
	log := slog.New(h)
	log.Info("not kept")
	log.With("remote_ip", "192.0.2.7").Warn("mailbox is full", "mailbox", "anna@office.example")
	log.WithGroup("disk").Error("cannot write", "error", errors.New("no space\n left"), "msg", "x")
	got := h.Entries()
	want := []string{
		"mailbox is full remote_ip=192.0.2.7 mailbox=anna@office.example",
		`cannot write disk.error="no space\n left" disk.msg=x`,
	}
	if len(got) != 2 || got[0].Text != want[0] || got[1].Text != want[1] ||
		got[0].Level != slog.LevelWarn || got[1].Level != slog.LevelError || got[0].Time.IsZero() {
		t.Errorf("%+v", got)
	}
	if strings.Count(out.String(), "\n") != 3 || !strings.Contains(out.String(), "remote_ip=192.0.2.7") {
		t.Errorf("the log has %s", out.String())
	}
}

// The latest entries are kept, also those that the level of the log leaves out.
func TestLatest(t *testing.T) {
	var out bytes.Buffer
	h := New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelError}))
	log := slog.New(h)
	for i := range 25 {
		log.Warn(fmt.Sprint("warning ", i))
	}
	log.Warn(strings.Repeat("ä", maxText))
	got := h.Entries()
	if len(got) != kept || got[0].Text != "warning 16" || len(got[9].Text) > maxText+len("…") {
		t.Errorf("%+v", got)
	}
	if out.Len() > 0 {
		t.Errorf("the log has %s", out.String())
	}
}

// The race detector looks at this test.
func TestConcurrent(t *testing.T) {
	h := New(slog.DiscardHandler)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			log := slog.New(h).With("key", "value")
			for range 100 {
				log.Error("failed")
				h.Entries()
			}
		})
	}
	all.Wait()
	for _, e := range h.Entries() {
		if e.Text != "failed key=value" {
			t.Errorf("%q", e.Text)
		}
	}
}
