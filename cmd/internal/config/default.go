package config

import (
	"crypto/tls"
	"log/slog"
	"time"

	"pillarbox/mailstore/auth"
	"pillarbox/mailstore/directory"
	"pillarbox/smtp/policy"
	"pillarbox/smtp/route"
)

// Default returns the settings that hold where neither the file nor the
// environment says otherwise. Hostname has no default, and Data is still
// relative to the folder of a file that is not known here.
func Default() Config {
	c := Config{
		Data: "data",
		Listen: Listen{
			SMTP:       []string{":25"},
			Submission: []string{":587"},
			SMTPS:      []string{":465"},
			POP3:       []string{":110"},
			POP3S:      []string{":995"},
		},
		TLS:         TLS{MinVersion: tls.VersionTLS12, ACME: defaultACME()},
		LogIns:      LogIns{Method: directory.ByFile, Mechanisms: auth.Mechanisms()},
		Passwords:   Passwords{MinLength: 8, DenyCommon: true},
		System:      defaultSystem(),
		Connections: Connections{TimeoutMultiplier: 1},
		Sites: Sites{
			SMTP:       site(policy.Site{Anonymous: standard(true)}),
			Submission: site(policy.Site{RequireAuth: standard(true)}),
			SMTPS:      site(policy.Site{RequireAuth: standard(true), RequireTLS: standard(true)}),
			POP3S:      POP3Site{RequireTLS: true},
		},
		SMTP: SMTP{
			Greeting:         "ESMTP Pillarbox",
			MaxMessageSize:   50_000_000,
			MaxRecipients:    100,
			MaxErrors:        10,
			MaxCommandLength: 2048,
			CommandTimeout:   10 * time.Minute,
			DataTimeout:      3 * time.Minute,
			MaxTextLine:      64 << 10,
			BareLineEndings:  RefuseBare,
		},
		POP3: POP3{
			Greeting:    "Pillarbox POP3 ready",
			IdleTimeout: 10 * time.Minute,
			MaxErrors:   10,
		},
		Limits:    Limits{Connections: 1000, ConnectionsPerAddress: 300, ConnectionsPerAccount: 50},
		Bans:      Bans{After: 20, Duration: time.Hour},
		DNS:       DNS{Timeout: 5 * time.Second},
		Mailboxes: Mailboxes{PlusSeparator: "+", DefaultWarning: 90, OverQuota: RefuseOverQuota, Notices: EnglishNotices},
		Log:       Log{Level: slog.LevelInfo, Format: TextLog},
		Outbound:  Outbound{Enabled: true, Connections: 1000},
		Routes: route.Table{Default: route.Route{
			Name: "default", Port: route.PortSMTP, MTASTS: true, DANE: true, Schedule: route.DefaultSchedule(),
			Connections: 100, PerConnection: 20, Recipients: 100, Idle: 10 * time.Minute,
		}},
		Reports: Reports{
			Language: EnglishReports, NullSender: NullToBadmail, Success: true, MaxReturn: 1 << 20,
			Strangers: VerifiedStrangers, PerAddress: 100, PerHour: 1000, KeepDays: 30, KeepSize: 100_000_000,
		},
		Pickup:       Pickup{Enabled: true},
		Local:        Local{Enabled: true, Outside: true},
		Operators:    Operators{Enabled: true},
		Authenticity: Authenticity{SPF: CheckOff, DKIM: CheckOff, DMARC: CheckOff, Sign: true},
		Policy:       defaultRules(),
		origin:       map[string]origin{},
		lines: map[string][]policy.Line{
			"relay.deny_hosts": standardLines("*"),
			"bans.trusted": standardLines("127.0.0.0/8", "::1", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",
				"169.254.0.0/16", "fc00::/7", "fe80::/10"),
		},
	}
	if faults := c.compile(); faults != nil {
		panic(faults[0].err) // a list above
	}
	if err := c.Mailboxes.loadNotices(); err != nil {
		panic(err) // a template that is built in
	}
	return c
}

// byDefault is the origin of what is set nowhere.
const byDefault = "default"

func standard[T any](v T) policy.Setting[T] { return policy.Setting[T]{Value: v, Origin: byDefault} }

func standardLines(entries ...string) []policy.Line {
	lines := make([]policy.Line, len(entries))
	for i, text := range entries {
		lines[i] = policy.Line{Text: text, Origin: byDefault}
	}
	return lines
}

// site fills in what a site does not say: log-ins are offered, nothing else is
// asked or permitted.
func site(s policy.Site) policy.Site {
	s.OfferAuth = standard(true)
	s.MinTLS.Origin = byDefault
	for _, setting := range []*policy.Setting[bool]{&s.RequireTLS, &s.Require128Bit, &s.RequireAuth, &s.Anonymous} {
		setting.Origin = byDefault
	}
	return s
}

// defaultRules are the rules without their lists: nobody relays without a
// log-in, and nobody claims to be another.
func defaultRules() policy.Rules {
	return policy.Rules{
		Connections: policy.Connections{Only: standard(false), VerifyHostname: standard(false), ReverseDNS: standard(false)},
		Anonymous:   policy.Anonymous{AllowExceptions: standard(true)},
		Relay: policy.Relay{
			Enforcement:        standard(policy.EnforceExternal),
			AuthenticatedAllow: standard(true),
			DenyWins:           standard(false),
			DominoReplies:      standard(false),
		},
		Senders: policy.Senders{
			VerifyUser:    standard(policy.VerifyBoth),
			RefuseForged:  standard(true),
			VerifyDomain:  standard(false),
			VerifyTimeout: 30 * time.Second,
		},
		MaxHops: standard(15),
		Outside: policy.Outside{Send: standard(true), Receive: standard(true), PerHour: standard(500)},
		DNSBL:   policy.DNSBL{Action: standard(policy.DNSBLLog)},
	}
}
