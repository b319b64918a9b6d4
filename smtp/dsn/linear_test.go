package dsn

import (
	"io"
	"strings"
	"testing"

	"pillarbox/etc/lab/mailtest"
)

func TestReportsLinear(t *testing.T) {
	mailtest.Linear(t, func(text string) {
		r := Report{Original: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }, MaxReturn: 1 << 20}
		r.survey("boundary")
	}, append(mailtest.Messages(), mailtest.Headers("Content-Type", "Message-Id", "Subject")...)...)
}

// TestTextsLinear: untrusted text is part of reports.
func TestTextsLinear(t *testing.T) {
	mailtest.Linear(t, func(text string) {
		oneLine(text, maxWords)
		hostText(text)
		addressText(text)
		decodeSubject([]byte("Subject: " + text))
		var b strings.Builder
		fold(&b, "Subject", text)
		var p page
		p.lines(8, text)
	}, mailtest.Values()...)
}
