package dsn

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pillarbox/etc/lab/dsntest"
	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
)

var update = flag.Bool("update", false, "write the golden files")

const invoice = "Message-ID: <1@office.example>\r\nFrom: anna@office.example\r\nSubject: =?utf-8?Q?M=C3=A4rz?=\r\n =?utf-8?Q?_und_mehr?=\r\n\r\nHello\r\n"

func opener(text string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }
}

func at(hour int) time.Time { return time.Date(2026, 11, 22, hour, 5, 0, 0, time.FixedZone("", 3600)) }

func report(recipients ...Recipient) Report {
	return Report{
		ID: "R0001", Hostname: "mail.office.example", To: addr.Address{Local: "anna", Domain: "office.example"},
		EnvID: "QQ314159", Arrived: at(4), ReceivedFrom: "pc12", Now: at(5), Recipients: recipients,
		Original: opener(invoice), OriginalSize: int64(len(invoice)), MaxReturn: 1 << 20,
	}
}

func at2(local string) addr.Address { return addr.Address{Local: local, Domain: "customer.example"} }

func said(code int, enhanced [3]int, text string) smtp.Result {
	return smtp.Result{Reply: smtp.Reply{Code: code, Enhanced: enhanced, Text: text}, MTA: "mx.customer.example"}
}

func scenarios() map[string]Report {
	failure := report(
		Recipient{Final: at2("bob"), Action: Failed, Result: said(550, [3]int{5, 1, 1}, "No such user\r\nhere, sorry"), LastAttempt: at(4)},
		Recipient{Final: at2("carla"), ORcptType: "RFC822", ORcpt: "sales@customer.example", Action: Failed,
			Result: said(452, [3]int{4, 2, 2}, "Mailbox is full; this answer is a long one, to see how it is broken into lines in both parts"), LastAttempt: at(4)},
		Recipient{Final: at2("dora"), Action: Failed, Result: smtp.Result{Reply: smtp.Reply{Code: 554, Enhanced: [3]int{5, 4, 6}, Text: "Too many hops"}}},
	)
	delay := report(Recipient{Final: at2("bob"), Action: Delayed, LastAttempt: at(4),
		Result: smtp.Result{Reply: smtp.Reply{Code: 451, Enhanced: [3]int{4, 4, 1}, Text: "No answer"}}})
	delay.RetryUntil = at(4).AddDate(0, 0, 2)
	mixed := report(
		Recipient{Final: at2("bob"), Action: Delivered, Result: smtp.Result{Status: smtp.Delivered}},
		Recipient{Final: at2("carla"), Action: Relayed, Result: said(250, [3]int{2, 0, 0}, "queued")},
		Recipient{Final: at2("all"), Action: Expanded},
	)
	utf8 := report(Recipient{Final: at2("jürgen"), ORcptType: "UTF-8", ORcpt: "jürgen@customer.example", Action: Failed,
		Result: said(553, [3]int{5, 6, 7}, "no SMTPUTF8 — schade")})
	utf8.Original = opener(strings.Replace(invoice, "anna@", "änna@", 1))
	large := failure
	large.Recipients, large.OriginalSize = failure.Recipients[:1], 2<<20
	return map[string]Report{"failure": failure, "delay": delay, "success": mixed, "utf8": utf8, "large": large}
}

func compose(t testing.TB, r Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := Compose(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestGolden(t *testing.T) {
	for name, r := range scenarios() {
		for _, r.Language = range []Language{English, German} {
			got := compose(t, r)
			path := filepath.Join("testdata", name+"."+string(r.Language)+".eml")
			if *update {
				os.MkdirAll("testdata", 0o777)
				if err := os.WriteFile(path, []byte(got), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("%s differs:\n%s", path, got)
			}
		}
	}
}

// checkLines: every server must accept the lines of a report (RFC 5321 §4.5.3.1.6).
func checkLines(t testing.TB, text string) {
	t.Helper()
	if !strings.HasSuffix(text, "\r\n") {
		t.Error("the last line has no end")
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\r\n"), "\r\n") {
		if len(line) > 998 || strings.ContainsAny(line, "\r\n\x00") {
			t.Errorf("a line of %d octets: %.60q", len(line), line)
		}
	}
}

func TestLines(t *testing.T) {
	for _, r := range scenarios() {
		checkLines(t, compose(t, r))
	}
}

// TestInjection: untrusted text adds no field and no part to the report.
func TestInjection(t *testing.T) {
	for _, evil := range []string{
		"x\r\nBcc: victim@other.example\r\n\r\nbody", "x\nFinal-Recipient: rfc822; other", "x\rAction: delivered", "\r\n\r\n--=_\r\n",
		"x\x00y", "x\u2028Bcc: y", "x\u0085Bcc: y", strings.Repeat("long ", 5000), strings.Repeat("x", 100000), "=?utf-8?Q?=0D=0ABcc:_victim?=", "\xff\xfe", "a\u202ex",
	} {
		r := report(Recipient{
			Final: addr.Address{Local: evil, Domain: "x.example"}, ORcptType: evil, ORcpt: evil, Action: Action(evil), LastAttempt: at(1),
			Result: smtp.Result{Reply: smtp.Reply{Code: 550, Enhanced: [3]int{5, -1, 70000}, Text: evil}, MTA: evil},
		})
		r.ID, r.Hostname, r.EnvID, r.ReceivedFrom, r.Ret, r.Language = evil, evil, evil, evil, evil, Language(evil)
		r.Original = opener("Subject: " + evil + "\r\n\r\n" + evil)
		text := compose(t, r)
		message, err := mail.ReadMessage(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		known := "From To Subject Date Message-Id Auto-Submitted Mime-Version Content-Type Content-Transfer-Encoding"
		for name, values := range message.Header {
			if !strings.Contains(known, name) || len(values) != 1 {
				t.Errorf("%.40q made the field %s: %q", evil, name, values)
			}
		}
		p, err := dsntest.Parse(strings.NewReader(text))
		if err != nil || len(p.Recipients) != 1 || p.Recipients[0].Action != string(Failed) || p.Recipients[0].Status != [3]int{5, 0, 0} {
			t.Errorf("%.40q: %v, %+v", evil, err, p)
		}
		before, _, ok := strings.Cut(text, "Content-Type: message/rfc822\r\n")
		if !ok {
			before, _, ok = strings.Cut(text, "Content-Type: message/global\r\n")
		}
		if !ok {
			t.Errorf("%.40q: the original is missing", evil)
		}
		checkLines(t, before+"\r\n")
	}
}

func TestBoundaryInOriginal(t *testing.T) {
	r := report(Recipient{Final: at2("bob"), Action: Failed, Result: said(550, [3]int{}, "no")})
	fake := "--" + r.boundary(0) + "\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; x\r\n\r\nFinal-Recipient: rfc822; y\r\nAction: delivered\r\n\r\n--" + r.boundary(1) + "--\r\n"
	r.Original = opener("Subject: x\r\n\r\n" + fake)
	text := compose(t, r)
	if strings.Contains(strings.SplitN(text, "\r\n\r\n", 2)[0], r.boundary(0)) {
		t.Error("the boundary stands in the original")
	}
	if p, err := dsntest.Parse(strings.NewReader(text)); err != nil || len(p.Recipients) != 1 || !strings.Contains(text, fake) {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestReturned(t *testing.T) {
	body := strings.Repeat("line\r\n", 10000)
	long := "Subject: x\r\nX-Long: " + strings.Repeat("y ", 60000) + "\r\n\r\nend"
	for name, tt := range map[string]struct {
		ret       string
		action    Action
		max, size int64
		original  string
		kind      string // of the last part
		returned  string
	}{
		"whole":                   {"", Failed, 1 << 20, 0, "A: b\r\n\r\n" + body, "message/rfc822", "A: b\r\n\r\n" + body},
		"full":                    {"FULL", Failed, 1 << 20, 0, "A: b\r\n\r\nx", "message/rfc822", "A: b\r\n\r\nx"},
		"headers":                 {"HDRS", Failed, 1 << 20, 0, "A: b\r\n\r\nx", "text/rfc822-headers", "A: b\r\n"},
		"full, but a delay":       {"FULL", Delayed, 1 << 20, 0, "A: b\r\n\r\nx", "text/rfc822-headers", "A: b\r\n"},
		"full, but too large":     {"FULL", Failed, 10, 11, "A: b\r\n\r\nxyz", "text/rfc822-headers", "A: b\r\n"},
		"larger than it was said": {"FULL", Failed, 10, 5, "A: b\r\n\r\nxyz", "text/rfc822-headers", "A: b\r\n"},
		"exactly so large":        {"FULL", Failed, 11, 11, "A: b\r\n\r\nxyz", "message/rfc822", "A: b\r\n\r\nxyz"},
		"8-bit body":              {"", Failed, 1 << 20, 0, "A: b\r\n\r\n\xe4\r\n", "message/rfc822", "A: b\r\n\r\n\xe4\r\n"},
		"8-bit body, headers":     {"HDRS", Failed, 1 << 20, 0, "A: b\r\n\r\n\xe4\r\n", "text/rfc822-headers", "A: b\r\n"},
		"8-bit header":            {"", Failed, 1 << 20, 0, "A: ä\r\n\r\nx", "message/global", "A: ä\r\n\r\nx"},
		"8-bit header, headers":   {"HDRS", Failed, 1 << 20, 0, "A: ä\r\n\r\nx", "message/global-headers", "A: ä\r\n"},
		"no body":                 {"", Failed, 1 << 20, 0, "A: b\r\n", "message/rfc822", "A: b\r\n"},
		"empty line first":        {"HDRS", Failed, 1 << 20, 0, "\r\nbody", "text/rfc822-headers", ""},
		"empty":                   {"", Failed, 1 << 20, 0, "", "message/rfc822", ""},
		"long header":             {"HDRS", Failed, 1 << 20, 0, long, "text/rfc822-headers", long[:48<<10]},
		"long header, whole":      {"", Failed, 1 << 20, 0, long, "message/rfc822", long},
	} {
		r := report(Recipient{Final: at2("bob"), Action: tt.action})
		r.Ret, r.MaxReturn, r.OriginalSize, r.Original = tt.ret, tt.max, tt.size, opener(tt.original)
		text := compose(t, r)
		delimiter := "\r\n--" + r.boundary(0)
		parts := strings.Split(text, delimiter)
		if len(parts) != 5 {
			t.Fatalf("%s: %d parts", name, len(parts))
		}
		header, returned, _ := strings.Cut(parts[3], "\r\n\r\n")
		if !strings.Contains(header+"\r\n", "Content-Type: "+tt.kind+"\r\n") || !strings.HasPrefix(returned, tt.returned) || len(returned) > max(len(tt.returned), maxHeader) {
			t.Errorf("%s: %s\nwith %d octets %.40q", name, header, len(returned), returned)
		}
		eight := strings.ContainsFunc(returned, func(r rune) bool { return r > 127 })
		for _, header := range []string{header, parts[0]} {
			if strings.Contains(header, "Content-Transfer-Encoding: 8bit") != eight {
				t.Errorf("%s: 8-bit is %v in\n%s", name, eight, header)
			}
		}
		if e, err := r.Envelope(); err != nil || e.Body8 != eight || e.UTF8 || !e.From.IsZero() || e.To[0].Address != r.To {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
	}
}

func TestOriginalFails(t *testing.T) {
	gone := errors.New("gone")
	r := report(Recipient{Final: at2("bob"), Action: Failed})
	r.Original = func() (io.ReadCloser, error) { return nil, gone }
	if p, err := dsntest.Parse(strings.NewReader(compose(t, r))); err != nil || p.Returned != "" || len(p.Recipients) != 1 {
		t.Errorf("%+v, %v", p, err)
	}
	opens := 0
	r.Original = func() (io.ReadCloser, error) {
		if opens++; opens > 1 {
			return nil, gone
		}
		return opener(invoice)()
	}
	if err := Compose(io.Discard, r); !errors.Is(err, gone) {
		t.Error(err)
	}
}

func TestNoReport(t *testing.T) {
	nobody, nowhere, evil := report(), report(Recipient{Final: at2("bob")}), report(Recipient{Final: at2("bob")})
	nowhere.To = addr.Address{}
	evil.To.Domain = "x>\r\nBcc: y@z"
	for _, r := range []Report{nobody, nowhere, evil} {
		if err := Compose(io.Discard, r); !errors.Is(err, ErrNoReport) {
			t.Error(err)
		}
		if _, err := r.Envelope(); !errors.Is(err, ErrNoReport) {
			t.Error(err)
		}
	}
}

// Each trouble has a text in each language.
func TestHints(t *testing.T) {
	for _, language := range []Language{English, German} {
		hints := phrasesIn(language).hints
		for what := unknown; what <= refused; what++ {
			if h := hints[what]; h.advice == "" || h.meaning == "" && what != unknown {
				t.Errorf("%s: nothing for %d", language, what)
			}
		}
	}
	for status, want := range map[[3]int]trouble{
		{5, 1, 1}: noMailbox, {5, 1, 2}: noDomain, {5, 1, 10}: noDomain, {5, 2, 2}: full, {5, 3, 4}: tooLarge, {5, 4, 6}: loop, {4, 4, 1}: unreachable,
		{4, 4, 7}: unreachable, {4, 4, 3}: noRoute, {5, 7, 1}: refused, {5, 7, 26}: notTrusted, {5, 6, 7}: needsUTF8, {5, 6, 3}: badHeader, {5, 6, 1}: badForm, {5, 5, 3}: tooMany, {5, 0, 0}: unknown, {5, 9, 9}: unknown,
	} {
		if got := troubleOf(status); got != want {
			t.Errorf("%v: %d, want %d", status, got, want)
		}
	}
}

// A report to an international address needs SMTPUTF8 (RFC 6533 §5).
func TestInternationalSender(t *testing.T) {
	r := report(Recipient{Final: at2("bob"), Action: Failed, Result: said(550, [3]int{5, 1, 1}, "größer")})
	r.To.Local, r.Original = "änna", nil
	e, err := r.Envelope()
	if err != nil || !e.UTF8 || !e.Body8 {
		t.Errorf("%+v, %v", e, err)
	}
	text := compose(t, r)
	for _, want := range []string{"\r\nTo: <änna@office.example>\r\n", "\r\nContent-Type: message/global-delivery-status\r\n", "größer"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	checkRoundTrip(t, r, text)
}
