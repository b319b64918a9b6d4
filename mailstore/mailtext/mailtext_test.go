package mailtext

import (
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"
)

func converted(t testing.TB, text string, cut int) string {
	t.Helper()
	var out strings.Builder
	n := NewWriter(&out)
	for rest := text; rest != ""; {
		part := rest[:min(cut, len(rest))]
		if _, err := io.WriteString(n, part); err != nil {
			t.Fatal(err)
		}
		rest = rest[len(part):]
	}
	if err := n.Finish(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestWriter(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"", ""},
		{"a", "a\r\n"},
		{"a\r\n", "a\r\n"},
		{"a\nb\rc\r\n", "a\r\nb\r\nc\r\n"},
		{"\r", "\r\n"},
		{"\n\r", "\r\n\r\n"},
		{"a\r\r\nb", "a\r\nb\r\n"},
		{"a: b\r\r\n\r\r\nc\r\r\n", "a: b\r\n\r\nc\r\n"},
		{strings.Repeat("\r", 8) + "\n", "\r\n"},
		{strings.Repeat("\r", 10) + "\n", "\r\n\r\n\r\n"},
		{"\n\n\r\r", "\r\n\r\n\r\n\r\n"},
		{"a\r\n\r\n", "a\r\n\r\n"},
		{"\x00.\xff", "\x00.\xff\r\n"},
		{"a\r\r\rb", "a\r\n\r\n\r\nb\r\n"},
		{strings.Repeat("\r", 20), strings.Repeat("\r\n", 20)},
	} {
		read, err := io.ReadAll(NewReader(strings.NewReader(tt.text)))
		if err != nil || string(read) != tt.want {
			t.Errorf("%q reads as %q, %v, want %q", tt.text, read, err, tt.want)
		}
		for cut := 1; cut < 4; cut++ {
			if got := converted(t, tt.text, cut); got != tt.want {
				t.Errorf("%q in parts of %d becomes %q, want %q", tt.text, cut, got, tt.want)
			}
		}
	}
}

// Converting is idempotent, does not depend on how the text is split, and changes only line ends.
func FuzzWriter(f *testing.F) {
	f.Add("a\r\n.\n\r\r\n", 1)
	f.Add("From x\n\n", 3)
	f.Fuzz(func(t *testing.T, text string, cut int) {
		cut = max(1, cut)
		once := converted(t, text, cut)
		if twice := converted(t, once, len(once)+1); twice != once {
			t.Errorf("%q becomes %q, and that %q", text, once, twice)
		}
		lines := regexp.MustCompile(`\r{1,8}\n`).ReplaceAllString(text, "\n")
		lines = strings.ReplaceAll(lines, "\r", "\n")
		if lines != "" && !strings.HasSuffix(lines, "\n") {
			lines += "\n"
		}
		if want := strings.ReplaceAll(lines, "\n", "\r\n"); once != want {
			t.Errorf("%q becomes %q, want %q", text, once, want)
		}
	})
}

func TestReader(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "\n": "\r\n", "\r\n": "\r\n", "\r": "\r\n", "\r\r\n\n": "\r\n\r\n", "a\nb\r\nc": "a\r\nb\r\nc\r\n", "\n\n": "\r\n\r\n",
	} {
		for name, wrap := range map[string]func(io.Reader) io.Reader{
			"whole": func(r io.Reader) io.Reader { return r }, "by bytes": iotest.OneByteReader, "data with EOF": iotest.DataErrReader,
		} {
			got, err := io.ReadAll(iotest.OneByteReader(NewReader(wrap(strings.NewReader(in)))))
			if string(got) != want || err != nil {
				t.Errorf("%q %s: %q, %v; want %q", in, name, got, err, want)
			}
		}
	}
	broken := errors.New("broken")
	_, err := io.ReadAll(NewReader(io.MultiReader(strings.NewReader("a\n"), iotest.ErrReader(broken))))
	if !errors.Is(err, broken) {
		t.Errorf("%v, want the error of the text", err)
	}
}
