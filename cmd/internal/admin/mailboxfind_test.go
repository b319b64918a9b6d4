package admin

import (
	"fmt"
	"strings"
	"testing"
)

// A search returns the mailboxes that it asks for, and counts all that it finds.
func TestFindMailboxes(t *testing.T) {
	o := office(t)
	for _, d := range []string{"a.example", "b.example"} {
		if _, err := o.AddDomain(d); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"anna", "bob", "carl"} {
			if _, err := o.AddMailbox(name+"@"+d, NewMailbox{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := o.LockMailbox("bob@a.example"); err != nil {
		t.Fatal(err)
	}
	if _, err := o.LockDomain("b.example"); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		MailboxSearch
		want string
	}{
		{MailboxSearch{Limit: 2}, "6: anna@a.example bob@a.example"},
		{MailboxSearch{From: 2, Limit: 2}, "6: carl@a.example anna@b.example"},
		{MailboxSearch{From: 6, Limit: 2}, "6:"},
		{MailboxSearch{Domain: "b.example", Limit: 1}, "3: anna@b.example"},
		{MailboxSearch{Find: "AR", Limit: 9}, "2: carl@a.example carl@b.example"},
		{MailboxSearch{Find: "b.ex", Limit: 1}, "3: anna@b.example"},
		{MailboxSearch{Find: "na@b", Limit: 9}, "1: anna@b.example"},
		{MailboxSearch{Locked: true, Limit: 9},
			"4: bob@a.example anna@b.example bob@b.example carl@b.example"},
		{MailboxSearch{Find: "carl", Locked: true, Limit: 9}, "1: carl@b.example"},
	} {
		found, err := o.findMailboxes(test.MailboxSearch)
		if err != nil {
			t.Fatal(err)
		}
		got := fmt.Sprintf("%d:", found.Count)
		for _, m := range found.Mailboxes {
			got += " " + m.Mailbox.String()
		}
		if got != test.want {
			t.Errorf("%+v: %s, want %s", test.MailboxSearch, got, test.want)
		}
	}
	if _, err := o.findMailboxes(MailboxSearch{Domain: "remote.example"}); err == nil ||
		!strings.Contains(err.Error(), "remote.example") {
		t.Errorf("a domain that is not hosted: %v", err)
	}
}
