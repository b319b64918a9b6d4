package admin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
)

func TestOperatorMay(t *testing.T) {
	const ours, theirs = addr.Domain("ours.example"), addr.Domain("theirs.example")
	grant := func(readOnly bool, domains ...addr.Domain) Grant {
		return Grant{All: domains == nil, Domains: domains, ReadOnly: readOnly}
	}
	tests := []struct {
		name   string
		grants []Grant
		may    string // ours, theirs, all: each "w", "r" or "-"
	}{
		{"nobody", nil, "---"},
		{"all", []Grant{grant(false)}, "www"},
		{"all, looks on", []Grant{grant(true)}, "rrr"},
		{"one domain", []Grant{grant(false, ours)}, "w--"},
		{"one domain, looks on", []Grant{grant(true, ours)}, "r--"},
		{"two domains", []Grant{grant(false, ours, theirs)}, "ww-"},
		{"one more than the other", []Grant{grant(true), grant(false, ours)}, "wrr"},
		{"by two groups", []Grant{grant(true, ours), grant(false, theirs)}, "rw-"},
		{"no domain", []Grant{{}}, "---"},
	}
	for _, tt := range tests {
		op := Operator{Name: "carol", Grants: tt.grants}
		mode := func(may func(write bool) bool) string {
			switch read, write := may(false), may(true); {
			case write && read:
				return "w"
			case write:
				return "?"
			case read:
				return "r"
			}
			return "-"
		}
		got := mode(func(w bool) bool { return op.May(ours, w) }) + mode(func(w bool) bool { return op.May(theirs, w) }) + mode(op.MayAll)
		if got != tt.may {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.may)
		}
	}
}

func TestExceeds(t *testing.T) {
	const ours, theirs = addr.Domain("ours.example"), addr.Domain("theirs.example")
	ourOwn := Operator{Grants: []Grant{{Domains: []addr.Domain{ours}}}}
	mixed := Operator{Grants: []Grant{{All: true, ReadOnly: true}, {Domains: []addr.Domain{ours}}}}
	tests := []struct {
		name  string
		op    Operator
		other Grant
		want  bool
	}{
		{"an equal", ourOwn, Grant{Domains: []addr.Domain{ours}}, false},
		{"one who looks on", ourOwn, Grant{Domains: []addr.Domain{ours}, ReadOnly: true}, false},
		{"another domain", ourOwn, Grant{Domains: []addr.Domain{theirs}}, true},
		{"one domain more", ourOwn, Grant{Domains: []addr.Domain{ours, theirs}}, true},
		{"all", ourOwn, Grant{All: true}, true},
		{"all, looking on", ourOwn, Grant{All: true, ReadOnly: true}, true},
		{"all, looking on, seen by one of these", mixed, Grant{All: true, ReadOnly: true}, false},
		{"all, seen by one who looks on", mixed, Grant{All: true}, true},
		{"everything", Everything("root"), Grant{All: true}, false},
	}
	for _, tt := range tests {
		if got := tt.op.exceeds(tt.other); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

// ask has a verb done for its error.
func ask[In, Out any](s *Service, v Verb[In, Out], in In) error {
	_, err := v.Do(context.Background(), s, in)
	return err
}

// town is an office with two domains, mailboxes, groups and operators.
func town(t *testing.T) *Service {
	t.Helper()
	o := office(t)
	do := func(c Change, err error) { t.Helper(); must(t, c, err) }
	for _, d := range []string{"ours.example", "theirs.example"} {
		do(o.AddDomain(d))
		for _, name := range []string{"anna", "boss", "carl"} {
			do(o.AddMailbox(name+"@"+d, NewMailbox{}))
		}
	}
	do(o.AddGroup("chiefs@ours.example", "boss@ours.example"))
	do(o.AddGroup("staff@ours.example", "anna@ours.example"))
	do(o.AddGroup("senders@ours.example", "carl@ours.example"))
	do(o.SetGroupOutside("senders@ours.example", "allow"))
	do(o.AddGroup("quiet@theirs.example", "anna@theirs.example"))
	do(o.SetGroupAccept("quiet@theirs.example", "members"))
	do(o.SetMailboxInbound("carl@theirs.example", "deny"))
	do(o.SetMailboxInbound("carl@ours.example", "deny"))
	do(o.AddOperator(NewOperator{Name: "chiefs@ours.example"}))
	do(o.AddOperator(NewOperator{Name: "anna@ours.example", Domains: []string{"ours.example"}}))
	do(o.AddOperator(NewOperator{Name: "unix:carol", Domains: []string{"ours.example", "theirs.example"}, ReadOnly: true}))
	return o
}

func scope(domains ...addr.Domain) Operator {
	return Operator{Name: "anna@ours.example", Grants: []Grant{{Domains: domains}}}
}

// An operator of one domain can work in it and gains no rights beyond it.
func TestDomainOperator(t *testing.T) {
	only := func(_ any, err error) error { return err }
	steps := []struct {
		name string
		do   func(o *Service) error
		ok   bool
	}{
		{"makes a mailbox", func(o *Service) error { return only(o.AddMailbox("dora@ours.example", NewMailbox{})) }, true},
		{"makes one elsewhere", func(o *Service) error { return only(o.AddMailbox("dora@theirs.example", NewMailbox{})) }, false},
		{"asks for one elsewhere", func(o *Service) error {
			return only(o.addMailbox(MailboxToAdd{User: "dora@theirs.example", Try: true}))
		}, false},
		{"sees another", func(o *Service) error { return only(o.ShowMailbox("anna@theirs.example")) }, false},
		{"counts another", func(o *Service) error { return only(o.StatMailbox("anna@theirs.example")) }, false},
		{"locks", func(o *Service) error { return only(o.LockMailbox("carl@ours.example")) }, true},
		{"locks an operator of all", func(o *Service) error { return only(o.LockMailbox("boss@ours.example")) }, false},
		{"sets the password of an operator of all", func(o *Service) error { return only(o.SetPassword("boss@ours.example", "x4-y5-z6-w7")) }, false},
		{"removes an operator of all", func(o *Service) error { return only(o.RemoveMailbox("boss@ours.example")) }, false},
		{"sends as an operator of all", func(o *Service) error { return only(o.GrantSendAs("carl@ours.example", "boss@ours.example")) }, false},
		{"lets the operators of all into a group", func(o *Service) error { return only(o.AddMembers("chiefs@ours.example", "carl@ours.example")) }, false},
		{"takes them out", func(o *Service) error { return only(o.RemoveMembers("chiefs@ours.example", "boss@ours.example")) }, false},
		{"removes the group of the operators", func(o *Service) error { return only(o.RemoveGroup("chiefs@ours.example")) }, false},
		{"makes a group with them", func(o *Service) error { return only(o.AddGroup("new@ours.example", "chiefs@ours.example")) }, true},
		{"adds to a group", func(o *Service) error { return only(o.AddMembers("staff@ours.example", "carl@theirs.example")) }, false},
		{"adds one who is open", func(o *Service) error { return only(o.AddMembers("staff@ours.example", "boss@theirs.example")) }, true},
		{"adds to a group that gives rights", func(o *Service) error { return only(o.AddMembers("senders@ours.example", "anna@ours.example")) }, false},
		{"opens who takes nothing from outside", func(o *Service) error { return only(o.AddAlias("c@ours.example", "carl@ours.example")) }, false},
		{"aliases another domain's", func(o *Service) error { return only(o.AddAlias("them@ours.example", "anna@theirs.example")) }, true},
		{"opens another domain's group", func(o *Service) error { return only(o.AddAlias("q@ours.example", "quiet@theirs.example")) }, false},
		{"aliases in another domain", func(o *Service) error { return only(o.AddAlias("x@theirs.example", "anna@ours.example")) }, false},
		{"aliases elsewhere", func(o *Service) error { return only(o.AddAlias("out@ours.example", "x@remote.example")) }, true},
		{"sends as another domain's", func(o *Service) error { return only(o.GrantSendAs("carl@ours.example", "anna@theirs.example")) }, false},
		{"sends as a stranger", func(o *Service) error { return only(o.GrantSendAs("carl@ours.example", "x@remote.example")) }, false},
		{"sends as one of ours", func(o *Service) error { return only(o.GrantSendAs("carl@ours.example", "staff@ours.example")) }, true},
		{"takes that back", func(o *Service) error { return only(o.RevokeSendAs("carl@ours.example", "staff@ours.example")) }, true},
		{"gives the right to send outside", func(o *Service) error { return ask(o, MailboxOutside, Setting{"carl@ours.example", "allow"}) }, false},
		{"gives the right to get from outside", func(o *Service) error { return ask(o, MailboxInbound, Setting{"carl@ours.example", "allow"}) }, false},
		{"gives it to a group", func(o *Service) error { return ask(o, GroupOutside, Setting{"staff@ours.example", "allow"}) }, false},
		{"releases", func(o *Service) error { return ask(o, MailboxRelease, "carl@ours.example") }, false},
		{"sets a quota", func(o *Service) error { return only(o.SetQuota("carl@ours.example", "1GB")) }, true},
		{"sets the domain's quota", func(o *Service) error { return only(o.ChangeQuota("ours.example", QuotaChange{Size: "1GB"})) }, false},
		{"forwards", func(o *Service) error {
			return only(o.SetForward("carl@ours.example", []string{"anna@theirs.example"}, true))
		}, true},
		{"forwards to who takes nothing from outside", func(o *Service) error {
			return only(o.SetForward("dora@ours.example", []string{"carl@theirs.example"}, true))
		}, false},
		{"catches all", func(o *Service) error { return only(o.SetCatchAll("ours.example", "dora@ours.example")) }, true},
		{"catches all of another", func(o *Service) error { return only(o.SetCatchAll("theirs.example", "dora@ours.example")) }, false},
		{"catches all for who takes nothing", func(o *Service) error { return only(o.SetCatchAll("ours.example", "carl@theirs.example")) }, false},
		{"moves a mailbox out", func(o *Service) error { return only(o.RenameMailbox("dora@ours.example", "dora@theirs.example")) }, false},
		{"moves one in", func(o *Service) error { return only(o.RenameMailbox("anna@theirs.example", "eva@ours.example")) }, false},
		{"renames", func(o *Service) error { return only(o.RenameMailbox("dora@ours.example", "doris@ours.example")) }, true},
		{"locks the domain", func(o *Service) error { return ask(o, DomainLock, "ours.example") }, false},
		{"makes a domain", func(o *Service) error { return ask(o, DomainAdd, "new.example") }, false},
		{"removes the domain", func(o *Service) error {
			return ask(o, DomainRemove, DomainToRemove{Name: "ours.example", WithMailboxes: true, Sure: true})
		}, false},
		{"sees his domain", func(o *Service) error { return only(o.ShowDomain("ours.example")) }, true},
		{"sees another domain", func(o *Service) error { return only(o.ShowDomain("theirs.example")) }, false},
		{"lists another domain", func(o *Service) error { return only(o.ListMailboxes("theirs.example")) }, false},
		{"sees another's group", func(o *Service) error { return only(o.ShowGroup("quiet@theirs.example")) }, false},
		{"makes an operator", func(o *Service) error { return ask(o, OperatorAdd, NewOperator{Name: "dora@ours.example"}) }, false},
		{"lists the operators", func(o *Service) error { return ask(o, OperatorList, struct{}{}) }, false},
		{"removes an operator", func(o *Service) error { return ask(o, OperatorRemove, "unix:carol") }, false},
		{"removes his own mailbox", func(o *Service) error { return only(o.RemoveMailbox("anna@ours.example")) }, true},
	}
	o := town(t)
	view := o.As(scope("ours.example"))
	for _, s := range steps {
		if err := s.do(view); s.ok && err != nil || !s.ok && !errors.Is(err, ErrNotPermitted) {
			t.Errorf("%s: %v", s.name, err)
		}
	}
}

// An operator of one domain cannot change anyone's rights by adding, removing or renaming objects.
func TestRightsStay(t *testing.T) {
	only := func(_ any, err error) error { return err }
	o := town(t)
	do := func(c Change, err error) { t.Helper(); must(t, c, err) }
	do(o.AddMailbox("held@ours.example", NewMailbox{}))
	do(o.AddMailbox("intern@ours.example", NewMailbox{}))
	if err := o.Dir.UpdateAccount(mustAddress(t, o, "held@ours.example"), func(acc *directory.Account) error { acc.Held = true; return nil }); err != nil {
		t.Fatal(err)
	}
	do(o.AddAlias("trainee@ours.example", "intern@ours.example"))
	do(o.AddGroup("sub@ours.example"))
	do(o.AddGroup("interns@ours.example", "trainee@ours.example", "sub@ours.example"))
	do(o.SetGroupInbound("interns@ours.example", "deny"))
	do(o.AddMailbox("free@ours.example", NewMailbox{}))
	view := o.As(scope("ours.example"))
	for _, s := range []struct {
		name string
		do   func(o *Service) error
		ok   bool
	}{
		{"removes a group that takes rights", func(o *Service) error { return only(o.RemoveGroup("interns@ours.example")) }, false},
		{"removes one that gives rights", func(o *Service) error { return only(o.RemoveGroup("senders@ours.example")) }, false},
		{"removes one within", func(o *Service) error { return only(o.RemoveGroup("sub@ours.example")) }, false},
		{"removes an alias within", func(o *Service) error { return only(o.RemoveAlias("trainee@ours.example")) }, false},
		{"removes a member", func(o *Service) error { return only(o.RemoveMailbox("intern@ours.example")) }, false},
		{"renames a member", func(o *Service) error { return only(o.RenameMailbox("intern@ours.example", "x@ours.example")) }, false},
		{"removes who has his own rights", func(o *Service) error { return only(o.RemoveMailbox("carl@ours.example")) }, false},
		{"removes one that is held", func(o *Service) error { return only(o.RemoveMailbox("held@ours.example")) }, false},
		{"renames one that is held", func(o *Service) error { return only(o.RenameMailbox("held@ours.example", "x@ours.example")) }, false},
		{"removes a group without rights", func(o *Service) error { return only(o.RemoveGroup("staff@ours.example")) }, true},
		{"renames one without rights", func(o *Service) error { return only(o.RenameMailbox("free@ours.example", "x@ours.example")) }, true},
		{"removes one without rights", func(o *Service) error { return only(o.RemoveMailbox("x@ours.example")) }, true},
	} {
		if err := s.do(view); s.ok && err != nil || !s.ok && !errors.Is(err, ErrNotPermitted) {
			t.Errorf("%s: %v", s.name, err)
		}
	}
	do(o.RemoveGroup("interns@ours.example"))
	do(o.RemoveMailbox("held@ours.example"))
}

// An operator of one domain cannot delete mail of operators of all domains.
func TestRetentionOfOperators(t *testing.T) {
	o := town(t)
	p, err := o.PreviewRetention("ours.example", RetentionChange{After: "1"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	c, err := o.ChangeRetention(p)
	must(t, c, err)
	view := o.As(scope("ours.example"))
	for target, want := range map[string]error{"boss@ours.example": ErrNotPermitted, "theirs.example": ErrNotPermitted, "": ErrNotPermitted, "carl@ours.example": nil} {
		if _, err := view.RunRetention(t.Context(), target, time.Now()); !errors.Is(err, want) {
			t.Errorf("%q: %v", target, err)
		}
	}
	for view, want := range map[*Service]int{view: 1, o: 0} {
		all, err := view.RunRetention(t.Context(), "ours.example", time.Now())
		if len(all) != want || want > 0 && (all[0].Mailbox.Local != "boss" || all[0].Problem == "") || err != nil {
			t.Errorf("%+v, %v", all, err)
		}
	}
}

// Lists contain only the objects that an operator may see.
func TestDomainOperatorSees(t *testing.T) {
	o := town(t)
	c, err := o.AddAlias("x@theirs.example", "anna@ours.example")
	must(t, c, err)
	view := o.As(scope("ours.example"))
	boxes, err := view.ListMailboxes("")
	if err != nil || len(boxes) != 3 || boxes[0].Mailbox.Domain != "ours.example" {
		t.Errorf("%v, %v", boxes, err)
	}
	domains, err := view.ListDomains()
	if err != nil || len(domains) != 1 {
		t.Errorf("%v, %v", domains, err)
	}
	anna, err := view.ShowMailbox("anna@ours.example")
	if err != nil || len(anna.Aliases) != 0 {
		t.Errorf("aliases in the other domain are seen: %v, %v", anna.Aliases, err)
	}
	events, _, err := view.Audit(AuditQuestion{})
	if err != nil || len(events) == 0 || slices.ContainsFunc(events, func(e auditEvent) bool { return !strings.HasSuffix(e.Object, "ours.example") }) {
		t.Errorf("%v, %v", events, err)
	}
}

// A read-only operator changes nothing. A limited operator can direct mail out of a domain only as
// every user may.
func TestReadOnlyAndOutside(t *testing.T) {
	o := town(t)
	viewer := o.As(Operator{Name: "v", Grants: []Grant{{All: true, ReadOnly: true}}})
	if _, err := viewer.ListMailboxes(""); err != nil {
		t.Error(err)
	}
	for name, do := range map[string]func() (Change, error){
		"mailbox":  func() (Change, error) { return viewer.LockMailbox("carl@ours.example") },
		"alias":    func() (Change, error) { return viewer.RemoveAlias("x@ours.example") },
		"domain":   func() (Change, error) { return viewer.LockDomain("ours.example") },
		"device":   func() (Change, error) { return Change{}, ask(viewer, DeviceRemove, "x") },
		"operator": func() (Change, error) { return Change{}, ask(viewer, OperatorRemove, "unix:carol") },
		"password": func() (Change, error) { return viewer.SetPassword("carl@ours.example", "x4-y5-z6-w7") },
	} {
		if _, err := do(); !errors.Is(err, ErrNotPermitted) {
			t.Errorf("%s: %v", name, err)
		}
	}
	cfg := *o.Config()
	cfg.Policy.Outside.Send.Value = false
	if err := o.SetConfig(&cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := o.As(scope("ours.example")).AddAlias("out@ours.example", "x@remote.example"); !errors.Is(err, ErrNotPermitted) {
		t.Errorf("an alias to another server: %v", err)
	}
}

// names formats operators.json as "name=scope".
func (o *Service) grantLines(t *testing.T) string {
	t.Helper()
	all, err := o.ListOperators()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, g := range all {
		lines = append(lines, fmt.Sprintf("%s=%s", g.Name, g.Scope()))
	}
	return strings.Join(lines, "; ")
}

// Grants follow renamed objects, and a later owner of a name inherits none.
func TestOperatorsFollow(t *testing.T) {
	o := town(t)
	steps := []struct {
		do   func() (Change, error)
		want string
	}{
		{nil, "anna@ours.example=ours.example; chiefs@ours.example=all domains; unix:carol=ours.example, theirs.example, read-only"},
		{func() (Change, error) { return o.RenameMailbox("anna@ours.example", "ann@ours.example") },
			"ann@ours.example=ours.example; chiefs@ours.example=all domains; unix:carol=ours.example, theirs.example, read-only"},
		{func() (Change, error) { return o.RemoveGroup("chiefs@ours.example") },
			"ann@ours.example=ours.example; unix:carol=ours.example, theirs.example, read-only"},
		{func() (Change, error) { return o.AddGroup("chiefs@ours.example", "carl@ours.example") },
			"ann@ours.example=ours.example; unix:carol=ours.example, theirs.example, read-only"},
		{func() (Change, error) {
			return o.AddOperator(NewOperator{Name: "boss@theirs.example", Domains: []string{"ours.example"}})
		}, "ann@ours.example=ours.example; boss@theirs.example=ours.example; unix:carol=ours.example, theirs.example, read-only"},
		{func() (Change, error) { return o.RemoveMailbox("ann@ours.example") },
			"boss@theirs.example=ours.example; unix:carol=ours.example, theirs.example, read-only"},
		{func() (Change, error) { return o.RemoveDomain("ours.example", true) }, "unix:carol=theirs.example, read-only"},
		{func() (Change, error) { return o.AddDomain("ours.example") }, "unix:carol=theirs.example, read-only"},
		{func() (Change, error) { return o.RemoveDomain("theirs.example", true) }, ""},
	}
	for i, s := range steps {
		if s.do != nil {
			c, err := s.do()
			must(t, c, err)
		}
		if got := o.grantLines(t); got != s.want {
			t.Fatalf("step %d:\ngot  %s\nwant %s", i, got, s.want)
		}
	}
	// What the grants lost or gained without an operator verb is in the audit log.
	for name, want := range map[string]int{
		"anna@ours.example": 1, "ann@ours.example": 2, "chiefs@ours.example": 1, "unix:carol": 2, "boss@theirs.example": 2,
	} {
		events, _, err := o.Audit(AuditQuestion{Object: "operator " + name})
		if err != nil || len(events) < want {
			t.Errorf("%s: %d events, want %d at least: %+v, %v", name, len(events), want, events, err)
		}
	}
}

// After a mailbox was deleted by hand, the next one with its name has no rights.
func TestOperatorsOfWhatIsGone(t *testing.T) {
	o := town(t)
	box, err := o.mailbox("anna@ours.example")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(o.Root.Name(), box.Dir)); err != nil {
		t.Fatal(err)
	}
	c, err := o.AddMailbox("anna@ours.example", NewMailbox{})
	must(t, c, err)
	if op, err := o.MailOperator(box.Address); err != nil || len(op.Grants) != 0 {
		t.Errorf("it inherits %v, %v", op, err)
	}
}

func TestWhoIsOperator(t *testing.T) {
	o := town(t)
	box := func(s string) addr.Address {
		a, err := addr.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	for name, want := range map[string]string{
		"boss@ours.example": "all domains", "anna@ours.example": "ours.example", "carl@ours.example": "nothing",
	} {
		op, err := o.MailOperator(box(name))
		if err != nil || op.Scope() != want || op.Name != name {
			t.Errorf("%s: %v, %v", name, op, err)
		}
	}
	if _, err := o.MailOperator(box("nobody@ours.example")); !errors.Is(err, directory.ErrNotFound) {
		t.Error(err)
	}
	c, err := o.AddOperator(NewOperator{Name: "unix:@mailadmins", ReadOnly: true})
	must(t, c, err)
	for _, tt := range []struct {
		user   string
		groups []string
		want   string
	}{
		{"carol", nil, "ours.example, theirs.example, read-only"},
		{"dave", []string{"users", "mailadmins"}, "all domains, read-only"},
		{"carol", []string{"mailadmins"}, "all domains, read-only; ours.example, theirs.example, read-only"},
		{"mailadmins", nil, "nothing"},
		{"@mailadmins", nil, "nothing"},
		{"anna@ours.example", nil, "nothing"},
	} {
		if op, err := o.UnixOperator(tt.user, tt.groups); err != nil || op.Scope() != tt.want {
			t.Errorf("%s: %v, %v", tt.user, op.Scope(), err)
		}
	}
	d, err := o.ShowOperator("chiefs@ours.example")
	if err != nil || d.Kind != "group" || len(d.Members) != 1 || d.Members[0].Local != "boss" {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestAddOperatorRefuses(t *testing.T) {
	o := town(t)
	c, err := o.AddAlias("a@ours.example", "anna@ours.example")
	must(t, c, err)
	for _, tt := range []struct {
		NewOperator
		class error
		text  string
	}{
		{NewOperator{Name: "nobody@ours.example"}, directory.ErrNotFound, "neither as a mailbox nor as a group"},
		{NewOperator{Name: "a@ours.example"}, nil, "is an alias"},
		{NewOperator{Name: "anna@ours.example"}, ErrOperatorExists, "exists already"},
		{NewOperator{Name: "unix:"}, ErrOperatorName, "not a permitted name"},
		{NewOperator{Name: "unix:@"}, ErrOperatorName, "not a permitted name"},
		{NewOperator{Name: "unix:a b"}, ErrOperatorName, "not a permitted name"},
		{NewOperator{Name: "unix:x", Domains: []string{"new.example"}}, directory.ErrNotFound, "new.example"},
		{NewOperator{Name: "unix:x", Domains: []string{""}}, nil, ""},
	} {
		_, err := o.AddOperator(tt.NewOperator)
		if err == nil || tt.class != nil && !errors.Is(err, tt.class) || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%+v: %v", tt.NewOperator, err)
		}
	}
}

// With a file that cannot be parsed there are no operators.
func TestOperatorsDamaged(t *testing.T) {
	for name, text := range map[string]string{
		"no JSON":          `{`,
		"unknown member":   `{"operators":[{"name":"unix:carol","all":true,"read-only":true}]}`,
		"no scope":         `{"operators":[{"name":"unix:carol"}]}`,
		"two scopes":       `{"operators":[{"name":"unix:carol","all":true,"domains":["ours.example"]}]}`,
		"no name":          `{"operators":[{"name":"","all":true}]}`,
		"capital letters":  `{"operators":[{"name":"Anna@ours.example","all":true}]}`,
		"twice":            `{"operators":[{"name":"unix:carol","all":true},{"name":"unix:carol","domains":["ours.example"]}]}`,
		"a domain of none": `{"operators":[{"name":"unix:carol","domains":["OURS"]}]}`,
	} {
		o := town(t)
		if err := os.WriteFile(filepath.Join(o.Root.Name(), operatorsFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if op, err := o.UnixOperator("carol", nil); !errors.Is(err, ErrOperatorsDamaged) || len(op.Grants) != 0 {
			t.Errorf("%s: %v, %v", name, op, err)
		}
		if _, err := o.As(scope("ours.example")).LockMailbox("carl@ours.example"); !errors.Is(err, ErrOperatorsDamaged) {
			t.Errorf("%s: a domain operator works on: %v", name, err)
		}
		if _, err := o.LockMailbox("carl@ours.example"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
