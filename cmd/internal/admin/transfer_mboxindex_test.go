package admin

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestMboxKinds reads the mbox files of other programs. want is the text of each message.
func TestMboxKinds(t *testing.T) {
	const a, b = "From a@x.example Thu Jan  1 00:00:00 2015\n", "From b@x.example Fri Jan  2 00:00:00 2015\n"
	two := []string{"Subject: 1\r\n\r\na\r\n", "Subject: 2\r\n\r\nb\r\n"}
	twice := []string{two[0], two[0], two[1], two[1]} // in the order of arrival
	plain := a + "Subject: 1\n\na\n\n" + b + "Subject: 2\n\nb\n\n"
	for name, tt := range map[string]struct {
		file string
		want []string
	}{
		"plain":               {plain, two},
		"CRLF":                {strings.ReplaceAll(plain, "\n", "\r\n"), two},
		"CR CR LF":            {strings.ReplaceAll(plain, "\n", "\r\r\n"), two},
		"CR":                  {strings.ReplaceAll(plain, "\n", "\r"), two},
		"CR after LF":         {plain + strings.ReplaceAll(plain, "\n", "\r"), twice},
		"LF after CR":         {strings.ReplaceAll(plain, "\n", "\r") + plain, twice},
		"BOM":                 {"\xef\xbb\xbf" + plain, two},
		"BOM in the middle":   {plain + "\xef\xbb\xbf" + plain, twice},
		"blank first lines":   {"\n\r\n\n" + plain, two},
		"blank first, CR":     {"\r" + strings.ReplaceAll(plain, "\n", "\r"), two},
		"no blank line":       {a + "Subject: 1\n\na\n" + b + "Subject: 2\n\nb\n", two},
		"no blank line, CR":   {strings.ReplaceAll(a+"Subject: 1\n\na\n"+b+"Subject: 2\n\nb", "\n", "\r"), two},
		"no end":              {strings.TrimRight(plain, "\n"), two},
		"date of RFC 5322":    {strings.NewReplacer("Thu Jan  1 00:00:00 2015", "Thu, 01 Jan 2015 00:00:00 +0000", "Fri Jan  2 00:00:00 2015", "2015-01-02 00:00:00").Replace(plain), two},
		"no date":             {strings.NewReplacer(" Thu Jan  1 00:00:00 2015", "", " Fri Jan  2 00:00:00 2015", "").Replace(plain), two},
		"UUCP":                {strings.ReplaceAll(plain, "2015", "2015 remote from gate"), two},
		"separator twice":     {a + plain, two},
		"quoted separator":    {a + ">" + plain, two},
		"headers only":        {a + "Subject: 1\n\n" + b + "Subject: 2\n", []string{"Subject: 1\r\n", "Subject: 2\r\n"}},
		"text like separator": {a + "Subject: 1\n\na\nFrom my end: 10:30, 2015\n\nFrom Bob\n\nFrom 10:30 in May 2015 on, no\n\nFrom c@x.example\nhello\n", []string{"Subject: 1\r\n\r\na\r\nFrom my end: 10:30, 2015\r\n\r\nFrom Bob\r\n\r\nFrom 10:30 in May 2015 on, no\r\n\r\nFrom c@x.example\r\nhello\r\n"}},
		"mboxrd":              {a + "Subject: 1\n\n>From a\n>>From b\n", []string{"Subject: 1\r\n\r\nFrom a\r\n>From b\r\n"}},
		"lone CR in the text": {a + "Subject: 1\n\na\rFrom c Fri Jan  2 00:00:00 2015\rSubject: b\n\n", []string{"Subject: 1\r\n\r\na\r\nFrom c Fri Jan  2 00:00:00 2015\r\nSubject: b\r\n"}},
		"attached": {a + "Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: message/rfc822\n\n" + b + "Subject: 2\n\nb\n--x--\n",
			[]string{"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: message/rfc822\r\n\r\n" + strings.TrimSpace(b) + "\r\nSubject: 2\r\n\r\nb\r\n--x--\r\n"}},
	} {
		t.Run(name, func(t *testing.T) { wantMbox(t, tt.file, tt.want) })
	}
}

// TestContentLength reads mboxcl and mboxcl2, with right and wrong values.
func TestContentLength(t *testing.T) {
	const a, b = "From a@x.example Thu Jan  1 00:00:00 2015\n", "From b@x.example Fri Jan  2 00:00:00 2015\n"
	sized := func(body, length string) string {
		if length == "" {
			length = fmt.Sprint(len(body))
		}
		return "Content-Length: " + length + "\n\n" + body
	}
	text := func(message string) string {
		return strings.ReplaceAll(strings.TrimRight(message, "\n")+"\n", "\n", "\r\n")
	}
	inner := "one\n\n" + b + "Subject: not a message\n\nFrom here\n>From there\n"
	for name, tt := range map[string]struct {
		file string
		want []string
	}{
		"right":      {a + sized("one\n", "") + "\n" + b + sized("two\n", ""), []string{text(sized("one\n", "")), text(sized("two\n", ""))}},
		"no blank":   {a + sized("one\n", "") + b + sized("two\n", ""), []string{text(sized("one\n", "")), text(sized("two\n", ""))}},
		"mboxcl2":    {a + sized(inner, "") + "\n" + b + sized("two\n", ""), []string{text(sized(inner, "")), text(sized("two\n", ""))}},
		"at the end": {a + sized(inner, ""), []string{text(sized(inner, ""))}},
		"mboxcl":     {a + sized("one\n>From b\n", "") + "\n" + b + sized("two\n", ""), []string{"Content-Length: 12\r\n\r\none\r\nFrom b\r\n", text(sized("two\n", ""))}},
		"too large":  {a + sized("one\n", "99999") + "\n" + b + sized("two\n", ""), []string{text(sized("one\n", "99999")), text(sized("two\n", ""))}},
		"too small":  {a + sized("one\n", "2") + "\n" + b + sized("two\n", "0"), []string{text(sized("one\n", "2")), text(sized("two\n", "0"))}},
		"nonsense":   {a + sized("one\n", "-1") + "\n" + b + sized("two\n", "99999999999999999999"), []string{text(sized("one\n", "-1")), text(sized("two\n", "99999999999999999999"))}},
		"around a message with a right value": {a + sized("one\n", "70") + "\n" + b + sized("two\n", ""),
			[]string{text(sized("one\n", "70")), text(sized("two\n", ""))}},
	} {
		t.Run(name, func(t *testing.T) {
			if strings.HasPrefix(name, "around") && len(tt.file) != len(a)+len("Content-Length: 70\n\n")+70 {
				t.Fatalf("the wrong value does not reach the end of the %d octets", len(tt.file)-len(a)-20)
			}
			wantMbox(t, tt.file, tt.want)
		})
	}
}

// wantMbox expects these messages in an mbox file.
func wantMbox(t *testing.T, file string, want []string) {
	t.Helper()
	o := mailOffice(t)
	source := filepath.Join(t.TempDir(), "mail")
	if err := os.WriteFile(source, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	done, err := o.ImportMail(t.Context(), "anna", source, TransferOptions{})
	if err != nil || done.PassedOver.Messages() > 0 {
		t.Errorf("%+v, %v", done, err)
	}
	if got := texts(letters(t, o, "anna")); !slices.Equal(got, want) {
		t.Errorf("%q\nbecomes %q\n   want %q", file, got, want)
	}
}

// Files of other kinds are refused by their names, and an mbox by the line.
func TestImportWrongKind(t *testing.T) {
	o := mailOffice(t)
	dir := t.TempDir()
	for i, tt := range []struct{ file, want string }{
		{"!BDN\x00", "it is an Outlook data file (.pst or .ost)"},
		{"\x1f\x8b\x08\x00", "it is a compressed file (gzip)"},
		{"\xff\xfeF\x00r\x00o\x00m\x00 \x00", "it is text in UTF-16"},
		{"\xcf\xad\x12\xfe", "it is a folder of Outlook Express (.dbx)"},
		{"\n\nDear all,\n\nFrom a@x.example Thu Jan  1 00:00:00 2015\nSubject: x\n", `line 3 is "Dear all,"`},
		{"Subject: 1\n\na\n\nFrom a@x.example Thu Jan  1 00:00:00 2015\nSubject: 2\n\nb\n", "line 5 begins a message"},
		{"\n\r\n\r", "no messages"},
		{"", "no messages"},
	} {
		source := filepath.Join(dir, fmt.Sprint(i))
		put(t, dir, map[string]string{fmt.Sprint(i): tt.file})
		done, err := o.ImportMail(t.Context(), "anna", source, TransferOptions{})
		if err == nil || !strings.Contains(err.Error(), tt.want) || done.Messages > 0 {
			t.Errorf("%q: %+v, %v; want %q", tt.file, done, err, tt.want)
		}
	}
	put(t, dir, map[string]string{"maildir/cur/1.a": "\x1f\x8b\x08", "maildir/cur/2.a": "Subject: x\n"})
	done, err := o.ImportMail(t.Context(), "anna", filepath.Join(dir, "maildir"), TransferOptions{})
	if err == nil || done.Messages != 1 || len(done.Failed) != 1 || !strings.Contains(done.Failed[0].Error, "gzip") {
		t.Errorf("%+v, %v", done, err)
	}
}

// A mailbox that another program writes during an import does not give half a message.
func TestMboxReplaced(t *testing.T) {
	o := mailOffice(t)
	source := filepath.Join(t.TempDir(), "mail")
	one := "From a@x.example Thu Jan  1 00:00:00 2015\nSubject: 1\n\na\n\n"
	if err := os.WriteFile(source, []byte(one), 0o600); err != nil {
		t.Fatal(err)
	}
	from, _, err := openSource(source, FormatGuess, SourceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(source, 10); err != nil {
		t.Fatal(err)
	}
	if _, err := from.messages[0].copyTo(o.Store.Create()); err == nil || !strings.Contains(err.Error(), "has changed") {
		t.Errorf("%v", err)
	}
}

// What the mail program had deleted, its own data and empty messages are left out and counted.
func TestImportPassedOver(t *testing.T) {
	dir := t.TempDir()
	const from = "From - Sat Apr  6 20:13:31 2013\n"
	put(t, dir, map[string]string{
		"thunderbird": from + "X-Mozilla-Status: 0001\nSubject: kept\n\na\n\n" + from + "X-Mozilla-Status: 0009\nSubject: gone\n\na\n\n",
		"pine": from + "From: Mail System Internal Data <MAILER-DAEMON@h>\nSubject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\nX-IMAP: 1 2\n\nx\n\n" +
			from + "Subject: kept\nX-IMAPbase: 1 2\nStatus: RO\nX-Status: AF\n\na\n\n" + from + "Subject: gone\nX-Status: FD\n\na\n\n" + from + "Subject: gone too\nStatus: ROD\n\na\n\n",
		"quoting":                           from + "From: a@x.example\nSubject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\nStatus: Delivered\n\nWhat is this?\n\n",
		"empty":                             from + "\n" + from + "\n\n" + from + "Subject: kept\n\n",
		"maildir/cur/1400000000.a.h:2,S":    "Subject: kept\n\n",
		"maildir/cur/1400000001.a.h:2,ST":   "Subject: gone\n\n",
		"maildir/cur/1400000002.a.h;2,T":    "Subject: gone too\n\n",
		"maildir/cur/1400000003.T.h:2,S":    "",
		"maildir/cur/.hidden":               "x\n",
		"maildir/new/1400000004.a.h":        "Subject: new\n\n",
		"maildir/tmp/1400000005.a.h":        "half\n",
		"maildir/.Sub/cur/1400000006.a.h:2": "Subject: sub\n\n",
		"maildir/.Trash/cur/1400000007.a.h": "Subject: trash\n\n",
		"files/a.eml":                       "X-Mozilla-Status: 0008\nSubject: gone\n\n",
		"files/b.eml":                       "Subject: kept\n\n",
		"files/c.eml":                       "\n\n",
		"files/sub/deep/d.eml":              "Subject: deep\n\n",
		"files/Archive":                     from + "Subject: archive\n\n",
	})
	for _, tt := range []struct {
		source               string
		opts                 SourceOptions
		messages             int
		deleted, data, empty int
		folders              string
	}{
		{"thunderbird", SourceOptions{}, 1, 1, 0, 0, ""},
		{"thunderbird", SourceOptions{Deleted: true}, 2, 0, 0, 0, ""},
		{"pine", SourceOptions{}, 1, 2, 1, 0, ""},
		{"pine", SourceOptions{Deleted: true}, 3, 0, 1, 0, ""},
		{"quoting", SourceOptions{}, 1, 0, 0, 0, ""},
		{"empty", SourceOptions{Deleted: true}, 1, 0, 0, 2, ""},
		{"maildir", SourceOptions{}, 2, 2, 0, 1, ".Sub .Trash"},
		{"maildir", SourceOptions{Recursive: true}, 3, 3, 0, 1, ""},
		{"maildir", SourceOptions{Recursive: true, Deleted: true}, 6, 0, 0, 1, ""},
		{"maildir/.Trash", SourceOptions{}, 1, 0, 0, 0, ""},
		{"files", SourceOptions{}, 1, 1, 0, 1, "Archive sub"},
		{"files", SourceOptions{Recursive: true}, 3, 1, 0, 1, ""},
	} {
		o := mailOffice(t)
		done := transferred(t, tt.messages, 0)(o.ImportMail(t.Context(), "anna", filepath.Join(dir, tt.source), TransferOptions{SourceOptions: tt.opts}))
		slices.Sort(done.PassedOver.Folders)
		p := PassedOver{Deleted: tt.deleted, Internal: tt.data, Empty: tt.empty, Folders: strings.Fields(tt.folders)}
		if fmt.Sprint(done.PassedOver) != fmt.Sprint(p) {
			t.Errorf("%s %+v: %+v, want %+v", tt.source, tt.opts, done.PassedOver, p)
		}
		transferred(t, 0, tt.messages)(o.ImportMail(t.Context(), "anna", filepath.Join(dir, tt.source), TransferOptions{SourceOptions: tt.opts}))
	}
}

// A message gets the time at which it arrived at the other server.
func TestImportTimes(t *testing.T) {
	dir := t.TempDir()
	const head = "Received: from a by b; \n\tTue, 4 Mar 2014 10:00:00 +0100\nDate: Mon, 3 Mar 2014 10:00:00 +0100\n"
	for i, tt := range []struct{ name, text, want string }{
		{"a.eml", head + "Subject: x\n", "20140304090000"},
		{"a.eml", "Date: Mon, 3 Mar 2014 10:00:00 +0100\n", "20140303090000"},
		{"a.eml", "Date: Mon, 3 Mar 2914 10:00:00 +0100\n", "20100102030405"},
		{"a.eml", "Subject: x\n", "20100102030405"},
		{"a.eml", "From - Sat Apr  6 20:13:31 2013\n" + head, "20130406201331"},
		{"mail", "From - Sat Apr  6 20:13:31 2013\n" + head, "20130406201331"},
		{"mail", "From a@x.example\n" + head, "20140304090000"},
		{"cur/1400000001.a.h:2,S", head, "20140513165321"},
		{"cur/x.a.h:2,S", head, "20100102030405"},
	} {
		source := filepath.Join(dir, fmt.Sprint(i))
		put(t, source, map[string]string{tt.name: tt.text})
		then := time.Date(2010, 1, 2, 3, 4, 5, 0, time.UTC)
		if err := os.Chtimes(filepath.Join(source, tt.name), then, then); err != nil {
			t.Fatal(err)
		}
		if tt.name == "mail" {
			source += "/mail"
		}
		from, _, err := openSource(source, FormatGuess, SourceOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got := from.messages[0].arrived.UTC().Format("20060102150405"); got != tt.want {
			t.Errorf("%s %q: %s, want %s", tt.name, tt.text, got, tt.want)
		}
		from.Close()
	}
}

// FuzzMboxIndex checks that the messages of any file lie one after the other within it, and that a
// file is read to the end whatever it holds.
func FuzzMboxIndex(f *testing.F) {
	f.Add("From a Thu Jan  1 00:00:00 2015\nContent-Length: 1\n\na\n\nFrom b Thu Jan  1 00:00:00 2015\r\rx")
	f.Add("\xef\xbb\xbf\r\nFrom a@b\rX-Mozilla-Status: 8\r\r--\rContent-Type: message/rfc822\r\rFrom -\r")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := indexMbox(strings.NewReader(text))
		if err != nil {
			return
		}
		at := int64(0)
		for _, m := range all {
			if m.start < at || m.end < m.start || m.end > int64(len(text)) {
				t.Fatalf("message %d to %d after %d, of %d octets", m.start, m.end, at, len(text))
			}
			at = m.end
		}
		if n := len(all); n > 0 && len(bytes.Trim([]byte(text[all[n-1].end:]), "\r\n")) > 0 {
			t.Fatalf("%q after the last message of %q", text[all[n-1].end:], text)
		}
	})
}
