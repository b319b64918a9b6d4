package mailtext

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestWithoutSeparator(t *testing.T) {
	const rest = "Subject: x\r\n\r\nFrom a Mon Jan  5 10:00:00 2026\r\n"
	for first, dropped := range map[string]bool{
		"From a@b.example Mon Jan  5 10:00:00 2026\r\n":     true,
		">From - Mon Jan  5 10:00:00 2026\n":                true,
		"From - Mon Jan  5 10:00:00 2026\r":                 true,
		"From - Mon Jan  5 10:00:00 2026\r\r\n":             true,
		"From a Mon Jan  5 9:00 2026\r\n":                   true,
		"From: a@b.example\r\n":                             false,
		"From here on it is text\r\n":                       false,
		"From\r\n":                                          false,
		">>From a Mon Jan  5 10:00:00 2026\r\n":             false,
		"":                                                  false,
		"From a 10:00" + strings.Repeat(" ", 1000) + "\r\n": false,
	} {
		want := first + rest
		if dropped {
			want = rest
		}
		for name, wrap := range map[string]func(io.Reader) io.Reader{
			"whole": func(r io.Reader) io.Reader { return r }, "by octets": iotest.OneByteReader,
		} {
			got, err := io.ReadAll(WithoutSeparator(wrap(strings.NewReader(first + rest))))
			if err != nil || string(got) != want {
				t.Errorf("%q %s: %q, %v", first, name, got, err)
			}
		}
	}
	broken := errors.New("broken")
	if _, err := io.ReadAll(WithoutSeparator(iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Error(err)
	}
}
