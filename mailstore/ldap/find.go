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

// Find finds who logs in as login: ErrNotFound or ErrUnavailable.
func (d *Directory) Find(ctx context.Context, login Login) (Person, error) {
	if d.cfg.Base == "" {
		return Person{}, fmt.Errorf("%w: no base to search below is configured", ErrUnavailable)
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

// Address finds who has an address, or the group that has it: ErrNotFound,
// ErrUnavailable or ErrUnusable.
func (d *Directory) Address(ctx context.Context, a addr.Address) (Person, error) {
	if d.cfg.Base == "" {
		return Person{}, fmt.Errorf("%w: no base to search below is configured", ErrUnavailable)
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

// lookUp answers a question from memory, from the directory, or, while that gives
// no answer, from what it said last.
func (d *Directory) lookUp(ctx context.Context, question string, ask func(context.Context) (Person, error)) (Person, error) {
	last, known := d.people.get(question)
	switch {
	case known && last.nobody && recent(last.at, forNobody) && !d.pool.down():
		return Person{}, ErrNotFound
	case known && last.bad != nil && recent(last.at, forNobody):
		return Person{}, last.bad
	case known && !last.nobody && last.bad == nil && recent(last.at, d.cfg.Fresh):
		return last.person, nil
	}
	p, err := share(ctx, d, question, func(ctx context.Context) (Person, error) {
		p, err := ask(ctx)
		d.noteFound(question, p, err)
		return p, err
	})
	if silent(err) && known && !last.nobody && last.bad == nil && recent(last.at, d.cfg.Stale) {
		return last.person, nil
	}
	return p, err
}

// silent reports whether an error says that the directory could not be asked. That
// it gave an answer that nobody can use is another thing.
func silent(err error) bool {
	return errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrAmbiguous)
}

func (d *Directory) noteFound(question string, p Person, err error) {
	switch {
	case err == nil:
		d.people.put(question, found{person: p, at: time.Now()})
	case errors.Is(err, ErrNotFound):
		d.people.put(question, found{nobody: true, at: time.Now()})
	case errors.Is(err, ErrUnusable):
		d.people.put(question, found{bad: err, at: time.Now()})
		d.log.Error("an address of the directory cannot be used until its entry is changed", "error", err.Error())
	}
}

func loginQuestion(l Login) string {
	return "login\x00" + addr.FoldName(l.User) + "\x00" + string(l.Domain)
}

// findLogin finds the one whom UserFilter finds.
func (d *Directory) findLogin(c *conn, login Login) (Person, error) {
	e, err := d.one(c, d.cfg.UserFilter, login)
	if err != nil {
		return Person{}, err
	}
	return d.person(e), nil
}

// findAddress finds the one whom AddressFilter finds, a person or a group.
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

// one is the entry that a filter finds: none and several are errors.
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
		return nil, fmt.Errorf("%w: nothing below %s matches %s", ErrNotFound, d.cfg.Base, filter)
	case len(all) > 1:
		err := fmt.Errorf("%w %s: %s, %s", ErrAmbiguous, filter, all[0].DN, all[1].DN)
		d.log.Warn("directory entries cannot be told apart", "error", err.Error())
		return nil, err
	}
	return all[0], nil
}

// read is an entry by its name, if it is there and matches.
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

// search returns at most limit entries: where there are more, so many of them.
// References to other servers are not followed. A base that is not there is
// ErrNotFound for one entry, and for a search a mistake in the configuration.
func (d *Directory) search(c *conn, base string, scope int, filter string, limit int, attributes []string) ([]*ldapv3.Entry, error) {
	c.wire.grant()
	seconds := max(int(d.cfg.Timeout.Seconds()), 1)
	result, err := c.Search(ldapv3.NewSearchRequest(base, scope, ldapv3.NeverDerefAliases, limit, seconds, false, filter, attributes, nil))
	if err = c.masked(err); err != nil {
		code := resultCode(err)
		switch {
		case code == ldapv3.LDAPResultSizeLimitExceeded && result != nil && len(result.Entries) >= limit:
		case code == ldapv3.LDAPResultNoSuchObject && scope == ldapv3.ScopeBaseObject, code == ldapv3.LDAPResultInvalidDNSyntax && scope == ldapv3.ScopeBaseObject:
			return nil, fmt.Errorf("%w: %s", ErrNotFound, base)
		default:
			return nil, unavailable(err)
		}
	}
	entries := result.Entries[:min(len(result.Entries), limit)]
	for _, e := range entries {
		if e.DN == "" { // nobody: to log in as "" is to log in as everybody
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

// person is what an entry says of somebody.
func (d *Directory) person(e *ldapv3.Entry) Person {
	p := Person{DN: e.DN, Name: name(e), Quota: d.quota(e)}
	p.Mailbox, p.Aliases = addresses(e.GetEqualFoldAttributeValues(d.cfg.MailboxAttr), d.otherAddresses(e))
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

// addresses are the mailbox and the further addresses that values name. The first
// value of the mailbox's attribute is the mailbox, or rather the one that begins
// with SMTP: in capitals, where there is one: Exchange's mark of the primary.
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

// address reads a value: an address, perhaps behind smtp:, as in proxyAddresses,
// where other schemes stand beside it.
func address(value string) (addr.Address, bool) {
	const scheme = "smtp:"
	if len(value) >= len(scheme) && strings.EqualFold(value[:len(scheme)], scheme) {
		value = value[len(scheme):]
	}
	a, err := addr.Parse(strings.TrimSpace(value))
	return a.Fold(), err == nil
}
