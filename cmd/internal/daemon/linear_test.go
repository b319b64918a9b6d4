package daemon

import (
	"io"
	"strings"
	"testing"

	"pillarbox/etc/lab/mailtest"
)

func TestAuthorLinear(t *testing.T) {
	mailtest.Linear(t, func(text string) {
		authorDomain(func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil })
	}, mailtest.Headers("From")...)
}
