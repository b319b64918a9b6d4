package verify

import (
	"bytes"
	"iter"
	"strings"
)

// Header returns the Authentication-Results field (RFC 8601) with its CRLF, to be prepended to the
// message. authserv is the name of this server.
func (r Results) Header(authserv string) []byte {
	var b bytes.Buffer
	b.WriteString("Authentication-Results: " + value(authserv))
	item := func(method string, v Value, properties ...string) {
		b.WriteString(";\r\n\t" + method + "=" + string(v))
		for i := 0; i < len(properties); i += 2 {
			if text := properties[i+1]; text != "" {
				b.WriteString(" " + properties[i] + "=" + value(text))
			}
		}
	}
	if r.SPF.Identity == "mailfrom" {
		item("spf", r.SPF.Value, "smtp.mailfrom", r.SPF.Address)
	}
	if r.Helo.Value != "" {
		item("spf", r.Helo.Value, "smtp.helo", r.Helo.Address)
	}
	for _, d := range r.DKIM {
		item("dkim", d.Value, "reason", d.Reason, "header.d", string(d.Domain),
			"header.i", d.Identifier)
	}
	if len(r.DKIM) == 0 {
		item("dkim", None)
	}
	if r.DMARC.Value != "" {
		comment := ""
		if r.DMARC.Policy != "" {
			comment = " (p=" + r.DMARC.Policy + ")"
		}
		item("dmarc", r.DMARC.Value+Value(comment), "header.from", string(r.DMARC.Domain))
	}
	b.WriteString("\r\n")
	return b.Bytes()
}

// value returns s as a token, an address or domain, or a quoted string (RFC 8601 §2.2). It drops
// characters that would break the line or are not ASCII.
func value(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s[:min(len(s), 300)])
	plain := s != "" && strings.Count(s, "@") <= 1
	for i := range len(s) {
		plain = plain && s[i] > ' ' && strings.IndexByte(`()<>,;:\"/[]?=`, s[i]) < 0
	}
	if plain {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// Forged reports whether a header field of an incoming message is an Authentication-Results field
// that claims to be ours, or one with an unreadable server name. field includes its name. Such a
// field must not reach a mailbox (RFC 8601 §5).
func Forged(field []byte, authserv string) bool {
	name, rest, ok := bytes.Cut(field, []byte(":"))
	if !ok || !strings.EqualFold(strings.TrimSpace(string(name)), "Authentication-Results") {
		return false
	}
	id, ok := firstValue(string(rest))
	return !ok || strings.EqualFold(strings.TrimSuffix(id, "."), strings.TrimSuffix(authserv, "."))
}

// Strip returns a header without its forged fields. If there are none, it returns the same slice.
func Strip(header []byte, authserv string) []byte {
	forged := false
	var kept []byte
	for field := range fields(header) {
		if Forged(field, authserv) {
			forged = true
		} else {
			kept = append(kept, field...)
		}
	}
	if !forged {
		return header
	}
	return kept
}

// fields yields each field with its name, folding and line end.
func fields(header []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for len(header) > 0 {
			end := 0
			for {
				i := bytes.IndexByte(header[end:], '\n')
				if i < 0 {
					end = len(header)
					break
				}
				end += i + 1
				if end == len(header) || header[end] != ' ' && header[end] != '\t' {
					break
				}
			}
			if !yield(header[:end]) {
				return
			}
			header = header[end:]
		}
	}
}

// firstValue reads a token or quoted string, after comments and folding (RFC 5322 §3.2.2).
func firstValue(s string) (text string, ok bool) {
	s, ok = skipComments(s)
	if !ok || s == "" {
		return "", false
	}
	if s[0] != '"' {
		end := strings.IndexAny(s, " \t\r\n;()\"")
		if end < 0 {
			end = len(s)
		}
		// Some readers take "mx"".example" as one word.
		return s[:end], end > 0 && (end == len(s) || s[end] != '"')
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			if i++; i < len(s) {
				b.WriteByte(s[i])
			}
		case '"':
			return b.String(), true
		case '\r', '\n':
		default:
			b.WriteByte(s[i])
		}
	}
	return "", false
}

func skipComments(s string) (rest string, ok bool) {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && depth > 0:
			i++
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
		case depth == 0 && strings.IndexByte(" \t\r\n", c) < 0:
			return s[i:], true
		}
	}
	return "", depth == 0
}
