// Package directory knows who receives mail here: domains, mailboxes, aliases and groups. Start with
// [Directory]. The SMTP server calls Resolve for each recipient, package auth calls Login, and the
// administrator's commands call the methods that change something.
//
// The file system is the database. Every change replaces a file atomically, whether the server, a
// command or an editor makes it. A reader checks freshness with one stat, so a change takes effect
// at once; only Digests may be a minute old. Nothing may keep an answer of this package for longer
// than one operation. If a file
// cannot be read, the answer is an error, never "no such user".
//
// Layout below the data directory:
//
// !mailbox/.lock                               taken by every change
// !mailbox/<domain>/domain.json                aliases, groups, catch-all, lock
// !mailbox/<domain>/P3_<user>.mbx/             one mailbox, with its messages
// !mailbox/<domain>/P3_<user>.mbx/account.json verifier, quota, lock, forwarding
//
// A domain directory without domain.json is a domain with default settings. A mailbox without
// account.json (a tree copied from an old server) receives mail, but its user cannot log in until
// a password is set.
package directory

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"pillarbox/mailstore/absence"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/durable"
	"pillarbox/mailstore/rules"
)

// The classes of errors. Their texts name the object; the caller adds hints.
var (
	ErrNotFound = errors.New("not found")
	ErrExists   = errors.New("exists already")
	ErrName     = errors.New("not a permitted name")
	ErrDamaged  = errors.New("damaged file") // domain.json or account.json cannot be parsed
	// ErrUnusable: an external directory's entry for an address cannot be used until an
	// administrator changes it.
	ErrUnusable = errors.New("not usable")
	ErrInUse    = errors.New("still in use") // a domain that has mailboxes
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
	DefaultDomain addr.Domain  // for names without a domain; zero means the only hosted domain
	Postmaster    addr.Address // receives postmaster's mail; zero: see Resolve
	LoginNames    LoginNames   // "" means LoginByMailbox
	PlusSeparator string       // "+": anna+lists@ is delivered to anna@; "" means off

	// Shared reports whether another server has the addresses of a hosted domain that do not exist
	// here. nil: no domain is shared.
	Shared func(domain addr.Domain) bool

	// Forwarded returns the sender that an address stands for, if the address was made when mail was
	// forwarded. ok is false for other addresses. A zero sender means that the address is not valid.
	// nil: there are no such addresses.
	Forwarded func(a addr.Address) (sender addr.Address, ok bool, err error)

	Method  Method            // of domains without one of their own; "" means ByFile
	Lookups map[string]Lookup // the external directories by name
	First   string            // the name of the first external directory
}

// Directory reads and changes domains and mailboxes. It is safe for concurrent use, also by several
// processes on one data directory.
type Directory struct {
	*state
	observer func(Change) // called for each change; may be nil
}

// state is shared by all Directories that Observed derives from one.
type state struct {
	fsys     durable.FS
	opts     atomic.Pointer[Options]
	domains  fileCache[DomainFile]
	accounts fileCache[Account]
	parents  atomic.Pointer[parentIndex]
	list     atomic.Pointer[domainList]
	names    nameCache
	digests  digests
	copies   copies
	renames  renames
}

// New returns a Directory over a data directory, which may be empty.
func New(fsys durable.FS, opts Options) *Directory {
	d := &Directory{state: &state{fsys: fsys}}
	d.SetOptions(opts)
	return d
}

// SetOptions replaces the settings. Operations that have begun keep the old ones.
func (d *Directory) SetOptions(opts Options) { d.opts.Store(&opts) }

// Account is the content of account.json.
type Account struct {
	Verifier string `json:"verifier,omitempty"` // PHC string; empty: no login
	// Locked: no retrieval, no submission; mail still arrives.
	Locked bool `json:"locked,omitempty"`
	// Access: the services that its user may log in to.
	Access   Access         `json:"access,omitempty"`
	Forward  []addr.Address `json:"forward,omitempty"`   // copy or redirect mail to these
	KeepCopy bool           `json:"keep_copy,omitempty"` // with Forward: also store the mail here
	Created  time.Time      `json:"created,omitzero"`

	// Method says how the password is checked; "": as the domain says.
	Method Method `json:"method,omitempty"`
	// Store lists secrets to store beside those that the configuration stores for all.
	Store       []SecretKind `json:"store,omitempty"`
	Secrets     Secrets      `json:"secrets,omitzero"`      // the stored secrets
	PasswordSet time.Time    `json:"password_set,omitzero"` // zero: unknown
	// History holds the verifiers of earlier passwords, the latest first.
	History []string `json:"password_history,omitempty"`

	// ClientCerts let the user log in without a password.
	ClientCerts []ClientCert `json:"client_certs,omitempty"`
	// AppPasswords let programs and devices log in; AppVerifiers has their PHC strings by ID.
	AppPasswords []AppPassword     `json:"app_passwords,omitempty"`
	AppVerifiers map[string]string `json:"app_verifiers,omitempty"`

	// SecondFactors must confirm a login at the page. With any, no other service accepts the
	// password of the mailbox. FactorSecrets has their secrets by ID, encrypted: see auth.SecretKey.
	SecondFactors []SecondFactor    `json:"second_factors,omitempty"`
	FactorSecrets map[string][]byte `json:"factor_secrets,omitempty"`
	// RecoveryCodes are SHA-256 hashes, in hexadecimal, of codes that replace a second factor once.
	RecoveryCodes []string `json:"recovery_codes,omitempty"`
	// KnownNetworks are those from which its user has lately given a right code, the latest first.
	KnownNetworks []KnownNetwork `json:"known_networks,omitempty"`
	// Reset lets whoever has its key set a new password once; zero: no reset is open.
	Reset Reset `json:"reset,omitzero"`

	Limits    // how much it may hold
	Retention // how long it keeps mail

	// SendAs are granted sender addresses, beside its own addresses.
	SendAs []addr.Address `json:"send_as,omitempty"`
	// Outside: it may send to remote servers; nil: see MayOutside.
	Outside *bool `json:"outside,omitempty"`
	// Inbound: it accepts mail from remote senders; nil: see MayInbound.
	Inbound *bool `json:"inbound,omitempty"`
	// Held: it sent too much to remote servers, and may not send there until released.
	Held bool `json:"held,omitempty"`

	// Rules decide at delivery what happens to its mail. Account.Forward without KeepCopy comes first:
	// rules see only mail that is stored here.
	Rules []rules.Rule `json:"rules,omitempty"`
	// Absence is answered to senders; nil: none was ever set.
	Absence *absence.Settings `json:"absence,omitempty"`
	// Archive is a mailbox here that gets a copy of all its mail, in and out; zero: none.
	Archive addr.Address `json:"archive,omitzero"`
}

// Service is a kind of server that a user logs in to.
type Service string

// The values of Service.
const (
	ServicePOP3 Service = "pop3"
	ServiceSMTP Service = "smtp" // also on the ports for submission
	ServiceWeb  Service = "web"  // the page, which each user may open who may use another service
)

// Access says which services the user of a mailbox may log in to. Mail arrives with every value.
type Access string

// The values of Access.
const (
	AccessBoth Access = ""
	AccessPOP3 Access = "pop3"
	AccessSMTP Access = "smtp"
	AccessNone Access = "none"
)

// Permits reports whether the user may log in to a service. With "", it reports whether the user may
// log in to any.
func (a Access) Permits(s Service) bool {
	return a == AccessBoth || a != AccessNone && (s == "" || s == ServiceWeb) || a == Access(s)
}

// UnmarshalText refuses unknown words: a typing error in an editor must not permit a login.
func (a *Access) UnmarshalText(text []byte) error {
	switch word := Access(text); word {
	case AccessBoth, AccessPOP3, AccessSMTP, AccessNone:
		*a = word
		return nil
	}
	return fmt.Errorf("access: %q is not \"\", %q, %q or %q", text, AccessPOP3, AccessSMTP, AccessNone)
}

// Group is a list of addresses. Each member gets one copy of a message to the group.
type Group struct {
	Members []addr.Address `json:"members"`
	Accept  Accept         `json:"accept,omitempty"` // the permitted senders
	// Outside: its members may send to remote servers; nil: it does not decide.
	Outside *bool `json:"outside,omitempty"`
	// Inbound: it and its members accept mail from remote senders; nil: it does not decide.
	Inbound *bool `json:"inbound,omitempty"`
}

// Accept says who may write to a group.
type Accept string

const (
	AcceptDefault Accept = "" // the group has no setting of its own
	AcceptAnyone  Accept = "anyone"
	AcceptInside  Accept = "inside"  // local senders
	AcceptMembers Accept = "members" // members, including those of groups in the group
	AcceptNobody  Accept = "nobody"  // no sender
)

// UnmarshalText refuses unknown words: a typing error in an editor must not open a group to all.
func (a *Accept) UnmarshalText(text []byte) error {
	switch word := Accept(text); word {
	case AcceptDefault, AcceptAnyone, AcceptInside, AcceptMembers, AcceptNobody:
		*a = word
		return nil
	}
	return fmt.Errorf("accept: %q is not \"\", %q, %q, %q or %q",
		text, AcceptAnyone, AcceptInside, AcceptMembers, AcceptNobody)
}

// DomainFile is the content of domain.json. Names are folded local parts.
type DomainFile struct {
	Locked   bool                    `json:"locked,omitempty"` // locks every mailbox
	CatchAll addr.Address            `json:"catch_all,omitzero"`
	Aliases  map[string]addr.Address `json:"aliases,omitempty"`
	Groups   map[string]Group        `json:"groups,omitempty"`
	// Names holds the full names of mailboxes, such as "John Doe", with the mailboxes that have them.
	Names map[string][]addr.Address `json:"names,omitempty"`
	// Method says how its users' passwords are checked; "": as the configuration says.
	Method Method `json:"method,omitempty"`
	// Footer is added to mail that its users send to other servers.
	Footer Footer `json:"footer,omitzero"`
	// Archive is a mailbox here that gets a copy of all mail of the domain; zero: none.
	Archive addr.Address `json:"archive,omitzero"`

	Limits    // how much its mailboxes may hold together; the default is no limit
	Retention // how long mail is kept, for mailboxes that do not say it themselves
}

// Footer is a text at the end of messages, for plain text and for HTML. HTML is made from Text if it
// is "".
type Footer struct {
	Text string `json:"text,omitempty"`
	HTML string `json:"html,omitempty"`
}

// Mailbox is one hosted mailbox.
type Mailbox struct {
	Address addr.Address // folded
	Dir     string       // below the data directory; identifies it in the store
	Account Account
	Locked  bool  // the account's own lock or the domain's
	Damage  error // an ErrDamaged or fs.ErrPermission; set by MailboxesAsFound only

	Method Method       // how the password is checked
	New    bool         // known to an external directory, but not created yet
	Login  addr.Address // set by Login: the name that the user typed

	DomainLimits    Limits    // how much the mailboxes of the domain may hold together
	DomainRetention Retention // the domain's retention, for a mailbox without its own
}

// DefaultDomain is the domain of names without one: the configured default, or else the only hosted
// domain, or else "".
func (d *Directory) DefaultDomain() addr.Domain {
	if def := d.opts.Load().DefaultDomain; def != "" {
		return def
	}
	if all, err := d.Domains(); err == nil && len(all) == 1 {
		return all[0]
	}
	return ""
}

// Domains lists the hosted domains in alphabetical order. The caller owns the list.
func (d *Directory) Domains() ([]addr.Domain, error) {
	all, err := d.domainList()
	return slices.Clone(all), err
}

// domainList is Domains, from memory while the root directory is unchanged. The list is shared:
// callers must not change it.
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

// domainList is the content of the root directory at the time of the stamp.
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

// Domain returns the file of a hosted domain, or ErrNotFound. The result is shared: callers must
// not change it.
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

// Mailboxes lists a domain's mailboxes in alphabetical order. If one account cannot be read, the
// error is ErrDamaged or fs.ErrPermission.
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

// MailboxesAsFound is Mailboxes for callers that only display the list. A mailbox whose account
// cannot be read is in the list with only its Address, Dir and Damage.
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
		box, err := d.MailboxAsFound(addr.Address{Local: user, Domain: name})
		if errors.Is(err, ErrNotFound) {
			continue // removed since the listing
		} else if err != nil {
			return nil, err
		}
		all = append(all, box)
	}
	return all, nil
}

// MailboxAsFound is Mailbox for callers that only display it: see MailboxesAsFound.
func (d *Directory) MailboxAsFound(a addr.Address) (Mailbox, error) {
	box, err := d.Mailbox(a)
	if errors.Is(err, ErrDamaged) || errors.Is(err, fs.ErrPermission) {
		return Mailbox{Address: a, Dir: MailboxDir(a), Damage: err}, nil
	}
	return box, err
}

// Mailbox finds a mailbox by its own address; it follows no alias. The error is ErrNotFound,
// ErrDamaged, or a temporary error of the file system.
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

// mailboxIn is Mailbox for a valid folded address and its domain's file.
func (d *Directory) mailboxIn(domain *DomainFile, a addr.Address) (Mailbox, error) {
	dir := MailboxDir(a)
	account, err := d.accounts.get(d.fsys, dir+"/"+accountFile)
	if err == nil && account == &d.accounts.none { // a mailbox may lack the file
		var info fs.FileInfo
		info, err = d.fsys.Lstat(dir)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
			return Mailbox{}, fmt.Errorf("mailbox %s: %w", a, ErrNotFound)
		}
	}
	if err != nil {
		return Mailbox{}, err
	}
	return Mailbox{
		Address: a, Dir: dir, Account: *account, Locked: account.Locked || domain.Locked,
		Method:       d.methodIn(domain, account),
		DomainLimits: domain.Limits, DomainRetention: domain.Retention,
	}, nil
}

// ParseUser parses "anna@office.example", or "anna" for the default domain.
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
		return addr.Address{}, fmt.Errorf("%w: %q has no @domain, and there is no default domain",
			addr.ErrSyntax, name)
	}
	return addr.Address{Local: local, Domain: domain}, nil
}

// The directory names of mailboxes, as in the POP3 service of Windows Server 2003.
const (
	mailboxPrefix = "P3_"
	mailboxSuffix = ".mbx"
)

// DomainDir is the directory of a domain below the data directory. It need not exist.
func DomainDir(name addr.Domain) string { return rootDir + "/" + string(name) }

// MailboxDir is the directory of the mailbox with this folded address. It need not exist.
func MailboxDir(a addr.Address) string {
	return DomainDir(a.Domain) + "/" + mailboxPrefix + a.Local + mailboxSuffix
}

// AddressAt is the inverse of MailboxDir: the address of the mailbox with this directory. Neither
// need exist.
func AddressAt(dir string) (addr.Address, bool) {
	domain, name, _ := strings.Cut(strings.TrimPrefix(dir, rootDir+"/"), "/")
	user, ok := mailboxUser(name)
	a := addr.Address{Local: user, Domain: addr.Domain(domain)}
	return a, ok && MailboxDir(a) == dir
}

// mailboxUser extracts the user from the directory name of a mailbox.
func mailboxUser(name string) (user string, ok bool) {
	user, begins := strings.CutPrefix(name, mailboxPrefix)
	user, ends := strings.CutSuffix(user, mailboxSuffix)
	return user, begins && ends
}

// MailboxAt finds a mailbox by its directory, Mailbox.Dir.
func (d *Directory) MailboxAt(dir string) (Mailbox, error) {
	a, ok := AddressAt(dir)
	if !ok {
		return Mailbox{}, fmt.Errorf("mailbox directory %q: %w", dir, ErrNotFound)
	}
	return d.Mailbox(a)
}

// DomainAt is the inverse of DomainDir: it returns the domain with this directory.
func (d *Directory) DomainAt(dir string) (addr.Domain, error) {
	name := addr.Domain(strings.TrimPrefix(dir, rootDir+"/"))
	norm, err := addr.ParseDomain(string(name))
	if DomainDir(name) != dir || err != nil || norm != name {
		return "", fmt.Errorf("domain directory %q: %w", dir, ErrNotFound)
	}
	return name, nil
}

// MailboxDirs lists the directories of a domain's mailboxes in alphabetical order, without reading
// their accounts.
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
