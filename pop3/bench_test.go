package pop3

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// BenchmarkPOP3 compares the server with a loop that does only the bare job (bare_test.go), with
// the same client, over loopback. With LARGE=1 in the environment it deletes 100,000 messages
// instead of 10,000.
func BenchmarkPOP3(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		benchmarkMaildrop(b, n)
	}
	benchmarkRetr(b)
	benchmarkDele(b, 10_000)
	if os.Getenv("LARGE") != "" {
		benchmarkDele(b, 100_000)
	}
	benchmarkLogins(b)
	for _, c := range []struct {
		name        string
		line        string
		implicitTLS bool
	}{
		{"plain", strings.Repeat("x", 74), false},
		{"tls", strings.Repeat("x", 74), true},
		{"plain/dots", "." + strings.Repeat("x", 73), false},
		{"tls/dots", "." + strings.Repeat("x", 73), true},
	} {
		benchmarkLarge(b, c.name, c.line, c.implicitTLS)
	}
	benchmarkIdle(b, "plain", false)
	benchmarkIdle(b, "tls", true)
}

// rival is a server to measure.
type rival struct{ name, address string }

// rivals serve anna's mailbox.
func rivals(o *office, implicitTLS bool) []rival {
	return []rival{
		{"pillarbox", o.listen(o.newServer(nil), implicitTLS)},
		{"bare", listenBare(o.t, filepath.Join(o.path, o.mailbox("anna").Dir), implicitTLS)},
	}
}

// fill puts n messages of the given size, whose lines begin with no dot, into anna's mailbox.
func fill(o *office, n, size int) {
	text := []byte(strings.Repeat(strings.Repeat("x", 62)+"\r\n", size/64+1)[:size-2] + "\r\n")
	dir := filepath.Join(o.path, o.mailbox("anna").Dir)
	for i := range n {
		name := fmt.Sprintf("P3_20260101%06d%04d%08d_%d.eml", i/1000, 4711, i, size)
		o.must(os.WriteFile(filepath.Join(dir, name), text, 0o600))
	}
}

// benchmarkMaildrop does what a polling mail program does: connect, log in, STAT, and the two
// listings.
func benchmarkMaildrop(b *testing.B, n int) {
	const size = 64
	o := newOffice(b)
	o.addMailbox("anna", "secret", false)
	fill(o, n, size)
	dir := filepath.Join(o.path, o.mailbox("anna").Dir)
	for _, r := range rivals(o, false) {
		poll := func(b *testing.B, prepare func()) {
			b.ReportAllocs()
			for b.Loop() {
				prepare()
				c := logIn(b, r.address, "anna", false)
				if got, want := c.ask("STAT"), fmt.Sprintf("+OK %d %d\r\n", n, size*n); got != want {
					b.Fatalf("%q, want %q", got, want)
				}
				c.ask("QUIT")
				c.conn.Close()
			}
		}
		b.Run(fmt.Sprintf("stat/first/messages=%d/%s", n, r.name), func(b *testing.B) {
			// A change of the directory makes the server read it again each time.
			poll(b, func() { o.must(os.Chtimes(dir, time.Now(), time.Now())) })
		})
		time.Sleep(4 * time.Second) // until the directory counts as settled
		b.Run(fmt.Sprintf("stat/warm/messages=%d/%s", n, r.name), func(b *testing.B) {
			logIn(b, r.address, "anna", false).conn.Close() // fills the cache
			poll(b, func() {})
		})
		for _, verb := range []string{"LIST", "UIDL"} {
			b.Run(fmt.Sprintf("%s/messages=%d/%s", strings.ToLower(verb), n, r.name), func(b *testing.B) {
				c := logIn(b, r.address, "anna", false)
				defer c.conn.Close()
				b.ReportAllocs()
				for b.Loop() {
					c.fetch(verb)
				}
				c.ask("QUIT")
			})
		}
	}
}

// benchmarkRetr fetches 1,000 messages of 4 KB, one by one.
func benchmarkRetr(b *testing.B) {
	const n, size = 1000, 4096
	o := newOffice(b)
	o.addMailbox("anna", "secret", false)
	fill(o, n, size)
	for _, r := range rivals(o, false) {
		b.Run(fmt.Sprintf("retr/messages=%d/%s", n, r.name), func(b *testing.B) {
			c := logIn(b, r.address, "anna", false)
			defer c.conn.Close()
			b.ReportAllocs()
			for b.Loop() {
				for i := range n {
					c.fetch(fmt.Sprintf("RETR %d", i+1))
				}
			}
			c.ask("QUIT")
		})
	}
}

// benchmarkDele deletes all messages of 4 KB, one by one, and ends the session.
func benchmarkDele(b *testing.B, n int) {
	o := newOffice(b)
	o.addMailbox("anna", "secret", false)
	for _, r := range rivals(o, false) {
		b.Run(fmt.Sprintf("dele/messages=%d/%s", n, r.name), func(b *testing.B) {
			var dele, quit time.Duration
			for range b.N {
				b.StopTimer()
				fill(o, n, 4096)
				c := logIn(b, r.address, "anna", false)
				b.StartTimer()
				start := time.Now()
				for i := range n {
					c.ask(fmt.Sprintf("DELE %d", i+1))
				}
				dele += time.Since(start)
				start = time.Now()
				c.ask("QUIT")
				quit += time.Since(start)
				c.conn.Close()
			}
			b.ReportMetric(float64(dele.Milliseconds())/float64(b.N), "ms-dele")
			b.ReportMetric(float64(quit.Milliseconds())/float64(b.N), "ms-quit")
		})
	}
	if left := o.files("anna"); len(left) != 0 {
		b.Errorf("%d messages are left", len(left))
	}
}

// benchmarkLogins makes 50 users log in and out repeatedly. An op is one login; the CPU time is
// that of server and clients together.
func benchmarkLogins(b *testing.B) {
	const conns = 50
	o := newOffice(b)
	for i := range conns {
		o.addMailbox(fmt.Sprintf("user%d", i), "secret", false)
	}
	o.addMailbox("anna", "secret", false)
	for _, r := range rivals(o, false) {
		b.Run(fmt.Sprintf("logins/conns=%d/%s", conns, r.name), func(b *testing.B) {
			for i := range conns { // the first login hashes the password
				logIn(b, r.address, fmt.Sprintf("user%d", i), false).conn.Close()
			}
			work := make(chan struct{})
			var wg sync.WaitGroup
			for i := range conns {
				wg.Go(func() {
					for range work {
						c := logIn(b, r.address, fmt.Sprintf("user%d", i), false)
						c.ask("STAT")
						c.ask("QUIT")
						c.conn.Close()
					}
				})
			}
			b.ReportAllocs()
			before := cpuTime()
			for b.Loop() {
				work <- struct{}{}
			}
			close(work)
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "logins/s")
			b.ReportMetric((cpuTime()-before).Seconds()/float64(b.N)*1000, "cpu-s/1000")
		})
	}
}

// benchmarkLarge fetches one message of 50 MB. B/op must not grow with the size.
func benchmarkLarge(b *testing.B, name, line string, implicitTLS bool) {
	o := newOffice(b)
	o.addMailbox("anna", "secret", false)
	o.deliver("anna", strings.Repeat(line+"\r\n", 50_000_000/(len(line)+2)))
	for _, r := range rivals(o, implicitTLS) {
		b.Run("large/"+name+"/"+r.name, func(b *testing.B) {
			c := logIn(b, r.address, "anna", implicitTLS)
			defer c.conn.Close()
			b.SetBytes(50_000_000)
			b.ReportAllocs()
			for b.Loop() {
				c.fetch("RETR 1")
			}
			c.ask("QUIT")
		})
	}
}

// benchmarkIdle reports the heap and stacks of an idle logged-in client, including the client's own
// end.
func benchmarkIdle(b *testing.B, name string, implicitTLS bool) {
	const conns = 1000
	o := newOffice(b)
	for i := range conns {
		o.addMailbox(fmt.Sprintf("user%d", i), "secret", false)
	}
	o.addMailbox("anna", "secret", false)
	for _, r := range rivals(o, implicitTLS) {
		b.Run("idle/"+name+"/"+r.name, func(b *testing.B) {
			for b.Loop() {
				clients := make([]*client, conns)
				before := memory()
				for i := range clients {
					clients[i] = logIn(b, r.address, fmt.Sprintf("user%d", i), implicitTLS)
					clients[i].buf = nil
				}
				b.ReportMetric(float64(memory()-before)/conns, "B/conn")
				for _, c := range clients {
					c.conn.Close()
				}
			}
		})
	}
}

// client is a cheap client: it looks only at the ends of replies.
type client struct {
	b    *testing.B
	conn net.Conn
	buf  []byte
}

func logIn(b *testing.B, address, user string, implicitTLS bool) *client {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		b.Fatal(err)
	}
	if implicitTLS {
		conn = tls.Client(conn, clientTLS())
	}
	c := &client{b: b, conn: conn, buf: make([]byte, 64<<10)}
	c.ask("")
	c.ask("USER " + user)
	for { // the previous session may not have ended yet
		c.send("PASS secret")
		if reply := c.read("\r\n"); reply[0] == '+' {
			return c
		}
		runtime.Gosched()
		c.ask("USER " + user)
	}
}

func (c *client) send(command string) {
	if _, err := io.WriteString(c.conn, command+"\r\n"); err != nil {
		c.b.Fatal(err)
	}
}

// read returns the next text up to the given end.
func (c *client) read(end string) []byte {
	have := 0
	for {
		n, err := c.conn.Read(c.buf[have:])
		if err != nil {
			c.b.Fatal(err)
		}
		if have += n; bytes.HasSuffix(c.buf[:have], []byte(end)) {
			return c.buf[:have]
		}
		if have > len(c.buf)/2 { // keep a possible beginning of the end
			have = copy(c.buf, c.buf[have-len(end):have])
		}
	}
}

// ask sends a command, or waits for the greeting, and returns a one-line reply.
func (c *client) ask(command string) string {
	if command != "" {
		c.send(command)
	}
	reply := c.read("\r\n")
	if reply[0] != '+' {
		c.b.Fatalf("%q: %q", command, reply)
	}
	return string(reply)
}

// fetch sends a command and reads a multi-line reply.
func (c *client) fetch(command string) {
	c.send(command)
	c.read("\r\n.\r\n")
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func memory() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
