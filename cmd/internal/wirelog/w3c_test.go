package wirelog

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"pillarbox/mailstore/dialogue"
)

// begun is a Saturday.
var begun = time.Date(2006, 11, 18, 13, 17, 36, 500e6, time.UTC)

func scanner() *dialogue.Client {
	return &dialogue.Client{
		Service: "smtp", Session: 7, Remote: netip.MustParseAddrPort("10.3.5.1:4711"),
		Local: netip.MustParseAddrPort("10.2.0.1:25"),
	}
}

func allFields() W3C {
	return W3C{
		Version: "1.0", Computer: "MAIL01", Site: "SMTPSVC1", Fields: FieldNames(), RollOver: Daily,
		Zone: time.UTC,
	}
}

func TestW3CLine(t *testing.T) {
	took := 516 * time.Millisecond
	pop := scanner()
	pop.Service, pop.Local = "pop3", netip.MustParseAddrPort("[2001:db8::1]:110")
	for name, tt := range map[string]struct {
		c    dialogue.Command
		want string
	}{
		"MAIL": {dialogue.Command{Name: "pc7", Verb: "MAIL", Arg: "FROM:<anna@office.example>", Status: 250, In: 34, Out: 44, Taken: took},
			"2006-11-18 13:17:37 10.3.5.1 pc7 SMTPSVC1 MAIL01 10.2.0.1 25 MAIL - +FROM:<anna@office.example> 250 0 44 34 516 SMTP - - - -\n"},
		"no command": {dialogue.Command{Status: 500},
			"2006-11-18 13:17:36 10.3.5.1 - SMTPSVC1 MAIL01 10.2.0.1 25 - - - 500 0 0 0 0 SMTP - - - -\n"},
		"blanks and controls": {dialogue.Command{Verb: "USER", Arg: "a b\t\x1b[2J\r\n\xff\u2028ü", Name: "x\ny"},
			"2006-11-18 13:17:36 10.3.5.1 x?y SMTPSVC1 MAIL01 10.2.0.1 25 USER - +a+b??[2J????ü 0 0 0 0 0 SMTP - - - -\n"},
		"POP3": {dialogue.Command{Client: pop, Name: "anna@office.example", Verb: "RETR", Arg: "1", Status: 200, Out: 900},
			"2006-11-18 13:17:36 10.3.5.1 anna@office.example SMTPSVC1 MAIL01 2001:db8::1 110 RETR - +1 200 0 900 0 0 POP3 - - - -\n"},
		"no addresses": {dialogue.Command{Client: &dialogue.Client{Service: "local"}, Verb: "QUIT", Status: 221},
			"2006-11-18 13:17:36 - - SMTPSVC1 MAIL01 - 0 QUIT - - 221 0 0 0 0 SMTP - - - -\n"},
	} {
		tt.c.Begun = begun
		if tt.c.Client == nil {
			tt.c.Client = scanner()
		}
		if got := allFields().Line(&tt.c); got != tt.want {
			t.Errorf("%s:\n%swant\n%s", name, got, tt.want)
		}
	}
}

func TestW3CFieldsKeepTheirOrder(t *testing.T) {
	w := allFields()
	w.Fields = []string{"sc-status", "time", "c-ip", "time"}
	want := "#Software: Pillarbox 1.0\n#Version: 1.0\n#Date: 2006-11-18 13:17:36\n#Fields: time c-ip sc-status\n"
	if got := w.header(begun); got != want {
		t.Errorf("%q", got)
	}
	if got := w.Line(&dialogue.Command{Client: scanner(), Begun: begun, Status: 250}); got != "13:17:36 10.3.5.1 250\n" {
		t.Errorf("%q", got)
	}
}

func TestFileNames(t *testing.T) {
	late := time.Date(2006, 11, 30, 23, 30, 0, 0, time.UTC)
	east := time.FixedZone("east", 3600)
	for _, tt := range []struct {
		r    RollOver
		at   time.Time
		zone *time.Location
		want string
	}{
		{Hourly, begun, time.UTC, "ex06111813.log"}, {Daily, begun, time.UTC, "ex061118.log"},
		{Weekly, begun, time.UTC, "ex061103.log"}, // 1 November was a Wednesday
		{Weekly, begun.AddDate(0, 0, 1), time.UTC, "ex061104.log"},
		{Weekly, late, time.UTC, "ex061105.log"}, {Weekly, late, east, "ex061201.log"},
		{Monthly, late, time.UTC, "ex0611.log"}, {Daily, late, east, "ex061201.log"},
	} {
		w := W3C{RollOver: tt.r, Zone: tt.zone}
		f := w.Format()
		if got := f.Name(tt.at); got != tt.want || !f.Ours(got) {
			t.Errorf("%s, %v: %s, want %s", tt.r, tt.at, got, tt.want)
		}
	}
	f := W3C{RollOver: BySize, MaxSize: 5, Zone: time.UTC}.Format()
	if got := f.Sized(12); got != "extend12.log" || !f.Ours(got) || f.Ours("ex.log") || f.Ours("extra.log") {
		t.Error(got)
	}
}

func TestProtocolLine(t *testing.T) {
	l := dialogue.Line{Time: begun, Client: scanner(), From: dialogue.FromClient, Text: "RCPT TO:<a@b>\r\n\x1b[0m"}
	if got, want := ProtocolLine(l), "2006-11-18T13:17:36.500Z smtp 7 C: RCPT TO:<a@b>???[0m\n"; got != want {
		t.Errorf("%q", got)
	}
	l.From, l.Text = dialogue.Note, "connected"
	if got, want := ProtocolLine(l), "2006-11-18T13:17:36.500Z smtp 7 -: connected, client 10.3.5.1:4711, server 10.2.0.1:25\n"; got != want {
		t.Errorf("%q", got)
	}
	l.Text = strings.Repeat("ä", 5000)
	if got := ProtocolLine(l); len(got) > 1200 {
		t.Errorf("%d octets", len(got))
	}
}

func TestChosen(t *testing.T) {
	net := []netip.Prefix{netip.MustParsePrefix("10.3.0.0/16")}
	other := []netip.Prefix{netip.MustParsePrefix("10.4.0.0/16")}
	for _, tt := range []struct {
		c    Chosen
		want bool
	}{
		{Chosen{}, true}, {Chosen{Services: []string{"smtp"}}, true}, {Chosen{Services: []string{"pop3"}}, false},
		{Chosen{Networks: net}, true}, {Chosen{Networks: other}, false},
		{Chosen{[]string{"pop3"}, net}, false}, {Chosen{[]string{"smtp", "pop3"}, net}, true},
	} {
		if got := tt.c.Match(scanner()); got != tt.want {
			t.Errorf("%+v: %v", tt.c, got)
		}
	}
}
