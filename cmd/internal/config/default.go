package config

import (
	"crypto/tls"
	"log/slog"
	"time"
)

// Default returns the settings that hold where neither the file nor the
// environment says otherwise. Hostname has no default, and Data is still
// relative to the folder of a file that is not known here.
func Default() Config {
	return Config{
		Data: "data",
		Listen: Listen{
			SMTP:       []string{":25"},
			Submission: []string{":587"},
			SMTPS:      []string{":465"},
			POP3:       []string{":110"},
			POP3S:      []string{":995"},
		},
		TLS: TLS{MinVersion: tls.VersionTLS12},
		SMTP: SMTP{
			Greeting:        "ESMTP Pillarbox",
			MaxMessageSize:  25 << 20,
			MaxRecipients:   100,
			MaxErrors:       10,
			CommandTimeout:  5 * time.Minute,
			DataTimeout:     3 * time.Minute,
			MaxTextLine:     64 << 10,
			BareLineEndings: RefuseBare,
		},
		POP3: POP3{
			Greeting:    "Pillarbox POP3 ready",
			IdleTimeout: 10 * time.Minute,
			MaxErrors:   10,
		},
		Limits:    Limits{Connections: 1000, ConnectionsPerAddress: 100},
		Mailboxes: Mailboxes{PlusSeparator: "+"},
		Log:       Log{Level: slog.LevelInfo, Format: TextLog},
	}
}
