package remote

import (
	"bufio"
	"bytes"
	"strings"
	"testing"
	"unicode"
)

// Every reply is bounded and printable, whatever a server sends.
func FuzzReply(f *testing.F) {
	for _, s := range []string{"250 ok\r\n", "250-a\r\n250 b\n", "220\r\n", "550-5.1.1 no\r\n550 5.1.1 such\r\n", "25", "250-\r\n", "450 4.2.0\r\n", "\xff\xfe"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var r reply
		in := bufio.NewReaderSize(strings.NewReader(s), maxReplyLine)
		if err := r.read(in, nil); err != nil {
			return
		}
		if r.code < 200 || r.code > 599 || len(r.text) > 4*maxReplyText+maxReplyLine {
			t.Fatalf("%d, %d octets", r.code, len(r.text))
		}
		w := r.words()
		if len(w.Text) > maxReplyText || strings.ContainsFunc(w.Text, unicode.IsControl) || w.Enhanced[0] != r.code/100 {
			t.Fatalf("%+v", w)
		}
	})
}

// Dot-stuffed text ends at the first CRLF.CRLF, and unstuffing restores it.
func FuzzStuffer(f *testing.F) {
	for _, s := range []string{"", ".", "\r\n.\r\n", "a\r\n..b\r\n", "a", "a\n.", "\r", "a\r\n.\r\n.\r\n"} {
		f.Add(s, 1)
	}
	f.Fuzz(func(t *testing.T, s string, size int) {
		size = min(max(size, 1), 64)
		var out bytes.Buffer
		w := stuffer{buf: make([]byte, 0, size)}
		w.reset(func(p []byte) error { out.Write(p); return nil })
		for rest := s; rest != ""; {
			n := min(size, len(rest))
			if n, err := w.Write([]byte(rest[:n])); err != nil || n != min(size, len(rest)) {
				t.Fatal(n, err)
			}
			rest = rest[n:]
		}
		if err := w.end(); err != nil {
			t.Fatal(err)
		}
		text, ok := strings.CutSuffix(out.String(), ".\r\n")
		if !ok || text != "" && !strings.HasSuffix(text, "\r\n") {
			t.Fatalf("%q became %q", s, &out)
		}
		for _, early := range []string{"\n.\r\n", "\n.\n"} {
			if strings.Contains("\r\n"+text, early) {
				t.Fatalf("%q ends early in %q", s, &out)
			}
		}
		want := s
		if s != "" && !strings.HasSuffix(s, "\r\n") {
			want += "\r\n"
		}
		back := strings.TrimPrefix(strings.ReplaceAll("\n"+text, "\n.", "\n"), "\n")
		if back != want {
			t.Fatalf("%q became %q", s, back)
		}
	})
}
