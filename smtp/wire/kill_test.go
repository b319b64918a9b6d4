package wire

import (
	"bufio"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"pillarbox/mailstore/sessions"
	"pillarbox/smtp"
)

const killReply = "421 4.3.2 mx this session was closed by the administrator\r\n"

// sentIn returns what a session sends.
func sentIn(lines []string) (sent string) {
	for i := 0; i < len(lines); i += 2 {
		sent += lines[i]
	}
	return sent
}

// A killed session gets 421 and nothing else, wherever it waits for its client. A message that it
// was sending is not accepted.
func TestKill(t *testing.T) {
	greeting, hello, rcpt, data := intoData[:2], intoData[:4], intoData[:8], intoData
	for _, tt := range []struct {
		name  string
		lines []string
		rest  string // sent without a wait for a reply
		state sessions.State
	}{
		{"before EHLO", greeting, "", sessions.Idle},
		{"idle", hello, "", sessions.Idle},
		{"in a line", hello, "NOO", sessions.Idle},
		{"in a transaction", rcpt, "", sessions.Idle},
		{"before the first line of a message", data, "", sessions.Receiving},
		{"in a message", data, "Subject: one\r\n\r\ntext", sessions.Receiving},
		{"after a line of a message", data, "Subject: one\r\n\r\ntext\r\n", sessions.Receiving},
		{"in a chunk", rcpt, "BDAT 10\r\n12345", sessions.Receiving},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg, table := testConfig(), new(sessions.Table)
				cfg.Sessions, cfg.Service = table, "smtp"
				c, _, bodies := serve(t, cfg)
				talk(t, c, tt.lines...)
				io.WriteString(c, tt.rest)
				synctest.Wait()
				if got := table.List(); len(got) != 1 || got[0].State != tt.state || got[0].Service != "smtp" {
					t.Errorf("before the kill: %+v", got)
				}
				start := time.Now()
				s := table.Kill(1)
				rest, err := io.ReadAll(c)
				if string(rest) != killReply || err != nil {
					t.Errorf("%q, %v", rest, err)
				}
				if <-s.Ended(); time.Since(start) != 0 || len(table.List()) > 0 {
					t.Errorf("ended after %v; %d sessions are left", time.Since(start), len(table.List()))
				}
				if len(*bodies) > 0 {
					t.Errorf("accepted: %q", *bodies)
				}
			})
		})
	}
}

// A message that has been received whole is answered before the session ends. Commands after it are
// not executed.
func TestKillAfterMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, table := testConfig(), new(sessions.Table)
		cfg.Sessions = table
		c, _, bodies := serveSession(t, cfg, discard{storing: func() { table.Kill(1) }})
		talk(t, c, intoData...)
		go io.WriteString(c, "text\r\n.\r\nNOOP\r\n")
		rest, _ := io.ReadAll(c)
		if got := string(rest); got != "250 2.0.0 OK: queued\r\n"+killReply {
			t.Errorf("%q", got)
		}
		if len(*bodies) != 1 {
			t.Errorf("%d messages", len(*bodies))
		}
	})
}

// A message whose end has come already, but was not read when the session was killed, is not
// accepted.
func TestKillBeforeEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, table := testConfig(), new(sessions.Table)
		cfg.Sessions = table
		c, _, bodies := serveSession(t, cfg, discard{reading: func() { table.Kill(1) }})
		go io.WriteString(c, sentIn(intoData)+"text\r\n.\r\n")
		in := bufio.NewReader(c)
		last := ""
		for line, err := in.ReadString('\n'); err == nil; line, err = in.ReadString('\n') {
			last = line
		}
		if last != killReply || len(*bodies) > 0 {
			t.Errorf("%q; %d messages", last, len(*bodies))
		}
	})
}

// A killed client that does not take the reply is cut off.
func TestKillDeaf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, table := testConfig(), new(sessions.Table)
		cfg.Sessions, cfg.WriteTimeout = table, time.Hour
		c, _, _ := serve(t, cfg)
		talk(t, c, intoData[:4]...)
		io.WriteString(c, "NOOP\r\n")
		synctest.Wait()
		start := time.Now()
		<-table.Kill(1).Ended()
		if took := time.Since(start); took != killTimeout {
			t.Errorf("ended after %v", took)
		}
	})
}

// The table has the name, the octets and the messages of a session.
func TestLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, table := testConfig(), new(sessions.Table)
		cfg.Sessions = table
		cfg.Admit = func(c *Conn) (Session, *smtp.Reply) {
			c.Live().SetUser("device")
			return discard{bodies: new([]string)}, nil
		}
		c, _, _ := serve(t, cfg)
		talk(t, c, intoData...)
		io.WriteString(c, "text\r\n.\r\n")
		expect(t, c, "250 ")
		synctest.Wait()
		sent := len(sentIn(intoData) + "text\r\n.\r\n")
		got := table.List()[0]
		if got.In != int64(sent) || got.Out == 0 || got.Messages != 1 || got.User != "device" ||
			got.Helo != "x" || got.State != sessions.Idle {
			t.Errorf("%+v; %d octets were sent", got, sent)
		}
	})
}
