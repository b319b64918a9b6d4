package logging

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"syscall"
)

// Lines returns a handler that writes every record to out, as JSON or as text, and to a tail, if one
// is given. If out is the journal of systemd, each line begins with its priority, "<4>", which the
// journal takes off again.
func Lines(out io.Writer, tail *Tail, json bool) slog.Handler {
	form := func(to io.Writer) slog.Handler {
		to = tail.over(to)
		opts := &slog.HandlerOptions{Level: slog.Level(-1 << 20)} // a filter is in front
		if json {
			return slog.NewJSONHandler(to, opts)
		}
		return slog.NewTextHandler(to, opts)
	}
	if !isJournal(out, os.Getenv("JOURNAL_STREAM")) {
		return form(out)
	}
	return withPriorities(out, form)
}

// isJournal reports whether a file is the stream that systemd names in $JOURNAL_STREAM (systemd.exec(5)).
func isJournal(out io.Writer, stream string) bool {
	file, ok := out.(*os.File)
	if !ok || stream == "" {
		return false
	}
	info, err := file.Stat()
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && stream == fmt.Sprintf("%d:%d", stat.Dev, stat.Ino)
}

// priorities are those of sd-daemon(3).
var priorities = []struct {
	from     slog.Level
	priority int
}{{slog.LevelError, 3}, {slog.LevelWarn, 4}, {slog.LevelInfo, 6}, {slog.Level(-1 << 20), 7}}

// prioritised has one handler for each of priorities. Each writes its prefix.
type prioritised []slog.Handler

func withPriorities(out io.Writer, form func(io.Writer) slog.Handler) prioritised {
	lock := new(sync.Mutex)
	var all prioritised
	for _, p := range priorities {
		prefix := "<" + strconv.Itoa(p.priority) + ">"
		all = append(all, form(&prefixed{out: out, lock: lock, prefix: prefix}))
	}
	return all
}

func (all prioritised) Enabled(context.Context, slog.Level) bool { return true }

func (all prioritised) Handle(ctx context.Context, r slog.Record) error {
	for i, p := range priorities {
		if r.Level >= p.from {
			return all[i].Handle(ctx, r)
		}
	}
	return nil
}

func (all prioritised) WithAttrs(attrs []slog.Attr) slog.Handler {
	return all.each(func(h slog.Handler) slog.Handler { return h.WithAttrs(attrs) })
}

func (all prioritised) WithGroup(name string) slog.Handler {
	return all.each(func(h slog.Handler) slog.Handler { return h.WithGroup(name) })
}

func (all prioritised) each(change func(slog.Handler) slog.Handler) prioritised {
	next := make(prioritised, len(all))
	for i, h := range all {
		next[i] = change(h)
	}
	return next
}

// prefixed writes a prefix before each line. A handler makes one Write for a line.
type prefixed struct {
	out    io.Writer
	lock   *sync.Mutex // shared by all that write to out
	prefix string
	line   []byte // owner: lock
}

func (p *prefixed) Write(line []byte) (int, error) {
	p.lock.Lock()
	defer p.lock.Unlock()
	p.line = append(append(p.line[:0], p.prefix...), line...)
	if _, err := p.out.Write(p.line); err != nil {
		return 0, err
	}
	return len(line), nil
}
