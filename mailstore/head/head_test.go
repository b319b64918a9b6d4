package head

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pillarbox/etc/lab/mailtest"
)

const sample = "Return-Path: <anna@office.example>\r\n" +
	"FROM : =?iso-8859-1?Q?J=FCrgen?= Meier <j.meier@far.example>\r\n" +
	"To: \"Anna, the boss\" <Anna@Office.example>,\r\n\tbert@office.example; (comment) carl@x\r\n" +
	"To: dora@office.example\r\n" +
	"Subject: =?utf-8?B?R3LDvMOfZQ==?=\r\n =?utf-8?Q?_aus?=\r\n" +
	"List-Unsubscribe: <https://x.example>\r\n" +
	"X-Bad: =?nowhere?Q?=FC?=\r\n" +
	"\r\n" +
	"Cc: not@field.example\r\n"

func TestParse(t *testing.T) {
	h := Parse([]byte(sample))
	for name, want := range map[string][]string{
		"from":    {"Jürgen Meier <j.meier@far.example>"},
		"subject": {"Grüße aus"},
		"x-bad":   {"=?nowhere?Q?=FC?="},
		"cc":      {},
	} {
		if got := h.Texts(name); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if got := fmt.Sprint(h.Addresses("to")); got !=
		"[anna@office.example bert@office.example carl@x dora@office.example]" {
		t.Errorf("the addresses in To are %s", got)
	}
	if !h.IsList() || !h.Has("return-path") || h.Has("list-id") {
		t.Error("the fields that exist are not those of the sample")
	}
	if Parse(nil).Raw("from") != "" || Parse([]byte("no field\r\nFrom: x\r\n")).Has("from") {
		t.Error("a field was found after a line that is none")
	}
}

func TestLinear(t *testing.T) {
	use := func(text string) {
		h := Parse([]byte(text))
		for name := range h.values {
			h.Texts(name)
			h.Addresses(name)
		}
	}
	mailtest.Linear(t, use, mailtest.Headers("From", "To", "Subject")...)
	mailtest.Linear(t, use, mailtest.Messages()...)
	mailtest.Linear(t, func(text string) { use("To: " + strings.ReplaceAll(text, "\n", "\n ")) },
		mailtest.Values()...)
}

// Encoded words that do not end make the decoder look for their end again and again. Rules ask for
// the same field many times.
func TestBrokenWords(t *testing.T) {
	for _, word := range []string{"=?utf-8?q?", "=?utf-8?b?", "=?utf-8?q?a ", "=?utf-8?q?a?= "} {
		mailtest.Linear(t, func(text string) { Parse([]byte(text)).Lower("subject") }, mailtest.Shape{
			Name: word,
			Text: func(size int) string { return "Subject: " + strings.Repeat(word, size/len(word)) + "?=\r\n" },
		})
	}
	h := Parse([]byte(sample))
	ask := func() { h.Lower("subject"); h.Texts("from"); h.Addresses("to") }
	ask()
	if n := testing.AllocsPerRun(10, ask); n > 0 {
		t.Errorf("fields that were asked for before are decoded again: %v allocations", n)
	}
	long := "=?utf-8?q?gr=C3=BCn?= " + strings.Repeat("x ", maxDecoded) + "=?utf-8?q?gr=C3=BCn?="
	got := Parse([]byte("Subject: " + long + "\r\n")).Texts("subject")[0]
	if !strings.HasPrefix(got, "grün x x") || !strings.HasSuffix(got, " x =?utf-8?q?gr=C3=BCn?=") {
		t.Errorf("a long field is %.20s…%s", got, got[len(got)-30:])
	}
}
