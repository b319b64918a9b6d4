package config

import (
	"crypto/tls"
	"log/slog"
	"time"

	"pillarbox/cmd/internal/logging"
	"pillarbox/cmd/internal/wirelog"
	"pillarbox/smtp/policy"
	"pillarbox/tls/acme"
)

// serverSections are the names, the ports and the certificates of the server.
func serverSections() []sectionRow {
	return []sectionRow{
		{"", fileIntro, []key{
			text("hostname", func(c *Config) *domain { return &c.Hostname }, hostName, "",
				`The server's own name: a name, never an IP address. It stands in greetings and in
				Received headers. Clients must be able to resolve it, and the certificate must
				contain it. This is the only key without a default.`).inSetup(),
			path("data", func(c *Config) *string { return &c.Data }, filePath, "data",
				`The directory of the mail, the domains and the server's own CA.`).
				needsRestart().inSetup(),
			text("default_domain", func(c *Config) *domain { return &c.DefaultDomain },
				optional(hostedDomain), "",
				`The domain of users who log in without one, as "anna" instead of
				"anna@office.example". If it is empty and the server has one domain, that domain
				counts. If it has several, a login needs the whole address. ("Default domain" of
				basic authentication)`).inSetup(),
			text("postmaster", func(c *Config) *address { return &c.Postmaster },
				optional(mailAddress), address{},
				`The mailbox that gets mail to postmaster, which every server must accept. It counts
				for a domain without a mailbox, alias or group of that name. Empty: the first
				mailbox.`).inSetup(),
		}},
		{"listen", `The addresses of each service, as ":port", "ip:port" or "[ipv6]:port". An empty
			list turns the service off. ("SMTPNotesPort", "TCP/IP port number" and "port
			status")`, []key{
			list("listen.smtp", func(c *Config) *[]string { return &c.Listen.SMTP },
				listenAddress(25), []string{":25"},
				`Mail from other servers and from devices. STARTTLS is offered.`).
				needsRestart().inSetup(),
			list("listen.submission", func(c *Config) *[]string { return &c.Listen.Submission },
				listenAddress(587), []string{":587"},
				`Mail from users, who must log in. STARTTLS is offered.`).needsRestart().inSetup(),
			list("listen.smtps", func(c *Config) *[]string { return &c.Listen.SMTPS },
				listenAddress(465), []string{":465"},
				`The same, with TLS from the start.`).needsRestart().inSetup(),
			list("listen.pop3", func(c *Config) *[]string { return &c.Listen.POP3 },
				listenAddress(110), []string{":110"},
				`POP3, to read mail. STLS is offered.`).needsRestart().inSetup(),
			list("listen.pop3s", func(c *Config) *[]string { return &c.Listen.POP3S },
				listenAddress(995), []string{":995"},
				`The same, with TLS from the start.`).needsRestart().inSetup(),
			list("listen.odmr", func(c *Config) *[]string { return &c.Listen.ODMR },
				listenAddress(366), nil,
				`Servers that log in and fetch the held mail of a [[route]] by ATRN (RFC 2645). The
				usual port is ":366".`).needsRestart(),
			list("listen.web", func(c *Config) *[]string { return &c.Listen.Web },
				listenAddress(443), nil,
				`The page, by HTTPS: administration for operators, and each user's own page. The
				usual port is ":443"; "127.0.0.1:8443" is for this machine only. If the port is in
				use, the log says so and the server runs without the page.`).needsRestart(),
			list("listen.metrics", func(c *Config) *[]string { return &c.Listen.Metrics },
				listenAddress(9125), []string{"127.0.0.1:9125"},
				`Figures for Prometheus by HTTP: /metrics, and /healthz and /readyz. An address
				that other machines reach uses HTTPS and needs a key of [metrics]. If the port is
				in use, the log says so and the server runs without the figures.`).needsRestart(),
		}},
		{"tls", "", []key{
			path("tls.cert", func(c *Config) *string { return &c.TLS.Cert }, optional(filePath), "",
				`PEM files of your own: the certificate with its chain, and its key. The server reads
				them again when they change. Empty: the server's own CA, in tls below data, issues
				two certificates, one with an ECDSA key and one with an RSA key.`),
			path("tls.key", func(c *Config) *string { return &c.TLS.Key }, optional(filePath), "",
				above),
			text("tls.min_version", func(c *Config) *uint16 { return &c.TLS.MinVersion },
				tlsVersion(choice[uint16]{"1.2", tls.VersionTLS12},
					choice[uint16]{"1.3", tls.VersionTLS13}), tls.VersionTLS12,
				`The oldest version of TLS: "1.2" or "1.3".`),
			list("tls.legacy_networks", func(c *Config) *[]network { return &c.TLS.LegacyNetworks },
				anyNetwork, nil,
				`Networks, or single addresses, of old computers without this version, such as Outlook
				Express on Windows XP. They may also use TLS 1.0 and 1.1, RSA for the exchange of
				keys, AES-CBC and 3DES. All other clients get ECDHE with AES-GCM or ChaCha20, and so
				do clients in these networks if they can. "pillarbox admin tls clients --legacy"
				lists the clients that still need the old TLS.`),
			boolean("tls.legacy_rc4", func(c *Config) *bool { return &c.TLS.LegacyRC4 }, false,
				`Allow RC4 there too, for still older programs. RC4 can be broken; leave it off.`),
			path("tls.rsa_cert", func(c *Config) *string { return &c.TLS.RSACert },
				optional(filePath), "",
				`A second certificate, with an RSA key, if cert has another kind of key. Old programs
				can use RSA only.`),
			path("tls.rsa_key", func(c *Config) *string { return &c.TLS.RSAKey },
				optional(filePath), "", above),
		}},
		{"tls.acme", `A certificate that every mail program trusts, for a server with a public name.
			The server gets it and renews it. Until it has one, and if ACME fails, the server's own
			CA issues the certificate. "pillarbox admin tls acme status" shows the state.`, []key{
			boolean("tls.acme.enabled", func(c *Config) *bool { return &c.TLS.ACME.Enabled }, false,
				`Get a certificate by ACME.`),
			boolean("tls.acme.accept_terms",
				func(c *Config) *bool { return &c.TLS.ACME.AcceptTerms }, false,
				`You have read the authority's terms of service and accept them.`),
			text("tls.acme.email", func(c *Config) *address { return &c.TLS.ACME.Email },
				optional(mailAddress), address{},
				`The address at which the authority may reach you, or "".`),
			list("tls.acme.names", func(c *Config) *[]domain { return &c.TLS.ACME.Names }, hostName,
				nil,
				`The names in the certificate. Each must lead from the internet to this server.
				Empty: hostname.`),
			text("tls.acme.challenge",
				func(c *Config) *acme.Challenge { return &c.TLS.ACME.Challenge },
				words(acme.HTTP01, acme.TLSALPN01), acme.HTTP01,
				`How the authority checks them: "http-01" by a connection to port 80, "tls-alpn-01"
				by one to port 443.`),
			text("tls.acme.listen", func(c *Config) *string { return &c.TLS.ACME.Listen },
				optional(listenAddress(80)), "",
				`Where the server waits for that connection, if a router forwards it to another port.
				"": ":80" or ":443". The port is open only during the check.`),
			text("tls.acme.directory", func(c *Config) *string { return &c.TLS.ACME.Directory },
				secureURL, acme.LetsEncrypt,
				`The directory URL of the authority, and the PEM file of the CA that issued the
				authority's own certificate, if it is a private one.`),
			path("tls.acme.ca_file", func(c *Config) *string { return &c.TLS.ACME.CAFile },
				optional(filePath), "", above),
		}},
	}
}

// protocolSections are SMTP, POP3, their limits, DNS, the mailboxes and the log.
func protocolSections() []sectionRow {
	return []sectionRow{
		{"smtp", "", []key{
			text("smtp.greeting", func(c *Config) *string { return &c.SMTP.Greeting }, greeting(""),
				"ESMTP Pillarbox",
				`The text after "220 " and the server's name. %h is the host name, %d the date. Only
				printable ASCII. No version is shown unless you write one here. ("SMTPGreeting",
				"SMTPNoVersionInRcvdHdr")`),
			text("smtp.max_message_size",
				func(c *Config) *int64 { return &c.SMTP.MaxMessageSize }, limit("64KiB", "1TiB"),
				50_000_000,
				`The largest message that the server accepts, from "64KiB"; "0" means no limit.
				("Limit message size to", in IIS 2,048 KB: "2MiB"; "Maximum message size")`),
			text("smtp.max_session_size",
				func(c *Config) *int64 { return &c.SMTP.MaxSessionSize }, limit("64KiB", "1TiB"), 0,
				`The total size of all messages of one connection; "0" means no limit. At least
				max_message_size. ("Limit session size to", in IIS 10,240 KB: "10MiB")`),
			number("smtp.max_messages_per_connection",
				func(c *Config) *int { return &c.SMTP.MaxMessages }, bounds{0, 1_000_000}, 0,
				`The largest number of messages of one connection; 0 means no limit. ("Limit number
				of messages per connection to", in IIS 20)`),
			number("smtp.max_recipients", func(c *Config) *int { return &c.SMTP.MaxRecipients },
				bounds{1, 100_000}, 100,
				`The largest number of recipients of one message. RFC 5321 requires at least 100.
				("Limit number of recipients per message to", "SMTPMaxRecipientCount")`),
			number("smtp.max_for_recipients",
				func(c *Config) *int { return &c.SMTP.MaxForRecipients }, bounds{0, 1000}, 1,
				`The Received header names the recipients of a message if there are at most this
				many; 0 names none. RFC 5321 permits one. More than one shows each recipient the
				blind copies. ("SMTPMaxForRecipients")`),
			number("smtp.max_errors", func(c *Config) *int { return &c.SMTP.MaxErrors },
				bounds{1, 1000}, 10,
				`The server closes a connection after this number of errors. ("SMTPErrorLimit")`),
			// RFC 5321 §4.5.3.1.4 requires 512 octets.
			number("smtp.max_command_length",
				func(c *Config) *int { return &c.SMTP.MaxCommandLength }, bounds{512, 65536}, 2048,
				`The longest command in octets, from 512. ("SMTPMaxCommandLength")`),
			ruleNumber("smtp.max_hops",
				func(c *Config) *policy.Setting[int] { return &c.Policy.MaxHops },
				bounds{0, 1000}, 100,
				`A message with more Received headers than this is in a loop, and the server refuses
				it; 0 means no limit. RFC 5321 asks for at least 100. The old servers had 15, which
				refuses mail that passed some filters and lists. ("Maximum hop count")`),
			text("smtp.command_timeout",
				func(c *Config) *duration { return &c.SMTP.CommandTimeout }, span("10s", "1h"),
				10*time.Minute,
				`How long to wait for the next command, from "10s" to "1h". RFC 5321 requires at
				least 5 minutes. After twice that time without a login or a message, the server
				closes the connection, whatever commands the client has sent. ("Connection
				time-out")`),
			text("smtp.data_timeout", func(c *Config) *duration { return &c.SMTP.DataTimeout },
				span("10s", "1h"), 3*time.Minute,
				`How long to wait for the next block of a message, from "10s" to "1h". A whole
				message may take twice that time and one second for each 128 octets.`),
			text("smtp.max_text_line", func(c *Config) *int64 { return &c.SMTP.MaxTextLine },
				limit("1000", "16MiB"), 0,
				`The longest line of a message, from 1000 octets to "16MiB"; "0" means no limit.
				RFC 5321 allows 1000 octets; some programs write longer lines. The server keeps them,
				and breaks them only for other servers.`),
			text("smtp.bare_line_endings",
				func(c *Config) *policy.BareLineEndings { return &c.Policy.LineEnds.Bare },
				words(policy.RefuseBare, policy.KnownBare, policy.NormaliseBare), policy.KnownBare,
				`What to do with a message that contains a bare CR or LF, as scanners and scripts
				write them: "normalise" each to CRLF, "refuse" the message, or "known": normalise it
				from users who have logged in, from devices and from bare_line_networks, and refuse
				it from others, whose mail may be forged. ("SMTPNonStandardLineTermination")`),
			hosts("smtp.bare_line_networks",
				func(c *Config) *policy.HostList { return &c.Policy.LineEnds.Networks }, nil,
				`Hosts whose messages may have bare CRs and LFs, such as "192.168.7.0/24". From them
				and from devices, a dot between two LFs ends a message, unless bare_line_endings is
				"refuse". From others only CRLF.CRLF does. Leave out servers that pass on the mail
				of others.`),
			boolean("smtp.strict_addresses", func(c *Config) *bool { return &c.SMTP.StrictAddresses }, false,
				`Refuse addresses in MAIL and RCPT that RFC 5321 does not permit: without angle
				brackets, with a name before them, or with a dot at the end. Scanners and scripts
				write such addresses. ("SMTPStrict821AddressSyntax")`),
			boolean("smtp.strict_lines", func(c *Config) *bool { return &c.SMTP.StrictLines }, false,
				`Refuse commands that end with LF instead of CRLF. bare_line_endings is for messages.
				("SMTPStrict821LineSyntax")`),
		}},
		{"pop3", "", []key{
			// A client that sees < or > in the greeting believes that the server offers APOP
			// (RFC 1939 §7).
			text("pop3.greeting", func(c *Config) *string { return &c.POP3.Greeting },
				greeting("<>"), "Pillarbox POP3 ready",
				`The text after "+OK ". %h is the host name, %d the date. Only printable ASCII
				without angle brackets.`),
			text("pop3.idle_timeout", func(c *Config) *duration { return &c.POP3.IdleTimeout },
				span("10m", "24h"), 10*time.Minute,
				`How long to wait for the next command, at least "10m" (RFC 1939). After three times
				that time without a message fetched or deleted, the server closes the connection,
				whatever commands the client has sent.`),
			text("pop3.overtake", func(c *Config) *duration { return &c.POP3.Overtake },
				orZero("never", span("10s", "1h")), 30*time.Second,
				`A second login to a mailbox ends the session of another program that has been
				silent for this time, such as a phone that left its network. Messages that the
				silent program marked for deletion stay. "0" refuses the second login
				(RFC 1939).`),
			hosts("pop3.allow_hosts", func(c *Config) *policy.HostList { return &c.POP3.Hosts.Allow },
				nil,
				`Which hosts may connect; [connections] is for SMTP. A host in allow_hosts may
				connect although a wider entry of deny_hosts contains it. For "Only the list below",
				put the list into allow_hosts and "*" into deny_hosts.`),
			hosts("pop3.deny_hosts", func(c *Config) *policy.HostList { return &c.POP3.Hosts.Deny },
				nil, above),
			number("pop3.max_errors", func(c *Config) *int { return &c.POP3.MaxErrors },
				bounds{1, 1000}, 10,
				`The server closes a connection after this number of errors.`),
		}},
		{"limits", "", []key{
			number("limits.connections", func(c *Config) *int { return &c.Limits.Connections },
				bounds{1, 1_000_000}, 1000,
				`The largest number of connections at a time, all services together. The server
				closes further ones before the greeting, and the log names the limit. One eighth is
				reserved for bans.trusted, auth.plaintext_networks and clients that have logged in.
				Another eighth is reserved for the services, the same part for each. One address may
				have fewer connections when few are left. If the system allows too few open files,
				the server takes fewer connections and logs that at start.`),
			number("limits.connections_per_address",
				func(c *Config) *int { return &c.Limits.ConnectionsPerAddress },
				bounds{1, 1_000_000}, 300, `The same for one client address.`),
			number("limits.connections_per_account",
				func(c *Config) *int { return &c.Limits.ConnectionsPerAccount },
				bounds{1, 1_000_000}, 50, `The same for one account, after its login.`),
			number("limits.smtp_connections", func(c *Config) *int { return &c.Limits.SMTP },
				bounds{0, 1_000_000}, 0,
				`The same for one service of [listen]; 0 means no limit of its own. One eighth is
				reserved as above, and one address may have fewer when few are left.
				("SMTPMaxSessions", "Limit number of connections to")`),
			number("limits.submission_connections",
				func(c *Config) *int { return &c.Limits.Submission }, bounds{0, 1_000_000}, 0, above),
			number("limits.smtps_connections", func(c *Config) *int { return &c.Limits.SMTPS },
				bounds{0, 1_000_000}, 0, above),
			number("limits.odmr_connections", func(c *Config) *int { return &c.Limits.ODMR },
				bounds{0, 1_000_000}, 0, above),
			number("limits.pop3_connections", func(c *Config) *int { return &c.Limits.POP3 },
				bounds{0, 1_000_000}, 0, above),
			number("limits.pop3s_connections", func(c *Config) *int { return &c.Limits.POP3S },
				bounds{0, 1_000_000}, 0, above),
		}},
		{"bans", `A client that guesses passwords, by SMTP or POP3, waits longer after each wrong one
			and is then banned. Only different passwords count: a mail program that repeats an
			outdated password is not banned. "pillarbox admin bans" lists and lifts bans.`, []key{
			number("bans.after", func(c *Config) *int { return &c.Bans.After }, bounds{0, 1000}, 20,
				`The number of different wrong passwords from one address; 0 means no bans.`),
			text("bans.duration", func(c *Config) *duration { return &c.Bans.Duration },
				span("1m", "720h"), time.Hour, `How long a ban lasts, from "1m" to "720h".`),
			hosts("bans.trusted", func(c *Config) *policy.HostList { return &c.Bans.Trusted },
				[]string{"127.0.0.0/8", "::1", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",
					"169.254.0.0/16", "fc00::/7", "fe80::/10"},
				`Hosts that wait but are never banned.`),
		}},
		{"dns", `The server uses DNS to send mail without a smart host, and where a setting above
			needs it. Local mail needs no DNS.`, []key{
			list("dns.servers", func(c *Config) *[]server { return &c.DNS.Servers }, dnsServer, nil,
				`Name servers, as "192.168.1.1" or "ip:port". Empty: those of the system.`),
			text("dns.timeout", func(c *Config) *duration { return &c.DNS.Timeout },
				span("1s", "1m"), 5*time.Second,
				`How long to wait for an answer, from "1s" to "1m".`),
		}},
		{"mailboxes", "", []key{
			text("mailboxes.plus_separator",
				func(c *Config) *string { return &c.Mailboxes.PlusSeparator }, optional(separator),
				"+", `Mail to anna+orders@… goes to anna. One character, or "" for off.`),
			text("mailboxes.default_quota",
				func(c *Config) *int64 { return &c.Mailboxes.DefaultQuota },
				withUnit(size[int64](0, 1<<50), "no limit"), 0,
				`The limit of a mailbox without a limit of its own, as a size and as a number of
				messages; "0" and 0 mean no limit. "pillarbox admin quota" sets the limits of one
				mailbox, or of all mailboxes of a domain together. ("createquotafile", "Storage
				limits", "Maximum mailbox size")`),
			number("mailboxes.default_messages",
				func(c *Config) *int { return &c.Mailboxes.DefaultMessages },
				bounds{0, 1_000_000_000}, 0, above),
			text("mailboxes.default_warning",
				func(c *Config) *int { return &c.Mailboxes.DefaultWarning }, percentage, 90,
				`The part of a limit at which to warn, from "1%" to "99%", or "none". ("Issue warning
				at", "Quota warning threshold")`),
			text("mailboxes.over_quota",
				func(c *Config) *OverQuota { return &c.Mailboxes.OverQuota },
				words(RefuseOverQuota, DeferOverQuota), RefuseOverQuota,
				`What to do with a message that does not fit: "refuse" it (552 5.2.2), so that the
				sender learns of it at once, or "defer" it (452 4.2.2), so that the sending server
				tries again for some days. ("Over quota enforcement")`),
			text("mailboxes.notices",
				func(c *Config) *NoticeLanguage { return &c.Mailboxes.Notices },
				words(EnglishNotices, GermanNotices, NoNotices), EnglishNotices,
				`The language of quota notices: "en" or "de"; "off" sends none. A mailbox gets one
				when it reaches its warning, the postmaster when it is full.`),
			path("mailboxes.notice_templates",
				func(c *Config) *string { return &c.Mailboxes.NoticeTemplates },
				optional(filePath), "",
				`A directory with your own texts: mailbox-warning.en.txt, mailbox-full.en.txt,
				domain-warning.en.txt, domain-full.en.txt, or the same with .de.txt. "pillarbox
				admin quota template" prints the built-in texts.`),
			number("mailboxes.delete_after",
				func(c *Config) *int { return &c.Mailboxes.DeleteAfter }, bounds{0, MaxDays}, 0,
				`Delete mail this number of days after it arrived, or after it was first fetched in
				full from a mailbox; the earlier one counts, and 0 means never. Fetching counts from
				the time when the rule is set. "pillarbox admin retention" shows beforehand what
				would be deleted, and sets other rules for a domain or a mailbox. The server deletes
				once a day. It deletes no mail before a rule has been unchanged for a day; mail that
				was due when the rule was set is deleted a week later.`),
			number("mailboxes.delete_fetched_after",
				func(c *Config) *int { return &c.Mailboxes.DeleteFetchedAfter },
				bounds{0, MaxDays}, 0, above),
			text("mailboxes.undelete",
				func(c *Config) *duration { return &c.Mailboxes.Undelete }, days("off", 365),
				7*24*time.Hour,
				`How long deleted mail can be restored, from "1d" to "365d"; "off" deletes for good.
				"pillarbox admin undelete" restores it. It does not count against a quota. When the
				disk is nearly full, it goes first.`),
			text("mailboxes.undelete_size",
				func(c *Config) *int64 { return &c.Mailboxes.UndeleteSize },
				withUnit(size[int64](0, 1<<50), "no limit"), 1_000_000_000,
				`The size of deleted mail that a mailbox keeps; above it the oldest goes earlier, once
				a day. "0" means no limit.`),
		}},
		{"log", "", []key{
			text("log.level", func(c *Config) *slog.Level { return &c.Log.Level }, oneOf(
				choice[slog.Level]{"debug", slog.LevelDebug},
				choice[slog.Level]{"info", slog.LevelInfo},
				choice[slog.Level]{"warn", slog.LevelWarn},
				choice[slog.Level]{"error", slog.LevelError}), slog.LevelInfo,
				`What is logged: "debug", "info", "warn" or "error".`),
			text("log.format", func(c *Config) *LogFormat { return &c.Log.Format },
				words(TextLog, JSONLog), TextLog,
				`The form of a line: "text" or "json".`).needsRestart(),
		}},
		{"log.levels", `Levels of parts of the server; "" means log.level. "pillarbox admin log level"
			lists them, and changes one until the next reload. pop3 also takes the logging levels of
			the POP3 service of Windows: "none", "minimum" (errors), "medium" (and warnings) and
			"maximum" (and information).`, logLevelKeys()},
		{"log.w3c", `Files with a line for each command of a client, as the SMTP service of Windows
			writes them. They never have a password or text of a message.`, w3cKeys()},
		{"log.protocol", `What clients and server say to each other, line by line, to find out what goes
			wrong with a program. Passwords and messages are left out. New connections are written
			after a reload.`, protocolLogKeys()},
		{"events", `What happened to each message and each client, for "pillarbox admin trace" and the
			statistics. The files are in data/track.`, []key{
			boolean("events.enabled", func(c *Config) *bool { return &c.Events.Enabled }, true,
				`Store events. Without them "pillarbox admin trace" finds nothing.`),
			number("events.keep_days", func(c *Config) *int { return &c.Events.KeepDays },
				bounds{0, MaxDays}, 90, `Days after which events are deleted; 0 means never.`),
			text("events.max_size", func(c *Config) *int64 { return &c.Events.MaxSize },
				limit("1MB", "1TiB"), 1_000_000_000,
				`The size on disk above which the oldest events are deleted earlier.`),
			boolean("events.subjects", func(c *Config) *bool { return &c.Events.Subjects }, false,
				`Store the subjects of messages too, so that "trace" finds a message by its subject.
				Every administrator can then read them.`),
		}},
		{"metrics", `Who may read the figures at an address of listen.metrics that other machines
			reach. On 127.0.0.1 and ::1, every user of this machine may.`, []key{
			path("metrics.token_file", func(c *Config) *string { return &c.Metrics.TokenFile },
				optional(filePath), "",
				`A file whose first line is a token. A client that sends it as "Authorization: Bearer
				TOKEN" may read.`),
			list("metrics.clients", func(c *Config) *[]address { return &c.Metrics.Clients },
				foldedAddress, nil,
				`Mailboxes whose client certificates may read ("pillarbox admin tls client-cert").`),
		}},
		{"alerts", `What the server tells the postmaster and a webhook, once when it begins and once
			when it is over: disk, certificate, mail that does not leave, an account that is held,
			many bans, a damaged log. reports.language is the language of the mail.`, []key{
			boolean("alerts.enabled", func(c *Config) *bool { return &c.Alerts.Enabled }, true,
				`Send alerts.`),
			text("alerts.disk", func(c *Config) *int { return &c.Alerts.Disk }, percentage, 10,
				`Tell when less than this part of the disk, or of its inodes, is free: "1%" to "99%",
				or "none".`),
			number("alerts.certificate_days",
				func(c *Config) *int { return &c.Alerts.CertificateDays }, bounds{0, 365}, 20,
				`Tell this number of days before a certificate ends; 0 means never. A certificate for
				a short time is told when a fifth of it is left.`),
			text("alerts.queue_age", func(c *Config) *duration { return &c.Alerts.QueueAge },
				orZero("never", span("10m", "240h")), 4*time.Hour,
				`Tell when a message has waited for another server this long, from "10m" to "240h";
				"0" means never. Held messages do not count.`),
			number("alerts.bans", func(c *Config) *int { return &c.Alerts.Bans },
				bounds{0, 1_000_000}, 20,
				`Tell when this number of client networks is banned at once; 0 means never.`),
			text("alerts.webhook", func(c *Config) *string { return &c.Alerts.Webhook },
				optional(webhookURL), "",
				`A URL that gets each alert as JSON by POST. The field X-Pillarbox-Signature has the
				HMAC-SHA256 of the body; its key is the first line of secret_file.`),
			path("alerts.secret_file", func(c *Config) *string { return &c.Alerts.SecretFile },
				optional(filePath), "", above),
		}},
		{"backup", `Backups of the office: all mail, accounts, keys and this file. A backup holds what
			was accepted before it began, and stores only what is new. Use another disk or machine.
			See etc/docs/backup.md.`, []key{
			path("backup.dir", func(c *Config) *string { return &c.Backup.Dir }, optional(filePath), "",
				`A directory of its own, which the server's account may write. It must exist. Empty:
				the server makes no backups.`),
			list("backup.at", func(c *Config) *[]duration { return &c.Backup.At }, timeOfDay,
				[]duration{2 * time.Hour}, `The times of day, by the clock of the machine. A server that was
				off at that time makes the backup after its start.`),
			number("backup.daily", func(c *Config) *int { return &c.Backup.Daily }, bounds{1, 3650}, 7,
				`After each backup, older ones are removed. These numbers of days, weeks and months keep
				their last one.`),
			number("backup.weekly", func(c *Config) *int { return &c.Backup.Weekly },
				bounds{0, 520}, 5, above),
			number("backup.monthly", func(c *Config) *int { return &c.Backup.Monthly },
				bounds{0, 120}, 12, above),
		}},
		{"telemetry", `The story of each message for an OpenTelemetry collector: accepted, delivered,
			waited in the queue, attempted. It has no subject and no text of a message.`, []key{
			text("telemetry.endpoint", func(c *Config) *string { return &c.Telemetry.Endpoint },
				optional(collectorURL), "",
				`The URL of a collector that takes OTLP by HTTP, such as "http://127.0.0.1:4318".
				Without a path it gets "/v1/traces". Without this key no span is sent.`),
			path("telemetry.header_file", func(c *Config) *string { return &c.Telemetry.HeaderFile },
				optional(filePath), "",
				`A file whose first line is a header field for the collector, such as
				"Authorization: Bearer TOKEN".`),
			path("telemetry.ca_file", func(c *Config) *string { return &c.Telemetry.CAFile },
				optional(filePath), "",
				`The PEM file of the CA that issued the collector's certificate, if the system does
				not trust it.`),
			boolean("telemetry.addresses", func(c *Config) *bool { return &c.Telemetry.Addresses },
				false, `Send mail addresses, users and the replies of other servers too. Without it,
				spans have the domains of recipients and the codes of replies.`),
		}},
		{"config", "", []key{
			text("config.update_interval", func(c *Config) *duration { return &c.UpdateInterval },
				orZero("never", span("10s", "24h")), 0,
				`How often the server looks whether this file has changed, and reloads it, from "10s"
				to "24h"; "0" means only at "pillarbox admin reload". A changed file is looked at
				again, at most a minute later, and applied if it is still the same. A file with
				mistakes changes nothing, and the log tells them. A file that lacks this key does not
				stop the server from looking until "pillarbox admin reload". In Domino the interval is 2 minutes: "2m".
				("SMTP_Config_Update_Interval")`),
		}},
		{groupsSection, `Names for several hosts, or for several addresses and domains. Lists above
			take them as "group:NAME". They are not the groups that mail is sent to. Use small
			letters, digits, - and _. No variable overrides a group. For example:

			  scanners = ["192.168.1.20", "[192.168.1.30-39]"]`, nil},
	}
}

// logLevelKeys are the levels of the parts.
func logLevelKeys() (all []key) {
	for i, name := range logging.PartNames() {
		words := optional(words(logging.WordsOf(logging.Part(i))...))
		all = append(all, text("log.levels."+name,
			func(c *Config) *logging.Word { return &c.Log.Levels[i] }, words, "", above))
	}
	return all
}

// oneWord is words for plain strings.
func oneWord(all ...string) codec[string] { return words(all...) }

func w3cKeys() []key {
	return []key{
		path("log.w3c.directory", func(c *Config) *string { return &c.Log.W3C.Dir },
			optional(filePath), "",
			`The folder of the files, such as "/var/log/pillarbox"; "" means none. SMTP has the folder
			SMTPSVC1 in it, POP3 has POP3SVC1.`),
		list("log.w3c.services", func(c *Config) *[]string { return &c.Log.W3C.Services },
			oneWord("smtp", "pop3"), []string{"smtp"}, `What is written: "smtp", "pop3" or both.`),
		list("log.w3c.fields", func(c *Config) *[]string { return &c.Log.W3C.Fields },
			oneWord(wirelog.FieldNames()...), []string{"date", "time", "c-ip", "cs-username", "s-ip",
				"s-port", "cs-method", "cs-uri-stem", "cs-uri-query", "sc-status", "sc-bytes",
				"cs-bytes", "time-taken"},
			`The fields of a line. The others are s-sitename, s-computername, sc-win32-status,
			cs-version, cs-host, cs(User-Agent), cs(Cookie) and cs(Referer). Their order is that of
			Windows, whatever the order here.`),
		text("log.w3c.roll_over", func(c *Config) *wirelog.RollOver { return &c.Log.W3C.RollOver },
			words(wirelog.Hourly, wirelog.Daily, wirelog.Weekly, wirelog.Monthly, wirelog.BySize,
				wirelog.Unlimited), wirelog.Daily,
			`When another file begins: "hourly", "daily", "weekly", "monthly", by "size", or never:
			"unlimited".`),
		text("log.w3c.max_size", func(c *Config) *int64 { return &c.Log.W3C.MaxSize },
			limit("100KB", "1TB"), 20_000_000, `The size of a file if roll_over is "size".`),
		boolean("log.w3c.local_time", func(c *Config) *bool { return &c.Log.W3C.LocalTime }, false,
			`Begin files by the clock of the machine instead of by UTC. The lines stay in UTC.`),
		number("log.w3c.keep_days", func(c *Config) *int { return &c.Log.W3C.KeepDays },
			bounds{0, MaxDays}, 90, `Days after which a file is deleted; 0 means never.`),
	}
}

func protocolLogKeys() []key {
	return []key{
		path("log.protocol.directory", func(c *Config) *string { return &c.Log.Protocol.Dir },
			optional(filePath), "", `The folder of the files; "" means none.`),
		list("log.protocol.services", func(c *Config) *[]string { return &c.Log.Protocol.Services },
			oneWord("smtp", "submission", "smtps", "odmr", "pop3", "pop3s", "local"), nil,
			`The listeners whose clients are written; none means all.`),
		list("log.protocol.clients", func(c *Config) *[]network { return &c.Log.Protocol.Clients },
			anyNetwork, nil, `The addresses and networks whose clients are written; none means all.`),
		number("log.protocol.keep_days", func(c *Config) *int { return &c.Log.Protocol.KeepDays },
			bounds{0, MaxDays}, 14, `Days after which a file is deleted; 0 means never.`),
		text("log.protocol.max_size", func(c *Config) *int64 { return &c.Log.Protocol.MaxSize },
			limit("1MB", "1TB"), 1_000_000_000,
			`The size of all files together. The oldest are deleted first; if the file of today alone is
			as large, lines are left out.`),
	}
}
