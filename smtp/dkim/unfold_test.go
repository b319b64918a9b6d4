package dkim

import (
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestUnfolder(t *testing.T) {
	long := strings.Repeat("x", 16<<10)
	for in, want := range map[string]string{
		"": "", "A: b": "A: b", "A: b\r\n": "A: b\r\n", "\r\nbody\r\n c\r\n": "\r\nbody\r\n c\r\n",
		"A: b\r\n c\r\n\td\r\nE: f\r\n\r\nbody\r\n folded\r\n": "A: b c\td\r\nE: f\r\n\r\nbody\r\n folded\r\n",
		" A: b\r\n c\r\n":                      " A: b c\r\n",
		"A: b\n c\n\nbody\n c":                 "A: b c\n\nbody\n c",
		"A: b\r\n \r\n c\r\n\r\nbody":          "A: b  c\r\n\r\nbody",
		"A: " + long + "\r\n c\r\n\r\nb":       "A: " + long + " c\r\n\r\nb",
		long[:16<<10-1] + "\r\n c: d\r\n\r\nb": long[:16<<10-1] + " c: d\r\n\r\nb",
		long + "\r\n c: d\r\n\r\nb":            long + " c: d\r\n\r\nb",
		"A: b\r\n c":                           "A: b c",
	} {
		for _, wrap := range []func(io.Reader) io.Reader{iotest.OneByteReader, func(r io.Reader) io.Reader { return r }} {
			got, err := io.ReadAll(wrap(newUnfolder(wrap(strings.NewReader(in)))))
			if err != nil || string(got) != want {
				t.Errorf("%.60q: %.60q, %v", in, got, err)
			}
		}
	}
}
