package main

import (
	"io"
	"os"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/term"
)

// terminalWriter writes to a terminal. It replaces control characters and characters that change
// the direction of the text, because names and messages may contain them to deceive the user. A
// Write may end within a character.
type terminalWriter struct {
	file *os.File

	mu   sync.Mutex
	rest []byte // the beginning of an incomplete character; guarded by mu
}

// forPeople returns f, or a terminalWriter if f is a terminal.
func forPeople(f *os.File) io.Writer {
	if term.IsTerminal(int(f.Fd())) {
		return &terminalWriter{file: f}
	}
	return f
}

// asItIs returns the file of a terminalWriter, or w itself. It is for JSON and for the program's
// own control characters.
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

// harmless replaces control characters and characters that change the direction of the text by "?".
// It keeps line ends and tabs.
func harmless(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\r' || r == '\t' {
			return r
		}
		return harmlessRune(r)
	}, text)
}

// printable is harmless for a cell of a table: it replaces line ends and tabs too.
func printable(text string) string { return strings.Map(harmlessRune, text) }

func harmlessRune(r rune) rune {
	switch {
	case r < ' ', 0x7f <= r && r <= 0x9f, // C0, DEL, C1
		0x202a <= r && r <= 0x202e, 0x2066 <= r && r <= 0x2069: // direction of the text
		return '?'
	}
	return r
}
