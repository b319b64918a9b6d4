package pickup

import (
	"errors"
	"io"
)

// lineEnds converts all line ends to CRLF: LF, CRLF, a lone CR, and the CR CR LF of some old
// programs. It adds a line end to the last line if that has none.
type lineEnds struct {
	r    io.Reader
	in   []byte
	out  []byte // converted, not yet read
	buf  []byte // the memory of out
	crs  int    // CRs before an octet not yet read
	open bool   // the last written line has no end yet
	err  error
}

// maxCRs is the maximum number of consecutive CRs that are treated as one group.
const maxCRs = 8

func newLineEnds(r io.Reader) *lineEnds { return &lineEnds{r: r, in: make([]byte, 16<<10)} }

// Read implements io.Reader.
func (l *lineEnds) Read(p []byte) (int, error) {
	for len(l.out) == 0 {
		if l.err != nil {
			return 0, l.err
		}
		n, err := l.r.Read(l.in)
		l.buf = l.convert(l.buf[:0], l.in[:n])
		if errors.Is(err, io.EOF) {
			l.buf = l.finish(l.buf)
		}
		l.out, l.err = l.buf, err
	}
	n := copy(p, l.out)
	l.out = l.out[n:]
	return n, nil
}

func (l *lineEnds) convert(out, in []byte) []byte {
	for _, c := range in {
		switch c {
		case '\n':
			out, l.crs, l.open = append(out, '\r', '\n'), 0, false
		case '\r':
			if l.crs++; l.crs > maxCRs {
				out, l.crs, l.open = append(out, '\r', '\n'), l.crs-1, false
			}
		default:
			out = append(l.endLines(out), c)
			l.open = true
		}
	}
	return out
}

// endLines turns CRs that are not part of a CRLF into line ends.
func (l *lineEnds) endLines(out []byte) []byte {
	for ; l.crs > 0; l.crs-- {
		out, l.open = append(out, '\r', '\n'), false
	}
	return out
}

func (l *lineEnds) finish(out []byte) []byte {
	if out = l.endLines(out); l.open {
		out, l.open = append(out, '\r', '\n'), false
	}
	return out
}
