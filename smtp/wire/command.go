package wire

import (
	"errors"
	"slices"
	"strings"

	"pillarbox/mailstore/addr"
)

// command is one line of a client, split.
type command struct {
	verb string // upper case; "" if the line has none
	arg  string // after the verb, trimmed
}

// parseCommand splits a line without its ending. A line with control characters has no verb.
func parseCommand(line string) command {
	if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		return command{}
	}
	verb, arg, _ := strings.Cut(strings.TrimRight(line, " \t"), " ")
	return command{strings.ToUpper(verb), strings.TrimSpace(arg)}
}

// Errors of the path and the parameters. refusePath has a reply for each.
var (
	errPrefix  = errors.New("neither FROM: nor TO: comes first")
	errPath    = errors.New("bad path")
	errAddress = errors.New("bad address")
	errParam   = errors.New("unknown parameter")
)

// path is the argument of MAIL or RCPT.
type path struct {
	address addr.Address
	params  []string // as written
	odd     bool     // RFC 5321 does not permit how it is written
}

// parsePath reads `FROM:<a@b> SIZE=1`. The prefix, "FROM:" or "TO:", matches in any case. Old
// programs make it lenient: Outlook Express puts a space before the path. Unless strict, it also
// takes what cutPath describes. Source routes are dropped (RFC 5321 appendix C). A local part alone
// gets the default domain. known lists the permitted parameter names. AUTH of MAIL (RFC 4954 §5) is
// dropped: the server does not trust a client about the login of another one.
func (c *Config) parsePath(arg, prefix string, known ...string) (path, error) {
	if len(arg) < len(prefix) || !strings.EqualFold(arg[:len(prefix)], prefix) {
		return path{}, errPrefix
	}
	arg = strings.TrimLeft(arg[len(prefix):], " \t")
	mailbox, rest, err := cutPath(arg)
	if err != nil {
		return path{}, err
	}
	odd := !strings.HasPrefix(arg, "<") || strings.HasPrefix(arg, "<<") || rest != "" && !isBlank(rest[0]) ||
		strings.HasSuffix(mailbox, ".")
	if odd && c.StrictPaths {
		return path{}, errPath
	}
	p := path{odd: odd}
	if mailbox != "" {
		if p.address, err = c.parseAddress(mailbox); err != nil {
			return path{}, err
		}
	}
	for _, param := range strings.Fields(rest) {
		name, _, _ := strings.Cut(param, "=")
		name = strings.ToUpper(name)
		switch {
		case name == "AUTH" && prefix == "FROM:":
		case slices.Contains(known, name):
			p.params = append(p.params, param)
		default:
			return path{}, errParam
		}
	}
	return p, nil
}

// cutPath cuts s after the path. A quoted local part may hold spaces and angle brackets. Scanners
// and scripts write the path in other ways, which cannot be mistaken for another address:
//
//	a@b                without brackets, up to the next space
//	"Scan" <a@b>       with a name, which holds no @ and no bracket unless it is quoted
//	<<a@b>>            with two pairs of brackets
//	<a@b>SIZE=1        without a space before the parameters
func cutPath(s string) (mailbox, rest string, err error) {
	if at := endOfName(s); at > 0 {
		s = s[at:]
	}
	inner, twice := strings.CutPrefix(s, "<<")
	if !twice {
		inner, _ = strings.CutPrefix(s, "<")
	}
	if len(inner) == len(s) {
		end := findUnquoted(s, " \t<>")
		if end == 0 || end < len(s) && !isBlank(s[end]) {
			return "", "", errPath
		}
		return s[:end], s[end:], nil
	}
	end := findUnquoted(inner, "<>")
	if end == len(inner) || inner[end] == '<' {
		return "", "", errPath
	}
	rest = inner[end+1:]
	if twice {
		var ok bool
		if rest, ok = strings.CutPrefix(rest, ">"); !ok {
			return "", "", errPath
		}
	}
	if strings.HasPrefix(rest, ">") {
		return "", "", errPath
	}
	return inner[:end], rest, nil
}

// endOfName returns the offset of the bracket after a display name; 0 means that there is no name.
func endOfName(s string) int {
	end := findUnquoted(s, "<@=")
	if end == len(s) || s[end] != '<' {
		return 0
	}
	return end
}

// findUnquoted returns the offset of the first octet of set outside quotes, or len(s).
func findUnquoted(s, set string) int {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			quoted = !quoted
		case quoted && c == '\\':
			i++
		case !quoted && strings.IndexByte(set, c) >= 0:
			return i
		}
	}
	return len(s)
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

func (c *Config) parseAddress(s string) (addr.Address, error) {
	s = strings.TrimSpace(s)
	if strings.HasPrefix(s, "@") { // @one,@two:user@domain
		_, mailbox, ok := strings.Cut(s, ":")
		if !ok {
			return addr.Address{}, errAddress
		}
		s = mailbox
	}
	s = strings.TrimSuffix(s, ".") // some devices write domains with the dot of DNS
	if a, err := addr.Parse(s); err == nil {
		return a, nil
	}
	local, err := addr.ParseLocal(s)
	if err != nil {
		return addr.Address{}, errAddress
	}
	a := addr.Address{Local: local, Domain: c.DefaultDomain(local)}
	if a.Domain == "" {
		return addr.Address{}, errAddress
	}
	return a, nil
}

// printable makes the name of a client fit for headers and logs.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' || strings.ContainsRune(`()<>;,\"`, r) {
			return '?'
		}
		return r
	}, s)
}
