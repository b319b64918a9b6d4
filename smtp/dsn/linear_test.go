package dsn

import (
	"bufio"
	"io"
	"strings"
	"testing"

	"pillarbox/etc/lab/mailtest"
)

func TestReportsLinear(t *testing.T) {
	mailtest.Linear(t, func(text string) {
		Parse(strings.NewReader(text))
		r := Report{Original: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }, MaxReturn: 1 << 20}
		r.survey("boundary")
	}, append(mailtest.Messages(), mailtest.Headers("Content-Type", "Message-Id", "Subject")...)...)
}

// What others said stands in our reports.
func TestTextsLinear(t *testing.T) {
	mailtest.Linear(t, func(text string) {
		oneLine(text, maxWords)
		hostText(text)
		addressText(text)
		readDate(text)
		decodeSubject([]byte("Subject: " + text))
		var b strings.Builder
		fold(&b, "Subject", text)
		var p page
		p.lines(8, text)
		p2 := new(Parsed)
		p2.readStatus(bufio.NewReader(strings.NewReader("A: b\n\n" + strings.ReplaceAll(text, ",", "\nA: "))))
	}, mailtest.Values()...)
}
