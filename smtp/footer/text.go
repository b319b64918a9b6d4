package footer

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"strings"

	"golang.org/x/text/encoding/charmap"
)

// body is what the scan of a text part has found.
type body struct {
	begin int64 // offset of its first octet
	end   int64 // offset after its last octet, without the line end that belongs to the boundary
	open  bool  // its last line has no line end
	lines int
	top   bool // the message ends after it
	eight bool // it has octets above 127, decoded
	soft  bool // its last line ends with a soft line break
	mark  int64
	pgp   bool
	b64   quanta
}

// text reads a text part and adds the footer to it.
func (s *scanner) text(h *header, p place) error {
	b, err := s.body(h)
	if err != nil {
		return err
	}
	if b.pgp {
		return refusal("it is signed or encrypted with PGP")
	}
	added, err := s.encoded(h, b)
	if err != nil {
		return err
	}
	if err := s.declare(h, p, b, has8Bit(added)); err != nil {
		return err
	}
	switch {
	case h.encoding == "base64":
		err = s.addBase64(b, added)
	case h.encoding == "quoted-printable":
		err = s.addQuoted(h, b, added)
	default:
		s.addPlain(h, b, added)
	}
	s.placed = s.placed || err == nil
	return err
}

// body reads a text up to the boundary after it.
func (s *scanner) body(h *header) (*body, error) {
	b := &body{begin: s.at, end: s.at, mark: -1}
	isHTML := h.kind == "text/html"
	for {
		l, err := s.next()
		switch {
		case errors.Is(err, io.EOF):
			b.top, s.delimiter = true, ""
			b.end = s.at
			return b, nil
		case err != nil:
			return nil, err
		case l.delimits:
			s.delimiter = strings.TrimRight(string(l.text), " \t\r\n")
			return b, nil
		}
		text := bytes.TrimSuffix(bytes.TrimSuffix(l.text, []byte{'\n'}), []byte{'\r'})
		b.lines++
		b.open = len(text) == len(l.text)
		// Before a boundary, the line end belongs to the boundary. What is left may be empty: then the
		// line before it has its end.
		b.end = l.at + int64(len(text))
		if !l.continues || len(text) > 0 {
			b.soft = bytes.HasSuffix(text, []byte{'='})
		}
		b.pgp = b.pgp || !l.continues && bytes.HasPrefix(text, []byte("-----BEGIN PGP"))
		if isHTML && h.encoding != "base64" {
			if i := lastTag(text); i >= 0 {
				b.mark = l.at + int64(i)
			}
		}
		if err := b.look(h, text, l.at); err != nil {
			return nil, err
		}
	}
}

// look finds out whether the text has octets above 127.
func (b *body) look(h *header, text []byte, at int64) error {
	switch h.encoding {
	case "base64":
		return b.b64.add(text, at)
	case "quoted-printable":
		for i := 0; i+2 < len(text); i++ {
			if text[i] == '=' && strings.IndexByte("89ABCDEFabcdef", text[i+1]) >= 0 {
				b.eight = true
			}
		}
		b.eight = b.eight || has8Bit(text)
	case "", "7bit", "8bit", "binary":
		b.eight = b.eight || has8Bit(text)
	default:
		return refusal("a transfer encoding is not known")
	}
	return nil
}

// lastTag returns the place of the last "</body" of a line, or -1.
func lastTag(text []byte) int {
	const tag = "</body"
	for i := len(text) - len(tag); i >= 0; i-- {
		if text[i] == '<' && strings.EqualFold(string(text[i:i+len(tag)]), tag) {
			return i
		}
	}
	return -1
}

// encoded returns the footer in the character set of a part.
func (s *scanner) encoded(h *header, b *body) ([]byte, error) {
	charset := strings.ToLower(h.params["charset"])
	text := ""
	if h.kind == "text/html" {
		text = s.footer.html()
	} else {
		text = s.footer.lines(strings.EqualFold(h.params["format"], "flowed"))
	}
	plain := !has8Bit([]byte(text))
	switch charset {
	case "", "us-ascii", "ascii":
		if !plain && (b.eight || b.b64.eight) {
			return nil, refusal("its character set is not declared")
		}
		return []byte(text), nil
	case "utf-8", "utf8":
		return []byte(text), nil
	}
	if m := charmapOf(charset); m != nil {
		out, err := m.NewEncoder().Bytes([]byte(text))
		if err != nil {
			return nil, refusal("the footer has letters that " + charset + " has not")
		}
		return out, nil
	}
	if plain && extendsASCII(charset) {
		return []byte(text), nil
	}
	return nil, refusal(fmt.Sprintf("the character set %q is not known", charset[:min(len(charset), 40)]))
}

// charmapOf returns the table of a character set; nil if it is not one of those that offices use.
func charmapOf(charset string) *charmap.Charmap {
	switch charset {
	case "iso-8859-1", "latin1":
		return charmap.ISO8859_1
	case "iso-8859-2":
		return charmap.ISO8859_2
	case "iso-8859-15":
		return charmap.ISO8859_15
	case "windows-1250", "cp1250":
		return charmap.Windows1250
	case "windows-1252", "cp1252":
		return charmap.Windows1252
	}
	return nil
}

// extendsASCII reports whether a text in ASCII means the same in a character set.
func extendsASCII(charset string) bool {
	for _, prefix := range []string{"iso-8859-", "windows-125", "koi8-", "gb", "big5", "euc-"} {
		if strings.HasPrefix(charset, prefix) {
			return true
		}
	}
	return false
}

// declare changes the header of a part, and those around it, if the footer has letters that the
// header does not permit yet.
func (s *scanner) declare(h *header, p place, b *body, eight bool) error {
	if !eight {
		return nil
	}
	_, typed := h.at["content-type"]
	switch strings.ToLower(h.params["charset"]) {
	case "", "us-ascii", "ascii":
		params := map[string]string{"charset": "utf-8"}
		for name, value := range h.params {
			if name != "charset" {
				params[name] = value
			}
		}
		value := mime.FormatMediaType(h.kind, params)
		if value == "" {
			return refusal("a content type cannot be written")
		}
		s.set(h, "Content-Type", value)
	}
	if _, ok := h.at["mime-version"]; !ok && p.top {
		if typed {
			return refusal("it declares no MIME version")
		}
		s.set(h, "MIME-Version", "1.0")
	}
	if !h.identity() {
		return nil
	}
	s.plan.EightBit = true
	for _, around := range append(s.parents[:len(s.parents):len(s.parents)], h) {
		if around.encoding != "8bit" && around.encoding != "binary" && !around.eight {
			around.eight = true
			s.set(around, "Content-Transfer-Encoding", "8bit")
		}
	}
	return nil
}

// set replaces a field of a header, or adds it.
func (s *scanner) set(h *header, name, value string) {
	e, ok := h.at[strings.ToLower(name)]
	if !ok {
		e = edit{at: h.end}
	}
	e.insert = fmt.Appendf(nil, "%s: %s\r\n", name, value)
	s.plan.add(e)
}

// place returns where the footer goes, with the line ends around it.
func (b *body) place(h *header, added []byte) edit {
	e := edit{at: b.end}
	switch {
	case b.lines == 0 && !b.top: // the boundary follows the header
		e.insert = append(added, "\r\n"...)
	case b.top && b.lines > 0 && b.open:
		e.insert = fmt.Appendf(nil, "\r\n\r\n%s\r\n", added)
	case b.top:
		e.insert = fmt.Appendf(nil, "\r\n%s\r\n", added)
	default:
		e.insert = fmt.Appendf(nil, "\r\n\r\n%s", added)
	}
	return e
}

func (s *scanner) addPlain(h *header, b *body, added []byte) {
	if b.mark >= 0 {
		s.plan.add(edit{at: b.mark, insert: fmt.Appendf(nil, "\r\n%s\r\n", added)})
		return
	}
	s.plan.add(b.place(h, added))
}

func (s *scanner) addQuoted(h *header, b *body, added []byte) error {
	var out bytes.Buffer
	w := quotedprintable.NewWriter(&out)
	_, _ = w.Write(added) // to memory: no error
	_ = w.Close()
	switch {
	case b.mark >= 0: // soft line breaks keep the lines short
		s.plan.add(edit{at: b.mark, insert: fmt.Appendf(nil, "=\r\n%s=\r\n", out.Bytes())})
	case b.soft:
		return refusal("its last line does not end")
	default:
		s.plan.add(b.place(h, out.Bytes()))
	}
	return nil
}

// quanta follows the groups of four letters of a base64 text.
type quanta struct {
	group   [4]byte
	filled  int
	first   int64 // offset of the first letter of the group
	column  int   // of that letter
	last    [4]byte
	at, end int64 // of the last whole group
	atCol   int
	before  [4]byte // the group before the last one
	count   int     // whole groups
	padded  bool
	eight   bool
}

func (q *quanta) add(text []byte, at int64) error {
	for i, c := range text {
		if c == ' ' || c == '\t' {
			continue
		}
		if q.padded || !isBase64(c) {
			return refusal("its base64 text cannot be read")
		}
		if q.filled == 0 {
			q.first, q.column = at+int64(i), i
		}
		q.group[q.filled] = c
		if q.filled++; q.filled < 4 {
			continue
		}
		q.filled = 0
		q.before, q.last = q.last, q.group
		q.at, q.end, q.atCol = q.first, at+int64(i)+1, q.column
		q.count++
		q.padded = c == '='
		var out [3]byte
		n, err := base64.StdEncoding.Decode(out[:], q.group[:])
		if err != nil {
			return refusal("its base64 text cannot be read")
		}
		q.eight = q.eight || has8Bit(out[:n])
	}
	return nil
}

func isBase64(c byte) bool {
	return c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' ||
		c == '+' || c == '/' || c == '='
}

// ending returns the last octets of the text, up to six, and those of the last group.
func (q *quanta) ending() (all, group []byte) {
	if q.count > 1 {
		all, _ = base64.StdEncoding.AppendDecode(nil, q.before[:])
	}
	group, _ = base64.StdEncoding.AppendDecode(nil, q.last[:])
	return append(all, group...), group
}

func (s *scanner) addBase64(b *body, added []byte) error {
	q := &b.b64
	if q.filled != 0 || q.count == 0 {
		return refusal("its base64 text cannot be read")
	}
	ending, group := q.ending()
	lead := "\r\n"
	if !bytes.HasSuffix(ending, []byte("\n")) {
		lead = "\r\n\r\n"
	}
	text := fmt.Appendf(nil, "%s%s\r\n", lead, added)
	e := edit{at: q.end}
	newLine := true
	if q.padded { // the last group is written anew
		e.at, e.drop = q.at, q.end-q.at
		text = append(group, text...)
		newLine = q.atCol > 0
	}
	const most = 57 // octets in a line of 76 letters
	for i := 0; i < len(text); i += most {
		if i > 0 || newLine {
			e.insert = append(e.insert, "\r\n"...)
		}
		e.insert = base64.StdEncoding.AppendEncode(e.insert, text[i:min(i+most, len(text))])
	}
	s.plan.add(e)
	return nil
}

func entity(r rune) string { return fmt.Sprintf("&#%d;", r) }

func has8Bit(p []byte) bool {
	for _, c := range p {
		if c >= 0x80 {
			return true
		}
	}
	return false
}
