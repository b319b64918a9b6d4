package fetch

import (
	"bufio"
	"strings"
	"testing"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/smtp/verify"
)

func TestHeaderLinear(t *testing.T) {
	mailtest.Linear(t, func(text string) {
		in := bufio.NewReaderSize(strings.NewReader(text), 64<<10)
		if head, err := readHeader(in, "mark"); err == nil {
			verify.Strip(head.octets, "mail.office.example")
		}
	}, mailtest.Headers("Received", "Return-Path", markField, "Authentication-Results")...)
}
