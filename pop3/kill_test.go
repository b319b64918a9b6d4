package pop3

import (
	"bufio"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"pillarbox/mailstore/sessions"
)

const killReply = "-ERR [SYS/TEMP] this session was closed by the administrator\r\n"

// A killed session gets one last line where it waits for its client, and deletes no message. The
// maildrop is free afterwards.
func TestKill(t *testing.T) {
	login := []string{"", "USER anna", "PASS secret", "DELE 1"}
	for _, tt := range []struct {
		name  string
		lines []string
		rest  string // sent without a wait for a reply
		user  string
		state sessions.State
	}{
		{"before the login", []string{""}, "", "", sessions.LoggingIn},
		{"in a login", []string{"", "AUTH PLAIN"}, "", "", sessions.LoggingIn},
		{"idle", login, "", "anna@office.example", sessions.Idle},
		{"in a line", login, "QUI", "anna@office.example", sessions.Idle},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := newOffice(t)
			o.addMailbox("anna", "secret", false)
			o.deliver("anna", "Subject: one\r\n\r\n")
			synctest.Test(t, func(t *testing.T) {
				table := new(sessions.Table)
				conn, in := connect(o.newServer(func(c *Config) { c.Sessions = table }))
				defer conn.Close()
				talk(t, conn, in, tt.lines...)
				io.WriteString(conn, tt.rest)
				synctest.Wait()
				got := table.List()
				if len(got) != 1 || got[0].User != tt.user || got[0].State != tt.state || got[0].Service != "pop3" ||
					got[0].Out == 0 {
					t.Fatalf("before the kill: %+v", got)
				}
				s := table.Kill(got[0].ID)
				if rest, err := io.ReadAll(in); string(rest) != killReply || err != nil {
					t.Errorf("%q, %v", rest, err)
				}
				<-s.Ended()
				if len(table.List()) > 0 {
					t.Error("the session is still listed")
				}
			})
			if n := len(o.files("anna")); n != 1 {
				t.Errorf("%d messages in the end", n)
			}
			if line := o.log.lineWith("session ended"); !strings.Contains(line, `reason="closed by an administrator"`) {
				t.Errorf("log: %s", line)
			}
			drop, err := o.store.OpenMaildrop(o.mailbox("anna").Dir)
			if err != nil {
				t.Fatalf("the maildrop is still locked: %v", err)
			}
			drop.Close()
		})
	}
}

// A session that is killed in an answer is closed at once. A QUIT that the client has sent ahead
// deletes no message.
func TestKillInAnswer(t *testing.T) {
	o := newOffice(t)
	o.addMailbox("anna", "secret", false)
	o.deliver("anna", "Subject: one\r\n\r\n"+strings.Repeat("text\r\n", 100_000))
	synctest.Test(t, func(t *testing.T) {
		table := new(sessions.Table)
		conn, in := connect(o.newServer(func(c *Config) { c.Sessions = table }))
		defer conn.Close()
		talk(t, conn, in, "", "USER anna", "PASS secret")
		io.WriteString(conn, "DELE 1\r\nRSET\r\nRETR 1\r\nDELE 1\r\nQUIT\r\n")
		in = bufio.NewReaderSize(conn, 100) // reads the begin of the message, no more
		in.ReadString('\n')
		synctest.Wait()
		if got := table.List(); got[0].State != sessions.Sending {
			t.Errorf("before the kill: %+v", got)
		}
		s := table.Kill(1)
		rest, _ := io.ReadAll(in)
		if len(rest) > 1<<16 || strings.Contains(string(rest), "good-bye") {
			t.Errorf("%d octets came after the kill", len(rest))
		}
		<-s.Ended()
	})
	if n := len(o.files("anna")); n != 1 {
		t.Errorf("%d messages in the end", n)
	}
}
