package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"pillarbox/tls/acme"
)

// TestPrintACME: which certificate clients are shown.
func TestPrintACME(t *testing.T) {
	for want, end := range map[string]time.Time{
		"none yet; that of the server's own CA stands in\n": {},
		"ended 2020-01-02 ":    time.Date(2020, 1, 2, 12, 0, 0, 0, time.Local),
		"valid to 9999-01-02 ": time.Date(9999, 1, 2, 12, 0, 0, 0, time.Local),
	} {
		var out bytes.Buffer
		a := &app{stdout: &out}
		a.printACME(acme.Status{Enabled: true, NotAfter: end})
		_, certificate, _ := strings.Cut(out.String(), "Certificate:")
		if !strings.HasPrefix(strings.TrimLeft(certificate, " "), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
		if stands := strings.Contains(out.String(), "own CA stands in"); stands == strings.HasPrefix(want, "valid") {
			t.Errorf("wrong of the own CA:\n%s", out.String())
		}
	}
}
