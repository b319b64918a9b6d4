//go:build e2e

package e2e

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// newSecretOffice returns an office in which anna can log in by every mechanism, even from programs
// with only the first version of NTLM.
func newSecretOffice(t *testing.T) *office {
	t.Helper()
	o := newOffice(t)
	o.set(t, "auth", "ntlm_v1", "true")
	o.set(t, "auth", "challenge_networks", `["127.0.0.0/8"]`)
	o.pillarbox(t, "", "admin", "mailbox", "secrets", anna, "spa", "cram-md5", "apop", "scram")
	o.pillarbox(t, annaPassword+"\n", "admin", "mailbox", "passwd", anna, "--password-stdin")
	return o
}

// names are the forms in which people write their user name, including those of Windows with the
// short and the full domain name.
var names = []string{"anna", anna, `OFFICE\anna`, domain + `\anna`}

// logMechanism returns the name in the log of a mechanism that sends the password.
func logMechanism(mechanism string) string {
	switch mechanism = strings.TrimPrefix(strings.ToUpper(mechanism), "+"); mechanism {
	case "PLAIN", "LOGIN":
		return "password"
	}
	return mechanism
}

// logIns returns the number of anna's logins by a mechanism.
func (s *server) logIns(mechanism string) int {
	return strings.Count(s.log.String(), `msg="authentication succeeded" user=`+anna+" remote_ip=127.0.0.1 mechanism="+logMechanism(mechanism)+"\n")
}

// awaitLogIns waits until the log has this number of logins by a mechanism, because the log line
// may come after the reply. It returns the number at the end.
func (s *server) awaitLogIns(mechanism string, n int) int {
	for end := time.Now().Add(5 * time.Second); s.logIns(mechanism) < n && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	return s.logIns(mechanism)
}

// wantLogIn runs a program, and expects its success and one more login by the mechanism.
func (s *server) wantLogIn(t *testing.T, cmd *exec.Cmd, mechanism string, codes ...int) {
	t.Helper()
	before := s.logIns(mechanism)
	out, code := run(t, cmd)
	for _, other := range codes {
		if code == other {
			code = 0
		}
	}
	if code != 0 {
		t.Fatalf("%v: exit code %d\n%s", cmd.Args, code, out)
	}
	if n := s.awaitLogIns(mechanism, before+1); n != before+1 {
		t.Errorf("%v: no log-in by %s is in the log\n%s", cmd.Args, mechanism, tail(s.log.String(), 5))
	}
}

// TestLogInToSend logs in with every program, by each mechanism beyond those of TestSend, under
// every name, with and without TLS.
func TestLogInToSend(t *testing.T) {
	o := newSecretOffice(t)
	s := o.serve(t)
	file := o.write(t, "message.eml", letter("logged-in"))
	for _, client := range []struct {
		program    string
		mechanisms []string
		command    func(*testing.T, *office, submission) *exec.Cmd
	}{
		{"curl", []string{"NTLM", "CRAM-MD5", "PLAIN", "LOGIN"}, curlSend},
		{"swaks", []string{"NTLM", "CRAM-MD5", "PLAIN", "LOGIN"}, swaksSend},
		{"msmtp", []string{"NTLM", "CRAM-MD5", "SCRAM-SHA-256"}, msmtpSend},
	} {
		t.Run(client.program, func(t *testing.T) {
			needs(t, client.program)
			for _, way := range []submission{
				{service: "submission", security: "plain"},
				{service: "submission", security: "starttls"},
				{service: "smtps", security: "implicit"},
			} {
				for _, way.login = range client.mechanisms {
					for _, way.user = range names {
						way.password, way.to, way.file, way.ca = annaPassword, boss, file, o.ca
						s.wantLogIn(t, client.command(t, o, way), way.login)
					}
				}
			}
		})
	}
	for _, message := range o.stored(t, boss) {
		if !strings.Contains(message, "(authenticated as "+anna+")") {
			t.Fatalf("not sent as anna:\n%s", message)
		}
	}
}

// fetchmailBy returns a fetchmail command for a mechanism.
func fetchmailBy(t *testing.T, o *office, f fetch) *exec.Cmd {
	protocol := "pop3 auth " + strings.ToLower(f.login)
	if f.login == "APOP" {
		protocol = "apop"
	}
	security := map[string]string{
		"plain":    `sslproto ""`,
		"starttls": `sslproto "TLS1.2+"`,
		"implicit": `ssl sslproto "TLS1.2+"`,
	}[f.security]
	rc := fmt.Sprintf(`set idfile "%[1]s.ids" set pidfile "%[1]s.pid"
poll 127.0.0.1 port %[2]s protocol %[3]s
  username "%[4]s" password "%[5]s" %[6]s
  sslcertck sslcertfile "%[7]s" sslcommonname "%[8]s"
  keep no rewrite fetchall mda "cat >>%[1]s"
`, f.out, o.port(f.service), protocol, strings.ReplaceAll(f.user, `\`, `\\`), f.password, security, f.ca, hostname)
	return o.command(t, "fetchmail", "--fetchmailrc", o.write(t, "fetchmailrc", rc), "--invisible", "--nosyslog", "--nodetach")
}

// curlList lists the messages. curl's name for APOP is "+APOP".
func curlList(t *testing.T, o *office, f fetch) *exec.Cmd {
	if f.login == "APOP" {
		f.login = "+APOP"
	}
	return o.curlPOP3(t, f, "")
}

// mpopBy fetches all messages, even old ones.
func mpopBy(t *testing.T, o *office, f fetch) *exec.Cmd {
	f.login, f.keep = strings.ToLower(f.login), true
	return mpopFetch(t, o, f)
}

// TestLogInToFetch is TestLogInToSend for POP3.
func TestLogInToFetch(t *testing.T) {
	o := newSecretOffice(t)
	s := o.serve(t)
	o.deliver(t, letter("one"), anna)
	for _, client := range []struct {
		program    string
		mechanisms []string
		nothing    int // exit code if there is no new mail
		command    func(*testing.T, *office, fetch) *exec.Cmd
	}{
		{"curl", []string{"NTLM", "CRAM-MD5", "APOP", "PLAIN", "LOGIN"}, 0, curlList},
		{"mpop", []string{"NTLM", "CRAM-MD5", "APOP", "SCRAM-SHA-256"}, 0, mpopBy},
		{"fetchmail", []string{"NTLM", "CRAM-MD5", "APOP"}, 1, fetchmailBy},
	} {
		t.Run(client.program, func(t *testing.T) {
			needs(t, client.program)
			for _, way := range []fetch{
				{service: "pop3", security: "plain"},
				{service: "pop3", security: "starttls"},
				{service: "pop3s", security: "implicit"},
			} {
				for _, way.login = range client.mechanisms {
					for _, way.user = range names {
						way.password, way.ca, way.out = annaPassword, o.ca, o.path(client.program)
						s.wantLogIn(t, client.command(t, o, way), way.login, client.nothing)
					}
				}
			}
		})
	}
}

// gsasl logs in for submission. It starts TLS if more names the CA.
func (o *office) gsasl(t *testing.T, mechanism, user, password string, more ...string) *exec.Cmd {
	args := []string{"--smtp", "--connect", o.listen["submission"], "--mechanism", mechanism, "--x509-ca-file", o.ca,
		"--authentication-id", user, "--password", password, "--realm", "", "--hostname", hostname}
	return o.command(t, "gsasl", append(args, more...)...)
}

// TestLogInBound tests SCRAM with channel binding by GNU SASL: with the TLS 1.3 exporter, and with
// tls-unique of TLS 1.2.
func TestLogInBound(t *testing.T) {
	needs(t, "gsasl")
	o := newSecretOffice(t)
	s := o.serve(t)
	for _, tls := range [][]string{nil, {"--priority", "NORMAL:-VERS-ALL:+VERS-TLS1.2"}} {
		for _, user := range names {
			s.wantLogIn(t, o.gsasl(t, "SCRAM-SHA-256-PLUS", user, annaPassword, tls...), "SCRAM-SHA-256-PLUS")
		}
		s.wantLogIn(t, o.gsasl(t, "SCRAM-SHA-256", anna, annaPassword, append(tls, "--no-cb")...), "SCRAM-SHA-256")
	}
	out, _ := run(t, o.gsasl(t, "SCRAM-SHA-256-PLUS", anna, wrongPassword))
	if !strings.Contains(out, "\n535 5.7.8 ") {
		t.Errorf("wrong password:\n%s", out)
	}
	out, _ = run(t, o.gsasl(t, "SCRAM-SHA-256-PLUS", anna, annaPassword, "--no-starttls", "--verbose"))
	if strings.Contains(out, "\n235 ") {
		t.Errorf("without TLS there is nothing to bind to:\n%s", out)
	}
}

// TestLogInNmap reads the information that NTLM reveals about the server, and the offers before and
// after a mailbox has stored its secret.
func TestLogInNmap(t *testing.T) {
	needs(t, "nmap")
	o := newOffice(t)
	o.set(t, "auth", "challenge_networks", `["127.0.0.0/8"]`)
	o.serve(t)
	nmap := func() string {
		return mustRun(t, o.command(t, "nmap", "-Pn", "-n", "-p", o.port("submission")+","+o.port("pop3"), "127.0.0.1",
			"--script", "+smtp-ntlm-info,+pop3-ntlm-info,+smtp-commands,+pop3-capabilities"))
	}
	const nobody = ", AUTH PLAIN LOGIN, AUTH=LOGIN, "
	if out := nmap(); !strings.Contains(out, nobody) || !strings.Contains(out, "SASL(PLAIN LOGIN)") || strings.Contains(out, "NetBIOS") {
		t.Errorf("nobody stores anything, but nmap finds\n%s", out)
	}
	o.pillarbox(t, annaPassword+"\n", "admin", "mailbox", "passwd", anna, "--password-stdin", "--spa", "--apop")
	eventually(t, "NTLM is offered", func() bool { return strings.Contains(nmap(), "AUTH NTLM CRAM-MD5 PLAIN LOGIN") })
	out := nmap()
	for _, want := range []string{"smtp-ntlm-info", "pop3-ntlm-info", "SASL(NTLM CRAM-MD5 PLAIN LOGIN)", " APOP "} {
		if !strings.Contains(strings.ReplaceAll(out, "\n", " \n"), want) { // the offers of POP3 have no order
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	for _, want := range []string{"Target_Name: OFFICE\n", "NetBIOS_Domain_Name: OFFICE\n", "NetBIOS_Computer_Name: MAIL\n",
		"DNS_Domain_Name: " + domain + "\n", "DNS_Computer_Name: " + hostname + "\n"} {
		if strings.Count(out, want) != 2 { // for SMTP and for POP3
			t.Errorf("not twice %q in\n%s", want, out)
		}
	}
}
