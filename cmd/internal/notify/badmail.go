package notify

import (
	"context"
	"fmt"
	"log/slog"
	"mime"
	"mime/quotedprintable"
	"strings"
	"time"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/config"
	"pillarbox/mailstore/addr"
	"pillarbox/quota"
	"pillarbox/smtp"
	"pillarbox/smtp/badmail"
	"pillarbox/smtp/delivery"
	"pillarbox/smtp/queue"
)

// Badmail tells the postmaster that badmail grows.
type Badmail struct {
	service  *admin.Service
	delivery *delivery.Dispatcher
	log      *slog.Logger
	grown    chan badmail.Usage
}

// NewBadmail returns a Badmail, which writes in Run.
func NewBadmail(service *admin.Service, delivery *delivery.Dispatcher, log *slog.Logger) *Badmail {
	return &Badmail{service, delivery, log, make(chan badmail.Usage, 1)}
}

// Grown queues a message to the postmaster, unless one is waiting already. It never blocks.
func (b *Badmail) Grown(u badmail.Usage) {
	select {
	case b.grown <- u:
	default:
	}
}

// Run writes the queued messages until ctx ends.
func (b *Badmail) Run(ctx context.Context) {
	for {
		select {
		case u := <-b.grown:
			b.write(u)
		case <-ctx.Done():
			return
		}
	}
}

func (b *Badmail) write(u badmail.Usage) {
	to := b.delivery.Postmaster()
	text := badmailNotice(b.service.Config(), to, u, time.Now())
	env := &smtp.Envelope{To: []smtp.Recipient{{Address: to}}}
	source := queue.Source{Service: "notice"}
	_, err := b.delivery.Inject(env, source, "by this server", strings.NewReader(text))
	if err != nil {
		b.log.Error("cannot tell the postmaster that badmail grows", "to", to.String(), "error", err)
	}
}

// badmailNotice returns the message that tells the postmaster how much is in badmail.
func badmailNotice(cfg *config.Config, to addr.Address, u badmail.Usage, now time.Time) string {
	subject, body, ceiling := badmailEnglish, badmailEnglishText, "no limit is set"
	if cfg.Reports.Language == config.GermanReports {
		subject, body, ceiling = badmailGerman, badmailGermanText, "keine Grenze ist gesetzt"
	}
	if u.Limit > 0 {
		ceiling = "reports.badmail_size = " + quota.FormatSize(u.Limit)
	}
	var b strings.Builder
	for _, field := range []string{
		"From: Mail server <" + to.String() + ">", "To: <" + to.String() + ">",
		"Subject: " + mime.QEncoding.Encode("utf-8", subject),
		"Date: " + now.Format(smtp.DateLayout),
		fmt.Sprintf("Message-ID: <badmail.%d@%s>", now.UnixNano(), cfg.Hostname),
		"Auto-Submitted: auto-generated", "MIME-Version: 1.0",
		"Content-Type: text/plain; charset=utf-8",
		"Content-Transfer-Encoding: quoted-printable", "",
	} {
		b.WriteString(field + "\r\n")
	}
	w := quotedprintable.NewWriter(&b)
	fmt.Fprintf(w, body, u.Messages, quota.Approximate(u.Size, 1_000_000), ceiling) // into memory
	w.Close()
	b.WriteString("\r\n")
	return b.String()
}

const (
	badmailEnglish     = "Mail that can neither be delivered nor reported piles up"
	badmailEnglishText = `The folder badmail of the mail server holds %d messages (%s; %s).
The oldest are removed when there are too many, or when they are too old.

    pillarbox admin badmail list      shows them, and why they are there
    pillarbox admin badmail send ID   sends one once more
    pillarbox admin badmail remove ID

If there are many new ones, either a stranger misuses one of your addresses,
or a forward leads to a server that refuses its mail.`

	badmailGerman     = "Unzustellbare Nachrichten ohne Absender häufen sich"
	badmailGermanText = `Im Ordner badmail des Mailservers liegen %d Nachrichten (%s; %s).
Die ältesten werden entfernt, wenn es zu viele werden oder wenn sie zu alt sind.

    pillarbox admin badmail list      zeigt sie, und warum sie dort liegen
    pillarbox admin badmail send ID   sendet eine noch einmal
    pillarbox admin badmail remove ID

Viele davon in kurzer Zeit bedeuten meist, dass jemand eine Ihrer Adressen
missbraucht, oder dass eine Weiterleitung zu einem Server führt, der ihre Post
ablehnt.`
)
