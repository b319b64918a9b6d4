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

// Kind is the type of directory. It decides the attribute names that the configuration leaves out.
type Kind string

// The kinds.
const (
	ActiveDirectory Kind = "activedirectory"
	OpenLDAP        Kind = "openldap"
)

// Unit is the unit of the quota attribute.
type Unit string

// The units. A kilobyte is 1,024 octets.
const (
	Bytes     Unit = "B"
	Kilobytes Unit = "KB"
	Megabytes Unit = "MB"
)

// Config describes a directory. Servers and either UserDN or Base are required; Defaults covers the
// rest.
//
// UserDN, UserFilter and AddressFilter are templates: %u is the user name without a domain, %d the
// mail domain, %a the whole address, and %% a per cent sign. Values are escaped for their place.
type Config struct {
	Name string // for logs and commands
	Kind Kind   // "" means OpenLDAP

	Servers  []string      // ldap://host[:port] and ldaps://host[:port], the preferred one first
	StartTLS bool          // before any other operation, on ldap://
	CAFile   string        // PEM; "": the CAs of the operating system
	Timeout  time.Duration // for connecting, and for each operation; 0: 5s

	BindDN       string // the search account; "": anonymous search
	PasswordFile string // its first line is the password of BindDN; read for each connection

	// UserDN is the name to bind as, such as "%u@office.example" or
	// "uid=%u,ou=people,dc=office,dc=example"; "": the entry that UserFilter finds.
	UserDN     string
	Base       string // the entry below which to search
	UserFilter string // finds the user who logs in as %u; "": the default of Kind

	MailboxAttr string // holds the mailbox's address in its first value; the others are aliases
	// AliasAttrs hold further addresses, or "smtp:" and an address; nil: the default of Kind.
	AliasAttrs    []string
	AddressFilter string // finds the owner of address %a; "": derived from the two above
	GroupFilter   string // matches groups; "": no entry is a group
	// MemberAttrs hold a group's members: DNs, addresses or user names; nil: the default of Kind.
	MemberAttrs []string
	QuotaAttr   string // "": no quotas from the directory
	QuotaUnit   Unit   // "": the default of Kind

	Fresh time.Duration // how long an entry is used without asking again; 0: 1m
	// FreshPasswords is how long a right password is accepted without asking again; 0: 5m.
	FreshPasswords time.Duration
	// Stale is how long both are used while the directory does not answer; 0: 8h.
	Stale time.Duration

	Log *slog.Logger // servers that fail and recover; nil discards
}

// The defaults of the times.
const (
	DefaultTimeout        = 5 * time.Second
	DefaultFresh          = time.Minute
	DefaultFreshPasswords = 5 * time.Minute
	DefaultStale          = 8 * time.Hour
)

// Defaults returns the default filters, attributes and times of a kind of directory.
func Defaults(kind Kind) Config {
	c := Config{
		Kind: kind, Timeout: DefaultTimeout,
		MailboxAttr: "mail",
		Fresh:       DefaultFresh, FreshPasswords: DefaultFreshPasswords, Stale: DefaultStale,
	}
	if kind == ActiveDirectory {
		// objectClass=user excludes contacts, which are persons but cannot log in.
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

// withDefaults fills in the required values that are missing.
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
	c.Fresh, c.FreshPasswords = cmp.Or(c.Fresh, def.Fresh),
		cmp.Or(c.FreshPasswords, def.FreshPasswords)
	if c.AliasAttrs == nil {
		c.AliasAttrs = def.AliasAttrs
	}
	if c.MemberAttrs == nil {
		c.MemberAttrs = def.MemberAttrs
	}
	c.AddressFilter = cmp.Or(c.AddressFilter, c.defaultAddressFilter())
	return c
}

// defaultAddressFilter finds the owner of an address in any of the attributes.
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
		// A contact's mail goes to a remote server.
		return "(&(!(objectClass=contact))" + b.String() + ")"
	}
	return b.String()
}

// check finds configurations that cannot work.
func (c Config) check() error {
	switch {
	case len(c.Servers) == 0:
		return errors.New("no server is configured")
	case c.UserDN == "" && c.Base == "":
		return errors.New("neither a user DN to bind as nor a base to search is configured")
	case c.BindDN != "" && c.PasswordFile == "":
		return errors.New("the search account has no password file")
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

// queryTimeout limits a whole question: one attempt on each server, and several operations on the
// one that answers.
func (c Config) queryTimeout() time.Duration { return time.Duration(len(c.Servers)+2) * c.Timeout }

// ParseServer parses a server URL: a scheme, a host and perhaps a port, and no other part.
func ParseServer(server string) (*url.URL, error) {
	u, err := url.Parse(server)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%q is not a URL", server)
	case u.Scheme != "ldap" && u.Scheme != "ldaps":
		return nil, fmt.Errorf("%q does not begin with ldap:// or ldaps://", server)
	case u.Hostname() == "":
		return nil, fmt.Errorf("%q has no host", server)
	case u.User != nil, u.Path != "" && u.Path != "/", u.RawQuery != "", u.Fragment != "":
		return nil, fmt.Errorf("%q has more than a host and a port", server)
	}
	return u, nil
}

var attributeName = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9-]*|[0-9]+(\.[0-9]+)+)$`)

// CheckAttribute reports whether a word is an attribute name (RFC 4512 §1.4).
func CheckAttribute(name string) error {
	if !attributeName.MatchString(name) {
		return fmt.Errorf("%q is not an attribute name", name)
	}
	return nil
}

// Equal reports whether two configurations differ only in their logs, so that a Directory with one
// of them, including its cache, can be used for the other.
func (c Config) Equal(other Config) bool {
	c.Log, other.Log = nil, nil
	return reflect.DeepEqual(c.withDefaults(), other.withDefaults())
}

// CheckFilter reports whether a template gives a search filter (RFC 4515).
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

// CheckDN reports whether a text is a distinguished name (RFC 4514).
func CheckDN(dn string) error {
	if parsed, err := ldapv3.ParseDN(dn); err != nil || len(parsed.RDNs) == 0 && dn != "" {
		return fmt.Errorf("%q is not a distinguished name", dn)
	}
	return nil
}

// CheckUserDN reports whether a template gives names to bind with.
func CheckUserDN(template string) error {
	if template == "" {
		return nil
	}
	if !strings.Contains(template, "%u") && !strings.Contains(template, "%a") {
		return fmt.Errorf("%q is the same for all users: it has no %%u or %%a", template)
	}
	_, err := userDN(template, Login{User: "u", Domain: "d.example"})
	return err
}

// AsksForDomain reports whether a login in one mail domain can never match a user of another:
// UserDN contains the domain, or every alternative of UserFilter does. In (|(uid=%u)(mail=%a)) the
// first alternative does not.
func (c Config) AsksForDomain() bool {
	const domain = "a.domain.to.look.for"
	login := Login{User: "u", Domain: domain}
	if name, err := expand(c.UserDN, login, func(s string) string { return s }); err == nil &&
		strings.Contains(name, domain) {
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
	return err == nil && requires(filter, domain)
}

// requires reports whether every entry that passes the filter has a value that contains text.
func requires(filter *ber.Packet, text string) bool {
	some := func(part *ber.Packet) bool { return requires(part, text) }
	switch filter.Tag {
	case ldapv3.FilterAnd:
		return slices.ContainsFunc(filter.Children, some)
	case ldapv3.FilterOr:
		return !slices.ContainsFunc(filter.Children,
			func(part *ber.Packet) bool { return !some(part) })
	case ldapv3.FilterNot:
		return false
	}
	leaf, err := ldapv3.DecompileFilter(filter)
	return err == nil && strings.Contains(leaf, text)
}

// attributes are those that a Person is made from.
func (c Config) attributes() []string {
	all := slices.Concat([]string{"displayName", "cn", c.MailboxAttr}, c.AliasAttrs, c.MemberAttrs)
	if c.QuotaAttr != "" {
		all = append(all, c.QuotaAttr)
	}
	return all
}
