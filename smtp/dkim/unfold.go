package dkim

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// unfolder returns a message with each header field on one line. The relaxed canonical form of a
// header (RFC 6376 §3.4.2) stays the same. Without it the DKIM library, which appends line by line,
// needs time quadratic in the number of lines.
type unfolder struct {
	in   *bufio.Reader
	out  []byte // not yet read
	end  string // end of the last line; dropped if the next line continues the field
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

// fill reads the next header line, or a piece of a long one.
func (u *unfolder) fill() error {
	part, err := u.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		err = nil
		if part[len(part)-1] == '\r' { // possibly part of a CRLF
			part = part[:len(part)-1]
			_ = u.in.UnreadByte() // the octet was just read, so this cannot fail
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

// cutEnd splits a line into text and line end. A piece of a line has no end.
func cutEnd(line []byte) (text []byte, end string) {
	for _, end := range []string{"\r\n", "\n"} {
		if text, ok := bytes.CutSuffix(line, []byte(end)); ok {
			return text, end
		}
	}
	return line, ""
}
