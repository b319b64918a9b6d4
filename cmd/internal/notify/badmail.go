package notify

import (
	"context"
	"fmt"
	"log/slog"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/config"
	"pillarbox/quota"
	"pillarbox/smtp/badmail"
	"pillarbox/smtp/delivery"
)

// Badmail tells the postmaster that badmail grows.
type Badmail struct {
	service    *admin.Service
	postmaster *Postmaster
	log        *slog.Logger
	grown      chan badmail.Usage
}

// NewBadmail returns a Badmail, which writes in Run.
func NewBadmail(service *admin.Service, delivery *delivery.Dispatcher, log *slog.Logger) *Badmail {
	postmaster := NewPostmaster(service, delivery)
	return &Badmail{service, postmaster, log, make(chan badmail.Usage, 1)}
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
	subject, body := badmailNotice(b.service.Config(), u)
	if err := b.postmaster.Write("badmail", subject, body); err != nil {
		b.log.Error("cannot tell the postmaster that badmail grows", "error", err)
	}
}

// badmailNotice returns the message that tells the postmaster how much is in badmail.
func badmailNotice(cfg *config.Config, u badmail.Usage) (subject, body string) {
	format, ceiling := badmailEnglishText, "no limit is set"
	subject = badmailEnglish
	if cfg.Reports.Language == config.GermanReports {
		subject, format, ceiling = badmailGerman, badmailGermanText, "keine Grenze ist gesetzt"
	}
	if u.Limit > 0 {
		ceiling = "reports.badmail_size = " + quota.FormatSize(u.Limit)
	}
	return subject, fmt.Sprintf(format, u.Messages, quota.Approximate(u.Size, 1_000_000), ceiling)
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
