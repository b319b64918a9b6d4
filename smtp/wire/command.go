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
}

// parsePath reads `FROM:<a@b> SIZE=1`. The prefix, "FROM:" or "TO:", matches in any case. Old
// programs make it lenient: Outlook Express puts a space before the path, and some programs send
// no angle brackets. Source routes are dropped (RFC 5321 appendix C). A local part alone gets the
// default domain. known lists the permitted parameter names. AUTH of MAIL (RFC 4954 §5) is
// dropped: the server does not trust a client about the login of another one.
func parsePath(arg, prefix string, defaultDomain func(string) addr.Domain, known ...string) (path, error) {
	if len(arg) < len(prefix) || !strings.EqualFold(arg[:len(prefix)], prefix) {
		return path{}, errPrefix
	}
	mailbox, rest, err := cutPath(strings.TrimLeft(arg[len(prefix):], " \t"))
	if err != nil {
		return path{}, err
	}
	var p path
	if mailbox != "" {
		if p.address, err = parseAddress(mailbox, defaultDomain); err != nil {
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

// cutPath cuts s after "<…>" or after a word without brackets. A quoted local part may hold spaces
// and angle brackets.
func cutPath(s string) (mailbox, rest string, err error) {
	angled := strings.HasPrefix(s, "<")
	if angled {
		s = s[1:]
	}
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			quoted = !quoted
		case quoted && c == '\\':
			i++
		case quoted:
		case angled && c == '>':
			rest = s[i+1:]
			if rest != "" && rest[0] != ' ' && rest[0] != '\t' {
				return "", "", errPath
			}
			return s[:i], rest, nil
		case !angled && (c == ' ' || c == '\t'):
			return s[:i], s[i:], nil
		}
	}
	if angled || quoted || s == "" {
		return "", "", errPath
	}
	return s, "", nil
}

func parseAddress(s string, defaultDomain func(string) addr.Domain) (addr.Address, error) {
	s = strings.TrimSpace(s)
	if strings.HasPrefix(s, "@") { // @one,@two:user@domain
		_, mailbox, ok := strings.Cut(s, ":")
		if !ok {
			return addr.Address{}, errAddress
		}
		s = mailbox
	}
	if a, err := addr.Parse(s); err == nil {
		return a, nil
	}
	local, err := addr.ParseLocal(s)
	if err != nil {
		return addr.Address{}, errAddress
	}
	a := addr.Address{Local: local, Domain: defaultDomain(local)}
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
