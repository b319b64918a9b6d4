package directory

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"pillarbox/mailstore/absence"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/rules"
)

func office(t *testing.T) (*Directory, string) {
	t.Helper()
	d, dir := open(t, Options{})
	must(t, d.AddDomain("office.example"))
	for _, user := range []string{"anna", "boss", "archive"} {
		_, err := d.AddMailbox(a(t, user), Account{})
		must(t, err)
	}
	return d, dir
}

func set(list ...rules.Rule) func([]rules.Rule) ([]rules.Rule, error) {
	return func([]rules.Rule) ([]rules.Rule, error) { return list, nil }
}

// TestRulesFollow: rules, archives and forwards follow a mailbox that is renamed or removed.
func TestRulesFollow(t *testing.T) {
	d, _ := office(t)
	rule := rules.Rule{Do: rules.Forward, To: []addr.Address{a(t, "boss"), a(t, "x@far.example")}}
	must(t, d.UpdateRules(a(t, "anna"), set(rule)))
	must(t, d.SetArchive(a(t, "anna"), a(t, "archive")))
	must(t, d.SetDomainArchive("office.example", a(t, "Archive")))
	before, err := d.Mailbox(a(t, "anna"))
	must(t, err)
	must(t, d.RenameMailbox(a(t, "boss"), a(t, "chief")))
	must(t, d.RenameMailbox(a(t, "archive"), a(t, "vault")))
	box, err := d.Mailbox(a(t, "anna"))
	must(t, err)
	file, err := d.Domain("office.example")
	must(t, err)
	if got := box.Account.Rules[0].To; !slices.Equal(got, []addr.Address{a(t, "chief"), a(t, "x@far.example")}) {
		t.Errorf("the rule forwards to %v", got)
	}
	if box.Account.Archive != a(t, "vault") || file.Archive != a(t, "vault") {
		t.Errorf("the archives are %v and %v", box.Account.Archive, file.Archive)
	}
	if before.Account.Rules[0].To[0] != a(t, "boss") {
		t.Error("an earlier answer was changed")
	}
	must(t, d.RemoveMailbox(a(t, "chief")), d.RemoveMailbox(a(t, "vault")))
	box, err = d.Mailbox(a(t, "anna"))
	must(t, err)
	if got := box.Account.Rules[0].To; len(got) != 1 || !box.Account.Archive.IsZero() {
		t.Errorf("the rule forwards to %v; the archive is %v", got, box.Account.Archive)
	}
}

// TestRefusedSettings: what cannot work is refused, and nothing is written.
func TestRefusedSettings(t *testing.T) {
	d, _ := office(t)
	for what, err := range map[string]error{
		"unknown target":  d.UpdateRules(a(t, "anna"), set(rules.Rule{Do: rules.Forward, To: []addr.Address{a(t, "nobody")}})),
		"unknown archive": d.SetArchive(a(t, "anna"), a(t, "nobody")),
		"remote archive":  d.SetDomainArchive("office.example", a(t, "x@far.example")),
		"unknown mailbox": d.SetAbsence(a(t, "nobody"), &absence.Settings{Text: "x"}),
		"unknown domain":  d.SetFooter("far.example", Footer{Text: "x"}),
	} {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := d.UpdateRules(a(t, "anna"), set(rules.Rule{Do: "explode"})); !errors.Is(err, rules.ErrRule) {
		t.Errorf("unknown act: %v", err)
	}
	if err := d.SetAbsence(a(t, "anna"), &absence.Settings{}); !errors.Is(err, absence.ErrSettings) {
		t.Errorf("absence without a text: %v", err)
	}
	if err := d.SetArchive(a(t, "anna"), a(t, "Anna")); !errors.Is(err, ErrArchive) {
		t.Errorf("its own archive: %v", err)
	}
	if err := d.SetFooter("office.example", Footer{HTML: "<p>x</p>"}); !errors.Is(err, ErrFooter) {
		t.Errorf("footer without a text: %v", err)
	}
}

// TestResolveSettings: an address leads to its archives, and past mailboxes that only forward.
func TestResolveSettings(t *testing.T) {
	d, _ := office(t)
	must(t, d.SetArchive(a(t, "anna"), a(t, "archive")), d.SetForward(a(t, "anna"), []addr.Address{a(t, "boss")}, false))
	must(t, d.AddAlias(a(t, "sales"), a(t, "anna")))
	r, err := d.Resolve(a(t, "sales"))
	must(t, err)
	if len(r.Passed) != 1 || r.Passed[0].Address != a(t, "anna") || len(r.Mailboxes) != 1 ||
		!slices.Equal(r.Archives, []addr.Address{a(t, "archive")}) {
		t.Errorf("%+v", r)
	}
	must(t, d.SetDomainArchive("office.example", a(t, "archive")))
	if r, err := d.Resolve(a(t, "boss")); err != nil || len(r.Archives) != 1 || len(r.Passed) != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestNewerRule: a rule of a newer release stays in the file, with what this one does not know.
func TestNewerRule(t *testing.T) {
	d, dir := office(t)
	name := dir + "/" + MailboxDir(a(t, "anna")) + "/account.json"
	must(t, os.WriteFile(name, []byte(`{"version": "1.9", "rules": [{"do": "explode", "fuse": "long"}]}`), 0o600))
	must(t, d.SetArchive(a(t, "anna"), a(t, "archive")))
	text, err := os.ReadFile(name)
	must(t, err)
	if !strings.Contains(string(text), `"fuse": "long"`) || !strings.Contains(string(text), `"archive"`) {
		t.Errorf("the file is %s", text)
	}
}
