package daemon

import (
	"context"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"strings"
	"time"

	"pillarbox/cmd/internal/config"
	"pillarbox/mailstore/addr"
	"pillarbox/quota"
	"pillarbox/smtp"
	"pillarbox/smtp/badmail"
	"pillarbox/smtp/queue"
)

// badmailLook is how often it is looked for what has become too old there.
const badmailLook = time.Hour

// openBadmail makes what keeps mail that can neither be delivered nor reported.
func (d *Daemon) openBadmail(cfg *config.Config) {
	d.grown = make(chan badmail.Usage, 1)
	d.badmail = badmail.New(d.office.Root, d.log, func(u badmail.Usage) {
		select {
		case d.grown <- u:
		default: // the postmaster is being told
		}
	})
	d.badmail.SetLimits(badmailLimits(cfg))
}

func badmailLimits(cfg *config.Config) badmail.Limits {
	return badmail.Limits{Age: time.Duration(cfg.Reports.KeepDays) * 24 * time.Hour, Size: cfg.Reports.KeepSize}
}

// keepBadmail keeps badmail below its ceiling, and tells the postmaster of its growth, until ctx ends.
func (d *Daemon) keepBadmail(ctx context.Context) {
	ticks := time.NewTicker(badmailLook)
	defer ticks.Stop()
	for {
		if err := d.badmail.Trim(); err != nil {
			d.log.Error("cannot look after badmail", "error", err)
		}
		select {
		case <-ticks.C:
		case u := <-d.grown:
			d.tellOfBadmail(u)
		case <-ctx.Done():
			return
		}
	}
}

func (d *Daemon) tellOfBadmail(u badmail.Usage) {
	cfg, to := d.office.Config(), d.desk.Postmaster()
	text := badmailNotice(cfg, to, u, time.Now())
	if _, err := d.desk.Inject(&smtp.Envelope{To: []smtp.Recipient{{Address: to}}}, queue.Source{Service: "notice"}, "by this server", strings.NewReader(text)); err != nil {
		d.log.Error("cannot tell the postmaster that badmail grows", "to", to.String(), "error", err)
	}
}

// badmailNotice is the message that tells the postmaster how much is in badmail.
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
		"Date: " + now.Format(smtp.DateLayout), fmt.Sprintf("Message-ID: <badmail.%d@%s>", now.UnixNano(), cfg.Hostname),
		"Auto-Submitted: auto-generated", "MIME-Version: 1.0",
		"Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: quoted-printable", "",
	} {
		b.WriteString(field + "\r\n")
	}
	w := quotedprintable.NewWriter(&b)
	io.WriteString(w, fmt.Sprintf(body, u.Messages, quota.Approximate(u.Size, 1_000_000), ceiling)) // into memory
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
