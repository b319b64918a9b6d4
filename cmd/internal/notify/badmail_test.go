package notify

import (
	"io"
	"mime"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"testing"
	"time"

	"pillarbox/cmd/internal/config"
	"pillarbox/mailstore/addr"
	"pillarbox/smtp/badmail"
)

// TestBadmailNotice: the notice is a message that mail programs can read, in both languages.
func TestBadmailNotice(t *testing.T) {
	to := addr.Address{Local: "postmaster", Domain: "office.example"}
	for _, test := range []struct {
		language       config.ReportLanguage
		limit          int64
		subject, words string
	}{
		{config.EnglishReports, 100_000_000, badmailEnglish, "holds 7 messages (50.0 MB; reports.badmail_size = 100MB)."},
		{config.EnglishReports, 0, badmailEnglish, "(50.0 MB; no limit is set)"},
		{config.GermanReports, 100_000_000, badmailGerman, "liegen 7 Nachrichten (50.0 MB; reports.badmail_size = 100MB)."},
	} {
		cfg := config.Default()
		cfg.Hostname, cfg.Reports.Language = "mail.office.example", test.language
		heading, words := badmailNotice(&cfg,
			badmail.Usage{Messages: 7, Size: 50_000_000, Limit: test.limit})
		text := compose("mail.office.example", "badmail", to, heading, words,
			time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC))
		m, err := mail.ReadMessage(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
		body, bodyErr := io.ReadAll(quotedprintable.NewReader(m.Body))
		if err != nil || bodyErr != nil || subject != test.subject || !strings.Contains(string(body), test.words) {
			t.Errorf("%s: %q, %s, %v, %v", test.language, subject, body, err, bodyErr)
		}
		for line := range strings.SplitSeq(strings.TrimSuffix(text, "\r\n"), "\r\n") {
			if len(line) > 78 || strings.ContainsAny(line, "\r\n") {
				t.Errorf("a line of %d octets: %q", len(line), line)
			}
		}
	}
}
