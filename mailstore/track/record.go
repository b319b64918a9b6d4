package track

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"iter"
	"net/netip"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// A record is
//
//	mark       1 octet, to find the next record after damage
//	length     2 octets, little endian: octets of the payload
//	checksum   4 octets: CRC-32C of the payload
//	payload    kind (1 octet), time (8 octets: microseconds since 1970), fields
//
// A field is a tag and a value. The lowest bit of a tag says what follows: 0 a number (uvarint), 1
// a text (its length as uvarint, its octets). So a reader can skip fields that it does not know.
const (
	mark       = 0xE7
	headLen    = 7
	maxPayload = 1<<16 - 1
	maxText    = 500 // octets in a text field
)

// The tags of fields. They are stored on disk and must not change. Odd ones are texts.
const (
	tagID        = 1
	tagParent    = 3
	tagTrace     = 5
	tagMessageID = 7
	tagSubject   = 9
	tagFrom      = 11
	tagTo        = 13
	tagTarget    = 15
	tagService   = 17
	tagRemote    = 19
	tagHost      = 21
	tagUser      = 23
	tagRule      = 25
	tagRoute     = 27
	tagReply     = 29
	tagText      = 31
	tagSession   = 2
	tagNext      = 4
	tagSize      = 6
	tagCount     = 8
	tagTook      = 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// texts calls visit with the tag and the place of every text field but Remote.
func (e *Event) texts(visit func(tag byte, field *string)) {
	visit(tagID, &e.ID)
	visit(tagParent, &e.Parent)
	visit(tagTrace, &e.Trace)
	visit(tagMessageID, &e.MessageID)
	visit(tagSubject, &e.Subject)
	visit(tagFrom, &e.From)
	visit(tagTo, &e.To)
	visit(tagTarget, &e.Target)
	visit(tagService, &e.Service)
	visit(tagHost, &e.Host)
	visit(tagUser, &e.User)
	visit(tagRule, &e.Rule)
	visit(tagRoute, &e.Route)
	visit(tagReply, &e.Reply)
	visit(tagText, &e.Text)
}

// appendRecord appends an event to b as a record.
func appendRecord(b []byte, e *Event) []byte {
	start := len(b)
	b = append(b, make([]byte, headLen)...)
	b = append(b, byte(e.Kind))
	b = binary.LittleEndian.AppendUint64(b, uint64(e.Time.UnixMicro()))
	e.texts(func(tag byte, field *string) { b = appendText(b, tag, *field) })
	if e.Remote.IsValid() {
		raw := e.Remote.Unmap().WithZone("").AsSlice()
		b = append(append(b, tagRemote, byte(len(raw))), raw...)
	}
	b = appendNumber(b, tagSession, e.Session)
	if !e.Next.IsZero() {
		b = appendNumber(b, tagNext, uint64(e.Next.UnixMicro()))
	}
	b = appendNumber(b, tagSize, uint64(e.Size))
	b = appendNumber(b, tagCount, uint64(e.Count))
	b = appendNumber(b, tagTook, uint64(max(0, e.Took).Microseconds()))
	seal(b[start:])
	return b
}

// seal fills in the head of a record, whose payload is complete.
func seal(record []byte) {
	payload := record[headLen:]
	record[0] = mark
	binary.LittleEndian.PutUint16(record[1:], uint16(len(payload)))
	binary.LittleEndian.PutUint32(record[3:], crc32.Checksum(payload, castagnoli))
}

func appendText(b []byte, tag byte, text string) []byte {
	if text == "" {
		return b
	}
	b = binary.AppendUvarint(append(b, tag), uint64(len(text)))
	return append(b, text...)
}

func appendNumber(b []byte, tag byte, n uint64) []byte {
	if n == 0 {
		return b
	}
	return binary.AppendUvarint(append(b, tag), n)
}

// next returns the payload of the first record in b, and what follows it. damaged counts the
// octets before it that are no record. At the end, payload is nil.
func next(b []byte) (payload, rest []byte, damaged int) {
	for {
		i := bytes.IndexByte(b, mark)
		if i < 0 {
			return nil, nil, damaged + len(b)
		}
		damaged, b = damaged+i, b[i:]
		if len(b) >= headLen {
			n := int(binary.LittleEndian.Uint16(b[1:]))
			if n >= 9 && len(b) >= headLen+n {
				payload = b[headLen : headLen+n]
				if crc32.Checksum(payload, castagnoli) == binary.LittleEndian.Uint32(b[3:]) {
					return payload, b[headLen+n:], damaged
				}
			}
		}
		damaged, b = damaged+1, b[1:]
	}
}

// decode reads a payload that next returned. It leaves out fields that it does not know.
func decode(payload []byte) (e Event) {
	e.Kind = Kind(payload[0])
	e.Time = time.UnixMicro(int64(binary.LittleEndian.Uint64(payload[1:])))
	var places [32]*string
	e.texts(func(tag byte, field *string) { places[tag] = field })
	for tag, f := range fieldsOf(payload) {
		switch {
		case tag&1 == 0:
			e.setNumber(tag, f.number)
		case tag == tagRemote:
			e.Remote, _ = netip.AddrFromSlice(f.text)
		case int(tag) < len(places) && places[tag] != nil:
			*places[tag] = string(f.text)
		}
	}
	return e
}

// field is the value of a field: a number, or a text that shares the memory of its record.
type field struct {
	number uint64
	text   []byte
}

// fieldsOf yields the tags and values of a record's fields.
func fieldsOf(payload []byte) iter.Seq2[byte, field] {
	return func(yield func(byte, field) bool) {
		for b := payload[9:]; len(b) > 0; {
			tag := b[0]
			n, used := binary.Uvarint(b[1:])
			if used <= 0 {
				return
			}
			b = b[1+used:]
			f := field{number: n}
			if tag&1 == 1 {
				if n > uint64(len(b)) {
					return
				}
				f.text, b = b[:n], b[n:]
			}
			if !yield(tag, f) {
				return
			}
		}
	}
}

func (e *Event) setNumber(tag byte, n uint64) {
	switch tag {
	case tagSession:
		e.Session = n
	case tagNext:
		e.Next = time.UnixMicro(int64(n))
	case tagSize:
		e.Size = int64(n)
	case tagCount:
		e.Count = int64(n)
	case tagTook:
		e.Took = time.Duration(n) * time.Microsecond
	}
}

// clean makes the text fields safe for terminals and logs, and limits their length. Foreign servers
// and clients choose some of them.
func (e *Event) clean() {
	e.texts(func(_ byte, field *string) {
		if len(*field) > maxText || !isPlain(*field) {
			*field = printable(*field)
		}
	})
}

func isPlain(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}

// printable returns the text in at most maxText octets, with '?' for what is not printable.
func printable(text string) string {
	if len(text) > maxText {
		end := maxText - len("…")
		for end > 0 && !utf8.RuneStart(text[end]) {
			end--
		}
		text = text[:end] + "…"
	}
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}
