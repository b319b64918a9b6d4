package mailtext

import (
	"strings"
	"testing"
)

func TestRecognize(t *testing.T) {
	for head, want := range map[string]string{
		"!BDN\x00\x00":                     ".pst",
		"\xcf\xad\x12\xfe\xc5":             ".dbx",
		"\x1f\x8b\x08":                     "gzip",
		"PK\x03\x04":                       "zip",
		"\xff\xfeF\x00":                    "UTF-16",
		"F\x00r\x00o\x00m\x00 \x00":        "UTF-16",
		strings.Repeat("x", 257) + "ustar": "tar",
		"1234\nReceived: from":             "Apple Mail",
		"*mbx*\r\n":                        "mbx",
		"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": ".msg",
		"":                                 "",
		"From a@b.example Mon Jan  5 10:00:00 2026\n": "",
		"Subject: x\n\n": "",
		"\r\n":           "",
		"1234\n":         "",
		"12 monkeys":     "",
	} {
		got, ok := Recognize([]byte(head))
		if ok != (want != "") || !strings.Contains(got.Name, want) || ok && got.Advice == "" {
			t.Errorf("%.20q: %+v, want %q", head, got, want)
		}
	}
}
