package dsn

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"pillarbox/mailstore/addr"
)

// Limits on untrusted text in a report, in octets. A line of a message has at most 998 (RFC 5322
// §2.1.1), with field name and folding.
const (
	maxWords = 900
	maxTitle = 200
)

// oneLine makes untrusted text safe within a line. It removes what could end the line, hide text or
// reverse it.
func oneLine(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Cf, r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(cut(s, 4*limit), "?"))
	blank := func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }
	return strings.TrimSpace(cut(strings.Join(strings.FieldsFunc(s, blank), " "), limit))
}

// cut shortens s to at most limit octets, between characters.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}

// addressText makes an address safe within a line. It keeps every space, because spaces count in
// addresses.
func addressText(s string) string { return printable(s, maxWords) }

func printable(s string, limit int) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(cut(s, limit), "?"))
}

func toASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= utf8.RuneSelf {
			return '?'
		}
		return r
	}, s)
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
}

// token keeps the characters that may occur in a Message-ID, an address type and a host name.
func token(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '.', r == '-', r == '_':
			return r
		}
		return '-'
	}, cut(s, maxTitle))
}

// hostText returns a host name or address literal; other text from a client is made safe.
func hostText(s string) string {
	if d, err := addr.ParseDomain(s); err == nil {
		return string(d)
	}
	return toASCII(oneLine(s, maxTitle))
}

// fold writes a header field, folded between words at 76 columns where possible (RFC 5322 §2.2.3).
func fold(b *strings.Builder, name, value string) {
	b.WriteString(name + ":")
	column := len(name) + 1
	for i, word := range strings.Split(value, " ") {
		if i > 0 && column+1+len(word) > 76 {
			b.WriteString("\r\n")
			column = 0
		}
		b.WriteString(" " + word)
		column += 1 + len(word)
	}
	b.WriteString("\r\n")
}
