//go:build e2e

package e2e

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// fetch is one visit to a mailbox and its method.
type fetch struct {
	service  string // the key under [listen]
	security string // plain, starttls or implicit
	login    string // user for USER and PASS, plain or login for AUTH
	user     string
	password string
	keep     bool // leave the messages on the server
	out      string
	ca       string
}

// fetchers are the programs that fetch all new messages and append them to a file.
var fetchers = []struct {
	program string
	logins  []string
	uids    bool // it remembers the UIDLs of fetched messages
	command func(*testing.T, *office, fetch) *exec.Cmd
}{
	{"mpop", []string{"user", "plain", "login"}, true, mpopFetch},
	{"fetchmail", []string{"user"}, true, fetchmailFetch},
	{"python3", []string{"user"}, false, pythonFetch},
}

func mpopFetch(t *testing.T, o *office, f fetch) *exec.Cmd {
	rc := []string{"account default", "host 127.0.0.1", "port " + o.port(f.service), "auth " + f.login, "user " + f.user,
		"password " + f.password, "keep " + onOff(f.keep), "uidls_file " + f.out + ".uidls",
		"received_header off", `delivery mda "cat >>` + f.out + `"`}
	rc = append(rc, msmtpSecurity(f.security, f.ca)...)
	return o.command(t, "mpop", "--file", o.write(t, "mpoprc", strings.Join(rc, "\n")+"\n"))
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}

func fetchmailFetch(t *testing.T, o *office, f fetch) *exec.Cmd {
	security := map[string]string{
		"plain":    `sslproto ""`,
		"starttls": `sslproto "TLS1.2+"`,
		"implicit": `ssl sslproto "TLS1.2+"`,
	}[f.security]
	keep := map[bool]string{true: "keep", false: "nokeep"}[f.keep]
	rc := fmt.Sprintf(`set idfile "%[1]s.ids" set pidfile "%[1]s.pid"
poll 127.0.0.1 protocol pop3 port %[2]s auth password uidl
  username "%[3]s" password "%[4]s" %[5]s
  sslcertck sslcertfile "%[6]s" sslcommonname "%[7]s"
  %[8]s no rewrite fetchall mda "cat >>%[1]s"
`, f.out, o.port(f.service), f.user, f.password, security, f.ca, hostname, keep)
	if f.keep {
		rc = strings.Replace(rc, " fetchall", "", 1)
	}
	return o.command(t, "fetchmail", "--fetchmailrc", o.write(t, "fetchmailrc", rc), "--invisible", "--nosyslog", "--nodetach")
}

func pythonFetch(t *testing.T, o *office, f fetch) *exec.Cmd {
	keep := map[bool]string{true: "keep", false: "delete"}[f.keep]
	return o.command(t, python(), "testdata/fetch.py", hostname, o.port(f.service), f.ca,
		f.security, f.user, f.password, keep, f.out)
}

// curlPOP3 returns a curl command for a mailbox; path is empty or the number of a message.
func (o *office) curlPOP3(t *testing.T, f fetch, path string, more ...string) *exec.Cmd {
	args, host := o.curl(f.service, o.ca)
	url := "pop3://"
	switch f.security {
	case "starttls":
		args = append(args, "--ssl-reqd")
	case "implicit":
		url = "pop3s://"
	}
	args = append(args, "--user", f.user+":"+f.password, "--login-options", "AUTH="+strings.ToUpper(f.login))
	return o.command(t, "curl", append(append(args, more...), url+host+"/"+path)...)
}

// visits returns the ways to visit a mailbox with these logins.
func visits(logins []string) []fetch {
	var all []fetch
	for _, login := range logins {
		for _, f := range []fetch{
			{service: "pop3", security: "plain"},
			{service: "pop3", security: "starttls"},
			{service: "pop3s", security: "implicit"},
		} {
			f.login, f.user, f.password = login, boss, bossPassword
			all = append(all, f)
		}
	}
	return all
}

func (f fetch) name() string { return f.security + "/" + f.login }

// TestFetch fetches with every program in every way: first leaving a copy, then again, then
// deleting everything.
func TestFetch(t *testing.T) {
	o := newOffice(t)
	o.serve(t)
	for _, fetcher := range fetchers {
		t.Run(fetcher.program, func(t *testing.T) {
			needs(t, fetcher.program)
			for i, f := range visits(fetcher.logins) {
				t.Run(f.name(), func(t *testing.T) {
					f.ca, f.out = o.ca, o.path(fmt.Sprintf("%s-%d", fetcher.program, i))
					fetchThrice(t, o, f, fetcher.uids, fetcher.command)
				})
			}
		})
	}
}

func fetchThrice(t *testing.T, o *office, f fetch, uids bool, command func(*testing.T, *office, fetch) *exec.Cmd) {
	o.empty(t, boss)
	first, second, third := letter("first"), letter("second"), letter("third")
	o.deliver(t, first, boss)
	o.deliver(t, second, boss)

	f.keep = true
	mustRun(t, command(t, o, f))
	wantFetched(t, f.out, first, second)
	if n := len(o.files(t, boss)); n != 2 {
		t.Errorf("%d messages are left of 2 that were to be kept", n)
	}

	if uids {
		run(t, command(t, o, f)) // fetchmail fails if there is no new mail
		wantFetched(t, f.out, first, second)
		o.deliver(t, third, boss)
		mustRun(t, command(t, o, f))
		wantFetched(t, f.out, first, second, third)
	}

	f.keep, f.out = false, f.out+"-all"
	mustRun(t, command(t, o, f))
	wantFetched(t, f.out, first, second)
	if n := len(o.files(t, boss)); n != 0 {
		t.Errorf("%d messages are left on the server", n)
	}
}

// wantFetched expects each message once in the file, in the form of Unix programs.
func wantFetched(t *testing.T, file string, messages ...string) {
	t.Helper()
	got := lines(read(t, file))
	for _, message := range messages {
		if n := strings.Count(got, "\n"+lines(message)); n != 1 {
			t.Errorf("the message %q was fetched %d times, want once:\n%s", message, n, got)
		}
	}
	if n := strings.Count(got, "Return-Path: "); n < len(messages) {
		t.Errorf("%d messages have a Return-Path, want %d", n, len(messages))
	}
}

// TestFetchRefused expects a failure that the program notices.
func TestFetchRefused(t *testing.T) {
	o := newOffice(t)
	o.serve(t)
	o.deliver(t, letter("mine"), boss)
	good := fetch{service: "pop3", security: "starttls", login: "user", user: boss, password: bossPassword, ca: o.ca, out: o.path("refused")}
	wrong, unknown, foreign := good, good, good
	wrong.password = wrongPassword
	unknown.user = "nobody@" + domain
	foreign.ca = foreignCA(t, o)
	for _, fetcher := range fetchers {
		t.Run(fetcher.program, func(t *testing.T) {
			needs(t, fetcher.program)
			for name, f := range map[string]fetch{"wrong password": wrong, "unknown user": unknown, "unknown CA": foreign} {
				if out, code := run(t, fetcher.command(t, o, f)); code == 0 {
					t.Errorf("%s: the program is content\n%s", name, out)
				}
			}
		})
	}
	t.Run("curl", func(t *testing.T) {
		needs(t, "curl")
		wrong.login = "plain"
		if out, code := run(t, o.curlPOP3(t, wrong, "")); code != 67 {
			t.Errorf("wrong password: exit code %d, want 67 (login denied)\n%s", code, out)
		}
	})
}

// TestCurlPOP3 sends single commands; curl shows the server's replies octet by octet.
func TestCurlPOP3(t *testing.T) {
	needs(t, "curl")
	o := newOffice(t)
	o.serve(t)
	for _, f := range visits([]string{"plain", "login"}) {
		t.Run(f.name(), func(t *testing.T) {
			o.empty(t, boss)
			o.deliver(t, letter("first"), boss)
			o.deliver(t, letter("second"), boss)
			stored := o.stored(t, boss)
			ask := func(path string, more ...string) string { return mustRun(t, o.curlPOP3(t, f, path, more...)) }

			if got, want := ask(""), fmt.Sprintf("1 %d\r\n2 %d\r\n", len(stored[0]), len(stored[1])); got != want {
				t.Errorf("LIST gives %q, want %q", got, want)
			}
			uids := ask("", "--request", "UIDL")
			if got := ask("2"); got != stored[1] {
				t.Errorf("RETR gives\n%q\nstored is\n%q", got, stored[1])
			}
			ask("1", "--request", "DELE", "--list-only")
			_, second, _ := strings.Cut(uids, "\r\n2 ")
			if got, want := ask("", "--request", "UIDL"), "1 "+second; got != want || len(second) < 10 {
				t.Errorf("after DELE, UIDL gives %q, want %q; before it was %q", got, want, uids)
			}
		})
	}
}
