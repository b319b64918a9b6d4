package track

import (
	"bytes"
	"iter"
	"net/netip"
	"unicode/utf8"
)

// filter is a Bloom filter: a set that may say yes by mistake, and never no.
type filter []byte

const (
	filterBits = 12 // for each key: one wrong yes in 300
	filterHash = 7  // bits that are set for each key
)

func newFilter(keys map[uint64]struct{}) filter {
	f := make(filter, (len(keys)*filterBits+7)/8)
	for key := range keys {
		for i := range uint64(filterHash) {
			bit := f.bit(key, i)
			f[bit/8] |= 1 << (bit % 8)
		}
	}
	return f
}

func (f filter) bit(key, i uint64) uint64 {
	return (key + i*(key>>32|1)) % uint64(len(f)*8)
}

func (f filter) has(key uint64) bool {
	if len(f) == 0 {
		return false
	}
	for i := range uint64(filterHash) {
		if bit := f.bit(key, i); f[bit/8]&(1<<(bit%8)) == 0 {
			return false
		}
	}
	return true
}

// minPrefix is the length of a word of a subject from which on it can be looked up, in octets. Its
// first octets are its key.
const minPrefix = 5

// addKeys adds the keys under which a record can be found: its names, the domains of its addresses
// and the words of its subject. The same name in upper case has the same key.
func addKeys(keys map[uint64]struct{}, payload []byte) {
	add := func(name []byte) { keys[keyOf(name)] = struct{}{} }
	for tag, f := range fieldsOf(payload) {
		value := f.text
		switch tag {
		case tagID, tagParent, tagTrace, tagMessageID, tagUser, tagHost:
			add(value)
		case tagFrom, tagTo, tagTarget:
			add(value)
			if at := bytes.LastIndexByte(value, '@'); at >= 0 {
				add(value[at+1:])
			}
		case tagRemote:
			if a, ok := netip.AddrFromSlice(value); ok {
				add(a.AppendTo(nil))
			}
		case tagSubject:
			for word := range wordsOf(value) {
				if len(word) >= minPrefix {
					add(word[:minPrefix])
				}
			}
		}
	}
}

// keyOf is FNV-1a of a name in lower case (ASCII), with its bits mixed once more: the two halves of
// the sum must not depend on each other.
func keyOf(name []byte) uint64 {
	sum := uint64(14695981039346656037)
	for _, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		sum = (sum ^ uint64(c)) * 1099511628211
	}
	sum = (sum ^ sum>>33) * 0xff51afd7ed558ccd
	return sum ^ sum>>33
}

// wordsOf yields the words of a text: letters and digits of ASCII, and all other characters.
func wordsOf(text []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		isWord := func(c byte) bool {
			return c >= utf8.RuneSelf || '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
		}
		for start := 0; start < len(text); start++ {
			end := start
			for end < len(text) && isWord(text[end]) {
				end++
			}
			if end > start && !yield(text[start:end]) {
				return
			}
			start = end
		}
	}
}
