// Package head reads the header of a message for those that decide by it: rules and absence notices.
//
// The header comes from other servers. Parse takes time linear in its length and never fails: what
// cannot be decoded stays as it came. Each field is decoded once, however often it is asked for: a
// list of rules asks for the same fields again and again.
package head

import (
	"bytes"
	"mime"
	"strings"
	"unicode/utf8"

	"pillarbox/mailstore/addr"
)

const (
	// maxValue is the number of octets of a field that are looked at.
	maxValue = 64 << 10
	// maxDecoded is the number of octets of a field whose encoded words are decoded. The decoder looks
	// for the end of each word again, so a long field of broken words costs the square of its length.
	maxDecoded = 4 << 10
	// maxAddresses is the number of addresses of a field that are looked at.
	maxAddresses = 2000
	// maxAddress is the length of the longest address, in octets (RFC 5321 §4.5.3.1).
	maxAddress = 64 + 1 + 255
)

// Head is a parsed header. The zero value has no fields. It is not safe for concurrent use, and
// neither are its copies. What its methods return must not be changed.
type Head struct {
	values map[string][]string // by name in lower case; unfolded, not decoded
	list   bool

	// What was asked for before, by name; nil in the zero value.
	texts, lower map[string][]string
	addresses    map[string][]addr.Address
}

// Parse reads a header: everything before the first empty line. It ends at a line that is no field.
func Parse(header []byte) Head {
	h := Head{
		values: make(map[string][]string), texts: make(map[string][]string),
		lower: make(map[string][]string), addresses: make(map[string][]addr.Address),
	}
	for len(header) > 0 {
		end := FieldEnd(header)
		field := header[:end]
		header = header[end:]
		colon := bytes.IndexByte(field, ':')
		if colon <= 0 {
			break
		}
		name := strings.ToLower(strings.TrimRight(string(field[:colon]), " \t"))
		if name == "" || strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c > '~' }) {
			break
		}
		value := field[colon+1:]
		h.values[name] = append(h.values[name], unfold(value[:min(len(value), maxValue)]))
		h.list = h.list || strings.HasPrefix(name, "list-")
	}
	return h
}

// FieldEnd returns the end of the first field of a header, with its folded lines (RFC 5322 §2.2.3).
func FieldEnd(header []byte) int {
	end := 0
	for {
		i := bytes.IndexByte(header[end:], '\n')
		if i < 0 {
			return len(header)
		}
		end += i + 1
		if end == len(header) || header[end] != ' ' && header[end] != '\t' {
			return end
		}
	}
}

func unfold(value []byte) string {
	text := strings.Map(func(r rune) rune {
		if r == '\r' || r == '\n' {
			return -1
		}
		return r
	}, strings.ToValidUTF8(string(value), "\uFFFD"))
	return strings.TrimSpace(text)
}

// Has reports whether there is a field of this name, in lower case.
func (h Head) Has(name string) bool { return len(h.values[name]) > 0 }

// IsList reports whether there is a field whose name begins with List- (RFC 2369, RFC 2919).
func (h Head) IsList() bool { return h.list }

// Raw returns the first field of this name, unfolded; "" if there is none.
func (h Head) Raw(name string) string {
	if all := h.values[name]; len(all) > 0 {
		return all[0]
	}
	return ""
}

// Texts returns the fields of this name, unfolded, with their encoded words decoded (RFC 2047).
func (h Head) Texts(name string) []string { return each(h.values[name], h.texts, name, decoded) }

// Lower returns Texts in lower case.
func (h Head) Lower(name string) []string { return each(h.Texts(name), h.lower, name, strings.ToLower) }

// each returns what change makes of each value, and remembers it.
func each(values []string, known map[string][]string, name string, change func(string) string) []string {
	if len(values) == 0 {
		return nil
	}
	all, ok := known[name]
	if !ok {
		all = make([]string, len(values))
		for i, value := range values {
			all[i] = change(value)
		}
		known[name] = all
	}
	return all
}

// decoded decodes the encoded words of a value. The end of a very long one stays as it came.
func decoded(value string) string {
	if !strings.Contains(value, "=?") {
		return value
	}
	begin, rest := value, ""
	if len(value) > maxDecoded {
		end := max(strings.LastIndexByte(value[:maxDecoded], ' '), 0)
		begin, rest = value[:end], value[end:]
	}
	if text, err := new(mime.WordDecoder).DecodeHeader(begin); err == nil && utf8.ValidString(text) {
		return text + rest
	}
	return value
}

// Addresses returns the addresses in all fields of this name, in their order, folded. It looks for
// words with an @ and does not care how the names beside them are written: old programs write them
// in many ways.
func (h Head) Addresses(name string) []addr.Address {
	if len(h.values[name]) == 0 {
		return nil
	}
	all, ok := h.addresses[name]
	if !ok {
		all = addresses(h.values[name])
		h.addresses[name] = all
	}
	return all
}

func addresses(values []string) (all []addr.Address) {
	isBreak := func(c rune) bool { return strings.ContainsRune(" \t<>()[],:;\"", c) }
	for _, value := range values {
		for word := range strings.FieldsFuncSeq(value, isBreak) {
			if len(word) > maxAddress || !strings.Contains(word, "@") {
				continue
			}
			if len(all) == maxAddresses {
				return all
			}
			if a, err := addr.Parse(word); err == nil {
				all = append(all, a.Fold())
			}
		}
	}
	return all
}
