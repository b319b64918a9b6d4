package web

import (
	"strconv"
	"strings"

	"pillarbox/cmd/internal/admin"
	"pillarbox/mailstore/rules"
)

// This file has the pages of rules and absence, for users and for operators.

// mailboxOf is the mailbox whose settings a page shows: the user's own, or one that an operator
// chose.
type mailboxOf struct {
	user, path    string
	sees, changes *admin.Service
}

func (r *request) mailbox() mailboxOf {
	if name := r.PathValue("name"); name != "" {
		return mailboxOf{name, mailboxPath(name), r.service, r.service}
	}
	return mailboxOf{r.session.user.String(), "/me", r.own, r.guarded()}
}

// conditionRows is the number of conditions that the form of a rule has.
const conditionRows = 3

// rulesPage is what the page "rules" shows.
type rulesPage struct {
	admin.RuleList
	Path string // of the mailbox's page
	Rows []ruleRow
	// Conditions has the names of the fields of the form.
	Conditions []conditionField
}

// ruleRow is a rule in the user's language.
type ruleRow struct {
	Number, Up, Down int // Up and Down: the number after a move; 0: none
	If, Then         string
}

// conditionField has the names of the fields for one condition.
type conditionField struct{ What, Not, Value string }

func showRules(r *request) (view, error) {
	m := r.mailbox()
	list, err := admin.RulesShow.Do(r.Context(), m.sees, m.user)
	p := rulesPage{RuleList: list, Path: m.path}
	for _, line := range list.Rules {
		row := ruleRow{Number: line.Number, Up: line.Number - 1, If: r.words.conditions(line.Rule), Then: r.words.act(line.Rule)}
		if line.Number < len(list.Rules) {
			row.Down = line.Number + 1
		}
		p.Rows = append(p.Rows, row)
	}
	for i := range conditionRows {
		n := strconv.Itoa(i + 1)
		p.Conditions = append(p.Conditions, conditionField{"what" + n, "not" + n, "value" + n})
	}
	return view{"rules", "Rules", p}, err
}

// conditions tells the conditions of a rule.
func (w *words) conditions(r rules.Rule) string {
	var all []string
	for _, c := range r.If {
		text := w.condition(c)
		if c.Not {
			text = w.T("not: %s", text)
		}
		all = append(all, text)
	}
	if len(all) == 0 {
		return w.T("every message")
	}
	return strings.Join(all, "; ")
}

func (w *words) condition(c rules.Condition) string {
	switch c.What {
	case rules.From:
		return w.T("sender %s", c.Value)
	case rules.To:
		return w.T("recipient %s", c.Value)
	case rules.Subject:
		return w.T("subject contains %s", c.Value)
	case rules.Over:
		return w.T("larger than %s", rules.Octets(c.Size))
	case rules.Under:
		return w.T("smaller than %s", rules.Octets(c.Size))
	case rules.Header:
		if c.Value == "" {
			return w.T("field %s", c.Name)
		}
		return w.T("field %s contains %s", c.Name, c.Value)
	}
	return string(c.What)
}

// act tells what a rule does.
func (w *words) act(r rules.Rule) string {
	var to []string
	for _, a := range r.To {
		to = append(to, a.String())
	}
	switch {
	case r.Do == rules.Keep:
		return w.T("keep")
	case r.Do == rules.Discard:
		return w.T("discard")
	case r.Do == rules.Forward && r.KeepCopy:
		return w.T("forward to %s and keep a copy", strings.Join(to, ", "))
	case r.Do == rules.Forward:
		return w.T("forward to %s", strings.Join(to, ", "))
	case r.Do == rules.Refuse:
		return w.T("refuse with: %s", r.Text)
	case r.Do == rules.Mark:
		return w.T("mark with: %s", strings.TrimSpace(r.Text+" "+r.Subject))
	case r.Do == rules.Reply:
		return w.T("answer with: %s", r.Text)
	}
	return string(r.Do)
}

func rulesActs() map[string]act {
	return map[string]act{"add": addRule, "remove": removeRule, "move": moveRule}
}

func addRule(r *request) (outcome, error) {
	m := r.mailbox()
	in := admin.RuleToAdd{
		User: m.user, Do: r.field("do"), To: addresses(r.PostFormValue("targets")),
		KeepCopy: r.PostFormValue("keep_copy") != "", Subject: r.field("title"),
		Text: strings.TrimSpace(r.PostFormValue("text")),
	}
	for i := range conditionRows {
		n := strconv.Itoa(i + 1)
		what, value := r.field("what"+n), r.field("value"+n)
		if what == "" {
			continue
		}
		c := admin.ConditionText{What: what, Value: value, Not: r.PostFormValue("not"+n) != ""}
		if what == string(rules.Header) {
			name, text, _ := strings.Cut(value, ":")
			c.Name, c.Value = strings.TrimSpace(name), strings.TrimSpace(text)
		}
		in.If = append(in.If, c)
	}
	c, err := admin.RulesAdd.Do(r.Context(), m.changes, in)
	return then(m.path+"/rules", c, err)
}

// number returns the number that a field has, 0 if it has none.
func (r *request) number(name string) int {
	n, err := strconv.Atoi(r.field(name))
	if err != nil {
		return 0
	}
	return n
}

func removeRule(r *request) (outcome, error) {
	m := r.mailbox()
	c, err := admin.RulesRemove.Do(r.Context(), m.changes,
		admin.RuleToRemove{User: m.user, Number: r.number("number")})
	return then(m.path+"/rules", c, err)
}

func moveRule(r *request) (outcome, error) {
	m := r.mailbox()
	c, err := admin.RulesMove.Do(r.Context(), m.changes,
		admin.RuleToMove{User: m.user, Number: r.number("number"), To: r.number("to")})
	return then(m.path+"/rules", c, err)
}

// absencePage is what the page "absence" shows.
type absencePage struct {
	admin.AbsenceStatus
	Path string // of the mailbox's page
}

func showAbsence(r *request) (view, error) {
	m := r.mailbox()
	status, err := admin.AbsenceShow.Do(r.Context(), m.sees, m.user)
	return view{"absence", "Absence", absencePage{status, m.path}}, err
}

func absenceActs() map[string]act {
	return map[string]act{"set": setAbsence, "off": endAbsence}
}

func setAbsence(r *request) (outcome, error) {
	m := r.mailbox()
	c, err := admin.AbsenceSet.Do(r.Context(), m.changes, admin.AbsenceToSet{
		User: m.user, From: r.field("from"), To: r.field("to"), Subject: r.field("subject"),
		Text: strings.TrimSpace(r.PostFormValue("text")), Days: r.number("days"),
	})
	return then(m.path+"/absence", c, err)
}

func endAbsence(r *request) (outcome, error) {
	m := r.mailbox()
	c, err := admin.AbsenceOff.Do(r.Context(), m.changes, m.user)
	return then(m.path+"/absence", c, err)
}

// setDomainArchive and setFooter are acts of the page "domains".

func setDomainArchive(r *request) (outcome, error) {
	c, err := admin.DomainArchive.Do(r.Context(), r.service,
		admin.Setting{Name: r.field("domain"), Value: r.field("archive")})
	return then("/domains", c, err)
}

func setFooter(r *request) (outcome, error) {
	c, err := admin.DomainFooter.Do(r.Context(), r.service, admin.FooterToSet{
		Domain: r.field("domain"), Text: r.PostFormValue("footer"), HTML: r.PostFormValue("footer_html"),
	})
	return then("/domains", c, err)
}
