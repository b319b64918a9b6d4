package dkim

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// unfolder gives a message with each field of its header in one line. To the relaxed canonical form of a header (RFC 6376
// §3.4.2) that is the same; the library, which adds line to line, would need the square of the number of lines.
type unfolder struct {
	in   *bufio.Reader
	out  []byte // to be read
	end  string // of the last line: it is left out where the next one is folded
	mid  bool   // the last piece was not the end of its line
	body bool
}

func newUnfolder(message io.Reader) *unfolder {
	return &unfolder{in: bufio.NewReaderSize(message, 16<<10)}
}

// Read implements io.Reader.
func (u *unfolder) Read(p []byte) (int, error) {
	for len(u.out) == 0 {
		if u.body {
			return u.in.Read(p)
		}
		if err := u.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, u.out)
	u.out = u.out[n:]
	return n, nil
}

// fill takes the next line of the header, or a piece of a long one.
func (u *unfolder) fill() error {
	part, err := u.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		err = nil
		if part[len(part)-1] == '\r' { // perhaps of a CRLF
			part = part[:len(part)-1]
			_ = u.in.UnreadByte() // it was just read
		}
	}
	u.out = u.out[:0]
	if len(part) == 0 {
		u.body = true // the message ends with its header
		if u.out, u.end = append(u.out, u.end...), ""; len(u.out) == 0 {
			return err
		}
		return nil
	}
	text, end := cutEnd(part)
	if !u.mid {
		if folded := part[0] == ' ' || part[0] == '\t'; !folded || u.end == "" {
			u.out = append(u.out, u.end...)
		}
		u.body = len(text) == 0
	}
	u.out, u.end, u.mid = append(u.out, text...), end, end == ""
	if u.body {
		u.out = append(u.out, end...)
	}
	return nil
}

// cutEnd parts a line from its end, which a piece of one does not have.
func cutEnd(line []byte) (text []byte, end string) {
	for _, end := range []string{"\r\n", "\n"} {
		if text, ok := bytes.CutSuffix(line, []byte(end)); ok {
			return text, end
		}
	}
	return line, ""
}
