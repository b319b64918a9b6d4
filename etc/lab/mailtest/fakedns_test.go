package mailtest

import (
	"context"
	"net"
	"net/netip"
	"testing"
)

func TestReverseName(t *testing.T) {
	for ip, want := range map[string]string{
		"192.0.2.1":   "1.2.0.192.in-addr.arpa",
		"2001:db8::1": "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
	} {
		if got := ReverseName(netip.MustParseAddr(ip)); got != want {
			t.Errorf("%s is %s, want %s", ip, got, want)
		}
	}
}

// Invalid messages get no answer and do not stop the server.
func TestDNSGetsRubbish(t *testing.T) {
	d := NewDNS(t)
	for _, network := range []string{"udp", "tcp"} {
		c, err := net.Dial(network, d.Addr())
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"\x00\x05hello", "\x00", "GET / HTTP/1.0\r\n\r\n"} {
			c.Write([]byte(text))
		}
		c.Close()
	}
	d.SetTXT("Text.Example.", "still here")
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, d.Addr())
	}}
	if texts, err := resolver.LookupTXT(t.Context(), "text.example."); err != nil || len(texts) != 1 || texts[0] != "still here" {
		t.Errorf("%q %v", texts, err)
	}
	if got := d.Asked("text.EXAMPLE", "TXT"); got != 1 {
		t.Errorf("asked %d times", got)
	}
}
