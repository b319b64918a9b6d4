// Package addr holds mail addresses and domains. Start with [Parse], which reads an [Address], and
// [Address.Fold], which prepares it for comparison. Every other package uses these types.
//
// An address is parsed and normalized once, when it enters the program. From then on addresses are
// compared as plain values. The package does no I/O and imports no other package of Pillarbox.
package addr

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Length limits in octets (RFC 5321 §4.5.3.1). MaxLocal is for names here only. Other servers make
// longer local parts (VERP, SRS, bounce+… and confirm+…), which MaxPath limits.
const (
	MaxLocal  = 64
	MaxDomain = 255
	MaxPath   = 254 // RFC 3696 erratum 1690: 256 with the angle brackets
)

// ErrSyntax is the class of all errors of this package. The text says which rule was broken.
var ErrSyntax = errors.New("address syntax")

func syntaxf(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrSyntax}, args...)...)
}

// Domain is a normalized mail domain: lower case, internationalized labels as A-labels (RFC 5890),
// no trailing dot; or an address literal in brackets (RFC 5321 §4.1.3). Equal domains are equal
// strings.
type Domain string

// Address is a mailbox address (RFC 5321 §4.1.2, RFC 6531 §3.3). Local is the local part, unquoted
// and in its original case. Domain is normalized. The zero Address is the null reverse-path <>.
type Address struct {
	Local  string
	Domain Domain
}

// ParseDomain parses and normalizes a domain name or an address literal.
func ParseDomain(s string) (Domain, error) {
	if strings.HasPrefix(s, "[") {
		return parseLiteral(s)
	}
	if s == "" {
		return "", syntaxf("the domain is empty")
	}
	// UTF-8 needs at most 4 octets a character; converting long labels is slow
	if len(s) > 4*MaxDomain {
		return "", syntaxf("the domain is longer than %d octets", MaxDomain)
	}
	name := s
	if !isASCII(s) {
		if !utf8.ValidString(s) {
			return "", syntaxf("the domain is not valid UTF-8")
		}
		ascii, err := idna.Lookup.ToASCII(s)
		if err != nil {
			return "", syntaxf("%q is not a valid international domain name", s)
		}
		name = ascii
	}
	name = strings.ToLower(name)
	if len(name) > MaxDomain {
		return "", syntaxf("the domain is longer than %d octets", MaxDomain)
	}
	for label := range strings.SplitSeq(name, ".") {
		if err := checkLabel(label); err != nil {
			return "", err
		}
	}
	return Domain(name), nil
}

// checkLabel permits letters, digits, inner hyphens, and the underscore of Windows host names.
func checkLabel(label string) error {
	switch {
	case label == "":
		return syntaxf("the domain has an empty label (two dots in a row, or a dot at the beginning or end)")
	case len(label) > 63:
		return syntaxf("a label of the domain is longer than 63 octets")
	case label[0] == '-' || label[len(label)-1] == '-':
		return syntaxf("the label %q begins or ends with a hyphen", label)
	}
	for i := range len(label) {
		c := label[i]
		if !isAlnum(c) && c != '-' && c != '_' {
			return syntaxf("the character %q is not allowed in a domain", rune(c))
		}
	}
	return nil
}

func parseLiteral(s string) (Domain, error) {
	inner, ok := strings.CutSuffix(s[1:], "]")
	if !ok {
		return "", syntaxf("the address literal has no closing bracket")
	}
	v6 := false
	if len(inner) > 5 && strings.EqualFold(inner[:5], "IPv6:") {
		inner, v6 = inner[5:], true
	}
	ip, err := netip.ParseAddr(inner)
	if err != nil || ip.Zone() != "" || v6 != ip.Is6() {
		return "", syntaxf("%q is not an address literal", s)
	}
	if v6 {
		return Domain("[ipv6:" + ip.String() + "]"), nil
	}
	return Domain("[" + ip.String() + "]"), nil
}

// IsLiteral reports whether d is an address literal such as [192.0.2.1].
func (d Domain) IsLiteral() bool { return strings.HasPrefix(string(d), "[") }

// Parse parses "local@domain". The local part may be a quoted string. Parse accepts no angle
// brackets, source routes or comments; the caller parses those.
func Parse(s string) (Address, error) {
	local, rest, err := parseLocal(s)
	if err != nil {
		return Address{}, err
	}
	host, ok := strings.CutPrefix(rest, "@")
	if !ok {
		if rest == "" {
			return Address{}, syntaxf("%q has no @domain", s)
		}
		r, _ := utf8.DecodeRuneInString(rest)
		return Address{}, syntaxf("the character %q is not allowed in an unquoted local part", r)
	}
	domain, err := ParseDomain(host)
	if err != nil {
		return Address{}, err
	}
	a := Address{Local: local, Domain: domain}
	if len(a.String()) > MaxPath {
		return Address{}, syntaxf("the address is longer than %d octets", MaxPath)
	}
	return a, nil
}

// ParseLocal parses a local part alone, quoted or not, as in RCPT TO:<postmaster>.
func ParseLocal(s string) (string, error) {
	local, rest, err := parseLocal(s)
	switch {
	case err != nil:
		return "", err
	case rest != "":
		return "", syntaxf("%q is not a local part", s)
	case len(local) > MaxLocal:
		return "", syntaxf("the local part is longer than %d octets", MaxLocal)
	}
	return local, nil
}

// parseLocal splits s into the local part at its beginning and the rest.
func parseLocal(s string) (local, rest string, err error) {
	if strings.HasPrefix(s, `"`) {
		local, rest, err = parseQuoted(s[1:])
	} else {
		local, rest, err = parseDotString(s)
	}
	switch {
	case err != nil:
		return "", "", err
	case local == "":
		return "", "", syntaxf("the local part is empty")
	case len(local) > MaxPath:
		return "", "", syntaxf("the local part is longer than %d octets", MaxPath)
	case !utf8.ValidString(local):
		return "", "", syntaxf("the local part is not valid UTF-8")
	}
	return local, rest, nil
}

// parseDotString is lenient in one point: it accepts leading, trailing and repeated dots, since
// some phone providers assign such addresses. CheckMailboxName refuses them for mailboxes here.
func parseDotString(s string) (local, rest string, err error) {
	end := len(s)
	for i := range len(s) {
		if s[i] < utf8.RuneSelf && !isAtext(s[i]) && s[i] != '.' {
			end = i
			break
		}
	}
	return s[:end], s[end:], nil
}

func parseQuoted(s string) (local, rest string, err error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return b.String(), s[i+1:], nil
		case c == '\\':
			i++
			if i == len(s) || s[i] < ' ' || s[i] > '~' {
				return "", "", syntaxf("the quoted local part has an invalid backslash")
			}
			b.WriteByte(s[i])
		case c < ' ' || c == 0x7f:
			return "", "", syntaxf("the local part has a control character")
		default:
			b.WriteByte(c)
		}
	}
	return "", "", syntaxf("the quoted local part has no closing quote")
}

// String formats the address for MAIL and RCPT, without angle brackets, and quotes the local part
// if necessary. The zero Address is "".
func (a Address) String() string {
	if a.IsZero() {
		return ""
	}
	return quoteLocal(a.Local) + "@" + string(a.Domain)
}

func quoteLocal(local string) string {
	plain := !strings.HasPrefix(local, ".") && !strings.HasSuffix(local, ".") &&
		!strings.Contains(local, "..")
	for i := 0; plain && i < len(local); i++ {
		plain = local[i] >= utf8.RuneSelf || isAtext(local[i]) || local[i] == '.'
	}
	if plain && local != "" {
		return local
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(local) + `"`
}

// IsZero reports whether a is the null reverse-path.
func (a Address) IsZero() bool { return a == Address{} }

// IsASCII reports whether the address can be sent without SMTPUTF8 (RFC 6531).
func (a Address) IsASCII() bool { return isASCII(a.Local) }

// Fold returns the form for comparison and lookup: the local part in lower case and Unicode normal
// form C. RFC 5321 §2.4 makes local parts case-sensitive, but in practice Anna@ and anna@ are one
// person.
func (a Address) Fold() Address {
	return Address{Local: FoldName(a.Local), Domain: a.Domain}
}

// IsPostmaster reports whether a local part is postmaster, which every domain has (RFC 5321
// §4.5.1).
func IsPostmaster(local string) bool { return FoldName(local) == "postmaster" }

// FoldName folds a local part as Fold does.
func FoldName(local string) string {
	if isASCII(local) {
		return strings.ToLower(local)
	}
	return norm.NFC.String(cases.Fold().String(norm.NFC.String(local)))
}

// CheckMailboxName reports whether a mailbox, an alias or a group may have this folded local part.
// The name must be a file name on every platform, stay inside its directory, and not collide with
// another name that differs only in case.
func CheckMailboxName(name string) error {
	switch {
	case name == "":
		return syntaxf("the name is empty")
	case len(name) > MaxLocal:
		return syntaxf("the name is longer than %d octets", MaxLocal)
	case !utf8.ValidString(name):
		return syntaxf("the name is not valid UTF-8")
	case name != FoldName(name):
		return syntaxf("the name is not in lower case")
	case strings.HasPrefix(name, "."), strings.HasSuffix(name, "."), strings.Contains(name, ".."):
		return syntaxf("the name begins or ends with a dot, or has two dots in a row")
	case strings.HasPrefix(name, "p3_"):
		return syntaxf("the name begins with P3_, which is reserved for the store")
	case strings.HasSuffix(name, ".mbx"):
		return syntaxf("the name ends with .mbx, which is reserved for the store")
	case isDevice(name):
		return syntaxf("%q is a reserved device name on Windows, so the mail could not be copied there", name)
	}
	for _, r := range name {
		if !mayName(r) {
			return syntaxf("the character %q is not allowed in a mailbox name; use letters, digits and . _ - ' & = ~ #", r)
		}
	}
	return nil
}

func mayName(r rune) bool {
	if r < utf8.RuneSelf {
		return isAlnum(byte(r)) || strings.ContainsRune("._-'&=~#", r)
	}
	return unicode.IsLetter(r) || unicode.IsMark(r) || unicode.IsDigit(r)
}

// CheckDomainName reports whether a domain may be hosted here: it must be a name, not an address
// literal, and a safe directory name.
func CheckDomainName(d Domain) error {
	name := string(d)
	first, _, _ := strings.Cut(name, ".")
	switch {
	case d.IsLiteral():
		return syntaxf("an address literal cannot be a hosted domain")
	case len(name) > 200:
		return syntaxf("the domain is longer than 200 octets")
	case isDevice(first):
		return syntaxf("%q is a reserved device name on Windows, so the mail could not be copied there", first)
	}
	return nil
}

// isDevice reports whether Windows reserves the name, with or without an extension.
func isDevice(name string) bool {
	base, _, _ := strings.Cut(name, ".")
	switch base {
	case "con", "prn", "aux", "nul":
		return true
	}
	return len(base) == 4 && (base[:3] == "com" || base[:3] == "lpt") &&
		base[3] >= '1' && base[3] <= '9'
}

// IsText reports whether s is valid UTF-8 without control characters, and so safe in a header, a
// reply or a log line.
func IsText(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, unicode.IsControl) < 0
}

func isAlnum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// isAtext is atext of RFC 5322 §3.2.3.
func isAtext(c byte) bool {
	return isAlnum(c) || strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// MarshalText formats the address as String does.
func (a Address) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText parses the output of MarshalText. Empty text is the zero Address.
func (a *Address) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*a = Address{}
		return nil
	}
	parsed, err := Parse(string(text))
	if err == nil {
		*a = parsed
	}
	return err
}
