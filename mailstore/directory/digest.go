package directory

import (
	"errors"
	"io/fs"
	"slices"
	"sync"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/durable"
)

// nameCache caches the names of each domain's mailboxes, and checks them with a stat of the domain's
// directory. The zero value is empty.
type nameCache struct {
	mu sync.Mutex
	of map[addr.Domain]nameList // guarded by mu
}

type nameList struct {
	stamp durable.Stamp
	names []string
}

func (c *nameCache) find(name addr.Domain, stamp durable.Stamp) ([]string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l, ok := c.of[name]
	return l.names, ok && l.stamp == stamp
}

func (c *nameCache) keep(name addr.Domain, l nameList) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == nil {
		c.of = make(map[addr.Domain]nameList)
	}
	c.of[name] = l
}

func (c *nameCache) forget(name addr.Domain) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.of, name)
}

// mailboxNames returns the names of a domain's mailboxes in alphabetical order. The list is shared:
// callers must not change it.
func (d *Directory) mailboxNames(name addr.Domain) ([]string, error) {
	now := time.Now()
	info, err := d.fsys.Lstat(DomainDir(name))
	if err != nil {
		d.names.forget(name)
		return nil, err
	}
	stamp, ok := durable.StampOf(info)
	if names, found := d.names.find(name, stamp); found && ok {
		return names, nil
	}
	names, err := d.readMailboxNames(name)
	if err == nil && ok && stamp.Settled(now) {
		d.names.keep(name, nameList{stamp, names})
	}
	return names, err
}

func (d *Directory) readMailboxNames(name addr.Domain) ([]string, error) {
	entries, err := d.fsys.ReadDir(DomainDir(name))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		user, ok := mailboxUser(e.Name())
		if ok && e.IsDir() && addr.CheckMailboxName(user) == nil {
			names = append(names, user)
		}
	}
	slices.Sort(names)
	return names, nil
}

// MailboxNames returns the local parts of a domain's mailboxes in alphabetical order. The list is
// shared: callers must not change it.
func (d *Directory) MailboxNames(name addr.Domain) ([]string, error) {
	if _, err := d.Domain(name); err != nil {
		return nil, err
	}
	return d.mailboxNames(name)
}

// Digest is what a search through all mailboxes needs of one.
type Digest struct {
	Name    string         // the local part
	Locked  bool           // by the account itself
	Forward []addr.Address // targets of its mail
	SendAs  []addr.Address // granted sender addresses
	Damage  error          // an ErrDamaged or fs.ErrPermission: the other fields are unknown

	stamp durable.Stamp // of account.json; zero if there is none
}

// digestAge is how old a digest may be if a file was changed by hand. A stat of each account is too
// slow for a page that searches 50,000.
const digestAge = time.Minute

// digests caches the Digests of each domain. The zero value is empty.
type digests struct {
	mu sync.Mutex
	of map[addr.Domain]*digest // guarded by mu
}

// digest is one domain's. digests.mu guards all of it, and is held while the digest is brought up to
// date, so that it is read once for all who wait.
type digest struct {
	checked time.Time       // when all accounts were compared with their files
	all     []Digest        // by name; replaced, never changed
	stale   map[string]bool // names of mailboxes that this process has changed
}

// changed notes a change of a mailbox by this process.
func (t *digests) changed(a addr.Address) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if g := t.of[a.Domain]; g != nil {
		g.stale[a.Local] = true
	}
}

// Digests returns a digest of each mailbox of a domain, in alphabetical order. It is for searches
// through the whole office, such as for what forwards to an address, and must not decide about mail
// or logins. It knows changes by this process at once, and others after a minute at most. The list is
// shared: callers must not change it.
func (d *Directory) Digests(name addr.Domain) ([]Digest, error) {
	names, err := d.MailboxNames(name)
	d.digests.mu.Lock()
	defer d.digests.mu.Unlock()
	if err != nil {
		delete(d.digests.of, name)
		return nil, err
	}
	if d.digests.of == nil {
		d.digests.of = make(map[addr.Domain]*digest)
	}
	g := d.digests.of[name]
	if g == nil {
		g = &digest{stale: make(map[string]bool)}
		d.digests.of[name] = g
	}
	return d.freshen(g, name, names)
}

// freshen brings a digest up to date. The caller holds digests.mu.
func (d *Directory) freshen(g *digest, domain addr.Domain, names []string) ([]Digest, error) {
	now := time.Now()
	check := now.Sub(g.checked) >= digestAge
	if !check && len(g.stale) == 0 && slices.EqualFunc(g.all, names,
		func(e Digest, name string) bool { return e.Name == name }) {
		return g.all, nil
	}
	all, old := make([]Digest, 0, len(names)), g.all
	for _, name := range names {
		for len(old) > 0 && old[0].Name < name {
			old = old[1:]
		}
		var e Digest
		if len(old) > 0 && old[0].Name == name {
			e = old[0]
		}
		if check || e.Name == "" || g.stale[name] {
			var err error
			if e, err = d.digestOf(addr.Address{Local: name, Domain: domain}, e); errors.Is(err, ErrNotFound) {
				continue // removed since the listing
			} else if err != nil {
				return nil, err
			}
		}
		all = append(all, e)
	}
	if check {
		g.checked = now
	}
	g.all, g.stale = all, make(map[string]bool)
	return all, nil
}

// digestOf reads an account, unless last is of the same file.
func (d *Directory) digestOf(a addr.Address, last Digest) (Digest, error) {
	e := Digest{Name: a.Local}
	if info, err := d.fsys.Lstat(MailboxDir(a) + "/" + accountFile); err == nil {
		var ok bool
		if e.stamp, ok = durable.StampOf(info); ok && last.Name != "" && last.stamp == e.stamp {
			return last, nil
		}
	}
	box, err := d.Mailbox(a)
	if errors.Is(err, ErrDamaged) || errors.Is(err, fs.ErrPermission) {
		e.Damage = err
		return e, nil
	}
	e.Locked, e.Forward, e.SendAs = box.Account.Locked, box.Account.Forward, box.Account.SendAs
	return e, err
}
