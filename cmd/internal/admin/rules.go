package admin

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"pillarbox/mailstore/absence"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/head"
	"pillarbox/mailstore/rules"
	"pillarbox/quota"
)

// This file has the rules of mailboxes and the absences of their users.

// RuleList are the rules of a mailbox, in the order in which they are asked.
type RuleList struct {
	Mailbox addr.Address `json:"mailbox"`
	Rules   []RuleLine   `json:"rules"`
}

// RuleLine is one rule, with its words.
type RuleLine struct {
	Number int        `json:"number"` // from 1 on
	If     []string   `json:"if"`     // the conditions in words; none: every message
	Then   string     `json:"then"`   // what it does, in words
	Rule   rules.Rule `json:"rule"`
}

func ruleLine(i int, r rules.Rule) RuleLine {
	line := RuleLine{Number: i + 1, If: []string{}, Then: r.DoWords(), Rule: r}
	for _, c := range r.If {
		line.If = append(line.If, c.String())
	}
	return line
}

// ShowRules returns the rules of a mailbox.
func (o *Service) ShowRules(user string) (RuleList, error) {
	box, err := o.mailbox(user)
	if err != nil {
		return RuleList{}, err
	}
	list := RuleList{Mailbox: box.Address, Rules: []RuleLine{}}
	for i, r := range box.Account.Rules {
		list.Rules = append(list.Rules, ruleLine(i, r))
	}
	return list, nil
}

// ConditionText is a condition as typed. For over and under, Value is a size such as 10MB.
type ConditionText struct {
	What  string
	Name  string // of the header field
	Value string
	Not   bool
}

// RuleToAdd is the input of RulesAdd.
type RuleToAdd struct {
	User     string
	At       int // the number that it gets; 0: the last
	If       []ConditionText
	Do       string
	To       []string
	KeepCopy bool
	Subject  string
	Text     string
}

// rule parses the rule.
func (o *Service) rule(in RuleToAdd) (addr.Address, rules.Rule, error) {
	a, to, err := o.parseNames(in.User, in.To...)
	if err != nil {
		return a, rules.Rule{}, err
	}
	r := rules.Rule{
		Do: rules.Act(strings.ToLower(in.Do)), KeepCopy: in.KeepCopy, Subject: in.Subject,
		Text: in.Text,
	}
	for _, one := range to {
		if one.Fold() == a {
			return a, r, Hint(fmt.Errorf("%s cannot forward to itself", a), "the act keep stores the message")
		}
		if !slices.Contains(r.To, one) {
			r.To = append(r.To, one)
		}
	}
	for _, c := range in.If {
		condition := rules.Condition{
			What: rules.What(strings.ToLower(c.What)), Name: c.Name, Value: c.Value, Not: c.Not,
		}
		if condition.What == rules.Over || condition.What == rules.Under {
			condition.Value = ""
			if condition.Size, err = quota.ParseSize(c.Value); err != nil {
				return a, r, err
			}
		}
		r.If = append(r.If, condition)
	}
	return a, r, explainRule(r.Check())
}

func explainRule(err error) error {
	if errors.Is(err, rules.ErrRule) || errors.Is(err, absence.ErrSettings) {
		return Hint(err, "'pillarbox admin mailbox rules add --help' shows conditions and acts")
	}
	return err
}

// AddRule adds a rule to the list of a mailbox. Where a rule may forward mail to is limited as for the
// forwarding of a mailbox.
func (o *Service) AddRule(in RuleToAdd) (Change, error) {
	a, r, err := o.rule(in)
	if err != nil {
		return Change{}, err
	}
	if err := o.requireTargets(r.To...); err != nil {
		return Change{}, err
	}
	at := 0
	c, err := o.changeMailbox(in.User, "", func(a addr.Address) ([]string, error) {
		err := o.Dir.UpdateRules(a, func(list []rules.Rule) ([]rules.Rule, error) {
			at = in.At
			if at <= 0 || at > len(list) {
				at = len(list) + 1
			}
			return slices.Insert(list, at-1, r), nil
		})
		return o.elsewhere(a.String(), r.To...), explainRule(err)
	})
	c.Text = fmt.Sprintf("mailbox %s has rule %d: %s", a, at, r.Words())
	return c, err
}

// RuleToRemove is the input of RulesRemove.
type RuleToRemove struct {
	User   string
	Number int
}

// errNoRule is the error for a number that no rule has.
func errNoRule(n int, user string) error {
	return Hint(fmt.Errorf("there is no rule %d", n), "'pillarbox admin mailbox rules show %s' shows the rules", user)
}

// RemoveRule removes a rule.
func (o *Service) RemoveRule(in RuleToRemove) (Change, error) {
	return o.changeMailbox(in.User, fmt.Sprintf("no longer has rule %d", in.Number),
		func(a addr.Address) ([]string, error) {
			return nil, o.Dir.UpdateRules(a, func(list []rules.Rule) ([]rules.Rule, error) {
				if in.Number < 1 || in.Number > len(list) {
					return nil, errNoRule(in.Number, in.User)
				}
				return slices.Delete(list, in.Number-1, in.Number), nil
			})
		})
}

// RuleToMove is the input of RulesMove: rule Number becomes rule To.
type RuleToMove struct {
	User   string
	Number int
	To     int
}

// MoveRule changes the order of the rules.
func (o *Service) MoveRule(in RuleToMove) (Change, error) {
	done := fmt.Sprintf("asks rule %d as rule %d now", in.Number, in.To)
	return o.changeMailbox(in.User, done, func(a addr.Address) ([]string, error) {
		return nil, o.Dir.UpdateRules(a, func(list []rules.Rule) ([]rules.Rule, error) {
			for _, n := range []int{in.Number, in.To} {
				if n < 1 || n > len(list) {
					return nil, errNoRule(n, in.User)
				}
			}
			r := list[in.Number-1]
			list = slices.Delete(list, in.Number-1, in.Number)
			return slices.Insert(list, in.To-1, r), nil
		})
	})
}

// RuleTrial is the input of RulesTest: a message that might come.
type RuleTrial struct {
	User    string
	From    string // "": the null sender
	To      string // "": the mailbox itself
	Subject string
	Headers []string // further fields, such as "List-Id: <x>"
	Size    string   // such as 10MB; "": small
}

// RuleAnswer says what would happen to a message, and why.
type RuleAnswer struct {
	Mailbox addr.Address `json:"mailbox"`
	Steps   []string     `json:"steps"`   // one for each rule that was asked
	Outcome string       `json:"outcome"` // in words
	Absence string       `json:"absence"` // whether the sender would get a notice, and why not
}

// testRules decides about a message that does not exist.
func (o *Service) testRules(in RuleTrial) (RuleAnswer, error) {
	box, err := o.mailbox(in.User)
	if err != nil {
		return RuleAnswer{}, err
	}
	m := rules.Message{To: box.Address, Size: 1000}
	if in.From != "" {
		if m.Sender, err = o.ParseUser(in.From); err != nil {
			return RuleAnswer{}, err
		}
	}
	if in.To != "" {
		if m.To, err = o.ParseUser(in.To); err != nil {
			return RuleAnswer{}, err
		}
	}
	if in.Size != "" {
		if m.Size, err = quota.ParseSize(in.Size); err != nil {
			return RuleAnswer{}, err
		}
	}
	var header strings.Builder
	for _, field := range append([]string{"From: " + m.Sender.String(), "To: " + m.To.String(), "Subject: " + in.Subject}, in.Headers...) {
		header.WriteString(strings.NewReplacer("\r", " ", "\n", " ").Replace(field) + "\r\n")
	}
	m.Head = head.Parse([]byte(header.String() + "\r\n"))
	out := rules.Decide(box.Account.Rules, &m)
	answer := RuleAnswer{Mailbox: box.Address, Steps: []string{}, Outcome: outcomeWords(box.Account.Rules, out)}
	for _, s := range out.Steps {
		answer.Steps = append(answer.Steps, s.String())
	}
	answer.Absence = o.absenceWords(box, &m, out)
	return answer, nil
}

func outcomeWords(list []rules.Rule, out rules.Outcome) string {
	words := "the message is kept: no rule ends the list"
	if out.Rule > 0 {
		words = fmt.Sprintf("rule %d decides: %s", out.Rule, list[out.Rule-1].DoWords())
	}
	if n := len(out.Labels); n > 0 {
		words += "; it is marked"
	}
	if n := len(out.Answers); n > 0 {
		words += "; the sender gets an answer, once in a while"
	}
	return words
}

// absenceWords says whether the sender of a message would get an absence notice.
func (o *Service) absenceWords(box directory.Mailbox, m *rules.Message, out rules.Outcome) string {
	s := box.Account.Absence
	if state := s.StateAt(time.Now()); state != absence.Active {
		return "no notice: the user is not absent (" + string(state) + ")"
	}
	if out.Act == rules.Discard || out.Act == rules.Refuse {
		return "no notice: the message is not kept"
	}
	why := absence.Silent(&absence.Facts{
		Sender: m.Sender, Head: m.Head, Own: []addr.Address{box.Address, m.To.Fold()},
	})
	if why != "" {
		return "no notice: " + why
	}
	return "a notice, if the sender got none lately and may get one"
}

// AbsenceStatus is the absence of a mailbox's user.
type AbsenceStatus struct {
	Mailbox addr.Address  `json:"mailbox"`
	State   absence.State `json:"state"` // today
	From    absence.Day   `json:"from"`  // the first day; "": no limit
	To      absence.Day   `json:"to"`    // the last day; "": no limit
	Subject string        `json:"subject"`
	Text    string        `json:"text"`
	Days    int           `json:"days"` // a sender gets one notice in so many days
}

// ShowAbsence returns the absence of a mailbox's user.
func (o *Service) ShowAbsence(user string) (AbsenceStatus, error) {
	box, err := o.mailbox(user)
	if err != nil {
		return AbsenceStatus{}, err
	}
	s := box.Account.Absence
	status := AbsenceStatus{Mailbox: box.Address, State: s.StateAt(time.Now()), Days: absence.DefaultDays}
	if s != nil {
		status.From, status.To, status.Subject, status.Text = s.From, s.To, s.Subject, s.Text
		status.Days = int(s.Interval() / (24 * time.Hour))
	}
	return status, nil
}

// AbsenceToSet is the input of AbsenceSet. Days are as 2026-12-24; "" is no limit.
type AbsenceToSet struct {
	User     string
	From, To string
	Subject  string
	Text     string
	Days     int // 0: the default
}

// SetAbsence sets the absence of a mailbox's user. Senders who got a notice before get one again.
func (o *Service) SetAbsence(in AbsenceToSet) (Change, error) {
	s := &absence.Settings{
		Subject: strings.TrimSpace(in.Subject), Text: in.Text, Days: in.Days,
		Set: time.Now().UTC().Truncate(time.Second),
	}
	var err, err2 error
	s.From, err = absence.ParseDay(in.From)
	s.To, err2 = absence.ParseDay(in.To)
	if err = errors.Join(err, err2, s.Check()); err != nil {
		return Change{}, err
	}
	done := "answers that its user is absent"
	if s.From != "" {
		done += " from " + string(s.From)
	}
	if s.To != "" {
		done += " to " + string(s.To)
	}
	return o.changeMailbox(in.User, done, func(a addr.Address) (warnings []string, err error) {
		if s.StateAt(time.Now()) == absence.Past {
			warnings = append(warnings, "the last day is over: no notice is sent")
		}
		return warnings, o.Dir.SetAbsence(a, s)
	})
}

// AbsenceOff ends an absence. Its text stays, for the next one.
func (o *Service) AbsenceOff(user string) (Change, error) {
	return o.updateAccount(user, "sends no absence notices now", func(acc *directory.Account) error {
		if acc.Absence != nil {
			off := *acc.Absence
			off.Off = true
			acc.Absence = &off
		}
		return nil
	})
}

// SetArchive makes another mailbox here get a copy of all mail of a mailbox; "" ends it.
func (o *Service) SetArchive(user, archive string) (Change, error) {
	to, err := o.archive(user, archive)
	if err != nil {
		return Change{}, err
	}
	done := "has no archive now"
	if !to.IsZero() {
		done = "has the archive " + to.String()
	}
	return o.changeMailbox(user, done, func(a addr.Address) ([]string, error) {
		if box, err := o.Dir.Mailbox(a); err == nil {
			if err := o.requireArchive(box.Account.Archive); err != nil {
				return nil, err
			}
		}
		return nil, o.Dir.SetArchive(a, to)
	})
}

// archive parses and permits the mailbox that shall get copies.
func (o *Service) archive(user, archive string) (addr.Address, error) {
	if archive == "" {
		return addr.Address{}, nil
	}
	_, all, err := o.parseNames(user, archive)
	if err != nil {
		return addr.Address{}, err
	}
	return all[0], errors.Join(o.Require(all[0].Domain, true), o.requireTargets(all[0]))
}

// SetDomainArchive is SetArchive for all mail of a domain.
func (o *Service) SetDomainArchive(domain, archive string) (Change, error) {
	to, done := addr.Address{}, "has no archive now"
	if archive != "" {
		d, err := o.parseDomain(domain)
		if err != nil {
			return Change{}, err
		}
		if to, err = o.archive("x@"+string(d), archive); err != nil {
			return Change{}, err
		}
		done = "has the archive " + to.String()
	}
	return o.changeDomain(domain, done, func(d addr.Domain) ([]string, error) {
		if err := o.requireDomainArchive(d, to); err != nil {
			return nil, err
		}
		return nil, o.Dir.SetDomainArchive(d, to)
	})
}

// FooterToSet is the input of DomainFooter. Without a Text, the footer is removed.
type FooterToSet struct {
	Domain string
	Text   string
	HTML   string // "": made from Text
}

// SetFooter sets the footer of a domain.
func (o *Service) SetFooter(in FooterToSet) (Change, error) {
	done := "has a footer for mail to other servers"
	if strings.TrimSpace(in.Text) == "" {
		in.Text, done = "", "has no footer now"
	}
	return o.changeDomain(in.Domain, done, func(d addr.Domain) ([]string, error) {
		return nil, o.Dir.SetFooter(d, directory.Footer{Text: in.Text, HTML: in.HTML})
	})
}
