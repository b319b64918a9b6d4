// Package foreign makes text of other servers fit for logs, reports and files: our
// own secrets are masked in it, and what is not printable is replaced. A server that
// is told a password may say it again, and its words go to people who must not know it.
package foreign

import (
	"encoding/base64"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// masked stands in place of a secret.
const masked = "***"

// minPart is the shortest beginning of a secret that is masked at the end of a text,
// where the text may have been cut off.
const minPart = 4

// A Mask knows secrets. The zero value knows none. It is copied with care: Add
// changes the one that it is called on.
type Mask struct {
	needles []needle
}

// needle is something that must not be seen.
type needle struct {
	text    string // ASCII letters in lower case
	encoded bool   // a part of base64: all of the word around it goes too
}

// NewMask is a Mask that knows these secrets.
func NewMask(secrets ...string) Mask {
	var m Mask
	for _, s := range secrets {
		m.Add(s)
	}
	return m
}

// Add makes one more secret known: it is masked as it is, and in base64 of any text
// that it is a part of, such as a SASL response, in letters of any case.
func (m *Mask) Add(secret string) {
	if secret == "" {
		return
	}
	m.put(needle{lower(secret), false})
	for shift := range 3 {
		// The first and the last characters depend on what stands beside the secret.
		encoded := base64.RawStdEncoding.EncodeToString(append(make([]byte, shift), secret...))
		from := (shift*8 + 5) / 6
		to := len(encoded)
		if (shift+len(secret))%3 != 0 {
			to--
		}
		if to-from >= minPart {
			m.put(needle{lower(encoded[from:to]), true})
			m.put(needle{lower(strings.NewReplacer("+", "-", "/", "_").Replace(encoded[from:to])), true})
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

// partAtEnd is how much of the needle stands at the end of a text that was cut off.
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
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("+/-_=", c) >= 0
}

// lower folds ASCII letters only, so that the length stays.
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// Printable is Hide, then on one line without control characters or line
// separators, and at most limit octets long.
func (m Mask) Printable(text string, limit int) string { return Printable(m.Hide(text), limit) }

// Printable replaces what is not fit for a log or a terminal by "?", and cuts a text
// off after limit octets.
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
