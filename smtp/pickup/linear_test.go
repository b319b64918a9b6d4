package pickup

import (
	"io"
	"strings"
	"testing"
	"time"

	"pillarbox/etc/lab/mailtest"
)

func TestMessageLinear(t *testing.T) {
	mailtest.Linear(t, func(text string) {
		for _, read := range []func(io.Reader) (*Message, error){ReadFile, ReadInput} {
			l, err := read(strings.NewReader("X-Sender: <>\r\nFrom: a@b.example\r\n" + text))
			if err != nil {
				continue
			}
			l.Envelope("office.example", 100)
			l.Qualify("office.example")
			l.Complete("id", "mail.office.example", time.Unix(0, 0))
			io.Copy(io.Discard, l.Reader())
		}
	}, mailtest.Headers("To", "Bcc", "X-Receiver", "Received")...)
}

func TestListLinear(t *testing.T) {
	mailtest.Linear(t, func(text string) { ParseList(text, "office.example") },
		mailtest.Values()...)
}
