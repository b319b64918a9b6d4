package pop3

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// keeps is a Retention with fixed answers.
type keeps struct {
	days  int
	notes bool
}

func (k keeps) KeptDays(string) int      { return k.days }
func (k keeps) NotesFetched(string) bool { return k.notes }

// The server records a message once the client has received it in full, which its next command
// proves. QUIT is not needed.
func TestFetchedIsNoted(t *testing.T) {
	for _, tt := range []struct {
		name  string
		keeps Retention
		lines string
		want  string // the numbers of the messages
	}{
		{"retrieved", keeps{7, true}, "RETR 1;RETR 3;RETR 3;QUIT", "1 3"},
		{"hung up", keeps{7, true}, "RETR 1;NOOP", "1"},
		{"hung up at once", keeps{7, true}, "RETR 1;RETR 2", "1"},
		{"the top only", keeps{7, true}, "TOP 1 100;LIST;UIDL;QUIT", ""},
		{"no such message", keeps{7, true}, "RETR 9;QUIT", ""},
		{"deleted", keeps{7, true}, "RETR 1;DELE 1;RETR 2;QUIT", "2"},
		{"deleted, not removed", keeps{7, true}, "RETR 1;DELE 1;NOOP", "1"},
		{"no rule about it", keeps{7, false}, "RETR 1;QUIT", ""},
		{"no rules", nil, "RETR 1;QUIT", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := newOffice(t)
			o.addMailbox("anna", "secret", false)
			for _, text := range []string{"one", "two", "three"} {
				o.deliver("anna", "Subject: "+text+"\r\n\r\n")
			}
			s := o.newServer(func(c *Config) { c.Retention = tt.keeps })
			conn, in := connect(s)
			talk(t, conn, in, "", "USER anna", "PASS secret")
			uids := make(map[string]string)
			talk(t, conn, in, "UIDL")
			for line := talk(t, conn, in, ""); line != "."; line = talk(t, conn, in, "") {
				number, uid, _ := strings.Cut(line, " ")
				uids[number] = uid
			}
			for _, line := range strings.Split(tt.lines, ";") {
				reply := talk(t, conn, in, line)
				verb, _, _ := strings.Cut(line, " ")
				if strings.HasPrefix(reply, "+OK") && strings.Contains("RETR TOP LIST UIDL", verb) {
					for talk(t, conn, in, "") != "." {
					}
				}
			}
			conn.Close()
			s.running.Wait()
			files, err := filepath.Glob(filepath.Join(o.path, "mailbox/*/P3_anna.mbx/fetched"))
			if err != nil || len(files) == 0 && tt.want != "" || len(files) > 0 && tt.want == "" {
				t.Fatalf("%v, %v", files, err)
			}
			if tt.want == "" {
				return
			}
			text, err := os.ReadFile(files[0])
			if err != nil {
				t.Fatal(err)
			}
			numbers := strings.Fields(tt.want)
			if strings.Count(string(text), " ") != len(numbers) {
				t.Errorf("noted:\n%s", text)
			}
			for _, n := range numbers {
				if !strings.Contains(string(text), " "+uids[n]+"\n") {
					t.Errorf("message %s, %s, is missing:\n%s", n, uids[n], text)
				}
			}
		})
	}
}

func TestExpireCapability(t *testing.T) {
	o := newOffice(t)
	for i, tt := range []struct {
		keeps         Retention
		before, after string
	}{
		{nil, "EXPIRE NEVER", "EXPIRE NEVER"},
		{keeps{}, "EXPIRE NEVER", "EXPIRE NEVER"},
		{keeps{days: 7}, "EXPIRE 7 USER", "EXPIRE 7"},
	} {
		user := fmt.Sprint("anna", i) // the previous session may still hold the other maildrops
		o.addMailbox(user, "secret", false)
		conn, in := connect(o.newServer(func(c *Config) { c.Retention = tt.keeps }))
		capability := func() (found string) {
			talk(t, conn, in, "CAPA")
			for line := talk(t, conn, in, ""); line != "."; line = talk(t, conn, in, "") {
				if strings.HasPrefix(line, "EXPIRE") {
					found = line
				}
			}
			return found
		}
		talk(t, conn, in, "")
		before := capability()
		talk(t, conn, in, "USER "+user, "PASS secret")
		if after := capability(); before != tt.before || after != tt.after {
			t.Errorf("%+v: %q, then %q", tt.keeps, before, after)
		}
		conn.Close()
	}
}
