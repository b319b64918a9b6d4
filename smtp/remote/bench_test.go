package remote

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pillarbox/smtp/route"
)

// sink accepts mail on loopback as fast as it can.
func sink(b *testing.B) netip.AddrPort {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go swallow(c)
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String())
}

func swallow(c net.Conn) {
	defer c.Close()
	in, out := bufio.NewReaderSize(c, 64<<10), bufio.NewWriter(c)
	out.WriteString("220 sink\r\n")
	body := false
	for {
		if in.Buffered() == 0 {
			out.Flush()
		}
		line, err := in.ReadSlice('\n')
		switch {
		case err != nil:
			return
		case body:
			if body = string(line) != ".\r\n"; !body {
				out.WriteString("250 2.0.0 queued\r\n")
			}
		case bytes.HasPrefix(line, []byte("EHLO")):
			out.WriteString("250-sink\r\n250-PIPELINING\r\n250-SIZE 0\r\n250 8BITMIME\r\n")
		case bytes.HasPrefix(line, []byte("DATA")):
			body = true
			out.WriteString("354 go on\r\n")
		default:
			out.WriteString("250 2.1.0 ok\r\n")
		}
	}
}

func benchRemote(b *testing.B) *Remote {
	at := sink(b)
	table := &route.Table{Default: route.Route{SmartHost: []route.Host{{Addr: at.Addr(), Port: int(at.Port())}}, PerConnection: 1 << 30}}
	r := New(Options{Routes: func() *route.Table { return table }, Hostname: "us.example"})
	b.Cleanup(r.Close)
	return r
}

func BenchmarkDeliver(b *testing.B) {
	r := benchRemote(b)
	text := "Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("x", 70)+"\r\n", 4096/72)
	file := filepath.Join(b.TempDir(), "message")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	a := attempt(text, "b@x.example")
	a.Open = func() (io.ReadCloser, error) { return os.Open(file) }
	b.ReportAllocs()
	b.SetBytes(int64(len(text)))
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if o := r.Deliver(context.Background(), a); o.Results[0].Status != 1 {
				b.Error(summary(o))
				return
			}
		}
	})
}

func BenchmarkStuffer(b *testing.B) {
	text := []byte(strings.Repeat(strings.Repeat("x", 70)+"\r\n", 1<<20/72))
	p := newPump()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		p.out.reset(func([]byte) error { return nil })
		p.copy(bytes.NewReader(text), 0)
		p.out.end()
	}
}
