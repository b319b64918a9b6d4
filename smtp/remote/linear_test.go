package remote

import (
	"bufio"
	"io"
	"strings"
	"testing"

	"pillarbox/etc/lab/mailtest"
)

func TestContentLinear(t *testing.T) {
	mailtest.Linear(t, func(text string) {
		d := scannedDelivery(text)
		if found, err := d.scan(); err == nil {
			for _, sevenBit := range []bool{false, true} {
				found.convert(io.Discard, strings.NewReader(text), sevenBit)
			}
		}
	}, append(mailtest.Messages(), mailtest.Headers("Content-Type", "Content-Transfer-Encoding", "MIME-Version")...)...)
}

func TestReplyLinear(t *testing.T) {
	mailtest.Linear(t, func(text string) {
		for _, form := range []string{"250-" + text, strings.ReplaceAll(text, ",", "\r\n250-")} {
			var r reply
			if r.read(bufio.NewReaderSize(strings.NewReader(form), maxReplyLine), nil) == nil {
				r.words()
				r.line()
			}
		}
		parsePolicy(text)
		parsePolicy("version: STSv1\n" + strings.ReplaceAll(text, ",", "\nmx: a.example"))
	}, mailtest.Values()...)
}

func TestAuthorLinear(t *testing.T) {
	mailtest.Linear(t, func(text string) {
		authorDomain(func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil })
	}, mailtest.Headers("From")...)
}
