// Package recentlog keeps the latest warnings and errors of the log in memory, for "pillarbox admin
// status". It has the same text as the log, and so no other secrets.
package recentlog

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	kept    = 10   // entries
	maxText = 1000 // octets of an entry
)

// Entry is a line of the log.
type Entry struct {
	Time  time.Time  `json:"time"`
	Level slog.Level `json:"level"`
	Text  string     `json:"text"` // the message, then the attributes as key=value
}

// Handler passes records on, and keeps those of warnings and errors. Its methods are safe for
// concurrent use.
type Handler struct {
	next   slog.Handler
	text   slog.Handler // writes to latest.line
	latest *latest
}

// latest is what a Handler and its copies with attributes share.
type latest struct {
	mu   sync.Mutex
	line bytes.Buffer // owner: mu
	all  []Entry      // owner: mu; the oldest first
}

// New returns a Handler that passes records on to next.
func New(next slog.Handler) *Handler {
	l := new(latest)
	text := slog.NewTextHandler(&l.line, &slog.HandlerOptions{
		Level: slog.LevelWarn, ReplaceAttr: attributesOnly,
	})
	return &Handler{next: next, text: text, latest: l}
}

// Over returns a Handler that passes records on to next, and keeps them beside those of h.
func (h *Handler) Over(next slog.Handler) *Handler { return &Handler{next, h.text, h.latest} }

// attributesOnly leaves out what an Entry has in fields of its own.
func attributesOnly(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
		return slog.Attr{}
	}
	return a
}

// Entries returns the latest warnings and errors, the oldest first.
func (h *Handler) Entries() []Entry {
	h.latest.mu.Lock()
	defer h.latest.mu.Unlock()
	return slices.Clone(h.latest.all)
}

// Enabled implements slog.Handler.
func (h *Handler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn || h.next.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (h *Handler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn {
		h.keep(ctx, r)
	}
	if !h.next.Enabled(ctx, r.Level) {
		return nil
	}
	return h.next.Handle(ctx, r)
}

func (h *Handler) keep(ctx context.Context, r slog.Record) {
	l := h.latest
	l.mu.Lock()
	defer l.mu.Unlock()
	l.line.Reset()
	_ = h.text.Handle(ctx, r) // into memory: cannot fail
	text := strings.TrimSpace(r.Message + " " + l.line.String())
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "…"
	}
	if len(l.all) >= kept {
		l.all = slices.Delete(l.all, 0, len(l.all)-kept+1)
	}
	l.all = append(l.all, Entry{Time: r.Time, Level: r.Level, Text: text})
}

// WithAttrs implements slog.Handler.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &Handler{h.next.WithAttrs(attrs), h.text.WithAttrs(attrs), h.latest}
}

// WithGroup implements slog.Handler.
func (h *Handler) WithGroup(name string) slog.Handler {
	return &Handler{h.next.WithGroup(name), h.text.WithGroup(name), h.latest}
}
