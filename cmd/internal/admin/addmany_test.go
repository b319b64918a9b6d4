package admin

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// addedText is what became of each line, and the mistakes.
func addedText(out AddedMailboxes) string {
	var lines []string
	for _, m := range out.Mailboxes {
		line := fmt.Sprintf("%d %s %s", m.Line, m.Mailbox, m.State)
		if m.Password != "" {
			line += " password"
		}
		lines = append(lines, strings.Join(append([]string{line}, m.Done...), "; "))
	}
	for _, m := range out.Mistakes {
		lines = append(lines, fmt.Sprintf("%d: %s", m.Line, m.Text))
	}
	return strings.Join(lines, "\n")
}

const manyList = `address;name;password;quota;groups;aliases;forward
dora@ours.example;Dora Fox;;1GB;staff;info sales;
emil@ours.example;;correct horse 7 battery;;staff;;fritz info@theirs.example
fritz@ours.example;;;;;;
anna@ours.example;Other Name;other horse 7 battery;5GB;staff chiefs;anna.lee;
`

func TestAddMany(t *testing.T) {
	o := town(t)
	must(t, Change{}, ask(o, AliasAdd, Setting{"info@theirs.example", "anna@theirs.example"}))
	before, err := o.ShowMailbox("anna@ours.example")
	if err != nil {
		t.Fatal(err)
	}
	add := func(ctx context.Context, in MailboxesToAdd, want string) AddedMailboxes {
		t.Helper()
		out, err := MailboxAddMany.Do(ctx, o, in)
		if got := addedText(out); err != nil || got != want {
			t.Errorf("%v\n%s\nwant\n%s", err, got, want)
		}
		return out
	}
	add(t.Context(), MailboxesToAdd{List: manyList, Try: true}, `2 dora@ours.example to add
3 emil@ours.example to add
4 fritz@ours.example to add
5 anna@ours.example exists`)
	if _, err := o.ShowMailbox("dora@ours.example"); err == nil {
		t.Error("the trial has made a mailbox")
	}
	// The time is over before the first mailbox: all is left, and nothing is lost.
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if out := add(over, MailboxesToAdd{List: manyList}, `2 dora@ours.example left
3 emil@ours.example left
4 fritz@ours.example left
5 anna@ours.example exists`); out.Left != 3 {
		t.Errorf("%d are left", out.Left)
	}
	out := add(t.Context(), MailboxesToAdd{List: manyList}, `2 dora@ours.example added password; mailbox dora@ours.example has the full name Dora Fox; `+
		`alias info@ours.example added, for dora@ours.example; alias sales@ours.example added, for dora@ours.example; group staff@ours.example has new members: dora@ours.example
3 emil@ours.example added; group staff@ours.example has new members: emil@ours.example; `+
		`mailbox emil@ours.example forwards to fritz@ours.example, info@theirs.example; no copy stays in it
4 fritz@ours.example added password
5 anna@ours.example exists; alias anna.lee@ours.example added, for anna@ours.example; group chiefs@ours.example has new members: anna@ours.example`)
	if made := out.Mailboxes[0].Password; len(made) < 16 || made == out.Mailboxes[2].Password {
		t.Errorf("password %q", made)
	}
	// Who was here keeps password and quota.
	after, err := o.ShowMailbox("anna@ours.example")
	if err != nil || after.Quota != before.Quota || after.Password != before.Password || after.Name != "" {
		t.Errorf("%+v %v", after, err)
	}
	if dora, err := o.ShowMailbox("dora@ours.example"); err != nil || dora.Quota != 1e9 || !dora.Password {
		t.Errorf("%+v %v", dora, err)
	}
	// The same list again does nothing.
	add(t.Context(), MailboxesToAdd{List: manyList}, `2 dora@ours.example exists
3 emil@ours.example exists
4 fritz@ours.example exists
5 anna@ours.example exists`)
}

// All mistakes of all lines are told, and nothing is made.
func TestAddManyMistakes(t *testing.T) {
	o := town(t)
	const list = `address,name,password,quota,groups,aliases,forward,colour
good@ours.example,,,,,,,
x@nowhere.example,,,,,,,
staff@ours.example,,,,,,,
a b@ours.example,,,,,,,
good@ours.example,,,,,,,
one@ours.example,,x,100,nobody,anna two,two@ours.example
two@ours.example,,,,,two,two
`
	out, err := MailboxAddMany.Do(t.Context(), o, MailboxesToAdd{List: list})
	if err != nil || len(out.Mailboxes) > 0 {
		t.Errorf("%v %+v", err, out)
	}
	got := addedText(out)
	for _, want := range []string{
		`1: unknown column "colour"`, "3: domain nowhere.example: not found", "4: staff@ours.example: exists already, as a group",
		"5: ", "6: good@ours.example: line 2 has this name too", "7: \"100\" has no unit", "7: unsuitable password",
		"7: group nobody@ours.example: not found", "7: anna@ours.example: exists already, as a mailbox",
		"8: two@ours.example: line 7 has this name too",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if _, err := o.ShowMailbox("good@ours.example"); err == nil {
		t.Error("a mailbox was made")
	}
	for _, list := range []string{"", "address\n", "name\nanna\n"} {
		if _, err := MailboxAddMany.Do(t.Context(), o, MailboxesToAdd{List: list}); !errors.Is(err, ErrUsage) {
			t.Errorf("%q: %v", list, err)
		}
	}
}

// A list is worth no more than its lines one by one: an operator of one domain makes nothing in
// another, and leads no mail to where it may not go.
func TestAddManyRights(t *testing.T) {
	o := town(t)
	for _, list := range []string{
		"address\nnew@ours.example\nnew@theirs.example\n",
		"address,aliases\nnew@ours.example,x@theirs.example\n",
		"address,groups\nnew@ours.example,quiet@theirs.example\n",
		"address,groups\nnew@ours.example,senders\n",
		"address,forward\nnew@ours.example,carl@theirs.example\n",
	} {
		_, err := MailboxAddMany.Do(t.Context(), o.As(scope("ours.example")), MailboxesToAdd{List: list})
		if !errors.Is(err, ErrNotPermitted) {
			t.Errorf("%q: %v", list, err)
		}
		if _, err := o.ShowMailbox("new@ours.example"); err == nil {
			t.Fatalf("%q has made a mailbox", list)
		}
	}
}
