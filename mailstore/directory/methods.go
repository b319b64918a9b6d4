package directory

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"pillarbox/mailstore/addr"
)

// Method is how the password of a mailbox's user is checked: the three
// authentication methods of the POP3 service of Windows Server 2003.
type Method string

// The methods. "directory:corp" is the directory of that name; without one it
// is the first that is configured.
const (
	ByFile      Method = "file"   // the verifier in the mailbox's account
	BySystem    Method = "system" // the accounts of this machine
	ByDirectory Method = "directory"
)

// ErrMethod says that a word is no Method.
var ErrMethod = errors.New("not an authentication method")

// ParseMethod reads a method as a person writes it.
func ParseMethod(s string) (Method, error) {
	m := Method(s)
	if name, ok := m.Directory(); m != ByFile && m != BySystem && (!ok || strings.HasSuffix(s, ":") || strings.ContainsAny(name, ": \t")) {
		return "", fmt.Errorf("%w: %q is none of %q, %q, %q and %q", ErrMethod, s, ByFile, BySystem, ByDirectory, ByDirectory+":NAME")
	}
	return m, nil
}

// UnmarshalText refuses words that are none: a typing error in an editor must
// not let somebody in by another way.
func (m *Method) UnmarshalText(text []byte) (err error) {
	if *m = ""; len(text) > 0 {
		*m, err = ParseMethod(string(text))
	}
	return err
}

// Directory is the name of the directory that is asked, "" for the first.
func (m Method) Directory() (name string, ok bool) {
	if m == ByDirectory {
		return "", true
	}
	return strings.CutPrefix(string(m), string(ByDirectory)+":")
}

// Person is what a directory elsewhere knows of somebody, or of a list.
type Person struct {
	Mailbox addr.Address   // where the mail goes; zero for a list
	Aliases []addr.Address // other names of the mailbox
	Members []addr.Address // of a list
	Quota   int64          // of the mailbox, in octets; 0: it does not say
}

// People finds people in a directory elsewhere. *ldap.Directory, behind a few
// lines in cmd, is the one in use. ErrNotFound, or ErrUnusable, which no time will
// mend; any other error is temporary.
type People interface {
	// Login finds who logs in as user; domain is what was written behind the @,
	// or before the backslash, or "".
	Login(user, domain string) (Person, error)
	// Address finds who has an address, as a mailbox, as an alias, or as a list.
	Address(a addr.Address) (Person, error)
}

// Lookup is one directory elsewhere.
type Lookup struct {
	// People finds mailboxes, aliases and groups where no file names them; nil:
	// the directory only checks passwords.
	People People
	// AtDelivery and AtLogin say when a mailbox is made that People knows and
	// that is not here yet.
	AtDelivery, AtLogin bool
	// NetBIOS are the names of its domain in "DOMAIN\user", in capitals.
	NetBIOS []string
}

// methodIn is the method of an account in a domain, with the name of its
// directory.
func (d *Directory) methodIn(domain *DomainFile, account *Account) Method {
	opts := d.opts.Load()
	return opts.named(cmp.Or(account.Method, domain.Method, opts.Method, ByFile))
}

// named gives a method the name of the directory that it leaves to the
// configuration.
func (o *Options) named(m Method) Method {
	if m == ByDirectory && o.First != "" {
		m += Method(":" + o.First)
	}
	return m
}

// Named gives a method the name of the directory that it leaves to the
// configuration.
func (d *Directory) Named(m Method) Method { return d.opts.Load().named(m) }

// MethodOf is how the passwords of a domain's mailboxes are checked that do not
// say it themselves. ErrNotFound.
func (d *Directory) MethodOf(name addr.Domain) (Method, error) {
	file, err := d.Domain(name)
	if err != nil {
		return "", err
	}
	return d.methodIn(file, new(Account)), nil
}

// lookup is the directory that a method names, if people are looked up in it.
func (o *Options) lookup(m Method) (Lookup, bool) {
	name, ok := m.Directory()
	if !ok {
		return Lookup{}, false
	}
	l, ok := o.Lookups[name]
	return l, ok && l.People != nil
}

// loginAddress reads a log-in name: a full address, a bare name in the default
// domain, or DOMAIN\user, as Windows writes it.
func (d *Directory) loginAddress(name string) (addr.Address, error) {
	realm, user, ok := strings.Cut(name, `\`)
	if !ok {
		return d.ParseUser(name)
	}
	if strings.Contains(user, "@") {
		return d.ParseUser(user)
	}
	local, err := addr.ParseLocal(user)
	if err != nil {
		return addr.Address{}, err
	}
	domain, err := d.realm(realm)
	if err != nil {
		return addr.Address{}, err
	}
	if domain == "" {
		return d.ParseUser(user)
	}
	return addr.Address{Local: local, Domain: domain}, nil
}

// realm is the domain that a Windows client means by what it writes before the
// backslash: a domain here, the NetBIOS name of a directory, or the first label
// of a domain here. Anything else, such as the name of the client's own machine,
// is "": the default domain.
func (d *Directory) realm(name string) (addr.Domain, error) {
	if domain, err := addr.ParseDomain(name); err == nil {
		if hosted, err := d.Hosts(domain); hosted || err != nil {
			return domain, err
		}
	}
	all, err := d.domainList()
	if err != nil {
		return "", err
	}
	matches := d.domainsByNetBIOS(strings.ToUpper(name), all)
	for _, domain := range all {
		if label, _, _ := strings.Cut(string(domain), "."); len(matches) == 0 && strings.EqualFold(label, name) {
			matches = append(matches, domain)
		}
	}
	if len(matches) == 0 || slices.Contains(matches, d.DefaultDomain()) {
		return "", nil
	}
	return matches[0], nil
}

// domainsByNetBIOS are the domains whose directory has this NetBIOS name. One that cannot be read has none.
func (d *Directory) domainsByNetBIOS(name string, all []addr.Domain) (matches []addr.Domain) {
	lookups := d.opts.Load().Lookups
	for _, domain := range all {
		method, err := d.MethodOf(domain)
		if err != nil {
			continue
		}
		source, ok := method.Directory()
		if ok && slices.Contains(lookups[source].NetBIOS, name) {
			matches = append(matches, domain)
		}
	}
	return matches
}

// Login finds the mailbox that a person means who types name into a mail
// program: a full address, a bare name in the default domain, or DOMAIN\user.
// Where the domain's people are looked up elsewhere, the name may be the one
// that they have there, and the mailbox may be New.
func (d *Directory) Login(name string) (Mailbox, error) {
	a, err := d.loginAddress(name)
	if err != nil {
		return Mailbox{}, fmt.Errorf("mailbox %q: %w", name, ErrNotFound)
	}
	box, err := d.Mailbox(a)
	if errors.Is(err, ErrNotFound) {
		return d.personLogin(a)
	}
	box.Login = a
	return box, err
}

// personLogin is Login for a name that is no mailbox's. The mailbox that comes
// with ErrNotFound says what was looked for, and by what its password would have
// been checked.
func (d *Directory) personLogin(a addr.Address) (Mailbox, error) {
	unknown := fmt.Errorf("mailbox %s: %w", a, ErrNotFound)
	method, err := d.MethodOf(a.Domain)
	if errors.Is(err, ErrNotFound) {
		return Mailbox{Login: a}, unknown
	} else if err != nil {
		return Mailbox{Login: a}, err
	}
	nobody := Mailbox{Method: method, Login: a}
	lookup, ok := d.opts.Load().lookup(method)
	if !ok {
		return nobody, unknown
	}
	person, err := lookup.People.Login(a.Local, string(a.Domain))
	if errors.Is(err, ErrNotFound) {
		return nobody, unknown
	} else if err != nil {
		return nobody, err
	}
	box, err := d.personMailbox(person, method)
	if err != nil || box.New && !lookup.AtLogin {
		return nobody, cmp.Or(err, unknown)
	}
	box.Login = a
	return box, nil
}

// personMailbox is the mailbox of a person, New if it is not here yet. One whose
// password is not checked by the method is none: who has an account elsewhere
// must not get into it.
func (d *Directory) personMailbox(p Person, method Method) (Mailbox, error) {
	a := p.Mailbox.Fold()
	box, err := d.Mailbox(a)
	switch {
	case err == nil && box.Method == method:
		return box, nil
	case err == nil:
		return Mailbox{}, fmt.Errorf("mailbox %s: its method is %s, not %s: %w", a, box.Method, method, ErrNotFound)
	case !errors.Is(err, ErrNotFound):
		return Mailbox{}, err
	}
	file, err := d.Domain(a.Domain)
	if err != nil {
		return Mailbox{}, err
	}
	account := new(Account)
	if own := d.methodIn(file, account); own != method {
		return Mailbox{}, fmt.Errorf("mailbox %s: the method of its domain is %s, not %s: %w", a, own, method, ErrNotFound)
	}
	if err := d.CheckFree(a); err != nil {
		return Mailbox{}, fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return Mailbox{
		Address: a, Dir: MailboxDir(a), Locked: file.Locked, Method: method, New: true,
		DomainLimits: file.Limits, DomainRetention: file.Retention,
	}, nil
}

// Make makes a mailbox that is New, and returns it as it is then. One that
// somebody else has made meanwhile is as good if its passwords are checked in the
// same way; otherwise it is an ErrExists.
func (d *Directory) Make(box Mailbox) (Mailbox, error) {
	made, err := d.AddMailbox(box.Address, Account{})
	if errors.Is(err, ErrExists) {
		made, err = d.Mailbox(box.Address)
	}
	if err == nil && made.Method != box.Method {
		err = fmt.Errorf("mailbox %s: %w, with the method %s", box.Address, ErrExists, made.Method)
	}
	made.Login = box.Login
	return made, err
}

// personAt finds who has an address that no file names.
func (d *Directory) personAt(a addr.Address, file *DomainFile) (Person, Method, error) {
	method := d.methodIn(file, new(Account))
	lookup, ok := d.opts.Load().lookup(method)
	if !ok || addr.CheckMailboxName(a.Local) != nil {
		return Person{}, method, fmt.Errorf("%s: %w", a, ErrNotFound)
	}
	person, err := lookup.People.Address(a)
	return person, method, err
}

// PersonQuota is the limit that a directory elsewhere gives a mailbox, in
// octets; 0 where it says nothing, does not know the mailbox or cannot be asked.
func (d *Directory) PersonQuota(box Mailbox) int64 {
	lookup, ok := d.opts.Load().lookup(box.Method)
	if !ok {
		return 0
	}
	person, err := lookup.People.Address(box.Address)
	if err != nil || person.Mailbox.Fold() != box.Address {
		return 0
	}
	return person.Quota
}

// personAliases are the other names that a directory elsewhere gives a mailbox.
func (d *Directory) personAliases(box Mailbox) (own []addr.Address, err error) {
	lookup, ok := d.opts.Load().lookup(box.Method)
	if !ok {
		return nil, nil
	}
	person, err := lookup.People.Address(box.Address)
	if errors.Is(err, ErrNotFound) || err == nil && person.Mailbox.Fold() != box.Address {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	for _, alias := range person.Aliases {
		// What a file names is whose the file says, and what is elsewhere is not ours to give.
		method, err := d.MethodOf(alias.Domain)
		if err == nil && method == box.Method && d.CheckFree(alias) == nil {
			own = append(own, alias.Fold())
		}
	}
	return own, nil
}

// SecretKind is a secret that a mailbox may have stored beside its verifier, since
// some way to log in cannot do without.
type SecretKind string

// The kinds of secrets.
const (
	SecretSPA   SecretKind = "spa"      // the NT hash, for NTLM
	SecretCRAM  SecretKind = "cram-md5" // half of an HMAC-MD5
	SecretAPOP  SecretKind = "apop"     // the password itself; CRAM-MD5 can do with it too
	SecretSCRAM SecretKind = "scram"    // the keys of SCRAM-SHA-256
)

// SecretKinds are all kinds of secrets.
func SecretKinds() []SecretKind { return []SecretKind{SecretSPA, SecretCRAM, SecretAPOP, SecretSCRAM} }

// Secrets is what an account holds of a password beside its verifier.
type Secrets struct {
	Kinds  []SecretKind `json:"kinds"`  // what is in there
	Sealed []byte       `json:"sealed"` // with the server's key, see package auth
}

// Has reports whether a secret is there.
func (s Secrets) Has(k SecretKind) bool { return slices.Contains(s.Kinds, k) }

// StoredKinds are the sets of secrets that the mailboxes here have which can be
// logged in to, each set once. That of a mailbox whose password is checked elsewhere
// is empty: what is left here counts for nothing. It looks at every account, which
// costs a stat each. What cannot be read has none.
func (d *Directory) StoredKinds() (sets [][]SecretKind, err error) {
	all, err := d.domainList()
	if err != nil {
		return nil, err
	}
	for _, domain := range all {
		boxes, err := d.MailboxesAsFound(domain)
		if err != nil {
			continue
		}
		for _, box := range boxes {
			var kinds []SecretKind
			switch {
			case box.Damage != nil, box.Locked, box.Method == ByFile && box.Account.Verifier == "":
				continue
			case box.Method == ByFile:
				kinds = box.Account.Secrets.Kinds
			}
			if !slices.ContainsFunc(sets, func(s []SecretKind) bool { return slices.Equal(s, kinds) }) {
				sets = append(sets, slices.Clone(kinds))
			}
		}
	}
	return sets, nil
}
