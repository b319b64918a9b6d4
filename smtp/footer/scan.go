package footer

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"mime"
	"slices"
	"strings"

	"pillarbox/mailstore/head"
)

const (
	lineSize  = 64 << 10  // longer lines are handled in pieces
	maxHeader = 320 << 10 // more than a session accepts
	maxDepth  = 10
)

// refusal is why a message goes without a footer.
type refusal string

func (r refusal) Error() string { return string(r) }

// Make reads a message and plans where the footer goes. If it can go nowhere, plan is nil and why has
// the reason. The error is one of r.
func Make(r io.Reader, f Footer) (plan *Plan, why string, err error) {
	if f.IsZero() {
		return nil, "there is no footer", nil
	}
	s := &scanner{in: bufio.NewReaderSize(r, lineSize), footer: f, plan: new(Plan)}
	err = s.entity(place{wanted: true, top: true})
	if no, ok := errors.AsType[refusal](err); ok {
		return nil, string(no), nil
	} else if err != nil {
		return nil, "", err
	}
	if !s.placed {
		return nil, "the message has no text", nil
	}
	s.plan.sort()
	return s.plan, "", nil
}

// scanner reads a message once.
type scanner struct {
	in     *bufio.Reader
	at     int64 // offset of the next octet
	footer Footer
	plan   *Plan
	placed bool // a part has the footer

	boundaries [][]byte  // of the enclosing multiparts, with the leading "--"
	parents    []*header // of the enclosing multiparts
	midLine    bool
	delimiter  string // the boundary line that ended a part; "": end of the message
}

// place is where an entity is.
type place struct {
	top    bool
	parent string // the kind of the multipart around it
	index  int    // in the multipart
	wanted bool   // the footer belongs in it, if it is text
}

// line is a piece of the message: a line with its end, or a part of a long one.
type line struct {
	text      []byte // valid until the next read
	at        int64  // its offset
	delimits  bool
	continues bool // it does not begin a line
}

func (s *scanner) next() (line, error) {
	l := line{at: s.at, continues: s.midLine}
	p, err := s.in.ReadSlice('\n')
	if len(p) == 0 || err != nil && !errors.Is(err, bufio.ErrBufferFull) && !errors.Is(err, io.EOF) {
		return l, err
	}
	if errors.Is(err, bufio.ErrBufferFull) && p[len(p)-1] == '\r' && s.in.UnreadByte() == nil {
		p = p[:len(p)-1] // CR and LF stay together
	}
	s.at += int64(len(p))
	l.text = p
	s.midLine = p[len(p)-1] != '\n'
	if !l.continues && (!s.midLine || errors.Is(err, io.EOF)) && len(p) > 2 && p[0] == '-' && p[1] == '-' {
		trimmed := bytes.TrimRight(p, " \t\r\n")
		l.delimits = slices.ContainsFunc(s.boundaries, func(b []byte) bool {
			rest, ok := bytes.CutPrefix(trimmed, b)
			return ok && (len(rest) == 0 || string(rest) == "--")
		})
	}
	return l, nil
}

// header is what matters of an entity's header.
type header struct {
	kind     string // type/subtype in lower case
	params   map[string]string
	encoding string // in lower case; "": none
	at       map[string]edit
	end      int64 // offset of the empty line
	attached bool
	signed   bool // there is a DKIM-Signature
	eight    bool // declared as 8bit by an edit
}

func (s *scanner) header(kind string) (*header, error) {
	h := &header{kind: kind, at: make(map[string]edit)}
	start, raw := s.at, []byte(nil)
	for {
		l, err := s.next()
		if errors.Is(err, io.EOF) {
			return nil, refusal("a part has no body")
		} else if err != nil {
			return nil, err
		}
		if l.delimits {
			return nil, refusal("a part has no body")
		}
		if !l.continues && len(bytes.TrimRight(l.text, "\r\n")) == 0 {
			h.end = l.at
			return h, h.parse(raw, start)
		}
		if raw = append(raw, l.text...); len(raw) > maxHeader {
			return nil, refusal("a header is too long")
		}
	}
}

// parse reads the fields of a header that begins at an offset.
func (h *header) parse(raw []byte, at int64) error {
	for len(raw) > 0 {
		end := head.FieldEnd(raw)
		field := string(raw[:end])
		name, value, ok := strings.Cut(field, ":")
		name = strings.ToLower(strings.TrimSpace(name))
		place := edit{at: at, drop: int64(end)}
		raw, at = raw[end:], at+int64(end)
		if !ok {
			return refusal("a header cannot be parsed")
		}
		value = strings.TrimSpace(strings.NewReplacer("\r", "", "\n", "").Replace(value))
		switch name {
		case "dkim-signature":
			h.signed = true
			continue
		case "content-type", "content-transfer-encoding", "content-disposition", "mime-version":
		default:
			continue
		}
		if _, twice := h.at[name]; twice {
			return refusal("a header has a field twice")
		}
		h.at[name] = place
		switch name {
		case "content-type":
			kind, params, err := mime.ParseMediaType(value)
			if err != nil {
				return refusal("a content type cannot be parsed")
			}
			h.kind, h.params = kind, params
		case "content-transfer-encoding":
			h.encoding = strings.ToLower(value)
		case "content-disposition":
			h.attached = !strings.HasPrefix(strings.ToLower(value), "inline")
		}
	}
	return nil
}

// identity reports whether the body is not encoded.
func (h *header) identity() bool {
	switch h.encoding {
	case "", "7bit", "8bit", "binary":
		return true
	}
	return false
}

// entity reads the message or one part, up to the boundary after it.
func (s *scanner) entity(p place) error {
	if len(s.boundaries) > maxDepth {
		return refusal("its parts are nested too deep")
	}
	h, err := s.header("text/plain")
	switch {
	case err != nil && !p.wanted && errors.As(err, new(refusal)):
		return s.skip() // an attachment may look as it likes
	case err != nil:
		return err
	case h.signed && p.top:
		return refusal("it has a DKIM signature")
	}
	if p.wanted {
		if p.wanted, err = h.wanted(p); err != nil {
			return err
		}
	}
	switch {
	case !p.wanted:
		return s.skip()
	case strings.HasPrefix(h.kind, "multipart/"):
		return s.multipart(h)
	}
	return s.text(h, p)
}

// wanted reports whether the footer belongs into this entity, of a place where it is wanted.
func (h *header) wanted(p place) (bool, error) {
	switch h.kind {
	case "multipart/signed":
		return false, refusal("it is signed")
	case "multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime":
		return false, refusal("it is signed or encrypted")
	}
	isText := h.kind == "text/plain" || h.kind == "text/html"
	isParts := h.kind == "multipart/alternative" || h.kind == "multipart/mixed" || h.kind == "multipart/related"
	first := p.top || p.index == 0 && p.parent != "multipart/alternative"
	switch {
	case isText && !h.attached, isParts && h.identity() && h.params["boundary"] != "":
		return true, nil
	case first:
		return false, refusal("it does not begin with text")
	}
	return false, nil
}

// skip reads up to the next boundary line.
func (s *scanner) skip() error {
	for {
		l, err := s.next()
		switch {
		case errors.Is(err, io.EOF):
			s.delimiter = ""
			return nil
		case err != nil:
			return err
		case l.delimits:
			s.delimiter = strings.TrimRight(string(l.text), " \t\r\n")
			return nil
		}
	}
}

func (s *scanner) multipart(h *header) error {
	boundary := "--" + strings.TrimRight(h.params["boundary"], " \t")
	if h.kind == "multipart/related" && h.params["start"] != "" {
		return refusal("its root part is not the first")
	}
	s.boundaries = append(s.boundaries, []byte(boundary))
	s.parents = append(s.parents, h)
	if err := s.skip(); err != nil { // the preamble
		return err
	}
	for i := 0; s.delimiter == boundary; i++ {
		all := h.kind == "multipart/alternative"
		if err := s.entity(place{parent: h.kind, index: i, wanted: all || i == 0}); err != nil {
			return err
		}
	}
	if s.delimiter != boundary+"--" {
		return refusal("a multipart does not end")
	}
	s.boundaries = s.boundaries[:len(s.boundaries)-1]
	s.parents = s.parents[:len(s.parents)-1]
	return s.skip() // the epilogue
}
