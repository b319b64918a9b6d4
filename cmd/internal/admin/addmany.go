package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/auth"
	"pillarbox/mailstore/directory"
)

// MailboxesToAdd is the input of MailboxAddMany.
type MailboxesToAdd struct {
	List string // of DecodeList
	Try  bool   // only look for mistakes, and make nothing
}

// The values of AddedMailbox.State.
const (
	StateAdded  = "added"
	StateExists = "exists" // its password, quota and name stay; names and members that lack are added
	StateToAdd  = "to add" // of a trial
	StateLeft   = "left"   // the time was over before
)

// AddedMailbox is what became of a line of the list.
type AddedMailbox struct {
	Line     int          `json:"line"`
	Mailbox  addr.Address `json:"mailbox"`
	State    string       `json:"state"`
	Password string       `json:"password,omitempty"` // the one that was made; "" if the list has one
	Done     []string     `json:"done"`               // what else was done, such as an alias
	Warnings []string     `json:"warnings"`
}

// AddedMailboxes is the result of MailboxAddMany. With Mistakes nothing was made.
type AddedMailboxes struct {
	Mailboxes []AddedMailbox `json:"mailboxes"`
	Mistakes  []LineMistake  `json:"mistakes"`
	Left      int            `json:"left"` // lines that were not done: the same list does them
}

// addMany adds the mailboxes of a list. It looks for mistakes in all lines before it makes anything.
// If ctx ends it stops, and says what is left. What was made comes with an error too, since the
// passwords are shown once.
func (o *Service) addMany(ctx context.Context, in MailboxesToAdd) (AddedMailboxes, error) {
	rows, mistakes, err := readMailboxList(in.List)
	if err != nil {
		return AddedMailboxes{}, err
	}
	p := &listPlan{Service: o, takes: make(map[addr.Address]int), mistakes: mistakes}
	p.plan(rows)
	if p.refused != nil {
		return AddedMailboxes{}, p.refused
	}
	if len(p.mistakes) == 0 && len(p.mailboxes) == 0 {
		return AddedMailboxes{}, usage(errors.New("the list has no mailboxes"))
	}
	slices.SortStableFunc(p.mistakes, func(a, b LineMistake) int { return cmp.Compare(a.Line, b.Line) })
	out := AddedMailboxes{Mistakes: p.mistakes}
	if len(p.mistakes) > 0 {
		return out, nil
	}
	for _, m := range p.mailboxes {
		out.Mailboxes = append(out.Mailboxes, AddedMailbox{Line: m.line, Mailbox: m.box, State: m.state()})
	}
	if !in.Try {
		err = p.apply(ctx, out.Mailboxes)
	}
	for i := range out.Mailboxes {
		if m := &out.Mailboxes[i]; !in.Try && m.State == StateToAdd {
			m.State = StateLeft
			out.Left++
		}
	}
	return out, err
}

// plannedMailbox is a line whose names are parsed.
type plannedMailbox struct {
	listedMailbox
	box                      addr.Address
	exists                   bool
	aliases, groups, forward []addr.Address
}

func (m *plannedMailbox) state() string {
	if m.exists {
		return StateExists
	}
	return StateToAdd
}

// listPlan is a list on its way from text to mailboxes.
type listPlan struct {
	*Service
	mailboxes []plannedMailbox
	takes     map[addr.Address]int // the names that the list makes, with their lines
	mistakes  []LineMistake
	refused   error // the caller may not do a line
}

// plan parses and checks all lines. Names that the list makes come first, because other lines may
// lead to them.
func (p *listPlan) plan(rows []listedMailbox) {
	for _, row := range rows {
		m := plannedMailbox{listedMailbox: row}
		p.at(row.line, p.planBox(&m))
		if !m.box.IsZero() {
			p.planAliases(&m)
			p.mailboxes = append(p.mailboxes, m)
		}
	}
	for i := range p.mailboxes {
		m := &p.mailboxes[i]
		p.at(m.line, p.checkAccount(m))
		p.planGroups(m)
		p.planForward(m)
	}
}

// at notes the mistake of a line, if there is one.
func (p *listPlan) at(line int, err error) {
	switch {
	case err == nil:
	case errors.Is(err, ErrNotPermitted):
		p.refused = cmp.Or(p.refused, fmt.Errorf("line %d: %w", line, err))
	default:
		p.mistakes = append(p.mistakes, mistakeAt(line, err))
	}
}

// planBox sets the address of a mailbox that may be made, or exists.
func (p *listPlan) planBox(m *plannedMailbox) error {
	box, err := p.ParseUser(m.address)
	if err != nil {
		return err
	}
	if box = box.Fold(); p.takes[box] > 0 {
		return fmt.Errorf("%s: line %d has this name too", box, p.takes[box])
	}
	if err := p.requireName(box); err != nil {
		return err
	}
	if _, err := p.Dir.Mailbox(box); err == nil {
		m.exists = true
	} else if err := p.Dir.CheckFree(box); err != nil {
		return p.explain(err, box.Domain, "domain show "+string(box.Domain))
	}
	m.box, p.takes[box] = box, m.line
	return nil
}

// checkAccount checks what a new mailbox is made with.
func (p *listPlan) checkAccount(m *plannedMailbox) error {
	if m.exists {
		return nil
	}
	var wrong []error
	if m.quota != "" {
		_, err := parseQuota(m.quota)
		wrong = append(wrong, err)
	}
	if m.name != "" {
		if _, err := directory.ParseFullName(m.name); err != nil {
			wrong = append(wrong, Hint(err, "write it as 'John Doe'"))
		}
	}
	if own, err := p.hasPasswords(m.box.Domain); err != nil || !own && m.password != "" {
		wrong = append(wrong, cmp.Or(err, fmt.Errorf("%s: another system checks the passwords of this domain; leave the cell empty", m.box)))
	}
	wrong = append(wrong, p.tryPassword(m.box, m.password))
	for _, err := range wrong[:len(wrong)-1] {
		p.at(m.line, err)
	}
	return wrong[len(wrong)-1]
}

// hasPasswords reports whether the server itself checks the passwords of a domain.
func (o *Service) hasPasswords(d addr.Domain) (bool, error) {
	method, err := o.Dir.MethodOf(d)
	return method == directory.ByFile, err
}

// planAliases sets the aliases that are to be made. One that leads to the mailbox already is none.
func (p *listPlan) planAliases(m *plannedMailbox) {
	for _, name := range m.listedMailbox.aliases {
		alias, err := p.parseNext(name, m.box.Domain)
		if err == nil {
			alias = alias.Fold()
			err = p.checkAlias(m, alias)
		}
		p.at(m.line, err)
	}
}

func (p *listPlan) checkAlias(m *plannedMailbox, alias addr.Address) error {
	if p.takes[alias] > 0 {
		return fmt.Errorf("alias %s: line %d has this name too", alias, p.takes[alias])
	}
	if file, err := p.Dir.Domain(alias.Domain); err == nil {
		if target, ok := file.Aliases[alias.Local]; ok && target.Fold() == m.box {
			return p.requireMembers(alias)
		}
	}
	err := p.Dir.CheckFree(alias)
	err = cmp.Or(p.requireMembers(alias), p.explain(err, alias.Domain, "domain show "+string(alias.Domain)))
	if err == nil {
		m.aliases, p.takes[alias] = append(m.aliases, alias), m.line
	}
	return err
}

// planGroups sets the groups of which the mailbox is no member yet. All must exist, because a group
// with a mistyped name would be one too many.
func (p *listPlan) planGroups(m *plannedMailbox) {
	for _, name := range m.listedMailbox.groups {
		group, err := p.parseNext(name, m.box.Domain)
		if err == nil {
			err = p.planGroup(m, group.Fold())
		}
		p.at(m.line, err)
	}
}

func (p *listPlan) planGroup(m *plannedMailbox, group addr.Address) error {
	if err := p.requireMembers(group); err != nil {
		return err
	}
	file, err := p.Dir.Domain(group.Domain)
	if err != nil {
		return p.explain(err, group.Domain, "domain list")
	}
	g, ok := file.Groups[group.Local]
	if !ok {
		return Hint(fmt.Errorf("group %s: %w", group, directory.ErrNotFound),
			"'pillarbox admin group add %s' makes it", group)
	}
	isMember := slices.ContainsFunc(g.Members, func(a addr.Address) bool { return a.Fold() == m.box })
	if !isMember && !slices.Contains(m.groups, group) {
		m.groups = append(m.groups, group)
	}
	return nil
}

// planForward sets where the mailbox forwards to. One that forwards already is left as it is.
func (p *listPlan) planForward(m *plannedMailbox) {
	if box, err := p.Dir.Mailbox(m.box); err == nil && len(box.Account.Forward) > 0 {
		return
	}
	for _, name := range m.listedMailbox.forward {
		target, err := p.parseNext(name, m.box.Domain)
		if err == nil {
			err = p.checkTarget(m, target)
		}
		if p.at(m.line, err); err == nil {
			m.forward = append(m.forward, target)
		}
	}
}

func (p *listPlan) checkTarget(m *plannedMailbox, target addr.Address) error {
	if target.Fold() == m.box {
		return fmt.Errorf("%s cannot forward to itself", m.box)
	}
	if p.takes[target.Fold()] > 0 {
		return nil
	}
	if err := p.requireTargets(target); err != nil {
		return err
	}
	if hosted, err := p.Dir.Hosts(target.Domain); err != nil || !hosted {
		return err
	}
	ends, err := p.Dir.Resolve(target)
	if err == nil && len(ends.Mailboxes) == 0 && len(ends.Forward) == 0 {
		err = &directory.UnknownTargetError{Target: target}
	}
	return p.explain(err, target.Domain, "domain show "+string(target.Domain))
}

// apply makes what is planned: all mailboxes first, because aliases, groups and forwardings may lead
// to any of them. out has an entry for each.
func (p *listPlan) apply(ctx context.Context, out []AddedMailbox) error {
	tell := p.progress()
	for i := range p.mailboxes {
		if ctx.Err() != nil {
			return nil
		}
		if err := p.makeBox(&p.mailboxes[i], &out[i]); err != nil {
			return fmt.Errorf("line %d: %w", out[i].Line, err)
		}
		tell(i+1, len(out))
	}
	for i := range p.mailboxes {
		if err := p.makeNames(&p.mailboxes[i], &out[i]); err != nil {
			return fmt.Errorf("line %d: %w", out[i].Line, err)
		}
	}
	for i := range p.mailboxes {
		m := &p.mailboxes[i]
		if len(m.forward) == 0 {
			continue
		}
		if err := out[i].also(p.SetForward(m.box.String(), addressTexts(m.forward), false)); err != nil {
			return fmt.Errorf("line %d: %w", m.line, err)
		}
	}
	return nil
}

func (p *listPlan) makeBox(m *plannedMailbox, out *AddedMailbox) error {
	if m.exists {
		return nil
	}
	password, made := m.password, ""
	if own, err := p.hasPasswords(m.box.Domain); err != nil {
		return err
	} else if own && password == "" {
		made = auth.GeneratePassword()
		password = made
	}
	c, err := p.AddMailbox(m.box.String(), NewMailbox{Password: password, Quota: m.quota})
	if err != nil {
		return err
	}
	out.State, out.Password, out.Warnings = StateAdded, made, c.Warnings
	if m.name == "" {
		return nil
	}
	c, err = p.SetMailboxName(m.box.String(), m.name)
	if p.Config().LogIns.Names != directory.LoginByName {
		c.Warnings = nil // that a name is no login name, once for each line
	}
	return out.also(c, err)
}

func (p *listPlan) makeNames(m *plannedMailbox, out *AddedMailbox) error {
	for _, alias := range m.aliases {
		if err := out.also(p.AddAlias(alias.String(), m.box.String())); err != nil {
			return err
		}
	}
	for _, group := range m.groups {
		if err := out.also(p.AddMembers(group.String(), m.box.String())); err != nil {
			return err
		}
	}
	return nil
}

// also notes what was done for a mailbox beside making it.
func (m *AddedMailbox) also(c Change, err error) error {
	if err == nil {
		m.Done, m.Warnings = append(m.Done, c.Text), append(m.Warnings, c.Warnings...)
	}
	return err
}

func addressTexts(all []addr.Address) []string {
	var list []string
	for _, a := range all {
		list = append(list, a.String())
	}
	return list
}
