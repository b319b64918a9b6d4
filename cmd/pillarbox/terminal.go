package main

import (
	"io"
	"os"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/term"
)

// terminalWriter writes to a terminal what people may have put into names and
// messages: nothing of it gives the terminal orders, or turns what is read around.
// A character may come in several parts.
type terminalWriter struct {
	file *os.File

	mu   sync.Mutex
	rest []byte // of a character that has not ended; owner: mu
}

// forPeople is a file to write to, by way of a terminalWriter if it is a terminal.
func forPeople(f *os.File) io.Writer {
	if term.IsTerminal(int(f.Fd())) {
		return &terminalWriter{file: f}
	}
	return f
}

// asItIs is where a terminalWriter writes to, for what the program itself orders
// and for JSON; any other one is that itself.
func asItIs(w io.Writer) io.Writer {
	if t, ok := w.(*terminalWriter); ok {
		return t.file
	}
	return w
}

// Write implements io.Writer.
func (t *terminalWriter) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := append(t.rest, p...)
	whole := len(text)
	for i := max(0, whole-utf8.UTFMax+1); i < whole; i++ {
		if utf8.RuneStart(text[i]) && !utf8.FullRune(text[i:]) {
			whole = i
			break
		}
	}
	t.rest = append([]byte(nil), text[whole:]...)
	if _, err := io.WriteString(t.file, harmless(string(text[:whole]))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// harmless puts "?" for what gives a terminal orders or turns text around, but for
// ends of lines and tabs.
func harmless(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\r' || r == '\t' {
			return r
		}
		return harmlessRune(r)
	}, text)
}

// printable is harmless for a cell of a table, which it keeps in its place.
func printable(text string) string { return strings.Map(harmlessRune, text) }

func harmlessRune(r rune) rune {
	switch {
	case r < ' ', 0x7f <= r && r <= 0x9f, // C0, DEL, C1
		0x202a <= r && r <= 0x202e, 0x2066 <= r && r <= 0x2069: // what turns text around
		return '?'
	}
	return r
}
