package pop3

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func writeAny(w *bufio.Writer, r *bufio.Reader, bodyLines int) error {
	if bodyLines == wholeMessage {
		return writeStuffed(w, r)
	}
	return writeTop(w, r, bodyLines)
}

func content(t *testing.T, r io.Reader, bodyLines int) string {
	t.Helper()
	var out bytes.Buffer
	w := bufio.NewWriter(&out)
	if err := writeAny(w, bufio.NewReaderSize(r, 16), bodyLines); err != nil {
		t.Fatal(err)
	}
	w.Flush()
	return out.String()
}

func TestWriteContent(t *testing.T) {
	long := strings.Repeat("0123456789", 10)
	for _, c := range []struct {
		name, text string
		lines      int
		want       string
	}{
		{"empty", "", wholeMessage, ""},
		{"plain", "a: b\r\n\r\nc\r\n", wholeMessage, "a: b\r\n\r\nc\r\n"},
		{"no end", "a: b\r\n\r\nc", wholeMessage, "a: b\r\n\r\nc\r\n"},
		{"only CR", "a\r", wholeMessage, "a\r\r\n"},
		{"bare LF at the end", "a\n", wholeMessage, "a\n\r\n"},
		{"dots", ".\r\n..\r\na.\r\n", wholeMessage, "..\r\n...\r\na.\r\n"},
		{"dot behind a bare LF", "a\n.\r\n", wholeMessage, "a\n..\r\n"},
		{"dot behind a bare CR", "a\r.\r\n", wholeMessage, "a\r.\r\n"},
		{"dot at a buffer's start", "0123456789abcdef.\r\n", wholeMessage, "0123456789abcdef.\r\n"},
		{"CR and LF in two buffers", "0123456789abcde\r\n.\r\n", wholeMessage, "0123456789abcde\r\n..\r\n"},
		{"long line", long + "\r\n" + long, wholeMessage, long + "\r\n" + long + "\r\n"},
		{"top 0", "a: b\r\n\r\nc\r\nd\r\n", 0, "a: b\r\n\r\n"},
		{"top 1", "a: b\r\n\r\nc\r\nd\r\n", 1, "a: b\r\n\r\nc\r\n"},
		{"top, long lines", "a: " + long + "\r\n\r\n" + long + "\r\nd\r\n", 1, "a: " + long + "\r\n\r\n" + long + "\r\n"},
		{"top, empty lines", "a: b\r\n\r\n\r\n\r\nc\r\n", 2, "a: b\r\n\r\n\r\n\r\n"},
		{"top, all", "a: b\r\n\r\nc", 5, "a: b\r\n\r\nc\r\n"},
		{"top, no body", "a: b\r\n", 5, "a: b\r\n"},
		{"top, no header", "\r\nc\r\nd\r\n", 1, "\r\nc\r\n"},
	} {
		if got := content(t, strings.NewReader(c.text), c.lines); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
		if got := content(t, iotest.OneByteReader(strings.NewReader(c.text)), c.lines); got != c.want {
			t.Errorf("%s, byte by byte: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestWriteContentErrors(t *testing.T) {
	for _, lines := range []int{wholeMessage, 0, 5} {
		w := bufio.NewWriter(io.Discard)
		r := bufio.NewReader(io.MultiReader(strings.NewReader("a: b\r\n"), iotest.ErrReader(io.ErrUnexpectedEOF)))
		if err := writeAny(w, r, lines); err != io.ErrUnexpectedEOF {
			t.Errorf("%d lines of a message that breaks off: %v", lines, err)
		}
	}
}

// A client gets the message as stored. It finds the end of the reply at the right place even if it
// takes a bare LF as the end of a line.
func FuzzWriteContent(f *testing.F) {
	f.Add("a: b\r\n\r\n.c\r\n.\r\n", 1)
	f.Add("..\r\n\n.\n", -1)
	f.Fuzz(func(t *testing.T, text string, lines int) {
		sent := content(t, strings.NewReader(text), max(lines, wholeMessage))
		if sent != "" && !strings.HasSuffix(sent, "\r\n") {
			t.Fatalf("%q: does not end in CRLF: %q", text, sent)
		}
		var got string
		for line := range strings.Lines(sent) {
			if strings.TrimRight(line, "\r\n") == "." {
				t.Fatalf("%q: the reply ends early: %q", text, sent)
			}
			got += strings.TrimPrefix(line, ".")
		}
		want := text
		if text != "" && !strings.HasSuffix(text, "\r\n") {
			want += "\r\n"
		}
		// The top of a message may have got its CRLF in the middle of a line.
		if lines < 0 && got != want || !strings.HasPrefix(want, got) && !strings.HasPrefix(want, strings.TrimSuffix(got, "\r\n")) {
			t.Errorf("the client got %q, not %q", got, want)
		}
	})
}
