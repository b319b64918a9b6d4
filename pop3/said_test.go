package pop3

import (
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"pillarbox/mailstore/auth"
	"pillarbox/mailstore/dialogue"
)

func TestShownLine(t *testing.T) {
	const nothing = "||[no command, hidden]"
	for line, want := range map[string]string{
		"USER anna": "USER|anna|", "PASS secret": "PASS||[hidden]", "pass  two words": "PASS||[hidden]",
		"PASS":                 "PASS||[hidden]",
		"APOP anna c4c9334bac": "APOP|anna|[hidden]", "APOP c4c9334bac": "APOP||[hidden]",
		"AUTH": "AUTH||", "AUTH NTLM": "AUTH|NTLM|", "AUTH plain AGEAYg==": "AUTH|PLAIN|[hidden]",
		"AUTH AGEAYg==": "AUTH||[hidden]", "RETR 1": "RETR|1|", "TOP 1 20": "TOP|1 20|",
		"RETR secret": "RETR||[hidden]", "STAT": "STAT||", "NOOP secret": "NOOP||[hidden]",
		"PASS\tsecret": nothing, " PASS secret": nothing, "secret": nothing, "AGEAYg==": nothing, "": nothing,
	} {
		s := shownLine(line)
		if got := s.Verb + "|" + s.Arg + "|" + s.Note; got != want {
			t.Errorf("%q: %s, want %s", line, got, want)
		}
	}
}

// notebook is a dialogue.Reader that keeps everything.
type notebook struct {
	mu       sync.Mutex
	lines    []string           // owner: mu
	commands []dialogue.Command // owner: mu
	ended    chan struct{}
}

func (n *notebook) Wants(*dialogue.Client) bool { return true }

func (n *notebook) Line(l dialogue.Line) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines = append(n.lines, string(l.From)+": "+l.Text)
	if l.Text == "closed" {
		close(n.ended)
	}
}

func (n *notebook) Command(c *dialogue.Command) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.commands = append(n.commands, *c)
}

// text is what was kept after the session has ended.
func (n *notebook) text(t *testing.T) string {
	t.Helper()
	select {
	case <-n.ended:
	case <-time.After(20 * time.Second):
		t.Fatal("the session has not ended")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	text := strings.Join(n.lines, "\n")
	for _, c := range n.commands {
		text += fmt.Sprintf("\n%s %s %s %d %d %d", c.Name, c.Verb, c.Arg, c.Status, c.In, c.Out)
	}
	return text
}

// No way to log in, right or wrong, leaves a secret in what the logs get.
func TestDialogueHasNoSecret(t *testing.T) {
	const password = "tanstaaf"
	o := newSecretOffice(t, auth.Settings{})
	book := &notebook{ended: make(chan struct{})}
	tap := new(dialogue.Tap)
	tap.SetReaders(book)
	s := o.newServer(func(c *Config) { c.Tap, c.MaxErrors = tap, 100 })
	l := dialLine(t, o.listen(s, false))
	greeting := l.read()
	stamp := regexp.MustCompile(`<[^<> ]+>$`).FindString(greeting)
	var secrets []string
	say := func(prefix, secret string) string {
		secrets = append(secrets, secret)
		return l.say(prefix + secret)
	}
	digest := func(password string) string {
		sum := md5.Sum([]byte(stamp + password))
		return hex.EncodeToString(sum[:])
	}
	say("APOP anna ", digest("wrong-one"))
	say("PASS ", "too-early-1")
	l.say("USER anna")
	say("PASS ", "wrong words 2")
	for _, m := range []string{"PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256", "NTLM", "XOAUTH2"} {
		say("AUTH "+m+" ", encode([]byte("\x00anna\x00wrong-"+m)))
		say("", encode([]byte("anna wrong-response-"+m)))
		answer := l.say("AUTH " + m)
		for range 3 {
			if strings.HasPrefix(answer, "+") {
				secrets = append(secrets, strings.TrimPrefix(answer, "+ "))
			}
			answer = say("", encode([]byte("anna wrong-again-"+m)))
		}
		say("", "*")
	}
	say("", "PASS\ttabbed-secret")
	say("AUTH ", encode([]byte("misplaced-secret")))
	say("", "AUTH PLAIN "+strings.Repeat("QUFB", 3000))
	if got := say("AUTH PLAIN ", encode([]byte("\x00anna\x00"+password))); !strings.HasPrefix(got, "+OK") {
		t.Fatal(got)
	}
	l.want("LIST", "+OK")
	l.read()
	l.want("QUIT", "+OK")
	text := book.text(t)
	for _, secret := range append(secrets, password) {
		clear, _ := base64.StdEncoding.DecodeString(secret)
		for _, form := range []string{secret, string(clear)} {
			if len(form) > 3 && strings.Contains(text, form) {
				t.Errorf("%q is in it", form)
			}
		}
	}
	for _, want := range []string{
		"-: connected\nS: +OK", "\nC: APOP anna [hidden]\nS: -ERR", "\nC: PASS [hidden]\n",
		"\nC: AUTH CRAM-MD5\nS: + [hidden]\nC: [hidden]\nS: -ERR", "\nC: AUTH PLAIN [hidden]\nS: +OK anna@",
		"\nC: LIST\nS: +OK 0 messages (0 octets)\nS: [0 octets]\nS: .\nC: QUIT\nS: +OK good-bye\n-: closed",
		"\nanna@office.example LIST  200 6 30", "\n PASS  500 4 ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
}
