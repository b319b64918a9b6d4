package admin

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"pillarbox/mailstore"
)

// mboxMessage is the place of a message in an mbox file.
type mboxMessage struct {
	start, end int64
	id         string    // "" unless the sender is an ID of this server
	arrived    time.Time // zero if the date cannot be parsed
	head       headFacts
	blank      bool // it has no text
	verbatim   bool // no line is quoted
}

// fromKind says how much a line looks like the line before a message.
type fromKind int

const (
	notFrom     fromKind = iota
	fromDated            // it has a time and a year somewhere
	fromAddress          // it has an address and no date
	fromStrict           // it has the date of mbox(5) or of RFC 5322 at its end
)

const (
	weekdays = `(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)`
	months   = `(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)`
	zones    = `(?:\s+[A-Z]{1,5}|\s+[+-]\d{4})*`
)

var (
	strictFrom = regexp.MustCompile(`^From (?:.*\s)?` + weekdays + `,?\s+(?:` + months + `\s+\d{1,2}|\d{1,2}\s+` + months + `)` +
		`(?:\s+\d{4})?\s+\d{1,2}:\d\d(?::\d\d)?` + zones + `(?:\s+\d{4})?` + zones + `(?:\s+remote from \S+)?\s*$`)
	fromTime  = regexp.MustCompile(`\b\d{1,2}:\d\d`)
	fromYear  = regexp.MustCompile(`\b\d{4}\b`)
	fromPlain = regexp.MustCompile(`^From (?:\S*@\S*|-|MAILER-DAEMON)\s*$`)
	// anyField matches a header field, mailField one that mail programs put first.
	anyField  = regexp.MustCompile(`^[!-9;-~]+[ \t]*:`)
	mailField = regexp.MustCompile(`(?i)^(?:return-path|received|delivered-to|date|from|sender|reply-to|to|cc|subject|message-id|mime-version|status|content-[a-z-]+|x-[!-9;-~]+|>from )[ \t]*:?`)
)

// classify says what kind of From line a line is.
func classify(line []byte) fromKind {
	switch {
	case len(line) > maxHead || !bytes.HasPrefix(line, []byte(fromWord)):
		return notFrom
	case fromPlain.Match(line):
		return fromAddress
	case !fromTime.Match(line):
		return notFrom
	case strictFrom.Match(line):
		return fromStrict
	case fromYear.Match(line):
		return fromDated
	}
	return notFrom
}

// separates reports whether a line begins a message. Old programs did not quote lines of the text
// that begin with "From ", and some wrote no blank line before a message. So the lines around it
// decide too.
func separates(line, next []byte, afterBlank bool) bool {
	switch classify(line) {
	case fromStrict:
		return afterBlank || anyField.Match(next)
	case fromDated:
		return afterBlank && anyField.Match(next)
	case fromAddress:
		return afterBlank && mailField.Match(next)
	}
	return false
}

// mboxIndex finds the messages of an mbox file.
//
// A Content-Length (of the variants mboxcl and mboxcl2) counts if exactly that many octets after the
// header the file ends or another message begins. Then the lines in between separate nothing, unless
// one of them begins a message whose own Content-Length is right.
type mboxIndex struct {
	all []mboxMessage

	head         *headParser // of the last message; nil in its body
	begun        bool        // the previous line began the last message
	afterBlank   bool
	blankStart   int64 // of the previous line, if it is blank
	textEnd      int64 // of the last line that is not blank
	lastFrom     int64 // start of the last line that begins with "From "
	part         partState
	encapsulated bool // the next line is the first of an attached message

	claims  []claim
	trusted map[int]bool // the messages whose Content-Length is right
	bare    bool         // one of those has a line "From " that is not quoted: mboxcl2
}

// claim is the end of a message by its Content-Length.
type claim struct {
	message    int
	start, end int64
}

// maxClaims bounds the work for a file with wrong values.
const maxClaims = 16

// partState is where in a MIME part a line is.
type partState int

const (
	inText partState = iota
	inPartHead
	inMessageHead // the header of a part says message/rfc822
)

// indexMbox returns the places of all messages in an mbox file. The error names the line if the
// file does not begin with a message.
func indexMbox(r io.Reader) ([]mboxMessage, error) {
	x := &mboxIndex{trusted: make(map[int]bool)}
	lines := newMboxLines(r)
	var line, next mboxLine
	for more := lines.read(&line); more; line, next = next, line {
		more = lines.read(&next)
		if err := x.add(&line, &next); err != nil {
			return nil, err
		}
	}
	if err := lines.failed(); err != nil {
		return nil, err
	}
	x.close(lines.at)
	for i := range x.trusted {
		x.all[i].verbatim = x.bare
	}
	return x.all, nil
}

// firstSeparator returns the number of the first line that looks like the beginning of a message in
// an mbox, or 0.
func firstSeparator(r io.Reader) (int, error) {
	lines := newMboxLines(r)
	afterBlank := true
	var line, next mboxLine
	for more := lines.read(&line); more; line, next = next, line {
		more = lines.read(&next)
		if anyField.Match(next.head) && separates(line.head, next.head, afterBlank) {
			return line.number, nil
		}
		afterBlank = line.blank
	}
	return 0, lines.failed()
}

// add takes the next line. The one after it has no text at the end of the file.
func (x *mboxIndex) add(line, next *mboxLine) error {
	text := bytes.TrimPrefix(line.head, utf8BOM)
	first := len(x.all) == 0
	switch {
	case first && line.blank:
	case !x.begun && !x.encapsulated && separates(text, next.head, first || x.afterBlank):
		x.begin(line, string(text))
	case first:
		return noMbox(line)
	default:
		x.text(line)
	}
	return nil
}

// noMbox returns the error for a file that does not begin with a message.
func noMbox(line *mboxLine) error {
	shown := line.head[:min(len(line.head), 60)]
	return fmt.Errorf("not an mbox file: line %d is %q, not like 'From anna@office.example Mon Jan  1 12:00:00 2024'", line.number, shown)
}

func (x *mboxIndex) begin(line *mboxLine, text string) {
	x.close(line.start)
	m := parseFromLine(text)
	m.start, m.blank = line.end, true
	x.all = append(x.all, m)
	x.head, x.begun, x.afterBlank, x.part = new(headParser), true, false, inPartHead
	x.textEnd, x.lastFrom = line.end, line.start
}

// text takes a line of the last message.
func (x *mboxIndex) text(line *mboxLine) {
	x.begun, x.encapsulated = false, false
	x.trackPart(line)
	if x.head != nil && line.blank {
		x.endHead(line.end)
	} else if x.head != nil {
		x.head.line(line.head)
	}
	if bytes.HasPrefix(line.head, []byte(fromWord)) {
		x.lastFrom = line.start
	}
	if x.afterBlank = line.blank; line.blank {
		x.blankStart = line.start
		return
	}
	x.textEnd, x.all[len(x.all)-1].blank = line.textEnd, false
}

// endHead ends the header of the last message. Its body begins at body.
func (x *mboxIndex) endHead(body int64) {
	m := &x.all[len(x.all)-1]
	length := x.head.length()
	m.head, x.head = x.head.facts(), nil
	if length >= 0 && m.id == "" {
		if len(x.claims) == maxClaims {
			x.claims = x.claims[1:]
		}
		x.claims = append(x.claims, claim{len(x.all) - 1, body, body + length})
	}
}

// trackPart follows the MIME parts, so that the separator that some programs leave above an attached
// message does not tear the message that it is attached to.
func (x *mboxIndex) trackPart(line *mboxLine) {
	switch {
	case bytes.HasPrefix(line.head, []byte("--")):
		x.part = inPartHead
	case x.part == inText:
	case line.blank:
		x.encapsulated, x.part = x.part == inMessageHead, inText
	case bytes.Contains(bytes.ToLower(line.head), []byte("message/rfc822")):
		x.part = inMessageHead
	}
}

// close ends the last message before the position at, where another begins or the file ends.
func (x *mboxIndex) close(at int64) {
	if len(x.all) == 0 {
		return
	}
	if x.head != nil {
		x.endHead(at)
	}
	m := &x.all[len(x.all)-1]
	if m.end = at; x.afterBlank {
		m.end = max(m.start, x.blankStart)
	}
	x.settleClaims(at)
}

// settleClaims decides which messages end at the position at by their Content-Length.
func (x *mboxIndex) settleClaims(at int64) {
	inner := false // a message inside was trusted
	for i := len(x.claims) - 1; i >= 0; i-- {
		c := x.claims[i]
		if c.message >= len(x.all) || c.end < x.textEnd || c.end > at {
			continue
		}
		if !inner {
			x.all = x.all[:c.message+1]
			x.all[c.message].end = c.end
			x.trusted[c.message] = true
			x.bare = x.bare || x.lastFrom >= c.start
			inner = true
		}
	}
	if inner {
		x.claims = x.claims[:0] // the rest are of messages around it, and wrong
	} else {
		x.claims = slices.DeleteFunc(x.claims, func(c claim) bool { return c.end <= at })
	}
}

// parseFromLine parses the sender and the date of a From line. A field that it cannot parse stays
// zero.
func parseFromLine(line string) (m mboxMessage) {
	line, _, _ = strings.Cut(strings.TrimPrefix(line, fromWord), " remote from ")
	fields := strings.Fields(line)
	if len(fields) == 0 {
		return m
	}
	if mailstore.IsID(fields[0]) {
		m.id = fields[0]
	}
	const most = 8 // fields of a date
	for i := max(0, len(fields)-most); i < len(fields); i++ {
		if t, ok := parseFromDate(strings.Join(fields[i:], " ")); ok {
			m.arrived = t
			break
		}
	}
	return m
}

func parseFromDate(date string) (time.Time, bool) {
	for _, layout := range []string{
		"Mon Jan 2 15:04:05 2006", "Mon Jan 2 15:04:05 2006 -0700", "Mon Jan 2 15:04:05 -0700 2006",
		"Mon Jan 2 15:04:05 MST 2006", "Mon Jan 2 15:04:05 2006 MST", "Mon Jan 2 15:04:05 MST -0700 2006", "Mon Jan 2 15:04 2006",
		"Mon, 2 Jan 2006 15:04:05 -0700", "Mon, 2 Jan 2006 15:04:05 MST", "Mon, 2 Jan 2006 15:04:05", "Mon 2 Jan 2006 15:04:05",
		"2 Jan 2006 15:04:05 -0700", time.RFC3339, "2006-01-02 15:04:05 -0700", time.DateTime, "2006-01-02 15:04",
	} {
		if t, err := time.Parse(layout, date); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}
