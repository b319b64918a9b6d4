//go:build e2e

package e2e

import (
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestSecondServer checks that a second server on the same data directory fails and names the
// first.
func TestSecondServer(t *testing.T) {
	o := newOffice(t)
	first := o.serve(t)
	out, code := run(t, o.command(t, binary, "serve"))
	if want := fmt.Sprint(first.cmd.Process.Pid); code == 0 || !strings.Contains(out, want) {
		t.Errorf("exit code %d, want a failure that names process %s:\n%s", code, want, out)
	}
	o.deliver(t, letter("to the first"), anna)
}

// TestPortInUse checks that a port in use is reported with the process that has it.
func TestPortInUse(t *testing.T) {
	o := newOffice(t)
	l, err := net.Listen("tcp", o.listen["pop3"])
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	out, code := run(t, o.command(t, binary, "serve"))
	for _, want := range []string{"listen.pop3", o.listen["pop3"], fmt.Sprintf("(pid %d)", os.Getpid())} {
		if code == 0 || !strings.Contains(out, want) {
			t.Errorf("exit code %d, want a failure that tells of %q:\n%s", code, want, out)
		}
	}
	l.Close()
	o.serve(t) // the failure has no later effect
}

// TestStopAtOnce stops a server as soon as it is ready.
func TestStopAtOnce(t *testing.T) {
	o := newOffice(t)
	for range 25 {
		o.serve(t).stop(t)
	}
}

// TestSelftest runs "pillarbox selftest".
func TestSelftest(t *testing.T) {
	o := newOffice(t)
	o.serve(t)
	out := o.pillarbox(t, "", "selftest")
	for service, address := range o.listen {
		if !regexp.MustCompile(`(?m)^PASS +` + service + ` +` + address + ` `).MatchString(out) {
			t.Errorf("%s did not pass:\n%s", service, out)
		}
	}
	if n := len(o.files(t, anna)) + len(o.files(t, boss)); n > 0 {
		t.Errorf("the test left %d messages behind", n)
	}
}

// TestStopDuringMessage checks that SIGTERM lets an incoming message arrive and ends idle sessions.
func TestStopDuringMessage(t *testing.T) {
	o := newOffice(t)
	s := o.serve(t)
	idle := o.mustDial(t, "smtp")
	pop := o.mustDial(t, "pop3")
	busy := o.mustDial(t, "smtp")
	busy.ask(t, "250", "EHLO other.example")
	busy.ask(t, "250", "MAIL FROM:<someone@other.example>")
	busy.ask(t, "250", "RCPT TO:<%s>", anna)
	busy.ask(t, "354", "DATA")
	message := letter("in the middle")
	io.WriteString(busy, stuff(message)[:len(message)/2])

	s.signal(t, syscall.SIGTERM)
	if reply, err := idle.reply(); err != nil || !strings.HasPrefix(reply, "421") {
		t.Errorf("the idle session was told %q, %v; want 421", reply, err)
	}
	if _, err := io.ReadAll(pop); err != nil {
		t.Errorf("the POP3 session ended with %v", err)
	}
	if _, err := net.Dial("tcp", o.listen["smtp"]); err == nil {
		t.Error("the server still accepts connections")
	}
	busy.ask(t, "250 2.6.0", "%s", stuff(message)[len(message)/2:])
	s.wait(t)
	if s.cmd.ProcessState.ExitCode() != 0 {
		t.Errorf("the server ended with %v", s.cmd.ProcessState)
	}
	s.checkLog(t)
	if stored := o.stored(t, anna); len(stored) != 1 || !strings.HasSuffix(stored[0], message) {
		t.Errorf("stored is %q", stored)
	}
}

// TestReload changes the configuration during open sessions.
func TestReload(t *testing.T) {
	ways := map[string]func(*testing.T, *office, *server){
		"command": func(t *testing.T, o *office, _ *server) {
			if out := o.pillarbox(t, "", "admin", "reload"); !strings.Contains(out, "smtp.max_message_size") {
				t.Errorf("admin reload does not tell what has changed:\n%s", out)
			}
		},
		"SIGHUP": func(t *testing.T, _ *office, s *server) { s.signal(t, syscall.SIGHUP) },
	}
	for name, reload := range ways {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t)
			s := o.serve(t)
			o.deliver(t, letter("before"), boss)
			smtp := o.mustDial(t, "smtp")
			smtp.ask(t, "250", "EHLO other.example")
			smtp.ask(t, "250", "MAIL FROM:<someone@other.example>")
			pop, err := o.logIn(boss, bossPassword)
			if err != nil {
				t.Fatal(err)
			}

			o.setSize(t, "123KiB")
			reload(t, o, s)
			o.wantSize(t, 123<<10)

			smtp.ask(t, "250", "RCPT TO:<%s>", anna)
			smtp.ask(t, "354", "DATA")
			smtp.ask(t, "250 2.6.0", "%s", stuff(letter("across a reload")))
			pop.ask(t, "+OK 1 ", "STAT")
			pop.ask(t, "+OK", "DELE 1")
			pop.ask(t, "+OK", "QUIT")
		})
	}
}

// setSize changes smtp.max_message_size.
func (o *office) setSize(t *testing.T, size string) {
	t.Helper()
	o.edit(t, func(config string) string {
		return strings.Replace(config, `# max_message_size = "50MB"`, `max_message_size = "`+size+`"`, 1)
	})
}

// wantSize waits until new sessions see this limit. There is no other way to wait for the effect of
// a signal.
func (o *office) wantSize(t *testing.T, octets int) {
	t.Helper()
	var reply string
	for range 100 {
		s := o.mustDial(t, "smtp")
		reply = s.ask(t, "250", "EHLO other.example")
		s.Close()
		if strings.Contains(reply+"\r\n", fmt.Sprintf("SIZE %d\r\n", octets)) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("EHLO says\n%s\nwant SIZE %d", reply, octets)
}

// TestReloadMistakes checks that a configuration with mistakes changes nothing. The mistakes are
// reported to the caller and in the log.
func TestReloadMistakes(t *testing.T) {
	o := newOffice(t)
	s := o.serve(t)
	s.errors = []string{"reload: nothing changed"}
	o.edit(t, func(config string) string {
		return strings.Replace(config, `# max_message_size = "50MB"`, `max_message_size = "huge"`, 1)
	})
	out, code := run(t, o.command(t, binary, "admin", "reload"))
	for _, want := range []string{"nothing was reloaded", "pillarbox.toml", "max_message_size", "huge"} {
		if code == 0 || !strings.Contains(out, want) {
			t.Errorf("exit code %d, want a failure that tells of %q:\n%s", code, want, out)
		}
	}
	s.signal(t, syscall.SIGHUP)
	s.wantLog(t, "reload: nothing changed")
	o.wantSize(t, 50_000_000)
}

// wantLog waits for a line in the log.
func (s *server) wantLog(t *testing.T, part string) {
	t.Helper()
	for range 250 {
		if strings.Contains(s.log.String(), part) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("the log does not tell of %q:\n%s", part, s.log.String())
}
