package pickup

import (
	"errors"
	"io"
	"net/mail"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
)

func addressesOf(env *smtp.Envelope) string {
	texts := []string{env.From.String() + ":"}
	for _, to := range env.To {
		texts = append(texts, to.Address.String())
	}
	return strings.Join(texts, " ")
}

func TestMessage(t *testing.T) {
	for name, test := range map[string]struct {
		in, domain string
		envelope   string // "from: to to"
		out        string
	}{
		"by lines on top, with LF": {
			in:       "x-sender: Anna <anna@office.example>\nX-RECEIVER: bert@else.example\nX-Receiver: <carl@else.example>\nFrom: a@b.example\nTo: nobody@b.example\n\nText\n",
			envelope: "anna@office.example: bert@else.example carl@else.example",
			out:      "From: a@b.example\r\nTo: nobody@b.example\r\n\r\nText\r\n",
		},
		"by the header": {
			in:       "From: \"Meier, Anna\" <anna@office.example>, x@office.example\r\nTo: bert@else.example,\r\n\tCarl <carl@else.example>\r\nCc: BERT@else.example\r\nBcc: dora@else.example\r\nSubject: a\r\n b\r\n\r\nText\r\n",
			envelope: "anna@office.example: bert@else.example carl@else.example dora@else.example",
			out:      "From: \"Meier, Anna\" <anna@office.example>, x@office.example\r\nTo: bert@else.example,\r\n\tCarl <carl@else.example>\r\nCc: BERT@else.example\r\nSubject: a\r\n b\r\n\r\nText\r\n",
		},
		"the Sender field": {
			in:       "Sender: boss@office.example\nFrom: a@b.example\nTo: c@d.example\n\n",
			envelope: "boss@office.example: c@d.example",
			out:      "Sender: boss@office.example\r\nFrom: a@b.example\r\nTo: c@d.example\r\n\r\n",
		},
		"null sender, no empty line, no last line end": {
			in:       "X-Sender: <>\nFrom: a@b.example\nTo: c@d.example",
			envelope: ": c@d.example",
			out:      "From: a@b.example\r\nTo: c@d.example\r\n\r\n",
		},
		"sent anew": {
			in:       "Resent-To: new@d.example\nResent-Bcc: blind@d.example\nFrom: a@b.example\nTo: c@d.example\nBcc: old@d.example\n\nx",
			envelope: "a@b.example: new@d.example blind@d.example",
			out:      "Resent-To: new@d.example\r\nFrom: a@b.example\r\nTo: c@d.example\r\n\r\nx\r\n",
		},
		"folded lines for us, Return-Path, an X-Sender of another program": {
			in:       "X-Receiver:\n c@d.example\nReturn-Path: <evil@b.example>\nFrom: a@b.example\nX-Sender: old@b.example\n\nx",
			envelope: "a@b.example: c@d.example",
			out:      "From: a@b.example\r\n\r\nx\r\n",
		},
		"names without a domain, a group, BOM, CR CR LF, eight bits": {
			in: "\ufeffFrom: J\xfcrgen <jurgen>\r\r\nTo: All: anna, bert@else.example;\r\r\n\r\r\n\xfc\xff\rX", domain: "office.example",
			envelope: "jurgen@office.example: anna@office.example bert@else.example",
			out:      "From: J\xfcrgen <jurgen>\r\nTo: All: anna, bert@else.example;\r\n\r\n\xfc\xff\r\nX\r\n",
		},
		"an mbox file": {
			in:       "From anna Sat Jan  3 01:05:34 1996\nFrom: a@b.example\nTo: c@d.example\n\nx\n",
			envelope: "a@b.example: c@d.example",
			out:      "From: a@b.example\r\nTo: c@d.example\r\n\r\nx\r\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := ReadFile(iotest.OneByteReader(strings.NewReader(test.in)))
			if err != nil {
				t.Fatal(err)
			}
			env, err := l.Envelope(addr.Domain(test.domain), 100)
			if err != nil {
				t.Fatal(err)
			}
			if got := addressesOf(env); got != test.envelope {
				t.Errorf("envelope %q, want %q", got, test.envelope)
			}
			if out, err := io.ReadAll(l.Reader()); err != nil || string(out) != test.out {
				t.Errorf("%q, %v\nwant %q", out, err, test.out)
			}
		})
	}
}

func TestBadMessage(t *testing.T) {
	for in, reason := range map[string]string{
		"To: c@d.example\n\nx": "no From field",
		"X-Sender: a@b.example\nX-Receiver: c@d.example\nSubject: x\n\n": "no From field",
		"From: a@b.example\n\nx":                                          "no recipient",
		"From: a@b.example\nTo: undisclosed-recipients:;\n\nx":            "no recipient",
		"From: a@b.example\nTo: anna\n\nx":                                `"anna" has no @domain`,
		"From: a@b.example\nTo: Anna Meier\n\nx":                          "To field cannot be read",
		"From: a@b.example\nTo: <a@b.example> <c@d.example>\n\nx":         "without a comma",
		"From: nobody here\nTo: c@d.example\n\nx":                         "From field cannot be read",
		"X-Receiver: a@b.example, c@d.example\nFrom: a@b.example\n\n":     "must contain exactly one address",
		"X-Sender: a@b.c\nX-Sender: a@b.c\nFrom: a@b.c\nTo: a@b.c\n\n":    "2 X-Sender lines",
		"From: a@b.c\nX-Receiver: c@d.example\nTo: a@b.c\n\n":             "very top",
		"From: a@b.c\nhello\n\n":                                          `line 2 is not a header field ("hello")`,
		" From: a@b.c\n\n":                                                "line 1 is not a header field",
		"From: a@b.c\nTo: a@b.c\x00\n\n":                                  "NUL",
		"From: a@b.c\nTo: c@d.e\nX: " + strings.Repeat("x", maxHeader):    "longer than 256 KiB",
		"From: a@b.c\nTo: c@d.e\n" + strings.Repeat("Received: x\n", 101): "in a mail loop",
	} {
		l, err := ReadFile(strings.NewReader(in))
		if err == nil {
			_, err = l.Envelope("", 100)
		}
		if bad, ok := errors.AsType[*BadError](err); !ok || !strings.Contains(bad.Reason, reason) {
			t.Errorf("%.60q: %v, want %q", in, err, reason)
		}
	}
}

func TestInputOfPrograms(t *testing.T) {
	l, err := ReadInput(strings.NewReader("X-Sender: kept@b.example\nSubject: x\nno field\nmore"))
	if err != nil {
		t.Fatal(err)
	}
	l.Complete("id", "mail.office.example", time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC))
	l.Add("From", "root\r\nBcc: x")
	out, err := io.ReadAll(l.Reader())
	const want = "X-Sender: kept@b.example\r\nSubject: x\r\nDate: Sun, 22 Nov 2026 08:00:00 +0000\r\nMessage-ID: <id@mail.office.example>\r\nFrom: rootBcc: x\r\n\r\nno field\r\nmore\r\n"
	if err != nil || string(out) != want {
		t.Errorf("%q, %v\nwant %q", out, err, want)
	}
}

func TestQualify(t *testing.T) {
	l, err := ReadInput(strings.NewReader("From: root (Cron Daemon)\nTo: anna, \"b c\" , X <bert>,\n carl@d.example\nSubject: anna\n\n"))
	if err != nil {
		t.Fatal(err)
	}
	l.Qualify("office.example")
	out, _ := io.ReadAll(l.Reader())
	const want = "From: root@office.example (Cron Daemon)\r\nTo: anna@office.example, \"b c\"@office.example , X <bert@office.example>,\r\n carl@d.example\r\nSubject: anna\r\n\r\n"
	if string(out) != want {
		t.Errorf("%q\nwant %q", out, want)
	}
}

func TestMailboxes(t *testing.T) {
	for value, want := range map[string]string{
		"":                     "",
		" , ,a@b,":             "a@b",
		"a@b (c, (d) <e@f>)":   "a@b",
		"a @ b . c":            "a@b.c",
		`"a, b" <c@d>`:         "c@d",
		`"a b"@c`:              `"a b"@c`,
		"<@x,@y:a@b>":          "a@b",
		"a@[IPv6:2001:db8::1]": "a@[IPv6:2001:db8::1]",
		"G: a@b, c@d; e@f":     "a@b c@d e@f",
		"=?x?q?y?= <a@b>":      "a@b",
		"<a@b> c":              "!",
		"a b":                  "!",
		"<>":                   "!",
		"<a@b":                 "!",
		"(a":                   "!",
		`"a`:                   "!",
		"<a, b>":               "!",
		"<a <b>>":              "!",
		"a@b <c@d> : x":        "!",
	} {
		found, err := mailboxes(value)
		var specs []string
		for _, m := range found {
			specs = append(specs, m.spec)
		}
		got := strings.Join(specs, " ")
		if err != nil {
			got = "!"
		}
		if got != want {
			t.Errorf("%q: %q (%v), want %q", value, got, err, want)
		}
	}
}

// FuzzMessage checks that no file leads to an invented address, and that neither Bcc nor the
// lines of the envelope are sent.
func FuzzMessage(f *testing.F) {
	f.Add("X-Sender: <a@b.example>\nx-receiver: c@d.example\nFrom: \"x, y\" <e@f.example>\nTo: g (h) @ i.example, J: k@l.example;\nBcc:\n m@n.example\n\nBcc: body\n")
	f.Add("From: a@b.example\r\nResent-Bcc: c@d.example\rBCC : e@f.example\r\r\n\r\n.\r\n")
	f.Add("\ufeffFrom x\nFrom: <@a,@b:c@d.example>\nTo: \"a\\\"b\"@c.example")
	f.Fuzz(func(t *testing.T, text string) {
		l, err := ReadFile(strings.NewReader(text))
		if err != nil {
			return
		}
		env, err := l.Envelope("", 100)
		out, readErr := io.ReadAll(l.Reader())
		if readErr != nil {
			t.Fatal(readErr)
		}
		header, _, _ := strings.Cut("\r\n"+string(out), "\r\n\r\n")
		for line := range strings.SplitSeq(header, "\r\n") {
			name, _, _ := strings.Cut(strings.ToLower(line), ":")
			if slices.Contains([]string{"bcc", "resent-bcc", "x-sender", "x-receiver",
				"return-path"}, strings.TrimRight(name, " \t")) {
				t.Fatalf("%q is still in %q", line, header)
			}
		}
		if strings.Contains(strings.ReplaceAll(string(out), "\r\n", ""), "\r") ||
			strings.Contains(strings.ReplaceAll(string(out), "\r\n", ""), "\n") {
			t.Fatalf("a bare line end in %q", out)
		}
		if err != nil {
			return
		}
		all := []addr.Address{env.From}
		for _, to := range env.To {
			all = append(all, to.Address)
		}
		for _, a := range all {
			if bare := strings.NewReplacer(`\`, "", "\r", "", "\n", ""); !a.IsZero() && !strings.Contains(bare.Replace(text), bare.Replace(a.Local)) {
				t.Fatalf("%q is not in %q", a.Local, text)
			}
		}
	})
}

// FuzzMailboxes checks that we find the same addresses as the standard library.
func FuzzMailboxes(f *testing.F) {
	f.Add(`"x, y" <e@f.example>, g (h) @ i.example, J: k@l.example;, "q r"@s.example`)
	f.Fuzz(func(t *testing.T, value string) {
		theirs, err := mail.ParseAddressList(value)
		ours, ourErr := ParseList(value, "")
		if err != nil || ourErr != nil {
			return
		}
		if len(theirs) != len(ours) {
			t.Fatalf("%q: %v, and not %v", value, ours, theirs)
		}
		for i := range ours {
			at := strings.LastIndexByte(theirs[i].Address, '@')
			if local := theirs[i].Address[:at]; local != ours[i].Local {
				t.Fatalf("%q: %q, and not %q", value, ours[i].Local, local)
			}
		}
	})
}
