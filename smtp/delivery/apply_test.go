package delivery

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pillarbox/mailstore"
	"pillarbox/mailstore/absence"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/rules"
	"pillarbox/smtp"
	"pillarbox/smtp/queue"
)

// ruledOffice is an office whose answers are remembered.
func ruledOffice(t *testing.T) *office {
	o := newOffice(t)
	o.Answers = absence.OpenMemory(o.root)
	return o
}

func (o *office) rules(user string, list ...rules.Rule) {
	o.t.Helper()
	must(o.t, o.Dir.UpdateRules(address(user+"@office.example"), func([]rules.Rule) ([]rules.Rule, error) {
		return list, nil
	}))
}

func (o *office) absent(user string, s absence.Settings) {
	o.t.Helper()
	must(o.t, o.Dir.SetAbsence(address(user+"@office.example"), &s))
}

// message commits a message as a session does.
func (o *office) message(from, header string, to ...string) error {
	o.t.Helper()
	in := o.Store.Create()
	defer in.Abort()
	header += "\r\n"
	fmt.Fprintf(in, "%s%stext\r\n", smtp.ReturnPath(address(from)), header)
	env := &smtp.Envelope{From: address(from)}
	m := &Message{Envelope: env, Source: o.from, Header: []byte(header), Refusable: true}
	for _, one := range to {
		r := smtp.Recipient{Address: address(one)}
		env.To = append(env.To, r)
		res, err := o.Dir.Resolve(r.Address)
		must(o.t, err)
		m.Targets = append(m.Targets, NewTarget(r, res))
	}
	_, err := o.Commit(in, m)
	return err
}

const fromKurt = "From: kurt@far.example\r\nTo: anna@office.example\r\nSubject: hello\r\nMessage-ID: <1@far.example>\r\n"

// counts tells how many messages mailboxes have, and the queue.
func (o *office) counts(users ...string) string {
	o.t.Helper()
	var all []string
	for _, user := range users {
		all = append(all, fmt.Sprintf("%s %d", user, len(o.mailbox(user))))
	}
	return strings.Join(append(all, fmt.Sprintf("queue %d", len(o.items))), ", ")
}

func to(all ...string) (list []addr.Address) {
	for _, a := range all {
		list = append(list, address(a))
	}
	return list
}

// TestRules: what a rule of anna does with a message to her alone.
func TestRules(t *testing.T) {
	for what, c := range map[string]struct {
		rule rules.Rule
		want string
	}{
		"keep":              {rules.Rule{Do: rules.Keep}, "anna 1, boss 0, queue 0"},
		"discard":           {rules.Rule{Do: rules.Discard}, "anna 0, boss 0, queue 0"},
		"forward":           {rules.Rule{Do: rules.Forward, To: to("boss@office.example")}, "anna 0, boss 1, queue 0"},
		"forward and keep":  {rules.Rule{Do: rules.Forward, To: to("boss@office.example"), KeepCopy: true}, "anna 1, boss 1, queue 0"},
		"forward to itself": {rules.Rule{Do: rules.Forward, To: to("anna@office.example")}, "anna 1, boss 0, queue 0"},
		"forward away":      {rules.Rule{Do: rules.Forward, To: to("y@far.example", "boss@office.example")}, "anna 0, boss 1, queue 1"},
		"forward to a group with her": {
			rules.Rule{Do: rules.Forward, To: to("all@office.example")}, "anna 0, boss 1, queue 1",
		},
		"forward to nobody": {rules.Rule{Do: rules.Forward}, "anna 1, boss 0, queue 0"},
	} {
		o := ruledOffice(t)
		if c.rule.Do == rules.Forward && len(c.rule.To) == 0 {
			must(t, o.Dir.UpdateAccount(address("anna@office.example"), func(acc *directory.Account) error {
				acc.Rules = []rules.Rule{c.rule} // as after the removal of its target
				return nil
			}))
		} else {
			o.rules("anna", c.rule)
		}
		if err := o.message("kurt@far.example", fromKurt, "anna@office.example"); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if got := o.counts("anna", "boss"); got != c.want {
			t.Errorf("%s: %s, want %s", what, got, c.want)
		}
	}
}

// TestRuleLeaves: who may not send to other servers cannot do it by a rule of a mailbox, not even by
// one of his own, and nobody can do it more often than the limit permits. The mailbox keeps the
// message.
func TestRuleLeaves(t *testing.T) {
	o := ruledOffice(t)
	o.SetConfig(Config{
		Hostname: "mail.office.example", ForwardsPerHour: 2,
		MayLeave: func(user addr.Address) bool { return user != address("boss@office.example") },
	})
	o.rules("anna", rules.Rule{Do: rules.Forward, To: to("y@far.example")})
	for _, c := range []struct{ user, want string }{
		{"boss@office.example", "anna 1, boss 0, queue 0"},
		{"", "anna 1, boss 0, queue 1"}, // a stranger
		{"anna@office.example", "anna 1, boss 0, queue 2"},
		{"Anna@office.example", "anna 1, boss 0, queue 3"},
		{"anna@office.example", "anna 2, boss 0, queue 3"},
		{"", "anna 2, boss 0, queue 4"},
	} {
		o.from = queue.Source{Service: "submission", User: address(c.user), Local: c.user != "", Standing: smtp.StandingLogin}
		must(t, o.message("kurt@far.example", fromKurt, "anna@office.example"))
		if got := o.counts("anna", "boss"); got != c.want {
			t.Errorf("from %s: %s, want %s", c.user, got, c.want)
		}
	}
	o.rules("anna", rules.Rule{Do: rules.Forward, To: to("y@far.example", "away@office.example", "boss@office.example")})
	o.from = queue.Source{Service: "submission", User: address("boss@office.example"), Local: true}
	must(t, o.message("boss@office.example", fromKurt, "anna@office.example"))
	if got := o.counts("anna", "boss"); got != "anna 2, boss 1, queue 4" {
		t.Error(got)
	}
}

// TestRuleArchive: the archive of a mailbox gets what a rule of another mailbox forwards to it.
func TestRuleArchive(t *testing.T) {
	o := ruledOffice(t)
	o.rules("anna", rules.Rule{Do: rules.Forward, To: to("boss@office.example")})
	must(t, o.Dir.SetArchive(address("boss@office.example"), address("postmaster@office.example")))
	must(t, o.message("kurt@far.example", fromKurt, "anna@office.example"))
	if got := o.counts("anna", "boss", "postmaster"); got != "anna 0, boss 1, postmaster 1, queue 0" {
		t.Error(got)
	}
	must(t, o.message("kurt@far.example", fromKurt, "anna@office.example", "boss@office.example"))
	if got := o.counts("anna", "boss", "postmaster"); got != "anna 0, boss 2, postmaster 2, queue 0" {
		t.Error(got)
	}
}

// TestArchiveCircle: archives of each other, and of their own domain, get one copy each.
func TestArchiveCircle(t *testing.T) {
	o := ruledOffice(t)
	must(t, o.Dir.SetArchive(address("anna@office.example"), address("boss@office.example")))
	must(t, o.Dir.SetArchive(address("boss@office.example"), address("anna@office.example")))
	must(t, o.Dir.SetDomainArchive("office.example", address("boss@office.example")))
	o.rules("boss", rules.Rule{Do: rules.Forward, To: to("anna@office.example")})
	must(t, o.message("kurt@far.example", fromKurt, "anna@office.example"))
	if got := o.counts("anna", "boss"); got != "anna 1, boss 1, queue 0" {
		t.Error(got)
	}
}

// TestRuleLoop: mailboxes that forward to each other lose nothing and store once.
func TestRuleLoop(t *testing.T) {
	o := ruledOffice(t)
	o.rules("anna", rules.Rule{Do: rules.Forward, To: to("boss@office.example")})
	o.rules("boss", rules.Rule{Do: rules.Forward, To: to("postmaster@office.example")})
	o.rules("postmaster", rules.Rule{Do: rules.Forward, To: to("anna@office.example")})
	must(t, o.message("kurt@far.example", fromKurt, "anna@office.example"))
	if got := o.counts("anna", "boss", "postmaster"); got != "anna 0, boss 0, postmaster 1, queue 0" {
		t.Error(got)
	}
	must(t, o.message("kurt@far.example", fromKurt, "anna@office.example", "boss@office.example"))
	if got := o.counts("anna", "boss", "postmaster"); got != "anna 0, boss 0, postmaster 2, queue 0" {
		t.Error(got)
	}
}

// TestRuleRefuse: alone, the client hears it; with others, the sender gets a report if it may get
// one, and the mailbox keeps the message if not.
func TestRuleRefuse(t *testing.T) {
	o := ruledOffice(t)
	o.rules("anna", rules.Rule{Do: rules.Refuse, Text: "No, thanks"})
	err := o.message("boss@office.example", fromKurt, "anna@office.example")
	refused, ok := errors.AsType[*Refusal](err)
	if !ok || refused.Reply.Error() != "550 5.7.1 No, thanks" || refused.Rule != 1 {
		t.Errorf("the error is %v", err)
	}
	if got := o.counts("anna", "boss"); got != "anna 0, boss 0, queue 0" {
		t.Error(got)
	}
	must(t, o.message("boss@office.example", fromKurt, "anna@office.example", "postmaster@office.example"))
	o.want("reports", o.reports("boss"), "failed anna@office.example () 5.7.1 ")
	if got := o.counts("anna", "postmaster"); got != "anna 0, postmaster 1, queue 0" {
		t.Error(got)
	}
	o.from = queue.Source{Service: "smtp", Standing: smtp.StandingNone}
	must(t, o.message("kurt@far.example", fromKurt, "anna@office.example", "postmaster@office.example"))
	must(t, o.message("", fromKurt, "anna@office.example", "postmaster@office.example"))
	if got := o.counts("anna", "postmaster"); got != "anna 2, postmaster 3, queue 0" {
		t.Error(got)
	}
}

func TestRuleMark(t *testing.T) {
	o := ruledOffice(t)
	o.rules("anna", rules.Rule{Do: rules.Mark, Text: "shop"}, rules.Rule{Do: rules.Mark, Subject: "[größer]"})
	must(t, o.message("kurt@far.example", fromKurt, "anna@office.example"))
	want := "Return-Path: <kurt@far.example>\r\nX-Pillarbox-Label: shop\r\nFrom: kurt@far.example\r\n" +
		"To: anna@office.example\r\nSubject: =?utf-8?q?[gr=C3=B6=C3=9Fer]?= hello\r\n" +
		"Message-ID: <1@far.example>\r\n\r\ntext\r\n"
	if got := o.mailbox("anna"); len(got) != 1 || got[0] != want {
		t.Errorf("%q, want %q", got, want)
	}
	must(t, o.message("kurt@far.example", fromKurt, "anna@office.example", "boss@office.example"))
	if got := o.mailbox("anna"); len(got) != 2 || strings.Contains(got[1], "Label") {
		t.Errorf("a shared message is marked: %q", got)
	}
	o.rules("boss", rules.Rule{Do: rules.Mark, Text: "shop"}, rules.Rule{Do: rules.Mark, Subject: "[größer]"})
	must(t, o.message("kurt@far.example", fromKurt, "anna@office.example", "boss@office.example"))
	if got := o.mailbox("boss"); len(got) != 2 || !strings.Contains(got[1], "Label") {
		t.Errorf("a message that both mark alike is not marked: %q", got)
	}
}

// TestLargeMark: a message that is too large for memory is marked too, and nothing else changes.
func TestLargeMark(t *testing.T) {
	o := ruledOffice(t)
	o.rules("anna", rules.Rule{Do: rules.Mark, Text: "shop"})
	header := fromKurt + "X-Long: " + strings.Repeat("x", 900) + "\r\n"
	in := o.Store.Create()
	defer in.Abort()
	body := strings.Repeat("line\r\n.dot\r\n", 20_000)
	fmt.Fprintf(in, "%s%s\r\n%s", smtp.ReturnPath(address("kurt@far.example")), header, body)
	r := smtp.Recipient{Address: address("anna@office.example")}
	res, err := o.Dir.Resolve(r.Address)
	must(t, err)
	_, err = o.Commit(in, &Message{
		Envelope: &smtp.Envelope{From: address("kurt@far.example"), To: []smtp.Recipient{r}},
		Targets:  []Target{NewTarget(r, res)}, Source: o.from, Header: []byte(header + "\r\n"),
	})
	must(t, err)
	want := "Return-Path: <kurt@far.example>\r\nX-Pillarbox-Label: shop\r\n" + header + "\r\n" + body
	if got := o.mailbox("anna"); len(got) != 1 || got[0] != want {
		t.Errorf("the message is not the one that was sent, with its label")
	}
}

func TestLabelled(t *testing.T) {
	labels := []rules.Label{{Text: "a"}, {Prefix: "[x]"}, {Text: "b", Prefix: "[x]"}}
	for in, want := range map[string]string{
		"Return-Path: <>\r\nSubject: s\r\n\tt\r\n\r\n": "Return-Path: <>\r\nX-Pillarbox-Label: a\r\nX-Pillarbox-Label: b\r\nSubject: [x] [x] s\r\n\tt\r\n\r\n",
		"Subject:\r\n\r\n":                 "X-Pillarbox-Label: a\r\nX-Pillarbox-Label: b\r\nSubject: [x] [x]\r\n\r\n",
		"Subject: Re: [x] s\r\n\r\n":       "X-Pillarbox-Label: a\r\nX-Pillarbox-Label: b\r\nSubject: Re: [x] s\r\n\r\n",
		"From: x\r\n\r\n":                  "X-Pillarbox-Label: a\r\nX-Pillarbox-Label: b\r\nFrom: x\r\nSubject: [x] [x]\r\n\r\n",
		"Subject: 1\r\nSubject: 2\r\n\r\n": "X-Pillarbox-Label: a\r\nX-Pillarbox-Label: b\r\nSubject: [x] [x] 1\r\nSubject: 2\r\n\r\n",
	} {
		if got := string(labelled([]byte(in), labels)); got != want {
			t.Errorf("%q became\n%q, want\n%q", in, got, want)
		}
	}
}

// TestAbsence: a sender gets one notice in an interval, with the fields of RFC 3834.
func TestAbsence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := ruledOffice(t)
		o.absent("anna", absence.Settings{Text: "I am away.", Set: time.Now()})
		must(t, o.message("kurt@far.example", fromKurt, "anna@office.example"))
		if got := o.counts("anna"); got != "anna 1, queue 1" {
			t.Fatal(got)
		}
		item := o.items[0]
		if !item.From.IsZero() || item.To[0].Address != address("kurt@far.example") || item.Source.Local {
			t.Errorf("the notice is %+v", item)
		}
		r, _, err := o.Store.Spool().Open(item.ID)
		must(t, err)
		defer r.Close()
		text := make([]byte, 2000)
		n, _ := r.Read(text)
		for _, want := range []string{
			"Return-Path: <>\r\nFrom: <anna@office.example>\r\nTo: <kurt@far.example>\r\nSubject: Auto: hello\r\n",
			"In-Reply-To: <1@far.example>\r\nReferences: <1@far.example>\r\nAuto-Submitted: auto-replied\r\n",
			"\r\n\r\nI am away.\r\n",
		} {
			if !strings.Contains(string(text[:n]), want) {
				t.Errorf("the notice lacks %q:\n%s", want, text[:n])
			}
		}
		time.Sleep(6 * 24 * time.Hour)
		must(t, o.message("Kurt@far.example", fromKurt, "anna@office.example"))
		if got := o.counts("anna"); got != "anna 2, queue 1" {
			t.Error("within the week: ", got)
		}
		time.Sleep(2 * 24 * time.Hour)
		must(t, o.message("kurt@far.example", fromKurt, "anna@office.example"))
		if got := o.counts("anna"); got != "anna 3, queue 2" {
			t.Error("after a week: ", got)
		}
		o.absent("anna", absence.Settings{Text: "Away again.", Set: time.Now().Add(time.Second)})
		time.Sleep(2 * time.Second)
		must(t, o.message("kurt@far.example", fromKurt, "anna@office.example"))
		if got := o.counts("anna"); got != "anna 4, queue 3" {
			t.Error("a new absence: ", got)
		}
		// A notice that cannot be delivered is dropped, not kept.
		must(t, o.Report(queue.DSNRequest{Item: o.items[0], Action: "failed", Recipients: o.items[0].To}))
		o.want("badmail", o.badmail())
	})
}

// TestNoNotice: senders that are not verified get no notice, nor does anyone whose message went to
// others, was discarded, or is automatic.
func TestNoNotice(t *testing.T) {
	for what, c := range map[string]struct {
		from, header string
		source       queue.Source
		rule         rules.Act
	}{
		"forged":    {from: "victim@far.example", header: fromKurt, source: queue.Source{Service: "smtp", Standing: smtp.StandingNone}},
		"null":      {header: fromKurt},
		"list":      {from: "kurt@far.example", header: fromKurt + "List-Id: <l.far.example>\r\n"},
		"automatic": {from: "kurt@far.example", header: fromKurt + "Auto-Submitted: auto-generated\r\n"},
		"blind":     {from: "kurt@far.example", header: "To: other@far.example\r\n"},
		"discarded": {from: "kurt@far.example", header: fromKurt, rule: rules.Discard},
	} {
		o := ruledOffice(t)
		if c.source.Service != "" {
			o.from = c.source
		}
		o.absent("anna", absence.Settings{Text: "I am away."})
		if c.rule != "" {
			o.rules("anna", rules.Rule{Do: c.rule})
		}
		must(t, o.message(c.from, c.header, "anna@office.example"))
		if len(o.items) > 0 {
			t.Errorf("%s: a notice was sent", what)
		}
	}
}

// TestAbsentPair: two absent mailboxes do not answer each other's notices.
func TestAbsentPair(t *testing.T) {
	o := ruledOffice(t)
	o.absent("anna", absence.Settings{Text: "Anna is away."})
	o.absent("boss", absence.Settings{Text: "Boss is away."})
	for range 3 {
		must(t, o.message("boss@office.example", "From: boss@office.example\r\nTo: anna@office.example\r\n", "anna@office.example"))
		must(t, o.message("anna@office.example", "From: anna@office.example\r\nTo: boss@office.example\r\n", "boss@office.example"))
	}
	for user, other := range map[string]string{"anna": "Boss is away.", "boss": "Anna is away."} {
		has := func(text string) bool { return strings.Contains(text, other) }
		all := o.mailbox(user)
		if n := len(all) - len(slices.DeleteFunc(slices.Clone(all), has)); n != 1 || len(all) != 4 {
			t.Errorf("%s has %d notices in %d messages", user, n, len(all))
		}
	}
}

// TestAbsenceWhileForwarding: a mailbox that forwards without a copy answers too.
func TestAbsenceWhileForwarding(t *testing.T) {
	o := ruledOffice(t)
	must(t, o.Dir.SetForward(address("anna@office.example"), to("boss@office.example"), false))
	o.absent("anna", absence.Settings{Text: "Anna is away."})
	o.absent("boss", absence.Settings{Text: "Boss is away."})
	must(t, o.message("kurt@far.example", fromKurt, "anna@office.example"))
	if got := o.counts("anna", "boss"); got != "anna 0, boss 1, queue 1" {
		t.Error(got)
	}
}

// TestRuleReply: a rule's answer has its own memory.
func TestRuleReply(t *testing.T) {
	o := ruledOffice(t)
	o.rules("anna", rules.Rule{Do: rules.Reply, Text: "We have got it."})
	o.absent("anna", absence.Settings{Text: "I am away."})
	for range 2 {
		must(t, o.message("kurt@far.example", fromKurt, "anna@office.example"))
	}
	if got := o.counts("anna"); got != "anna 2, queue 2" {
		t.Error(got)
	}
}

// TestArchive: copies go to archives once, in and out, beyond the quota, and no further.
func TestArchive(t *testing.T) {
	o := ruledOffice(t)
	for _, user := range []string{"archive", "secret"} {
		_, err := o.Dir.AddMailbox(address(user+"@office.example"), directory.Account{})
		must(t, err)
	}
	must(t, o.Dir.SetDomainArchive("office.example", address("archive@office.example")))
	must(t, o.Dir.SetArchive(address("boss@office.example"), address("secret@office.example")))
	must(t, o.Dir.SetArchive(address("secret@office.example"), address("anna@office.example")))
	o.rules("archive", rules.Rule{Do: rules.Discard})
	o.rules("anna", rules.Rule{Do: rules.Discard})
	must(t, o.message("kurt@far.example", fromKurt, "anna@office.example"))
	if got := o.counts("anna", "boss", "archive", "secret"); got != "anna 0, boss 0, archive 1, secret 0, queue 0" {
		t.Error("in: ", got)
	}
	o.rules("anna")
	o.from = queue.Source{Service: "submission", Local: true, User: address("boss@office.example"), Standing: smtp.StandingLogin}
	must(t, o.message("boss@office.example", fromKurt, "anna@office.example", "kurt@far.example"))
	if got := o.counts("anna", "boss", "archive", "secret"); got != "anna 1, boss 0, archive 2, secret 1, queue 1" {
		t.Error("out: ", got)
	}
	if got := o.items[0].To; len(got) != 1 {
		t.Errorf("the queue has %v", got)
	}
	must(t, o.Dir.RemoveMailbox(address("archive@office.example")))
	if file, err := o.Dir.Domain("office.example"); err != nil || !file.Archive.IsZero() {
		t.Errorf("the archive of the domain is %v, %v", file.Archive, err)
	}
}

// full is a Reserver for which some mailboxes have no room.
type full struct{ dirs []string }

type noRoom struct{ error }

func (noRoom) OverQuota() bool { return true }

func (f full) Room(dir string, _ int64) error {
	if slices.Contains(f.dirs, dir) {
		return noRoom{errors.New("full")}
	}
	return nil
}

func (f full) Reserve(dir string, n int64) (func(int64, int), error) {
	return func(int64, int) {}, f.Room(dir, n)
}

func (f full) Release(string) func(int64, int) { return func(int64, int) {} }

// TestFullArchive: a full archive gets its copies, and a full mailbox is refused though its archive
// has room.
func TestFullArchive(t *testing.T) {
	o := ruledOffice(t)
	_, err := o.Dir.AddMailbox(address("archive@office.example"), directory.Account{})
	must(t, err)
	must(t, o.Dir.SetDomainArchive("office.example", address("archive@office.example")))
	archive, anna := directory.MailboxDir(address("archive@office.example")), directory.MailboxDir(address("anna@office.example"))
	o.Store, err = mailstore.Open(o.root, mailstore.Options{Reserver: full{[]string{archive}}})
	must(t, err)
	must(t, o.message("kurt@far.example", fromKurt, "anna@office.example"))
	if got := o.counts("anna", "archive"); got != "anna 1, archive 1, queue 0" {
		t.Error(got)
	}
	o.Store, err = mailstore.Open(o.root, mailstore.Options{Reserver: full{[]string{archive, anna}}})
	must(t, err)
	err = o.message("kurt@far.example", fromKurt, "anna@office.example")
	if r, ok := errors.AsType[*smtp.Reply](err); !ok || r.Code != 552 {
		t.Errorf("the error is %v", err)
	}
	if got := o.counts("anna", "archive"); got != "anna 1, archive 1, queue 0" {
		t.Error(got)
	}
}
