package server

import (
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"testing"

	"pillarbox/mailstore/dialogue"
	"pillarbox/smtp"
)

// notebook is a dialogue.Reader that keeps everything.
type notebook struct {
	mu    sync.Mutex
	text  strings.Builder // owner: mu
	ended chan struct{}
}

func (n *notebook) Wants(*dialogue.Client) bool { return true }

func (n *notebook) Line(l dialogue.Line) {
	n.mu.Lock()
	defer n.mu.Unlock()
	fmt.Fprintf(&n.text, "%c: %s\n", l.From, l.Text)
	if l.Text == "closed" {
		close(n.ended)
	}
}

func (n *notebook) Command(c *dialogue.Command) {
	n.mu.Lock()
	defer n.mu.Unlock()
	fmt.Fprintf(&n.text, "= %s %s %s %d %d %d\n", c.Name, c.Verb, c.Arg, c.Status, c.In, c.Out)
}

// heard returns what a reader of the dialogue gets of a session with plain-text logins.
func heard(t *testing.T, client string) string {
	t.Helper()
	book := &notebook{ended: make(chan struct{})}
	o := newOffice(t, smtp.Submission, func(c *Config) {
		c.Rules.LogIns.PlaintextNetworks = hosts(t, "127.0.0.0/8")
		c.Wire.MaxErrors = 0
		c.Wire.Tap = new(dialogue.Tap)
		c.Wire.Tap.SetReaders(book)
	})
	o.mailbox(t, "anna", "tanstaaf")
	o.converse(t, client)
	<-book.ended
	return book.text.String()
}

// Neither a login, right or wrong, nor a message leaves more than its size.
func TestDialogueHasNoSecret(t *testing.T) {
	var secrets []string
	secret := func(s string) string {
		secrets = append(secrets, s)
		return s + "\r\n"
	}
	coded := func(s string) string {
		secrets = append(secrets, s)
		return secret(base64.StdEncoding.EncodeToString([]byte(s)))
	}
	client := "EHLO pc7\r\n"
	for _, m := range []string{"PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256", "NTLM", "XOAUTH2"} {
		client += "AUTH " + m + " " + coded("\x00anna\x00wrong-"+m) + coded("anna wrong-response-"+m)
		client += "AUTH " + m + "\r\n" + coded("anna wrong-again-"+m) + coded("wrong-fourth-"+m) + "*\r\n"
	}
	client += "AUTH " + coded("misplaced") + secret("PASS my-secret-word") + secret("AUTH\tPLAIN\tc2VjcmV0")
	client += secret("AUTH PLAIN " + strings.Repeat("QUFB", 9000))
	client += "DATA\r\n" + secret("Subject: secret subject") + secret("rset smoking") + "NOOP " + secret("no-news")
	client += "AUTH LOGIN\r\n" + coded("anna") + coded("tanstaaf")
	client += "MAIL FROM:<anna@office.example>\r\nRCPT TO:<anna@office.example>\r\nDATA\r\n" +
		secret("Subject: another subject") + "\r\n" + secret("the body") + ".\r\n" +
		"MAIL FROM:<anna@office.example>\r\nRCPT TO:<anna@office.example>\r\nBDAT 18\r\nSubject: chunk-1\r\n\r\n" +
		"BDAT 5 LAST\r\nchunkQUIT\r\n"
	secrets = append(secrets, "chunk-1", "chunkQUIT")
	text := heard(t, client)
	for _, s := range secrets {
		if s != "anna" && strings.Contains(text, s) {
			t.Errorf("%q is in it", s)
		}
	}
	for _, want := range []string{
		"-: connected\nS: 220 mail.office.example Pillarbox ESMTP ready\nC: EHLO pc7\nS: 250-mail",
		"C: AUTH LOGIN\nS: 334 [hidden]\nC: [hidden]\nS: 334 [hidden]\nC: [hidden]\nS: 235 ",
		"C: DATA\nS: 354 Start mail input; end with <CRLF>.<CRLF>\nC: [41 octets]\nS: 250 ",
		"C: BDAT 18\nC: [18 octets]\nS: 250 2.0.0 18 octets received\n",
		"C: BDAT 5 LAST\nC: [5 octets]\nS: 250 ",
		"= pc7 MAIL FROM:<anna@office.example> 250 33 ", "= pc7 DATA  250 47 ", "= pc7 QUIT  221 6 ",
		"= pc7 BDAT 5 LAST 250 18 ", "= pc7 AUTH LOGIN 235 12 ", "= pc7 EHLO pc7 250 10 ", "-: closed\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing", want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}
