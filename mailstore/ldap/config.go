package ldap

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	ldapv3 "github.com/go-ldap/ldap/v3"
)

// Kind is the sort of directory; it says what the attributes are called where the
// configuration does not.
type Kind string

// The kinds.
const (
	ActiveDirectory Kind = "activedirectory"
	OpenLDAP        Kind = "openldap"
)

// Unit is that of a quota attribute's number.
type Unit string

// The units. A kilobyte is 1,024 octets.
const (
	Bytes     Unit = "B"
	Kilobytes Unit = "KB"
	Megabytes Unit = "MB"
)

// Config describes a directory. Nothing but Servers and one of UserDN and Base is
// needed beside what Defaults gives.
//
// UserDN, UserFilter and AddressFilter are templates: %u is the user name without
// a domain, %d the mail domain, %a the whole address, %% a per cent sign. Values
// are escaped for where they stand.
type Config struct {
	Name string // for logs and commands
	Kind Kind   // "" is OpenLDAP

	Servers  []string      // ldap://host[:port] and ldaps://host[:port], the preferred one first
	StartTLS bool          // before anything else, on ldap://
	CAFile   string        // PEM; "": the system's
	Timeout  time.Duration // to connect, and of each operation; 0: 5s

	BindDN       string // the account that searches; "": nobody's, an anonymous search
	PasswordFile string // its first line is that account's password; read at each connection

	UserDN     string // whom to log in as, as in "%u@office.example" or "uid=%u,ou=people,dc=office,dc=example"; "": who UserFilter finds
	Base       string // below which entry to search
	UserFilter string // who logs in as %u; "": that of the kind

	MailboxAttr   string   // has the mailbox's address; its first value counts, the others are aliases
	AliasAttrs    []string // have further addresses, or "smtp:" and an address; of nil, that of the kind
	AddressFilter string   // who has the address %a; "": made of the two above
	GroupFilter   string   // what is a group; "": nothing
	MemberAttrs   []string // have a group's members: DNs, addresses or user names; of nil, those of the kind
	QuotaAttr     string   // "": the directory says nothing of quotas
	QuotaUnit     Unit     // "": that of the kind

	Fresh          time.Duration // how long an entry is taken for unchanged; 0: 1m
	FreshPasswords time.Duration // how long a password that was right stays so; 0: 5m
	Stale          time.Duration // how long both are good while the directory gives no answer; 0: 8h

	Log *slog.Logger // servers that go and come; nil is silence
}

// The times where a Config says nothing.
const (
	DefaultTimeout        = 5 * time.Second
	DefaultFresh          = time.Minute
	DefaultFreshPasswords = 5 * time.Minute
	DefaultStale          = 8 * time.Hour
)

// Defaults is what holds for a kind of directory where the configuration says
// nothing: filters, attributes and times.
func Defaults(kind Kind) Config {
	c := Config{
		Kind: kind, Timeout: DefaultTimeout,
		MailboxAttr: "mail",
		Fresh:       DefaultFresh, FreshPasswords: DefaultFreshPasswords, Stale: DefaultStale,
	}
	if kind == ActiveDirectory {
		// A contact is a person too, but nobody who logs in.
		c.UserFilter = "(&(objectCategory=person)(objectClass=user)(|(sAMAccountName=%u)(userPrincipalName=%a)(mail=%a)))"
		c.AliasAttrs = []string{"proxyAddresses"}
		c.GroupFilter = "(objectClass=group)"
		c.MemberAttrs = []string{"member"}
		c.QuotaAttr, c.QuotaUnit = "mDBOverHardQuotaLimit", Kilobytes
		return c
	}
	c.UserFilter = "(|(uid=%u)(mail=%a))"
	c.AliasAttrs = []string{"mailLocalAddress", "mailAlternateAddress"}
	c.GroupFilter = "(|(objectClass=groupOfNames)(objectClass=groupOfUniqueNames)(objectClass=posixGroup)(objectClass=mailGroup))"
	c.MemberAttrs = []string{"member", "uniqueMember", "memberUid", "mgrpRFC822MailMember"}
	c.QuotaAttr, c.QuotaUnit = "mailQuota", Bytes
	return c
}

// withDefaults fills in what must be said and is not.
func (c Config) withDefaults() Config {
	c.Kind = cmp.Or(c.Kind, OpenLDAP)
	def := Defaults(c.Kind)
	for _, s := range []struct{ field, def *string }{
		{&c.UserFilter, &def.UserFilter}, {&c.MailboxAttr, &def.MailboxAttr},
	} {
		*s.field = cmp.Or(*s.field, *s.def)
	}
	c.QuotaUnit = cmp.Or(c.QuotaUnit, def.QuotaUnit)
	c.Timeout, c.Stale = cmp.Or(c.Timeout, def.Timeout), cmp.Or(c.Stale, def.Stale)
	c.Fresh, c.FreshPasswords = cmp.Or(c.Fresh, def.Fresh), cmp.Or(c.FreshPasswords, def.FreshPasswords)
	if c.AliasAttrs == nil {
		c.AliasAttrs = def.AliasAttrs
	}
	if c.MemberAttrs == nil {
		c.MemberAttrs = def.MemberAttrs
	}
	c.AddressFilter = cmp.Or(c.AddressFilter, c.defaultAddressFilter())
	return c
}

// defaultAddressFilter finds who has an address in any of the attributes.
func (c Config) defaultAddressFilter() string {
	var b strings.Builder
	b.WriteString("(|")
	for i, attr := range append([]string{c.MailboxAttr}, c.AliasAttrs...) {
		if strings.EqualFold(attr, "proxyAddresses") {
			b.WriteString("(" + attr + "=smtp:%a)")
			continue
		}
		if i > 0 && attr == c.MailboxAttr {
			continue
		}
		b.WriteString("(" + attr + "=%a)")
	}
	b.WriteString(")")
	if c.Kind == ActiveDirectory {
		return "(&(!(objectClass=contact))" + b.String() + ")" // whose mail goes elsewhere
	}
	return b.String()
}

// check finds what cannot work at all.
func (c Config) check() error {
	switch {
	case len(c.Servers) == 0:
		return errors.New("no server is named")
	case c.UserDN == "" && c.Base == "":
		return errors.New("neither whom to log in as nor where to search is said")
	case c.BindDN != "" && c.PasswordFile == "":
		return errors.New("the account that searches has no password")
	}
	for _, server := range c.Servers {
		if _, err := ParseServer(server); err != nil {
			return err
		}
	}
	for _, attr := range c.attributes() {
		if err := CheckAttribute(attr); err != nil {
			return err
		}
	}
	for _, f := range []string{c.UserFilter, c.AddressFilter, c.GroupFilter} {
		if err := CheckFilter(f); f != "" && err != nil {
			return err
		}
	}
	if err := CheckDN(c.Base); err != nil {
		return err
	}
	return CheckUserDN(c.UserDN)
}

// patience is how long a question may take in all: each server once, and one that
// answers, with several operations.
func (c Config) patience() time.Duration { return time.Duration(len(c.Servers)+2) * c.Timeout }

// ParseServer takes the URL of a server apart, which has a scheme and a host,
// perhaps a port, and nothing else.
func ParseServer(server string) (*url.URL, error) {
	u, err := url.Parse(server)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%q is not a URL", server)
	case u.Scheme != "ldap" && u.Scheme != "ldaps":
		return nil, fmt.Errorf("%q begins with neither ldap:// nor ldaps://", server)
	case u.Hostname() == "":
		return nil, fmt.Errorf("%q names no host", server)
	case u.User != nil, u.Path != "" && u.Path != "/", u.RawQuery != "", u.Fragment != "":
		return nil, fmt.Errorf("%q says more than host and port", server)
	}
	return u, nil
}

var attributeName = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9-]*|[0-9]+(\.[0-9]+)+)$`)

// CheckAttribute says whether a word is the name of an attribute (RFC 4512 §1.4).
func CheckAttribute(name string) error {
	if !attributeName.MatchString(name) {
		return fmt.Errorf("%q is not the name of an attribute", name)
	}
	return nil
}

// Equal reports whether two configurations are the same but for the log, so that
// a Directory of the one, with all that it keeps, serves for the other.
func (c Config) Equal(other Config) bool {
	c.Log, other.Log = nil, nil
	return reflect.DeepEqual(c.withDefaults(), other.withDefaults())
}

// CheckFilter says whether a template makes a search filter (RFC 4515).
func CheckFilter(template string) error {
	text, err := expand(template, Login{User: "u", Domain: "d.example"}, ldapv3.EscapeFilter)
	if err != nil {
		return fmt.Errorf("filter %q: %w", template, err)
	}
	if _, err := ldapv3.CompileFilter(text); err != nil {
		return fmt.Errorf("filter %q: %w", template, unprefixed(err))
	}
	return nil
}

// CheckDN says whether a text is the name of an entry (RFC 4514).
func CheckDN(dn string) error {
	if parsed, err := ldapv3.ParseDN(dn); err != nil || len(parsed.RDNs) == 0 && dn != "" {
		return fmt.Errorf("%q is not the name of an entry", dn)
	}
	return nil
}

// CheckUserDN says whether a template makes names to log in with.
func CheckUserDN(template string) error {
	if template == "" {
		return nil
	}
	if !strings.Contains(template, "%u") && !strings.Contains(template, "%a") {
		return fmt.Errorf("%q is the same for everybody: it lacks %%u", template)
	}
	_, err := userDN(template, Login{User: "u", Domain: "d.example"})
	return err
}

// AsksForDomain reports whether who is asked about in one mail domain can be nobody
// of another: the name to log in as, or every way through UserFilter, says it. In
// (|(uid=%u)(mail=%a)) one does not.
func (c Config) AsksForDomain() bool {
	const domain = "a.domain.to.look.for"
	login := Login{User: "u", Domain: domain}
	if name, err := expand(c.UserDN, login, func(s string) string { return s }); err == nil && strings.Contains(name, domain) {
		return true
	}
	if c.Base == "" {
		return false
	}
	text, err := expand(c.UserFilter, login, ldapv3.EscapeFilter)
	if err != nil {
		return false
	}
	filter, err := ldapv3.CompileFilter(text)
	return err == nil && demands(filter, domain)
}

// demands reports whether nothing passes a filter without a value that has text in
// it.
func demands(filter *ber.Packet, text string) bool {
	some := func(part *ber.Packet) bool { return demands(part, text) }
	switch filter.Tag {
	case ldapv3.FilterAnd:
		return slices.ContainsFunc(filter.Children, some)
	case ldapv3.FilterOr:
		return !slices.ContainsFunc(filter.Children, func(part *ber.Packet) bool { return !some(part) })
	case ldapv3.FilterNot:
		return false
	}
	leaf, err := ldapv3.DecompileFilter(filter)
	return err == nil && strings.Contains(leaf, text)
}

// attributes are those that make a Person.
func (c Config) attributes() []string {
	all := slices.Concat([]string{"displayName", "cn", c.MailboxAttr}, c.AliasAttrs, c.MemberAttrs)
	if c.QuotaAttr != "" {
		all = append(all, c.QuotaAttr)
	}
	return all
}
