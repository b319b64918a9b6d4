//go:build e2e

package e2e

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"
)

// TestTraceDNSBL: a client in a DNS list is refused, and one command tells why the mail never came
// and how to let it in. The other cases are in cmd/pillarbox/testdata/script/trace.txtar.
func TestTraceDNSBL(t *testing.T) {
	needs(t, "swaks")
	const listed = "203.0.113.7" // lists are not asked about loopback
	if !inOwnNetwork(t, listed) {
		return
	}
	o, dns := sendingOffice(t)
	dns.SetAddrs("7.113.0.203.zen.example", netip.MustParseAddr("127.0.0.2"))
	dns.SetTXT("7.113.0.203.zen.example", "it sends spam")
	o.set(t, "dnsbl", "sites", `["zen.example"]`)
	o.set(t, "dnsbl", "action", `"reject"`)
	o.serve(t)
	out, code := run(t, o.command(t, "swaks", "--server", "127.0.0.1", "--port", o.port("smtp"),
		"--local-interface", listed, "--ehlo", "mx.far.example", "--from", "x@far.example", "--to", boss))
	if code == 0 || !strings.Contains(out, "zen.example") {
		t.Fatalf("the client is not refused by the list: exit code %d\n%s", code, out)
	}
	answer := o.pillarbox(t, "", "admin", "trace", "x@far.example", "--since", "1h")
	for _, want := range []string{
		fmt.Sprintf(`refused for %s from %s \(mx\.far\.example\) over smtp: 550 5\.7\.1 .*listed by zen\.example`, boss, listed),
		`\(dnsbl\..*\)`,
		`why: pillarbox admin explain --trace [A-Z2-7]{6}`,
	} {
		if !regexp.MustCompile(want).MatchString(answer) {
			t.Errorf("no %s in\n%s", want, answer)
		}
	}
	trace := regexp.MustCompile(`--trace ([A-Z2-7]{6})`).FindStringSubmatch(answer)
	if trace == nil {
		t.Fatal("no trace code")
	}
	why := o.pillarbox(t, "", "admin", "explain", "--trace", trace[1])
	if !strings.Contains(why, "zen.example") || !strings.Contains(why, "dnsbl.private_allow") {
		t.Errorf("explain says\n%s", why)
	}
}
