package daemon

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"pillarbox/etc/lab/mailtest"
)

// POP3 has lists of hosts of its own, also by their names in DNS.
func TestAdmitPOP3(t *testing.T) {
	var log mailtest.Log
	d, file, text := serverForParts(t, &log)
	defer d.stop()
	dns := mailtest.NewDNS(t)
	dns.SetHost("pc.office.example", netip.MustParseAddr("192.0.2.1"))
	dns.SetPTR(netip.MustParseAddr("192.0.2.2"), "pc.office.example") // which does not lead back
	for _, test := range []struct {
		lists string
		want  []string // of the clients below
	}{
		{"", []string{"127.0.0.1", "192.0.2.1", "192.0.2.2", "198.51.100.7"}},
		{`pop3.deny_hosts = ["192.0.2.0/24"]`, []string{"127.0.0.1", "198.51.100.7"}},
		{`pop3.deny_hosts = ["192.0.2.0/24"]` + "\n" + `pop3.allow_hosts = ["192.0.2.2"]`,
			[]string{"127.0.0.1", "192.0.2.2", "198.51.100.7"}},
		{`pop3.deny_hosts = ["*"]` + "\n" + `pop3.allow_hosts = ["127.0.0.1", ".office.example"]`,
			[]string{"127.0.0.1", "192.0.2.1"}},
	} {
		text := text + "dns.servers = [\"" + dns.Addr() + "\"]\n" + test.lists
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if result := d.Reload(); result.Error != "" {
			t.Fatal(result.Error)
		}
		log.Take()
		admit := d.admitPOP3(d.office.Config())
		var got []string
		for _, client := range []string{"127.0.0.1", "192.0.2.1", "192.0.2.2", "198.51.100.7"} {
			if admit(t.Context(), netip.MustParseAddr(client)) {
				got = append(got, client)
			}
		}
		if strings.Join(got, " ") != strings.Join(test.want, " ") {
			t.Errorf("%s: %v, want %v", test.lists, got, test.want)
		}
		if n := strings.Count(log.Take(), "msg=refused service=pop3"); n != 4-len(test.want) {
			t.Errorf("%s: %d refusals in the log", test.lists, n)
		}
	}
}
