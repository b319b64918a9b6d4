package ldap

import (
	"context"
	"errors"
	"fmt"
	"strings"

	ldapv3 "github.com/go-ldap/ldap/v3"

	"pillarbox/mailstore/addr"
)

// The limits of a group, including the groups in it. A group beyond them is an error, since
// delivery to only some members would be worse than none.
const (
	MaxMembers = 1000 // Active Directory returns at most 1,500 values at once
	MaxDepth   = 8    // of nested groups
)

// isGroup reports whether an entry is a group.
func (d *Directory) isGroup(c *conn, e *ldapv3.Entry) (bool, error) {
	if d.cfg.GroupFilter == "" {
		return false, nil
	}
	if len(d.memberValues(e)) > 0 {
		return true, nil
	}
	_, err := d.read(c, e.DN, d.cfg.GroupFilter, []string{"1.1"})
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

func (d *Directory) memberValues(e *ldapv3.Entry) (all []string) {
	for _, attr := range d.cfg.MemberAttrs {
		all = append(all, e.GetEqualFoldAttributeValues(attr)...)
	}
	return all
}

// members returns the addresses of a group's members, including those of nested groups. Members
// that have no address or no longer exist are left out.
func (d *Directory) members(ctx context.Context, c *conn, group *ldapv3.Entry,
	domain addr.Domain) ([]addr.Address, error) {
	x := &expansion{d: d, ctx: ctx, c: c, domain: domain, seen: map[string]bool{},
		in: map[addr.Address]bool{}}
	if err := x.group(group, 1); err != nil {
		return nil, fmt.Errorf("group %s: %w", group.DN, err)
	}
	return x.members, nil
}

// expansion is the state of expanding one group.
type expansion struct {
	d      *Directory
	ctx    context.Context
	c      *conn
	domain addr.Domain // of user names without one
	// seen holds entries and user names, so that a group inside itself is expanded once.
	seen    map[string]bool
	in      map[addr.Address]bool
	members []addr.Address
}

func (x *expansion) group(e *ldapv3.Entry, depth int) error {
	if x.visited(e.DN) {
		return nil
	}
	if depth > MaxDepth {
		return fmt.Errorf("%w: nested more than %d groups deep", ErrUnusable, MaxDepth)
	}
	for _, attr := range e.Attributes {
		// Active Directory returns "member;range=0-1499" if there are more members.
		if name, _, ranged := strings.Cut(attr.Name, ";range="); ranged && x.d.isMemberAttr(name) {
			return x.tooMany()
		}
	}
	for _, v := range x.d.memberValues(e) {
		if err := x.value(v, depth); err != nil {
			return err
		}
	}
	return nil
}

func (d *Directory) isMemberAttr(name string) bool {
	for _, attr := range d.cfg.MemberAttrs {
		if strings.EqualFold(attr, name) {
			return true
		}
	}
	return false
}

func (x *expansion) tooMany() error {
	return fmt.Errorf("%w: more than %d members", ErrUnusable, MaxMembers)
}

// value adds the member that a value names: an address, an entry, or a user name.
func (x *expansion) value(v string, depth int) error {
	if err := x.ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if len(x.seen) > 2*MaxMembers {
		return x.tooMany()
	}
	if a, ok := address(v); ok {
		return x.add(a)
	}
	e, err := x.entry(v)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil
	case err != nil:
		return err
	case len(x.d.memberValues(e)) > 0:
		return x.group(e, depth+1)
	case x.visited(e.DN):
		return nil
	}
	if p := x.d.person(e); !p.Mailbox.IsZero() {
		return x.add(p.Mailbox)
	}
	return nil
}

// entry finds the entry that a value names.
func (x *expansion) entry(v string) (*ldapv3.Entry, error) {
	if i := strings.LastIndex(v, "#'"); i > 0 && strings.HasSuffix(v, "'B") {
		v = v[:i] // the unique identifier of uniqueMember (RFC 4517 §3.3.21)
	}
	if dn, err := ldapv3.ParseDN(v); err == nil && len(dn.RDNs) > 0 {
		e, err := x.d.read(x.c, v, "(objectClass=*)", x.d.cfg.attributes())
		if isReferral(err) {
			return nil, fmt.Errorf("%w: its member %s is on another server", ErrUnusable, v)
		}
		return e, err
	}
	login := Login{User: v, Domain: x.domain}
	if err := login.check(); err != nil {
		return nil, err
	}
	return x.d.one(x.c, x.d.cfg.UserFilter, login)
}

func (x *expansion) add(a addr.Address) error {
	if x.in[a] {
		return nil
	}
	if len(x.members) == MaxMembers {
		return x.tooMany()
	}
	x.in[a] = true
	x.members = append(x.members, a)
	return nil
}

// visited records an entry, and reports whether it was recorded before.
func (x *expansion) visited(dn string) bool {
	key := strings.ToLower(dn)
	was := x.seen[key]
	x.seen[key] = true
	return was
}
