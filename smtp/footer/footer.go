// Package footer adds a text to the end of a message, such as the legal notice of a company. Start
// with Make.
//
// A message is changed only where that can be done right. A signed or encrypted message, one with a
// DKIM signature, and one whose structure or character set is not understood go as they are. Nothing
// but the end of the text is touched: Make finds a few places to edit, and Plan.Apply copies the rest
// unchanged. So a message of any size needs little memory, and time linear in its length.
package footer

import (
	"cmp"
	"html"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// Footer is what is added.
type Footer struct {
	Text string // for plain text; lines end with LF or CRLF
	HTML string // for HTML; "": made from Text
}

// IsZero reports whether there is nothing to add.
func (f Footer) IsZero() bool { return strings.TrimSpace(f.Text) == "" }

// lines returns the text with CRLF line ends and without blanks at the ends of lines. flowed adds the
// blanks that format=flowed wants before some lines (RFC 3676 §4.4).
func (f Footer) lines(flowed bool) string {
	text := strings.ReplaceAll(strings.ReplaceAll(f.Text, "\r\n", "\n"), "\r", "\n")
	var all []string
	for line := range strings.SplitSeq(short(strings.Trim(text, "\n")), "\n") {
		if line != "-- " { // the separator of a signature keeps its blank
			line = strings.TrimRight(line, " \t")
		}
		if flowed && (strings.HasPrefix(line, " ") || strings.HasPrefix(line, ">") || strings.HasPrefix(line, "From ")) {
			line = " " + line
		}
		all = append(all, line)
	}
	return strings.Join(all, "\r\n")
}

// maxLine is the number of octets after which a line is broken. Other servers refuse a message with a
// line of more than 998 (RFC 5321 §4.5.3.1.6), so one long paragraph would stop all mail of a domain.
const maxLine = 900

// short breaks long lines, at a blank if there is one.
func short(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		for len(strings.TrimRight(line, "\n")) > maxLine {
			end := strings.LastIndexByte(line[:maxLine], ' ') + 1
			if end == 0 {
				for end = maxLine; !utf8.RuneStart(line[end]); end-- {
				}
			}
			b.WriteString(line[:end] + "\n")
			line = line[end:]
		}
		b.WriteString(line)
	}
	return b.String()
}

// html returns the HTML with letters of ASCII only, so that it fits every character set.
func (f Footer) html() string {
	text := f.HTML
	if strings.TrimSpace(text) == "" {
		text = "<div>" + strings.ReplaceAll(html.EscapeString(f.lines(false)), "\r\n", "<br>\r\n") + "</div>"
	}
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
	var b strings.Builder
	begin := 0 // of the line
	for _, r := range strings.Trim(text, "\n") {
		switch {
		case r == '\n', r == ' ' && b.Len()-begin > maxLine/2: // both are blanks in HTML
			b.WriteString("\r\n")
			begin = b.Len()
		case r > '~':
			b.WriteString(entity(r))
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// Plan is what changes in one message. The zero value changes nothing.
type Plan struct {
	edits []edit
	// Delta is the number of octets by which the message grows.
	Delta int64
	// EightBit means that the message has octets above 127 because of the footer.
	EightBit bool
}

// edit replaces drop octets at a place by others.
type edit struct {
	at, drop int64
	insert   []byte
}

func (p *Plan) add(e edit) {
	p.edits = append(p.edits, e)
	p.Delta += int64(len(e.insert)) - e.drop
}

func (p *Plan) sort() {
	slices.SortStableFunc(p.edits, func(a, b edit) int { return cmp.Compare(a.at, b.at) })
}

// Apply returns the message in r with its changes. r must have the text that Make has read.
func (p *Plan) Apply(r io.Reader) io.Reader {
	if len(p.edits) == 0 {
		return r
	}
	return &editor{r: r, edits: p.edits}
}

// editor is a reader that carries out edits.
type editor struct {
	r      io.Reader
	at     int64 // octets read from r
	edits  []edit
	insert []byte // still to be given out
}

func (e *editor) Read(p []byte) (int, error) {
	for {
		if len(e.insert) > 0 {
			n := copy(p, e.insert)
			e.insert = e.insert[n:]
			return n, nil
		}
		if len(e.edits) == 0 {
			return e.r.Read(p)
		}
		next := &e.edits[0]
		if e.at == next.at {
			if _, err := io.CopyN(io.Discard, e.r, next.drop); err != nil {
				return 0, unexpected(err)
			}
			e.at += next.drop
			e.insert, e.edits = next.insert, e.edits[1:]
			continue
		}
		n, err := e.r.Read(p[:min(int64(len(p)), next.at-e.at)])
		e.at += int64(n)
		if n > 0 || err != nil {
			return n, unexpected(err)
		}
	}
}

// unexpected makes an error of an end before all edits: the message is shorter than it was.
func unexpected(err error) error {
	if err == io.EOF { // io.Reader returns it as it is
		return io.ErrUnexpectedEOF
	}
	return err
}
