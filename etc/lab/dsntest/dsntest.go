// Package dsntest reads delivery reports (RFC 3464, RFC 6533) in tests. It accepts reports of any
// server, so that tests can compare how it and other programs read the same report. Start with
// Parse. It must not import smtp/dsn, whose own tests use it.
package dsntest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"net/textproto"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// ErrNotReport means that the message is not a delivery report. Errors of Parse wrap it.
var ErrNotReport = errors.New("not a delivery report")

// Report is a delivery report of any server. Its text is untrusted, but it is valid UTF-8 without
// control characters. Only Text has several lines, which end in "\n".
type Report struct {
	MessageID    string // of the report, with the angle brackets
	Text         string // the text part; at most 64 KiB
	EnvID        string
	ReportingMTA string // without the type
	ReceivedFrom string // without the type
	Arrived      time.Time
	Recipients   []Recipient
	Returned     string // media type of the part with the original, in lower case; "" without
	OriginalID   string // the Message-ID of the original; "" when not found
}

// Recipient is the result that a report states for one recipient.
type Recipient struct {
	ORcptType   string // in lower case
	ORcpt       string
	FinalType   string // in lower case
	Final       string
	Action      string // in lower case; may be unknown to RFC 3464
	Status      [3]int // zero when unreadable
	RemoteMTA   string // without the type
	Diagnostic  string // without the type
	LastAttempt time.Time
	RetryUntil  time.Time
}

// Limits on what Parse reads, in octets, and on the number of recipients.
const (
	maxReport     = 1 << 20
	maxText       = 64 << 10
	maxField      = 4 << 10
	maxID         = 900
	maxRecipients = 1000
)

// Parse reads a delivery report, at most 1 MiB of it. Fields that are missing, invalid or beyond the
// limits stay empty. The error wraps ErrNotReport or comes from r.
func Parse(r io.Reader) (Report, error) {
	source := &failing{r: io.LimitReader(r, maxReport)}
	p, err := parse(source)
	if source.err != nil {
		return Report{}, source.err
	}
	return p, err
}

// failing remembers the read error of its source, because the parsers on top hide it.
type failing struct {
	r   io.Reader
	err error
}

func (f *failing) Read(b []byte) (int, error) {
	n, err := f.r.Read(b)
	if err != nil && err != io.EOF {
		f.err = err
	}
	return n, err
}

func parse(r io.Reader) (Report, error) {
	message, err := mail.ReadMessage(bufio.NewReader(r))
	if err != nil {
		return Report{}, fmt.Errorf("%w: its header is unreadable", ErrNotReport)
	}
	kind, params, _ := mime.ParseMediaType(message.Header.Get("Content-Type"))
	if kind != "multipart/report" || params["boundary"] == "" {
		return Report{}, fmt.Errorf("%w: it is %q", ErrNotReport, kind)
	}
	p := Report{MessageID: oneLine(message.Header.Get("Message-Id"), maxID)}
	parts, found := multipart.NewReader(message.Body, params["boundary"]), false
	for n := 0; ; n++ {
		part, err := parts.NextRawPart()
		if err != nil {
			break
		}
		kind, _, _ := mime.ParseMediaType(part.Header.Get("Content-Type"))
		switch {
		case kind == "message/delivery-status", kind == "message/global-delivery-status":
			found = true
			p.readStatus(decoded(part))
		case n == 0:
			p.Text = readText(decoded(part))
		case found && p.Returned == "":
			p.Returned = kind
			p.OriginalID = readOriginalID(decoded(part))
		}
	}
	if !found {
		return Report{}, fmt.Errorf("%w: it has no status part", ErrNotReport)
	}
	return p, nil
}

func decoded(part *multipart.Part) io.Reader {
	if strings.EqualFold(part.Header.Get("Content-Transfer-Encoding"), "quoted-printable") {
		return quotedprintable.NewReader(part)
	}
	return part
}

func readText(r io.Reader) string {
	text, _ := io.ReadAll(io.LimitReader(r, maxText))
	return strings.Map(func(r rune) rune {
		if r != '\n' && unicode.IsControl(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(string(text), "\uFFFD"))
}

func readOriginalID(r io.Reader) string {
	header, _ := textproto.NewReader(bufio.NewReader(io.LimitReader(r, maxText))).ReadMIMEHeader()
	return oneLine(header.Get("Message-Id"), maxID)
}

// readStatus reads the status part: groups of fields, the first one about the message
// (RFC 3464 §2.1).
func (p *Report) readStatus(r io.Reader) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxText)
	var group []string
	first := true
	end := func() {
		switch {
		case len(group) == 0:
			return
		case first:
			p.messageFields(group)
		case len(p.Recipients) < maxRecipients:
			p.Recipients = append(p.Recipients, recipientFields(group))
		}
		first, group = false, nil
	}
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.TrimSpace(line) == "":
			end()
		case (line[0] == ' ' || line[0] == '\t') && len(group) > 0:
			if last := &group[len(group)-1]; len(*last) < maxField {
				*last += line
			}
		default:
			group = append(group, line)
		}
	}
	end()
}

func (p *Report) messageFields(group []string) {
	for _, field := range group {
		name, value := splitField(field)
		switch name {
		case "original-envelope-id":
			p.EnvID = value
		case "reporting-mta":
			_, p.ReportingMTA = splitType(value)
		case "received-from-mta":
			_, p.ReceivedFrom = splitType(value)
		case "arrival-date":
			p.Arrived = readDate(value)
		}
	}
}

func recipientFields(group []string) Recipient {
	var rcpt Recipient
	for _, field := range group {
		name, value := splitField(field)
		switch name {
		case "original-recipient":
			rcpt.ORcptType, rcpt.ORcpt = splitType(rawValue(field))
		case "final-recipient":
			rcpt.FinalType, rcpt.Final = splitType(rawValue(field))
		case "action":
			rcpt.Action = strings.ToLower(value)
		case "status":
			rcpt.Status = readStatusCode(value)
		case "remote-mta":
			_, rcpt.RemoteMTA = splitType(value)
		case "diagnostic-code":
			_, rcpt.Diagnostic = splitType(value)
		case "last-attempt-date":
			rcpt.LastAttempt = readDate(value)
		case "will-retry-until":
			rcpt.RetryUntil = readDate(value)
		}
	}
	return rcpt
}

func splitField(field string) (name, value string) {
	name, value, _ = strings.Cut(field, ":")
	return strings.ToLower(strings.TrimSpace(name)), oneLine(value, maxField)
}

// rawValue returns the value of an address field. Spaces in a quoted local part count.
func rawValue(field string) string {
	_, value, _ := strings.Cut(field, ":")
	return printable(strings.TrimSpace(value), maxField)
}

// splitType splits "type; text". Without a type, all of it is text.
func splitType(value string) (kind, text string) {
	kind, text, ok := strings.Cut(value, ";")
	if !ok {
		return "", strings.TrimSpace(value)
	}
	return strings.ToLower(strings.TrimSpace(kind)), strings.TrimSpace(text)
}

// readStatusCode parses "5.1.1". A comment may follow.
func readStatusCode(value string) (status [3]int) {
	code, _, _ := strings.Cut(value, " ")
	parts := strings.Split(code, ".")
	if len(parts) != len(status) {
		return status
	}
	var read [3]int
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, 10)
		if err != nil {
			return status
		}
		read[i] = int(n)
	}
	return read
}

func readDate(value string) time.Time {
	t, err := mail.ParseDate(value)
	if err != nil {
		return time.Time{}
	}
	return t
}

// oneLine makes untrusted text one line of valid UTF-8, without control and format characters.
func oneLine(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Cf, r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(cut(s, 4*limit), "?"))
	blank := func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }
	return strings.TrimSpace(cut(strings.Join(strings.FieldsFunc(s, blank), " "), limit))
}

// printable replaces control characters and line separators, and keeps all spaces.
func printable(s string, limit int) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(cut(s, limit), "?"))
}

// cut shortens s to at most limit octets, between characters.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}
