//go:build e2e

package e2e

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// session is a connection on which the test itself speaks SMTP or POP3.
type session struct {
	net.Conn
	in *bufio.Reader
}

// dial connects to a service and reads its greeting.
func (o *office) dial(service string) (*session, error) {
	conn, err := net.Dial("tcp", o.listen[service])
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(time.Minute))
	s := &session{conn, bufio.NewReaderSize(conn, 64<<10)}
	if _, err := s.reply(); err != nil {
		conn.Close()
		return nil, err
	}
	return s, nil
}

func (o *office) mustDial(t testing.TB, service string) *session {
	t.Helper()
	s, err := o.dial(service)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// reply reads one reply, which may have several lines in SMTP.
func (s *session) reply() (string, error) {
	var reply strings.Builder
	for {
		line, err := s.in.ReadString('\n')
		if err != nil {
			return "", err
		}
		reply.WriteString(line)
		if len(line) < 4 || line[3] != '-' {
			return strings.TrimSuffix(reply.String(), "\r\n"), nil
		}
	}
}

// say sends a command and returns the reply.
func (s *session) say(format string, args ...any) (string, error) {
	if _, err := fmt.Fprintf(s, format+"\r\n", args...); err != nil {
		return "", err
	}
	return s.reply()
}

// ask is say with the expected beginning of the reply.
func (s *session) ask(t testing.TB, want, format string, args ...any) string {
	t.Helper()
	reply, err := s.say(format, args...)
	if err != nil || !strings.HasPrefix(reply, want) {
		t.Fatalf("%s: answered %q, %v; want %s", fmt.Sprintf(format, args...), reply, err, want)
	}
	return reply
}

// text reads the rest of a multi-line POP3 reply, without the dots.
func (s *session) text() (string, error) {
	var text strings.Builder
	for {
		line, err := s.in.ReadString('\n')
		switch {
		case err != nil:
			return "", err
		case line == ".\r\n":
			return text.String(), nil
		}
		text.WriteString(strings.TrimPrefix(line, "."))
	}
}

// startTLS starts TLS and trusts only the office's own CA.
func (s *session) startTLS(t testing.TB, o *office) {
	t.Helper()
	pem, err := os.ReadFile(o.ca)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		t.Fatal("the exported CA is no certificate")
	}
	conn := tls.Client(s.Conn, &tls.Config{RootCAs: pool, ServerName: hostname})
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	s.Conn, s.in = conn, bufio.NewReader(conn)
}

// stuff returns a message with CRLF lines in the form of DATA.
func stuff(message string) string {
	text := strings.ReplaceAll("\r\n"+message, "\r\n.", "\r\n..")
	return text[2:] + "."
}

// transact sends one message in a session after EHLO. It returns the first refusal, or the reply to
// the message.
func (s *session) transact(from, message string, to ...string) (string, error) {
	reply, err := s.say("MAIL FROM:<%s>", from)
	for i := 0; i < len(to) && err == nil && reply[0] == '2'; i++ {
		reply, err = s.say("RCPT TO:<%s>", to[i])
	}
	if err == nil && reply[0] == '2' {
		reply, err = s.say("DATA")
	}
	if err != nil || reply[0] != '3' {
		return reply, err
	}
	return s.say("%s", stuff(message))
}

// deliver sends a message like another server.
func (o *office) deliver(t testing.TB, message string, to ...string) {
	t.Helper()
	s := o.mustDial(t, "smtp")
	s.ask(t, "250", "EHLO other.example")
	reply, err := s.transact("someone@other.example", message, to...)
	if err != nil || !strings.HasPrefix(reply, "250 2.6.0 ") {
		t.Fatalf("the message was answered with %q, %v", reply, err)
	}
	s.ask(t, "221", "QUIT")
	s.Close()
}

// ok is say for POP3; the error for a negative reply is a *refusal.
func (s *session) ok(format string, args ...any) (string, error) {
	reply, err := s.say(format, args...)
	if err == nil && !strings.HasPrefix(reply, "+OK") {
		err = &refusal{reply}
	}
	return reply, err
}

// refusal is a negative reply.
type refusal struct{ reply string }

func (r *refusal) Error() string { return r.reply }

// logIn opens a maildrop.
func (o *office) logIn(user, password string) (*session, error) {
	s, err := o.dial("pop3")
	if err != nil {
		return nil, err
	}
	if _, err = s.ok("USER %s", user); err == nil {
		_, err = s.ok("PASS %s", password)
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// fetched returns the messages of a mailbox by POP3, and their sizes in LIST.
func (o *office) fetched(t testing.TB, user, password string) (messages []string, sizes []int) {
	t.Helper()
	s, err := o.logIn(user, password)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.ask(t, "+OK", "LIST")
	list, err := s.text()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(list) {
		var n, size int
		if _, err := fmt.Sscanf(line, "%d %d", &n, &size); err != nil {
			t.Fatalf("LIST says %q", line)
		}
		s.ask(t, "+OK", "RETR %d", n)
		text, err := s.text()
		if err != nil {
			t.Fatal(err)
		}
		messages, sizes = append(messages, text), append(sizes, size)
	}
	s.ask(t, "+OK", "QUIT")
	return messages, sizes
}
