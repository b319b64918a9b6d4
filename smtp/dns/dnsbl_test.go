package dns

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/smtp/policy"
)

func TestListed(t *testing.T) {
	r, d := newTest(t)
	list := func(name string, answers ...string) {
		var ips []netip.Addr
		for _, a := range answers {
			ips = append(ips, ip(a))
		}
		d.SetAddrs(name, ips...)
	}
	list("7.113.0.203.zen.example", "127.0.0.4", "127.0.0.2")
	d.SetTXT("7.113.0.203.zen.example", "see https://zen.example/\r\n"+strings.Repeat("x", 220))
	list("8.113.0.203.zen.example", "127.0.0.3")
	list("9.113.0.203.zen.example", "192.0.2.1") // a list whose domain was sold
	list("10.113.0.203.zen.example", "127.255.255.254")
	list("11.113.0.203.zen.example", "127.0.0.1")
	list("12.113.0.203.zen.example", "127.0.0.2", "192.0.2.1", "127.255.255.254")
	d.Fail(mailtest.DNSServFail, "13.113.0.203.zen.example")
	list("14.113.0.203.zen.example", "127.0.0.2")
	d.Fail(mailtest.DNSServFail, "14.113.0.203.zen.example", "TXT")
	list("1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.zen.example", "127.0.0.2")
	for _, c := range []struct {
		ip      string
		answers []string
		text    string
		state   policy.ListState
	}{
		{"203.0.113.7", []string{"127.0.0.2", "127.0.0.4"}, "see https://zen.example/" + strings.Repeat("x", 176), policy.ListedThere},
		{"::ffff:203.0.113.8", []string{"127.0.0.3"}, "", policy.ListedThere},
		{"203.0.113.9", nil, "", policy.ListedNot},
		{"203.0.113.10", nil, "", policy.ListedFailed},
		{"203.0.113.11", nil, "", policy.ListedFailed},
		{"203.0.113.12", []string{"127.0.0.2"}, "", policy.ListedThere},
		{"203.0.113.13", nil, "", policy.ListedFailed},
		{"203.0.113.14", []string{"127.0.0.2"}, "", policy.ListedThere},
		{"203.0.113.15", nil, "", policy.ListedNot},
		{"2001:db8::1", []string{"127.0.0.2"}, "", policy.ListedThere},
		{"2001:db8::2", nil, "", policy.ListedNot},
	} {
		answer, text, state := r.Listed(t.Context(), ip(c.ip), "zen.example")
		var got []string
		for _, a := range answer {
			got = append(got, a.String())
		}
		if !slices.Equal(got, c.answers) || text != c.text || state != c.state {
			t.Errorf("%s: %v %q %s, want %v %q %s", c.ip, got, text, state, c.answers, c.text, c.state)
		}
	}
	if answer, _, state := r.Listed(t.Context(), netip.Addr{}, "zen.example"); answer != nil || state != policy.ListedNot {
		t.Errorf("no address: %v %s", answer, state)
	}
}

// Results are cached for the next session, separately for each list.
func TestListedIsRemembered(t *testing.T) {
	r, d := newTest(t)
	d.SetAddrs("7.113.0.203.zen.example", ip("127.0.0.2"))
	for range 3 {
		r.Listed(t.Context(), ip("203.0.113.7"), "zen.example")
		r.Listed(t.Context(), ip("203.0.113.7"), "bl.example")
	}
	if zen, bl := d.Asked("7.113.0.203.zen.example", "A"), d.Asked("7.113.0.203.bl.example", "A"); zen != 1 || bl != 1 {
		t.Errorf("asked %d and %d times", zen, bl)
	}
}

// A list that does not answer does not affect the results of others.
func TestListings(t *testing.T) {
	d := mailtest.NewDNS(t)
	r := New(Options{Servers: servers(d), Timeout: 200 * time.Millisecond})
	d.SetAddrs("7.113.0.203.zen.example", ip("127.0.0.2"))
	d.Fail(mailtest.DNSSilent, "7.113.0.203.slow.example")
	got := r.Listings(t.Context(), ip("203.0.113.7"), []string{"slow.example", "zen.example", "bl.example"})
	want := []policy.Listing{
		{Site: "slow.example", State: policy.ListedFailed},
		{Site: "zen.example", State: policy.ListedThere, Answer: []netip.Addr{ip("127.0.0.2")}},
		{Site: "bl.example", State: policy.ListedNot},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if none := r.Listings(t.Context(), ip("203.0.113.7"), nil); none == nil {
		t.Error("no lists, no answer")
	}
}
