// Package directory knows who has mail here: domains, mailboxes, aliases and
// groups. The file system is the database (see Layout below); whoever changes a
// file (the server, an admin command, an editor) replaces it atomically, and a
// reader checks freshness with one stat, so that a change counts at once.
//
// Layout below the data directory:
//
//	mailbox/.lock                               taken by every change
//	mailbox/<domain>/domain.json                aliases, groups, catch-all, lock
//	mailbox/<domain>/P3_<user>.mbx/             one mailbox, its messages beside
//	mailbox/<domain>/P3_<user>.mbx/account.json verifier, quota, lock, forwarding
//
// A domain directory without domain.json is a domain with nothing special; a
// mailbox without account.json (a tree copied from an old server) receives mail
// and cannot log in until it is given a password.
package directory

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/durable"
)

// Classes of errors. Texts name the thing; hints are the caller's.
var (
	ErrNotFound = errors.New("not found")
	ErrExists   = errors.New("exists already")
	ErrName     = errors.New("not a permitted name")
	ErrDamaged  = errors.New("damaged file") // domain.json or account.json does not parse
	ErrUnusable = errors.New("not usable")   // what a directory elsewhere has of an address, until it is changed there
	ErrInUse    = errors.New("still in use") // a domain with mailboxes
)

const (
	rootDir     = "mailbox"
	lockFile    = "mailbox/.lock"
	domainFile  = "domain.json"
	accountFile = "account.json"
	lockWait    = 10 * time.Second
)

// Options are the settings that the directory needs from the configuration.
type Options struct {
	DefaultDomain addr.Domain  // for bare names; zero: the only hosted domain
	Postmaster    addr.Address // who gets postmaster's mail; zero: see Resolve
	PlusSeparator string       // "+": anna+lists@ reaches anna@; "": off

	Method  Method            // of domains that do not say it; "": ByFile
	Lookups map[string]Lookup // the directories elsewhere by their names
	First   string            // the name of the first of them
}

// Directory reads and changes domains and mailboxes. Safe for concurrent use,
// also by several processes on one data directory.
type Directory struct {
	*state
	tell func(Change) // of each change; nil: nobody listens
}

// state is what all Observed of a Directory share.
type state struct {
	fsys     durable.FS
	opts     atomic.Pointer[Options]
	domains  fileCache[DomainFile]
	accounts fileCache[Account]
	parents  atomic.Pointer[parentIndex]
	list     atomic.Pointer[domainList]
	copies   copies
}

// New returns a Directory over a data directory, which need not hold anything.
func New(fsys durable.FS, opts Options) *Directory {
	d := &Directory{state: &state{fsys: fsys}}
	d.SetOptions(opts)
	return d
}

// SetOptions replaces the settings; lookups under way finish with the old ones.
func (d *Directory) SetOptions(opts Options) { d.opts.Store(&opts) }

// Account is what account.json holds.
type Account struct {
	Verifier string         `json:"verifier,omitempty"`  // PHC string; empty: no log-in
	Locked   bool           `json:"locked,omitempty"`    // no retrieval, no submission; mail still arrives
	Forward  []addr.Address `json:"forward,omitempty"`   // also or instead to these
	KeepCopy bool           `json:"keep_copy,omitempty"` // with Forward: store here as well
	Created  time.Time      `json:"created,omitzero"`

	Method      Method       `json:"method,omitempty"`           // how the password is checked; "": as the domain says
	Store       []SecretKind `json:"store,omitempty"`            // what is to be kept beside the verifier, and what the setting says for all
	Secrets     Secrets      `json:"secrets,omitzero"`           // what is kept
	PasswordSet time.Time    `json:"password_set,omitzero"`      // zero: nobody knows
	History     []string     `json:"password_history,omitempty"` // the verifiers of earlier passwords, the latest first

	ClientCerts []ClientCert `json:"client_certs,omitempty"` // that its user may log in with instead of a password

	Limits    // what it may hold
	Retention // for how long

	SendAs  []addr.Address `json:"send_as,omitempty"` // granted: may send as these beside its own addresses
	Outside *bool          `json:"outside,omitempty"` // may send to other servers; nil: see MayOutside
	Inbound *bool          `json:"inbound,omitempty"` // takes mail from outside; nil: see MayInbound
	Held    bool           `json:"held,omitempty"`    // sent too much to other servers, and may not until released
}

// Group is a list of addresses; mail to it reaches each member once.
type Group struct {
	Members []addr.Address `json:"members"`
	Accept  Accept         `json:"accept,omitempty"`  // who may write to it
	Outside *bool          `json:"outside,omitempty"` // its members may send to other servers; nil: it has no say
	Inbound *bool          `json:"inbound,omitempty"` // it and its members take mail from outside; nil: it has no say
}

// Accept is who may write to a group.
type Accept string

const (
	AcceptAnyone  Accept = "" // the default
	AcceptInside  Accept = "inside"
	AcceptMembers Accept = "members" // also of the groups in it
)

// UnmarshalText refuses words that are none: a typing error in an editor must
// not open a group.
func (a *Accept) UnmarshalText(text []byte) error {
	switch word := Accept(text); word {
	case AcceptAnyone, AcceptInside, AcceptMembers:
		*a = word
		return nil
	}
	return fmt.Errorf("accept: %q is none of \"\", %q, %q", text, AcceptInside, AcceptMembers)
}

// DomainFile is what domain.json holds. Names are folded local parts.
type DomainFile struct {
	Locked   bool                    `json:"locked,omitempty"` // locks every mailbox
	CatchAll addr.Address            `json:"catch_all,omitzero"`
	Aliases  map[string]addr.Address `json:"aliases,omitempty"`
	Groups   map[string]Group        `json:"groups,omitempty"`
	Method   Method                  `json:"method,omitempty"` // how its users' passwords are checked; "": as the configuration says

	Limits    // what its mailboxes may hold together; the default is none
	Retention // for how long, where they do not say it themselves
}

// Mailbox is one hosted mailbox.
type Mailbox struct {
	Address addr.Address // folded
	Dir     string       // below the data directory; what the store knows it by
	Account Account
	Locked  bool  // the account's own lock or the domain's
	Damage  error // ErrDamaged, of MailboxesAsFound only

	Method Method       // how the password is checked
	New    bool         // known to a directory elsewhere, and not made yet
	Login  addr.Address // of Login: what the user logged in as

	DomainLimits    Limits    // what the domain says its mailboxes may hold together
	DomainRetention Retention // for how long, where the mailbox says nothing
}

// DefaultDomain is the domain of bare names: the configured one, or else the
// only hosted one, or else "".
func (d *Directory) DefaultDomain() addr.Domain {
	if def := d.opts.Load().DefaultDomain; def != "" {
		return def
	}
	if all, err := d.Domains(); err == nil && len(all) == 1 {
		return all[0]
	}
	return ""
}

// Domains lists the hosted domains in alphabetical order. The list is the caller's.
func (d *Directory) Domains() ([]addr.Domain, error) {
	all, err := d.domainList()
	return slices.Clone(all), err
}

// domainList is Domains from memory as long as nothing has changed. The list is shared: read it only.
func (d *Directory) domainList() ([]addr.Domain, error) {
	now := time.Now()
	info, err := d.fsys.Lstat(rootDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	stamp, ok := durable.StampOf(info)
	if last := d.list.Load(); last != nil && ok && last.stamp == stamp {
		return last.domains, nil
	}
	all, err := d.readDomains()
	if err == nil && ok && stamp.Settled(now) {
		d.list.Store(&domainList{stamp, all})
	}
	return all, err
}

// domainList is what the root of all domains held when it had this stamp.
type domainList struct {
	stamp   durable.Stamp
	domains []addr.Domain
}

func (d *Directory) readDomains() ([]addr.Domain, error) {
	entries, err := d.fsys.ReadDir(rootDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var all []addr.Domain
	for _, e := range entries {
		name := addr.Domain(e.Name())
		if norm, err := addr.ParseDomain(e.Name()); e.IsDir() && err == nil && norm == name {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all, nil
}

// Hosts reports whether mail for the domain is delivered here.
func (d *Directory) Hosts(name addr.Domain) (bool, error) {
	if addr.CheckDomainName(name) != nil || name == "" {
		return false, nil
	}
	info, err := d.fsys.Lstat(DomainDir(name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && info.IsDir(), err
}

// Domain returns a hosted domain's file, or ErrNotFound. The result is shared:
// read it, do not change it.
func (d *Directory) Domain(name addr.Domain) (*DomainFile, error) {
	hosted, err := d.Hosts(name)
	if err != nil {
		return nil, err
	}
	if !hosted {
		return nil, fmt.Errorf("domain %s: %w", name, ErrNotFound)
	}
	return d.domains.get(d.fsys, DomainDir(name)+"/"+domainFile)
}

// Mailboxes lists a domain's mailboxes in alphabetical order. One whose account
// cannot be read is ErrDamaged: what it says is not known.
func (d *Directory) Mailboxes(name addr.Domain) ([]Mailbox, error) {
	all, err := d.MailboxesAsFound(name)
	if err != nil {
		return nil, err
	}
	for _, box := range all {
		if box.Damage != nil {
			return nil, box.Damage
		}
	}
	return all, nil
}

// MailboxesAsFound is Mailboxes for those who only look: one whose account cannot
// be read is in the list, with nothing but its address, its directory and the
// damage.
func (d *Directory) MailboxesAsFound(name addr.Domain) ([]Mailbox, error) {
	if _, err := d.Domain(name); err != nil {
		return nil, err
	}
	names, err := d.mailboxNames(name)
	if err != nil {
		return nil, err
	}
	all := make([]Mailbox, 0, len(names))
	for _, user := range names {
		a := addr.Address{Local: user, Domain: name}
		box, err := d.Mailbox(a)
		switch {
		case errors.Is(err, ErrNotFound):
			continue // removed since the listing
		case errors.Is(err, ErrDamaged):
			box = Mailbox{Address: a, Dir: MailboxDir(a), Damage: err}
		case err != nil:
			return nil, err
		}
		all = append(all, box)
	}
	return all, nil
}

func (d *Directory) mailboxNames(name addr.Domain) ([]string, error) {
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

// Mailbox finds a mailbox by its own address, following no alias. ErrNotFound,
// ErrDamaged, or an error of the file system, which is temporary.
func (d *Directory) Mailbox(a addr.Address) (Mailbox, error) {
	a = a.Fold()
	if addr.CheckMailboxName(a.Local) != nil || addr.CheckDomainName(a.Domain) != nil {
		return Mailbox{}, fmt.Errorf("mailbox %s: %w", a, ErrNotFound)
	}
	domain, err := d.domains.get(d.fsys, DomainDir(a.Domain)+"/"+domainFile)
	if err != nil {
		return Mailbox{}, err
	}
	return d.mailboxIn(domain, a)
}

// mailboxIn is Mailbox for a folded and valid address, where the domain's file is known.
func (d *Directory) mailboxIn(domain *DomainFile, a addr.Address) (Mailbox, error) {
	dir := MailboxDir(a)
	account, err := d.accounts.get(d.fsys, dir+"/"+accountFile)
	if err == nil && account == &d.accounts.none { // no such file: is there a mailbox, even so?
		var info fs.FileInfo
		info, err = d.fsys.Lstat(dir)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
			return Mailbox{}, fmt.Errorf("mailbox %s: %w", a, ErrNotFound)
		}
	}
	if err != nil {
		return Mailbox{}, err
	}
	return Mailbox{Address: a, Dir: dir, Account: *account, Locked: account.Locked || domain.Locked, Method: d.methodIn(domain, account), DomainLimits: domain.Limits, DomainRetention: domain.Retention}, nil
}

// ParseUser reads "anna@office.example", or "anna" in the default domain.
func (d *Directory) ParseUser(name string) (addr.Address, error) {
	if strings.Contains(name, "@") {
		return addr.Parse(name)
	}
	local, err := addr.ParseLocal(name)
	if err != nil {
		return addr.Address{}, err
	}
	domain := d.DefaultDomain()
	if domain == "" {
		return addr.Address{}, fmt.Errorf("%w: %q has no @domain, and there is no default domain", addr.ErrSyntax, name)
	}
	return addr.Address{Local: local, Domain: domain}, nil
}

// The names of mailboxes' directories, as the POP3 service of Windows Server 2003 made them.
const (
	mailboxPrefix = "P3_"
	mailboxSuffix = ".mbx"
)

// DomainDir is the directory of a domain below the data directory, whether or not it is there.
func DomainDir(name addr.Domain) string { return rootDir + "/" + string(name) }

// MailboxDir is the directory of the mailbox that has, or would have, this folded address.
func MailboxDir(a addr.Address) string {
	return DomainDir(a.Domain) + "/" + mailboxPrefix + a.Local + mailboxSuffix
}

// AddressAt is the address of the mailbox that has this directory, or would have it: the inverse of MailboxDir.
func AddressAt(dir string) (addr.Address, bool) {
	domain, name, _ := strings.Cut(strings.TrimPrefix(dir, rootDir+"/"), "/")
	user, ok := mailboxUser(name)
	a := addr.Address{Local: user, Domain: addr.Domain(domain)}
	return a, ok && MailboxDir(a) == dir
}

// mailboxUser takes the name of a mailbox's directory apart.
func mailboxUser(name string) (user string, ok bool) {
	user, begins := strings.CutPrefix(name, mailboxPrefix)
	user, ends := strings.CutSuffix(user, mailboxSuffix)
	return user, begins && ends
}

// MailboxAt finds a mailbox by its directory, the inverse of Mailbox.Dir.
func (d *Directory) MailboxAt(dir string) (Mailbox, error) {
	a, ok := AddressAt(dir)
	if !ok {
		return Mailbox{}, fmt.Errorf("mailbox directory %q: %w", dir, ErrNotFound)
	}
	return d.Mailbox(a)
}

// DomainAt finds a domain by its directory, the one around those of its mailboxes.
func (d *Directory) DomainAt(dir string) (addr.Domain, error) {
	name := addr.Domain(strings.TrimPrefix(dir, rootDir+"/"))
	if norm, err := addr.ParseDomain(string(name)); DomainDir(name) != dir || err != nil || norm != name {
		return "", fmt.Errorf("domain directory %q: %w", dir, ErrNotFound)
	}
	return name, nil
}

// MailboxDirs lists the directories of a domain's mailboxes in alphabetical order, without a look into them.
func (d *Directory) MailboxDirs(name addr.Domain) ([]string, error) {
	if _, err := d.Domain(name); err != nil && !errors.Is(err, ErrDamaged) {
		return nil, err
	}
	names, err := d.mailboxNames(name)
	if err != nil {
		return nil, err
	}
	dirs := make([]string, len(names))
	for i, user := range names {
		dirs[i] = MailboxDir(addr.Address{Local: user, Domain: name})
	}
	return dirs, nil
}
