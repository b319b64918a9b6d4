// Package foreign makes text from other servers safe for logs, reports and files. It masks our own
// secrets, because a server may repeat a password that it received. It replaces characters that are
// not printable.
//
// Start with NewMask and Mask.Printable for the replies of a server that we log in to, or with
// Printable if no secret was sent.
package foreign

import (
	"encoding/base64"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// masked replaces a secret.
const masked = "***"

// minPart is the least length, in octets, of a part of a secret that is masked at the end of a
// text: the text may have been cut in the middle of a secret.
const minPart = 4

// Mask holds secrets. The zero value holds none. A copy shares no later Add with the original.
type Mask struct {
	needles []needle
}

// needle is a text to be masked.
type needle struct {
	text    string // with ASCII letters in lower case
	encoded bool   // part of base64: the whole word around it is masked
}

// NewMask returns a Mask with these secrets.
func NewMask(secrets ...string) Mask {
	var m Mask
	for _, s := range secrets {
		m.Add(s)
	}
	return m
}

// Add adds a secret. It is masked as it is, and inside base64, such as in a SASL response. Case
// does not matter.
func (m *Mask) Add(secret string) {
	if secret == "" {
		return
	}
	m.put(needle{lower(secret), false})
	for shift := range 3 {
		// The first and last characters of base64 depend on the neighbours of the secret.
		encoded := base64.RawStdEncoding.EncodeToString(append(make([]byte, shift), secret...))
		from := (shift*8 + 5) / 6
		to := len(encoded)
		if (shift+len(secret))%3 != 0 {
			to--
		}
		if to-from >= minPart {
			inner := encoded[from:to]
			m.put(needle{lower(inner), true})
			m.put(needle{lower(strings.NewReplacer("+", "-", "/", "_").Replace(inner)), true})
		}
	}
}

func (m *Mask) put(n needle) {
	if !slices.Contains(m.needles, n) {
		m.needles = append(slices.Clip(m.needles), n)
	}
}

// Hide returns the text with every secret masked.
func (m Mask) Hide(text string) string {
	if len(m.needles) == 0 {
		return text
	}
	folded := lower(text)
	hidden := make([]bool, len(text))
	found := false
	for _, n := range m.needles {
		for from := 0; ; {
			i := strings.Index(folded[from:], n.text)
			if i < 0 {
				break
			}
			n.hide(folded, hidden, from+i, from+i+len(n.text))
			found, from = true, from+i+1
		}
		if part := n.partAtEnd(folded); part > 0 {
			n.hide(folded, hidden, len(text)-part, len(text))
			found = true
		}
	}
	if !found {
		return text
	}
	return replaceHidden(text, hidden)
}

func (n needle) hide(text string, hidden []bool, from, to int) {
	if n.encoded {
		for from > 0 && inBase64(text[from-1]) {
			from--
		}
		for to < len(text) && inBase64(text[to]) {
			to++
		}
	}
	for i := from; i < to; i++ {
		hidden[i] = true
	}
}

// partAtEnd returns the length of the needle's longest prefix at the end of the text.
func (n needle) partAtEnd(text string) int {
	for part := min(len(n.text)-1, len(text)); part >= minPart; part-- {
		if strings.HasSuffix(text, n.text[:part]) {
			return part
		}
	}
	return 0
}

func replaceHidden(text string, hidden []bool) string {
	var b strings.Builder
	for i := range len(text) {
		switch {
		case !hidden[i]:
			b.WriteByte(text[i])
		case i == 0 || !hidden[i-1]:
			b.WriteString(masked)
		}
	}
	return b.String()
}

func inBase64(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		strings.IndexByte("+/-_=", c) >= 0
}

// lower folds ASCII letters only, so that the length stays the same.
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// Printable is Hide followed by the function Printable.
func (m Mask) Printable(text string, limit int) string { return Printable(m.Hide(text), limit) }

// Printable returns text on one line: it replaces control characters, line separators and other
// characters that are not printable by "?". The result has at most limit octets.
func Printable(text string, limit int) string {
	text = strings.Map(func(c rune) rune {
		if c == utf8.RuneError || c != ' ' && !unicode.IsPrint(c) {
			return '?'
		}
		return c
	}, text)
	if len(text) > limit {
		cut := limit
		for cut > 0 && !utf8.RuneStart(text[cut]) {
			cut--
		}
		text = text[:cut]
	}
	return text
}
