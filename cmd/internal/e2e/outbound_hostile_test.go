//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"
)

// hostile listens on loopback. It calls treat for each connection and closes the connection
// afterwards.
func hostile(t *testing.T, treat func(c net.Conn)) (port string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	t.Cleanup(func() { close(over); l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				go func() { <-over; c.Close() }()
				treat(c)
			}()
		}
	}()
	_, port, _ = net.SplitHostPort(l.Addr().String())
	return port
}

// talk answers each command by its verb, and unknown ones with 250. It reads DATA to its end and
// answers it as ".".
func talk(c net.Conn, answers map[string]string) {
	say := func(verb, otherwise string) bool {
		answer, ok := answers[verb]
		if !ok {
			answer = otherwise
		}
		_, err := io.WriteString(c, answer)
		return err == nil && answer != ""
	}
	say("", "220 mx.hostile.example ESMTP\r\n")
	data := false
	for in := bufio.NewScanner(c); in.Scan(); {
		verb := strings.ToUpper(strings.Fields(in.Text() + " -")[0])
		switch {
		case data && in.Text() != ".":
			continue
		case verb == "DATA":
			data = true
			say("DATA", "354 go\r\n")
		default:
			data = false
			if !say(verb, "250 fine\r\n") {
				return
			}
		}
	}
}

// reset closes a connection with a TCP reset.
func reset(c net.Conn) {
	c.(*net.TCPConn).SetLinger(0)
	c.Close()
}

// hostiles are the failures of other servers, with the expected state and report of the message.
var hostiles = []struct {
	name   string
	tls    string
	treat  func(c net.Conn)
	failed bool // the failure is permanent: anna gets a report
	words  string
}{
	{"hangs", "opportunistic", func(c net.Conn) { io.Copy(io.Discard, c) }, false, `^451 4\.4\.2 .*greeting`},
	{"drips", "opportunistic", func(c net.Conn) {
		for _, b := range []byte("220 mx.hostile.example has all the time of the world\r\n") {
			if _, err := c.Write([]byte{b}); err != nil {
				return
			}
			time.Sleep(time.Second)
		}
	}, false, `^451 4\.4\.2 .*greeting`},
	{"stalls", "opportunistic", func(c net.Conn) { talk(c, map[string]string{"RCPT": "250-"}); io.Copy(io.Discard, c) }, false, `^451 4\.4\.2 `},
	{"resets", "opportunistic", func(c net.Conn) { talk(c, map[string]string{".": ""}); reset(c) }, false, `^451 4\.4\.2 `},
	{"closes", "opportunistic", func(c net.Conn) {}, false, `^451 4\.4\.2 .*greeting`},
	{"babbles", "opportunistic", func(c net.Conn) {
		c.Write(bytes.Repeat([]byte{0, 0xFF, '\n', 0x1B, 'x'}, 1000))
		io.Copy(io.Discard, c)
	}, false, `^451 4\.4\.2 .*not SMTP`},
	{"floods", "opportunistic", func(c net.Conn) {
		talk(c, map[string]string{"EHLO": strings.Repeat("250-"+strings.Repeat("x", 100)+"\r\n", 100_000) + "250 done\r\n"})
	}, false, `^451 4\.4\.2 .*not SMTP`},
	{"endless", "opportunistic", func(c net.Conn) { c.Write(bytes.Repeat([]byte("220 "), 10<<18)); io.Copy(io.Discard, c) }, false, `^451 4\.4\.2 .*not SMTP`},
	{"starttls", "required", func(c net.Conn) {
		talk(c, map[string]string{"EHLO": "250-mx.hostile.example\r\n250 STARTTLS\r\n", "STARTTLS": "454 4.7.0 not today\r\n"})
	}, false, `^454 4\.7\.0 not today`},
	{"size", "opportunistic", func(c net.Conn) {
		talk(c, map[string]string{"EHLO": "250-mx.hostile.example\r\n250 SIZE 100000000\r\n", ".": "552 5.3.4 too much\r\n"})
	}, true, `^552 5\.3\.4 too much`},
}

// TestOutboundHostile checks that mail reaches a definite state in bounded time, whatever the other
// server does. Other mail must not be delayed, and memory must not grow.
func TestOutboundHostile(t *testing.T) {
	good := newSink(t, "")
	o, _ := sendingOffice(t)
	o.set(t, "outbound", "idle_timeout", `"10s"`)
	o.route(t, `domains = ["good.example"]`, `smart_host = ["[127.0.0.1]:`+good.port+`"]`)
	for _, h := range hostiles {
		o.route(t, `domains = ["`+h.name+`.example"]`, `smart_host = ["[127.0.0.1]:`+hostile(t, h.treat)+`"]`, `tls = "`+h.tls+`"`)
	}
	s := o.serve(t)
	o.submit(t, letter("warm-up"), "bob@good.example")
	good.wantDumps(t, 1)
	before := s.memory(t)

	start := time.Now()
	ids := make(map[string]string)
	for _, h := range hostiles {
		ids[h.name] = o.submit(t, letter(h.name), "x@"+h.name+".example")
	}
	o.submit(t, letter("in between"), "bob@good.example")
	good.wantDumps(t, 2)
	if waited := time.Since(start); waited > 9*time.Second {
		t.Errorf("mail for a good server took %v", waited)
	}
	for _, h := range hostiles {
		words := ""
		if h.failed {
			_, ours := readReport(t, o, o.wantMail(t, anna, 1)[0])
			words = ours.Recipients[0].Diagnostic
		} else {
			words, _ = o.wantDeferred(t, ids[h.name])
		}
		if !regexp.MustCompile(h.words).MatchString(words) {
			t.Errorf("%s: the words are %q, want %s", h.name, words, h.words)
		}
	}
	if waited := time.Since(start); waited > 40*time.Second {
		t.Errorf("the last state was clear after %v, with an idle_timeout of 10s", waited)
	}
	if peak := s.status(t, "VmHWM"); peak > before+48<<10 {
		t.Errorf("the server needed %d KiB, %d before", peak, before)
	} else {
		t.Logf("the server needed %d KiB at most, %d before", peak, before)
	}
}

// TestOutboundOpportunistic checks that mail is delivered without TLS if TLS is optional and the
// offered TLS fails.
func TestOutboundOpportunistic(t *testing.T) {
	port := hostile(t, func(c net.Conn) {
		talk(c, map[string]string{
			"EHLO": "250-mx.hostile.example\r\n250 STARTTLS\r\n", "STARTTLS": "454 4.7.0 not today\r\n", ".": "250 2.0.0 taken in the clear\r\n",
		})
	})
	o, _ := sendingOffice(t)
	o.set(t, "outbound", "smart_host", `["[127.0.0.1]:`+port+`"]`)
	s := o.serve(t)
	o.submit(t, letter("opportunity"), "x@partner.example")
	o.wantQueueEmpty(t)
	s.wantLog(t, "250 2.0.0 taken in the clear")
}
