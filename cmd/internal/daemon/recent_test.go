package daemon

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/auth"
)

// Logins by POP3 are remembered for the networks of the configuration, and a reload changes these.
// The log warns of them.
func TestPOPBeforeSMTPNetworks(t *testing.T) {
	var log mailtest.Log
	d, file, text := serverForParts(t, &log)
	defer d.stop()
	anna := addr.Address{Local: "anna", Domain: "office.example"}
	client := netip.MustParseAddr("192.168.1.10")
	remembered := func() bool {
		d.pop3Config(d.office.Config()).LoggedIn(client, auth.Principal{Address: anna})
		_, ok := d.recent.Find(client, anna)
		return ok
	}
	if remembered() {
		t.Error("remembered by default")
	}
	for _, test := range []struct {
		networks string
		want     bool
	}{{`["192.168.1.0/24"]`, true}, {`["192.168.2.0/24"]`, false}, {`[]`, false}} {
		text := text + "auth.pop_before_smtp_networks = " + test.networks + "\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		log.Take()
		if result := d.Reload(); result.Error != "" {
			t.Fatal(result.Error)
		}
		warned := strings.Contains(log.Take(), "may send as that user without a password")
		if got := remembered(); got != test.want || warned != (test.networks != "[]") {
			t.Errorf("%s: remembered %v, warned %v", test.networks, got, warned)
		}
	}
}
