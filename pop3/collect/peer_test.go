package collect

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pillarbox/etc/lab/mailtest"
)

const password = "s3cret-pass"

// client collects in a test, and keeps what it got.
type client struct {
	t     testing.TB
	opts  Options
	log   bytes.Buffer
	got   []string
	fails error         // of Deliver
	took  time.Duration // of the last call of piped
}

func newClient(t testing.TB) *client {
	t.Helper()
	c := &client{t: t}
	c.opts = Options{
		Name: "isp", Host: "pop.isp.example", User: "anna", Password: password, TLS: TLSOff, Files: mailtest.NewPowerFS(),
		Deliver: c.deliver, Log: slog.New(slog.NewTextHandler(&c.log, nil)),
	}
	return c
}

func (c *client) deliver(r io.Reader) error {
	text, err := io.ReadAll(r)
	if err == nil {
		err = c.fails
	}
	if err == nil {
		c.got = append(c.got, string(text))
	}
	return err
}

// collect collects from a listener.
func (c *client) collect(address string) (Result, error) {
	c.opts.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	result, err := Collect(c.t.Context(), c.opts)
	if text := fmt.Sprint(err, c.log.String()); strings.Contains(text, password) {
		c.t.Errorf("the password is in %q", text)
	}
	return result, err
}

// piped collects over pipes, in virtual time; serve is the server of each connection.
func (c *client) piped(serve func(net.Conn)) (Result, error) {
	var serving sync.WaitGroup
	defer serving.Wait()
	c.opts.Dial = func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		serving.Go(func() {
			defer theirs.Close()
			serve(theirs)
		})
		return ours, nil
	}
	began := time.Now()
	defer func() { c.took = time.Since(began) }()
	return Collect(c.t.Context(), c.opts)
}

var classes = map[string]error{
	"unreachable": ErrUnreachable, "tls": ErrTLS, "login": ErrLogin, "busy": ErrBusy, "protocol": ErrProtocol,
	"nouidl": ErrNoUIDL, "delivery": ErrDelivery,
}

// TestDialogues plays the server of testdata/*.dialog:
//
//	S: +OK text          the server sends a line
//	SRAW: "+OK\n"        it sends exactly these octets, a Go string
//	C: USER anna         it expects a line
//	CLOSE                it closes the connection
//	NEXT                 Collect is called again
//	%leave DAYS, %tls MODE, %max OCTETS, %token TOKEN
//	%got "TEXT"          the next delivered message, a Go string
//	%result F D L CLASS  result of the next call: fetched, deleted, left, and the error's class
func TestDialogues(t *testing.T) {
	files, err := filepath.Glob("testdata/*.dialog")
	if err != nil || len(files) == 0 {
		t.Fatal("no dialogues")
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".dialog"), func(t *testing.T) { playDialogue(t, file) })
	}
}

func playDialogue(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t)
	var results, got []string
	rounds := [][]string{nil}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		key, value, _ := strings.Cut(line, " ")
		switch key {
		case "%leave":
			c.opts.Leave = true
			c.opts.LeaveDays, _ = strconv.Atoi(value)
		case "%tls":
			for m := TLSOpportunistic; m <= TLSVerified; m++ {
				if m.String() == value {
					c.opts.TLS = m
				}
			}
		case "%token":
			c.opts.Token, c.opts.Password = value, ""
		case "%max":
			c.opts.MaxSize, _ = strconv.ParseInt(value, 10, 64)
		case "%got":
			value, err := strconv.Unquote(value)
			if err != nil {
				t.Fatal(line, err)
			}
			got = append(got, value)
		case "%result":
			results = append(results, value)
		case "NEXT":
			rounds = append(rounds, nil)
		case "", "#":
		default:
			last := len(rounds) - 1
			rounds[last] = append(rounds[last], line)
		}
	}
	for i, round := range rounds {
		result, err := c.round(round)
		class := ""
		for name, e := range classes {
			if errors.Is(err, e) {
				class = " " + name
			}
		}
		if text := fmt.Sprintf("%d %d %d%s", result.Fetched, result.Deleted, result.Left, class); text != results[i] || err != nil && class == "" {
			t.Errorf("round %d: %q, %v; want %q", i+1, text, err, results[i])
		}
	}
	if strings.Join(c.got, "|") != strings.Join(got, "|") {
		t.Errorf("got %q, want %q", c.got, got)
	}
}

// round plays a server for one call of Collect, which may connect several times.
func (c *client) round(steps []string) (Result, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		for len(steps) > 0 {
			conn, err := l.Accept()
			if err != nil {
				done <- fmt.Errorf("%q was not reached", steps[0])
				return
			}
			conn.SetDeadline(time.Now().Add(10 * time.Second))
			if steps, err = playSteps(conn, steps); err != nil {
				conn.Close()
				done <- err
				return
			}
		}
		done <- nil
	}()
	result, err := c.collect(l.Addr().String())
	l.Close()
	if playErr := <-done; playErr != nil {
		c.t.Errorf("%v (the client: %v)", playErr, err)
	}
	return result, err
}

// playSteps plays one connection, and returns the remaining steps.
func playSteps(conn net.Conn, steps []string) ([]string, error) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for i, step := range steps {
		verb, text, _ := strings.Cut(step, " ")
		switch verb {
		case "S:":
			fmt.Fprintf(conn, "%s\r\n", text)
		case "SRAW:":
			raw, err := strconv.Unquote(text)
			if err != nil {
				return nil, err
			}
			io.WriteString(conn, raw)
		case "C:":
			line, err := in.ReadString('\n')
			if got := strings.TrimSuffix(line, "\r\n"); got != text {
				return nil, fmt.Errorf("the client said %q (%v), not %q", got, err, text)
			}
		case "CLOSE":
			return steps[i+1:], nil
		default:
			return nil, fmt.Errorf("not a step: %q", step)
		}
	}
	return nil, nil
}

// box is a server for one mailbox, with or without unique-ids.
type box struct {
	messages []stored
	noUIDL   bool
	quitLost bool // the connection breaks at QUIT
	cut      int  // octets of a message before the connection breaks; 0 means never
	logins   int
}

type stored struct {
	uid, text string
	endless   string // repeated after the text without end
}

// serve is one session.
func (b *box) serve(conn net.Conn) {
	b.logins++
	in, out := bufio.NewScanner(conn), bufio.NewWriter(conn)
	say := func(format string, args ...any) { fmt.Fprintf(out, format+"\r\n", args...); out.Flush() }
	gone := map[int]bool{}
	say("+OK")
	for in.Scan() {
		verb, arg, _ := strings.Cut(in.Text(), " ")
		n, _ := strconv.Atoi(arg)
		switch verb {
		case "CAPA":
			say("-ERR")
		case "LIST", "UIDL":
			if verb == "UIDL" && b.noUIDL {
				say("-ERR")
				continue
			}
			say("+OK")
			for i, m := range b.messages {
				say("%d %s", i+1, map[string]string{"LIST": strconv.Itoa(len(m.text)), "UIDL": m.uid}[verb])
			}
			say(".")
		case "RETR":
			text := b.messages[n-1].text
			if b.messages[n-1].endless != "" {
				io.WriteString(conn, "+OK\r\n"+text)
				for err := error(nil); err == nil; {
					_, err = io.WriteString(conn, b.messages[n-1].endless)
				}
				return
			}
			if b.cut > 0 {
				out.WriteString("+OK\r\n" + text[:b.cut])
				out.Flush()
				return
			}
			out.WriteString("+OK\r\n" + strings.ReplaceAll(text, "\r\n.", "\r\n..") + ".\r\n")
			out.Flush()
		case "DELE":
			gone[n-1] = true
			say("+OK")
		case "QUIT":
			if b.quitLost {
				return
			}
			var left []stored
			for i, m := range b.messages {
				if !gone[i] {
					left = append(left, m)
				}
			}
			b.messages = left
			say("+OK")
			return
		default:
			say("+OK")
		}
	}
}

func (b *box) add(n int) {
	for range n {
		i := len(b.messages)
		b.messages = append(b.messages, stored{uid: fmt.Sprintf("uid%d", i), text: fmt.Sprintf("Message-ID: <%d>\r\n\r\n.text\r\n", i)})
	}
}

// counts formats a result for comparing.
func counts(r Result) string { return fmt.Sprintf("%d %d %d", r.Fetched, r.Deleted, r.Left) }
