package pop3

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// dialBench connects and logs in.
func dialBench(b *testing.B, address, user string) (net.Conn, *bufio.Reader) {
	b.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		b.Fatal(err)
	}
	in := bufio.NewReaderSize(conn, 64<<10)
	ask(b, conn, in, "")
	ask(b, conn, in, "USER "+user+"\r\n")
	ask(b, conn, in, "PASS secret\r\n")
	return conn, in
}

// ask sends a command and reads one line of the reply.
func ask(b *testing.B, conn net.Conn, in *bufio.Reader, command string) string {
	b.Helper()
	if command != "" {
		if _, err := io.WriteString(conn, command); err != nil {
			b.Fatal(err)
		}
	}
	line, err := in.ReadSlice('\n')
	if err != nil || line[0] != '+' {
		b.Fatalf("%q: %q %v", command, line, err)
	}
	return string(line)
}

// BenchmarkLoginStat is what a mail program that polls does: connect, log in,
// STAT, QUIT.
func BenchmarkLoginStat(b *testing.B) {
	for _, n := range []int{10, 10_000, 100_000} {
		b.Run(fmt.Sprintf("messages=%d", n), func(b *testing.B) {
			o := newOffice(b)
			o.addMailbox("anna", "secret", false)
			dir := filepath.Join(o.path, o.mailbox("anna").Dir)
			for i := range n {
				name := fmt.Sprintf("P3_20260101000000%04d%08d_17.eml", 4711, i)
				o.must(os.WriteFile(filepath.Join(dir, name), []byte("Subject: one\r\n\r\n\n"), 0o600))
			}
			address := o.listen(o.newServer(nil), false)
			b.ReportAllocs()
			for b.Loop() {
				conn, in := dialBench(b, address, "anna")
				if got, want := ask(b, conn, in, "STAT\r\n"), fmt.Sprintf("+OK %d %d\r\n", n, 17*n); got != want {
					b.Fatalf("%q, want %q", got, want)
				}
				ask(b, conn, in, "QUIT\r\n")
				conn.Close()
			}
		})
	}
}

// BenchmarkRetr fetches one message over loopback. B/op must not grow with the size.
func BenchmarkRetr(b *testing.B) {
	for _, c := range []struct {
		name string
		size int
		line string
	}{
		{"size=1MB", 1 << 20, strings.Repeat("x", 74)},
		{"size=50MB", 50 << 20, strings.Repeat("x", 74)},
		{"size=50MB/dots", 50 << 20, "." + strings.Repeat("x", 73)},
	} {
		b.Run(c.name, func(b *testing.B) {
			o := newOffice(b)
			o.addMailbox("anna", "secret", false)
			text := strings.Repeat(c.line+"\r\n", c.size/(len(c.line)+2))
			o.deliver("anna", text)
			conn, in := dialBench(b, o.listen(o.newServer(nil), false), "anna")
			defer conn.Close()
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				ask(b, conn, in, "RETR 1\r\n")
				for {
					line, err := in.ReadSlice('\n')
					if err != nil {
						b.Fatal(err)
					}
					if string(line) == ".\r\n" {
						break
					}
				}
			}
		})
	}
}

// BenchmarkIdle reports what a logged-in client that waits costs in heap and
// stacks; the client's own end is in it.
func BenchmarkIdle(b *testing.B) {
	b.Run("plain", func(b *testing.B) { benchmarkIdle(b, false) })
	b.Run("tls", func(b *testing.B) { benchmarkIdle(b, true) })
}

func benchmarkIdle(b *testing.B, implicitTLS bool) {
	const conns = 1000
	o := newOffice(b)
	for i := range conns {
		o.addMailbox(fmt.Sprintf("user%d", i), "secret", false)
	}
	address := o.listen(o.newServer(nil), implicitTLS)
	for b.Loop() {
		clients := make([]net.Conn, conns)
		in := bufio.NewReader(nil)
		before := memory()
		for i := range clients {
			conn, err := net.Dial("tcp", address)
			o.must(err)
			if implicitTLS {
				conn = tls.Client(conn, clientTLS())
			}
			in.Reset(conn)
			ask(b, conn, in, "")
			ask(b, conn, in, fmt.Sprintf("USER user%d\r\n", i))
			ask(b, conn, in, "PASS secret\r\n")
			clients[i] = conn
		}
		b.ReportMetric(float64(memory()-before)/conns, "B/conn")
		for _, conn := range clients {
			ask(b, conn, bufio.NewReader(conn), "QUIT\r\n")
			conn.Close()
		}
	}
}

func memory() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
