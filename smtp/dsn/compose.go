package dsn

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"strconv"
	"strings"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
)

// ErrNoReport means that this Report can never be composed. Errors of Compose and Envelope wrap it.
var ErrNoReport = errors.New("no delivery report can be made")

// Envelope returns the envelope of the report. It has the null reverse-path and NOTIFY=NEVER, so
// that no report about a report arises (RFC 3461 §6.1, RFC 5321 §4.5.5). Envelope reads the
// original to find out whether the report needs 8BITMIME.
func (r *Report) Envelope() (smtp.Envelope, error) {
	l, err := r.lay()
	if err != nil {
		return smtp.Envelope{}, err
	}
	return smtp.Envelope{
		To:    []smtp.Recipient{{Address: r.To, Notify: []string{"NEVER"}}},
		Body8: l.eight(),
		UTF8:  !r.To.IsASCII() || !r.sender().IsASCII(),
	}, nil
}

// Compose writes the report as a complete message with CRLF line ends. It reads the original twice
// and streams it. An error wraps ErrNoReport, or comes from w, or from the original if only its
// second reading fails.
func Compose(w io.Writer, r Report) error {
	l, err := r.lay()
	if err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	out.WriteString(r.header(l))
	out.WriteString(r.textPart(l))
	out.WriteString(r.statusPart(l))
	if l.original.present {
		if err := r.originalPart(out, l); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "\r\n--%s--\r\n", l.boundary)
	return out.Flush()
}

// layout is the information that all parts of a report share.
type layout struct {
	phrases  phrases
	boundary string
	original original
	global   bool // with UTF-8 addresses: the status part follows RFC 6533
}

func (l layout) eight() bool { return l.global || l.original.eight }

func (r *Report) lay() (layout, error) {
	for _, a := range []addr.Address{r.To, r.sender()} {
		if _, err := addr.Parse(a.String()); err != nil {
			return layout{}, fmt.Errorf("%w: from or to %q: %w", ErrNoReport, a, err)
		}
	}
	if len(r.Recipients) == 0 {
		return layout{}, fmt.Errorf("%w: it has no recipients", ErrNoReport)
	}
	l := layout{phrases: phrasesIn(r.Language), global: !r.To.IsASCII() || !r.sender().IsASCII()}
	for _, rcpt := range r.Recipients {
		l.global = l.global || !isASCII(addressText(rcpt.Final.String())) ||
			!isASCII(addressText(rcpt.ORcpt))
	}
	for try := 0; ; try++ {
		l.boundary = r.boundary(try)
		if l.original = r.survey(l.boundary); !l.original.clash {
			return l, nil
		}
	}
}

// boundary starts with "=_", which quoted-printable text cannot contain (RFC 2045 §6.7). A hostile
// original may have the boundary at the start of a line; try selects another one.
func (r *Report) boundary(try int) string {
	sum := sha256.Sum256([]byte(r.ID + "\x00" + r.Hostname + "\x00" + strconv.Itoa(try)))
	return "=_" + hex.EncodeToString(sum[:16])
}

func (r *Report) sender() addr.Address {
	if r.From.IsZero() {
		return addr.Address{Local: "MAILER-DAEMON", Domain: addr.Domain(r.host())}
	}
	return r.From
}

// host returns the server's name, or a substitute: a report with an odd name is better than none.
func (r *Report) host() string {
	if d, err := addr.ParseDomain(r.Hostname); err == nil {
		return string(d)
	}
	return "localhost"
}

func (r *Report) header(l layout) string {
	var b strings.Builder
	fold(&b, "From", l.phrases.from+" <"+r.sender().String()+">")
	fold(&b, "To", "<"+r.To.String()+">")
	subject := l.phrases.subject[r.worst()]
	if l.original.subject != "" {
		subject += ": " + l.original.subject
	}
	fold(&b, "Subject", mime.QEncoding.Encode("utf-8", subject))
	fold(&b, "Date", r.Now.Format(time.RFC1123Z))
	fold(&b, "Message-ID", "<"+token(r.ID)+"@"+r.host()+">")
	fold(&b, "Auto-Submitted", "auto-replied")
	fold(&b, "MIME-Version", "1.0")
	b.WriteString("Content-Type: multipart/report; report-type=delivery-status;\r\n" +
		" boundary=\"" + l.boundary + "\"\r\n")
	if l.eight() {
		fold(&b, "Content-Transfer-Encoding", "8bit")
	}
	return b.String()
}

// worst returns the action that the subject names.
func (r *Report) worst() Action {
	for _, action := range actions() {
		for _, rcpt := range r.Recipients {
			if rcpt.action() == action {
				return action
			}
		}
	}
	return Failed
}

// actions returns the actions in the order of their importance to the reader.
func actions() []Action { return []Action{Failed, Delayed, Delivered, Relayed, Expanded} }

func (l layout) begin(b *strings.Builder, mediaType, encoding string) {
	fmt.Fprintf(b, "\r\n--%s\r\nContent-Type: %s\r\n", l.boundary, mediaType)
	if encoding != "7bit" {
		fmt.Fprintf(b, "Content-Transfer-Encoding: %s\r\n", encoding)
	}
	b.WriteString("\r\n")
}

func (r *Report) textPart(l layout) string {
	text := r.text(l)
	var b strings.Builder
	if isASCII(text) {
		l.begin(&b, "text/plain; charset=utf-8", "7bit")
		b.WriteString(strings.ReplaceAll(text, "\n", "\r\n"))
		return b.String()
	}
	l.begin(&b, "text/plain; charset=utf-8", "quoted-printable")
	q := quotedprintable.NewWriter(&b)
	io.WriteString(q, text)
	q.Close()
	return b.String()
}

func (r *Report) originalPart(out *bufio.Writer, l layout) error {
	encoding := "7bit"
	if l.original.eight {
		encoding = "8bit"
	}
	var b strings.Builder
	l.begin(&b, l.original.mediaType(), encoding)
	out.WriteString(b.String())
	f, err := r.Original()
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(out, io.LimitReader(f, l.original.length))
	return err
}
