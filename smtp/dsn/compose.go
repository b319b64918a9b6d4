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

// ErrNoReport is the class of the errors of Compose and Envelope that say that
// this Report can never be one.
var ErrNoReport = errors.New("no delivery report can be made")

// Envelope is the envelope that the report travels in: from the null
// reverse-path, and with NOTIFY=NEVER, so that no report about a report arises
// (RFC 3461 §6.1, RFC 5321 §4.5.5). It reads the original to know whether the
// report needs 8BITMIME.
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

// Compose writes the report as a complete message with CRLF line ends. The
// original is read twice, and streamed. An error is of the class ErrNoReport,
// w's, or that of an original that fails the second time.
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

// layout is what every part of a report must know of the others.
type layout struct {
	phrases  phrases
	boundary string
	original original
	global   bool // addresses in UTF-8: the status part is that of RFC 6533
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
		l.global = l.global || !isASCII(addressText(rcpt.Final.String())) || !isASCII(addressText(rcpt.ORcpt))
	}
	for try := 0; ; try++ {
		l.boundary = r.boundary(try)
		if l.original = r.survey(l.boundary); !l.original.clash {
			return l, nil
		}
	}
}

// boundary begins with what quoted-printable text cannot contain (RFC 2045
// §6.7); where the original, by intent, has it at the beginning of a line, the
// next one is tried.
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

// host is the name of this server, or one that can stand for it: a report with
// an odd name is better than none.
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
	b.WriteString("Content-Type: multipart/report; report-type=delivery-status;\r\n boundary=\"" + l.boundary + "\"\r\n")
	if l.eight() {
		fold(&b, "Content-Transfer-Encoding", "8bit")
	}
	return b.String()
}

// worst is the action that the subject tells of.
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

// actions are in the order in which a person wants to hear of them.
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
