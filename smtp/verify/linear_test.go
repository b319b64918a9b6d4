package verify

import (
	"bufio"
	"strings"
	"testing"

	"pillarbox/etc/lab/mailtest"
)

func TestHeaderLinear(t *testing.T) {
	mailtest.Linear(t, func(text string) {
		Strip([]byte(text), "mail.office.example")
		readHeader(bufio.NewReader(strings.NewReader(text)))
	}, mailtest.Headers("Authentication-Results", "DKIM-Signature")...)
}
