package remote

import (
	"crypto/sha256"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/smtp/route"
)

// world is a DNS server with some domains, and peers at their addresses.
type world struct {
	dns   *mailtest.DNS
	peers network
	route route.Route
	opts  Options
}

func newWorld(t *testing.T) *world {
	w := &world{dns: mailtest.NewDNS(t), peers: network{}, route: route.Route{Name: "default"}}
	table := &route.Table{}
	w.opts = Options{
		Routes:   func() *route.Table { table.Default = w.route; return table },
		Hostname: "us.example", DNS: []string{w.dns.Addr()}, Dial: w.peers.dial,
		Own: func(a netip.AddrPort) bool { return a == netip.MustParseAddrPort("192.0.2.99:25") },
	}
	return w
}

// host gives a name an address with a peer.
func (w *world) host(name, ip string, b behaviour) *peer {
	w.dns.SetAddrs(name, netip.MustParseAddr(ip))
	p := &peer{behaviour: b}
	w.peers[netip.AddrPortFrom(netip.MustParseAddr(ip), 25).String()] = p
	return p
}

func (w *world) deliver(t *testing.T, to string) (string, *Remote) {
	t.Helper()
	r := New(w.opts)
	t.Cleanup(func() {
		r.Close()
		for _, p := range w.peers {
			p.running.Wait()
		}
	})
	o := r.Deliver(t.Context(), attempt(letter, to))
	text := summary(o)
	if o.Results[0].MTA != "" {
		text += " by " + o.Results[0].MTA
	}
	return text, r
}

func TestExchangers(t *testing.T) {
	busy, away := behaviour{greeting: "421 busy"}, behaviour{greeting: "554 no mail here"}
	for name, tt := range map[string]struct {
		set  func(*world)
		to   string
		want string
	}{
		"order": {func(w *world) {
			w.dns.SetMX("x.example", "mx1.x.example", "mx2.x.example")
			w.host("mx1.x.example", "192.0.2.1", behaviour{})
			w.host("mx2.x.example", "192.0.2.2", behaviour{})
		}, "b@x.example", "delivered 250 2.0.0 by mx1.x.example"},
		"next after refused connection": {func(w *world) {
			w.dns.SetMX("x.example", "mx1.x.example", "mx2.x.example")
			w.dns.SetAddrs("mx1.x.example", netip.MustParseAddr("192.0.2.1"))
			w.host("mx2.x.example", "192.0.2.2", behaviour{})
		}, "b@x.example", "delivered 250 2.0.0 by mx2.x.example"},
		"next after 421": {func(w *world) {
			w.dns.SetMX("x.example", "mx1.x.example", "mx2.x.example")
			w.host("mx1.x.example", "192.0.2.1", busy)
			w.host("mx2.x.example", "192.0.2.2", behaviour{})
		}, "b@x.example", "delivered 250 2.0.0 by mx2.x.example"},
		"next after 421 to MAIL": {func(w *world) {
			w.dns.SetMX("x.example", "mx1.x.example", "mx2.x.example")
			w.host("mx1.x.example", "192.0.2.1", behaviour{answers: map[string]string{"MAIL": "421 bye"}})
			w.host("mx2.x.example", "192.0.2.2", behaviour{})
		}, "b@x.example", "delivered 250 2.0.0 by mx2.x.example"},
		"next after missing host": {func(w *world) {
			w.dns.SetMX("x.example", "mx1.x.example", "mx2.x.example")
			w.host("mx2.x.example", "192.0.2.2", behaviour{})
		}, "b@x.example", "delivered 250 2.0.0 by mx2.x.example"},
		"second address": {func(w *world) {
			w.dns.SetMX("x.example", "mx.x.example")
			w.host("mx.x.example", "192.0.2.2", behaviour{})
			w.dns.SetAddrs("mx.x.example", netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"))
		}, "b@x.example", "delivered 250 2.0.0 by mx.x.example"},
		"refused recipient is no reason to ask elsewhere": {func(w *world) {
			w.dns.SetMX("x.example", "mx1.x.example", "mx2.x.example")
			w.host("mx1.x.example", "192.0.2.1", behaviour{answers: map[string]string{"RCPT": "550 5.1.1 who"}})
			w.host("mx2.x.example", "192.0.2.2", behaviour{})
		}, "b@x.example", "failed 550 5.1.1 by mx1.x.example"},
		"no MX":   {func(w *world) { w.host("x.example", "192.0.2.1", behaviour{}) }, "b@x.example", "delivered 250 2.0.0 by x.example"},
		"IPv6":    {func(w *world) { w.host("x.example", "2001:db8::1", behaviour{}) }, "b@x.example", "delivered 250 2.0.0 by x.example"},
		"literal": {func(w *world) { w.host("x.example", "192.0.2.1", behaviour{}) }, "b@[192.0.2.1]", "delivered 250 2.0.0 by [192.0.2.1]"},
		"null MX": {func(w *world) {
			w.dns.SetMX("x.example", ".")
			w.host("x.example", "192.0.2.1", behaviour{})
		}, "b@x.example", "failed 554 5.1.10 ours"},
		"no domain":  {func(w *world) {}, "b@x.example", "failed 554 5.1.2 ours"},
		"no address": {func(w *world) { w.dns.SetTXT("x.example", "v=spf1 -all") }, "b@x.example", "failed 554 5.1.2 ours"},
		"DNS fails":  {func(w *world) { w.dns.Fail(mailtest.DNSServFail, "") }, "b@x.example", "unreachable, deferred 451 4.4.3 ours"},
		"MX known, address not": {func(w *world) {
			w.dns.SetMX("x.example", "mx.x.example")
			w.dns.Fail(mailtest.DNSServFail, "mx.x.example")
		}, "b@x.example", "unreachable, deferred 451 4.4.3 ours"},
		"all refuse connections": {func(w *world) {
			w.dns.SetMX("x.example", "mx1.x.example", "mx2.x.example")
			w.dns.SetAddrs("mx1.x.example", netip.MustParseAddr("192.0.2.1"))
		}, "b@x.example", "unreachable, deferred 451 4.4.1 ours"},
		"all turn away": {func(w *world) {
			w.dns.SetMX("x.example", "mx1.x.example", "mx2.x.example")
			w.host("mx1.x.example", "192.0.2.1", away)
			w.host("mx2.x.example", "192.0.2.2", away)
		}, "b@x.example", "failed 554 5.0.0 by mx1.x.example"},
		"one turns away": {func(w *world) {
			w.dns.SetMX("x.example", "mx1.x.example", "mx2.x.example")
			w.host("mx1.x.example", "192.0.2.1", away)
			w.host("mx2.x.example", "192.0.2.2", busy)
		}, "b@x.example", "unreachable, deferred 421 4.0.0 by mx2.x.example"},
		"we are the first": {func(w *world) {
			w.dns.SetMX("x.example", "us.example", "mx2.x.example")
			w.host("mx2.x.example", "192.0.2.2", behaviour{})
		}, "b@x.example", "failed 554 5.4.6 ours"},
		"we are the second, by address": {func(w *world) {
			w.dns.SetMX("x.example", "mx1.x.example", "backup.x.example", "mx3.x.example")
			w.host("mx1.x.example", "192.0.2.1", busy)
			w.dns.SetAddrs("backup.x.example", netip.MustParseAddr("192.0.2.99"))
			w.host("mx3.x.example", "192.0.2.3", behaviour{})
		}, "b@x.example", "unreachable, deferred 421 4.0.0 by mx1.x.example"},
		"we are the domain":  {func(w *world) { w.dns.SetAddrs("x.example", netip.MustParseAddr("192.0.2.99")) }, "b@x.example", "failed 554 5.4.6 ours"},
		"we are the literal": {func(w *world) {}, "b@[192.0.2.99]", "failed 554 5.4.6 ours"},
		"smart host by name": {func(w *world) {
			w.host("relay.example", "192.0.2.1", behaviour{})
			w.route.SmartHost = []route.Host{{Name: "relay.example"}}
		}, "b@x.example", "delivered 250 2.0.0 by relay.example"},
		"second smart host": {func(w *world) {
			w.host("relay.example", "192.0.2.1", behaviour{})
			w.route.SmartHost = []route.Host{{Name: "gone.example"}, {Name: "relay.example"}}
		}, "b@x.example", "delivered 250 2.0.0 by relay.example"},
		"smart host missing": {func(w *world) { w.route.SmartHost = []route.Host{{Name: "gone.example"}} }, "b@x.example", "unreachable, deferred 451 4.4.4 ours"},
		"smart host is ours": {func(w *world) { w.route.SmartHost = []route.Host{{Addr: netip.MustParseAddr("192.0.2.99")}} }, "b@x.example", "unreachable, deferred 451 4.4.6 ours"},
		"direct first": {func(w *world) {
			w.host("relay.example", "192.0.2.1", behaviour{})
			w.host("x.example", "192.0.2.2", behaviour{})
			w.route.SmartHost, w.route.DirectFirst = []route.Host{{Name: "relay.example"}}, true
		}, "b@x.example", "delivered 250 2.0.0 by x.example"},
		"direct fails for now": {func(w *world) {
			w.host("relay.example", "192.0.2.1", behaviour{})
			w.host("x.example", "192.0.2.2", behaviour{answers: map[string]string{"RCPT": "450 4.2.0 greylisted"}})
			w.route.SmartHost, w.route.DirectFirst = []route.Host{{Name: "relay.example"}}, true
		}, "b@x.example", "delivered 250 2.0.0 by relay.example"},
		"direct fails for good": {func(w *world) {
			w.host("relay.example", "192.0.2.1", behaviour{})
			w.host("x.example", "192.0.2.2", behaviour{answers: map[string]string{"RCPT": "550 5.1.1 who"}})
			w.route.SmartHost, w.route.DirectFirst = []route.Host{{Name: "relay.example"}}, true
		}, "b@x.example", "failed 550 5.1.1 by x.example"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			tt.set(w)
			if got, _ := w.deliver(t, tt.to); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// If the first DNS server is silent, the second is asked.
func TestSecondDNSServer(t *testing.T) {
	closed, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close() // its port refuses connections
	w := newWorld(t)
	w.host("x.example", "192.0.2.1", behaviour{})
	w.opts.DNS = []string{closed.LocalAddr().String(), w.dns.Addr()}
	if got, _ := w.deliver(t, "b@x.example"); got != "delivered 250 2.0.0 by x.example" {
		t.Error(got)
	}
}

// Equal exchangers share the load. All of them are skipped if one is this server.
func TestEqualExchangers(t *testing.T) {
	w := newWorld(t)
	w.dns.SetEqualMX("x.example", "a.example", "b.example", "c.example")
	r := New(w.opts)
	defer r.Close()
	first := map[string]int{}
	for range 60 {
		found, f := r.lookUpMX(t.Context(), &w.route, "x.example")
		if f != nil || len(found) != 3 {
			t.Fatal(found, f)
		}
		first[found[0].host]++
	}
	if len(first) != 3 {
		t.Error(first)
	}
	w.host("a.example", "192.0.2.1", behaviour{})
	w.host("b.example", "192.0.2.2", behaviour{})
	w.dns.SetAddrs("c.example", netip.MustParseAddr("192.0.2.99"))
	if got, _ := w.deliver(t, "b@x.example"); got != "failed 554 5.4.6 ours" {
		t.Error(got)
	}
}

func TestBetter(t *testing.T) {
	if got := better([]exchanger{{preference: 1}, {preference: 2}, {preference: 2}}, 2); len(got) != 1 {
		t.Error(got)
	}
}

func TestDANE(t *testing.T) {
	_, server := certificate(t, "mx.x.example")
	leaf := server.Certificates[0].Leaf
	whole, key := sha256.Sum256(leaf.Raw), sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	_, other := certificate(t, "mx.x.example")
	wrong := sha256.Sum256(other.Certificates[0].Leaf.Raw)
	record := func(usage, selector, matching byte, data []byte) []byte {
		return append([]byte{usage, selector, matching}, data...)
	}
	yes := behaviour{offers: []string{"STARTTLS"}, tls: server}
	for name, tt := range map[string]struct {
		peer behaviour
		set  func(*mailtest.DNS)
		want string
		tls  bool
	}{
		"3 1 1": {yes, func(d *mailtest.DNS) { d.SetTLSA("_25._tcp.mx.x.example", record(3, 1, 1, key[:])) }, "delivered 250 2.0.0 by mx.x.example", true},
		"3 0 1": {yes, func(d *mailtest.DNS) { d.SetTLSA("_25._tcp.mx.x.example", record(3, 0, 1, whole[:])) }, "delivered 250 2.0.0 by mx.x.example", true},
		"3 0 0": {yes, func(d *mailtest.DNS) { d.SetTLSA("_25._tcp.mx.x.example", record(3, 0, 0, leaf.Raw)) }, "delivered 250 2.0.0 by mx.x.example", true},
		"2 0 1": {yes, func(d *mailtest.DNS) { d.SetTLSA("_25._tcp.mx.x.example", record(2, 0, 1, whole[:])) }, "delivered 250 2.0.0 by mx.x.example", true},
		"one of two": {yes, func(d *mailtest.DNS) {
			d.SetTLSA("_25._tcp.mx.x.example", record(3, 0, 1, wrong[:]), record(3, 1, 1, key[:]))
		}, "delivered 250 2.0.0 by mx.x.example", true},
		"wrong":            {yes, func(d *mailtest.DNS) { d.SetTLSA("_25._tcp.mx.x.example", record(3, 0, 1, wrong[:])) }, "unreachable, deferred 451 4.7.5 ours", false},
		"no TLS":           {behaviour{}, func(d *mailtest.DNS) { d.SetTLSA("_25._tcp.mx.x.example", record(3, 1, 1, key[:])) }, "unreachable, deferred 451 4.7.4 ours", false},
		"unusable":         {yes, func(d *mailtest.DNS) { d.SetTLSA("_25._tcp.mx.x.example", record(1, 0, 1, wrong[:])) }, "delivered 250 2.0.0 by mx.x.example", true},
		"unusable, no TLS": {behaviour{}, func(d *mailtest.DNS) { d.SetTLSA("_25._tcp.mx.x.example", record(1, 0, 1, wrong[:])) }, "unreachable, deferred 451 4.7.4 ours", false},
		"none":             {behaviour{}, func(d *mailtest.DNS) {}, "delivered 250 2.0.0 by mx.x.example", false},
		"TLSA fails":       {yes, func(d *mailtest.DNS) { d.Fail(mailtest.DNSServFail, "_25._tcp.mx.x.example") }, "unreachable, deferred 451 4.7.5 ours", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.route.DANE = true
			w.dns.SetMX("x.example", "mx.x.example")
			w.dns.Sign("x.example", "mx.x.example", "_25._tcp.mx.x.example")
			p := w.host("mx.x.example", "192.0.2.1", tt.peer)
			tt.set(w.dns)
			if got, _ := w.deliver(t, "b@x.example"); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if tls := strings.Contains(p.said(), "STARTTLS | EHLO us.example | MAIL"); tls != tt.tls {
				t.Errorf("said %s", p.said())
			}
		})
	}
	t.Run("not signed", func(t *testing.T) {
		w := newWorld(t)
		w.route.DANE = true
		w.dns.SetMX("x.example", "mx.x.example")
		w.host("mx.x.example", "192.0.2.1", behaviour{})
		w.dns.SetTLSA("_25._tcp.mx.x.example", record(3, 1, 1, key[:]))
		if got, _ := w.deliver(t, "b@x.example"); got != "delivered 250 2.0.0 by mx.x.example" {
			t.Error(got)
		}
	})
}

func TestMTASTS(t *testing.T) {
	pool, server := certificate(t, "mx.x.example")
	good := behaviour{offers: []string{"STARTTLS"}, tls: server}
	_, foreign := certificate(t, "mx.x.example")
	const enforce = "version: STSv1\r\nmode: enforce\r\nmx: *.x.example\r\nmax_age: 86400\r\n"
	for name, tt := range map[string]struct {
		peer   behaviour
		policy string
		want   string
	}{
		"enforced":            {good, enforce, "delivered 250 2.0.0 by mx.x.example"},
		"enforced, no TLS":    {behaviour{}, enforce, "unreachable, deferred 451 4.7.4 ours"},
		"enforced, not known": {behaviour{offers: []string{"STARTTLS"}, tls: foreign}, enforce, "unreachable, deferred 451 4.7.5 ours"},
		"not named":           {good, strings.Replace(enforce, "*.x.example", "mail.x.example", 1), "unreachable, deferred 451 4.7.5 ours"},
		"testing":             {behaviour{}, strings.Replace(enforce, "enforce", "testing", 1), "delivered 250 2.0.0 by mx.x.example"},
		"none":                {behaviour{}, strings.Replace(enforce, "enforce", "none", 1), "delivered 250 2.0.0 by mx.x.example"},
		"rubbish":             {behaviour{}, "<html>", "delivered 250 2.0.0 by mx.x.example"},
		"too long":            {behaviour{}, enforce + strings.Repeat("x: y\r\n", 20000), "delivered 250 2.0.0 by mx.x.example"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			fetched := 0
			web := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) {
				fetched++
				out.Write([]byte(tt.policy))
			}))
			defer web.Close()
			w.opts.HTTP = &http.Client{Transport: redirect{web}}
			w.opts.TLSRoots = pool
			w.route.MTASTS = true
			w.dns.SetMX("x.example", "mx.x.example")
			w.dns.SetTXT("_mta-sts.x.example", "v=STSv1; id=1;")
			w.host("mx.x.example", "192.0.2.1", tt.peer)
			got, r := w.deliver(t, "b@x.example")
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			r.Deliver(t.Context(), attempt(letter, "b@x.example"))
			if fetched != 1 {
				t.Errorf("fetched %d times", fetched)
			}
		})
	}
}

func TestFetchPolicy(t *testing.T) {
	for text, want := range map[string]string{
		"version: STSv1\nmode: testing\nmx: *.x.example\nmax_age: 9\n": "testing, mx.x.example true, mx.y.example false",
		"<html>": "the version is not STSv1",
		"":       "the server answers 404",
	} {
		web := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) {
			if text == "" {
				out.WriteHeader(http.StatusNotFound)
			}
			out.Write([]byte(text))
		}))
		mode, names, err := FetchPolicy(t.Context(), &http.Client{Transport: redirect{web}}, nil, "x.example")
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			got = fmt.Sprintf("%s, mx.x.example %v, mx.y.example %v", mode, names("mx.x.example"), names("mx.y.example"))
		}
		if got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
		web.Close()
	}
}

// redirect sends all requests to one test server.
type redirect struct{ to *httptest.Server }

func (r redirect) RoundTrip(req *http.Request) (*http.Response, error) {
	own := req.Clone(req.Context())
	if req.URL.String() != "https://mta-sts.x.example/.well-known/mta-sts.txt" {
		return nil, http.ErrNotSupported
	}
	own.URL.Scheme, own.URL.Host = "http", r.to.Listener.Addr().String()
	return http.DefaultTransport.RoundTrip(own)
}

func TestParsePolicy(t *testing.T) {
	for text, want := range map[string]string{
		"version: STSv1\nmode: enforce\nmx: mail.x.example\nmax_age: 60":                   "",
		"version: STSv1\r\nmode: none\r\nmax_age: 60\r\n":                                  "",
		"mode: enforce\nmx: a\nmax_age: 60":                                                "the version is not STSv1",
		"version: STSv1\nmode: strict\nmx: a\nmax_age: 60":                                 "the mode must be enforce, testing or none",
		"version: STSv1\nmode: enforce\nmax_age: 60":                                       "mx is missing",
		"version: STSv1\nmode: enforce\nmx: a":                                             "max_age is missing",
		"version: STSv1\nmode: enforce\nmx: a\nmax_age: -1":                                "max_age is not a number",
		"version: STSv1\nmode: enforce\nmx: a\nmax_age: 999999999999999999999999999":       "max_age is not a number",
		"version: STSv1\nmode: enforce\nmx: a\nmax_age: 9223372036854775807\nmode: none\n": "",
	} {
		_, err := parsePolicy(text)
		if got := errorText(err); got != want {
			t.Errorf("%q: %s", text, got)
		}
	}
	p := stsPolicy{mx: []string{"a.example", "*.b.example"}}
	for host, want := range map[string]bool{"a.example": true, "x.a.example": false, "b.example": false, "x.b.example": true, "y.x.b.example": false} {
		if p.names(host) != want {
			t.Errorf("%s: %v", host, !want)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
