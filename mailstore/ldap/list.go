package ldap

import (
	"context"
	"fmt"

	ldapv3 "github.com/go-ldap/ldap/v3"

	"pillarbox/mailstore/addr"
)

// MaxPeople is the maximum number of entries that People lists.
const MaxPeople = 10_000

const pageSize = 500 // Active Directory returns at most 1,000 at once

// People lists the entries with a mailbox in a domain, or in any domain for "". It returns at most
// MaxPeople, in the directory's order. A group is listed without its members. People does not use
// the cache, and only ctx limits its time.
func (d *Directory) People(ctx context.Context, domain addr.Domain) (all []Person, err error) {
	if d.cfg.Base == "" {
		return nil, errNoBase
	}
	err = d.pool.do(ctx, searching, func(c *conn) error {
		all, err = d.list(ctx, c, domain)
		return err
	})
	return all, err
}

func (d *Directory) list(
	ctx context.Context, c *conn, domain addr.Domain,
) (all []Person, err error) {
	filter := "(" + d.cfg.MailboxAttr + "=*)"
	if domain != "" {
		filter = "(" + d.cfg.MailboxAttr + "=*@" + ldapv3.EscapeFilter(string(domain)) + ")"
	}
	paging := ldapv3.NewControlPaging(pageSize)
	for len(all) < MaxPeople {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		c.wire.resetLimit()
		result, err := c.Search(ldapv3.NewSearchRequest(d.cfg.Base, ldapv3.ScopeWholeSubtree,
			ldapv3.NeverDerefAliases,
			0, 0, false, filter, d.cfg.attributes(), []ldapv3.Control{paging}))
		if err != nil {
			return nil, unavailable(err)
		}
		for _, e := range result.Entries {
			p := d.person(e)
			p.Group = len(d.memberValues(e)) > 0
			all = append(all, p)
		}
		next, ok := ldapv3.FindControl(result.Controls,
			ldapv3.ControlTypePaging).(*ldapv3.ControlPaging)
		if !ok || len(next.Cookie) == 0 {
			return all, nil
		}
		paging.SetCookie(next.Cookie)
	}
	return all[:MaxPeople], nil
}
