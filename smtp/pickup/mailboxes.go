package pickup

import (
	"errors"
	"fmt"
	"strings"

	"pillarbox/mailstore/addr"
)

// mailbox is one address in a header field (RFC 5322 §3.4).
type mailbox struct {
	spec string // local@domain, or a local part alone, without comments and white space
	end  int    // in the field's value: the index after the last octet of the spec
}

// address returns the mailbox as an address. domain completes a local part without one.
func (m mailbox) address(domain addr.Domain) (addr.Address, error) {
	if !m.bare() {
		return addr.Parse(m.spec)
	}
	local, err := addr.ParseLocal(m.spec)
	if err == nil && domain == "" {
		err = fmt.Errorf("%q has no @domain", m.spec)
	}
	return addr.Address{Local: local, Domain: domain}, err
}

// bare reports whether the spec is only a local part.
func (m mailbox) bare() bool {
	if strings.HasPrefix(m.spec, `"`) {
		return strings.HasSuffix(m.spec, `"`)
	}
	return !strings.Contains(m.spec, "@")
}

// listScanner parses a list of addresses. Names and comments may contain any octets in any
// character set.
type listScanner struct {
	s     string
	i     int
	found []mailbox

	words    strings.Builder // text outside of angle brackets
	host     bool            // words contain an @
	last     byte            // last octet of words
	end      int             // end of words in s
	gap      bool            // white space or a comment since the last octet of words
	separate bool            // there are several words
	angle    *mailbox
}

// mailboxes returns the addresses in the value of a field. Members of groups are included; empty
// list elements are skipped.
func mailboxes(value string) ([]mailbox, error) {
	l := listScanner{s: value}
	for l.i < len(l.s) {
		if err := l.next(); err != nil {
			return nil, err
		}
	}
	err := l.finish()
	return l.found, err
}

func (l *listScanner) next() error {
	switch c := l.s[l.i]; c {
	case '"':
		return l.token('"', '"')
	case '[':
		return l.token('[', ']')
	case '(':
		l.gap = true
		return l.skipComment()
	case '<':
		return l.inAngles()
	case ',', ';':
		l.i++
		return l.finish()
	case ':': // the words before it are the name of a group
		if l.angle != nil {
			return errors.New("a colon after an address")
		}
		l.i++
		l.reset()
	case ' ', '\t', '\r', '\n':
		l.i++
		l.gap = true
	default:
		l.i++
		l.add(l.s[l.i-1 : l.i])
	}
	return nil
}

// add adds text to the words. White space separates words, except around @ and, after the @, around
// dots.
func (l *listScanner) add(text string) {
	if l.gap && l.words.Len() > 0 && text != "@" && l.last != '@' {
		inDomain := l.host && (text == "." || l.last == '.')
		l.separate = l.separate || !inDomain
	}
	l.words.WriteString(text)
	l.host, l.last = l.host || strings.Contains(text, "@"), text[len(text)-1]
	l.gap, l.end = false, l.i
}

// token adds a quoted string or a domain literal.
func (l *listScanner) token(first, last byte) error {
	at := l.i
	for l.i++; l.i < len(l.s); l.i++ {
		switch l.s[l.i] {
		case '\\':
			l.i++
		case last:
			l.i++
			l.add(l.s[at:l.i])
			return nil
		}
	}
	return fmt.Errorf("%c without its %c", first, last)
}

// skipComment skips a comment; comments nest.
func (l *listScanner) skipComment() error {
	depth := 0
	for ; l.i < len(l.s); l.i++ {
		switch l.s[l.i] {
		case '\\':
			l.i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				l.i++
				return nil
			}
		}
	}
	return errors.New("a comment without its closing parenthesis")
}

// inAngles takes the address between angle brackets, without an obsolete source route.
func (l *listScanner) inAngles() error {
	if l.angle != nil {
		return errors.New("two addresses without a comma between them")
	}
	inner := listScanner{s: l.s, i: l.i + 1}
	for inner.i < len(l.s) && l.s[inner.i] != '>' {
		switch l.s[inner.i] {
		case '<':
			return errors.New("< within <")
		case ',', ':', ';': // part of a source route, or meaningless
			if !strings.HasPrefix(inner.words.String(), "@") {
				return fmt.Errorf("%q between < and >", l.s[inner.i])
			}
			if l.s[inner.i] == ':' {
				inner.reset()
			}
			inner.i++
		default:
			if err := inner.next(); err != nil {
				return err
			}
		}
	}
	switch {
	case inner.i == len(l.s):
		return errors.New("< without its >")
	case inner.words.Len() == 0:
		return errors.New("an empty address")
	case inner.separate:
		return fmt.Errorf("%q is not an address", inner.words.String())
	}
	l.angle = &mailbox{inner.words.String(), inner.end}
	l.i = inner.i + 1
	angle := l.angle
	l.reset() // the words were the display name
	l.angle = angle
	return nil
}

// finish ends one list element.
func (l *listScanner) finish() error {
	defer l.reset()
	switch {
	case l.angle != nil && l.words.Len() > 0:
		return fmt.Errorf("%q after an address", l.words.String())
	case l.angle != nil:
		l.found = append(l.found, *l.angle)
	case l.separate:
		return fmt.Errorf("%q contains no address", l.words.String())
	case l.words.Len() > 0:
		l.found = append(l.found, mailbox{l.words.String(), l.end})
	}
	return nil
}

func (l *listScanner) reset() {
	l.words.Reset()
	l.gap, l.separate, l.angle = false, false, nil
	l.host, l.last = false, 0
}
