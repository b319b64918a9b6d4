package admin

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
)

// An operator of one domain cannot become an operator with more rights who has a mailbox there, cannot
// read his mail, and reaches nothing in another domain.
func TestNoOperatorRisesByLogins(t *testing.T) {
	o := town(t)
	cfg := *o.Config()
	cfg.Listen.Web = []string{":443"}
	if err := o.SetConfig(&cfg); err != nil {
		t.Fatal(err)
	}
	for _, user := range []string{"boss@ours.example", "carl@ours.example", "carl@theirs.example"} {
		err := o.Dir.UpdateAccount(mustAddress(t, o, user), func(acc *directory.Account) error {
			acc.SecondFactors = []directory.SecondFactor{{ID: "x", Name: "phone"}}
			acc.RecoveryCodes = []string{"x"}
			return acc.AddAppPassword(directory.AppPassword{ID: "abcd", Name: "old"}, "$x")
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	view := o.As(scope("ours.example"))
	acts := []struct {
		name string
		do   func(user string) error
	}{
		{"sets the password", func(u string) error { return ask(view, MailboxPasswd, PasswordToSet{User: u, Password: "x4-y5-z6-w7"}) }},
		{"makes an app password", func(u string) error { return ask(view, AppPasswordAdd, AppPasswordToAdd{User: u, Name: "new"}) }},
		{"removes an app password", func(u string) error { return ask(view, AppPasswordRemove, Setting{u, "abcd"}) }},
		{"makes a reset link", func(u string) error { return ask(view, MailboxResetLink, u) }},
		{"removes the second factor", func(u string) error { return ask(view, SecondFactorRemove, Setting{u, ""}) }},
		{"archives", func(u string) error { return ask(view, MailboxArchive, Setting{u, "anna@ours.example"}) }},
		{"is absent for him", func(u string) error { return ask(view, AbsenceSet, AbsenceToSet{User: u, Text: "away"}) }},
		{"ends the absence", func(u string) error { return ask(view, AbsenceOff, u) }},
		{"adds a rule", func(u string) error {
			return ask(view, RulesAdd, RuleToAdd{User: u, Do: "forward", To: []string{"anna@ours.example"}, KeepCopy: true})
		}},
		{"moves a rule", func(u string) error { return ask(view, RulesMove, RuleToMove{u, 1, 1}) }},
		{"removes a rule", func(u string) error { return ask(view, RulesRemove, RuleToRemove{u, 1}) }},
		{"imports", func(u string) error {
			return ask(view, MailboxAddMany, MailboxesToAdd{List: "address,alias\n" + u + ",other\n"})
		}},
	}
	for _, a := range acts {
		for _, user := range []string{"boss@ours.example", "BOSS@ours.example", "boss@theirs.example", "carl@theirs.example"} {
			if err := a.do(user); !errors.Is(err, ErrNotPermitted) {
				t.Errorf("%s of %s: %v", a.name, user, err)
			}
		}
		switch a.name {
		case "imports", "adds a rule", "moves a rule", "removes a rule":
			continue // carl@ours.example takes nothing from outside, and has no rule
		}
		if err := a.do("carl@ours.example"); err != nil {
			t.Errorf("%s of a user of his own: %v", a.name, err)
		}
	}
	if c, err := o.SetGroupAccept("staff@ours.example", "members"); err != nil {
		t.Fatal(c, err)
	}
	user := scope("ours.example")
	user.OwnMailbox = true // a user who is no operator
	for name, err := range map[string]error{
		"opens a group of the own domain by a rule": ask(o.As(user), RulesAdd, RuleToAdd{
			User: "carl@ours.example", Do: "forward", To: []string{"staff@ours.example"},
		}),
		"opens a group of the own domain by a forward": ask(o.As(user), MailboxForward, Forwarding{
			User: "carl@ours.example", Targets: []string{"staff@ours.example"},
		}),
		"archives all, with the mail of the operator of all": ask(view, DomainArchive, Setting{"ours.example", "anna@ours.example"}),
		"archives another domain":                            ask(view, DomainArchive, Setting{"theirs.example", "anna@ours.example"}),
		"archives into another domain":                       ask(view, MailboxArchive, Setting{"carl@ours.example", "anna@theirs.example"}),
		"sets a footer of another domain":                    ask(view, DomainFooter, FooterToSet{Domain: "theirs.example", Text: "x"}),
		"forwards by a rule to who takes nothing": ask(view, RulesAdd, RuleToAdd{
			User: "anna@ours.example", Do: "forward", To: []string{"carl@theirs.example"},
		}),
		"opens a group by a rule": ask(view, RulesAdd, RuleToAdd{
			User: "anna@ours.example", Do: "forward", To: []string{"quiet@theirs.example"},
		}),
		"sees app passwords of another domain":    ask(view, AppPasswordList, "carl@theirs.example"),
		"sees the second factor of another":       ask(view, SecondFactorShow, "carl@theirs.example"),
		"sees the rules of another":               ask(view, RulesShow, "carl@theirs.example"),
		"tries the rules of another":              ask(view, RulesTest, RuleTrial{User: "carl@theirs.example"}),
		"sees the absence of another":             ask(view, AbsenceShow, "carl@theirs.example"),
		"sees logins of another":                  ask(view, MailboxLogins, "carl@theirs.example"),
		"sees DNS records of another":             ask(view, DNSRecords, DNSQuestion{Domain: "theirs.example"}),
		"sees the log":                            ask(view, LogShow, LogQuestion{}),
		"sees the refusals":                       ask(view, RefusalList, struct{}{}),
		"sees the policy":                         ask(view, PolicyList, PolicyQuestion{}),
		"tries the policy":                        ask(view, PolicyTry, PolicyValue{Key: "outside.send", Values: []string{"false"}}),
		"changes the policy":                      ask(view, PolicySet, PolicyValue{Key: "outside.send", Values: []string{"true"}}),
		"resets the policy":                       ask(view, PolicyReset, "outside.send"),
		"undoes the policy":                       ask(view, PolicyUndo, struct{}{}),
		"adds a second factor by the verb":        ask(view, SecondFactorAdd, SecondFactorToAdd{User: "carl@ours.example"}),
		"makes recovery codes by the verb":        ask(view, RecoveryCodesNew, "carl@ours.example"),
		"uses a reset link by the verb":           ask(view, MailboxReset, ResetToUse{User: "carl@ours.example"}),
		"takes an archive that another relies on": takesArchive(t, o, view),
	} {
		if !errors.Is(err, ErrNotPermitted) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func takesArchive(t *testing.T, o, view *Service) error {
	t.Helper()
	if err := ask(o, MailboxArchive, Setting{"carl@ours.example", "anna@theirs.example"}); err != nil {
		t.Error(err)
	}
	if err := ask(o, DomainArchive, Setting{"ours.example", "anna@theirs.example"}); err != nil {
		t.Error(err)
	}
	if err := ask(view, MailboxArchive, Setting{"carl@ours.example", ""}); !errors.Is(err, ErrNotPermitted) {
		return err
	}
	return ask(view, DomainArchive, Setting{"ours.example", ""})
}

// A rule of a mailbox may send mail to other servers only for who may send there.
func TestMayLeave(t *testing.T) {
	o := town(t)
	if c, err := o.SetMailboxOutside("carl@ours.example", "deny"); err != nil {
		t.Fatal(c, err)
	}
	may := func(user string) bool {
		var a addr.Address
		if user != "" {
			a = mustAddress(t, o, user)
		}
		return o.DeliveryConfig(o.Config(), nil).MayLeave(a)
	}
	if !may("") || !may("anna@ours.example") || may("carl@ours.example") || may("nobody@ours.example") {
		t.Errorf("%t %t %t %t", may(""), may("anna@ours.example"), may("carl@ours.example"), may("nobody@ours.example"))
	}
	cfg := *o.Config()
	cfg.Policy.Outside.Closed.Value = true
	if o.DeliveryConfig(&cfg, nil).MayLeave(addr.Address{}) {
		t.Error("mail leaves a server that sends none")
	}
}

// A reset link sets one password, however many requests bring it at once.
func TestResetLinkOnce(t *testing.T) {
	o := town(t)
	cfg := *o.Config()
	cfg.Listen.Web = []string{":443"}
	if err := o.SetConfig(&cfg); err != nil {
		t.Fatal(err)
	}
	made, err := o.makeResetLink("carl@ours.example")
	if err != nil {
		t.Fatal(err)
	}
	key := made.Link[strings.LastIndexByte(made.Link, '/')+1:]
	var done atomic.Int32
	var wait sync.WaitGroup
	for i := range 4 {
		wait.Go(func() {
			in := ResetToUse{User: "carl@ours.example", Key: key, Password: fmt.Sprintf("x4-y5-z6-w%d", i)}
			if _, err := o.useResetLink(in); err == nil {
				done.Add(1)
			} else if !errors.Is(err, ErrResetLink) {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if done.Load() != 1 {
		t.Errorf("the link set %d passwords", done.Load())
	}
}
