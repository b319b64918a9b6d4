package remote

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"

	"pillarbox/mailstore/foreign"
	"pillarbox/smtp"
)

const (
	maxReplyLine  = 2048     // octets kept of a line; RFC 5321 §4.5.3.1.5 has 512
	maxLongLine   = 64 << 10 // octets of a line; the rest of a long one is skipped
	maxReplyLines = 100
	maxReplyText  = 400 // octets kept of all lines together
)

// errReply is the class of errors for text that is not an SMTP reply.
var errReply = errors.New("no SMTP reply")

// reply is one reply of a server (RFC 5321 §4.2). text is raw, with the lines joined by LF and cut
// at a maximum length. Only the results of words and line may be passed on.
type reply struct {
	code int
	text []byte
	mask foreign.Mask // secrets that we sent to the server
}

// read reads the next reply from in, whose buffer limits what is kept of a line. each, if not nil, is
// called with the text of every line, which is valid only during the call. Lines may end with a
// bare LF. Errors: errReply, or those of the connection.
func (r *reply) read(in *bufio.Reader, each func(line []byte)) error {
	r.code, r.text = 0, r.text[:0]
	for range maxReplyLines {
		line, err := readLine(in)
		switch {
		case errors.Is(err, io.EOF):
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		}
		line = bytes.TrimRight(line, "\r\n")
		code, more, text, ok := splitReply(line)
		if !ok || r.code != 0 && r.code != code {
			return errReply
		}
		if r.code != 0 && len(r.text) < 4*maxReplyText {
			r.text = append(r.text, '\n')
		}
		r.code = code
		if len(r.text) < 4*maxReplyText {
			r.text = append(r.text, text...)
		}
		if each != nil {
			each(text)
		}
		if !more {
			return nil
		}
	}
	return errReply
}

// readLine reads a line, and keeps the beginning of one that is longer than the buffer: some servers
// explain at length. The result is valid until the next read. errReply means an endless line.
func readLine(in *bufio.Reader) ([]byte, error) {
	line, err := in.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return line, err
	}
	line = bytes.Clone(line)
	for size := len(line); size < maxLongLine; {
		rest, err := in.ReadSlice('\n')
		if size += len(rest); !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
	return nil, errReply
}

// splitReply splits "250-text", "250 text" or "250".
func splitReply(line []byte) (code int, more bool, text []byte, ok bool) {
	if len(line) < 3 || line[0] < '2' || line[0] > '5' || !isDigit(line[1]) || !isDigit(line[2]) {
		return 0, false, nil, false
	}
	code = int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')
	if len(line) == 3 {
		return code, false, nil, true
	}
	if line[3] != ' ' && line[3] != '-' {
		return 0, false, nil, false
	}
	return code, line[3] == '-', line[4:], true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// positive reports whether the command succeeded.
func (r *reply) positive() bool { return r.code/100 == 2 }

// words returns the reply as an smtp.Reply: on one line, printable, with the enhanced code (RFC
// 3463, RFC 2034) removed from every line.
func (r *reply) words() smtp.Reply {
	out := smtp.Reply{Code: r.code, Enhanced: [3]int{r.code / 100, 0, 0}}
	var b strings.Builder
	for i, line := range bytes.Split(r.text, []byte{'\n'}) {
		if code, rest, ok := cutEnhanced(line); ok && code[0] == r.code/100 &&
			(i == 0 || code == out.Enhanced) {
			out.Enhanced, line = code, rest
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			if b.Len() > 0 {
				b.WriteByte(' ')
			}
			b.Write(line)
		}
	}
	out.Text = printable(r.mask.Hide(b.String()))
	return out
}

// line returns the whole text on one line, printable, for people.
func (r *reply) line() string {
	return printable(r.mask.Hide(string(bytes.ReplaceAll(r.text, []byte{'\n'}, []byte(", ")))))
}

// cutEnhanced removes a leading "5.1.1 ".
func cutEnhanced(line []byte) (code [3]int, rest []byte, ok bool) {
	word, rest, _ := bytes.Cut(line, []byte{' '})
	part, digits := 0, 0
	for _, c := range word {
		switch {
		case isDigit(c) && digits < 3:
			code[part] = code[part]*10 + int(c-'0')
			digits++
		case c == '.' && part < 2 && digits > 0:
			part, digits = part+1, 0
		default:
			return [3]int{}, line, false
		}
	}
	if part != 2 || digits == 0 || code[0] != 2 && code[0] != 4 && code[0] != 5 {
		return [3]int{}, line, false
	}
	return code, rest, true
}

// printable makes text of other servers safe for reports and logs.
func printable(s string) string { return foreign.Printable(s, maxReplyText) }
