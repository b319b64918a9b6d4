package admin

import (
	"bytes"
	"io"
	"net/mail"
	"strconv"
	"strings"
	"time"
)

// headFacts are what an import takes from the header of a message.
type headFacts struct {
	// expunged: Thunderbird has deleted the message and not yet compacted its file.
	expunged bool
	// flagged: Status or X-Status, in which programs keep their flags in an mbox, has a D.
	flagged bool
	// internal: a mail program keeps data of the folder in it, and the user never saw it.
	internal bool
	// arrived is the time of the first Received field, otherwise that of Date. It is zero if both
	// are missing or impossible.
	arrived time.Time
}

// headFields are the fields that headParser keeps. The index is that in values.
var headFields = []string{"received", "date", "subject", "from", "status", "x-status", "x-mozilla-status", "x-imap", "x-imapbase", "content-length"}

const (
	fieldReceived = iota
	fieldDate
	fieldSubject
	fieldFrom
	fieldStatus
	fieldXStatus
	fieldMozilla
	fieldIMAP
	fieldIMAPBase
	fieldLength
	numHeadFields
)

// maxField is the longest value of a field that is kept, in octets.
const maxField = 4000

// headParser takes the lines of a header. The first field of a name counts.
type headParser struct {
	values [numHeadFields]string
	seen   [numHeadFields]bool
	last   int // index+1 of the field that a folded line continues, or 0
}

// line takes the next line of the header.
func (p *headParser) line(line []byte) {
	if len(line) > 0 && (line[0] == ' ' || line[0] == '\t') {
		if p.last > 0 && len(p.values[p.last-1]) < maxField {
			p.values[p.last-1] += string(line)
		}
		return
	}
	p.last = 0
	name, value, ok := bytes.Cut(line, []byte(":"))
	if !ok {
		return
	}
	for i, field := range headFields {
		if !p.seen[i] && strings.EqualFold(string(bytes.TrimRight(name, " \t")), field) {
			p.values[i], p.seen[i], p.last = string(value), true, i+1
		}
	}
}

// length returns the value of Content-Length, or -1.
func (p *headParser) length() int64 {
	n, err := strconv.ParseUint(strings.TrimSpace(p.values[fieldLength]), 10, 62)
	if err != nil {
		return -1
	}
	return int64(n)
}

// internalSubject is the subject of the message in which UW IMAP, Pine and others keep the data of
// a folder.
const internalSubject = "DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA"

// facts returns what the lines said.
func (p *headParser) facts() headFacts {
	var f headFacts
	flags, err := strconv.ParseUint(strings.TrimSpace(p.values[fieldMozilla]), 16, 32)
	f.expunged = err == nil && flags&8 != 0
	f.flagged = hasDeletedFlag(p.values[fieldStatus]) || hasDeletedFlag(p.values[fieldXStatus])
	from := p.values[fieldFrom]
	f.internal = strings.TrimSpace(p.values[fieldSubject]) == internalSubject &&
		(p.seen[fieldIMAP] || p.seen[fieldIMAPBase] || strings.Contains(from, "Mail System Internal Data") || strings.Contains(from, "MAILER-DAEMON"))
	received := p.values[fieldReceived]
	f.arrived = plausibleDate(received[strings.LastIndexByte(received, ';')+1:])
	if f.arrived.IsZero() {
		f.arrived = plausibleDate(p.values[fieldDate])
	}
	return f
}

// hasDeletedFlag reports whether a value of Status or X-Status has the flag D. Text that is not made
// of flags alone is not theirs.
func hasDeletedFlag(value string) bool {
	value = strings.TrimSpace(value)
	return strings.Trim(value, "RODNUAFTJ") == "" && strings.ContainsRune(value, 'D')
}

// plausibleDate parses a date of RFC 5322. It returns zero for one that is impossible, in the future,
// or older than electronic mail.
func plausibleDate(text string) time.Time {
	t, err := mail.ParseDate(strings.TrimSpace(text))
	if err != nil {
		return time.Time{}
	}
	return plausibleTime(t)
}

// plausibleTime returns a time in UTC, or zero for one in the future or before electronic mail.
func plausibleTime(t time.Time) time.Time {
	if t = t.UTC(); t.Year() < 1972 || t.After(time.Now().Add(24*time.Hour)) {
		return time.Time{}
	}
	return t
}

// maxHeadLines bounds how much of a file is read for the facts in its header.
const maxHeadLines = 2000

// readHead reads the header of a message in a file of its own. from is the separator of an mbox
// above it, parsed. blank means that the file has no text.
func readHead(r io.Reader) (f headFacts, from mboxMessage, blank bool, err error) {
	lines := newMboxLines(r)
	lines.loneCR = true
	var line mboxLine
	var p headParser
	blank = true
	for n := 0; n < maxHeadLines && lines.read(&line) && !line.blank; n++ {
		if n == 0 && classify(line.head) != notFrom {
			from = parseFromLine(string(line.head))
		} else {
			p.line(line.head)
		}
		blank = false
	}
	return p.facts(), from, blank, lines.failed()
}
