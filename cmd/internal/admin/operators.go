package admin

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"pillarbox/mailstore/addr"
)

// ErrNotPermitted is the class of errors of an operator who may not do what he
// asks for.
var ErrNotPermitted = errors.New("not permitted")

// Grant is a line of operators.json: who may administer what.
type Grant struct {
	// Name is a mailbox or group ("anna@office.example", folded), a user of this
	// machine ("unix:carol", or "unix:#1004" for one without a name) or a group of
	// users ("unix:@mailadmins").
	Name string `json:"name"`
	// All are all domains, those to come too, and what is nobody's own: the queue,
	// devices, bans, certificates, operators. Otherwise it is only the Domains.
	All      bool          `json:"all,omitempty"`
	Domains  []addr.Domain `json:"domains,omitempty"`
	ReadOnly bool          `json:"read_only,omitempty"`
}

// May reports whether the grant lets somebody look into a domain or, with write,
// change what is in it.
func (g Grant) May(domain addr.Domain, write bool) bool {
	return (!write || !g.ReadOnly) && (g.All || slices.Contains(g.Domains, domain))
}

// Scope puts what is granted into words: "all domains", "office.example, read-only".
func (g Grant) Scope() string {
	text := "all domains"
	if !g.All {
		var names []string
		for _, d := range g.Domains {
			names = append(names, string(d))
		}
		text = strings.Join(names, ", ")
	}
	if g.ReadOnly {
		text += ", read-only"
	}
	return text
}

// Operator is somebody who may administer. What one of the grants permits is
// permitted: he may have some by his name and some by his groups. Without any he
// may do nothing.
type Operator struct {
	Name   string // for the audit log: "carol", "anna@office.example"
	Grants []Grant
}

// Everything is the operator who may do everything, such as root.
func Everything(name string) Operator {
	return Operator{Name: name, Grants: []Grant{{Name: name, All: true}}}
}

// May reports whether he may look into a domain or, with write, change what is
// in it: mailboxes, aliases, groups. Whether this makes anybody more than the
// domain permits is another question; see Service.As.
func (op Operator) May(domain addr.Domain, write bool) bool {
	return slices.ContainsFunc(op.Grants, func(g Grant) bool { return g.May(domain, write) })
}

// MayAll reports the same of what belongs to no domain, or to all.
func (op Operator) MayAll(write bool) bool {
	return slices.ContainsFunc(op.Grants, func(g Grant) bool { return g.All && (!write || !g.ReadOnly) })
}

// exceeds reports whether a grant permits anything that the operator may not do
// himself.
func (op Operator) exceeds(g Grant) bool {
	if g.All {
		return !op.MayAll(!g.ReadOnly)
	}
	return slices.ContainsFunc(g.Domains, func(d addr.Domain) bool { return !op.May(d, !g.ReadOnly) })
}

// Scope puts what he may into words.
func (op Operator) Scope() string {
	var parts []string
	for _, g := range op.Grants {
		if s := g.Scope(); !slices.Contains(parts, s) {
			parts = append(parts, s)
		}
	}
	if parts == nil {
		return "nothing"
	}
	return strings.Join(parts, "; ")
}

// As is the office as an operator may work with it: what he may not see or do is
// ErrNotPermitted, with a hint, and lists leave it out. What he does is recorded
// under the name that By gives. Close only the office itself.
//
// An operator of some domains sees and changes what is in them, with these limits,
// so that he gains nothing outside of them and nobody gets more power than the
// operators of all domains gave:
//
//   - Domains are made and removed, their quotas set, the rights "outside" and
//     "inbound" given and taken, and held mailboxes released by operators of all
//     domains, and so are devices, keys (DKIM), the queue, routes, bans,
//     certificates, the configuration, and operators.
//   - What makes somebody an operator of more than he is himself cannot be
//     touched: the mailbox, a group that it is in, an alias that leads into one.
//     Nobody may be put into such a group, or into one that gives or takes rights,
//     nor leave it, nor may it be removed; and a mailbox in one, or with rights of
//     its own, or held, keeps its name.
//   - He may let aliases, groups, forwards and the catch-all lead to any address
//     here that takes mail from everybody, and to addresses elsewhere as long as
//     everybody may send there by default.
//   - He may let his mailboxes send as addresses of his domains only.
func (o *Service) As(op Operator) *Service {
	view := *o
	view.operator = &op
	return &view
}

// Operator is whose office it is; false where there are no limits.
func (o *Service) Operator() (Operator, bool) {
	if o.operator == nil {
		return Operator{}, false
	}
	return *o.operator, true
}

// Require wants the right to look into a domain or, with write, to change what is
// in it. ErrNotPermitted.
func (o *Service) Require(domain addr.Domain, write bool) error {
	if o.operator == nil || o.operator.May(domain, write) {
		return nil
	}
	if o.operator.May(domain, false) {
		return o.refuse("%s may only look at %s, and change nothing", o.operator.Name, domain)
	}
	return o.refuse("%s is no operator of %s", o.operator.Name, domain)
}

// RequireAll wants the right to see or, with write, to change what belongs to no
// domain or to all. ErrNotPermitted.
func (o *Service) RequireAll(write bool) error {
	if o.operator == nil || o.operator.MayAll(write) {
		return nil
	}
	if o.operator.MayAll(false) {
		return o.refuse("%s may only look, and change nothing", o.operator.Name)
	}
	return o.refuse("this needs an operator of all domains, and %s is one of %s", o.operator.Name, o.operator.Scope())
}

// RequireTarget is Require for a mailbox, a domain or, for "", for all there are.
// One that is neither is left to the verb.
func (o *Service) RequireTarget(target string, write bool) error {
	if o.operator == nil {
		return nil
	}
	if target == "" {
		return o.RequireAll(write)
	}
	if !strings.Contains(target, "@") {
		if d, err := addr.ParseDomain(target); err == nil {
			if hosted, err := o.Dir.Hosts(d); err != nil || hosted {
				return errors.Join(err, o.Require(d, write))
			}
		}
	}
	a, err := o.ParseUser(target)
	if err != nil {
		return err
	}
	return o.Require(a.Domain, write)
}

func (o *Service) refuse(format string, args ...any) error {
	err := fmt.Errorf("%w: %s", ErrNotPermitted, fmt.Sprintf(format, args...))
	return Hint(err, "root or an operator of all domains can do it, or give the right by 'pillarbox admin operator'")
}

// mayRead is for lists, which leave out what an operator may not see.
func (o *Service) mayRead(domain addr.Domain) bool { return o.Require(domain, false) == nil }
