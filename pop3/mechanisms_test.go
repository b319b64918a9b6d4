package pop3

import (
	"bufio"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/auth"
	"pillarbox/mailstore/auth/ntlm"
	"pillarbox/mailstore/directory"
)

// newSecretOffice is an office whose mailbox, anna, stores the secrets of every mechanism.
func newSecretOffice(t *testing.T, settings auth.Settings) *office {
	o := newOffice(t)
	keeper := auth.NewSecretStore(auth.NewSecretKey(filepath.Join(o.path, "secrets.key")), auth.Rules{Store: directory.SecretKinds()})
	anna := addr.Address{Local: "anna", Domain: "office.example"}
	account := directory.Account{}
	set, err := keeper.New(anna, account, "tanstaaf", time.Now())
	o.must(err)
	o.must(set(&account))
	_, err = o.dir.AddMailbox(anna, account)
	o.must(err)
	o.auth = auth.New(o.dir, auth.Options{Log: o.logger(), Delay: time.Millisecond, Secrets: keeper})
	settings.Hostname = "mail.office.example"
	o.auth.SetSettings(settings)
	return o
}

// line is the connection of one client, which reads and writes lines.
type line struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func dialLine(t *testing.T, address string) *line {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	return &line{t, conn, bufio.NewReader(conn)}
}

func (l *line) read() string {
	l.t.Helper()
	text, err := l.in.ReadString('\n')
	if err != nil {
		l.t.Fatal(err)
	}
	return strings.TrimSuffix(text, "\r\n")
}

func (l *line) say(text string) string {
	l.t.Helper()
	fmt.Fprintf(l.conn, "%s\r\n", text)
	return l.read()
}

// want sends a line and expects a reply with this prefix.
func (l *line) want(say, answer string) string {
	l.t.Helper()
	got := l.say(say)
	if !strings.HasPrefix(got, answer) {
		l.t.Errorf("%s: got %q, want %q", say, got, answer)
	}
	return got
}

func encode(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// finish completes an NTLM exchange from the client's first message on.
func (l *line) finish(first, password, answer string) {
	l.t.Helper()
	c := ntlm.Client{User: "anna", Password: password}
	challenge, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(l.want(first+encode(c.Negotiate()), "+ "), "+ "))
	if err != nil {
		l.t.Fatal(err)
	}
	response, err := c.Authenticate(challenge)
	if err != nil {
		l.t.Fatal(err)
	}
	l.want(encode(response), answer)
}

// TestNTLM covers the form of Windows ([MS-POP3] §4) and that of RFC 5034.
func TestNTLM(t *testing.T) {
	o := newSecretOffice(t, auth.Settings{})
	address := o.listen(o.newServer(nil), false)

	windows := dialLine(t, address)
	windows.read()
	if windows.want("AUTH ", "+OK"); windows.read() != "SCRAM-SHA-256" || windows.read() != "NTLM" {
		t.Error("a bare AUTH does not list NTLM")
	}
	for windows.read() != "." {
	}
	if got := windows.say("AUTH NTLM"); got != "+OK" {
		t.Errorf("AUTH NTLM: %q", got)
	}
	windows.finish("", "wrong", "-ERR [AUTH]")
	if got := windows.say("auth ntlm"); got != "+OK" {
		t.Errorf("auth ntlm, again: %q", got)
	}
	windows.finish("", "tanstaaf", "+OK")
	windows.want("STAT", "+OK 0 0")
	windows.want("QUIT", "+OK")

	modern := dialLine(t, address)
	modern.read()
	modern.want("CAPA", "+OK")
	for text := modern.read(); text != "."; text = modern.read() {
		if strings.HasPrefix(text, "SASL ") && text != "SASL SCRAM-SHA-256 NTLM CRAM-MD5 PLAIN LOGIN" {
			t.Errorf("CAPA: %s", text)
		}
	}
	if got := modern.say("AUTH NTLM"); got != "+ " {
		t.Errorf("after CAPA: %q", got)
	}
	modern.want("*", "-ERR")
	modern.want("AUTH NTLM", "+ ")
	modern.want("!!! no base64 !!!", "-ERR")
	modern.want("AUTH NTLM", "+ ")
	modern.want(encode([]byte("NTLMSSP\x00\x03\x00\x00\x00")), "-ERR")
	modern.finish("AUTH NTLM ", "tanstaaf", "+OK")
}

func TestAPOP(t *testing.T) {
	o := newSecretOffice(t, auth.Settings{})
	address := o.listen(o.newServer(nil), false)
	digest := func(stamp, password string) string {
		sum := md5.Sum([]byte(stamp + password))
		return hex.EncodeToString(sum[:])
	}
	l := dialLine(t, address)
	stamp := regexp.MustCompile(`<[^<> ]+@mail\.office\.example>$`).FindString(l.read())
	if stamp == "" {
		t.Fatal("the greeting has no time stamp")
	}
	l.want("APOP", "-ERR")
	l.want("APOP anna", "-ERR")
	l.want("APOP anna nodigest", "-ERR malformed")
	l.want("APOP anna "+digest(stamp, "wrong"), "-ERR [AUTH]")
	l.want("APOP anna "+digest("<another@stamp>", "tanstaaf"), "-ERR [AUTH]")
	l.want("APOP anna@office.example "+digest(stamp, "tanstaaf"), "+OK")

	other := dialLine(t, address)
	if strings.Contains(other.read(), stamp) {
		t.Error("the stamp comes twice")
	}
	other.want("APOP anna "+digest(stamp, "tanstaaf"), "-ERR [AUTH]") // replayed
}

func TestRequireSPA(t *testing.T) {
	o := newSecretOffice(t, auth.Settings{RequireSPA: true})
	l := dialLine(t, o.listen(o.newServer(nil), false))
	if greeting := l.read(); strings.Contains(greeting, "<") {
		t.Errorf("APOP is offered: %s", greeting)
	}
	l.want("USER anna", "-ERR only Secure Password Authentication")
	l.want("AUTH PLAIN "+encode([]byte("\x00anna\x00tanstaaf")), "-ERR")
	l.want("CAPA", "+OK")
	for text := l.read(); text != "."; text = l.read() {
		if text == "USER" || strings.HasPrefix(text, "SASL ") && text != "SASL NTLM" {
			t.Errorf("offered: %s", text)
		}
	}
	l.finish("AUTH NTLM ", "tanstaaf", "+OK")
}
