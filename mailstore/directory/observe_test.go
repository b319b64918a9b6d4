package directory

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pillarbox/mailstore/addr"
)

// tellAll is a Directory that records its changes as lines.
func tellAll(d *Directory) (*Directory, func() []string) {
	var told []string
	o := d.Observed(func(c Change) {
		line := fmt.Sprintf("%s %s", c.What, strings.TrimPrefix(c.Address().String(), "@"))
		if c.User == "" {
			line = fmt.Sprintf("%s %s", c.What, c.Domain)
		}
		if !c.Next.IsZero() {
			line += " " + c.Next.String()
		}
		for name, there := range map[string]bool{"a": c.AccountBefore != nil, "d": c.DomainBefore != nil} {
			if there {
				line += " -" + name
			}
		}
		for name, there := range map[string]bool{"a": c.AccountAfter != nil, "d": c.DomainAfter != nil} {
			if there {
				line += " +" + name
			}
		}
		told = append(told, line)
	})
	return o, func() []string {
		lines := told
		told = nil
		return lines
	}
}

// Each change is reported, with its consequences; a refused change is not.
func TestObserved(t *testing.T) {
	quiet, _ := open(t, Options{})
	d, told := tellAll(quiet)
	at := func(s string) addr.Address { return a(t, s) }
	steps := []struct {
		name string
		do   func() error
		fail bool
		want []string
	}{
		{"domain", func() error { return d.AddDomain("x.example") }, false, []string{"added x.example +d"}},
		{"domain again", func() error { return d.AddDomain("x.example") }, true, nil},
		{"mailbox", func() error { _, err := d.AddMailbox(at("anna@x.example"), Account{}); return err }, false, []string{"added anna@x.example +a"}},
		{"mailbox, unobserved", func() error { _, err := quiet.AddMailbox(at("boss@x.example"), Account{}); return err }, false, nil},
		{"alias", func() error { return d.AddAlias(at("info@x.example"), at("anna@x.example")) }, false, []string{"edited x.example -d +d"}},
		{"group", func() error { return d.AddGroup(at("all@x.example"), []addr.Address{at("anna@x.example")}) }, false, []string{"edited x.example -d +d"}},
		{"forward", func() error { return d.SetForward(at("boss@x.example"), []addr.Address{at("anna@x.example")}, false) }, false, []string{"edited boss@x.example -a +a"}},
		{"grant", func() error { return d.GrantSendAs(at("boss@x.example"), at("info@x.example")) }, false, []string{"edited boss@x.example -a +a"}},
		{"refused", func() error {
			return d.UpdateAccount(at("boss@x.example"), func(*Account) error { return ErrInUse })
		}, true, nil},
		{"rename", func() error { return d.RenameMailbox(at("anna@x.example"), at("ann@x.example")) }, false, []string{
			"renamed anna@x.example ann@x.example -a +a", "edited x.example -d +d", "edited boss@x.example -a +a"}},
		{"alias goes", func() error { return d.RemoveAlias(at("info@x.example")) }, false, []string{"edited boss@x.example -a +a", "edited x.example -d +d"}},
		{"mailbox goes", func() error { return d.RemoveMailbox(at("ann@x.example")) }, false, []string{
			"edited x.example -d +d", "edited boss@x.example -a +a", "removed ann@x.example -a"}},
		{"domain stays", func() error { return d.RemoveDomain("x.example", false) }, true, nil},
		{"domain goes", func() error { return d.RemoveDomain("x.example", true) }, false, []string{"removed boss@x.example -a", "removed x.example -d"}},
	}
	for _, s := range steps {
		if err := s.do(); (err != nil) != s.fail {
			t.Fatalf("%s: %v", s.name, err)
		}
		if got := told(); !slices.Equal(got, s.want) {
			t.Errorf("%s:\ngot  %q\nwant %q", s.name, got, s.want)
		}
	}
}

// The reported state before a change is not affected by the change.
func TestObservedBeforeAndAfter(t *testing.T) {
	quiet, _ := open(t, Options{})
	if err := quiet.AddDomain("x.example"); err != nil {
		t.Fatal(err)
	}
	anna, boss := a(t, "anna@x.example"), a(t, "boss@x.example")
	for _, box := range []addr.Address{anna, boss} {
		if _, err := quiet.AddMailbox(box, Account{}); err != nil {
			t.Fatal(err)
		}
	}
	var last Change
	d := quiet.Observed(func(c Change) {
		if c.What == Edited {
			last = c
		}
	})
	for _, as := range []addr.Address{boss, a(t, "x@elsewhere.example")} {
		if err := d.GrantSendAs(anna, as); err != nil {
			t.Fatal(err)
		}
	}
	if before, after := last.AccountBefore.SendAs, last.AccountAfter.SendAs; len(before) != 1 || before[0] != boss || len(after) != 2 {
		t.Errorf("grants: %v, then %v", before, after)
	}
	if err := d.RemoveMailbox(boss); err != nil {
		t.Fatal(err)
	}
	if before, after := last.AccountBefore.SendAs, last.AccountAfter.SendAs; len(before) != 2 || len(after) != 1 {
		t.Errorf("after the removal: %v, then %v", before, after)
	}
}
