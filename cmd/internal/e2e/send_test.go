//go:build e2e

package e2e

import (
	"encoding/pem"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// submission is one message to send, and the way to send it.
type submission struct {
	service  string // the key under [listen]
	security string // plain, starttls or implicit
	login    string // SASL mechanism; "" for no login
	user     string
	password string
	to       string
	file     string // the message, CRLF
	ca       string // the trusted CA
}

// from returns the sender. Without a login it is a remote address, because a local one needs a
// login.
func (s submission) from() string {
	if s.login == "" {
		return "somebody@elsewhere.example"
	}
	return anna
}

// senders are the programs that send, each with its own command line. All of them verify the
// certificate.
var senders = []struct {
	program string
	command func(*testing.T, *office, submission) *exec.Cmd
}{
	{"curl", curlSend},
	{"swaks", swaksSend},
	{"msmtp", msmtpSend},
	{"python3", pythonSend},
}

// curlSend makes curl print the dialogue, which includes the replies.
func curlSend(t *testing.T, o *office, s submission) *exec.Cmd {
	args, host := o.curl(s.service, s.ca)
	url := "smtp://"
	switch s.security {
	case "starttls":
		args = append(args, "--ssl-reqd")
	case "implicit":
		url = "smtps://"
	}
	if s.login != "" {
		args = append(args, "--user", s.user+":"+s.password, "--login-options", "AUTH="+s.login)
	}
	args = append(args, "--mail-from", s.from(), "--mail-rcpt", s.to, "--upload-file", s.file, "--verbose")
	return o.command(t, "curl", append(args, url+host+"/pc."+domain)...)
}

// curl returns the arguments of every curl command: the server by the name in its certificate, and
// the CA.
func (o *office) curl(service, ca string) (args []string, host string) {
	host = hostname + ":" + o.port(service)
	return []string{"--disable", "--silent", "--show-error", "--cacert", ca, "--resolve", host + ":127.0.0.1"}, host
}

func (o *office) port(service string) string {
	_, port, _ := net.SplitHostPort(o.listen[service])
	return port
}

func swaksSend(t *testing.T, o *office, s submission) *exec.Cmd {
	args := []string{"--server", "127.0.0.1", "--port", o.port(s.service), "--ehlo", "pc." + domain,
		"--from", s.from(), "--to", s.to, "--data", "-"}
	switch s.security {
	case "starttls":
		args = append(args, "--tls")
	case "implicit":
		args = append(args, "--tlsc")
	}
	if s.security != "plain" {
		args = append(args, "--tls-verify", "--tls-ca-path", s.ca, "--tls-sni", hostname)
	}
	if s.login != "" {
		args = append(args, "--auth", s.login, "--auth-user", s.user, "--auth-password", s.password)
	}
	cmd := o.command(t, "swaks", args...)
	cmd.Stdin = strings.NewReader(strings.TrimSuffix(read(t, s.file), "\r\n")) // it adds a line end itself
	return cmd
}

func msmtpSend(t *testing.T, o *office, s submission) *exec.Cmd {
	rc := []string{"host 127.0.0.1", "port " + o.port(s.service), "from " + s.from(), "domain pc." + domain}
	rc = append(rc, msmtpSecurity(s.security, s.ca)...)
	if s.login != "" {
		rc = append(rc, "auth "+strings.ToLower(s.login), "user "+s.user, "password "+s.password)
	}
	cmd := o.command(t, "msmtp", "--file", o.write(t, "msmtprc", strings.Join(rc, "\n")+"\n"), "--", s.to)
	cmd.Stdin = strings.NewReader(lines(read(t, s.file)))
	return cmd
}

// msmtpSecurity returns the TLS options that msmtp and mpop share.
func msmtpSecurity(security, ca string) []string {
	if security == "plain" {
		return []string{"tls off"}
	}
	starttls := "tls_starttls off"
	if security == "starttls" {
		starttls = "tls_starttls on"
	}
	return []string{"tls on", starttls, "tls_trust_file " + ca, "tls_host_override " + hostname}
}

func pythonSend(t *testing.T, o *office, s submission) *exec.Cmd {
	return o.command(t, python(), "testdata/send.py", hostname, o.port(s.service), s.ca,
		s.security, s.login, s.user, s.password, s.from(), s.to, s.file)
}

// python returns Debian's own Python if it is installed.
func python() string {
	if _, err := os.Stat("/usr/bin/python3"); err == nil {
		return "/usr/bin/python3"
	}
	return "python3"
}

// write writes a file for a client, with mode 0600.
func (o *office) write(t testing.TB, name, text string) string {
	t.Helper()
	file := o.path(name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func read(t testing.TB, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// lines returns a text with the line ends of Unix.
func lines(text string) string { return strings.ReplaceAll(text, "\r\n", "\n") }

// letter returns a message that is difficult for clients and servers: with lines of dots, 8-bit
// text, a long line, and blanks at the ends of lines and of the text.
func letter(token string) string {
	return "Date: Sat, 21 Nov 2026 09:14:00 +0000\r\nFrom: Anna <" + anna + ">\r\nTo: <" + boss + ">\r\n" +
		"Message-ID: <" + token + "@pc." + domain + ">\r\nSubject: " + token + "\r\n" +
		"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" +
		"Grüße aus dem Büro ☺\r\n.\r\n..\r\n...three\r\n.hidden\r\n \r\ntrailing  \r\nFrom here\r\n" +
		strings.Repeat("long ", 180) + "\r\n\r\nthe end of " + token + "\r\n"
}

// accesses returns all ways to send, except those that clients cannot use.
func accesses() []submission {
	all := []submission{
		{service: "smtp", security: "plain"},
		{service: "smtp", security: "starttls"},
	}
	for _, login := range []string{"PLAIN", "LOGIN"} {
		for _, s := range []submission{
			{service: "smtp", security: "starttls"},
			{service: "submission", security: "plain"},
			{service: "submission", security: "starttls"},
			{service: "smtps", security: "implicit"},
		} {
			s.login, s.user, s.password = login, anna, annaPassword
			all = append(all, s)
		}
	}
	return all
}

func (s submission) name() string {
	return strings.TrimSuffix(s.service+"/"+s.security+"/"+s.login, "/")
}

// TestSend sends with every program in every way. Each message must be stored once and unchanged,
// below the server's fields, which must show TLS and the login.
func TestSend(t *testing.T) {
	o := newOffice(t)
	o.serve(t)
	for _, sender := range senders {
		t.Run(sender.program, func(t *testing.T) {
			needs(t, sender.program)
			for i, s := range accesses() {
				t.Run(s.name(), func(t *testing.T) {
					message := letter(fmt.Sprintf("%s-%d", sender.program, i))
					s.to, s.file, s.ca = boss, o.write(t, "message.eml", message), o.ca
					o.empty(t, boss)
					mustRun(t, sender.command(t, o, s))
					o.wantMessage(t, s, message)
				})
			}
		})
	}
}

// wantMessage checks the one message in boss's mailbox.
func (o *office) wantMessage(t *testing.T, s submission, message string) {
	t.Helper()
	stored := o.stored(t, boss)
	if len(stored) != 1 {
		t.Fatalf("%d messages arrived, want 1", len(stored))
	}
	trace, ok := strings.CutSuffix(stored[0], message)
	if !ok {
		t.Fatalf("stored\n%q\nwant below the trace fields\n%q", stored[0], message)
	}
	if !strings.HasPrefix(trace, "Return-Path: <"+s.from()+">\r\nReceived: from ") {
		t.Errorf("the trace fields are\n%s", trace)
	}
	if got, want := strings.Contains(trace, "(TLS 1.3 "), s.security != "plain"; got != want {
		t.Errorf("TLS 1.3 is %v, want %v:\n%s", got, want, trace)
	}
	if got, want := strings.Contains(trace, "(authenticated as "+anna+")"), s.login != ""; got != want {
		t.Errorf("logged in is %v, want %v:\n%s", got, want, trace)
	}
}

// TestSendRefused expects a failure that the program notices, and no message.
func TestSendRefused(t *testing.T) {
	o := newOffice(t)
	o.serve(t)
	file := o.write(t, "message.eml", letter("refused"))
	good := submission{service: "submission", security: "starttls", login: "PLAIN",
		user: anna, password: annaPassword, to: boss, file: file, ca: o.ca}
	stranger := submission{service: "smtp", security: "plain", to: boss, file: file, ca: o.ca}
	tests := []struct {
		name string
		submission
		want string // in the program's output
	}{
		{"wrong password PLAIN", good.with(func(s *submission) { s.password = wrongPassword }), "535"},
		{"wrong password LOGIN", good.with(func(s *submission) { s.password, s.login = wrongPassword, "LOGIN" }), "535"},
		{"unknown user", good.with(func(s *submission) { s.user = "nobody@" + domain }), "535"},
		{"no log-in on submission", good.with(func(s *submission) { s.login = "" }), "530"},
		{"relay without log-in", stranger.with(func(s *submission) { s.to = "x@elsewhere.example" }), "550"},
		{"unknown recipient", stranger.with(func(s *submission) { s.to = "nobody@" + domain }), "550"},
		{"unknown CA", good.with(func(s *submission) { s.ca = foreignCA(t, o) }), ""},
	}
	for _, sender := range senders {
		t.Run(sender.program, func(t *testing.T) {
			needs(t, sender.program)
			for _, tt := range tests {
				t.Run(tt.name, func(t *testing.T) {
					out, code := run(t, sender.command(t, o, tt.submission))
					if code == 0 || !strings.Contains(out, tt.want) {
						t.Errorf("exit code %d, want a failure that tells of %q:\n%s", code, tt.want, out)
					}
				})
			}
		})
	}
	if stored := slices.Concat(o.stored(t, anna), o.stored(t, boss)); len(stored) > 0 {
		t.Errorf("%d messages arrived", len(stored))
	}
}

// with returns a changed copy.
func (s submission) with(change func(*submission)) submission {
	change(&s)
	return s
}

// foreignCA returns a CA certificate that is unrelated to the office.
func foreignCA(t *testing.T, o *office) string {
	t.Helper()
	h := httptest.NewTLSServer(nil)
	defer h.Close()
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.Certificate().Raw})
	return o.write(t, "foreign-ca.pem", string(block))
}

// TestAttachment sends and fetches 20 MB without a change.
func TestAttachment(t *testing.T) {
	needs(t, "curl")
	o := newOffice(t)
	o.serve(t)
	message := letter("attachment") + attachment(20<<20)
	s := submission{service: "smtps", security: "implicit", login: "PLAIN", user: anna, password: annaPassword,
		to: boss, file: o.write(t, "message.eml", message), ca: o.ca}
	mustRun(t, curlSend(t, o, s))
	out := filepath.Join(o.dir, "fetched.eml")
	mustRun(t, o.curlPOP3(t, fetch{service: "pop3s", security: "implicit", login: "plain", user: boss, password: bossPassword}, "1", "--output", out))
	if got := read(t, out); !strings.HasPrefix(got, "Return-Path: ") || !strings.HasSuffix(got, "\r\n"+message) {
		t.Errorf("%d octets were sent, %d came back, others than these", len(message), len(got))
	}
}

// attachment returns a text of about this number of octets, without equal lines.
func attachment(size int) string {
	var text strings.Builder
	for i := 0; text.Len() < size; i++ {
		fmt.Fprintf(&text, "%.*s%d and more that makes up a line of an attachment\r\n", i%3, "..", i)
	}
	return text.String()
}
