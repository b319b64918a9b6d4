package dsn

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
	"time"

	"pillarbox/etc/lab/dsntest"
	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
)

// checkRoundTrip wants that a parser finds in text what Compose got in r.
func checkRoundTrip(t testing.TB, r Report, text string) {
	t.Helper()
	p, err := dsntest.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	same := func(what, got, want string) {
		if got != want {
			t.Errorf("%s is %q, want %q", what, got, want)
		}
	}
	sameTime := func(what string, got, want time.Time) {
		if !got.Equal(want.Truncate(time.Second)) {
			t.Errorf("%s is %v, want %v", what, got, want)
		}
	}
	if len(p.Recipients) != len(r.Recipients) {
		t.Fatalf("%d recipients, want %d", len(p.Recipients), len(r.Recipients))
	}
	sameTime("arrival", p.Arrived, r.Arrived)
	for i, got := range p.Recipients {
		want := r.Recipients[i]
		same("final", got.Final, strings.TrimSpace(addressText(want.Final.String())))
		same("original", got.ORcpt, strings.TrimSpace(addressText(want.ORcpt)))
		same("action", got.Action, string(want.action()))
		if got.Status != want.status() {
			t.Errorf("status %v, want %v", got.Status, want.status())
		}
		same("server", got.RemoteMTA, hostText(want.Result.MTA))
		diagnostic := words(want.Result.Reply)
		if !strings.Contains(text, "global-delivery-status") {
			diagnostic = toASCII(diagnostic)
		}
		same("diagnostic", got.Diagnostic, diagnostic)
		sameTime("attempt", got.LastAttempt, want.LastAttempt)
	}
}

func TestRoundTrip(t *testing.T) {
	for name, r := range scenarios() {
		t.Run(name, func(t *testing.T) {
			text := compose(t, r)
			checkRoundTrip(t, r, text)
			p, _ := dsntest.Parse(strings.NewReader(text))
			if p.MessageID != "<R0001@mail.office.example>" || p.EnvID != r.EnvID || p.ReportingMTA != r.Hostname ||
				p.ReceivedFrom != "pc12" || p.OriginalID != "<1@office.example>" || !strings.Contains(p.Text, "@customer.example") {
				t.Errorf("%+v", p)
			}
		})
	}
}

func FuzzCompose(f *testing.F) {
	f.Add("bob", "sales@x", "RFC822", 550, 5, 1, 1, "no such user", "mx.x", "failed", "id", "env", "A: b\r\n\r\nc", true)
	f.Add("jürgen\r\n", " x ", "utf-8", 451, 4, 4, 0, "a\r\n b", "[1.2.3.4]", "delayed", "", " ", "", false)
	f.Add("a  b", "", "", 0, 0, 0, 0, "", "", "relayed", "\x00", "", "\r\n\r\n", true)
	f.Fuzz(func(t *testing.T, local, orcpt, kind string, code, c1, c2, c3 int, words, mta, action, id, envID, message string, german bool) {
		r := report(Recipient{
			Final: addr.Address{Local: local, Domain: "x.example"}, ORcpt: orcpt, ORcptType: kind, Action: Action(action), LastAttempt: at(3),
			Result: smtp.Result{Reply: smtp.Reply{Code: code, Enhanced: [3]int{c1, c2, c3}, Text: words}, MTA: mta},
		})
		r.ID, r.EnvID, r.Original = id, envID, opener(message)
		if german {
			r.Language = German
		}
		var b bytes.Buffer
		if err := Compose(&b, r); err != nil {
			t.Fatal(err)
		}
		checkRoundTrip(t, r, b.String())
	})
}

// TestPython reads the reports with Python's email package.
func TestPython(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("there is no python3")
	}
	const script = `
import sys, email, email.policy
m = email.message_from_binary_file(sys.stdin.buffer, policy=email.policy.default)
for part in m.walk():
    assert not part.defects, part.defects
print(m.get_content_type(), m.get_param("report-type"), m["Auto-Submitted"], m["To"])
for part in m.iter_parts():
    print(part.get_content_type())
    if part.get_content_type() == "text/plain":
        assert "@customer.example" in part.get_content()
    if part.get_content_type() == "message/delivery-status":
        for block in part.get_payload():
            for k, v in block.items(): print(k, v, sep="|")
`
	want := map[string][]string{
		"failure": {"multipart/report delivery-status auto-replied anna@office.example", "text/plain", "message/delivery-status",
			"Original-Envelope-Id|QQ314159", "Reporting-MTA|dns; mail.office.example", "Final-Recipient|rfc822; bob@customer.example", "Action|failed",
			"Status|5.1.1", "Remote-MTA|dns; mx.customer.example", "Original-Recipient|rfc822; sales@customer.example", "message/rfc822"},
		"delay":   {"Action|delayed", "Will-Retry-Until|Tue, 24 Nov 2026 04:05:00 +0100", "text/rfc822-headers"},
		"success": {"Action|delivered", "Action|relayed", "Action|expanded", "text/rfc822-headers"},
		"utf8":    {"message/global-delivery-status", "message/global"},
		"large":   {"text/rfc822-headers"},
	}
	for name, r := range scenarios() {
		for _, r.Language = range []Language{English, German} {
			cmd := exec.Command(python, "-c", script)
			cmd.Stdin = strings.NewReader(compose(t, r))
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%s: %v\n%s", name, err, out)
			}
			for _, line := range want[name] {
				if !strings.Contains("\n"+string(out), "\n"+line+"\n") {
					t.Errorf("%s lacks %q:\n%s", name, line, out)
				}
			}
		}
	}
}
