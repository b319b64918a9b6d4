package pop3

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore"
	"pillarbox/mailstore/auth"
	"pillarbox/mailstore/directory"
)

var remote = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 50000}

// pipeEnd is one end of a net.Pipe that has an address.
type pipeEnd struct{ net.Conn }

func (pipeEnd) RemoteAddr() net.Addr { return remote }

// connect starts a session over a pipe. Every client end has to be closed.
func connect(s *Server) (net.Conn, *bufio.Reader) {
	client, server := net.Pipe()
	s.start(pipeEnd{server}, false)
	return client, bufio.NewReader(client)
}

// talk sends lines, each after the reply to the one before, and returns the last reply.
func talk(t *testing.T, conn net.Conn, in *bufio.Reader, lines ...string) string {
	t.Helper()
	reply := ""
	for _, line := range lines {
		if line != "" {
			io.WriteString(conn, line+"\r\n")
		}
		var err error
		if reply, err = in.ReadString('\n'); err != nil {
			t.Fatalf("after %q: %v", line, err)
		}
	}
	return strings.TrimRight(reply, "\r\n")
}

// A client that may not connect gets one line instead of the greeting, or none if TLS comes first.
func TestAdmit(t *testing.T) {
	for _, test := range []struct {
		admitted, implicit bool
		want               string
	}{
		{true, false, "+OK "}, {false, true, ""},
		{false, false, "-ERR [SYS/PERM] connections from 127.0.0.1 are not accepted here\r\n"},
	} {
		synctest.Test(t, func(t *testing.T) {
			o := newOffice(t)
			s := New(Config{Admit: func(_ context.Context, client netip.Addr) bool {
				return test.admitted && client == netip.MustParseAddr("127.0.0.1")
			}}, o.store, o.auth, nil)
			client, server := net.Pipe()
			s.start(pipeEnd{server}, test.implicit)
			got, err := bufio.NewReader(client).ReadString('\n')
			if !strings.HasPrefix(got, test.want) || test.want == "" && err != io.EOF {
				t.Errorf("%+v: %q, %v", test, got, err)
			}
			client.Close()
		})
	}
}

func TestTimeouts(t *testing.T) {
	login := []string{"", "USER anna", "PASS secret", "DELE 1"}
	for _, c := range []struct {
		name    string
		lines   []string
		trickle string // then, an octet a minute
		want    time.Duration
	}{
		{"silent", []string{""}, "", 3 * time.Minute},
		{"busy without a login", []string{"", "USER anna"}, "USER boss", 3 * time.Minute},
		{"idle", login, "", 10 * time.Minute},
		{"trickling", login, "NOOP NOOP NOOP NOOP", 10 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := newOffice(t)
			o.addMailbox("anna", "secret", false)
			o.deliver("anna", "Subject: one\r\n\r\n")
			synctest.Test(t, func(t *testing.T) {
				conn, in := connect(o.newServer(nil))
				defer conn.Close()
				talk(t, conn, in, c.lines...)
				start := time.Now()
				var wg sync.WaitGroup
				wg.Go(func() {
					for i := range c.trickle {
						time.Sleep(time.Minute)
						if _, err := io.WriteString(conn, c.trickle[i:i+1]); err != nil {
							return
						}
					}
				})
				if line, err := in.ReadString('\n'); line != "" || err != io.EOF {
					t.Errorf("the end: %q %v", line, err)
				}
				if took := time.Since(start); took != c.want {
					t.Errorf("closed after %v, want %v", took, c.want)
				}
				wg.Wait()
			})
			if n := len(o.files("anna")); n != 1 {
				t.Errorf("%d messages in the end", n)
			}
			if line := o.log.lineWith("session ended"); !strings.Contains(line, "reason=timeout") {
				t.Errorf("log: %s", line)
			}
		})
	}
}

// An endless line uses bounded memory and time.
func TestEndlessLine(t *testing.T) {
	o := newOffice(t)
	rest := strings.NewReader(strings.Repeat("x", 1<<20))
	newSession(o.newServer(nil), &script{Reader: rest}, false).serve()
	if read := 1<<20 - rest.Len(); read > maxDiscard {
		t.Errorf("%d octets were read", read)
	}
	if line := o.log.lineWith("session ended"); !strings.Contains(line, `reason="endless line"`) {
		t.Errorf("log: %s", line)
	}
}

// A client that sends commands but reads no replies must not stay for ever, and none of its
// commands may take effect.
func TestClientThatDoesNotRead(t *testing.T) {
	o := newOffice(t)
	o.addMailbox("anna", "secret", false)
	o.deliver("anna", "Subject: one\r\n\r\n")
	synctest.Test(t, func(t *testing.T) {
		s := o.newServer(nil)
		conn, in := connect(s)
		defer conn.Close()
		talk(t, conn, in, "", "USER anna", "PASS secret")
		start := time.Now()
		io.WriteString(conn, "DELE 1\r\n")
		io.WriteString(conn, "QUIT\r\n")
		s.running.Wait()
		if took := time.Since(start); took != time.Minute {
			t.Errorf("the session took %v", took)
		}
	})
	if n := len(o.files("anna")); n != 1 {
		t.Errorf("%d messages in the end", n)
	}
}

func TestShutdownClosesIdleSessions(t *testing.T) {
	o := newOffice(t)
	o.addMailbox("anna", "secret", false)
	o.deliver("anna", "Subject: one\r\n\r\n")
	synctest.Test(t, func(t *testing.T) {
		s := o.newServer(nil)
		conn, in := connect(s)
		defer conn.Close()
		talk(t, conn, in, "", "USER anna", "PASS secret", "DELE 1")
		synctest.Wait()
		start := time.Now()
		if err := s.Shutdown(t.Context()); err != nil || time.Since(start) != 0 {
			t.Errorf("Shutdown: %v after %v", err, time.Since(start))
		}
		if line, err := in.ReadString('\n'); line != "" || err != io.EOF {
			t.Errorf("the end: %q %v", line, err)
		}
		late, lateIn := connect(s)
		defer late.Close()
		if line, err := lateIn.ReadString('\n'); line != "" || err != io.EOF {
			t.Errorf("a connection after Shutdown: %q %v", line, err)
		}
	})
	if n := len(o.files("anna")); n != 1 {
		t.Errorf("%d messages in the end", n)
	}
	if drop, err := o.store.OpenMaildrop(o.mailbox("anna").Dir); err != nil {
		t.Errorf("the maildrop is still locked: %v", err)
	} else {
		drop.Close()
	}
}

// authFunc is a double for the Authenticator.
type authFunc func(ctx context.Context, user string) (auth.Principal, error)

func (f authFunc) Offers(auth.Client) []string { return []string{auth.PLAIN, auth.LOGIN} }

func (f authFunc) Offered(_ auth.Client, mechanism string) bool {
	return mechanism == auth.PLAIN || mechanism == auth.LOGIN
}

func (f authFunc) LogRefusal(auth.Client, string) {}

func (f authFunc) Stamp() string { return "" }

func (f authFunc) APOP(context.Context, auth.Client, string, string, string) (auth.Principal, error) {
	return auth.Principal{}, auth.ErrInvalid
}

func (f authFunc) Begin(ctx context.Context, c auth.Client, mechanism string) (*auth.Exchange, error) {
	e := new(auth.Exchange)
	check := func(user, password string) (err error) {
		e.Principal, err = f.Password(ctx, c, user, password)
		return err
	}
	switch mechanism {
	case auth.PLAIN:
		e.Server = auth.NewPLAIN(check)
	case auth.LOGIN:
		e.Server = auth.NewLOGIN(check)
	default:
		return nil, auth.ErrNotOffered
	}
	return e, nil
}

func (f authFunc) StillPermits(auth.Principal, auth.Service) error { return nil }

func (f authFunc) Password(ctx context.Context, _ auth.Client, user, _ string) (auth.Principal, error) {
	return f(ctx, user)
}

// dropFunc is a double for the store.
type dropFunc func(dir string) (*mailstore.Maildrop, error)

func (f dropFunc) OpenMaildrop(dir string) (*mailstore.Maildrop, error) { return f(dir) }

func TestShutdownWaitsForAnswers(t *testing.T) {
	slow := authFunc(func(ctx context.Context, _ string) (auth.Principal, error) {
		select {
		case <-time.After(5 * time.Second):
			return auth.Principal{}, auth.ErrInvalid
		case <-ctx.Done():
			return auth.Principal{}, auth.ErrTemporary
		}
	})
	for _, c := range []struct {
		patience, want time.Duration
		err            error
		reply          string
	}{
		{time.Minute, 5 * time.Second, nil, "-ERR [AUTH] user name or password is wrong\r\n"},
		{time.Second, time.Second, context.DeadlineExceeded, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			o := newOffice(t)
			s := New(*o.newServer(nil).config.Load(), o.store, slow, nil)
			conn, in := connect(s)
			defer conn.Close()
			talk(t, conn, in, "", "USER anna")
			go io.WriteString(conn, "PASS x\r\n")
			replies := make(chan string)
			go func() {
				line, _ := in.ReadString('\n')
				replies <- line
			}()
			synctest.Wait()
			ctx, cancel := context.WithTimeout(t.Context(), c.patience)
			defer cancel()
			start := time.Now()
			if err := s.Shutdown(ctx); err != c.err || time.Since(start) != c.want {
				t.Errorf("patience %v: %v after %v", c.patience, err, time.Since(start))
			}
			if reply := <-replies; reply != c.reply {
				t.Errorf("patience %v: reply %q", c.patience, reply)
			}
		})
	}
}

func TestLoginReplies(t *testing.T) {
	for _, c := range []struct {
		auth, drop error
		want       string
	}{
		{auth.ErrInvalid, nil, "-ERR [AUTH] user name or password is wrong"},
		{fmt.Errorf("%w: secret reason", auth.ErrInvalid), nil, "-ERR [AUTH] user name or password is wrong"},
		{auth.ErrAccess, nil, "-ERR [SYS/PERM] this mailbox may not be read by POP3; ask the administrator"},
		{auth.ErrLocked, nil, "-ERR [SYS/PERM] this mailbox is locked; ask the administrator"},
		{auth.ErrTemporary, nil, "-ERR [SYS/TEMP] cannot log in at the moment; try again later"},
		{errors.New("/secret/path"), nil, "-ERR [SYS/TEMP] cannot log in at the moment; try again later"},
		{nil, mailstore.ErrInUse, "-ERR [IN-USE] this mailbox is being read by another program or device; try again later"},
		{nil, mailstore.ErrNoMailbox, "-ERR [SYS/TEMP] cannot log in at the moment; try again later"},
		{nil, syscall.EMFILE, "-ERR [SYS/TEMP] cannot log in at the moment; try again later"},
	} {
		s := New(Config{PlaintextNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}},
			dropFunc(func(string) (*mailstore.Maildrop, error) { return nil, c.drop }),
			authFunc(func(context.Context, string) (auth.Principal, error) { return auth.Principal{Dir: "x"}, c.auth }), nil)
		conn, in := connect(s)
		if got := talk(t, conn, in, "", "USER anna", "PASS x"); got != c.want {
			t.Errorf("%v, %v: %q", c.auth, c.drop, got)
		}
		if got := talk(t, conn, in, "STAT"); got != "-ERR log in first" {
			t.Errorf("%v, %v: then STAT: %q", c.auth, c.drop, got)
		}
		conn.Close()
	}
}

// The disk fails at each step.
func TestBadDisk(t *testing.T) {
	failing := func(kind string) func(*office) {
		return func(o *office) {
			n := 0
			o.disk.Start(func(_ int, op mailtest.Op) error {
				if n++; op.Kind == kind {
					return syscall.EIO
				}
				return nil
			})
		}
	}
	for _, c := range []struct {
		name    string
		trouble func(*office)
		command string
		want    string
		logged  string
	}{
		{"removed", func(o *office) { o.must(os.Remove(o.files("anna")[0])) }, "RETR 1", "-ERR [SYS/TEMP] *", ""},
		{"cut short", func(o *office) { o.must(os.Truncate(o.files("anna")[0], 5)) }, "RETR 1", "-ERR [SYS/PERM] *", "message damaged"},
		{"open", failing("open"), "TOP 1 1", "-ERR [SYS/TEMP] *", "message cannot be read"},
		{"read", failing("read"), "RETR 1", "", "message cut short"},
		{"remove", failing("remove"), "DELE 1\r\nQUIT", "-ERR [SYS/TEMP] some deleted messages not removed", "deleted messages not removed"},
		{"sync", failing("syncdir"), "DELE 1\r\nQUIT", "-ERR [SYS/TEMP] some deleted messages not removed", "deleted messages not removed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := newOffice(t)
			o.addMailbox("anna", "secret", false)
			o.deliver("anna", "Subject: one\r\n\r\n")
			s := o.newServer(nil)
			conn, in := connect(s)
			talk(t, conn, in, "", "USER anna", "PASS secret")
			c.trouble(o)
			go io.WriteString(conn, c.command+"\r\n")
			var last string
			for {
				line, err := in.ReadString('\n')
				if err != nil {
					break
				}
				last = strings.TrimRight(line, "\r\n")
				if strings.HasPrefix(last, "-ERR") {
					conn.Close()
				}
			}
			conn.Close()
			s.running.Wait()
			if prefix, any := strings.CutSuffix(c.want, "*"); c.want == "" && last == "." || last != c.want && !(any && strings.HasPrefix(last, prefix)) && c.want != "" {
				t.Errorf("the last reply is %q, want %q", last, c.want)
			}
			if c.logged != "" && o.log.lineWith(c.logged) == "" {
				t.Errorf("not in the log: %s\n%s", c.logged, o.log)
			}
			if drop, err := o.store.OpenMaildrop(o.mailbox("anna").Dir); err != nil {
				t.Errorf("the maildrop is still locked: %v", err)
			} else {
				drop.Close()
			}
		})
	}
}

// hookConn calls a function before the server sends a certain text.
type hookConn struct {
	net.Conn
	text string
	hook func()
}

func (c hookConn) RemoteAddr() net.Addr { return remote }

func (c hookConn) Write(p []byte) (int, error) {
	if strings.Contains(string(p), c.text) {
		c.hook()
	}
	return c.Conn.Write(p)
}

// A client may reconnect as soon as it has the reply to QUIT.
func TestQuitUnlocksBeforeItAnswers(t *testing.T) {
	o := newOffice(t)
	o.addMailbox("anna", "secret", false)
	client, server := net.Pipe()
	defer client.Close()
	asked := false
	o.newServer(nil).start(hookConn{server, "good-bye", func() {
		asked = true
		if drop, err := o.store.OpenMaildrop(o.mailbox("anna").Dir); err != nil {
			t.Error(err)
		} else {
			drop.Close()
		}
	}}, false)
	talk(t, client, bufio.NewReader(client), "", "USER anna", "PASS secret", "QUIT")
	if !asked {
		t.Error("QUIT was answered in other words")
	}
}

func TestPanicEndsOneSession(t *testing.T) {
	o := newOffice(t)
	o.addMailbox("anna", "secret", false)
	o.deliver("anna", "Subject: one\r\n\r\n")
	s := o.newServer(nil)
	other, otherIn := connect(s)
	defer other.Close()
	talk(t, other, otherIn, "")

	client, server := net.Pipe()
	defer client.Close()
	s.start(hookConn{server, "octets", func() { panic("a bug") }}, false)
	in := bufio.NewReader(client)
	talk(t, client, in, "", "USER anna")
	go io.WriteString(client, "PASS secret\r\n")
	if line, err := in.ReadString('\n'); line != "" || err != io.EOF {
		t.Errorf("the end: %q %v", line, err)
	}
	if got := talk(t, other, otherIn, "USER anna", "PASS secret"); !strings.HasPrefix(got, "+OK") {
		t.Errorf("the mailbox is not free: %s", got)
	}
	if o.log.lineWith("panic in a session") == "" {
		t.Errorf("no panic in the log:\n%s", o.log)
	}
}

func TestSetConfig(t *testing.T) {
	o := newOffice(t)
	s := o.newServer(nil)
	before, beforeIn := connect(s)
	defer before.Close()
	talk(t, before, beforeIn, "")
	s.SetConfig(Config{Greeting: func() string { return "hello" }})
	after, afterIn := connect(s)
	defer after.Close()
	if got := talk(t, after, afterIn, ""); got != "+OK hello" {
		t.Errorf("greeting %q", got)
	}
	if got := talk(t, after, afterIn, "USER anna"); !strings.HasPrefix(got, "-ERR [AUTH]") {
		t.Errorf("USER, with the new configuration: %q", got)
	}
	if got := talk(t, before, beforeIn, "USER anna"); !strings.HasPrefix(got, "+OK") {
		t.Errorf("USER, in an old connection: %q", got)
	}
}

// listener is a double that has too many open files at first.
type listener struct {
	errors int
	conns  chan net.Conn
	closed chan struct{}
}

func (l *listener) Accept() (net.Conn, error) {
	if l.errors > 0 {
		l.errors--
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	select {
	case <-l.closed:
	default:
		close(l.closed)
	}
	return nil
}

func (l *listener) Addr() net.Addr { return remote }

func TestServeSurvivesAcceptErrors(t *testing.T) {
	o := newOffice(t)
	synctest.Test(t, func(t *testing.T) {
		s := o.newServer(nil)
		l := &listener{errors: 12, conns: make(chan net.Conn), closed: make(chan struct{})}
		served := make(chan error)
		go func() { served <- s.Serve(l, false) }()
		start := time.Now()
		client, server := net.Pipe()
		defer client.Close()
		l.conns <- pipeEnd{server}
		if took := time.Since(start); took < time.Second || took > 10*time.Second {
			t.Errorf("12 errors took %v", took)
		}
		talk(t, client, bufio.NewReader(client), "")
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

func TestServeNeedsCertificate(t *testing.T) {
	l := &listener{closed: make(chan struct{})}
	if err := New(Config{}, nil, nil, nil).Serve(l, true); err == nil {
		t.Error("no error for implicit TLS without a certificate")
	}
}

func TestParse(t *testing.T) {
	for _, c := range []struct{ line, verb, arg string }{
		{"", "", ""},
		{"quit", "QUIT", ""},
		{"RETR  1 ", "RETR", "1"},
		{"PASS  a b ", "PASS", " a b "},
		{"pass", "PASS", ""},
		{"TOP 1 2", "TOP", "1 2"},
		{" QUIT", "", "QUIT"},
		{"AUTH ", "AUTH", ""},
	} {
		if verb, arg := parse(c.line); verb != c.verb || arg != c.arg {
			t.Errorf("parse(%q) = %q, %q", c.line, verb, arg)
		}
	}
}

// An administrator's lock takes effect at once, also for an open session; it may still quit.
func TestLockedInSession(t *testing.T) {
	o := newOffice(t)
	o.addMailbox("anna", "secret", false)
	o.deliver("anna", "Subject: one\r\n\r\n")
	conn, err := net.Dial("tcp", o.listen(o.newServer(func(c *Config) {
		c.PlaintextNetworks = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	}), false))
	o.must(err)
	defer conn.Close()
	in := bufio.NewReader(conn)
	talk(t, conn, in, "", "USER anna", "PASS secret", "NOOP")
	lock := func(locked bool) {
		o.must(o.dir.UpdateAccount(o.mailbox("anna").Address, func(a *directory.Account) error { a.Locked = locked; return nil }))
	}
	lock(true)
	for _, command := range []string{"RETR 1", "TOP 1 0"} {
		if got := talk(t, conn, in, command); !strings.HasPrefix(got, "-ERR [SYS/PERM] ") {
			t.Errorf("%s: %q", command, got)
		}
	}
	lock(false)
	if got := talk(t, conn, in, "RETR 1"); !strings.HasPrefix(got, "+OK") {
		t.Errorf("unlocked: %q", got)
	}
}

// A client that holds a maildrop must fetch or delete messages. With only NOOP, STAT, LIST and the
// like, the session ends in bounded time and no message is deleted.
func TestSessionsMustProgress(t *testing.T) {
	for _, c := range []struct {
		loop string
		ends bool
	}{{"NOOP", true}, {"STAT", true}, {"RSET", true}, {"LIST 1", true}, {"TOP 1 0", false}} {
		t.Run(c.loop, func(t *testing.T) {
			o := newOffice(t)
			o.addMailbox("anna", "secret", false)
			o.deliver("anna", "Subject: one\r\n\r\n")
			synctest.Test(t, func(t *testing.T) {
				conn, in := connect(o.newServer(nil))
				defer conn.Close()
				talk(t, conn, in, "", "USER anna", "PASS secret", "DELE 1", "RSET")
				start, over := time.Now(), false
				for !over && time.Since(start) < 2*time.Hour {
					time.Sleep(47 * time.Second) // the server may still be sending its last reply
					go io.WriteString(conn, c.loop+"\r\n")
					reply, err := in.ReadString('\n')
					for c.loop == "TOP 1 0" && err == nil && reply != ".\r\n" {
						reply, err = in.ReadString('\n')
					}
					over = err != nil || strings.HasPrefix(reply, "-ERR [SYS/TEMP] no message was asked for in 30m0s")
				}
				if took := time.Since(start); over != c.ends || c.ends && took > 31*time.Minute {
					t.Errorf("%s went on for %v", c.loop, took)
				}
			})
			if n := len(o.files("anna")); n != 1 {
				t.Errorf("%d messages in the end", n)
			}
		})
	}
}

// TestOvertake lets a second login end the session of a client that went silent, and only then.
func TestOvertake(t *testing.T) {
	for _, c := range []struct {
		overtake, silent time.Duration
		want             string
		left             int // of two messages
	}{
		{30 * time.Second, 29 * time.Second, "-ERR [IN-USE]", 2},
		{30 * time.Second, 30 * time.Second, "+OK anna", 2},
		{0, 9 * time.Minute, "-ERR [IN-USE]", 2},
	} {
		t.Run(fmt.Sprint(c.overtake, c.silent), func(t *testing.T) {
			o := newOffice(t)
			o.addMailbox("anna", "secret", false)
			o.deliver("anna", "Subject: one\r\n\r\n")
			o.deliver("anna", "Subject: two\r\n\r\n")
			synctest.Test(t, func(t *testing.T) {
				s := o.newServer(func(config *Config) { config.Overtake = c.overtake })
				phone, fromPhone := connect(s)
				defer phone.Close()
				talk(t, phone, fromPhone, "", "USER anna", "PASS secret", "DELE 1")
				time.Sleep(c.silent)
				pc, fromPC := connect(s)
				defer pc.Close()
				if got := talk(t, pc, fromPC, "", "USER anna", "PASS secret"); !strings.HasPrefix(got, c.want) {
					t.Errorf("%q, want %q", got, c.want)
				}
				if strings.HasPrefix(c.want, "-ERR") {
					talk(t, phone, fromPhone, "NOOP") // its session goes on
					return
				}
				if line, err := fromPhone.ReadString('\n'); line != "" || err != io.EOF {
					t.Errorf("the phone hears %q, %v", line, err)
				}
				if got := talk(t, pc, fromPC, "STAT"); got != "+OK 2 32" {
					t.Error(got)
				}
				third, fromThird := connect(s)
				defer third.Close()
				if got := talk(t, third, fromThird, "", "USER anna", "PASS secret"); !strings.HasPrefix(got, "-ERR [IN-USE]") {
					t.Errorf("the third session: %q", got)
				}
			})
			if n := len(o.files("anna")); n != c.left {
				t.Errorf("%d messages are left", n)
			}
		})
	}
}
