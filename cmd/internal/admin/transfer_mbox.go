package admin

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"pillarbox/mailstore"
)

// The format of mbox files is mboxrd (mbox(5) of qmail; RFC 4155 describes the variants). A line
// "From sender date" precedes each message, and an empty line follows it. A line of the message
// that begins with any number of ">" and then "From " gets one more ">". An older variant, mboxo,
// quotes only lines that begin with "From " itself; the reader removes that quote too.
//
// An export keeps the CRLF of all lines, so no byte is lost. It writes the message's ID as the
// sender, so that an import restores the unique-id.

// mboxMessage is the place of a message in an mbox file.
type mboxMessage struct {
	start, end int64
	id         string    // "" unless the sender is an ID of this server
	arrived    time.Time // zero if the date cannot be parsed
}

// fromLine matches the line before a message. It must contain a date, because old programs did not
// quote lines of the text that begin with "From ".
var fromLine = regexp.MustCompile(`^From .*\b\d{1,2}:\d\d.*\b\d{4}\b`)

// errNoMbox is the error for a file in another format.
var errNoMbox = errors.New("not an mbox file: its first line is not like 'From somebody@example.org Mon Jan  1 12:00:00 2024'")

// indexMbox returns the places of all messages in an mbox file.
func indexMbox(r io.Reader) ([]mboxMessage, error) {
	var all []mboxMessage
	var at int64    // the position in the file
	var blank int64 // the length of the previous line if it was empty, otherwise 0
	inLine := false // the last part did not end its line
	in := bufio.NewReaderSize(r, 64<<10)
	for {
		part, err := in.ReadSlice('\n')
		if len(part) > 0 && !inLine {
			if (at == 0 || blank > 0) && fromLine.Match(part) {
				if n := len(all); n > 0 {
					all[n-1].end = at - blank
				}
				all = append(all, parseFromLine(string(part)))
				all[len(all)-1].start = at + int64(len(part))
				blank = 0
			} else if at == 0 {
				return nil, errNoMbox
			} else if blank = 0; len(bytes.TrimRight(part, "\r\n")) == 0 {
				blank = int64(len(part))
			}
		}
		at += int64(len(part))
		inLine = errors.Is(err, bufio.ErrBufferFull)
		switch {
		case err == io.EOF:
			if n := len(all); n > 0 {
				all[n-1].end = max(all[n-1].start, at-blank)
			}
			return all, nil
		case err != nil && !inLine:
			return nil, err
		}
	}
}

// parseFromLine parses the sender and the date of a From line. A field that it cannot parse stays
// zero.
func parseFromLine(line string) (m mboxMessage) {
	fields := strings.Fields(strings.TrimPrefix(line, "From "))
	if len(fields) == 0 {
		return m
	}
	if mailstore.IsID(fields[0]) {
		m.id = fields[0]
	}
	date := strings.Join(fields[1:], " ")
	for _, layout := range []string{
		"Mon Jan 2 15:04:05 2006", "Mon Jan 2 15:04:05 2006 -0700", "Mon Jan 2 15:04:05 -0700 2006",
		"Mon Jan 2 15:04:05 MST 2006", "Mon Jan 2 15:04 2006", "Mon, 2 Jan 2006 15:04:05 -0700",
	} {
		if t, err := time.Parse(layout, date); err == nil {
			m.arrived = t.UTC()
			break
		}
	}
	return m
}

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
