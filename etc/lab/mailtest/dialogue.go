package mailtest

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Dialogue is one file of lines to send and lines to expect:
//
//	# comment
//	%mailbox anna secret        an option for the test that runs the file
//	C: USER anna                send a line; CRLF is added
//	C: base64("\x00anna\x00pw") a Go string, encoded, anywhere in a C or S line
//	C: USER repeat("x", 300)    a Go string, many times
//	C64: anna                   send the text in base64
//	CRAW: "NOOP\r\nNO"          send exactly these bytes, a Go string
//	S: +OK * messages           expect one line; * is any run of characters, \* a star
//	S*: .                       skip lines until one matches
//	S: <eof>                    expect the peer to close the connection
//	TLS                         do the TLS handshake, as a client
//	CLOSE                       close the connection
//
// A digit before a step is the number of its connection (2C:, 2S:, 2TLS); without one it is the
// first. A connection opens at its first step.
type Dialogue struct {
	File    string
	Options map[string][]string // the values of each %key, in order
	steps   []step
}

// Peer is the server of a dialogue.
type Peer struct {
	Dial func() (net.Conn, error)
	TLS  *tls.Config // for the client side of TLS steps
}

// RunDialogues runs every file that matches glob as a subtest. For each it calls start to get a new
// peer. A dialogue cannot hang: a step without an answer fails after some seconds.
func RunDialogues(t *testing.T, glob string, start func(t *testing.T, d *Dialogue) Peer) {
	t.Helper()
	files, err := filepath.Glob(glob)
	if err != nil || len(files) == 0 {
		t.Fatalf("no dialogue matches %q (%v)", glob, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".dialog"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			d, err := parseDialogue(file, string(text))
			if err != nil {
				t.Fatal(err)
			}
			if err := d.run(start(t, d)); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// Option returns the last value of %key, or def if the file has none.
func (d *Dialogue) Option(key, def string) string {
	if v := d.Options[key]; len(v) > 0 {
		return v[len(v)-1]
	}
	return def
}

type step struct {
	line int    // in the file
	conn string // "1" to "9"
	verb string
	text string // what to send, decoded; or the pattern to expect
}

var stepForm = regexp.MustCompile(`^([1-9]?)(?:(C|C64|CRAW|S|S\*):(?: (.*))?|(TLS|CLOSE))$`)

func parseDialogue(file, text string) (*Dialogue, error) {
	d := &Dialogue{File: file, Options: make(map[string][]string)}
	for i, line := range strings.Split(text, "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		if option, ok := strings.CutPrefix(line, "%"); ok {
			key, value, _ := strings.Cut(option, " ")
			d.Options[key] = append(d.Options[key], value)
			continue
		}
		m := stepForm.FindStringSubmatch(line)
		if m == nil {
			return nil, fmt.Errorf("%s:%d: not a step: %q", file, i+1, line)
		}
		s := step{line: i + 1, conn: m[1], verb: m[2] + m[4]}
		if s.conn == "" {
			s.conn = "1"
		}
		var err error
		if s.text, err = decode(s.verb, m[3]); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, i+1, err)
		}
		d.steps = append(d.steps, s)
	}
	return d, nil
}

// decode returns the bytes to send or the pattern to expect.
func decode(verb, text string) (string, error) {
	switch verb {
	case "CRAW":
		return strconv.Unquote(text)
	case "C64":
		return base64.StdEncoding.EncodeToString([]byte(text)) + "\r\n", nil
	case "C":
		text, err := expand(text)
		return text + "\r\n", err
	default:
		return expand(text)
	}
}

var callForm = regexp.MustCompile(`\b(?:base64\(("(?:[^"\\]|\\.)*")\)|repeat\(("(?:[^"\\]|\\.)*"), *(\d+)\))`)

func expand(text string) (string, error) {
	var failed error
	text = callForm.ReplaceAllStringFunc(text, func(call string) string {
		m := callForm.FindStringSubmatch(call)
		s, err := strconv.Unquote(m[1] + m[2])
		if err != nil {
			failed = fmt.Errorf("%s: %w", call, err)
		}
		if m[3] == "" {
			return base64.StdEncoding.EncodeToString([]byte(s))
		}
		n, _ := strconv.Atoi(m[3])
		return strings.Repeat(s, n)
	})
	return text, failed
}

// matches reports whether line matches the pattern of an S step.
func matches(pattern, line string) bool {
	for pattern != "" {
		switch {
		case pattern[0] == '*':
			for i := range len(line) + 1 {
				if matches(pattern[1:], line[i:]) {
					return true
				}
			}
			return false
		case len(pattern) > 1 && pattern[0] == '\\' && (pattern[1] == '*' || pattern[1] == '\\'):
			pattern = pattern[1:]
		}
		if line == "" || line[0] != pattern[0] {
			return false
		}
		pattern, line = pattern[1:], line[1:]
	}
	return line == ""
}

// patience is the longest real time of one step.
const patience = 10 * time.Second

// talk is a running dialogue.
type talk struct {
	peer       Peer
	conns      map[string]*conn
	transcript strings.Builder
}

type conn struct {
	net.Conn
	in *bufio.Reader
}

func (d *Dialogue) run(peer Peer) (err error) {
	t := &talk{peer: peer, conns: make(map[string]*conn)}
	defer func() {
		for _, c := range t.conns {
			c.Close()
		}
	}()
	for _, s := range d.steps {
		if err := t.step(s); err != nil {
			return fmt.Errorf("%s:%d: %w\nuntil then:\n%s", d.File, s.line, err, &t.transcript)
		}
	}
	for name, c := range t.conns {
		if rest, _ := c.in.Peek(c.in.Buffered()); len(rest) > 0 {
			return fmt.Errorf("%s: the dialogue ended, but connection %s also said %q",
				d.File, name, rest)
		}
	}
	return nil
}

func (t *talk) step(s step) error {
	c, err := t.conn(s.conn)
	if err != nil {
		return err
	}
	c.SetDeadline(time.Now().Add(patience))
	switch s.verb {
	case "TLS":
		tc := tls.Client(c.Conn, t.peer.TLS)
		c.Conn = tc
		c.in.Reset(tc)
		return tc.Handshake()
	case "CLOSE":
		return c.Close()
	case "S", "S*":
		return t.expect(c, s)
	default:
		fmt.Fprintf(&t.transcript, "%sC: %q\n", s.conn, s.text)
		_, err := io.WriteString(c, s.text)
		return err
	}
}

func (t *talk) conn(name string) (*conn, error) {
	if c := t.conns[name]; c != nil {
		return c, nil
	}
	nc, err := t.peer.Dial()
	if err != nil {
		return nil, err
	}
	t.conns[name] = &conn{nc, bufio.NewReader(nc)}
	return t.conns[name], nil
}

func (t *talk) expect(c *conn, s step) error {
	for {
		line, err := c.in.ReadString('\n')
		fmt.Fprintf(&t.transcript, "%sS: %q\n", s.conn, line)
		if s.text == "<eof>" {
			if line == "" && errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("expected the end of the connection, got %q (%v)", line, err)
		}
		if err != nil {
			return fmt.Errorf("expected %q, got %q and %w", s.text, line, err)
		}
		text, whole := strings.CutSuffix(line, "\r\n")
		switch {
		case whole && matches(s.text, text):
			return nil
		case s.verb == "S":
			return fmt.Errorf("expected %q, got %q", s.text, line)
		}
	}
}
