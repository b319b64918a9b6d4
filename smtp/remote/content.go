package remote

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"mime/quotedprintable"
	"strings"

	"pillarbox/mailstore/head"
)

// content is the result of a scan for what a server need not accept.
type content struct {
	header8     bool   // octets above 127 in the header of the message or of a part
	body8       bool   // octets above 127 in a body
	convertible error  // why a conversion to seven bits is impossible; nil: possible
	leaves      []leaf // the leaf parts, in order
}

// leaf is what a leaf part has.
type leaf struct {
	eight bool // octets above 127
	rough bool // lines over maxLine, or NULs
}

// scan scans the message, once in an attempt.
func (d *delivery) scan() (*content, error) {
	if d.scanned {
		return &d.content, nil
	}
	src, err := d.open()
	if err != nil {
		return nil, err
	}
	defer src.Close()
	w := &walker{in: bufio.NewReaderSize(src, walkerLine), found: &d.content, survey: true}
	if err := w.walk(); err != nil {
		return nil, err
	}
	d.scanned = true
	return &d.content, nil
}

// convert copies a scanned message. It encodes the parts with long lines or NULs, folds long lines
// of headers, and with sevenBit converts the parts to seven bits (RFC 2045, RFC 6152 §3). The parts
// of a multipart/signed stay as they came: every change would break the signature, and most servers
// accept long lines. Their NULs are replaced all the same: a broken signature does less harm than a
// message that the next server finds inside this one.
func (c *content) convert(dst io.Writer, src io.Reader, sevenBit bool) error {
	out := bufio.NewWriterSize(withoutNULs{dst}, 4096)
	w := &walker{in: bufio.NewReaderSize(src, walkerLine), out: out, found: c, sevenBit: sevenBit}
	if err := w.walk(); err != nil {
		return err
	}
	return out.Flush()
}

const (
	walkerLine = 64 << 10  // longer lines are handled in pieces
	maxHeader  = 320 << 10 // more than a session accepts
	maxDepth   = 20
)

// Reasons why a message cannot be converted.
var (
	errSigned    = errors.New("the conversion would break a signature")
	errEncoded   = errors.New("a part contains octets above 127 but declares that it has none")
	errStructure = errors.New("its structure cannot be parsed")
)

// walker visits the parts of a message. It does so twice in the same way: first to find the parts
// that must be encoded, then to copy the message.
type walker struct {
	in       *bufio.Reader
	out      *bufio.Writer // nil in the first pass
	found    *content
	survey   bool
	sevenBit bool
	leaves   int
	depth    int // nesting depth of parts

	boundaries [][]byte // of the enclosing multiparts, with the leading "--"
	signed     int      // number of enclosing multipart/signed
	midLine    bool     // the last piece did not end with a line end
	delimiter  string   // the boundary line that ended a part; "": end of the message
}

// walk visits the whole message.
func (w *walker) walk() error { return w.entity(true, "text/plain") }

// setUnconvertible records why a conversion is impossible. The first pass continues, since it also
// looks for octets above 127.
func (w *walker) setUnconvertible(why error) {
	if w.survey && w.found.convertible == nil {
		w.found.convertible = why
	}
}

// emit writes in the second pass. The writer keeps errors until Flush.
func (w *walker) emit(p []byte) {
	if w.out != nil {
		w.out.Write(p)
	}
}

// emitHeader writes a header in the second pass.
func (w *walker) emitHeader(raw []byte) {
	if w.out != nil && w.signed == 0 {
		raw = foldHeader(raw)
	}
	w.emit(raw)
}

// in7Bit returns a header with the transfer encoding 7bit, if the message is converted to seven bits.
func (w *walker) in7Bit(h header) []byte {
	if w.sevenBit && w.signed == 0 {
		return relabel(h, "7bit", false)
	}
	return h.raw
}

// piece returns the next line with its end, or a piece of a long line, and io.EOF at the end.
// delimits reports whether it is a boundary line.
func (w *walker) piece() (p []byte, delimits bool, err error) {
	start := !w.midLine
	p, err = w.in.ReadSlice('\n')
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) &&
		(len(p) == 0 || !errors.Is(err, io.EOF)) {
		if !errors.Is(err, io.EOF) {
			err = errors.Join(errSource, err)
		}
		return nil, false, err
	}
	w.midLine = p[len(p)-1] != '\n'
	// A line that is longer than the buffer is no boundary line: its end is not known yet.
	if start && (!w.midLine || err != nil && errors.Is(err, io.EOF)) && len(p) > 2 && p[0] == '-' && p[1] == '-' {
		line := bytes.TrimRight(p, " \t\r\n")
		for i := len(w.boundaries) - 1; i >= 0; i-- {
			if rest, ok := bytes.CutPrefix(line, w.boundaries[i]); ok &&
				(len(rest) == 0 || string(rest) == "--") {
				return p, true, nil
			}
		}
	}
	return p, false, nil
}

// header is the relevant content of a part's header.
type header struct {
	raw       []byte // with the empty line
	kind      string // type/subtype in lower case
	boundary  string // with the leading "--"; "": none
	encoding  string // in lower case
	typed     bool   // there is a Content-Type
	versioned bool   // there is a MIME-Version
	broken    bool   // it does not parse
	ended     bool   // ended by a boundary or the end of the message, so there is no body
	line      string // the boundary line that ended it
}

func (w *walker) header(kind string) (header, error) {
	h := header{kind: kind}
	for {
		begins := !w.midLine
		p, delimits, err := w.piece()
		if errors.Is(err, io.EOF) {
			h.ended = true
			break
		}
		if err != nil {
			return h, err
		}
		if delimits {
			h.ended, h.line = true, string(p)
			break
		}
		h.raw = append(h.raw, p...)
		if len(h.raw) > maxHeader {
			return h, nil // treat the rest as body
		}
		if begins && len(bytes.TrimRight(p, "\r\n")) == 0 {
			break
		}
	}
	if bytes.IndexByte(h.raw, 0) >= 0 {
		h.raw = dropBlankLines(h.raw)
	}
	h.parse()
	if has8Bit(h.raw) {
		w.found.header8 = true
	}
	return h, nil
}

// parse reads the relevant fields.
func (h *header) parse() {
	for name, value := range fields(h.raw) {
		switch strings.ToLower(name) {
		case "mime-version":
			h.versioned = true
		case "content-transfer-encoding":
			h.encoding, _, _ = strings.Cut(strings.ToLower(strings.TrimSpace(value)), " ")
		case "content-type":
			kind, params, err := mime.ParseMediaType(value)
			h.broken = h.broken || h.typed || err != nil &&
				!errors.Is(err, mime.ErrInvalidMediaParameter)
			h.typed, h.kind = true, kind
			if params["boundary"] != "" {
				h.boundary = "--" + strings.TrimRight(params["boundary"], " \t")
			}
		}
	}
}

// fields yields the fields of a header, unfolded.
func fields(raw []byte) func(func(name, value string) bool) {
	return func(yield func(string, string) bool) {
		for len(raw) > 0 {
			end := head.FieldEnd(raw)
			name, value, ok := strings.Cut(string(raw[:end]), ":")
			value = strings.ReplaceAll(strings.ReplaceAll(value, "\r", ""), "\n", "")
			if ok && !yield(strings.TrimSpace(name), value) {
				return
			}
			raw = raw[end:]
		}
	}
}

// identity reports whether the body is not encoded.
func (h *header) identity() bool {
	switch h.encoding {
	case "", "7bit", "8bit", "binary":
		return true
	}
	return false
}

// entity visits one part, or the message, up to the boundary after it.
func (w *walker) entity(top bool, defaultKind string) error {
	w.depth++
	defer func() { w.depth-- }()
	h, err := w.header(defaultKind)
	if err != nil {
		return err
	}
	media, _, _ := strings.Cut(h.kind, "/")
	switch {
	case h.ended:
		w.emitHeader(h.raw)
		return w.endPart(h.line)
	case w.depth > maxDepth || len(h.raw) > maxHeader || h.broken:
		return w.opaque(h, errStructure)
	case media == "multipart" && w.signed == 0 && len(boundaryLine(h.boundary)) > maxLine:
		return w.opaque(h, errStructure)
	case media == "multipart" && h.boundary != "" && h.identity():
		return w.multipart(h)
	case h.kind == "message/rfc822" && h.identity():
		w.emitHeader(w.in7Bit(h))
		return w.entity(true, "text/plain")
	case media == "multipart", media == "message" && !strings.HasPrefix(h.kind, "message/global"):
		return w.opaque(h, errStructure)
	case !h.identity():
		return w.opaque(h, errEncoded)
	case w.signed > 0:
		return w.opaque(h, errSigned)
	}
	return w.leaf(h, top, media == "text")
}

// endPart emits the boundary line that ended a part and stores it for the enclosing parts. Blanks at
// the end of a boundary line do not count (RFC 2046 §5.1.1), so a long one loses them.
func (w *walker) endPart(line string) error {
	w.delimiter = strings.TrimRight(line, " \t\r\n")
	if w.signed == 0 && len(line) > maxLine {
		line = w.delimiter + "\r\n"
	}
	w.emit([]byte(line))
	return nil
}

// body passes the lines of a body to sink, up to a boundary. The line end before the boundary
// belongs to the boundary (RFC 2046 §5.1.1) and is returned as held.
func (w *walker) body(sink func([]byte)) (held, line string, err error) {
	for {
		p, delimits, err := w.piece()
		if errors.Is(err, io.EOF) {
			sink([]byte(held))
			return "", "", nil
		}
		if err != nil {
			return "", "", err
		}
		if delimits {
			return held, string(p), nil
		}
		sink([]byte(held))
		text := bytes.TrimSuffix(bytes.TrimSuffix(p, []byte{'\n'}), []byte{'\r'})
		held = string(p[len(text):])
		sink(text)
		if has8Bit(text) {
			w.found.body8 = true
		}
	}
}

// opaque copies a body that cannot be converted, with its long lines broken. If conversion to seven
// bits would be necessary, it records why not.
func (w *walker) opaque(h header, why error) error {
	w.emitHeader(h.raw)
	var out io.Writer = plain{io.Discard}
	switch {
	case w.survey:
	case w.signed > 0:
		out = w.out
	default:
		out = newRewrapper(w.out, h.encoding)
	}
	held, line, err := w.body(func(p []byte) {
		if has8Bit(p) {
			w.setUnconvertible(why)
		}
		out.Write(p)
	})
	w.emit([]byte(held))
	if err != nil {
		return err
	}
	return w.endPart(line)
}

// leaf visits a body that may have to be encoded.
func (w *walker) leaf(h header, top, text bool) error {
	n := w.leaves
	w.leaves++
	if w.survey {
		var has leaf
		_, line, err := w.body(func(p []byte) {
			has.eight = has.eight || has8Bit(p)
			has.rough = has.rough || len(p) > maxLine || bytes.IndexByte(p, 0) >= 0
		})
		w.found.leaves = append(w.found.leaves, has)
		if err != nil {
			return err
		}
		return w.endPart(line)
	}
	out := steady{w.out}
	var encoder io.WriteCloser = plain{out}
	switch {
	case !w.found.leaves[n].rough && (!w.sevenBit || !w.found.leaves[n].eight):
		w.emitHeader(w.in7Bit(h))
	case text:
		w.emitHeader(relabel(h, "quoted-printable", top))
		encoder = quotedprintable.NewWriter(out)
	default:
		w.emitHeader(relabel(h, "base64", top))
		encoder = base64.NewEncoder(base64.StdEncoding, &lineWrapper{w: out})
	}
	held, line, err := w.body(func(p []byte) { encoder.Write(p) })
	if err != nil {
		return err
	}
	encoder.Close()
	w.emit([]byte(held))
	return w.endPart(line)
}

// multipart visits the parts of a multipart, its preamble and its epilogue.
func (w *walker) multipart(h header) error {
	inside := "text/plain"
	if h.kind == "multipart/digest" {
		inside = "message/rfc822"
	}
	w.emitHeader(w.in7Bit(h))
	if h.kind == "multipart/signed" {
		w.signed++
		defer func() { w.signed-- }()
	}
	w.boundaries = append(w.boundaries, []byte(h.boundary))
	if err := w.surroundings(); err != nil {
		return err
	}
	for w.delimiter == h.boundary {
		if err := w.entity(false, inside); err != nil {
			return err
		}
	}
	w.boundaries = w.boundaries[:len(w.boundaries)-1]
	if w.delimiter == h.boundary+"--" {
		return w.surroundings()
	}
	return nil // ended by an outer boundary or the end of the message
}

// surroundings visits a preamble or an epilogue, which mail programs do not show.
func (w *walker) surroundings() error {
	return w.opaque(header{}, errStructure)
}

// relabel returns a header with another transfer encoding. A message without MIME fields gets a
// declaration of its actual content (RFC 1428).
func relabel(h header, encoding string, top bool) []byte {
	if encoding == "7bit" && h.encoding != "8bit" && h.encoding != "binary" {
		return h.raw
	}
	var out []byte
	for raw := h.raw; len(raw) > 0; {
		end := head.FieldEnd(raw)
		name, _, _ := strings.Cut(string(raw[:end]), ":")
		if len(bytes.TrimRight(raw[:end], "\r\n")) == 0 {
			break
		}
		if !strings.EqualFold(strings.TrimSpace(name), "Content-Transfer-Encoding") {
			out = append(out, raw[:end]...)
		}
		raw = raw[end:]
	}
	if top && !h.versioned {
		out = append(out, "MIME-Version: 1.0\r\n"...)
	}
	if !h.typed {
		out = append(out, "Content-Type: text/plain; charset=unknown-8bit\r\n"...)
	}
	return append(append(append(out, "Content-Transfer-Encoding: "...), encoding...), "\r\n\r\n"...)
}

func has8Bit(p []byte) bool {
	for _, c := range p {
		if c >= 0x80 {
			return true
		}
	}
	return false
}

// withoutNULs is a writer that replaces NULs. Some servers drop them, and the dot in a line NUL, dot
// would then end the message. A NUL is not dropped here: the rest of its line could become a
// boundary, and the rest of a field name another name.
type withoutNULs struct{ io.Writer }

func (w withoutNULs) Write(p []byte) (int, error) {
	if bytes.IndexByte(p, 0) < 0 {
		return w.Writer.Write(p)
	}
	return w.Writer.Write(bytes.ReplaceAll(p, []byte{0}, []byte{'?'}))
}

// steady is a writer whose errors come with Flush. The encoder of quoted-printable panics if it is
// used again after an error.
type steady struct{ *bufio.Writer }

func (s steady) Write(p []byte) (int, error) {
	_, _ = s.Writer.Write(p)
	return len(p), nil
}

// plain is an encoder that changes nothing.
type plain struct{ io.Writer }

func (plain) Close() error { return nil }

// lineWrapper splits base64 into lines (RFC 2045 §6.8).
type lineWrapper struct {
	w      io.Writer
	column int
}

func (f *lineWrapper) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if f.column == 76 {
			f.w.Write([]byte("\r\n"))
			f.column = 0
		}
		some := min(76-f.column, len(p))
		if _, err := f.w.Write(p[:some]); err != nil {
			return 0, err
		}
		f.column += some
		p = p[some:]
	}
	return n, nil
}
