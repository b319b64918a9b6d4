package remote

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"maps"
	"mime"
	"strings"
	"unicode/utf8"

	"pillarbox/mailstore/head"
)

// maxLine is the longest line of a message in octets, without its CRLF (RFC 5321 §4.5.3.1.6).
const maxLine = 998

// shape tells what in a message no server need accept.
type shape struct {
	size int64 // octets
	long bool  // a line of more than maxLine octets
	nul  bool  // a NUL; some servers drop it, and a dot behind it would then begin a line
	bare bool  // a CR or LF that stands alone; a file that was changed by hand may have one
}

// rough reports whether the message must be converted for every server.
func (s shape) rough() bool { return s.long || s.nul }

// shapeOf reads a message. It uses buf and holds no more of it.
func shapeOf(src io.Reader, buf []byte) (s shape, err error) {
	line, cr := 0, false // octets of the current line so far; the last one is a CR
	for {
		n, err := src.Read(buf)
		s.size += int64(n)
		s.nul = s.nul || bytes.IndexByte(buf[:n], 0) >= 0
		for p := buf[:n]; len(p) > 0; {
			end := bytes.IndexByte(p, '\n')
			text := p
			if end >= 0 {
				text = p[:end]
			}
			if len(text) > 0 {
				inner := bytes.IndexByte(text, '\r') // only as the last octet may it be there
				s.bare = s.bare || cr || inner >= 0 && inner < len(text)-1
				cr = text[len(text)-1] == '\r'
			}
			if line += len(text); end < 0 {
				break
			}
			s.bare, s.long = s.bare || !cr, s.long || line > maxLine+1
			line, cr, p = 0, false, p[end+1:]
		}
		switch {
		case errors.Is(err, io.EOF):
			s.bare, s.long = s.bare || cr, s.long || line > maxLine
			return s, nil
		case err != nil:
			return s, errors.Join(errSource, err)
		}
	}
}

// rewrapper is a writer for lines and their ends that breaks the long lines of a body that stays in
// its encoding. A line comes in one piece or, if it is very long, in several; a line end comes alone.
// No line that it makes begins with a hyphen, so none becomes a boundary line.
type rewrapper struct {
	w     io.Writer
	width int    // octets after which to break a line
	brk   string // what breaks it
	dash  string // what replaces a hyphen at the beginning of a line
	// cut returns where to break p, at or near at. before has the octets before p.
	cut    func(p, before []byte, at int) int
	column int
	long   bool    // the current line is a long one
	recent [2]byte // the last octets of the line
}

// newRewrapper returns the rewrapper for an encoding.
func newRewrapper(w io.Writer, encoding string) *rewrapper {
	switch encoding {
	case "base64": // white space in it does not count (RFC 2045 §6.8)
		return &rewrapper{w: w, width: 76, brk: "\r\n", dash: " -",
			cut: func(_, _ []byte, at int) int { return at }}
	case "quoted-printable":
		return &rewrapper{w: w, width: 75, brk: "=\r\n", dash: "=2D", cut: outsideOctet}
	}
	return &rewrapper{w: w, width: maxLine, brk: "\r\n", dash: " -", cut: atBlank}
}

// Write implements io.Writer.
func (f *rewrapper) Write(p []byte) (int, error) {
	total := len(p)
	if total == 0 {
		return 0, nil
	}
	if p[total-1] == '\n' || p[total-1] == '\r' {
		f.column, f.long, f.recent = 0, false, [2]byte{}
		return f.w.Write(p)
	}
	f.long = f.long || f.column+len(p) > maxLine
	p = f.begin(p)
	for f.long && f.column+len(p) > f.width {
		n := f.cut(p, f.recent[:], max(f.width-f.column, 0))
		if n >= len(p) {
			break
		}
		f.put(p[:n])
		io.WriteString(f.w, f.brk)
		f.column, f.recent = 0, [2]byte{}
		p = f.begin(p[n:])
	}
	f.put(p)
	return total, nil
}

// begin writes the hyphen at the beginning of a long line, or of the rest of one, in its other form.
// It returns the text after it.
func (f *rewrapper) begin(p []byte) []byte {
	if !f.long || f.column > 0 || p[0] != '-' {
		return p
	}
	f.put([]byte(f.dash))
	return p[1:]
}

func (f *rewrapper) put(p []byte) {
	f.w.Write(p)
	f.column += len(p)
	for _, c := range p[max(0, len(p)-2):] {
		f.recent = [2]byte{f.recent[1], c}
	}
}

// outsideOctet moves a break in quoted-printable to the end of an "=3D" that it would cut. An equals
// sign without two hexadecimal digits is no octet, so a break may follow it. At the end of p, what
// could become an octet counts as one.
func outsideOctet(p, before []byte, at int) int {
	octet := func(i int) byte {
		if i < 0 {
			return before[len(before)+i]
		}
		return p[i]
	}
	digit := func(i int) bool { return i >= len(p) || isHex(octet(i)) }
	for ; at < len(p); at++ {
		first := octet(at-1) == '=' && digit(at) && digit(at+1)
		second := octet(at-2) == '=' && digit(at-1) && digit(at)
		if !first && !second {
			break
		}
	}
	return at
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'F' || 'a' <= c && c <= 'f'
}

// atBlank moves a break in text to a blank before it, if there is one. It cuts no character in
// UTF-8, and avoids a break before a hyphen.
func atBlank(p, _ []byte, at int) int {
	if i := bytes.LastIndexAny(p[:at], " \t"); i > 0 && p[i+1] != '-' {
		return i + 1
	}
	for n := at; n > 0; n-- {
		if p[n] != '-' && utf8.RuneStart(p[n]) {
			return n
		}
	}
	return at
}

// foldHeader folds the lines of a header that are too long.
func foldHeader(raw []byte) []byte {
	var out []byte
	for len(raw) > 0 {
		field := raw[:head.FieldEnd(raw)]
		raw = raw[len(field):]
		out = append(out, foldField(field)...)
	}
	return out
}

// foldField folds the lines of a field. It returns nil for a field that no program understands.
func foldField(field []byte) []byte {
	field = dropBlankLines(field)
	first, _, _ := bytes.Cut(field, []byte("\n"))
	name, _, isField := bytes.Cut(first, []byte(":"))
	switch {
	case !isField && len(first) > maxLine+1, isField && len(name) > maxLine/2:
		return nil
	case !isField:
		name = nil
	}
	var out []byte
	for line := range bytes.Lines(field) {
		out = foldLine(out, line, string(name))
	}
	if len(field) > maxLine && strings.EqualFold(string(bytes.TrimSpace(name)), "Content-Type") {
		return keepBoundary(field, out)
	}
	return out
}

// dropBlankLines drops the lines of a header that have only blanks and NULs. Folded or without its
// NULs, such a line would be empty and end the header.
func dropBlankLines(raw []byte) []byte {
	var out []byte
	for line := range bytes.Lines(raw) {
		text := bytes.TrimRight(line, "\r\n")
		if len(text) == 0 || len(text) == len(line) || len(bytes.Trim(text, " \t\x00")) > 0 {
			out = append(out, line...)
		}
	}
	return out
}

// keepBoundary returns a Content-Type with the boundary that it had before it was folded. If no line
// has room for the boundary, it returns nil, and the multipart becomes text.
func keepBoundary(field, folded []byte) []byte {
	kind, params, _ := typeOf(field)
	boundary := params["boundary"]
	_, now, _ := typeOf(folded)
	last := boundaryLine(boundary)
	switch {
	case !strings.HasPrefix(kind, "multipart/"), boundary == "",
		now["boundary"] == boundary && len(last) <= maxLine:
		return folded
	case len(last) > maxLine:
		return nil
	}
	maps.DeleteFunc(params, func(name, value string) bool { // those that would be cut, too
		return name == "boundary" || len(name)+3*len(value) > maxLine/2
	})
	text := mime.FormatMediaType(kind, params)
	if text == "" { // a parameter is broken
		text = kind
	}
	out := foldLine(nil, []byte("Content-Type: "+text+";\r\n"), "Content-Type")
	return append(append(out, last...), "\r\n"...)
}

// typeOf parses a Content-Type field.
func typeOf(field []byte) (kind string, params map[string]string, err error) {
	for _, value := range fields(field) {
		return mime.ParseMediaType(value)
	}
	return "", nil, nil
}

// boundaryLine returns the folded line of a Content-Type that has the boundary. It is longer than
// each boundary line.
func boundaryLine(boundary string) string {
	return ` boundary="` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(boundary) + `"`
}

// foldLine appends a line of a field to out, in lines that are short enough. It breaks them before
// a blank, which changes nothing (RFC 5322 §2.2.3). Where there is none, it breaks an encoded word
// into several, and the text of an unstructured field becomes encoded words, which readers join
// again (RFC 2047). Elsewhere a blank is added: after a comma or semicolon, where it does not count
// in addresses and parameters, or else within the word.
func foldLine(out, line []byte, name string) []byte {
	text := bytes.TrimRight(line, "\r\n")
	if len(text) <= maxLine {
		return append(out, line...)
	}
	ending := line[len(text):]
	if text = bytes.TrimRight(text, " \t"); len(text) == 0 {
		text = []byte{' '} // only the beginning of a line that continues in the body
	}
	begun := 0 // octets of the current line that are in out already
	if name != "" && bytes.HasPrefix(text, []byte(name+":")) {
		begun = len(name) + 1
		out, text = append(out, text[:begun]...), text[begun:]
	}
	cut := false // the line begins within a word
	for begun+len(text) > maxLine {
		word := bytes.TrimLeft(text, " \t")
		if len(text)-len(word) > maxLine/4 { // so many blanks are no better than one
			text = text[len(text)-len(word)-1:]
			continue
		}
		n, blank := breakField(text, len(text)-len(word), maxLine-begun)
		if !blank && !cut {
			if words, rest := splitWord(word, name); words != nil {
				out, text, begun = append(out, words...), rest, maxWord
				continue
			}
		}
		out = append(append(out, bytes.TrimRight(text[:n], " \t")...), "\r\n"...)
		text, begun = text[n:], 0
		if cut = !blank; cut {
			out, begun = append(out, ' '), 1
		}
	}
	return append(append(out, text...), ending...)
}

// breakField returns where a line of a field is to be broken so that its first part is not over
// limit. The part has the first word, which begins at word. blank tells whether a blank is there.
func breakField(text []byte, word, limit int) (n int, blank bool) {
	if i := bytes.LastIndexAny(text[word:limit+1], " \t"); i > 0 {
		return word + i, true
	}
	if i := bytes.LastIndexAny(text[word:limit], ",;>"); i >= 0 {
		return word + i + 1, false
	}
	for n = limit; n > limit-utf8.UTFMax && !utf8.RuneStart(text[n]); n-- {
	}
	return n, false
}

// maxWord is the longest encoded word (RFC 2047 §2), and inWord the number of octets in one.
const (
	maxWord = 75
	inWord  = 39
)

// splitWord returns the first word of a text as several encoded words, with a blank before and a
// line break between them, and the rest of the text. It returns nil if the word cannot be split so.
func splitWord(text []byte, name string) (words, rest []byte) {
	word := text
	if i := bytes.IndexAny(text, " \t"); i >= 0 {
		word, rest = text[:i], text[i:]
	}
	if len(word) <= maxLine/2 {
		return nil, nil
	}
	charset, octets, ok := decodeWord(word)
	switch strings.ToLower(name) {
	case "subject", "comments", "content-description":
		if !ok && utf8.Valid(word) {
			charset, octets, ok = "utf-8", word, true
		}
	}
	if !ok {
		return nil, nil
	}
	for len(octets) > 0 {
		n := min(inWord, len(octets))
		for n < len(octets) && n > inWord-utf8.UTFMax && !utf8.RuneStart(octets[n]) {
			n--
		}
		words = append(words, " =?"+charset+"?B?"+base64.StdEncoding.EncodeToString(octets[:n])+"?="...)
		if octets = octets[n:]; len(octets) > 0 {
			words = append(words, "\r\n"...)
		}
	}
	return words, rest
}

// decodeWord decodes an encoded word (RFC 2047 §2) without converting its characters.
func decodeWord(word []byte) (charset string, octets []byte, ok bool) {
	parts := strings.SplitN(string(word), "?", 6)
	if len(parts) != 5 || parts[0] != "=" || parts[4] != "=" || parts[1] == "" || len(parts[1]) > 16 {
		return "", nil, false
	}
	// A charset that the decoder does not know keeps the octets as they are.
	decoder := mime.WordDecoder{
		CharsetReader: func(_ string, octets io.Reader) (io.Reader, error) { return octets, nil },
	}
	text, err := decoder.Decode("=?raw?" + parts[2] + "?" + parts[3] + "?=")
	return parts[1], []byte(text), err == nil && text != ""
}
