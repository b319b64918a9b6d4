package connlimit

import (
	"io"
	"log/slog"
	"net"
	"testing"
	"time"
)

func TestLimits(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := New(Limits{Connections: 3, PerAddress: 2}, slog.New(slog.DiscardHandler))
	l := g.Listen(inner, "smtp", "421 too many\r\n")
	accepted := make(chan net.Conn, 10)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	defer l.Close()
	dial := func(from string) net.Conn {
		t.Helper()
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 5 * time.Second}
		c, err := d.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	refused := func(c net.Conn) {
		t.Helper()
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if text, _ := io.ReadAll(c); string(text) != "421 too many\r\n" {
			t.Errorf("got %q, want the refusal", text)
		}
	}
	dial("127.0.0.1")
	dial("127.0.0.1")
	first, second := <-accepted, <-accepted
	refused(dial("127.0.0.1")) // the third from one address
	dial("127.0.0.2")
	<-accepted
	refused(dial("127.0.0.3")) // the fourth in all
	first.Close()
	first.Close() // counts once
	dial("127.0.0.1")
	third := <-accepted
	refused(dial("127.0.0.3"))
	g.SetLimits(Limits{})
	dial("127.0.0.1")
	<-accepted
	second.Close()
	third.Close()
}

func TestAddressKey(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1:25": "192.0.2.1", "[::ffff:192.0.2.1]:25": "192.0.2.1", "[2001:db8::1:2:3:4]:25": "2001:db8::", "[fe80::1%lo]:1": "fe80::",
	} {
		a, err := net.ResolveTCPAddr("tcp", in)
		if err != nil {
			t.Fatal(err)
		}
		if got := addressKey(a).String(); got != want {
			t.Errorf("%s counts as %s, want %s", in, got, want)
		}
	}
}
