package collect

import (
	"bufio"
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/durable"
)

func (c *client) want(b *box, want string) {
	c.t.Helper()
	result, err := c.piped(b.serve)
	if got := counts(result); err != nil || got != want {
		c.t.Errorf("fetched, deleted, left: %s, %v; want %s", got, err, want)
	}
}

func (c *client) wantGot(n int) {
	c.t.Helper()
	seen := map[string]bool{}
	for _, text := range c.got {
		seen[text] = true
	}
	if len(c.got) != n || len(seen) != n {
		c.t.Errorf("got %d messages, %d different; want %d", len(c.got), len(seen), n)
	}
}

// Large mailboxes are emptied in several sessions, each ended by QUIT.
func TestBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, b := newClient(t), &box{}
		b.add(2*batch + 5)
		c.want(b, fmt.Sprintf("%d %d 0", 2*batch+5, 2*batch+5))
		c.wantGot(2*batch + 5)
		if b.logins != 3 || !strings.HasSuffix(c.got[0], "\r\n\r\n.text\r\n") {
			t.Errorf("%d log-ins, %q", b.logins, c.got[0])
		}
		c.want(b, "0 0 0")
	})
}

func TestLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, b := newClient(t), &box{}
		c.opts.Leave, c.opts.LeaveDays = true, 3
		b.add(batch + 1)
		c.want(b, fmt.Sprintf("%d 0 %d", batch+1, batch+1))
		time.Sleep(24 * time.Hour)
		b.add(1)
		c.want(b, fmt.Sprintf("1 0 %d", batch+2))
		for i := range b.messages { // after a move the server has other unique-ids
			b.messages[i].uid = "new" + b.messages[i].uid
		}
		c.want(b, fmt.Sprintf("0 0 %d", batch+2))
		time.Sleep(49 * time.Hour)
		c.want(b, fmt.Sprintf("0 %d 1", batch+1))
		time.Sleep(49 * time.Hour)
		c.want(b, "0 1 0")
		c.wantGot(batch + 2)
		time.Sleep(31 * 24 * time.Hour)
		c.want(b, "0 0 0")
		if text, err := durable.ReadFile(c.opts.Files, "fetch/isp.json"); err != nil || strings.Contains(string(text), "uid") {
			t.Errorf("%s, %v", text, err)
		}
	})
}

// A unique-id that the server reuses does not hide a message.
func TestUIDUsedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, b := newClient(t), &box{}
		c.opts.Leave = true
		b.add(2)
		c.want(b, "2 0 2")
		b.messages[1] = stored{uid: "uid1", text: "Message-ID: <another>\r\n\r\nlonger text\r\n"}
		c.want(b, "1 0 2")
		c.want(b, "0 0 2")
		c.wantGot(3)
	})
}

// Wherever the connection breaks, no message is lost, and none that was recorded comes twice.
func TestBroken(t *testing.T) {
	for name, noUIDL := range map[string]bool{"UIDL": false, "no UIDL": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, b := newClient(t), &box{noUIDL: noUIDL, quitLost: true}
				b.add(3)
				if _, err := c.piped(b.serve); !errors.Is(err, ErrUnreachable) {
					t.Error(err)
				}
				c.wantGot(3)
				b.quitLost = false
				c.want(b, "0 3 0")
				c.wantGot(3)
				b.add(1)
				b.messages[0].text = "Message-ID: <cut>\r\n\r\nabcdefghijklm\r\n"
				for b.cut = 1; b.cut < len(b.messages[0].text); b.cut++ {
					if result, err := c.piped(b.serve); !errors.Is(err, ErrUnreachable) || result.Fetched > 0 {
						t.Error(b.cut, err)
					}
				}
				c.wantGot(3)
				b.cut = 0
				c.want(b, "1 1 0")
				c.wantGot(4)
			})
		})
	}
}

// Whichever disk operation fails, or is the last before a crash, each message is delivered once or
// at most twice.
func TestDiskFails(t *testing.T) {
	for n := 1; ; n++ {
		c, b := newClient(t), &box{}
		disk := mailtest.NewFailFS(c.opts.Files)
		c.opts.Files = disk
		b.add(3)
		disk.Start(mailtest.From(n, os.ErrInvalid))
		_, err := c.piped(b.serve)
		steps := len(disk.Ops())
		disk.Start(nil)
		if _, again := c.piped(b.serve); again != nil {
			t.Fatal(n, again)
		}
		if len(b.messages) > 0 || len(c.got) < 3 || len(c.got) > 4 {
			t.Errorf("step %d: %d messages are left, %d came", n, len(b.messages), len(c.got))
		}
		if steps < n {
			if err != nil {
				t.Error(err)
			}
			return
		}
	}
}

// A message that cannot be delivered stays at the server and does not block the others. If none can
// be delivered, the session soon ends.
func TestNotDelivered(t *testing.T) {
	c, b := newClient(t), &box{}
	b.add(10)
	c.opts.Deliver = func(r io.Reader) error {
		text, err := io.ReadAll(r)
		if strings.Contains(string(text), "<2>") {
			err = errors.New("full")
		}
		return err
	}
	if result, err := c.piped(b.serve); !errors.Is(err, ErrDelivery) || counts(result) != "9 9 1" {
		t.Error(result, err)
	}
	tried := 0
	c.opts.Deliver = func(io.Reader) error { tried++; return errors.New("full") }
	b.add(10)
	if result, err := c.piped(b.serve); !errors.Is(err, ErrDelivery) || counts(result) != "0 0 11" || tried != maxInRow {
		t.Error(result, err, tried)
	}
}

// What was recorded before a crash is still known after a second one.
func TestTwoCrashes(t *testing.T) {
	fsys := newClient(t).opts.Files
	for _, uid := range []string{"first", "second", "third"} {
		st, err := loadState(fsys, "isp", "anna@isp.example")
		if err == nil {
			err = st.record("anna@isp.example", uid, &entry{})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	st, err := loadState(fsys, "isp", "anna@isp.example")
	if err != nil || len(st.all) != 3 {
		t.Errorf("%d messages are known, %v; want 3", len(st.all), err)
	}
}

// The state of one mailbox is not used for another.
func TestOtherAccount(t *testing.T) {
	c, b := newClient(t), &box{}
	c.opts.Leave = true
	b.add(1)
	c.want(b, "1 0 1")
	c.opts.User = "bert"
	c.want(b, "1 0 1")
}

func TestDamagedState(t *testing.T) {
	c, b := newClient(t), &box{}
	c.want(b, "0 0 0")
	if err := durable.WriteFile(c.opts.Files, "fetch/isp.json", []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := c.piped(b.serve)
	if e, ok := errors.AsType[*Error](err); !ok || !strings.Contains(e.Hint, "delete the file") {
		t.Error(err)
	}
}

// A session with a server that hangs, sends slowly or never stops ends in bounded time.
func TestHostile(t *testing.T) {
	greet := func(conn net.Conn, until string) *bufio.Scanner {
		in := bufio.NewScanner(conn)
		io.WriteString(conn, "+OK\r\n")
		for in.Scan() && !strings.HasPrefix(in.Text(), until) {
			switch {
			case in.Text() == "CAPA":
				io.WriteString(conn, "-ERR\r\n")
			case in.Text() == "LIST":
				io.WriteString(conn, "+OK\r\n1 10\r\n.\r\n")
			case in.Text() == "UIDL":
				io.WriteString(conn, "+OK\r\n1 a\r\n.\r\n")
			default:
				io.WriteString(conn, "+OK\r\n")
			}
		}
		return in
	}
	drip := func(conn net.Conn, text string, every time.Duration) {
		for i := 0; ; i++ {
			if _, err := conn.Write([]byte{text[i%len(text)]}); err != nil {
				return
			}
			time.Sleep(every)
		}
	}
	flood := func(conn net.Conn, text string) {
		for {
			if _, err := io.WriteString(conn, text); err != nil {
				return
			}
		}
	}
	for name, test := range map[string]struct {
		serve  func(net.Conn)
		class  error
		within time.Duration
	}{
		"says nothing":       {func(conn net.Conn) { io.Copy(io.Discard, conn) }, ErrUnreachable, commandTime},
		"drips its greeting": {func(conn net.Conn) { drip(conn, "+OK ", time.Second) }, ErrUnreachable, commandTime},
		"greets for ever":    {func(conn net.Conn) { flood(conn, "+OK "+strings.Repeat("x", 1000)) }, ErrProtocol, commandTime},
		"hangs at PASS":      {func(conn net.Conn) { greet(conn, "PASS"); io.Copy(io.Discard, conn) }, ErrUnreachable, commandTime},
		"drips a listing": {func(conn net.Conn) {
			greet(conn, "LIST")
			io.WriteString(conn, "+OK\r\n")
			drip(conn, "1 1\r\n", 10*time.Second)
		}, ErrUnreachable, graceTime + time.Minute},
		"lists for ever": {func(conn net.Conn) {
			greet(conn, "UIDL")
			flood(conn, "+OK\r\n"+strings.Repeat("1 "+strings.Repeat("u", 70)+"\r\n", 1000))
		}, ErrProtocol, time.Hour},
		"drips a message": {func(conn net.Conn) {
			greet(conn, "RETR")
			io.WriteString(conn, "+OK\r\n")
			drip(conn, "Received: x\r\n", 10*time.Second)
		}, ErrUnreachable, graceTime + time.Minute},
		"hangs in a message": {func(conn net.Conn) {
			greet(conn, "RETR")
			io.WriteString(conn, "+OK\r\nSubject: x\r\n\r\nText\r\n")
			io.Copy(io.Discard, conn)
		}, ErrUnreachable, idleTime},
		"a message without end": {func(conn net.Conn) {
			greet(conn, "RETR")
			flood(conn, "+OK\r\n"+strings.Repeat("x", 1<<20))
		}, ErrProtocol, time.Hour},
		"babbles":  {func(conn net.Conn) { io.WriteString(conn, "220 smtp.isp.example ESMTP\r\n") }, ErrProtocol, time.Second},
		"hangs up": {func(net.Conn) {}, ErrUnreachable, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newClient(t)
				c.opts.MaxSize = 1 << 20
				_, err := c.piped(test.serve)
				if !errors.Is(err, test.class) || c.took > test.within {
					t.Errorf("after %s: %v", c.took, err)
				}
				if len(c.got) > 0 {
					t.Errorf("got %d messages", len(c.got))
				}
			})
		})
	}
}

func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t)
		ours, theirs := net.Pipe()
		defer theirs.Close()
		c.opts.Dial = func(context.Context, string, string) (net.Conn, error) { return ours, nil }
		ctx, stop := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, stop)
		began := time.Now()
		if _, err := Collect(ctx, c.opts); !errors.Is(err, context.Canceled) || time.Since(began) > time.Second {
			t.Error(err, time.Since(began))
		}
	})
}

func TestBody(t *testing.T) {
	for _, test := range []struct {
		in, want string
		lf       bool
	}{
		{"a\r\n.\r\n", "a\r\n", false},
		{".\r\n", "", false},
		{"..\r\n..a\r\n.\r\n", ".\r\n.a\r\n", false},
		// No end at the bare LF: this server ends lines with CRLF.
		{"a\n.\nb\r\n.\r\n", "a\r\n.\r\nb\r\n", false},
		{"a\n..b\n.\n", "a\r\n.b\r\n", true},
		{strings.Repeat("x", 3*maxLine) + "\r\n.\r\n", strings.Repeat("x", 3*maxLine) + "\r\n", false},
		{strings.Repeat("x", maxLine-1) + "\r\n.\r\n", strings.Repeat("x", maxLine-1) + "\r\n", false},
		{strings.Repeat("x", maxLine) + ".\r\n.\r\n", strings.Repeat("x", maxLine) + ".\r\n", false},
	} {
		for name, wrap := range map[string]func(io.Reader) io.Reader{"whole": func(r io.Reader) io.Reader { return r }, "in parts": iotest.OneByteReader} {
			c := &conn{opts: &Options{}, pace: &paced{}, in: bufio.NewReaderSize(wrap(strings.NewReader(test.in+"+OK")), maxLine), lfOnly: test.lf}
			got, err := io.ReadAll(c.body())
			if rest, _ := io.ReadAll(c.in); err != nil || string(got) != test.want || string(rest) != "+OK" {
				t.Errorf("%s: %.40q: %.40q, %v, then %.40q", name, test.in, got, err, rest)
			}
		}
	}
}

// FuzzBody checks that a message sent with dot-stuffing is read unchanged.
func FuzzBody(f *testing.F) {
	f.Add("a\r\n.b\r\n..\r\n")
	f.Add("\r\r\n\n.\n")
	f.Fuzz(func(t *testing.T, text string) {
		lines := strings.SplitAfter(text, "\r\n")
		for i, line := range lines {
			if strings.HasPrefix(line, ".") {
				lines[i] = "." + line
			}
		}
		sent := strings.Join(lines, "")
		if !strings.HasSuffix(sent, "\r\n") && sent != "" {
			sent += "\r\n"
			text += "\r\n"
		}
		c := &conn{opts: &Options{}, pace: &paced{}, in: bufio.NewReaderSize(strings.NewReader(sent+".\r\n+OK"), 16)}
		got, err := io.ReadAll(c.body())
		want := strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\n", "\r\n")
		if rest, _ := io.ReadAll(c.in); err != nil || string(got) != want || string(rest) != "+OK" {
			t.Fatalf("%q: %q, %v, then %q; want %q", text, got, err, rest, want)
		}
	})
}

func TestStateName(t *testing.T) {
	for name, plain := range map[string]bool{"isp": true, "pop.isp.example": true, "../lock": false, "": false, ".x": false, "a/b": false, "a..b": false, strings.Repeat("a", 200): false, "isp.recent": true} {
		got := stateName(name)
		if (got == name) != plain || !plainName.MatchString(got) {
			t.Errorf("%q: %q", name, got)
		}
	}
}

// Even if a server repeats the secrets it was sent, they are neither in the error nor in the log.
func TestSecretsAreMasked(t *testing.T) {
	encoded := base64.StdEncoding.EncodeToString([]byte("\x00anna\x00" + password))
	echo := password + " " + strings.ToUpper(password) + " " + encoded + " \x1b[31m"
	for name, answers := range map[string]map[string]string{
		"greeting": {"": "-ERR " + echo},
		"babble":   {"CAPA": "what? " + echo},
		"PASS":     {"PASS": "-ERR " + echo},
		"PLAIN":    {"CAPA": "+OK\r\nSASL PLAIN\r\n.", "AUTH": "-ERR [IN-USE] " + echo},
		"LIST":     {"LIST": "-ERR " + echo},
		"QUIT":     {"QUIT": "-ERR " + echo},
		"APOP":     {"": "+OK <1896.697170952@dbc.mtview.ca.us>", "APOP": "!"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newClient(t)
				c.opts.TLS = TLSOpportunistic
				digest := ""
				_, err := c.piped(func(conn net.Conn) {
					in := bufio.NewScanner(conn)
					io.WriteString(conn, cmp.Or(answers[""], "+OK")+"\r\n")
					for in.Scan() {
						verb, arg, _ := strings.Cut(in.Text(), " ")
						answer := cmp.Or(answers[verb], map[string]string{"LIST": "+OK\r\n.", "UIDL": "+OK\r\n.", "CAPA": "-ERR", "STLS": "-ERR"}[verb], "+OK")
						if answer == "!" {
							_, digest, _ = strings.Cut(arg, " ")
							answer = "-ERR not " + digest
						}
						io.WriteString(conn, answer+"\r\n")
					}
				})
				all := fmt.Sprint(err, c.log.String())
				for _, secret := range []string{password, encoded, "\x1b", digest} {
					if secret != "" && strings.Contains(strings.ToLower(all), strings.ToLower(secret)) {
						t.Errorf("%q is in %s", secret, all)
					}
				}
				if err == nil {
					t.Error("no error")
				}
			})
		})
	}
}

// Messages that cause a panic stay at the server. The later ones are fetched, however many of these
// there are.
func TestPanicIsContained(t *testing.T) {
	c, b := newClient(t), &box{}
	b.add(20)
	n := 0
	c.opts.Deliver = func(r io.Reader) error {
		if n++; n <= 2*maxInRow {
			panic("what is this header?")
		}
		_, err := io.Copy(io.Discard, r)
		return err
	}
	if result, err := c.piped(b.serve); !errors.Is(err, ErrDelivery) || counts(result) != "14 14 6" {
		t.Error(counts(result), err)
	}
	if log := c.log.String(); !strings.Contains(log, "what is this header?") || !strings.Contains(log, "collect_test.go") {
		t.Error(log)
	}
}

func TestUnreachableHint(t *testing.T) {
	for _, test := range []struct {
		err  error
		want string
	}{
		{&net.OpError{Op: "dial", Err: &net.DNSError{Name: "pop.isp.example"}}, "DNS works"},
		{&net.OpError{Op: "dial", Err: errors.New("connection refused")}, "name and port"},
		{&Error{Class: ErrUnreachable, Text: "a loop", Hint: "name another server"}, "name another server"},
	} {
		c := newClient(t)
		c.opts.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, test.err }
		_, err := Collect(t.Context(), c.opts)
		if e, ok := errors.AsType[*Error](err); !ok || !errors.Is(err, ErrUnreachable) || !strings.Contains(e.Hint, test.want) {
			t.Errorf("%v: got %v, want the hint %q", test.err, err, test.want)
		}
	}
}
