package mailtest

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
)

// Log keeps log lines in memory. The zero value is empty. It is safe for concurrent use.
type Log struct {
	mu  sync.Mutex
	out bytes.Buffer
}

// Write adds log lines.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Write(p)
}

// Take returns the log lines since the last call.
func (l *Log) Take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.out.Reset()
	return strings.TrimSpace(l.out.String())
}

// Logger returns a logger that writes to l, without times.
func (l *Log) Logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
}
