package ldap

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	ldapv3 "github.com/go-ldap/ldap/v3"

	"pillarbox/mailstore/addr"
)

// Find finds the user who logs in as login. The error is ErrNotFound or ErrUnavailable.
func (d *Directory) Find(ctx context.Context, login Login) (Person, error) {
	if d.cfg.Base == "" {
		return Person{}, errNoBase
	}
	if err := login.check(); err != nil {
		return Person{}, err
	}
	return d.lookUp(ctx, loginQuestion(login), func(ctx context.Context) (p Person, err error) {
		err = d.pool.do(ctx, searching, func(c *conn) error {
			p, err = d.findLogin(c, login)
			return err
		})
		return p, err
	})
}

// Address finds the user or the group with an address. The error is ErrNotFound, ErrUnavailable or
// ErrUnusable.
func (d *Directory) Address(ctx context.Context, a addr.Address) (Person, error) {
	if d.cfg.Base == "" {
		return Person{}, errNoBase
	}
	a = a.Fold()
	login := Login{User: a.Local, Domain: a.Domain}
	if err := login.check(); err != nil || a.Domain == "" {
		return Person{}, fmt.Errorf("%w: not an address", ErrNotFound)
	}
	return d.lookUp(ctx, "address\x00"+a.String(), func(ctx context.Context) (p Person, err error) {
		err = d.pool.do(ctx, searching, func(c *conn) error {
			p, err = d.findAddress(ctx, c, login)
			return err
		})
		return p, err
	})
}

// lookUp answers a question from the cache or from the directory. While the directory does not
// answer, it uses an older answer.
func (d *Directory) lookUp(ctx context.Context, question string,
	ask func(context.Context) (Person, error)) (Person, error) {
	last, known := d.people.get(question)
	switch {
	case known && last.missing && recent(last.at, negativeTTL) && !d.pool.down():
		return Person{}, ErrNotFound
	case known && last.bad != nil && recent(last.at, negativeTTL):
		return Person{}, last.bad
	case known && !last.missing && last.bad == nil && recent(last.at, d.cfg.Fresh):
		return last.person, nil
	}
	p, err := share(ctx, d, question, func(ctx context.Context) (Person, error) {
		p, err := ask(ctx)
		d.cacheFound(question, p, err)
		return p, err
	})
	if unreachable(err) && known && !last.missing && last.bad == nil &&
		recent(last.at, d.cfg.Stale) {
		return last.person, nil
	}
	return p, err
}

// unreachable reports whether an error means that the directory could not be asked. An ambiguous
// answer does not count.
func unreachable(err error) bool {
	return errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrAmbiguous)
}

func (d *Directory) cacheFound(question string, p Person, err error) {
	switch {
	case err == nil:
		d.people.put(question, found{person: p, at: time.Now()})
	case errors.Is(err, ErrNotFound):
		d.people.put(question, found{missing: true, at: time.Now()})
	case errors.Is(err, ErrUnusable):
		d.people.put(question, found{bad: err, at: time.Now()})
		d.log.Error("a directory entry cannot be used until it is changed", "error", err.Error())
	}
}

func loginQuestion(l Login) string {
	return "login\x00" + addr.FoldName(l.User) + "\x00" + string(l.Domain)
}

// findLogin returns the single match of UserFilter.
func (d *Directory) findLogin(c *conn, login Login) (Person, error) {
	e, err := d.one(c, d.cfg.UserFilter, login)
	if err != nil {
		return Person{}, err
	}
	return d.person(e), nil
}

// findAddress returns the single match of AddressFilter, a user or a group.
func (d *Directory) findAddress(ctx context.Context, c *conn, login Login) (Person, error) {
	e, err := d.one(c, d.cfg.AddressFilter, login)
	if err != nil {
		return Person{}, err
	}
	group, err := d.isGroup(c, e)
	if err != nil || !group {
		return d.person(e), err
	}
	members, err := d.members(ctx, c, e, login.Domain)
	return Person{DN: e.DN, Name: name(e), Group: true, Members: members}, err
}

// one returns the single entry that matches a filter. No match and several matches are errors.
func (d *Directory) one(c *conn, template string, login Login) (*ldapv3.Entry, error) {
	filter, err := expand(template, login, ldapv3.EscapeFilter)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	all, err := d.search(c, d.cfg.Base, ldapv3.ScopeWholeSubtree, filter, 2, d.cfg.attributes())
	switch {
	case err != nil:
		return nil, err
	case len(all) == 0:
		return nil, fmt.Errorf("%w: no entry below %s matches %s", ErrNotFound, d.cfg.Base, filter)
	case len(all) > 1:
		err := fmt.Errorf("%w: %s: %s, %s", ErrAmbiguous, filter, all[0].DN, all[1].DN)
		d.log.Warn("several directory entries match", "error", err.Error())
		return nil, err
	}
	return all[0], nil
}

// read returns the entry with a name, if it exists and matches the filter.
func (d *Directory) read(c *conn, dn, filter string, attributes []string) (*ldapv3.Entry, error) {
	all, err := d.search(c, dn, ldapv3.ScopeBaseObject, filter, 1, attributes)
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("%w: %s", ErrNotFound, dn)
	}
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// search returns the matching entries, at most limit. It does not follow references to other
// servers. A missing base is ErrNotFound if a single entry is read. For a subtree search it is a
// mistake in the configuration, and so ErrUnavailable.
func (d *Directory) search(c *conn, base string, scope int, filter string, limit int,
	attributes []string) ([]*ldapv3.Entry, error) {
	c.wire.resetLimit()
	seconds := max(int(d.cfg.Timeout.Seconds()), 1)
	result, err := c.Search(ldapv3.NewSearchRequest(base, scope, ldapv3.NeverDerefAliases, limit,
		seconds, false, filter, attributes, nil))
	if err = c.masked(err); err != nil {
		code := resultCode(err)
		switch {
		case code == ldapv3.LDAPResultSizeLimitExceeded && result != nil &&
			len(result.Entries) >= limit:
		case code == ldapv3.LDAPResultNoSuchObject && scope == ldapv3.ScopeBaseObject,
			code == ldapv3.LDAPResultInvalidDNSyntax && scope == ldapv3.ScopeBaseObject:
			return nil, fmt.Errorf("%w: %s", ErrNotFound, base)
		default:
			return nil, unavailable(err)
		}
	}
	entries := result.Entries[:min(len(result.Entries), limit)]
	for _, e := range entries {
		if e.DN == "" { // refuse it: a bind as "" is anonymous and always succeeds
			return nil, fmt.Errorf("%w: an entry without a name matches %s", ErrUnavailable, filter)
		}
	}
	return entries, nil
}

func resultCode(err error) uint16 {
	if e, ok := errors.AsType[*ldapv3.Error](err); ok {
		return e.ResultCode
	}
	return ldapv3.ErrorNetwork
}

// person converts an entry to a Person.
func (d *Directory) person(e *ldapv3.Entry) Person {
	p := Person{DN: e.DN, Name: name(e), Quota: d.quota(e)}
	p.Mailbox, p.Aliases = addresses(e.GetEqualFoldAttributeValues(d.cfg.MailboxAttr),
		d.otherAddresses(e))
	return p
}

func (d *Directory) otherAddresses(e *ldapv3.Entry) (all []string) {
	for _, attr := range d.cfg.AliasAttrs {
		all = append(all, e.GetEqualFoldAttributeValues(attr)...)
	}
	return all
}

func name(e *ldapv3.Entry) string {
	for _, attr := range []string{"displayName", "cn"} {
		if v := e.GetEqualFoldAttributeValue(attr); v != "" && addr.IsText(v) {
			return v
		}
	}
	return ""
}

// addresses returns the mailbox and the aliases. The mailbox is the first value of the mailbox
// attribute that begins with "SMTP:" in capitals, Exchange's mark of the primary address. Without
// such a value it is the first valid one.
func addresses(mailbox, others []string) (primary addr.Address, aliases []addr.Address) {
	for i, v := range mailbox {
		if strings.HasPrefix(v, "SMTP:") {
			mailbox[0], mailbox[i] = mailbox[i], mailbox[0]
			break
		}
	}
	seen := map[addr.Address]bool{}
	for i, v := range append(mailbox[:len(mailbox):len(mailbox)], others...) {
		a, ok := address(v)
		switch {
		case !ok || seen[a]:
			continue
		case primary.IsZero() && i < len(mailbox):
			primary = a
		default:
			aliases = append(aliases, a)
		}
		seen[a] = true
	}
	return primary, aliases
}

// address parses a value: an address, perhaps prefixed with smtp: as in proxyAddresses. That
// attribute also holds values of other schemes.
func address(value string) (addr.Address, bool) {
	const scheme = "smtp:"
	if len(value) >= len(scheme) && strings.EqualFold(value[:len(scheme)], scheme) {
		value = value[len(scheme):]
	}
	a, err := addr.Parse(strings.TrimSpace(value))
	return a.Fold(), err == nil
}
