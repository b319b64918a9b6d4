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

// An mbox file is read and written in the form that is called mboxrd (mbox(5) of qmail; RFC 4155 tells the
// history): each message follows a line "From sender date" and is followed by an empty line, and a line of it that
// would begin with "From ", behind any number of ">", has one more ">". Our own have CRLF at the end of all lines,
// so that not a byte is lost, and as the sender the message's ID, so that its unique-id comes back with it. In the
// older form, mboxo, only "From " itself is quoted; what was quoted is read in the same way.

// mboxMessage is where a message is in an mbox file.
type mboxMessage struct {
	start, end int64
	id         string    // "" if the sender is none of our IDs
	arrived    time.Time // zero if the date cannot be understood
}

// fromLine is a line that parts messages. Old programs wrote lines that begin with "From " into messages as they were,
// so a date is asked for.
var fromLine = regexp.MustCompile(`^From .*\b\d{1,2}:\d\d.*\b\d{4}\b`)

// errNoMbox says that a file is none of this format.
var errNoMbox = errors.New("not an mbox file: its first line is not like 'From somebody@example.org Mon Jan  1 12:00:00 2024'")

// indexMbox finds the messages in an mbox file, from its lines alone.
func indexMbox(r io.Reader) ([]mboxMessage, error) {
	var all []mboxMessage
	var at int64    // in the file
	var blank int64 // length of the line before if that was empty
	inLine := false // the line goes on from the last part
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

// parseFromLine understands the sender and the date of a From line, as far as they can be.
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

// formatFromLine is the line before a message.
func formatFromLine(uid string, arrived time.Time) string {
	sender := "MAILER-DAEMON"
	if mailstore.IsID(uid) {
		sender = uid
	}
	return fmt.Sprintf("From %s %s\r\n", sender, arrived.UTC().Format(time.ANSIC))
}

// fromQuoter is an io.Writer that adds a ">" to the lines that need it, or takes one away. Quotes wait in memory only
// as a number. The zero quoter, given w, adds.
type fromQuoter struct {
	w      io.Writer
	remove bool

	inLine bool // beyond what matters of the line
	quotes int  // seen of this line
	seen   int  // of the word, behind them
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

// begin writes what was held of the line.
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

// Finish writes what is held of an unfinished line.
func (q *fromQuoter) Finish() error {
	if q.inLine {
		return nil
	}
	return q.begin(false)
}
