package admin

import (
	"bufio"
	"bytes"
	"errors"
	"io"

	"pillarbox/mailstore/mailtext"
)

const (
	// maxHead is how many octets of a line are kept: enough for a separator and for the fields that
	// an import reads.
	maxHead = 998
	// maxCRs is the longest run of CRs before a LF that is one line end, as in mailtext.
	maxCRs = 8
)

// utf8BOM is what some Windows programs write at the beginning of a text file.
var utf8BOM = []byte("\xef\xbb\xbf")

// mboxLine is a line of an mbox file. Text after maxHead octets is not kept.
type mboxLine struct {
	number     int    // in the file, from 1
	start, end int64  // in the file; end is after the line end
	textEnd    int64  // where the line end begins
	head       []byte // without the line end
	blank      bool
}

// mboxLines reads the lines of an mbox file. LF, CRLF and CR CR LF end a line. A CR alone ends lines
// only after a separator that a CR ends: in other files it may be part of the text.
type mboxLines struct {
	in     *bufio.Reader
	at     int64
	number int
	loneCR bool
	err    error // io.EOF at the end
}

// newMboxLines returns the lines of r, without a byte order mark and blank lines at its beginning.
func newMboxLines(r io.Reader) *mboxLines {
	s := &mboxLines{in: bufio.NewReaderSize(r, 64<<10)}
	if start, _ := s.in.Peek(len(utf8BOM)); bytes.Equal(start, utf8BOM) {
		s.discard(len(utf8BOM))
	}
	for {
		next, _ := s.in.Peek(2)
		if len(next) == 0 || next[0] != '\r' && next[0] != '\n' {
			return s
		}
		if next[0] == '\n' || len(next) < 2 || next[1] != '\n' {
			s.number++
		}
		s.discard(1)
	}
}

func (s *mboxLines) discard(n int) {
	n, _ = s.in.Discard(n) // an error comes again with the next read
	s.at += int64(n)
}

// read reads the next line into l, and reuses its memory. It returns false at the end and after an
// error.
func (s *mboxLines) read(l *mboxLine) bool {
	*l = mboxLine{number: s.number + 1, start: s.at, head: l.head[:0]}
	if s.err != nil {
		return false
	}
	s.detectLoneCR()
	cut := false
	for whole := false; !whole && s.err == nil; {
		var part []byte
		part, whole = s.part()
		room := min(len(part), maxHead+maxCRs+1-len(l.head))
		cut = cut || room < len(part)
		l.head = append(l.head, part[:room]...)
		s.discard(len(part))
		if whole && s.loneCR && bytes.HasSuffix(part, []byte("\r")) {
			s.discard(s.restOfLineEnd())
		}
	}
	if s.at == l.start {
		return false
	}
	s.number, l.end = l.number, s.at
	if cut {
		l.textEnd = l.end - 2 // at most: no separator is that long, and no blank line
		return true
	}
	l.head = bytes.TrimRight(l.head, "\r\n")
	l.textEnd, l.blank = l.start+int64(len(l.head)), len(l.head) == 0
	return true
}

// part returns what is buffered of the current line, and whether that has the line's end.
func (s *mboxLines) part() (part []byte, whole bool) {
	if _, err := s.in.Peek(1); err != nil {
		s.err = err
		return nil, true
	}
	part, _ = s.in.Peek(s.in.Buffered())
	end := bytes.IndexByte(part, '\n')
	if s.loneCR {
		end = bytes.IndexAny(part, "\r\n")
	}
	if end < 0 {
		return part, false
	}
	return part[:end+1], true
}

// restOfLineEnd returns the number of octets that belong to a line end that begins with a CR.
func (s *mboxLines) restOfLineEnd() int {
	next, _ := s.in.Peek(maxCRs)
	if i := crsBeforeLF(next); i >= 0 {
		return i + 1
	}
	return 0
}

// crsBeforeLF returns the number of CRs before a LF at the beginning of text, or -1 if no LF follows
// them.
func crsBeforeLF(text []byte) int {
	i := len(text) - len(bytes.TrimLeft(text, "\r"))
	if i < len(text) && text[i] == '\n' {
		return i
	}
	return -1
}

// detectLoneCR decides by a separator whether a CR alone ends the lines that follow.
func (s *mboxLines) detectLoneCR() {
	const most = len("\xef\xbb\xbfFrom ")
	if start, _ := s.in.Peek(most); !bytes.HasPrefix(bytes.TrimPrefix(start, utf8BOM), []byte(fromWord)) {
		return
	}
	line, _ := s.in.Peek(maxHead)
	end := bytes.IndexAny(line, "\r\n")
	if end < 0 || classify(line[:end]) == notFrom {
		return
	}
	s.loneCR = line[end] == '\r' && crsBeforeLF(line[end:]) < 0
}

// failed returns the error that ended the lines, or nil at their end.
func (s *mboxLines) failed() error {
	if errors.Is(s.err, io.EOF) {
		return nil
	}
	return s.err
}

// recognize returns an error if the file that begins with head is of a kind that holds no mail as
// text.
func recognize(head []byte) error {
	if kind, ok := mailtext.Recognize(head); ok {
		return Hint(errors.New("it is "+kind.Name+", not a message or an mbox"), "%s", kind.Advice)
	}
	return nil
}
