package absence

import (
	"errors"
	"flag"
	"fmt"
	"net/mail"
	"os"
	"strings"
	"testing"
	"time"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/durable"
	"pillarbox/mailstore/head"
)

var update = flag.Bool("update", false, "write the golden file")

func address(s string) addr.Address {
	if s == "" {
		return addr.Address{}
	}
	a, err := addr.Parse(s)
	if err != nil {
		panic(err)
	}
	return a
}

func own() []addr.Address {
	return []addr.Address{address("anna@office.example"), address("sales@office.example")}
}

// TestDays: the first and the last day both belong to the absence.
func TestDays(t *testing.T) {
	zone := time.FixedZone("CET", 3600)
	s := &Settings{From: "2026-12-24", To: "2027-01-06", Text: "away"}
	for at, want := range map[string]State{
		"2026-12-23 23:59:59": Future,
		"2026-12-24 00:00:00": Active,
		"2026-12-31 12:00:00": Active,
		"2027-01-06 23:59:59": Active,
		"2027-01-07 00:00:00": Past,
	} {
		now, err := time.ParseInLocation(time.DateTime, at, zone)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.StateAt(now); got != want {
			t.Errorf("%s: %s, want %s", at, got, want)
		}
	}
	now := time.Now()
	if got := (&Settings{Text: "away"}).StateAt(now); got != Active {
		t.Errorf("without days it is %s", got)
	}
	if got := (&Settings{Text: "away", Off: true}).StateAt(now); got != Off {
		t.Errorf("switched off it is %s", got)
	}
	if got := (*Settings)(nil).StateAt(now); got != Off {
		t.Errorf("without settings it is %s", got)
	}
}

func TestCheck(t *testing.T) {
	good := Settings{From: "2026-12-24", To: "2026-12-24", Subject: "Weg", Text: "Bis bald!\n", Days: 1}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for what, s := range map[string]Settings{
		"no text":          {},
		"order of days":    {From: "2026-12-24", To: "2026-12-23", Text: "x"},
		"no day":           {From: "24.12.2026", Text: "x"},
		"impossible day":   {To: "2026-02-30", Text: "x"},
		"two lines":        {Subject: "a\r\nBcc: x@far.example", Text: "x"},
		"control":          {Text: "a\x00b"},
		"long text":        {Text: strings.Repeat("x", 10001)},
		"negative":         {Text: "x", Days: -1},
		"more than spring": {Text: "x", Days: 91},
	} {
		if err := s.Check(); !errors.Is(err, ErrSettings) {
			t.Errorf("%s: the error is %v", what, err)
		}
	}
}

// TestSilent has the cases of RFC 3834 §2. The word is part of the reason; "" wants an answer.
func TestSilent(t *testing.T) {
	const to = "To: Anna <Anna@Office.example>\r\n"
	for _, c := range []struct{ what, sender, header, word string }{
		{"a person", "kurt@far.example", to, ""},
		{"copy", "kurt@far.example", "To: x@far.example\r\nCc: anna@office.example\r\n", ""},
		{"alias", "kurt@far.example", "To: sales@office.example\r\n", ""},
		{"plus", "kurt@far.example", "To: anna+shop@office.example\r\n", ""},
		{"other with the same beginning", "kurt@far.example", "To: annabel@office.example\r\n", "To or Cc"},
		{"written by a person", "kurt@far.example", to + "Auto-Submitted: no\r\n", ""},
		{"with a comment", "kurt@far.example", to + "Auto-Submitted: No (really)\r\n", ""},
		{"after a comment", "kurt@far.example", to + "Auto-Submitted: (by X) auto-replied\r\n", "automatic"},
		{"twice", "kurt@far.example", to + "Auto-Submitted: no\r\nAuto-Submitted: auto-generated\r\n", "automatic"},
		{"bulk, twice", "kurt@far.example", to + "Precedence: normal\r\nPRECEDENCE: Bulk\r\n", "bulk"},
		{"suppressed, twice", "kurt@far.example", to +
			"X-Auto-Response-Suppress: DR\r\nX-Auto-Response-Suppress: OOF\r\n", "no automatic answer"},
		{"null sender", "", to, "no sender"},
		{"itself", "anna@office.example", to, "itself"},
		{"own alias", "Sales@office.example", to, "itself"},
		{"daemon", "MAILER-DAEMON@far.example", to, "program"},
		{"owner", "owner-list@far.example", to, "program"},
		{"owner behind", "list-owner@far.example", to, "program"},
		{"request", "list-request@far.example", to, "program"},
		{"bounces", "bounces+7-anna=office.example@far.example", to, "program"},
		{"no reply", "no-reply@shop.example", to, "program"},
		{"list", "kurt@far.example", to + "List-Id: <l.far.example>\r\n", "mailing list"},
		{"list by another field", "kurt@far.example", to + "List-Unsubscribe: <mailto:x@y>\r\n", "mailing list"},
		{"bulk", "kurt@far.example", to + "Precedence: Bulk\r\n", "bulk"},
		{"precedence list", "kurt@far.example", to + "Precedence: list\r\n", "list"},
		{"junk", "kurt@far.example", to + "Precedence: junk\r\n", "junk"},
		{"first class", "kurt@far.example", to + "Precedence: first-class\r\n", ""},
		{"generated", "kurt@far.example", to + "Auto-Submitted: auto-generated\r\n", "automatic"},
		{"replied", "kurt@far.example", to + "auto-submitted: auto-replied; owner-email=\"x@y\"\r\n", "automatic"},
		{"notified", "kurt@far.example", to + "Auto-Submitted: auto-notified\r\n", "automatic"},
		{"exchange", "kurt@far.example", to + "X-Auto-Response-Suppress: DR, OOF\r\n", "wants no"},
		{"exchange other", "kurt@far.example", to + "X-Auto-Response-Suppress: DR, RN\r\n", ""},
		{"loop", "kurt@far.example", to + "X-Loop: anna@office.example\r\n", "automatic"},
		{"blind copy", "kurt@far.example", "To: x@far.example\r\n", "To or Cc"},
		{"no header", "kurt@far.example", "", "To or Cc"},
	} {
		why := Silent(&Facts{
			Sender: address(c.sender), Head: head.Parse([]byte(c.header + "\r\n")), Own: own(),
			Plain: func(a addr.Address) addr.Address {
				local, _, plus := strings.Cut(a.Local, "+")
				if !plus {
					return addr.Address{}
				}
				return addr.Address{Local: local, Domain: a.Domain}
			},
		})
		if (why == "") != (c.word == "") || !strings.Contains(why, c.word) {
			t.Errorf("%s: the reason is %q, want %q", c.what, why, c.word)
		}
	}
}

// TestNoAnswerToNotice: a notice of one mailbox is not answered by another one, even if it had a
// sender.
func TestNoAnswerToNotice(t *testing.T) {
	n := Notice{From: address("kurt@far.example"), To: address("anna@office.example"), Text: "away", ID: "1", Hostname: "h"}
	about, _, _ := strings.Cut(string(n.Compose()), "\r\n\r\n")
	why := Silent(&Facts{Sender: n.From, Head: head.Parse([]byte(about)), Own: own()})
	if !strings.Contains(why, "Auto-Submitted") {
		t.Errorf("the reason is %q", why)
	}
}

func TestComposeGolden(t *testing.T) {
	const name = "testdata/compose.golden"
	var b strings.Builder
	for _, c := range []struct{ what, name, subject, header string }{
		{"plain", "", "", "Subject: hello\r\nMessage-ID: <1@far.example>\r\n"},
		{"thread", "Jürgen \"JJ\" Öz", "Bin weg", "Message-ID: <3@far.example>\r\nReferences: <1@far.example>\r\n <2@far.example>\r\n"},
		{"without references", "John Doe", "", "Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\r\nMessage-ID:\r\n <3@far.example>\r\nIn-Reply-To: <2@far.example> (yesterday)\r\n"},
		{"hostile", "", "", "Subject: =?utf-8?Q?a=0D=0ABcc:_x@far.example?=\r\nMessage-ID: <a b>\r\n"},
		{"long", "", "", "Subject: " + strings.Repeat("word ", 60) + "\r\n"},
		{"nothing", "", "", ""},
	} {
		n := Notice{
			From: address("anna@office.example"), Name: c.name, To: address("kurt@far.example"),
			Subject: c.subject, Text: "Ich bin im Büro nicht zu erreichen.\r\n.\nBis bald\n\n",
			About: head.Parse([]byte(c.header + "\r\n")), ID: "ID", Hostname: "mail.office.example",
			Date: time.Date(2026, 12, 24, 8, 0, 0, 0, time.UTC),
		}
		text := n.Compose()
		if _, err := mail.ReadMessage(strings.NewReader(string(text))); err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
		fmt.Fprintf(&b, "# %s\n%s\n", c.what, strings.ReplaceAll(string(text), "\r\n", "\n"))
		for line := range strings.SplitSeq(string(text), "\r\n") {
			if len(line) > 200 || strings.ContainsAny(line, "\r\n") {
				t.Errorf("%s: a line is %q", c.what, line)
			}
		}
	}
	if *update {
		if err := os.WriteFile(name, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("the notices differ from %s:\n%s", name, b.String())
	}
}

func TestMemory(t *testing.T) {
	root, err := durable.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	m := OpenMemory(root)
	now := time.Date(2026, 12, 24, 8, 0, 0, 500, time.UTC)
	key := Key(address("Anna@office.example"), address("kurt@far.example"), "")
	first := func(key string, at time.Time) bool {
		may, err := m.Take(key, at.AddDate(0, 0, -7), at)
		if err != nil {
			t.Fatal(err)
		}
		return may
	}
	if !first(key, now) || first(key, now) || first(key, now.AddDate(0, 0, 6)) {
		t.Error("a sender got a second notice within a week")
	}
	if first(Key(address("anna@office.example"), address("Kurt@far.example"), ""), now) {
		t.Error("the sender's name in other letters got a second notice")
	}
	if !first(Key(address("anna@office.example"), address("kurt@far.example"), "rule"), now) {
		t.Error("another answer was not sent")
	}
	m = OpenMemory(root) // a restart
	if sent, err := m.Sent(key, now.AddDate(0, 0, -7)); err != nil || !sent {
		t.Errorf("after a restart: %v, %v", sent, err)
	}
	if !first(key, now.AddDate(0, 0, 8)) {
		t.Error("no second notice after eight days")
	}
	if text, err := durable.ReadSmall(root, File, durable.MaxSmall); err != nil || strings.Contains(string(text), "kurt") {
		t.Errorf("the file has the sender in clear: %s, %v", text, err)
	}
}

// TestMemoryIsBounded: the oldest are forgotten first.
func TestMemoryIsBounded(t *testing.T) {
	s := make(sent)
	now := time.Date(2026, 12, 24, 8, 0, 0, 0, time.UTC)
	for i := range maxSent + 1 {
		s[fmt.Sprint(i)] = now.Add(time.Duration(i) * time.Second)
	}
	s.shrink()
	if len(s) > maxSent || !s.has(fmt.Sprint(maxSent), now) || s.has("0", now) {
		t.Errorf("%d are left", len(s))
	}
}

func TestLinear(t *testing.T) {
	mailtest.Linear(t, func(text string) {
		h := head.Parse([]byte(text))
		Silent(&Facts{Sender: address("kurt@far.example"), Head: h, Own: own()})
		n := Notice{From: own()[0], To: own()[0], Text: text, About: h}
		n.Compose()
	}, mailtest.Headers("To", "Subject", "References", "Message-ID")...)
}
