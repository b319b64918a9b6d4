package admin

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"

	"pillarbox/mailstore"
)

// The format of mbox files is mboxrd (mbox(5) of qmail; RFC 4155 describes the variants). A line
// "From sender date" precedes each message, and an empty line follows it. A line of the message
// that begins with any number of ">" and then "From " gets one more ">". An older variant, mboxo,
// quotes only lines that begin with "From " itself; the reader removes that quote too. In the variant
// mboxcl2 no line is quoted, see mboxIndex.
//
// An export keeps the CRLF of all lines, so no byte is lost. It writes the message's ID as the
// sender, so that an import restores the unique-id.

// formatFromLine returns the line before a message.
func formatFromLine(uid string, arrived time.Time) string {
	sender := "MAILER-DAEMON"
	if mailstore.IsID(uid) {
		sender = uid
	}
	return fmt.Sprintf("From %s %s\r\n", sender, arrived.UTC().Format(time.ANSIC))
}

// fromQuoter is an io.Writer that adds a ">" to each line that mboxrd quotes, or removes one if
// remove is set. It holds back only the number of quotes, so a line of any length needs no memory.
type fromQuoter struct {
	w      io.Writer
	remove bool

	inLine bool // the beginning of the line is decided; copy the rest
	quotes int  // number of ">" at the beginning of the line
	seen   int  // number of octets of fromWord after them
}

const fromWord = "From "

// Write implements io.Writer.
func (q *fromQuoter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		var err error
		switch {
		case q.inLine:
			line := p
			if end := bytes.IndexByte(p, '\n'); end >= 0 {
				line, q.inLine = p[:end+1], false
			}
			p = p[len(line):]
			_, err = q.w.Write(line)
		case q.seen == 0 && p[0] == '>':
			q.quotes++
			p = p[1:]
		case p[0] == fromWord[q.seen]:
			p = p[1:]
			if q.seen++; q.seen == len(fromWord) {
				err = q.begin(true)
			}
		default:
			err = q.begin(false)
		}
		if err != nil {
			return 0, err
		}
	}
	return n, nil
}

// begin writes the held-back beginning of the line; from is true if it is "From ".
func (q *fromQuoter) begin(from bool) error {
	quotes := q.quotes
	if from && q.remove {
		quotes = max(0, quotes-1)
	} else if from {
		quotes++
	}
	word := fromWord[:q.seen]
	q.inLine, q.quotes, q.seen = true, 0, 0
	for quotes > 0 {
		some := min(quotes, 4096)
		if _, err := io.WriteString(q.w, strings.Repeat(">", some)); err != nil {
			return err
		}
		quotes -= some
	}
	_, err := io.WriteString(q.w, word)
	return err
}

// Finish writes the held-back beginning of an incomplete last line.
func (q *fromQuoter) Finish() error {
	if q.inLine {
		return nil
	}
	return q.begin(false)
}
