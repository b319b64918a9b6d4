package ldap

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	ldapv3 "github.com/go-ldap/ldap/v3"
)

// maxLogin limits a login name, in octets, to the length of an address.
const maxLogin = 254

var errPercent = errors.New("a per cent sign must be followed by u (user name), d (domain), a (address) or %")

// expand inserts the values of a login into a template, each escaped.
func expand(template string, l Login, escape func(string) string) (string, error) {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(template, "%")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		if after == "" {
			return "", errPercent
		}
		switch after[0] {
		case 'u':
			b.WriteString(escape(l.User))
		case 'd':
			b.WriteString(escape(string(l.Domain)))
		case 'a':
			b.WriteString(escape(l.address()))
		case '%':
			b.WriteByte('%')
		default:
			return "", errPercent
		}
		template = after[1:]
	}
}

// address is the login as a mail address of the directory, without quoting.
func (l Login) address() string {
	if l.Domain == "" {
		return l.User
	}
	return l.User + "@" + string(l.Domain)
}

// check refuses names that no directory can contain.
func (l Login) check() error {
	if l.User == "" || len(l.address()) > maxLogin || !utf8.ValidString(l.User) ||
		strings.ContainsFunc(l.User, unicode.IsControl) {
		return fmt.Errorf("%w: not a user name", ErrNotFound)
	}
	return nil
}

// userDN is the name to bind as: a distinguished name, or one of the other forms that Active
// Directory accepts (MS-ADTS 5.1.1.1.1). Those have no escaping, so a user name in them must not
// contain their separators.
func userDN(template string, l Login) (string, error) {
	if isDN(template) {
		return expand(template, l, ldapv3.EscapeDN)
	}
	if strings.ContainsAny(l.User, "@"+`"/\[]:;|=,+*?<>`) {
		return "", fmt.Errorf("%w: not a user name", ErrNotFound)
	}
	return expand(template, l, func(s string) string { return s })
}

func isDN(template string) bool {
	text, err := expand(template, Login{User: "u", Domain: "d"}, ldapv3.EscapeDN)
	if err != nil {
		return false
	}
	dn, err := ldapv3.ParseDN(text)
	return err == nil && len(dn.RDNs) > 0
}

// unprefixed removes the library's own result codes from an error: "LDAP Result Code 201 Filter
// Compile Error" does not come from a server.
func unprefixed(err error) error {
	if e, ok := errors.AsType[*ldapv3.Error](err); ok && e.ResultCode >= ldapv3.ErrorNetwork {
		return errors.New(strings.TrimPrefix(e.Err.Error(), "ldap: "))
	}
	return err
}
