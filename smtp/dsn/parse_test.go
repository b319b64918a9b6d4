package dsn

import (
	"bytes"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
)

// checkRoundTrip is the oracle: what Compose was told is what Parse finds.
func checkRoundTrip(t testing.TB, r Report, text string) {
	t.Helper()
	p, err := Parse(strings.NewReader(text))
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
		same("action", string(got.Action), string(want.action()))
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
			p, _ := Parse(strings.NewReader(text))
			if p.MessageID != "<R0001@mail.office.example>" || p.EnvID != r.EnvID || p.ReportingMTA != r.Hostname ||
				p.ReceivedFrom != "pc12" || p.OriginalID != "<1@office.example>" || !strings.Contains(p.Text, "@customer.example") {
				t.Errorf("%+v", p)
			}
		})
	}
}

// A report as others write it: line feeds alone, other fields, comments.
func TestParseForeign(t *testing.T) {
	const foreign = `Message-ID: <x@y>
Content-Type: Multipart/Report; report-type="delivery-status"; boundary=B

preamble
--B

Sorry.
--B
content-type: MESSAGE/delivery-status

reporting-mta:dns;mx.y
X-Other: value

FINAL-RECIPIENT:RFC822;bob@y
Action:FAILED
Status:5.1.1 (bad)
Diagnostic-Code:smtp;550
	no such user
X-Queue: 7

--B
Content-Type: text/rfc822-headers

Message-Id: <o@z>
--B--
`
	p, err := Parse(strings.NewReader(foreign))
	if err != nil {
		t.Fatal(err)
	}
	want := ParsedRecipient{FinalType: "rfc822", Final: "bob@y", Action: Failed, Status: [3]int{5, 1, 1}, Diagnostic: "550 no such user"}
	if len(p.Recipients) != 1 || p.Recipients[0] != want || p.ReportingMTA != "mx.y" || p.Text != "Sorry." || p.Returned != "text/rfc822-headers" || p.OriginalID != "<o@z>" {
		t.Errorf("%+v", p)
	}
}

func TestParseErrors(t *testing.T) {
	for _, text := range []string{"", "x", "Subject: x\r\n\r\n", "Content-Type: multipart/report\r\n\r\n", "Content-Type: multipart/report; boundary=B\r\n\r\n--B\r\n\r\nx\r\n--B--\r\n"} {
		if _, err := Parse(strings.NewReader(text)); !errors.Is(err, ErrNotReport) {
			t.Errorf("%q: %v", text, err)
		}
	}
	broken := errors.New("broken disk")
	text := compose(t, scenarios()["failure"])
	if _, err := Parse(io.MultiReader(strings.NewReader(text[:1500]), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Error(err)
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

func FuzzParse(f *testing.F) {
	for _, r := range scenarios() {
		f.Add(compose(f, r))
	}
	f.Add("Content-Type: multipart/report; boundary=B\r\n\r\n--B\r\nContent-Type: message/delivery-status\r\n\r\n x\r\n\r\n: \r\nStatus: 9999.-1.x\r\n--B--")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse(strings.NewReader(text))
		if err != nil && !errors.Is(err, ErrNotReport) {
			t.Fatalf("unclassed error %v", err)
		}
		for _, s := range []string{p.MessageID, p.EnvID, p.ReportingMTA, p.OriginalID} {
			if !addr.IsText(s) {
				t.Fatalf("%q is no text", s)
			}
		}
		for _, rcpt := range p.Recipients {
			if !addr.IsText(rcpt.ORcptType+rcpt.ORcpt+rcpt.FinalType+rcpt.Final+string(rcpt.Action)+rcpt.RemoteMTA+rcpt.Diagnostic) || len(rcpt.Diagnostic) > maxField {
				t.Fatalf("%+v is no text", rcpt)
			}
		}
	})
}

// What somebody else's reader makes of it.
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
