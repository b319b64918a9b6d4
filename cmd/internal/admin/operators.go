package admin

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"pillarbox/mailstore/addr"
)

// ErrNotPermitted is the class of errors for an operator without the needed right.
var ErrNotPermitted = errors.New("not permitted")

// Grant is an entry of operators.json: a name and its rights.
type Grant struct {
	// Name is a mailbox or group ("anna@office.example", folded), a user of this machine
	// ("unix:carol", or "unix:#1004" for one without a name) or a group of its users
	// ("unix:@mailadmins").
	Name string `json:"name"`
	// All grants all domains, present and future, and everything that belongs to no domain: the
	// queue, devices, bans, certificates, operators. Without All, the grant is for Domains only.
	All      bool          `json:"all,omitempty"`
	Domains  []addr.Domain `json:"domains,omitempty"`
	ReadOnly bool          `json:"read_only,omitempty"`
}

// May reports whether the grant permits to read a domain or, with write, to change the objects in
// it.
func (g Grant) May(domain addr.Domain, write bool) bool {
	return (!write || !g.ReadOnly) && (g.All || slices.Contains(g.Domains, domain))
}

// Scope describes the grant: "all domains", "office.example, read-only".
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

// Operator is a user with the rights of one or more grants, by name and through groups. Without a
// grant, an operator has no rights.
type Operator struct {
	Name   string // for the audit log: "carol", "anna@office.example"
	Grants []Grant
	// OwnMailbox: the grants are those of no operator, but of the user of a mailbox, for changes of the
	// own mailbox only. They give no right to the groups of the domain.
	OwnMailbox bool
}

// Everything returns an operator with all rights, such as root.
func Everything(name string) Operator {
	return Operator{Name: name, Grants: []Grant{{Name: name, All: true}}}
}

// May reports whether a grant permits to read a domain or, with write, to change its mailboxes,
// aliases and groups. Service.As describes further limits.
func (op Operator) May(domain addr.Domain, write bool) bool {
	return slices.ContainsFunc(op.Grants, func(g Grant) bool { return g.May(domain, write) })
}

// MayAll is May for objects that belong to no domain or to all domains.
func (op Operator) MayAll(write bool) bool {
	return slices.ContainsFunc(op.Grants, func(g Grant) bool { return g.All && (!write || !g.ReadOnly) })
}

// exceeds reports whether a grant permits more than the operator has.
func (op Operator) exceeds(g Grant) bool {
	if g.All {
		return !op.MayAll(!g.ReadOnly)
	}
	return slices.ContainsFunc(g.Domains, func(d addr.Domain) bool { return !op.May(d, !g.ReadOnly) })
}

// Scope describes the operator's rights.
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

// As returns a view of the Service with the rights of an operator. A verb without the needed right
// returns ErrNotPermitted with a hint, and lists leave out other domains. The audit log records the
// actor that By sets. Close only the Service itself, not the view.
//
// An operator of some domains may read and change the objects in them, with limits. Without these,
// the operator could gain rights outside the domains, or give others more rights than the operators
// of all domains have granted:
//
//   - Only operators of all domains may add and remove domains, set their quotas, set the rights
//     "outside" and "inbound", and release held mailboxes. The same is true for devices, the queue,
//     routes, bans, certificates, the configuration and operators.
//   - Names that carry the grant of an operator with more rights cannot be changed: the mailbox, a
//     group that it is in, an alias of either. The members of such a group, and of a group that
//     grants or denies rights, cannot be changed, and the group cannot be removed. A mailbox in such
//     a group, with rights of its own, or held, cannot be removed or renamed.
//   - Aliases, groups, forwardings and the catch-all may lead to a local address only if it accepts
//     mail from anyone, and to remote addresses only if all users may send there by default.
//   - A mailbox may get the right to send only as addresses of the operator's domains.
func (o *Service) As(op Operator) *Service {
	view := *o
	view.operator = &op
	return &view
}

// Operator returns the operator of this view; false if it has no limits.
func (o *Service) Operator() (Operator, bool) {
	if o.operator == nil {
		return Operator{}, false
	}
	return *o.operator, true
}

// Require returns ErrNotPermitted unless the operator may read a domain or, with write, change it.
func (o *Service) Require(domain addr.Domain, write bool) error {
	if o.operator == nil || o.operator.May(domain, write) {
		return nil
	}
	if o.operator.May(domain, false) {
		return o.refuse("%s may read %s, but not change it", o.operator.Name, domain)
	}
	return o.refuse("%s is not an operator of %s", o.operator.Name, domain)
}

// RequireAll is Require for objects that belong to no domain or to all domains.
func (o *Service) RequireAll(write bool) error {
	if o.operator == nil || o.operator.MayAll(write) {
		return nil
	}
	if o.operator.MayAll(false) {
		return o.refuse("%s may read, but not change anything", o.operator.Name)
	}
	return o.refuse("this needs an operator of all domains, and %s is one of %s", o.operator.Name, o.operator.Scope())
}

// RequireTarget is Require for a mailbox, a domain or, for "", everything. A target that is neither
// is left to the verb.
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

// mayRead reports whether a list for the operator contains a domain.
func (o *Service) mayRead(domain addr.Domain) bool { return o.Require(domain, false) == nil }
