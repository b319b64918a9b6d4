package daemon

import (
	"io"
	"log/slog"
	"time"

	"pillarbox/cmd/internal/config"
	"pillarbox/pop3"
	"pillarbox/smtp/guard"
	"pillarbox/smtp/policy"
	"pillarbox/smtp/server"
	"pillarbox/smtp/wire"
)

// Here the configuration becomes what each part knows of it.

func (d *Daemon) smtpConfig(cfg *config.Config) server.Config {
	endings := wire.RefuseBare
	if cfg.SMTP.BareLineEndings == config.NormaliseBare {
		endings = wire.NormaliseBare
	}
	return server.Config{
		Rules: policy.Rules{PlaintextNetworks: cfg.Auth.PlaintextNetworks},
		Wire: wire.Config{
			Hostname:       string(cfg.Hostname),
			Greeting:       func() string { return config.ExpandGreeting(cfg.SMTP.Greeting, cfg.Hostname, time.Now()) },
			TLS:            d.certs.TLSConfig(),
			MaxMessageSize: cfg.SMTP.MaxMessageSize,
			MaxRecipients:  cfg.SMTP.MaxRecipients,
			MaxTextLine:    cfg.SMTP.MaxTextLine,
			MaxErrors:      cfg.SMTP.MaxErrors,
			CommandTimeout: cfg.SMTP.CommandTimeout,
			DataTimeout:    cfg.SMTP.DataTimeout,
			WriteTimeout:   writeTimeout,
			BareEndings:    endings,
		},
	}
}

func (d *Daemon) pop3Config(cfg *config.Config) pop3.Config {
	return pop3.Config{
		Hostname:          string(cfg.Hostname),
		Greeting:          func() string { return config.ExpandGreeting(cfg.POP3.Greeting, cfg.Hostname, time.Now()) },
		TLS:               d.certs.TLSConfig(),
		PlaintextNetworks: cfg.Auth.PlaintextNetworks,
		IdleTimeout:       cfg.POP3.IdleTimeout,
		WriteTimeout:      writeTimeout,
		MaxErrors:         cfg.POP3.MaxErrors,
	}
}

func guardLimits(cfg *config.Config) guard.Limits {
	return guard.Limits{Connections: cfg.Limits.Connections, PerAddress: cfg.Limits.ConnectionsPerAddress}
}

func newLogger(cfg config.Log, level *slog.LevelVar, out io.Writer) *slog.Logger {
	level.Set(cfg.Level)
	opts := &slog.HandlerOptions{Level: level}
	if cfg.Format == config.JSONLog {
		return slog.New(slog.NewJSONHandler(out, opts))
	}
	return slog.New(slog.NewTextHandler(out, opts))
}
