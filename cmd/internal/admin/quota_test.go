package admin

import (
	"bytes"
	"errors"
	"io"
	"net/mail"
	"slices"
	"strings"
	"testing"
	"time"

	"pillarbox/cmd/internal/config"
	"pillarbox/mailstore"
	"pillarbox/mailstore/directory"
	"pillarbox/quota"
)

// quotaOffice returns an office with the mailboxes anna and boss.
func quotaOffice(t *testing.T) *Service {
	t.Helper()
	o := office(t)
	c, err := o.AddDomain("office.example")
	must(t, c, err)
	for _, name := range []string{"anna", "boss"} {
		c, err = o.AddMailbox(name, NewMailbox{})
		must(t, c, err)
	}
	return o
}

func deliver(t *testing.T, o *Service, dir string, size int) error {
	t.Helper()
	in := o.Store.Create()
	defer in.Abort()
	if _, err := io.WriteString(in, strings.Repeat("x", size)); err != nil {
		t.Fatal(err)
	}
	_, err := in.Commit([]string{dir})
	return err
}

const (
	annaDir = "mailbox/office.example/P3_anna.mbx"
	bossDir = "mailbox/office.example/P3_boss.mbx"
)

// Deliveries obey the limits that are set for a mailbox and a domain, and the defaults of the
// others.
func TestLimitsHold(t *testing.T) {
	o := quotaOffice(t)
	cfg := *o.Config()
	cfg.Mailboxes.DefaultMessages, cfg.Mailboxes.DefaultWarning = 10, 80
	o.SetConfig(&cfg)
	for _, tt := range []struct {
		box, domain       directory.Limits
		wantBox, wantDomn quota.Limits
	}{
		{wantBox: quota.Limits{Bytes: 1000, Messages: 10, WarnBytes: 800, WarnMessages: 8}},
		{
			box: directory.Limits{Quota: -1, MaxMessages: 20, WarnMessages: "none"}, domain: directory.Limits{Quota: 5000},
			wantBox: quota.Limits{Messages: 20}, wantDomn: quota.Limits{Bytes: 5000, WarnBytes: 4000},
		},
		{
			box: directory.Limits{Quota: 500, Warn: "50%", MaxMessages: -1, WarnMessages: "7"}, domain: directory.Limits{MaxMessages: -1, Warn: "9"},
			wantBox: quota.Limits{Bytes: 500, WarnBytes: 250, WarnMessages: 7}, wantDomn: quota.Limits{WarnBytes: 9},
		},
	} {
		anna, err := o.ParseUser("anna")
		if err == nil {
			err = o.Dir.UpdateAccount(anna, func(a *directory.Account) error { a.Limits = tt.box; return nil })
		}
		if err == nil {
			err = o.Dir.UpdateDomain(anna.Domain, func(f *directory.DomainFile) error { f.Limits = tt.domain; return nil })
		}
		if err != nil {
			t.Fatal(err)
		}
		box, domain, err := o.limitsAt(annaDir)
		if err != nil || box != tt.wantBox || domain != tt.wantDomn {
			t.Errorf("%+v in %+v: %+v in %+v, %v", tt.box, tt.domain, box, domain, err)
		}
	}
	if _, _, err := o.limitsAt("mailbox/office.example/P3_nobody.mbx"); !errors.Is(err, directory.ErrNotFound) {
		t.Errorf("nobody: %v", err)
	}
}

// The limit of a domain counts for its mailboxes together, in the store too.
func TestDomainQuotaHolds(t *testing.T) {
	o := quotaOffice(t)
	c, err := o.ChangeQuota("office.example", QuotaChange{Size: "1500B"})
	must(t, c, err)
	for _, dir := range []string{annaDir, bossDir} {
		if err := deliver(t, o, dir, 700); err != nil {
			t.Fatal(err)
		}
	}
	err = deliver(t, o, annaDir, 101)
	over, ok := errors.AsType[*quota.Error](err)
	if !errors.Is(err, mailstore.ErrOverQuota) || !ok || !over.Domain || over.Resource != quota.Bytes {
		t.Errorf("got %v", err)
	}
	c, err = o.RemoveMailbox("boss")
	must(t, c, err)
	if _, err := o.Quota.Recount(); err != nil {
		t.Fatal(err)
	}
	if err := deliver(t, o, annaDir, 101); err != nil {
		t.Errorf("after the other mailbox is gone: %v", err)
	}
}

// From the message that reaches the warning level to the notice.
func TestQuotaNotice(t *testing.T) {
	o := quotaOffice(t)
	var events []quota.Event
	o.WatchQuota(func(e quota.Event) { events = append(events, e) })
	c, err := o.ChangeQuota("office.example", QuotaChange{Messages: "2", Warn: "none", WarnMessages: "none"})
	must(t, c, err)
	c, err = o.AddAlias("postmaster", "boss")
	must(t, c, err)
	for _, size := range []int{100, 850, 100} {
		err = deliver(t, o, annaDir, size)
	}
	if !errors.Is(err, mailstore.ErrOverQuota) {
		t.Fatalf("the third: %v", err)
	}
	if err := deliver(t, o, bossDir, 1); !errors.Is(err, mailstore.ErrOverQuota) {
		t.Fatalf("the domain: %v", err)
	}
	want := []struct{ dir, to, subject string }{
		{annaDir, "<anna@office.example>", "Your mailbox is 95 % full"},
		{bossDir, "<postmaster@office.example>", "The mailbox anna@office.example is full"},
		{bossDir, "<postmaster@office.example>", "The mailboxes of office.example are full"},
	}
	if len(events) != len(want) {
		t.Fatalf("%d events: %+v", len(events), events)
	}
	for i, e := range events {
		dirs, text, err := o.QuotaNotice(e, "id", time.Now())
		if err != nil || !slices.Equal(dirs, []string{want[i].dir}) {
			t.Fatalf("to %v, %v", dirs, err)
		}
		m, err := mail.ReadMessage(bytes.NewReader(text))
		if err != nil || m.Header.Get("Subject") != want[i].subject || m.Header.Get("To") != want[i].to {
			t.Errorf("%v: %s", err, text)
		}
	}

	off := *o.Config()
	off.Mailboxes.Notices, off.Mailboxes.Templates = config.NoNotices, config.Mailboxes{}.Templates
	o.SetConfig(&off)
	if _, _, err := o.QuotaNotice(events[0], "id", time.Now()); !errors.Is(err, ErrNoNotice) {
		t.Errorf("off: %v", err)
	}
	on := config.Default()
	o.SetConfig(&on)
	gone := events[0]
	gone.Dir = "mailbox/office.example/P3_nobody.mbx"
	if _, _, err := o.QuotaNotice(gone, "id", time.Now()); !errors.Is(err, directory.ErrNotFound) {
		t.Errorf("gone: %v", err)
	}
}

// The count of the running server is shown beside the new one.
func TestCountQuotas(t *testing.T) {
	o := quotaOffice(t)
	c, err := o.ChangeQuota("office.example", QuotaChange{Size: "10KB"})
	must(t, c, err)
	if err := deliver(t, o, annaDir, 500); err != nil {
		t.Fatal(err)
	}
	elsewhere, err := Open(o.Config(), nil) // another process
	if err != nil {
		t.Fatal(err)
	}
	defer elsewhere.Close()
	if err := deliver(t, elsewhere, annaDir, 300); err != nil {
		t.Fatal(err)
	}
	server, err := o.Quota.Recount()
	if err != nil {
		t.Fatal(err)
	}
	all, err := elsewhere.CountQuotas("", 0, server)
	if err != nil || len(all) != 3 {
		t.Fatalf("%+v, %v", all, err)
	}
	before, after := quota.Usage{Bytes: 500, Messages: 1}, quota.Usage{Bytes: 800, Messages: 2}
	for i, name := range []string{"office.example", "anna@office.example"} {
		if s := all[i]; s.Target != name || s.Believed == nil || *s.Believed != before || s.Usage != after {
			t.Errorf("%s: %+v", name, s)
		}
	}
	if s := all[2]; s.Target != "boss@office.example" || s.Believed != nil {
		t.Errorf("%+v", s)
	}
	all, err = elsewhere.CountQuotas("office.example", 50, nil)
	if err != nil || len(all) != 1 || all[0].Target != "anna@office.example" || all[0].Percent != 80 || all[0].Believed != nil {
		t.Errorf("over half: %+v, %v", all, err)
	}
}
