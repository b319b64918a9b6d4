package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/mailtext"
	"pillarbox/smtp"
)

func officeDomain(string) addr.Domain { return "office.example" }

func testConfig() *Config {
	return &Config{
		Hostname: "mx", Greeting: func() string { return "ready" }, DefaultDomain: officeDomain,
		MaxErrors: 5, CommandTimeout: 5 * time.Minute, DataTimeout: 3 * time.Minute, WriteTimeout: time.Minute,
		MaxMessageSize: 1 << 20, Log: slog.New(slog.DiscardHandler),
	}
}

// panicking begins a body that makes the session panic.
const panicking = "panic!"

// discard is a session that accepts every message and keeps the bodies.
type discard struct {
	Session // nil: the methods that no test calls
	bodies  *[]string
	bare    BareEndings
	etrn    func(node string) *smtp.Reply
	atrn    func(net.Conn)
	reading func() // if not nil, called before a body is read
	storing func() // and after it
}

func (d discard) Mail(addr.Address, *gosmtp.MailOptions) *smtp.Reply { return nil }
func (d discard) Rcpt(addr.Address, *gosmtp.RcptOptions) *smtp.Reply { return nil }
func (d discard) Reset()                                             {}
func (d discard) Secured()                                           {}
func (d discard) Logout()                                            {}
func (d discard) AuthMechanisms() []string                           { return nil }
func (d discard) OffersDSN() bool                                    { return true }
func (d discard) BareEndings() BareEndings                           { return d.bare }
func (d discard) ETRN(node string) *smtp.Reply                       { return d.etrn(node) }

func (d discard) ATRN(string) (*smtp.Reply, func(net.Conn)) {
	return smtp.NewReply(250, [3]int{2, 0, 0}, "turning"), d.atrn
}

func (d discard) Data(body *Body) *smtp.Reply {
	var b bytes.Buffer
	if d.reading != nil {
		d.reading()
	}
	if _, err := body.WriteTo(&b); err != nil {
		return smtp.NewReply(554, [3]int{5, 6, 0}, "refused")
	}
	if d.storing != nil {
		d.storing()
	}
	if strings.HasPrefix(b.String(), panicking) {
		panic("what is this header?")
	}
	*d.bodies = append(*d.bodies, b.String())
	return smtp.NewReply(250, [3]int{2, 0, 0}, "OK: queued")
}

// pipes is a listener for connections in memory.
type pipes struct {
	ch   chan net.Conn
	done chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.ch:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { close(p.done); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// serve serves one connection with sessions that discard, and returns the client's end of it.
func serve(t *testing.T, cfg *Config) (client net.Conn, l *Listener, bodies *[]string) {
	t.Helper()
	return serveSession(t, cfg, discard{})
}

func serveSession(t *testing.T, cfg *Config, session discard) (client net.Conn, l *Listener, bodies *[]string) {
	t.Helper()
	bodies = new([]string)
	session.bodies = bodies
	if cfg.Admit == nil {
		cfg.Admit = func(*Conn) (Session, *smtp.Reply) { return session, nil }
	}
	var current atomic.Pointer[Config]
	current.Store(cfg)
	p := &pipes{make(chan net.Conn, 1), make(chan struct{})}
	l = NewListener(p, &current, false)
	done := make(chan struct{})
	go func() { l.Serve(); close(done) }()
	ours, theirs := net.Pipe()
	p.ch <- theirs
	t.Cleanup(func() {
		ours.Close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		select {
		case <-p.done:
		default:
			l.Shutdown(ctx)
		}
		<-done
	})
	return ours, l, bodies
}

// expect reads lines up to one that begins with want.
func expect(t *testing.T, c io.Reader, want string) {
	t.Helper()
	var got strings.Builder
	b := make([]byte, 1)
	for {
		if _, err := c.Read(b); err != nil {
			t.Fatalf("want %q, got %q and %v", want, got.String(), err)
		}
		if got.WriteByte(b[0]); b[0] != '\n' {
			continue
		}
		lines := strings.Split(strings.TrimSpace(got.String()), "\n")
		if strings.HasPrefix(lines[len(lines)-1], want) {
			return
		}
	}
}

// intoData is a session up to DATA: in turn, a line to send and the reply to wait for.
var intoData = []string{"", "220 ", "HELO x\r\n", "250 ", "MAIL FROM:<a@b>\r\n", "250 ", "RCPT TO:<c@d>\r\n", "250 ", "DATA\r\n", "354 "}

func talk(t *testing.T, c net.Conn, lines ...string) {
	t.Helper()
	for i := 0; i < len(lines); i += 2 {
		if lines[i] != "" { // a pipe passes on empty writes too
			io.WriteString(c, lines[i])
		}
		if lines[i+1] != "" {
			expect(t, c, lines[i+1])
		}
	}
}

func TestTimeouts(t *testing.T) {
	tests := []struct {
		name  string
		sent  []string // each followed by the reply to wait for
		after time.Duration
	}{
		{"silence", []string{"", "220 "}, 5 * time.Minute},
		{"half a command", []string{"", "220 ", "EH", ""}, 5 * time.Minute},
		{"in data", append(slices.Clone(intoData), "text\r\n", ""), 3 * time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, _, bodies := serve(t, testConfig())
				talk(t, c, tt.sent...)
				start := time.Now()
				expect(t, c, "421 4.4.2 mx timed out")
				if waited := time.Since(start); waited != tt.after {
					t.Errorf("ended after %v, want %v", waited, tt.after)
				}
				if rest, err := io.ReadAll(c); err != nil || len(rest) > 0 {
					t.Errorf("then %q, %v; want the end", rest, err)
				}
				if len(*bodies) > 0 {
					t.Errorf("took %q", *bodies)
				}
			})
		})
	}
}

// A client that sends commands and never reads a reply is disconnected.
func TestClientThatNeverReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, _ := serve(t, testConfig())
		start := time.Now()
		for {
			if _, err := io.WriteString(c, strings.Repeat("NOOP\r\n", 100)); err != nil {
				break
			}
		}
		if waited := time.Since(start); waited > 2*time.Minute {
			t.Errorf("cut off after %v, want the write time-out", waited)
		}
	})
}

func TestShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, l, bodies := serve(t, testConfig())
		talk(t, c, intoData...)
		ended := make(chan struct{})
		go func() { l.Shutdown(t.Context()); close(ended) }()
		synctest.Wait()
		time.Sleep(time.Second) // virtual; the server waits for the message in progress
		select {
		case <-ended:
			t.Fatal("the shutdown did not wait for the message")
		default:
		}
		io.WriteString(c, "text\r\n.\r\n")
		expect(t, c, "250 ")
		expect(t, c, "421 4.3.2 mx is shutting down")
		<-ended
		if len(*bodies) != 1 {
			t.Errorf("the message in hand was lost")
		}
	})
}

func TestShutdownCutsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, l, _ := serve(t, testConfig())
		talk(t, c, intoData...)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		start := time.Now()
		l.Shutdown(ctx)
		if waited := time.Since(start); waited != 30*time.Second {
			t.Errorf("waited %v", waited)
		}
		if _, err := io.ReadAll(c); err != nil && !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("the connection is not closed: %v", err)
		}
	})
}

func TestParsePath(t *testing.T) {
	tests := []struct {
		arg, want string
		err       error
	}{
		{"FROM:<a@b>", "a@b []", nil},
		{"from: <a@b> ", "a@b []", nil},
		{"FROM:a@b SIZE=3", "a@b [SIZE=3]", nil},
		{"FROM:<>", " []", nil},
		{"FROM:<> SIZE=1 BODY=8BITMIME", " [SIZE=1 BODY=8BITMIME]", nil},
		{"FROM:<root>", "root@office.example []", nil},
		{"FROM:<@x,@y:a@b>", "a@b []", nil},
		{`FROM:<"a> b"@c>`, `"a> b"@c []`, nil},
		{`FROM:<"a\"> b"@c> size=1`, `"a\"> b"@c [size=1]`, nil},
		{"FROM:<a@b> AUTH=x@y SIZE=1", "a@b [SIZE=1]", nil},
		{"FROM:<a@b>SIZE=1", "a@b [SIZE=1]", nil},
		{`FROM:"Scan" <a@b> SIZE=1`, "a@b [SIZE=1]", nil},
		{`FROM:"x@y>, <z" <a@b>`, "a@b []", nil},
		{"FROM:Scan to mail <a@b>", "a@b []", nil},
		{`FROM:DOM\alice <a@b>`, "a@b []", nil},
		{"FROM:<<a@b>>", "a@b []", nil},
		{"FROM:<< a@b >>SIZE=1", "a@b [SIZE=1]", nil},
		{"FROM:<a@b.>", "a@b []", nil},
		{"FROM:a@b. SIZE=1", "a@b [SIZE=1]", nil},
		{"FROM:<a@b..>", "", errAddress},
		{"FROM:<<a@b>", "", errPath},
		{"FROM:<a@b>>", "", errPath},
		{"FROM:<a@b><c@d>", "", errParam},
		{"FROM:a@b <c@d>", "", errParam},
		{"FROM:<a@b> <c@d>", "", errParam},
		{"FROM:x <a@b> <c@d>", "", errParam},
		{"FROM:<a@b, c@d>", "", errAddress},
		{`FROM:"a <a@b>`, "", errAddress},
		{`FROM:a" <a@b>`, "", errAddress},
		{"FROM:<a@b", "", errPath},
		{"FROM:", "", errPath},
		{"FROM: ", "", errPath},
		{"TO:<a@b>", "", errPrefix},
		{"", "", errPrefix},
		{"FROM:<a@b@c>", "", errAddress},
		{"FROM:<a b@c>", "", errAddress},
		{"FROM:<@x>", "", errAddress},
		{"FROM:<a@b> FUNNY", "", errParam},
	}
	for _, tt := range tests {
		p, err := testConfig().parsePath(tt.arg, "FROM:", "SIZE", "BODY")
		got := ""
		if err == nil {
			got = fmt.Sprintf("%s %v", p.address, p.params)
		}
		if got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%q: %q, %v; want %q, %v", tt.arg, got, err, tt.want, tt.err)
		}
	}
}

// TestStrictPaths checks the paths that only a lenient server takes.
func TestStrictPaths(t *testing.T) {
	cfg := testConfig()
	cfg.StrictPaths = true
	for arg, ok := range map[string]bool{
		"FROM:<a@b> SIZE=1": true, "FROM: <a@b>": true, "FROM:<>": true, "FROM:<root>": true, `FROM:<"a> b"@c>`: true,
		"FROM:a@b": false, "FROM:<a@b>SIZE=1": false, "FROM:<<a@b>>": false, "FROM:Scan <a@b>": false, "FROM:<a@b.>": false,
	} {
		if _, err := cfg.parsePath(arg, "FROM:", "SIZE"); (err == nil) != ok {
			t.Errorf("%q: %v", arg, err)
		}
	}
}

// TestStrictLines checks that a command line that ends with LF is refused if the setting wants it.
func TestStrictLines(t *testing.T) {
	for strict, want := range map[bool]string{false: "250 ", true: "500 5.5.2 "} {
		cfg := testConfig()
		cfg.StrictLines = strict
		c, _, _ := serve(t, cfg)
		talk(t, c, "", "220 ", "NOOP\r\n", "250 ", "NOOP\n", want)
	}
}

// FuzzParsePath: a path that is accepted means the same when it is written out and parsed again.
func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"FROM:<a@b> SIZE=1", `FROM: <"a b"@c>`, "FROM:a@b", "FROM:<@x:a@b>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, arg string) {
		p, err := testConfig().parsePath(arg, "FROM:", "SIZE", "BODY")
		if err != nil {
			return
		}
		again, err := testConfig().parsePath("FROM:<"+p.address.String()+"> "+strings.Join(p.params, " "), "FROM:", "SIZE", "BODY")
		if err != nil || again.address != p.address || len(again.params) != len(p.params) {
			t.Fatalf("%q reads as %v, written again as %v, %v", arg, p, again, err)
		}
	})
}

// naiveEnd finds the end of the body of DATA literally as RFC 5321 §4.1.1.4 describes it, and slowly.
// LF.LF ends it too, if bare permits that and no line ended with CRLF before. A client here is never silent.
func naiveEnd(wire string, bare BareEndings) (content, rest string, ended bool) {
	for i := range len(wire) {
		before, rest := wire[:i], wire[i:]
		begins := before == "" || strings.HasSuffix(before, "\r\n")
		if after, ok := strings.CutPrefix(rest, ".\r\n"); ok && begins {
			return before, after, true
		}
		begins = before == "" || strings.HasSuffix(before, "\n") && !strings.HasSuffix(before, "\r\n")
		if after, ok := strings.CutPrefix(rest, ".\n"); ok && begins && bare == NormaliseBareDot &&
			!strings.Contains(before, "\r\n") {
			return before, after, true
		}
	}
	return "", "", false
}

// naiveBody returns the text of a body without its end.
func naiveBody(content string, bare BareEndings) (body string, err error) {
	if bare == NormaliseBareDot {
		var out strings.Builder
		for line := range strings.Lines(content) {
			out.WriteString(strings.TrimPrefix(line, "."))
		}
		repaired, err := io.ReadAll(mailtext.NewReader(strings.NewReader(out.String())))
		return string(repaired), err
	}
	var out strings.Builder
	for line := range strings.SplitAfterSeq(content, "\r\n") {
		line = strings.TrimPrefix(line, ".")
		text, ending := strings.CutSuffix(line, "\r\n")
		if strings.ContainsAny(text, "\r\n") {
			if bare == RefuseBare {
				return "", ErrBareEnding
			}
			for crs := 0; ending && crs < 7 && strings.HasSuffix(text, "\r"); crs++ { // CR CR LF
				text = text[:len(text)-1]
			}
			text = strings.NewReplacer("\r", "\r\n", "\n", "\r\n").Replace(text)
		}
		out.WriteString(text)
		if ending {
			out.WriteString("\r\n")
		}
	}
	return out.String(), nil
}

func FuzzBody(f *testing.F) {
	for _, s := range []string{
		"hi\r\n.\r\n", ".\r\n", "..\r\n.\r\nNOOP", "a\n.\nb\r\n.\r\n", "a\r\n.\n.\r\n", "a\r\r\n.\r\n", "\r\n\r\n.\r\n", "a\n.\r\n\r\n.\r\n",
		strings.Repeat("x", 4095) + "\r\n.\r\n", strings.Repeat("x", 4096) + "\r\n.\r\n", strings.Repeat("x", 4097) + "\r\r\n.\r\n", ".\r\n.\r\n",
	} {
		for bare := RefuseBare; bare <= NormaliseBareDot; bare++ {
			f.Add(s, int(bare))
		}
	}
	f.Fuzz(func(t *testing.T, wire string, mode int) {
		bare := BareEndings(uint(mode) % 3)
		content, wantRest, ended := naiveEnd(wire, bare)
		want, wantErr := naiveBody(content, bare)
		if !ended {
			wantErr = nil // it may come before the end of the input
		}
		c := newConn(stream{strings.NewReader(wire)}, testConfig(), false, func() {})
		var got bytes.Buffer
		c.body = newBody(c, bare)
		_, err := c.body.WriteTo(&got)
		switch {
		case ended && wantErr == nil && (err != nil || got.String() != want):
			t.Fatalf("%q: got %q, %v; want %q", wire, got.String(), err, want)
		case wantErr != nil && !errors.Is(err, wantErr):
			t.Fatalf("%q: got %q, %v; want %v", wire, got.String(), err, wantErr)
		case !ended && err == nil:
			t.Fatalf("%q: taken for whole", wire)
		}
		if err != nil && c.body.drain() == nil && !ended {
			t.Fatalf("%q: an end was found where there is none", wire)
		}
		rest, _ := io.ReadAll(c.in)
		if ended && string(rest) != wantRest {
			t.Fatalf("%q: %q is left for commands, want %q", wire, rest, wantRest)
		}
	})
}

// stream is a connection that only reads.
type stream struct{ *strings.Reader }

func (stream) Write(p []byte) (int, error)      { return len(p), nil }
func (stream) Close() error                     { return nil }
func (stream) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (stream) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (stream) SetDeadline(time.Time) error      { return nil }
func (stream) SetReadDeadline(time.Time) error  { return nil }
func (stream) SetWriteDeadline(time.Time) error { return nil }

func TestCutSize(t *testing.T) {
	for _, tt := range []struct {
		params, rest string
		size         int64
	}{
		{"", "", 0},
		{"SIZE=0 BODY=8BITMIME", "BODY=8BITMIME", 0},
		{"BODY=7BIT size=1000", "BODY=7BIT", 1000},
		{"SIZE=5000000000", "", 5_000_000_000},
		{"SIZE=99999999999999999999", "", maxSize},
		{"SIZE=999999999999999999999", "SIZE=999999999999999999999", 0},
		{"SIZE=-1 SIZE= SIZE SIZE=1x", "SIZE=-1 SIZE= SIZE SIZE=1x", 0},
	} {
		size, rest := cutSize(strings.Fields(tt.params))
		if got := strings.Join(rest, " "); size != tt.size || got != tt.rest {
			t.Errorf("%q: %d and %q, want %d and %q", tt.params, size, got, tt.size, tt.rest)
		}
	}
}

// FuzzChunks sends a body in chunks that are cut anywhere, with a command between them, and wants it
// back. If the connection ends before the last chunk does, the body must not be whole.
func FuzzChunks(f *testing.F) {
	f.Add("a\r\n.\r\nb", "\x01\x02", uint16(0), false)
	f.Add("a\r\nb\r\n", "\x02", uint16(3), true)
	f.Add("a\nb\r", "", uint16(0), true)
	f.Add(strings.Repeat("x", 5000)+"\r\n", "\xff\x00\xff", uint16(9), false)
	f.Fuzz(func(t *testing.T, body, cuts string, short uint16, normalise bool) {
		var wire strings.Builder
		rest, first := body, true
		for i := 0; i <= len(cuts); i++ {
			size, last := len(rest), " LAST"
			if i < len(cuts) {
				size, last = min(len(rest), int(cuts[i])), ""
			}
			if !first && i%2 == 0 {
				wire.WriteString("NOOP\r\n")
			}
			if !first {
				fmt.Fprintf(&wire, "BDAT %d%s\r\n", size, last)
			}
			first = false
			wire.WriteString(rest[:size])
			rest = rest[size:]
		}
		const after = "QUIT\r\n"
		sent := wire.String() + after
		cut := int(short) % (len(sent) + 1)
		whole := cut <= len(after)
		sent = sent[:len(sent)-cut]
		bare := RefuseBare
		if normalise {
			bare = NormaliseBareDot // no dot is special in a chunk
		}
		repaired, _ := io.ReadAll(mailtext.NewReader(strings.NewReader(body)))
		want := string(repaired)
		var wantErr error
		if !normalise && strings.ContainsAny(strings.ReplaceAll(body, "\r\n", ""), "\r\n") {
			wantErr = ErrBareEnding
		}
		c := newConn(stream{strings.NewReader(sent)}, testConfig(), false, func() {})
		size, last := len(body), true
		if len(cuts) > 0 {
			size, last = min(len(body), int(cuts[0])), false
		}
		c.body = newChunkedBody(c, bare, int64(size), last)
		var got bytes.Buffer
		_, err := c.body.WriteTo(&got)
		switch {
		case whole && wantErr == nil && (err != nil || got.String() != want):
			t.Fatalf("%q: got %q, %v; want %q", sent, got.String(), err, want)
		case whole && wantErr != nil && !errors.Is(err, wantErr):
			t.Fatalf("%q: got %q, %v; want %v", sent, got.String(), err, wantErr)
		case !whole && err == nil:
			t.Fatalf("%q: taken for whole", sent)
		}
		if whole && err == nil {
			if left, _ := io.ReadAll(c.in); string(left) != after[:len(after)-cut] {
				t.Fatalf("%q: %q is left for commands", sent, left)
			}
		}
	})
}
