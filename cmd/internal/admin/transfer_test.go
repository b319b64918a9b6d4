package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"pillarbox/mailstore/mailtext"
)

// mailOffice returns an office with two mailboxes.
func mailOffice(t *testing.T) *Service {
	t.Helper()
	o := office(t)
	c, err := o.AddDomain("office.example")
	must(t, c, err)
	for _, name := range []string{"anna", "boss"} {
		c, err := o.AddMailbox(name, NewMailbox{Quota: "none"})
		must(t, c, err)
	}
	return o
}

func boxDir(o *Service, user string) string {
	return filepath.Join(o.Root.Name(), "mailbox/office.example/P3_"+user+".mbx")
}

// put writes files.
func put(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// letter is a message in a mailbox.
type letter struct{ uid, text string }

// letters returns the messages of a mailbox as POP3 sends them.
func letters(t *testing.T, o *Service, user string) []letter {
	t.Helper()
	dir := "mailbox/office.example/P3_" + user + ".mbx"
	if err := o.Store.Check(dir); err != nil {
		t.Error(err)
	}
	held, err := o.Store.Snapshot(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := []letter{}
	for i, m := range held.Messages() {
		c, err := held.Open(i)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(c)
		c.Close()
		if err != nil || int64(len(text)) != m.Size {
			t.Fatalf("%d of %d bytes, %v", len(text), m.Size, err)
		}
		all = append(all, letter{m.UID, string(text)})
	}
	return all
}

func texts(all []letter) []string {
	var texts []string
	for _, l := range all {
		texts = append(texts, l.text)
	}
	return texts
}

// transferred expects a transfer to succeed.
func transferred(t *testing.T, messages, already int) func(Transfer, error) Transfer {
	return func(done Transfer, err error) Transfer {
		t.Helper()
		if err != nil || done.Messages != messages || done.Already != already || len(done.Failed) > 0 {
			t.Fatalf("%+v, %v; want %d messages, %d already there", done, err, messages, already)
		}
		return done
	}
}

// awkward are messages that a faulty transfer might change.
var awkward = []string{
	"", "\r\n", "Subject: header only\r\n\r\n", "From me\r\n>From me\r\n>>From me\r\n> From me\r\nFro\r\n",
	"\r\n\r\n", ".\r\n..\r\n.a\r\n", "\x00\xff\r\n", "a\r\n\r\nFrom x Mon Jan  1 10:00:00 2024\r\n\r\n\r\n",
	strings.Repeat(">", 200_000) + "From x\r\n", strings.Repeat("long", 50_000) + "\r\n", "same\r\n", "same\r\n",
}

// An export followed by an import keeps the messages and their unique-ids, in every format. A
// repetition of either adds nothing.
func TestRoundTrip(t *testing.T) {
	for _, format := range []MailFormat{FormatEML, FormatMbox, FormatMaildir} {
		t.Run(string(format), func(t *testing.T) {
			o := mailOffice(t)
			for _, text := range awkward {
				in := o.Store.Create()
				io.WriteString(in, text)
				if _, err := in.Commit([]string{"mailbox/office.example/P3_anna.mbx"}); err != nil {
					t.Fatal(err)
				}
			}
			want := letters(t, o, "anna")
			opts, target := TransferOptions{Format: format}, filepath.Join(t.TempDir(), "copy.mbox")
			transferred(t, len(want), 0)(o.ExportMail(t.Context(), "anna", target, opts))
			if format != FormatMbox {
				transferred(t, 0, len(want))(o.ExportMail(t.Context(), "anna", target, opts))
			}
			noLeftovers(t, target)
			transferred(t, len(want), 0)(o.ImportMail(t.Context(), "boss", target, TransferOptions{}))
			if got := letters(t, o, "boss"); !slices.Equal(got, want) {
				t.Errorf("%d messages have become these %d: %.300q", len(want), len(got), got)
			}
			transferred(t, 0, len(want))(o.ImportMail(t.Context(), "boss", target, TransferOptions{}))
			transferred(t, 0, len(want))(o.ImportMail(t.Context(), "anna", target, TransferOptions{}))
		})
	}
}

// noLeftovers expects only regular files of the export, readable for their owner only.
func noLeftovers(t *testing.T, target string) {
	t.Helper()
	err := filepath.Walk(target, func(path string, fi os.FileInfo, err error) error {
		if err == nil && (fi.Mode()&0o077 != 0 || strings.HasSuffix(path, ".tmp")) {
			t.Errorf("%s has the mode %v", path, fi.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Foreign files are imported in the order of their times, with complete lines, and as often as the
// source contains them.
func TestImportForeign(t *testing.T) {
	o := mailOffice(t)
	dir := t.TempDir()
	put(t, dir, map[string]string{
		"b.eml": "second\n", "a.EML": "third", "c.eml": "first\r\r\n", "z1.eml": "twin\n", "z2.eml": "twin\n",
		"notes.txt": "x", "account.json": "{}", ".hidden.eml": "x", "sub/d.eml": "x",
		"P3_20050110090047026500000003.eml": "windows\n",
	})
	os.Symlink("b.eml", filepath.Join(dir, "link.eml"))
	for name, year := range map[string]int{"b.eml": 2002, "a.EML": 2003, "c.eml": 2001, "z1.eml": 2010, "z2.eml": 2010} {
		then := time.Date(year, 1, 2, 3, 4, 5, 6, time.UTC)
		if err := os.Chtimes(filepath.Join(dir, name), then, then); err != nil {
			t.Fatal(err)
		}
	}
	done := transferred(t, 6, 0)(o.ImportMail(t.Context(), "anna", dir, TransferOptions{}))
	if done.Ignored != 2 || done.Special != 1 {
		t.Errorf("%+v ignored, want notes.txt and the link", done)
	}
	all := letters(t, o, "anna")
	want := []string{"first\r\n", "second\r\n", "third\r\n", "windows\r\n", "twin\r\n", "twin\r\n"}
	if !slices.Equal(texts(all), want) {
		t.Errorf("%q, want %q", texts(all), want)
	}
	if all[3].uid != "P3_20050110090047026500000003" {
		t.Errorf("the message of the old server has the unique-id %s", all[3].uid)
	}
	transferred(t, 0, 6)(o.ImportMail(t.Context(), "anna", dir, TransferOptions{}))
	put(t, dir, map[string]string{"new.eml": "new\n"})
	transferred(t, 1, 6)(o.ImportMail(t.Context(), "anna", dir, TransferOptions{}))
}

// An mbox of another program.
func TestImportMbox(t *testing.T) {
	o := mailOffice(t)
	dir := t.TempDir()
	put(t, dir, map[string]string{"mail": "From anna@x Mon Jan  1 10:00:00 2024\nSubject: a\n\n>From here on\nFrom now on\n\nFrom then on, nothing\n\n" +
		"From - Tue Jan  2 10:00:00 2024 +0100\nSubject: b\n\nlast line\n\n\n" +
		"From somebody whenever 10:00 2024\nSubject: c\n\nno end"})
	transferred(t, 3, 0)(o.ImportMail(t.Context(), "anna", filepath.Join(dir, "mail"), TransferOptions{}))
	all := letters(t, o, "anna")
	want := []string{
		"Subject: a\r\n\r\nFrom here on\r\nFrom now on\r\n\r\nFrom then on, nothing\r\n",
		"Subject: b\r\n\r\nlast line\r\n\r\n", "Subject: c\r\n\r\nno end\r\n",
	}
	if !slices.Equal(texts(all), want) {
		t.Errorf("%q, want %q", texts(all), want)
	}
	for i, stamp := range []string{"20240101100000", "20240102090000", "20240102090000"} {
		if !strings.HasPrefix(all[i].uid, "P3_"+stamp) {
			t.Errorf("message %d has the ID %s, want the time %s", i, all[i].uid, stamp)
		}
	}
	transferred(t, 0, 3)(o.ImportMail(t.Context(), "anna", filepath.Join(dir, "mail"), TransferOptions{}))
}

func TestImportMaildir(t *testing.T) {
	o := mailOffice(t)
	dir := t.TempDir()
	put(t, dir, map[string]string{
		"cur/1704103200.M1P2.host,S=3:2,S": "a\nb\n", "new/1704103201.M1P3.host": "c\n", "tmp/1704103202.M1P4.host": "half",
		".Sent/cur/1704103202.M1P5.host:2,S": "sent\n", "dovecot-uidlist": "x",
	})
	transferred(t, 2, 0)(o.ImportMail(t.Context(), "anna", dir, TransferOptions{}))
	got := texts(letters(t, o, "anna"))
	slices.Sort(got)
	if want := []string{"a\r\nb\r\n", "c\r\n"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// One bad message is reported by its name, and the others are imported.
func TestImportGoesOn(t *testing.T) {
	o := mailOffice(t)
	dir := t.TempDir()
	put(t, dir, map[string]string{
		"P3_20240101100000000000000001_7.eml": "short\n",     // LF, and 7 bytes when normalised: good
		"P3_20240101100000000000000002_9.eml": "short\r\n",   // cut short
		"P3_20240101100000000000000003_6.eml": "a\nb\nc\n\n", // not 6 either way
		"good.eml":                            "good\n",
	})
	var told []string
	done, err := o.ImportMail(t.Context(), "anna", dir, TransferOptions{Failed: func(f TransferFailure) { told = append(told, filepath.Base(f.File)+" "+f.Error) }})
	if err == nil || done.Messages != 2 || len(done.Failed) != 2 || len(told) != 2 || !strings.Contains(err.Error(), "2 messages were not copied") {
		t.Errorf("%+v, %v", done, err)
	}
	slices.Sort(told)
	if want := "P3_20240101100000000000000002_9.eml it has 7 bytes, its name says 9"; !strings.HasPrefix(told[0], want) {
		t.Errorf("told %q, want %q", told[0], want)
	}
	if all := letters(t, o, "anna"); len(all) != 2 || all[0] != (letter{"P3_20240101100000000000000001", "short\r\n"}) {
		t.Errorf("%q", all)
	}
}

// The import does not replace another message with the same ID.
func TestImportOtherText(t *testing.T) {
	o := mailOffice(t)
	const id = "P3_20240101100000000000000001"
	put(t, boxDir(o, "anna"), map[string]string{id + "_3.eml": "a\r\n"})
	dir := t.TempDir()
	put(t, dir, map[string]string{id + "_3.eml": "b\r\n", id + ".eml": "c\r\n"})
	transferred(t, 2, 0)(o.ImportMail(t.Context(), "anna", dir, TransferOptions{}))
	all := letters(t, o, "anna")
	if len(all) != 3 || all[0] != (letter{id, "a\r\n"}) && all[1] != (letter{id, "a\r\n"}) && all[2] != (letter{id, "a\r\n"}) {
		t.Errorf("%q", all)
	}
	transferred(t, 0, 2)(o.ImportMail(t.Context(), "anna", dir, TransferOptions{}))
}

func TestImportQuota(t *testing.T) {
	o := mailOffice(t)
	c, err := o.ChangeQuota("anna", QuotaChange{Messages: "2", Size: "1KB", Warn: "none", WarnMessages: "none"})
	must(t, c, err)
	dir := t.TempDir()
	put(t, dir, map[string]string{"a.eml": "a\n", "b.eml": "b\n", "c.eml": "c\n", "d.eml": strings.Repeat("d", 2000)})
	failed := func(f TransferFailure) { t.Errorf("told of %+v", f) }
	done, err := o.ImportMail(t.Context(), "anna", dir, TransferOptions{Failed: failed})
	if err == nil || done.Messages != 2 || len(done.Failed) != 2 || err.Error() != "the mailbox is full: 2 messages were not copied" {
		t.Errorf("%+v, %v", done, err)
	}
	for _, f := range done.Failed {
		if f.Error != "mailbox is full" {
			t.Errorf("%+v", f)
		}
	}
	transferred(t, 2, 2)(o.ImportMail(t.Context(), "anna", dir, TransferOptions{BeyondQuota: true}))
}

// The hint names limits that are large enough for all messages.
func TestImportQuotaHint(t *testing.T) {
	for target, word := range map[string]string{"anna@office.example": "mailbox", "office.example": "domain"} {
		o := mailOffice(t)
		dir := t.TempDir()
		files := map[string]string{}
		for i := range 30 {
			files[fmt.Sprintf("%d.eml", i)] = strings.Repeat("x", 99_998) + "\n"
		}
		put(t, dir, files)
		for _, c := range []QuotaChange{{Messages: "2", WarnMessages: "none"}, {Size: "1MB", Warn: "none", Messages: "none"}} {
			change, err := o.ChangeQuota(target, c)
			must(t, change, err)
			_, err = o.ImportMail(t.Context(), "anna", dir, TransferOptions{})
			hinted, ok := errors.AsType[*HintError](err)
			if !ok || !strings.HasPrefix(err.Error(), "the "+word+" is full: ") {
				t.Fatal(err)
			}
			want := "'pillarbox admin quota set " + target + " --messages 30' "
			if c.Size != "" {
				want = "'pillarbox admin quota set " + target + " --size 4MB' "
			}
			if !strings.HasPrefix(hinted.Hint, want) {
				t.Errorf("%q, want %q", hinted.Hint, want)
			}
		}
		change, err := o.ChangeQuota(target, QuotaChange{Size: "4MB", Messages: "30"})
		must(t, change, err)
		transferred(t, 20, 10)(o.ImportMail(t.Context(), "anna", dir, TransferOptions{}))
	}
}

// A second import at the same time fails and imports nothing. The lock file that stays does not
// count as mail.
func TestImportOneAtATime(t *testing.T) {
	o := mailOffice(t)
	dir := t.TempDir()
	put(t, dir, map[string]string{"a.eml": "a\n"})
	var second, other error
	transferred(t, 1, 0)(o.ImportMail(t.Context(), "anna", dir, TransferOptions{Progress: func(int, int) {
		_, second = o.ImportMail(t.Context(), "anna", dir, TransferOptions{})
		_, other = o.ImportMail(t.Context(), "boss", dir, TransferOptions{})
	}}))
	hinted, ok := errors.AsType[*HintError](second)
	if !ok || !strings.Contains(second.Error(), "another import is running") || !strings.Contains(hinted.Hint, fmt.Sprintf("process %d ", os.Getpid())) {
		t.Errorf("the second import: %v", second)
	}
	if other != nil {
		t.Errorf("into another mailbox: %v", other)
	}
	transferred(t, 0, 1)(o.ImportMail(t.Context(), "anna", dir, TransferOptions{}))
	r, err := o.CheckMail(t.Context(), "", CheckOptions{})
	wantProblems(t, r, err)
	target := t.TempDir()
	transferred(t, 1, 0)(o.ExportMail(t.Context(), "anna", target, TransferOptions{}))
	if names, err := filepath.Glob(target + "/.*"); len(names) > 0 || err != nil {
		t.Errorf("exported %q, %v", names, err)
	}
	if all := letters(t, o, "anna"); len(all) != 1 {
		t.Errorf("%q", all)
	}
	if done := transferred(t, 1, 0)(o.ImportMail(t.Context(), "boss", boxDir(o, "anna"), TransferOptions{})); done.Ignored > 0 {
		t.Errorf("%+v", done)
	}
	c, err := o.RemoveMailbox("anna")
	must(t, c, err)
}

// Pipes and other special files are neither read nor waited for.
func TestImportPipe(t *testing.T) {
	o := mailOffice(t)
	dir := t.TempDir()
	pipe := filepath.Join(dir, "f.eml")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	os.Symlink(pipe, link)
	for _, source := range []string{pipe, link, "/dev/null"} {
		for _, format := range []MailFormat{FormatGuess, FormatMbox, FormatEML} {
			if done, err := o.ImportMail(t.Context(), "anna", source, TransferOptions{Format: format}); err == nil || !strings.Contains(err.Error(), "neither a file nor a directory") || done.Format != "" {
				t.Errorf("%s: %+v, %v", source, done, err)
			}
		}
	}
	if _, _, err := fileAt(pipe).open(); err == nil { // as if it had just taken the file's place
		t.Error("a pipe was opened")
	}
	_, err := o.ImportMail(t.Context(), "anna", dir, TransferOptions{})
	if hinted, ok := errors.AsType[*HintError](err); !ok || !strings.Contains(hinted.Hint, "other files there: 2") {
		t.Errorf("a directory without messages: %v", err)
	}
	put(t, dir, map[string]string{"a.eml": "a\n"})
	done := transferred(t, 1, 0)(o.ImportMail(t.Context(), "anna", dir, TransferOptions{}))
	if done.Ignored != 2 || done.Special != 2 {
		t.Errorf("%+v", done)
	}
}

func TestImportNothing(t *testing.T) {
	o := mailOffice(t)
	dir := t.TempDir()
	put(t, dir, map[string]string{"files/a.eml": "a\n", "box/cur/1.a.host": "a\n", "empty.mbox": "", "blank/notes.txt": "", "none/.keep": "", "maildir/new/.keep": ""})
	for _, tt := range []struct {
		source string
		format MailFormat
		hint   string
	}{
		{"files", FormatMaildir, "read as eml"}, {"box", FormatEML, "read as maildir"}, {"empty.mbox", FormatGuess, "is empty"},
		{"blank", FormatGuess, "other files there: 1"}, {"none", FormatGuess, "ends in .eml"}, {"maildir", FormatGuess, "cur and new are empty"},
	} {
		done, err := o.ImportMail(t.Context(), "anna", filepath.Join(dir, tt.source), TransferOptions{Format: tt.format})
		if hinted, ok := errors.AsType[*HintError](err); !ok || !strings.Contains(err.Error(), "no messages in the format ") || !strings.Contains(hinted.Hint, tt.hint) || done.Format != "" {
			t.Errorf("%s: %+v, %v", tt.source, done, err)
		}
	}
}

func TestTransferRefused(t *testing.T) {
	o := mailOffice(t)
	dir := t.TempDir()
	put(t, dir, map[string]string{"text": "hello\n", "domain/P3_x.mbx/a.eml": "a\n", "there.mbox": ""})
	box := boxDir(o, "boss")
	for _, tt := range []struct {
		do   func() (Transfer, error)
		want string
	}{
		{func() (Transfer, error) { return o.ImportMail(t.Context(), "nobody", dir, TransferOptions{}) }, "not found"},
		{func() (Transfer, error) { return o.ImportMail(t.Context(), "anna", dir+"/none", TransferOptions{}) }, "no such file"},
		{func() (Transfer, error) { return o.ImportMail(t.Context(), "anna", dir+"/text", TransferOptions{}) }, "not an mbox file"},
		{func() (Transfer, error) { return o.ImportMail(t.Context(), "anna", dir+"/domain", TransferOptions{}) }, "contains mailboxes"},
		{func() (Transfer, error) {
			return o.ImportMail(t.Context(), "anna", dir, TransferOptions{Format: FormatMbox})
		}, "not in the format mbox"},
		{func() (Transfer, error) { return o.ExportMail(t.Context(), "nobody", dir+"/x", TransferOptions{}) }, "not found"},
		{func() (Transfer, error) { return o.ExportMail(t.Context(), "anna", box, TransferOptions{}) }, "in the data directory"},
		{func() (Transfer, error) { return o.ExportMail(t.Context(), "anna", box+"/new/sub", TransferOptions{}) }, "in the data directory"},
		{func() (Transfer, error) {
			return o.ExportMail(t.Context(), "anna", dir+"/there.mbox", TransferOptions{})
		}, "exists"},
		{func() (Transfer, error) { return o.ExportMail(t.Context(), "anna", dir+"/no/such", TransferOptions{}) }, "no such file"},
		{func() (Transfer, error) { return o.ExportMail(t.Context(), "anna", dir+"/text", TransferOptions{}) }, "not a directory"},
	} {
		if done, err := tt.do(); err == nil || !strings.Contains(err.Error(), tt.want) || done.Format != "" && done.Messages > 0 {
			t.Errorf("%+v, %v; want an error about %q", done, err, tt.want)
		}
	}
}

// An existing file with other content is kept and reported.
func TestExportOverwritesNothing(t *testing.T) {
	o := mailOffice(t)
	put(t, boxDir(o, "anna"), map[string]string{"a.eml": "a\n", "b.eml": "b\n"})
	dir := t.TempDir()
	put(t, dir, map[string]string{"a.eml": "other"})
	done, err := o.ExportMail(t.Context(), "anna", dir, TransferOptions{})
	if err == nil || done.Messages != 1 || len(done.Failed) != 1 || !strings.HasSuffix(done.Failed[0].File, "a.eml") {
		t.Errorf("%+v, %v", done, err)
	}
	for name, want := range map[string]string{"a.eml": "other", "b.eml": "b\r\n"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); string(got) != want {
			t.Errorf("%s holds %q, %v; want %q", name, got, err, want)
		}
	}
}

// A message that cannot be read is reported, and leaves nothing in the mbox.
func TestExportGoesOn(t *testing.T) {
	o := mailOffice(t)
	put(t, boxDir(o, "anna"), map[string]string{
		"P3_20240101100000000000000001_3.eml": "a\r\n", "P3_20240101100000000000000002_9.eml": "b\r\n", "P3_20240101100000000000000003_3.eml": "c\r\n",
	})
	target := filepath.Join(t.TempDir(), "a.mbox")
	done, err := o.ExportMail(t.Context(), "anna", target, TransferOptions{})
	if err == nil || done.Messages != 2 || len(done.Failed) != 1 {
		t.Errorf("%+v, %v", done, err)
	}
	got, err := os.ReadFile(target)
	if want := "From P3_20240101100000000000000001 Mon Jan  1 10:00:00 2024\r\na\r\n\r\nFrom P3_20240101100000000000000003 Mon Jan  1 10:00:00 2024\r\nc\r\n\r\n"; string(got) != want {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
}

// An interrupted transfer states how many messages are missing, and continues the next time.
func TestTransferInterrupted(t *testing.T) {
	o := mailOffice(t)
	dir := t.TempDir()
	files := map[string]string{}
	for i := range 200 {
		files[fmt.Sprintf("%d.eml", i)] = fmt.Sprintf("message %d\n", i)
	}
	put(t, dir, files)
	ctx, cancel := context.WithCancel(t.Context())
	done, err := o.ImportMail(ctx, "anna", dir, TransferOptions{Progress: func(done, _ int) {
		if done == 20 {
			cancel()
		}
	}})
	if err == nil || done.Messages < 20 || done.Messages > 100 || !strings.Contains(err.Error(), fmt.Sprint(200-done.Messages)) {
		t.Fatalf("%d messages, %v", done.Messages, err)
	}
	transferred(t, 200-done.Messages, done.Messages)(o.ImportMail(t.Context(), "anna", dir, TransferOptions{}))
	for _, target := range []string{"copy", "copy.mbox"} {
		ctx, cancel := context.WithCancel(t.Context())
		target := filepath.Join(t.TempDir(), target)
		done, err := o.ExportMail(ctx, "anna", target, TransferOptions{Progress: func(done, _ int) {
			if done == 20 {
				cancel()
			}
		}})
		hinted, ok := errors.AsType[*HintError](err)
		if !ok || done.Messages > 100 || strings.Contains(hinted.Hint, "continues") == strings.HasSuffix(target, ".mbox") {
			t.Fatalf("%d messages, %v (%+v)", done.Messages, err, hinted)
		}
		transferred(t, 200-done.Messages, done.Messages)(o.ExportMail(t.Context(), "anna", target, TransferOptions{}))
	}
}

// FuzzMbox checks that quoting and unquoting restore every text, however it is split, and that no
// quoted line separates messages.
func FuzzMbox(f *testing.F) {
	f.Add("From x\n>From y\n\nFrom a Mon Jan  1 10:00:00 2024\n", "From ")
	f.Fuzz(func(t *testing.T, first, second string) {
		var file bytes.Buffer
		want := []string{first, second}
		for _, text := range want {
			file.WriteString(formatFromLine("x", time.Unix(0, 0)))
			q := &fromQuoter{w: &file}
			io.Copy(q, iotest.OneByteReader(strings.NewReader(text)))
			q.Finish()
			if text != "" && !strings.HasSuffix(text, "\n") {
				file.WriteString("\r\n")
			}
			file.WriteString("\r\n")
		}
		all, err := indexMbox(bytes.NewReader(file.Bytes()))
		if err != nil || len(all) != 2 {
			t.Fatalf("%d messages, %v in %q", len(all), err, file.Bytes())
		}
		for i, m := range all {
			var got strings.Builder
			q := &fromQuoter{w: &got, remove: true}
			q.Write(file.Bytes()[m.start:m.end])
			q.Finish()
			if text := want[i]; got.String() != text && got.String() != text+"\r\n" {
				t.Errorf("%q has become %q", text, got.String())
			}
		}
	})
}

// Many random messages pass through all formats in turn.
func TestManyRoundTrips(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	o := mailOffice(t)
	parts := []string{"From ", ">", "\r\n", "\r\n\r\n", ".", "x", "\x00", "\xff", " Mon Jan  1 10:00:00 2024\r\n"}
	for range 100 {
		var text strings.Builder
		text.WriteString("Subject: x\r\n") // an mbox separator on top would be dropped
		for range rng.IntN(300) {
			text.WriteString(parts[rng.IntN(len(parts))])
		}
		var whole strings.Builder
		n := mailtext.NewWriter(&whole)
		io.WriteString(n, text.String())
		n.Finish()
		in := o.Store.Create()
		io.WriteString(in, whole.String())
		if _, err := in.Commit([]string{"mailbox/office.example/P3_anna.mbx"}); err != nil {
			t.Fatal(err)
		}
	}
	want, dir := letters(t, o, "anna"), t.TempDir()
	for i, format := range []MailFormat{FormatMbox, FormatMaildir, FormatEML, FormatMbox} {
		target := filepath.Join(dir, fmt.Sprint(i))
		transferred(t, 100, 0)(o.ExportMail(t.Context(), "anna", target, TransferOptions{Format: format}))
		c, err := o.RemoveMailbox("anna")
		must(t, c, err)
		c, err = o.AddMailbox("anna", NewMailbox{Quota: "none"})
		must(t, c, err)
		transferred(t, 100, 0)(o.ImportMail(t.Context(), "anna", target, TransferOptions{}))
		if got := letters(t, o, "anna"); !slices.Equal(got, want) {
			t.Fatalf("by way of %s the messages have changed", format)
		}
	}
}
