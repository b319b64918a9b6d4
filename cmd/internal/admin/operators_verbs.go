package admin

import (
	"cmp"
	"errors"
	"fmt"
	"os/user"
	"slices"
	"strings"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/durable"
)

// NewOperator is what is to be granted, in the words of a person.
type NewOperator struct {
	Name     string   // "anna@office.example", "admins@office.example", "unix:carol", "unix:@mailadmins"
	Domains  []string // none: all domains
	ReadOnly bool
}

// OperatorDetails is a grant and who has it.
type OperatorDetails struct {
	Grant
	Kind    string         `json:"kind"`              // mailbox, group, user, user group
	Members []addr.Address `json:"members,omitempty"` // of a group: the mailboxes here that are in it
}

// AddOperator adds an operator.
func (o *Service) AddOperator(n NewOperator) (Change, error) {
	g, warnings, err := o.parseGrant(n)
	if err != nil {
		return Change{}, o.explainOperator(err)
	}
	err = o.operators.change(func(all []Grant) ([]Grant, error) {
		if findGrant(all, g.Name) >= 0 {
			return nil, fmt.Errorf("operator %s: %w", g.Name, ErrOperatorExists)
		}
		return append(all, g), nil
	})
	if err == nil {
		o.Record("operator "+g.Name, nil, g)
	}
	return changed(o.explainOperator(err), warnings, "operator %s added, of %s", g.Name, g.Scope())
}

func (o *Service) parseGrant(n NewOperator) (Grant, []string, error) {
	g := Grant{All: len(n.Domains) == 0, ReadOnly: n.ReadOnly}
	for _, name := range n.Domains {
		all, err := o.domains(cmp.Or(name, "?"))
		if err != nil {
			return g, nil, err
		}
		g.Domains = append(g.Domains, all...)
	}
	slices.Sort(g.Domains)
	g.Domains = slices.Compact(g.Domains)
	if !strings.HasPrefix(n.Name, unixPrefix) {
		a, err := o.ParseUser(n.Name)
		if err != nil {
			return g, nil, err
		}
		g.Name = a.Fold().String()
		return g, nil, o.checkAccount(a.Fold())
	}
	var err error
	if g.Name, err = parseGrantName(n.Name); err != nil {
		return g, nil, err
	}
	return g, unixWarnings(g.Name), nil
}

// checkAccount wants a mailbox or a group. An alias is none: it may lead
// somewhere else tomorrow.
func (o *Service) checkAccount(a addr.Address) error {
	_, err := o.Dir.Mailbox(a)
	if err == nil || !errors.Is(err, directory.ErrNotFound) {
		return err
	}
	file, err := o.Dir.Domain(a.Domain)
	if err != nil {
		return o.explain(err, a.Domain, "domain list")
	}
	if _, ok := file.Groups[a.Local]; ok {
		return nil
	}
	if target, ok := file.Aliases[a.Local]; ok {
		return Hint(fmt.Errorf("%s is an alias", a), "name what it stands for: %s", target)
	}
	err = fmt.Errorf("%s: %w, neither as a mailbox nor as a group", a, directory.ErrNotFound)
	return Hint(err, "'pillarbox admin mailbox list %s' and 'pillarbox admin group list %[1]s' show what there is; a user of this machine is written unix:NAME", a.Domain)
}

// unixWarnings warns if the machine has no user or group of that name.
func unixWarnings(name string) []string {
	account := strings.TrimPrefix(name, unixPrefix)
	if group, ok := strings.CutPrefix(account, unixGroupAt); ok {
		if _, err := user.LookupGroup(group); err != nil {
			return []string{fmt.Sprintf("this machine has no group %s in /etc/group; groups from elsewhere are not looked up", group)}
		}
		return nil
	}
	if _, err := user.Lookup(account); err == nil || strings.HasPrefix(account, "#") {
		return nil
	}
	return []string{fmt.Sprintf("this machine has no user %s in /etc/passwd; one from elsewhere is known by his number only, as in unix:#1004", account)}
}

// RemoveOperator takes a grant back.
func (o *Service) RemoveOperator(name string) (Change, error) {
	name, err := o.operatorName(name)
	if err != nil {
		return Change{}, err
	}
	var old Grant
	err = o.operators.change(func(all []Grant) ([]Grant, error) {
		i := findGrant(all, name)
		if i < 0 {
			return nil, fmt.Errorf("operator %s: %w", name, ErrOperatorNotFound)
		}
		old = all[i]
		return slices.Delete(all, i, i+1), nil
	})
	if err == nil {
		o.Record("operator "+name, old, nil)
	}
	return changed(o.explainOperator(err), nil, "operator %s removed", name)
}

// operatorName reads a name as a person types it, whether or not there is such an
// operator.
func (o *Service) operatorName(name string) (string, error) {
	if strings.HasPrefix(name, unixPrefix) {
		name, err := parseGrantName(name)
		return name, o.explainOperator(err)
	}
	a, err := o.ParseUser(name)
	return a.Fold().String(), err
}

// ListOperators lists the grants in alphabetical order.
func (o *Service) ListOperators() ([]Grant, error) {
	all, err := o.operators.list()
	return append([]Grant{}, cloneGrants(all)...), o.explainOperator(err)
}

// ShowOperator tells all about one grant.
func (o *Service) ShowOperator(name string) (OperatorDetails, error) {
	name, err := o.operatorName(name)
	if err != nil {
		return OperatorDetails{}, err
	}
	all, err := o.operators.list()
	if err != nil {
		return OperatorDetails{}, o.explainOperator(err)
	}
	i := findGrant(all, name)
	if i < 0 {
		return OperatorDetails{}, o.explainOperator(fmt.Errorf("operator %s: %w", name, ErrOperatorNotFound))
	}
	return o.operatorDetails(cloneGrants(all)[i])
}

func (o *Service) operatorDetails(g Grant) (OperatorDetails, error) {
	d := OperatorDetails{Grant: g, Kind: "user"}
	if account, isUnix := strings.CutPrefix(g.Name, unixPrefix); isUnix {
		if strings.HasPrefix(account, unixGroupAt) {
			d.Kind = "user group"
		}
		return d, nil
	}
	a, err := addr.Parse(g.Name)
	if err != nil {
		return d, err
	}
	d.Kind = "mailbox"
	if _, _, err := o.Dir.GroupAt(a); err != nil {
		return d, nil
	}
	d.Kind = "group"
	boxes, err := eachMailbox(o, "", func(box directory.Mailbox) (addr.Address, error) {
		if box.Damage != nil {
			return addr.Address{}, nil
		}
		groups, err := o.Dir.GroupsOf(box)
		if !slices.Contains(groups, a) {
			return addr.Address{}, err
		}
		return box.Address, err
	})
	d.Members = slices.DeleteFunc(boxes, addr.Address.IsZero)
	return d, err
}

// MailOperator is what the user of a mailbox may administer, by its name and by
// the groups that it is in. Without any Grants it is nothing. He must have proven
// who he is, and the mailbox must not be locked.
func (o *Service) MailOperator(a addr.Address) (Operator, error) {
	box, err := o.Dir.Mailbox(a)
	if err != nil {
		return Operator{}, err
	}
	groups, err := o.Dir.GroupsOf(box)
	if err != nil {
		return Operator{}, err
	}
	names := []string{box.Address.String()}
	for _, g := range groups {
		names = append(names, g.String())
	}
	return o.operatorBy(box.Address.String(), names)
}

// UnixOperator is what a user of this machine may administer, by his name, "#1004"
// for one that has none, and by the groups of users that he is in.
func (o *Service) UnixOperator(name string, groups []string) (Operator, error) {
	var names []string
	if !strings.HasPrefix(name, unixGroupAt) { // or he would be taken for a group
		names = append(names, unixPrefix+name)
	}
	for _, g := range groups {
		names = append(names, unixPrefix+unixGroupAt+g)
	}
	return o.operatorBy(name, names)
}

func (o *Service) operatorBy(name string, names []string) (Operator, error) {
	all, err := o.operators.list()
	op := Operator{Name: name}
	for _, g := range cloneGrants(all) {
		if slices.Contains(names, g.Name) {
			op.Grants = append(op.Grants, g)
		}
	}
	return op, o.explainOperator(err)
}

// explainOperator gives an error the hint that a person needs.
func (o *Service) explainOperator(err error) error {
	switch {
	case err == nil, errors.As(err, new(*HintError)):
		return err
	case errors.Is(err, ErrOperatorsDamaged):
		return Hint(err, "repair the file (below %s) with an editor, or restore it from a backup; until then there are no operators", o.Root.Name())
	case errors.Is(err, ErrOperatorName):
		return Hint(err, "write a mailbox or a group as name@domain, a user of this machine as unix:NAME, a group of users as unix:@NAME")
	case errors.Is(err, ErrOperatorNotFound), errors.Is(err, ErrOperatorExists):
		return Hint(err, "'pillarbox admin operator list' shows what there is")
	case errors.Is(err, durable.ErrLocked):
		return Hint(err, "another command is running; try again")
	}
	return o.explain(err, "", "domain list")
}
