package admin

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pillarbox/quota"
)

// problems formats the findings in short.
func problems(r CheckReport) []string {
	all := []string{}
	for _, f := range r.Findings {
		mark := "!"
		if f.Note {
			mark = "?"
		} else if f.Repaired {
			mark = "="
		}
		all = append(all, fmt.Sprintf("%s%s %s", mark, f.Problem, filepath.Base(f.File)))
	}
	slices.Sort(all)
	return all
}

func wantProblems(t *testing.T, r CheckReport, err error, want ...string) {
	t.Helper()
	got := problems(r)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("found %q, %v\nwant  %q", got, err, want)
	}
	for _, f := range r.Findings {
		if f.Where == "" || f.Text == "" || f.Hint == "" {
			t.Errorf("something is missing: %+v", f)
		}
	}
}

func aged(t *testing.T, file string, age time.Duration) {
	t.Helper()
	then := time.Now().Add(-age)
	if err := os.Chtimes(file, then, then); err != nil {
		t.Fatal(err)
	}
}

func TestCheckMail(t *testing.T) {
	o := mailOffice(t)
	r, err := o.CheckMail(t.Context(), "", CheckOptions{})
	wantProblems(t, r, err)

	const id = "P3_2024010110000000000000000"
	anna, domain := boxDir(o, "anna"), filepath.Join(o.Root.Name(), "mailbox/office.example")
	put(t, anna, map[string]string{
		id + "1_3.eml": "a\r\n", id + "2_3.eml": "cut", id + "3_9.eml": "a\r\n", id + "4_3.eml": ".\r\n", id + "5.eml": "a\n", id + "1_4.eml": "aa\r\n",
		id + "6_9.eml": "lf\nlf\n", "hello.eml": "x\n", "notes.txt": "", ".old.json.ABC.tmp": "", ".young.json.ABC.tmp": "",
	})
	os.Symlink("hello.eml", filepath.Join(anna, "link.eml"))
	aged(t, filepath.Join(anna, ".old.json.ABC.tmp"), 2*time.Hour)
	put(t, domain, map[string]string{"P3_Karl.mbx/a.eml": "a\n", ".domain.json.ABC.tmp": ""})
	aged(t, filepath.Join(domain, ".domain.json.ABC.tmp"), 2*time.Hour)
	put(t, filepath.Join(o.Root.Name(), "incoming"), map[string]string{"P3_old": "x", "P3_young": "x"})
	aged(t, filepath.Join(o.Root.Name(), "incoming/P3_old"), 48*time.Hour)
	put(t, boxDir(o, "boss"), map[string]string{"account.json": "{"})

	common := []string{"!account .", "!leftover .domain.json.ABC.tmp", "!leftover .old.json.ABC.tmp", "!name P3_Karl.mbx", "!twice " + id + "1_4.eml"}
	notes := []string{"?leftover P3_old", "?stranger link.eml", "?stranger notes.txt"}
	before := append(slices.Clone(common), "!dots "+id+"4_3.eml", "!size "+id+"3_9.eml", "!size "+id+"6_9.eml")
	before = append(before, notes...)
	slices.Sort(before)
	r, err = o.CheckMail(t.Context(), "", CheckOptions{})
	wantProblems(t, r, err, before...)
	if r.Mailboxes != 2 || r.Messages != 8 || r.Domains != 1 || r.Wrong != len(before)-len(notes) {
		t.Errorf("%+v", r)
	}
	again, err := o.CheckMail(t.Context(), "", CheckOptions{})
	wantProblems(t, again, err, before...)

	r, err = o.CheckMail(t.Context(), "anna@office.example", CheckOptions{Repair: true})
	wantProblems(t, r, err, "!twice "+id+"1_4.eml", "=dots "+id+"4_3.eml", "=leftover .old.json.ABC.tmp", "=size "+id+"3_9.eml", "=size "+id+"6_9.eml", "?stranger link.eml", "?stranger notes.txt")
	r, err = o.CheckMail(t.Context(), "anna", CheckOptions{})
	wantProblems(t, r, err, "!twice "+id+"1_4.eml", "?stranger link.eml", "?stranger notes.txt")
	for name, want := range map[string]string{id + "3_3.eml": "a\r\n", id + "4_3d.eml": ".\r\n", id + "6.eml": "lf\nlf\n", ".young.json.ABC.tmp": ""} {
		if got, err := os.ReadFile(filepath.Join(anna, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// The hint never suggests to rename a directory to an existing name.
func TestCheckNameHint(t *testing.T) {
	o := mailOffice(t)
	domain := filepath.Join(o.Root.Name(), "mailbox/office.example")
	put(t, domain, map[string]string{"P3_ANNA.mbx/a.eml": "a\n", "p3_Free.MBX/a.eml": "a\n", "P3_.mbx/a.eml": "a\n", "P3_File.mbx": ""})
	r, err := o.CheckMail(t.Context(), "", CheckOptions{})
	wantProblems(t, r, err, "!name P3_.mbx", "!name P3_ANNA.mbx", "!name P3_File.mbx", "!name p3_Free.MBX")
	want := map[string]string{
		"P3_ANNA.mbx": "'pillarbox admin mailbox import anna@office.example " + domain + "/P3_ANNA.mbx'",
		"p3_Free.MBX": "renames it to P3_free.mbx when it starts, or at 'pillarbox admin reload'",
		"P3_.mbx":     "a mailbox is a directory", "P3_File.mbx": "a mailbox is a directory",
	}
	for _, f := range r.Findings {
		if hint := want[filepath.Base(f.File)]; !strings.Contains(f.Hint, hint) {
			t.Errorf("%s: %q, want %q", f.File, f.Hint, hint)
		}
	}
	transferred(t, 1, 0)(o.ImportMail(t.Context(), "anna@office.example", domain+"/P3_ANNA.mbx", TransferOptions{}))
}

// A message with other line ends than CRLF is reported, and is then served with CRLF.
func TestCheckLines(t *testing.T) {
	o := mailOffice(t)
	const id = "P3_2024010110000000000000000"
	put(t, boxDir(o, "anna"), map[string]string{id + "1_4.eml": "a\nb\n", id + "2_5.eml": "a\rb\r\n", id + "3_6.eml": "a\r\nb\r\n"[:6], id + "4_9.eml": "a\r\n"})
	r, err := o.CheckMail(t.Context(), "", CheckOptions{})
	wantProblems(t, r, err, "!lines "+id+"1_4.eml", "!lines "+id+"2_5.eml", "!size "+id+"4_9.eml")
	r, err = o.CheckMail(t.Context(), "", CheckOptions{Repair: true})
	wantProblems(t, r, err, "=lines "+id+"1_4.eml", "=lines "+id+"2_5.eml", "=size "+id+"4_9.eml")
	for _, f := range r.Findings {
		if f.Problem == "size" && (!strings.HasSuffix(f.Text, "; 6 bytes are missing") || !strings.HasSuffix(f.Hint, "; 6 bytes are missing")) {
			t.Errorf("%+v", f)
		}
	}
	if all := letters(t, o, "anna"); len(all) != 4 || all[0] != (letter{id + "1", "a\r\nb\r\n"}) || all[1] != (letter{id + "2", "a\r\nb\r\n"}) {
		t.Errorf("%q", all)
	}
}

// A damaged domain is reported once, and its mail is checked too.
func TestCheckDamagedDomain(t *testing.T) {
	o := mailOffice(t)
	put(t, filepath.Join(o.Root.Name(), "mailbox/office.example"), map[string]string{"domain.json": "{"})
	put(t, boxDir(o, "anna"), map[string]string{"a.eml": "a\n"})
	r, err := o.CheckMail(t.Context(), "", CheckOptions{})
	wantProblems(t, r, err, "!domain .")
	if r.Messages != 1 || r.Mailboxes != 2 {
		t.Errorf("%+v", r)
	}
}

func TestCheckQuota(t *testing.T) {
	o := mailOffice(t)
	put(t, boxDir(o, "anna"), map[string]string{"a.eml": "a\n", "b.eml": "b\n"})
	c, err := o.ChangeQuota("anna", QuotaChange{Messages: "1", WarnMessages: "none"})
	must(t, c, err)
	r, err := o.CheckMail(t.Context(), "office.example", CheckOptions{Ledger: []quota.Recount{
		{Dir: "mailbox/office.example/P3_anna.mbx", Before: quota.Usage{Bytes: 3, Messages: 1}, After: quota.Usage{Bytes: 6, Messages: 2}},
		{Dir: "mailbox/office.example/P3_boss.mbx"},
		{Dir: "mailbox/office.example", Domain: true, Before: quota.Usage{Bytes: 3, Messages: 1}, After: quota.Usage{Bytes: 6, Messages: 2}},
		{Dir: "mailbox/other.example", Domain: true, Before: quota.Usage{Bytes: 3, Messages: 1}},
	}})
	wantProblems(t, r, err, "?ledger .", "?ledger .", "?quota .")
}

func TestCheckTarget(t *testing.T) {
	o := mailOffice(t)
	for _, target := range []string{"nobody@office.example", "other.example", "nobody", "anna@other.example"} {
		if _, err := o.CheckMail(t.Context(), target, CheckOptions{}); err == nil || !strings.Contains(err.Error(), "not found") {
			t.Errorf("%s: %v", target, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r, err := o.CheckMail(ctx, "", CheckOptions{}); err == nil || r.Mailboxes > 0 {
		t.Errorf("%+v, %v", r, err)
	}
}
