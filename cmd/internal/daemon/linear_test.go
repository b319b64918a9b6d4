package daemon

import (
	"bufio"
	"io"
	"strings"
	"testing"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/smtp/verify"
)

func TestFetchedLinear(t *testing.T) {
	mailtest.Linear(t, func(text string) {
		if head, err := readFetched(bufio.NewReaderSize(strings.NewReader(text), 64<<10), "mark"); err == nil {
			verify.Strip(head.octets, "mail.office.example")
		}
	}, mailtest.Headers("Received", "Return-Path", fetchedField, "Authentication-Results")...)
}

func TestAuthorLinear(t *testing.T) {
	mailtest.Linear(t, func(text string) {
		authorDomain(func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil })
	}, mailtest.Headers("From")...)
}
