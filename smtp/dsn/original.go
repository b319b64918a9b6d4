package dsn

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"mime"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxHeader limits how much of an original's header is returned, in octets.
const maxHeader = 64 << 10

// original has the properties of the original that the report's first lines depend on.
type original struct {
	present bool
	whole   bool   // all of it is returned, not only the header
	length  int64  // octets that are returned, from the beginning
	eight   bool   // the returned part has 8-bit octets
	utf8    bool   // its header has them too
	subject string // decoded, on one line
	clash   bool   // a line looks like the boundary
}

// survey reads the original. If that fails, the report is made without the original.
func (r *Report) survey(boundary string) original {
	if r.Original == nil {
		return original{}
	}
	f, err := r.Original()
	if err != nil {
		return original{}
	}
	defer f.Close()
	s := surveyor{
		delimiter: []byte("--" + boundary), inHeader: true, whole: r.wantsWhole(), limit: r.MaxReturn,
	}
	if s.read(bufio.NewReaderSize(f, 16<<10)) != nil {
		return original{}
	}
	return s.result()
}

// wantsWhole reports whether the whole original is returned. RET applies to failures only (RFC 3461
// §4.3); otherwise the header is enough.
func (r *Report) wantsWhole() bool {
	isFailed := func(rcpt Recipient) bool { return rcpt.action() == Failed }
	return slices.ContainsFunc(r.Recipients, isFailed) && !strings.EqualFold(r.Ret, "HDRS") && r.OriginalSize <= r.MaxReturn
}

// surveyor reads a message line by line, and long lines in pieces.
type surveyor struct {
	delimiter []byte
	whole     bool  // read the body too
	limit     int64 // octets of the whole message

	all       original  // what was read so far
	header    *original // the part of the header that can be returned; nil: not known yet
	inHeader  bool
	inSubject bool
	field     []byte // the Subject field, undecoded
}

func (s *surveyor) result() original {
	o := *s.header
	if s.whole {
		o = s.all
		o.whole = true
	}
	o.present, o.subject = true, decodeSubject(s.field)
	return o
}

func (s *surveyor) read(in *bufio.Reader) error {
	for atStart := true; ; {
		piece, err := in.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) && !errors.Is(err, io.EOF) {
			return err
		}
		s.take(piece, atStart)
		if errors.Is(err, io.EOF) {
			s.endHeader()
			return nil
		}
		if !s.whole && s.header != nil {
			return nil
		}
		atStart = err == nil
	}
}

func (s *surveyor) take(piece []byte, atStart bool) {
	if s.inHeader {
		if atStart && len(piece) > 0 && len(bytes.TrimRight(piece, "\r\n")) == 0 {
			s.inHeader = false
			s.endHeader()
		} else {
			s.takeSubject(piece, atStart)
		}
	}
	if s.all.length+int64(len(piece)) > maxHeader {
		s.endHeader()
	}
	s.all.length += int64(len(piece))
	is8Bit := func(r rune) bool { return r >= utf8.RuneSelf }
	s.all.eight = s.all.eight || bytes.ContainsFunc(piece, is8Bit)
	s.all.utf8 = s.all.utf8 || s.inHeader && s.all.eight
	s.all.clash = s.all.clash || atStart && bytes.HasPrefix(piece, s.delimiter)
	s.whole = s.whole && s.all.length <= s.limit
}

// endHeader is called at the end of the header, or at maxHeader if that comes first.
func (s *surveyor) endHeader() {
	if s.header == nil {
		s.header = new(s.all)
	}
}

func (s *surveyor) takeSubject(piece []byte, atStart bool) {
	if atStart && len(piece) > 0 && piece[0] != ' ' && piece[0] != '\t' {
		s.inSubject = len(s.field) == 0 && len(piece) > 8 &&
			strings.EqualFold(string(piece[:8]), "Subject:")
	}
	if s.inSubject && len(s.field)+len(piece) < 4096 {
		s.field = append(s.field, piece...)
	}
}

func decodeSubject(field []byte) string {
	_, text, _ := strings.Cut(string(field), ":")
	text = oneLine(text, 4096)
	if decoded, err := new(mime.WordDecoder).DecodeHeader(text); err == nil {
		text = decoded
	}
	return oneLine(text, maxTitle)
}

// mediaType is the media type of the part with the original (RFC 3462 §2, RFC 6533 §4).
func (o original) mediaType() string {
	switch {
	case o.whole && o.utf8:
		return "message/global"
	case o.whole:
		return "message/rfc822"
	case o.utf8:
		return "message/global-headers"
	}
	return "text/rfc822-headers"
}
