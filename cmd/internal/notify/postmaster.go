package notify

import (
	"fmt"
	"mime"
	"mime/quotedprintable"
	"strings"
	"time"

	"pillarbox/cmd/internal/admin"
	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
	"pillarbox/smtp/delivery"
	"pillarbox/smtp/queue"
)

// Postmaster writes messages of the server to its postmaster.
type Postmaster struct {
	service  *admin.Service
	delivery *delivery.Dispatcher
}

// NewPostmaster returns a Postmaster.
func NewPostmaster(service *admin.Service, delivery *delivery.Dispatcher) *Postmaster {
	return &Postmaster{service, delivery}
}

// Write delivers a message with a subject and a body of plain text, whose lines end with LF. about
// is a word for the Message-ID. The error is that of the delivery.
func (p *Postmaster) Write(about, subject, body string) error {
	to := p.delivery.Postmaster()
	host := string(p.service.Config().Hostname)
	text := compose(host, about, to, subject, body, time.Now())
	env := &smtp.Envelope{To: []smtp.Recipient{{Address: to}}}
	source := queue.Source{Service: "notice"}
	_, err := p.delivery.Inject(env, source, "by this server", strings.NewReader(text))
	if err != nil {
		return fmt.Errorf("to %s: %w", to, err)
	}
	return nil
}

// compose returns a whole message.
func compose(host, about string, to addr.Address, subject, body string, now time.Time) string {
	var b strings.Builder
	for _, field := range []string{
		"From: Mail server <" + to.String() + ">", "To: <" + to.String() + ">",
		"Subject: " + mime.QEncoding.Encode("utf-8", subject),
		"Date: " + now.Format(smtp.DateLayout),
		fmt.Sprintf("Message-ID: <%s.%d@%s>", about, now.UnixNano(), host),
		"Auto-Submitted: auto-generated", "MIME-Version: 1.0",
		"Content-Type: text/plain; charset=utf-8",
		"Content-Transfer-Encoding: quoted-printable", "",
	} {
		b.WriteString(field + "\r\n")
	}
	w := quotedprintable.NewWriter(&b)
	w.Write([]byte(body)) // into memory
	w.Close()
	b.WriteString("\r\n")
	return b.String()
}
