package directory

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"pillarbox/mailstore/addr"
)

// Method is how the password of a mailbox is checked: one of the three authentication methods of
// the POP3 service of Windows Server 2003.
type Method string

// The methods. "directory:corp" is the external directory of that name; "directory" is the first
// that is configured.
const (
	ByFile      Method = "file"   // the verifier in the mailbox's account
	BySystem    Method = "system" // the accounts of the operating system
	ByDirectory Method = "directory"
)

// ErrMethod means that a word is not a Method.
var ErrMethod = errors.New("not an authentication method")

// ParseMethod parses a method as an administrator writes it.
func ParseMethod(s string) (Method, error) {
	m := Method(s)
	if name, ok := m.Directory(); m != ByFile && m != BySystem &&
		(!ok || strings.HasSuffix(s, ":") || strings.ContainsAny(name, ": \t")) {
		return "", fmt.Errorf("%w: %q is not %q, %q, %q or %q", ErrMethod, s, ByFile, BySystem,
			ByDirectory, ByDirectory+":NAME")
	}
	return m, nil
}

// UnmarshalText refuses unknown words: a typing error in an editor must not change how passwords
// are checked.
func (m *Method) UnmarshalText(text []byte) (err error) {
	if *m = ""; len(text) > 0 {
		*m, err = ParseMethod(string(text))
	}
	return err
}

// Directory returns the name of the external directory, "" for the first; ok is false for other
// methods.
func (m Method) Directory() (name string, ok bool) {
	if m == ByDirectory {
		return "", true
	}
	return strings.CutPrefix(string(m), string(ByDirectory)+":")
}

// Person is an external directory's entry for a user or a list.
type Person struct {
	Mailbox addr.Address   // receives the mail; zero for a list
	Aliases []addr.Address // other names of the mailbox
	Members []addr.Address // of a list
	Quota   int64          // of the mailbox, in octets; 0: not set
}

// People finds users in an external directory. A few lines in cmd adapt *ldap.Directory to it.
// Errors are ErrNotFound, ErrUnusable, which is permanent, or a temporary error.
type People interface {
	// Login finds the user who logs in as user. domain is the part after the @ or before the
	// backslash, or "".
	Login(user, domain string) (Person, error)
	// Address finds the mailbox, alias or list with an address.
	Address(a addr.Address) (Person, error)
}

// Lookup is one external directory.
type Lookup struct {
	// People finds mailboxes, aliases and groups that no file names. nil: the directory only
	// checks passwords.
	People People
	// AtDelivery and AtLogin say when a mailbox is created that People knows and that does not
	// exist here yet.
	AtDelivery, AtLogin bool
	// NetBIOS holds the directory's domain names in "DOMAIN\user", in capitals.
	NetBIOS []string
}

// methodIn is the method of an account in a domain, with the directory's name filled in.
func (d *Directory) methodIn(domain *DomainFile, account *Account) Method {
	opts := d.opts.Load()
	return opts.named(cmp.Or(account.Method, domain.Method, opts.Method, ByFile))
}

// named replaces "directory" by the first configured directory.
func (o *Options) named(m Method) Method {
	if m == ByDirectory && o.First != "" {
		m += Method(":" + o.First)
	}
	return m
}

// Named replaces "directory" by the first configured directory.
func (d *Directory) Named(m Method) Method { return d.opts.Load().named(m) }

// MethodOf is the method of a domain's mailboxes that have none of their own. Error: ErrNotFound.
func (d *Directory) MethodOf(name addr.Domain) (Method, error) {
	file, err := d.Domain(name)
	if err != nil {
		return "", err
	}
	return d.methodIn(file, new(Account)), nil
}

// lookup returns the external directory of a method, if it is used to find users.
func (o *Options) lookup(m Method) (Lookup, bool) {
	name, ok := m.Directory()
	if !ok {
		return Lookup{}, false
	}
	l, ok := o.Lookups[name]
	return l, ok && l.People != nil
}

// loginAddress parses a login name: a full address, a bare name in the default domain, or
// DOMAIN\user of Windows clients.
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

// realm maps the part before the backslash to a domain. It is a hosted domain, the NetBIOS name of
// an external directory, or the first label of a hosted domain. Anything else, such as the name of
// the client's computer, gives "", which means the default domain.
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
		if label, _, _ := strings.Cut(string(domain), "."); len(matches) == 0 &&
			strings.EqualFold(label, name) {
			matches = append(matches, domain)
		}
	}
	if len(matches) == 0 || slices.Contains(matches, d.DefaultDomain()) {
		return "", nil
	}
	return matches[0], nil
}

// domainsByNetBIOS returns the domains whose external directory has this NetBIOS name. It skips
// domains that cannot be read.
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

// Login finds the mailbox for a login name: a full address, a bare name in the default domain, or
// DOMAIN\user. Options.LoginNames permits other names. If the domain uses an external directory, the
// name may be the user's name there, and the mailbox may be New.
func (d *Directory) Login(name string) (Mailbox, error) {
	a, err := d.loginAddress(name)
	var box Mailbox
	if err == nil {
		box, err = d.Mailbox(a)
	} else {
		err = fmt.Errorf("mailbox %q: %w", name, ErrNotFound)
	}
	other, otherErr := d.loginByOtherName(name) // in any case, so that it takes the same time
	switch {
	case err == nil:
		box.Login = a
		return box, nil
	case !errors.Is(err, ErrNotFound):
		return box, err
	case otherErr == nil:
		other.Login = other.Address
		return other, nil
	case !errors.Is(otherErr, ErrNotFound):
		return Mailbox{Login: a}, otherErr
	case a.IsZero():
		return Mailbox{}, err
	}
	return d.personLogin(a)
}

// personLogin is Login for a name without a mailbox. With an error, the returned mailbox holds only
// the name and the method that would check the password.
func (d *Directory) personLogin(a addr.Address) (Mailbox, error) {
	unknown := fmt.Errorf("mailbox %s: %w", a, ErrNotFound)
	method, err := d.MethodOf(a.Domain)
	if errors.Is(err, ErrNotFound) {
		return Mailbox{Login: a}, unknown
	} else if err != nil {
		return Mailbox{Login: a}, err
	}
	unknownBox := Mailbox{Method: method, Login: a}
	lookup, ok := d.opts.Load().lookup(method)
	if !ok {
		return unknownBox, unknown
	}
	person, err := lookup.People.Login(a.Local, string(a.Domain))
	if errors.Is(err, ErrNotFound) {
		return unknownBox, unknown
	} else if err != nil {
		return unknownBox, err
	}
	box, err := d.personMailbox(person, method)
	if err != nil || box.New && !lookup.AtLogin {
		return unknownBox, cmp.Or(err, unknown)
	}
	box.Login = a
	return box, nil
}

// personMailbox returns the mailbox of a person, New if it does not exist yet. A mailbox with
// another method is ErrNotFound: an account in the external directory must not open it.
func (d *Directory) personMailbox(p Person, method Method) (Mailbox, error) {
	a := p.Mailbox.Fold()
	box, err := d.Mailbox(a)
	switch {
	case err == nil && box.Method == method:
		return box, nil
	case err == nil:
		return Mailbox{}, fmt.Errorf("mailbox %s: its method is %s, not %s: %w",
			a, box.Method, method, ErrNotFound)
	case !errors.Is(err, ErrNotFound):
		return Mailbox{}, err
	}
	file, err := d.Domain(a.Domain)
	if err != nil {
		return Mailbox{}, err
	}
	account := new(Account)
	if own := d.methodIn(file, account); own != method {
		return Mailbox{}, fmt.Errorf("mailbox %s: the method of its domain is %s, not %s: %w",
			a, own, method, ErrNotFound)
	}
	if err := d.CheckFree(a); err != nil {
		return Mailbox{}, fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return Mailbox{
		Address: a, Dir: MailboxDir(a), Locked: file.Locked, Method: method, New: true,
		DomainLimits: file.Limits, DomainRetention: file.Retention,
	}, nil
}

// Make creates a mailbox that is New, and returns it. A mailbox that was created meanwhile will do
// if it has the same method; otherwise the error is ErrExists.
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

// personAt finds the person with an address that no file names.
func (d *Directory) personAt(a addr.Address, file *DomainFile) (Person, Method, error) {
	method := d.methodIn(file, new(Account))
	lookup, ok := d.opts.Load().lookup(method)
	if !ok || addr.CheckMailboxName(a.Local) != nil {
		return Person{}, method, fmt.Errorf("%s: %w", a, ErrNotFound)
	}
	person, err := lookup.People.Address(a)
	return person, method, err
}

// PersonQuota is the external directory's quota for a mailbox, in octets. It is 0 if the directory
// has none, does not know the mailbox, or does not answer.
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

// personAliases returns the external directory's aliases of a mailbox.
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
		// A local file has precedence over the external directory, and addresses of other
		// domains are not ours to assign.
		method, err := d.MethodOf(alias.Domain)
		if err == nil && method == box.Method && d.CheckFree(alias) == nil {
			own = append(own, alias.Fold())
		}
	}
	return own, nil
}

// SecretKind is a kind of secret that a mailbox may store beside its verifier, because a login
// mechanism needs it.
type SecretKind string

// The kinds of secrets.
const (
	SecretSPA   SecretKind = "spa"      // the NT hash, for NTLM
	SecretCRAM  SecretKind = "cram-md5" // the inner and outer MD5 states of HMAC-MD5
	SecretAPOP  SecretKind = "apop"     // the clear password; also serves CRAM-MD5
	SecretSCRAM SecretKind = "scram"    // the keys of SCRAM-SHA-256
)

// SecretKinds returns all kinds.
func SecretKinds() []SecretKind {
	return []SecretKind{SecretSPA, SecretCRAM, SecretAPOP, SecretSCRAM}
}

// Secrets are the stored secrets of an account.
type Secrets struct {
	Kinds  []SecretKind `json:"kinds"`  // what Sealed contains
	Sealed []byte       `json:"sealed"` // encrypted with the server's key; see auth.SecretKey
}

// Has reports whether a secret is stored.
func (s Secrets) Has(k SecretKind) bool { return slices.Contains(s.Kinds, k) }

// StoredKinds returns the distinct sets of secrets among the mailboxes that can log in. The set is
// empty for a mailbox with another method than ByFile: its stored secrets do not count. StoredKinds
// looks at every account, which costs a stat each, and skips mailboxes that cannot be read.
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
			case box.Damage != nil, box.Locked, !box.Account.Access.Permits(""), box.Method == ByFile && box.Account.Verifier == "":
				continue
			case box.Method == ByFile:
				kinds = box.Account.Secrets.Kinds
			}
			if !slices.ContainsFunc(sets,
				func(s []SecretKind) bool { return slices.Equal(s, kinds) }) {
				sets = append(sets, slices.Clone(kinds))
			}
		}
	}
	return sets, nil
}
