package pop3

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"pillarbox/mailstore"
	"pillarbox/mailstore/sessions"
)

// put puts a message into a mailbox by hand, under a correct name.
func (o *office) put(user string, serial int, text []byte, dotted bool) string {
	o.t.Helper()
	name := mailstore.Name{ID: fmt.Sprintf("P3_20260101000000%012d", serial), Size: int64(len(text)), Dotted: dotted}
	file := filepath.Join(o.path, o.mailbox(user).Dir, name.String())
	o.must(os.WriteFile(file, text, 0o600))
	return file
}

// randomText returns text with lines of all lengths. Some end with a bare LF or, if dotted, begin
// with a dot. The text may end anywhere.
func randomText(random *rand.Rand, size int, dotted bool) []byte {
	tokens := []string{"a", strings.Repeat("bcd ", 15), strings.Repeat("e. ", 50), "\r\n", "\n", "x\r"}
	if dotted {
		tokens = append(tokens, "\n.", "\r\n..", "\r\n.\r\n")
	}
	text := make([]byte, 0, size+200)
	for len(text) < min(size, 10_000) {
		text = append(text, tokens[random.IntN(len(tokens))]...)
	}
	for len(text) < size {
		text = append(text, text...)
	}
	return text[:size]
}

// replyTo returns the expected reply to RETR.
func replyTo(text []byte) []byte {
	reply := fmt.Appendf(nil, "+OK %d octets\r\n", len(text))
	for line := range bytes.Lines(text) {
		if line[0] == '.' {
			reply = append(reply, '.')
		}
		reply = append(reply, line...)
	}
	if len(text) > 0 && !bytes.HasSuffix(text, []byte("\r\n")) {
		reply = append(reply, "\r\n"...)
	}
	return append(reply, ".\r\n"...)
}

// dialTest connects and logs anna in.
func dialTest(o *office, address string, implicitTLS bool) (net.Conn, *bufio.Reader) {
	o.t.Helper()
	conn, err := net.Dial("tcp", address)
	o.must(err)
	if implicitTLS {
		conn = tls.Client(conn, clientTLS())
	}
	in := bufio.NewReader(conn)
	for _, command := range []string{"", "USER anna\r\n", "PASS secret\r\n"} {
		io.WriteString(conn, command)
		if line, err := in.ReadString('\n'); err != nil || line[0] != '+' {
			o.t.Fatalf("%q: %q, %v", command, line, err)
		}
	}
	return conn, in
}

// TestRetrIsExact checks that the client gets the octets of the file, dot-stuffed, by every kind of
// connection and at all sizes near a buffer boundary.
func TestRetrIsExact(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	o := newOffice(t)
	o.addMailbox("anna", "secret", false)
	sizes := []int{0, 1, 2, 3, 100, 100_000, 1_000_000}
	for around := -25; around <= 3; around++ { // the first line of the reply has 18 octets
		sizes = append(sizes, bufferSize+around)
	}
	for _, around := range []int{-19, -18, -17, -16, -3, -2, -1, 0, 1} {
		sizes = append(sizes, 2*bufferSize+around, 5*bufferSize+around)
	}
	var replies [][]byte
	total := 0
	for _, size := range sizes {
		for _, dotted := range []bool{false, true} {
			text := randomText(random, size, dotted)
			o.put("anna", len(replies), text, dotted)
			replies = append(replies, replyTo(text))
			total += len(replies[len(replies)-1])
		}
	}
	for _, implicitTLS := range []bool{false, true} {
		conn, in := dialTest(o, o.listen(o.newServer(nil), implicitTLS), implicitTLS)
		for i, want := range replies {
			fmt.Fprintf(conn, "RETR %d\r\n", i+1)
			got := make([]byte, len(want))
			if _, err := io.ReadFull(in, got); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("TLS %v, %d octets, dotted %v: not the message (%v)", implicitTLS, sizes[i/2], i%2 == 1, err)
			}
		}
		io.WriteString(conn, "QUIT\r\n")
		if rest, err := io.ReadAll(in); string(rest) != "+OK good-bye\r\n" || err != nil {
			t.Errorf("TLS %v: in the end %q, %v", implicitTLS, rest, err)
		}
		conn.Close()
		var sent string // all of it is counted
		for sent == "" {
			sent = o.log.lineWith(fmt.Sprintf("tls=%v reason=quit", implicitTLS))
			runtime.Gosched()
		}
		var counted int
		fmt.Sscan(sent[strings.Index(sent, "bytes=")+len("bytes="):], &counted)
		if counted < total || counted > total+500 {
			t.Errorf("TLS %v: %d octets counted, of %d", implicitTLS, counted, total)
		}
	}
}

// TestRetrOfLargeNeedsNoMemory checks that a message is never held in memory as a whole.
func TestRetrOfLargeNeedsNoMemory(t *testing.T) {
	const size = 8 << 20
	o := newOffice(t)
	o.disk.Start(nil)
	o.addMailbox("anna", "secret", false)
	for i, line := range []string{"x", "."} {
		text := bytes.Repeat([]byte(strings.Repeat(line, 62)+"\r\n"), size/64)
		o.put("anna", i, text, line == ".")
	}
	for _, implicitTLS := range []bool{false, true} {
		conn, in := dialTest(o, o.listen(o.newServer(nil), implicitTLS), implicitTLS)
		for i := range 2 {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			fmt.Fprintf(conn, "RETR %d\r\n", i+1)
			for {
				line, err := in.ReadSlice('\n')
				o.must(err)
				if string(line) == ".\r\n" {
					break
				}
			}
			runtime.ReadMemStats(&after)
			if used := after.TotalAlloc - before.TotalAlloc; used > size/4 {
				t.Errorf("TLS %v, dotted %v: %d bytes were allocated", implicitTLS, i == 1, used)
			}
		}
		conn.Close()
	}
}

// TestCutShortWhileSending checks that the client cannot take a part of a message as the whole.
func TestCutShortWhileSending(t *testing.T) {
	const size = 16 << 20 // more than the buffers of a connection hold
	for _, dotted := range []bool{false, true} {
		for _, implicitTLS := range []bool{false, true} {
			t.Run(fmt.Sprintf("dotted=%v/tls=%v", dotted, implicitTLS), func(t *testing.T) {
				o := newOffice(t)
				o.addMailbox("anna", "secret", false)
				file := o.put("anna", 1, bytes.Repeat([]byte(strings.Repeat("x", 62)+"\r\n"), size/64), dotted)
				conn, in := dialTest(o, o.listen(o.newServer(nil), implicitTLS), implicitTLS)
				defer conn.Close()
				io.WriteString(conn, "RETR 1\r\n")
				if line, err := in.ReadString('\n'); line != fmt.Sprintf("+OK %d octets\r\n", size) {
					t.Fatalf("%q, %v", line, err)
				}
				o.must(os.Truncate(file, size-100))
				n, last := 0, ""
				for {
					line, err := in.ReadString('\n')
					n += len(line)
					if err != nil {
						break
					}
					last = line
				}
				if last == ".\r\n" || n > size-100 {
					t.Errorf("the reply of %d octets ends in %q", n, last)
				}
				for o.log.lineWith("session ended") == "" {
					runtime.Gosched()
				}
				if o.log.lineWith("message cut short") == "" || !strings.Contains(o.log.lineWith("session ended"), `reason="cut short"`) {
					t.Errorf("log: %s", o.log)
				}
			})
		}
	}
}

// directConn is a connection with ReadFrom. It records the pieces that it reads, and a "deadline"
// before each.
type directConn struct {
	net.Conn // nil: not used
	noted    []string
	from     func(r io.Reader) (int64, error)
}

func (c *directConn) Write(p []byte) (int, error) {
	c.noted = append(c.noted, fmt.Sprint("write ", len(p)))
	return len(p), nil
}

func (c *directConn) ReadFrom(r io.Reader) (int64, error) {
	n, err := c.from(r)
	c.noted = append(c.noted, fmt.Sprint("copy ", n))
	return n, err
}

func (c *directConn) SetWriteDeadline(time.Time) error {
	c.noted = append(c.noted, "deadline")
	return nil
}

// TestDirectOutput checks that data beyond the buffer is sent in pieces, each with its own deadline,
// and that the first error is permanent.
func TestDirectOutput(t *testing.T) {
	broken := errors.New("broken")
	discard := func(r io.Reader) (int64, error) { return io.Copy(io.Discard, r) }
	for _, c := range []struct {
		name       string
		size, have int
		from       func(r io.Reader) (int64, error)
		want       string
		err        error
	}{
		{"small", 100, 100, discard, "deadline, write 105", nil},
		{"just fits", bufferSize - 5, bufferSize - 5, discard, "deadline, write 32768", nil},
		{"large", 2*bufferSize + 100, 2*bufferSize + 100, discard,
			"deadline, write 32768, deadline, copy 32768, deadline, copy 105", nil},
		{"too short", 4 * bufferSize, 2 * bufferSize, discard,
			"deadline, write 32768, deadline, copy 32768, deadline, copy 5", io.ErrUnexpectedEOF},
		{"broken", 4 * bufferSize, 4 * bufferSize, func(io.Reader) (int64, error) { return 7, broken },
			"deadline, write 32768, deadline, copy 7", broken},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := New(Config{}, nil, nil, nil)
			conn := &directConn{from: c.from}
			out := output{conn: conn, live: new(sessions.Session), timeout: time.Minute, pool: &s.writers}
			out.buffer().WriteString("+OK\r\n")
			r := io.LimitedReader{R: bytes.NewReader(make([]byte, c.have)), N: int64(c.size)}
			n, err := io.Copy(out.buffer(), &r)
			if err == nil && r.N > 0 {
				err = io.ErrUnexpectedEOF
			}
			flushErr := out.flush()
			if !errors.Is(err, c.err) || err != nil && c.err == nil || c.err == broken && flushErr != broken {
				t.Errorf("error %v, then %v; want %v", err, flushErr, c.err)
			}
			if got := strings.Join(conn.noted, ", "); got != c.want {
				t.Errorf("calls: %s\nwant:  %s", got, c.want)
			}
			if c.err == nil && (n != int64(c.size) || out.sent != n+5) {
				t.Errorf("%d copied, %d sent", n, out.sent)
			}
		})
	}
}

// TestMarks checks that a marked message is counted once, and that STAT and the listings omit it.
func TestMarks(t *testing.T) {
	all := []mailstore.Message{{Size: 1}, {Size: 20}, {Size: 300}}
	var m marks
	if m.has(1) || len(m.indexes()) != 0 {
		t.Error("something is marked at the start")
	}
	m.add(2, all)
	m.add(0, all)
	if !m.has(2) || m.has(1) || m.count != 2 || m.octets != 301 || !slices.Equal(m.indexes(), []int{0, 2}) {
		t.Errorf("%+v", m)
	}
}
