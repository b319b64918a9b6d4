//go:build e2e

package e2e

import (
	"encoding/json"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pillarbox/etc/lab/dsntest"
	"pillarbox/smtp/dsn"
)

// report is a delivery report, parsed by Python's email package.
type report struct {
	From, To, Subject, Text string
	Message                 map[string]string
	Recipients              []map[string]string
	Returned                string // media type
	ReturnedID              string `json:"returned_id"`
	Body                    bool   // the original message is returned with its text
}

// readReport parses a report with Python and with dsntest; the results must be equal.
func readReport(t *testing.T, o *office, text string) (report, dsntest.Report) {
	t.Helper()
	needs(t, "python3")
	out := mustRun(t, o.command(t, python(), "testdata/report.py", o.write(t, "report.eml", text)))
	var r report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("report.py: %v\n%s", err, out)
	}
	p, err := dsntest.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatalf("our reader: %v\n%s", err, text)
	}
	if len(p.Recipients) != len(r.Recipients) || p.Returned != r.Returned || p.EnvID != r.Message["Original-Envelope-Id"] || p.OriginalID != r.ReturnedID {
		t.Errorf("Python reads %+v, we %+v", r, p)
	}
	for i, group := range r.Recipients {
		ours := p.Recipients[i]
		if group["Final-Recipient"] != ours.FinalType+"; "+ours.Final && group["Final-Recipient"] != ours.FinalType+";"+ours.Final ||
			group["Action"] != ours.Action {
			t.Errorf("Python reads %v, we %+v", group, ours)
		}
	}
	return r, p
}

// partner returns an office whose mail for partner.example goes to a port.
func partner(t *testing.T, port string) *office {
	t.Helper()
	o, dns := sendingOffice(t)
	dns.SetMX("partner.example", "mx.partner.example")
	dns.SetAddrs("mx.partner.example", netip.MustParseAddr("127.0.0.1"))
	dns.SetMX("closed.example", ".")
	o.set(t, "outbound", "port", port)
	return o
}

// TestOutboundFailure sends to a recipient that Postfix does not know. Anna gets a report in the
// configured language, with Postfix's words and the part of the message that RET requests. She gets
// no report about the remote copy.
func TestOutboundFailure(t *testing.T) {
	p := newPostfix(t, "")
	o := partner(t, p.port)
	o.serve(t)
	const known = "RET=FULL ENVID=order+2B17"
	tests := []struct {
		name, language, mail, rcpt string
		returned                   string
		body                       bool
		words                      string // in the human-readable part
	}{
		{"plain", "en", "", "", "message/rfc822", true, "could NOT be delivered"},
		{"full", "en", known, "NOTIFY=FAILURE ORCPT=rfc822;Nobody+2Bx@partner.example", "message/rfc822", true, "could NOT be delivered"},
		{"header", "en", "RET=HDRS ENVID=order+2B18", "", "text/rfc822-headers", false, "could NOT be delivered"},
		{"German", "de", known, "", "message/rfc822", true, "konnte NICHT zugestellt werden"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o.empty(t, anna)
			if tt.language == "de" {
				o.set(t, "reports", "language", `"de"`)
				o.pillarbox(t, "", "admin", "reload")
			}
			sent := letter("failure")
			o.submitWith(t, tt.mail, sent, "nobody@partner.example> "+tt.rcpt)
			text := o.wantMail(t, anna, 1)[0]
			if !strings.HasPrefix(text, "Return-Path: <>\r\n") {
				t.Errorf("the report's sender is not null: %.60q", text)
			}
			r, ours := readReport(t, o, text)
			group := r.Recipients[0]
			for field, want := range map[string]string{
				"Final-Recipient": "rfc822; nobody@partner.example", "Action": "failed", "Status": "5.1.1",
				"Remote-MTA": "dns; mx.partner.example",
			} {
				if group[field] != want {
					t.Errorf("%s: %q, want %q", field, group[field], want)
				}
			}
			if d := group["Diagnostic-Code"]; !strings.HasPrefix(d, "smtp; 550 5.1.1 <nobody@partner.example>") {
				t.Errorf("Diagnostic-Code: %q", d)
			}
			if strings.Contains(tt.rcpt, "ORCPT") && ours.Recipients[0].ORcpt != "Nobody+x@partner.example" {
				t.Errorf("ORCPT came back as %q", ours.Recipients[0].ORcpt)
			}
			if _, envid, ok := strings.Cut(tt.mail, "ENVID="); ok && ours.EnvID != strings.Replace(envid, "+2B", "+", 1) {
				t.Errorf("ENVID came back as %q", ours.EnvID)
			}
			if r.Returned != tt.returned || r.Body != tt.body || r.ReturnedID != "<failure@pc."+domain+">" {
				t.Errorf("%s of %s came back, its text: %v", r.Returned, r.ReturnedID, r.Body)
			}
			if tt.body && !strings.Contains(text, sent) {
				t.Error("the message came back as another")
			}
			if !strings.Contains(flat(r.Text), tt.words) || !strings.Contains(flat(r.Text), "User unknown in virtual mailbox table") {
				t.Errorf("the text is\n%s", r.Text)
			}
			o.wantQueueEmpty(t)
		})
	}
}

// flat returns a text on one line.
func flat(text string) string { return strings.Join(strings.Fields(text), " ") }

// TestOutboundNobodyTold checks that a sender who wants no report gets none, that no attempt is
// made for a domain with a null MX (RFC 7505), and that an undeliverable report goes to badmail.
func TestOutboundNobodyTold(t *testing.T) {
	p := newPostfix(t, "")
	o := partner(t, p.port)
	o.route(t, `domains = ["relayed.example"]`, `smart_host = ["[127.0.0.1]:`+p.port+`"]`, "allow_relay = true")
	o.serve(t)

	o.submit(t, letter("silence"), "nobody@partner.example> NOTIFY=NEVER")
	o.wantQueueEmpty(t)
	o.submit(t, letter("closed"), "x@closed.example")
	_, report := readReport(t, o, o.wantMail(t, anna, 1)[0])
	if r := report.Recipients[0]; r.Status != [3]int{5, 1, 10} || r.Final != "x@closed.example" {
		t.Errorf("the report says %+v", r)
	}

	// From a remote server to a relayed domain, with an unknown sender.
	s := o.mustDial(t, "smtp")
	s.ask(t, "250", "EHLO other.example")
	reply, err := s.transact("gone@partner.example", letter("for badmail"), "nobody@relayed.example")
	if err != nil || !strings.HasPrefix(reply, "250 ") {
		t.Fatalf("relaying: %q, %v", reply, err)
	}
	var files []string
	eventually(t, "badmail holds the report", func() bool {
		files, _ = filepath.Glob(o.path("data", "badmail", "*.*"))
		return len(files) == 3
	})
	suffixes := []string{}
	for _, file := range files {
		suffixes = append(suffixes, filepath.Ext(file))
	}
	slices.Sort(suffixes)
	if !slices.Equal(suffixes, []string{".eml", ".env", ".txt"}) {
		t.Errorf("badmail holds %v", files)
	}
	for _, file := range files {
		text := read(t, file)
		if want := map[string]string{".eml": "nobody@relayed.example", ".env": "gone@partner.example", ".txt": "550 5.1.1"}[filepath.Ext(file)]; !strings.Contains(text, want) {
			t.Errorf("%s lacks %q:\n%s", file, want, text)
		}
	}
	o.wantQueueEmpty(t)
	if n := len(o.files(t, anna)); n != 1 {
		t.Errorf("anna has %d messages, want only the one about closed.example", n)
	}
}

// TestOutboundParameters checks that the parameters of smtplib and swaks in MAIL and RCPT reach
// smtp-sink unchanged, which then has to report. A sink without DSN gets none of them, and anna
// gets the report that her message was relayed (RFC 3461 §5.2.2). Senders who did not request it do
// not get that report.
func TestOutboundParameters(t *testing.T) {
	knows, old := newSink(t, ""), newSink(t, "", "-N")
	o := partner(t, knows.port)
	o.route(t, `domains = ["old.example"]`, `smart_host = ["[127.0.0.1]:`+old.port+`"]`)
	o.serve(t)
	file := o.write(t, "message.eml", letter("parameters"))

	send := map[string]func(t *testing.T, to, orcpt string){
		"python3": func(t *testing.T, to, orcpt string) {
			mustRun(t, o.command(t, python(), "testdata/dsn.py", o.port("submission"), anna, annaPassword, anna, to, file,
				"BODY=8BITMIME RET=HDRS ENVID=order+2B17", "NOTIFY=SUCCESS ORCPT=rfc822;"+orcpt))
		},
		// swaks has no option for these parameters, and appends a ">" to an address.
		"swaks": func(t *testing.T, to, orcpt string) {
			cmd := o.command(t, "swaks", "--server", "127.0.0.1", "--port", o.port("submission"), "--ehlo", "pc."+domain,
				"--auth", "PLAIN", "--auth-user", anna, "--auth-password", annaPassword, "--data", "@"+file,
				"--from", anna+"> BODY=8BITMIME RET=HDRS ENVID=order+2B17", "--to", to+"> NOTIFY=SUCCESS ORCPT=rfc822;"+orcpt)
			mustRun(t, cmd)
		},
	}
	for _, program := range []string{"python3", "swaks"} {
		t.Run(program, func(t *testing.T) {
			needs(t, program)
			end := map[string]string{"swaks": ">"}[program]
			before, beforeOld := len(knows.dumps(t)), len(old.dumps(t))
			o.empty(t, anna)

			send[program](t, "bob@partner.example", "B+2Bb@partner.example")
			d := knows.wantDumps(t, before+1)[before]
			if !slices.Contains(strings.Fields(d.mail), "RET=HDRS") || !strings.Contains(d.mail+" ", " ENVID=order+2B17"+end+" ") {
				t.Errorf("MAIL came with %q", d.mail)
			}
			if want := "ORCPT=rfc822;B+2Bb@partner.example" + end; !strings.Contains(strings.ToLower(d.rcpt[0]), strings.ToLower(want)) ||
				!slices.Contains(strings.Fields(d.rcpt[0]), "NOTIFY=SUCCESS") {
				t.Errorf("RCPT came with %q", d.rcpt)
			}
			o.wantQueueEmpty(t)
			if n := len(o.files(t, anna)); n > 0 {
				t.Errorf("anna has %d reports, which are the other server's to make", n)
			}

			send[program](t, "bob@old.example", "B+2Bb@old.example")
			d = old.wantDumps(t, beforeOld+1)[beforeOld]
			if strings.Contains(d.mail+d.rcpt[0], "RET=") || strings.Contains(d.mail+d.rcpt[0], "NOTIFY=") {
				t.Errorf("parameters for who does not know them: %q, %q", d.mail, d.rcpt)
			}
			_, ours := readReport(t, o, o.wantMail(t, anna, 1)[0])
			if r := ours.Recipients[0]; r.Action != string(dsn.Relayed) || r.Status[0] != 2 || r.ORcpt != "B+b@old.example"+end || ours.EnvID != "order+17"+end {
				t.Errorf("the report says %+v", ours)
			}
			o.wantQueueEmpty(t)
		})
	}
	o.empty(t, anna)
	o.submit(t, letter("unasked"), "bob@old.example")
	o.wantQueueEmpty(t)
	if n := len(o.files(t, anna)); n > 0 {
		t.Errorf("anna has %d reports that she did not ask for", n)
	}
}

// TestOutboundSuccess lets Postfix report a success to anna; our own parser must find the
// identifiers that she sent.
func TestOutboundSuccess(t *testing.T) {
	o, dns := sendingOffice(t)
	dns.SetAddrs("partner.example", netip.MustParseAddr("127.0.0.1"))
	p := newPostfix(t, "relayhost = [127.0.0.1]:"+o.port("smtp")+"\n")
	o.set(t, "outbound", "port", p.port)
	o.serve(t)
	o.submitWith(t, "RET=HDRS ENVID=order+2B17", letter("success"), "bob@partner.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Bob@partner.example")
	p.wantMail(t, 1)
	_, ours := readReport(t, o, o.wantMail(t, anna, 1)[0])
	if r := ours.Recipients[0]; ours.EnvID != "order+17" || r.Action != string(dsn.Delivered) || r.ORcpt != "Bob@partner.example" ||
		r.Final != "bob@partner.example" || ours.ReportingMTA != "mx.isp.example" {
		t.Errorf("the report says %+v", ours)
	}
	o.wantQueueEmpty(t)
}

// TestOutboundForgedSender checks that no report goes to the remote address of a victim, whatever a
// stranger does with that address. Undeliverable mail is kept, and an administrator can see it.
func TestOutboundForgedSender(t *testing.T) {
	victims := newSink(t, "")
	o := partner(t, victims.port)
	o.serve(t)
	o.pillarbox(t, "", "admin", "quota", "set", boss, "--size", "10KB")
	o.pillarbox(t, "", "admin", "alias", "add", "away@"+domain, "x@closed.example")
	const victim = "victim@partner.example"

	s := o.mustDial(t, "smtp")
	if hello := s.ask(t, "250", "EHLO evil.example"); strings.Contains(hello, "DSN") {
		t.Errorf("delivery reports are offered to a stranger: %q", hello)
	}
	send := func(want, mail, message string, rcpt ...string) {
		t.Helper()
		s.ask(t, "250", "MAIL FROM:<%s>%s", victim, mail)
		for _, to := range rcpt {
			s.ask(t, "250", "RCPT TO:<%s", to)
		}
		s.ask(t, "354", "DATA")
		if reply := s.ask(t, "", "%s", stuff(message)); !strings.Contains(reply, want) {
			t.Errorf("answered %q, want %q", reply, want)
		}
	}
	large := letter("buy cheap stuff") + strings.Repeat(strings.Repeat("y", 70)+"\r\n", 300)
	send("250 2.6.0", " RET=FULL ENVID=x1", letter("success"), anna+"> NOTIFY=SUCCESS,FAILURE,DELAY")
	send("but not for "+boss+": full", "", large, anna+">", boss+">")
	send("452 4.2.2", " SIZE=1000", large, anna+">", boss+">")
	send("250 2.6.0", "", letter("a forward that is refused"), "away@"+domain+"> NOTIFY=FAILURE")
	o.wantQueueEmpty(t)
	o.wantMail(t, anna, 2)
	if dumps := victims.dumps(t); len(dumps) > 0 {
		t.Errorf("the victim got %d reports, the first with %q", len(dumps), dumps[0])
	}
	list := o.pillarbox(t, "", "admin", "badmail", "list")
	if !strings.Contains(list, victim) || !strings.Contains(list, "x@closed.example: failed") || strings.Count(list, "P3_") != 1 {
		t.Errorf("badmail:\n%s", list)
	}
}

// TestOutboundBadmailCeiling checks that strangers cannot make badmail grow beyond its limit, and
// that the postmaster is notified once.
func TestOutboundBadmailCeiling(t *testing.T) {
	o, dns := sendingOffice(t)
	dns.SetMX("closed.example", ".")
	o.set(t, "reports", "badmail_size", `"1MB"`)
	o.serve(t)
	o.pillarbox(t, "", "admin", "alias", "add", "away@"+domain, "x@closed.example")
	s := o.mustDial(t, "smtp")
	s.ask(t, "250", "EHLO evil.example")
	large := letter("grow") + strings.Repeat(strings.Repeat("y", 70)+"\r\n", 8000)
	for range 4 {
		if reply, err := s.transact("victim@partner.example", large, "away@"+domain); err != nil || !strings.HasPrefix(reply, "250 ") {
			t.Fatalf("%q, %v", reply, err)
		}
	}
	o.wantQueueEmpty(t)
	if list := o.pillarbox(t, "", "admin", "badmail", "list"); strings.Count(list, "P3_") != 1 {
		t.Errorf("badmail:\n%s", list)
	}
	if text := o.wantMail(t, anna, 1)[0]; !strings.Contains(text, "Subject: Mail that can neither be delivered nor reported piles up\r\n") {
		t.Errorf("the postmaster got\n%s", text)
	}
	if check := o.pillarbox(t, "", "admin", "check"); !strings.Contains(check, "note: badmail: ") || !strings.Contains(check, "nothing is wrong") {
		t.Errorf("check:\n%s", check)
	}
}
