package connlimit

import (
	"io"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"
)

func TestScreen(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	lines := map[netip.Addr]string{
		netip.MustParseAddr("127.0.0.2"): "554 banned\r\n",
		netip.MustParseAddr("127.0.0.3"): "",
	}
	// A refused client does not count for the limits.
	l := New(Limits{Connections: 1}, slog.New(slog.DiscardHandler)).Listen(Screen(inner,
		func(ip netip.Addr) (string, bool) {
			line, refused := lines[ip]
			return line, refused
		}), "smtp", "421 too many\r\n")
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, "220 hello\r\n")
			c.Close()
		}
	}()
	defer l.Close()
	for _, c := range []struct{ from, want string }{
		{"127.0.0.2", "554 banned\r\n"}, {"127.0.0.3", ""},
		{"127.0.0.2", "554 banned\r\n"}, {"127.0.0.1", "220 hello\r\n"},
	} {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(c.from)}, Timeout: 5 * time.Second}
		conn, err := d.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		if text, err := io.ReadAll(conn); string(text) != c.want || err != nil {
			t.Errorf("%s got %q, %v; want %q", c.from, text, err, c.want)
		}
		conn.Close()
	}
}

func TestClientAddress(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1:25": "192.0.2.1", "[::ffff:192.0.2.1]:25": "192.0.2.1", "[fe80::1%lo]:1": "fe80::1",
	} {
		a, err := net.ResolveTCPAddr("tcp", in)
		if err != nil {
			t.Fatal(err)
		}
		if got := clientAddress(a).String(); got != want {
			t.Errorf("%s is %s, want %s", in, got, want)
		}
	}
	if got := clientAddress(&net.UnixAddr{Name: "x", Net: "unix"}); got.IsValid() {
		t.Errorf("a unix socket is %s", got)
	}
}
