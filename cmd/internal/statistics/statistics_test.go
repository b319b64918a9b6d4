package statistics

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pillarbox/mailstore/track"
)

var at = time.Date(2026, 11, 30, 10, 14, 0, 0, time.Local)

// events are of two days, of two domains, of a device and of strangers.
func events() []track.Event {
	later := at.Add(24 * time.Hour)
	return []track.Event{
		{Kind: track.Accepted, Time: at, Service: "smtp", From: "x@far.example", Size: 10},
		{Kind: track.Delivered, Time: at, From: "x@far.example", To: "Anna@a.example", Size: 10},
		{Kind: track.Delivered, Time: at, From: "x@far.example", To: "bob@b.example", Size: 10},
		{Kind: track.Accepted, Time: later, Service: "submission", From: "x@a.example",
			User: "anna@a.example", Size: 7, Text: "Outlook Express"},
		{Kind: track.Accepted, Time: at, Service: "submission", User: "anna@a.example", Text: "older"},
		{Kind: track.Accepted, Time: at, Service: "smtp", From: "scan@b.example", User: "scanner",
			Size: 3, Text: "=cmd"},
		{Kind: track.Accepted, Time: at, Service: "local", From: "bob@b.example", Size: 2},
		// a stranger who states a sender of ours
		{Kind: track.Accepted, Time: at, Service: "smtp", From: "anna@a.example", Size: 1000},
		{Kind: track.Refused, Time: at, Service: "smtp", From: "x@far.example", To: "anna@a.example"},
		{Kind: track.Refused, Time: at, User: "anna@a.example", To: "bob@b.example"},
		{Kind: track.Refused, Time: at, User: "scanner", From: "scan@b.example"},
		{Kind: track.Refused, Time: at, To: "nobody@a.example"},
		{Kind: track.Refused, Time: at, To: "x@elsewhere.example"},
		{Kind: track.Fetched, Time: at, To: "anna@a.example", User: "anna@a.example", Size: 10},
		{Kind: track.LoggedIn, Time: later, User: "anna@a.example", Service: "pop3"},
		{Kind: track.LoggedIn, Time: at, User: "anna@a.example", Service: "smtp"},
		{Kind: track.LoginFailed, Time: at, User: "anna"},
		{Kind: track.LoginFailed, Time: at, User: "guess"},
		{Kind: track.Queued, Time: at, To: "anna@a.example"},
	}
}

// Each event counts in the row where it belongs, whatever the rows are about.
func TestRows(t *testing.T) {
	for by, want := range map[By]string{
		ByMailbox: `anna@a.example in 1/10 out 2/7 fetched 1/10 refused 2 failed 1 login pop3 with "Outlook Express"
			bob@b.example in 1/10 out 1/2 fetched 0/0 refused 0 failed 0 login  with ""`,
		ByDomain: `a.example in 1/10 out 2/7 fetched 1/10 refused 3 failed 2 login pop3 with "Outlook Express"
			b.example in 1/10 out 2/5 fetched 0/0 refused 1 failed 0 login  with "=cmd"`,
		ByDevice: `scanner in 0/0 out 1/3 fetched 0/0 refused 1 failed 0 login  with "=cmd"`,
		ByDay: `2026-11-30 in 2/20 out 3/5 fetched 1/10 refused 4 failed 2 login smtp with "=cmd"
			2026-12-01 in 0/0 out 1/7 fetched 0/0 refused 0 failed 0 login pop3 with "Outlook Express"`,
	} {
		table := New(by, []string{"a.example", "b.example"},
			[]string{"anna@a.example", "bob@b.example"}, []string{"scanner"}, "a.example")
		for _, e := range events() {
			table.Add(&e)
		}
		check(t, by, table, want)
	}
}

func check(t *testing.T, by By, table *Table, want string) {
	t.Helper()
	var got []string
	for _, r := range table.Rows() {
		got = append(got, fmt.Sprintf("%s in %d/%d out %d/%d fetched %d/%d refused %d failed %d login %s with %q",
			r.Name, r.In.Messages, r.In.Octets, r.Out.Messages, r.Out.Octets,
			r.Fetched.Messages, r.Fetched.Octets, r.Refused, r.LoginsFailed, r.Service, r.Program))
	}
	want = strings.ReplaceAll(want, "\t", "")
	if text := strings.Join(got, "\n"); text != want {
		t.Errorf("by %s:\n%s\nwant\n%s", by, text, want)
	}
}

// A table of one domain has no events of another, in no row.
func TestOneDomain(t *testing.T) {
	for _, by := range []By{ByDomain, ByDay} {
		table := New(by, []string{"b.example"}, []string{"bob@b.example"}, nil, "a.example")
		for _, e := range events() {
			table.Add(&e)
		}
		name := "b.example"
		if by == ByDay {
			name = "2026-11-30"
		}
		// Without the list of devices, the device's mail belongs to no domain.
		check(t, by, table, name+" in 1/10 out 1/2 fetched 0/0 refused 0 failed 0 login  with \"\"")
	}
}

// Names of strangers make no rows, and a clock that jumps makes a bounded number of days.
func TestBounded(t *testing.T) {
	mailboxes := New(ByMailbox, []string{"a.example"}, []string{"anna@a.example"}, nil, "")
	days := New(ByDay, []string{"a.example"}, nil, nil, "")
	for i := range 3 * maxDays {
		e := track.Event{Kind: track.Refused, To: fmt.Sprint(i, "@a.example"), Time: at.AddDate(0, 0, i)}
		mailboxes.Add(&e)
		days.Add(&e)
	}
	if got := len(mailboxes.Rows()); got != 1 {
		t.Errorf("%d mailboxes", got)
	}
	if got := len(days.Rows()); got != maxDays {
		t.Errorf("%d days", got)
	}
}

// The largest mailboxes come first.
func TestOrder(t *testing.T) {
	table := New(ByMailbox, nil, []string{"a@x", "b@x", "c@x"}, nil, "")
	table.Row("B@x").Stored = Count{1, 5}
	table.Row("c@x").Stored = Count{9, 7}
	var got string
	for _, r := range table.Rows() {
		got += r.Name + " "
	}
	if got != "c@x b@x a@x " {
		t.Error(got)
	}
}
