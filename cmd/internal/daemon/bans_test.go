package daemon

import (
	"strings"
	"testing"
	"time"
)

// A reply line holds no more than RFC 5321 §4.5.3.1.5 and RFC 2449 §4 allow.
func TestRefusals(t *testing.T) {
	until := time.Date(2026, 11, 21, 14, 30, 0, 0, time.FixedZone("", 3600))
	for _, c := range []struct{ got, want string }{
		{refuseSMTP("mail.office.example", until), "554 5.7.1 mail.office.example Too many wrong passwords came from your address: banned until 2026-11-21 14:30:00 +0100\r\n"},
		{refusePOP3(until), "-ERR [SYS/TEMP] too many wrong passwords came from your address: banned until 2026-11-21 14:30:00 +0100\r\n"},
	} {
		if c.got != c.want {
			t.Errorf("got %q", c.got)
		}
	}
	if n := len(refuseSMTP(strings.Repeat("x", 255), until)); n > 512 {
		t.Errorf("%d octets", n)
	}
}
