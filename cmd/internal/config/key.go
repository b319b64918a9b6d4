package config

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"

	"pillarbox/smtp/policy"
	"pillarbox/smtp/route"
)

// kind is how a value is written in the file.
type kind string

const (
	textKind   kind = "a string"
	listKind   kind = "a list of strings"
	numberKind kind = "a whole number"
	boolKind   kind = "true or false"
)

// key is one setting: its name in the file, and the way to and from its field.
type key struct {
	name string
	kind kind

	// set parses a value, a string, []string, int64 or bool as kind says, into
	// the field; at is the origin of an item of a list, or of the value. Every
	// mistake is reported; the field stays as it was after one.
	set func(c *Config, v any, at func(item int) string) []fault

	// show writes the field as it would be written in the file.
	show func(c *Config) string

	// compile makes a list of the policy out of its lines and the groups; nil for
	// every other key.
	compile func(c *Config, groups map[string][]policy.Line) []error

	// in reports whether a configuration has the entry of a table that the key is
	// of; nil for a key that there is once.
	in func(c *Config) bool
}

// exists reports whether there is such a key in a configuration.
func (k key) exists(c *Config) bool { return k.in == nil || k.in(c) }

// fault is one mistake in a value; item is the index in a list, else 0.
type fault struct {
	item int
	mistake
}

// keys is every setting there is, in the order of the sample.
func keys() []key {
	all := []key{
		text("hostname", func(c *Config) *domain { return &c.Hostname }, hostName),
		text("data", func(c *Config) *string { return &c.Data }, filePath),
		text("default_domain", func(c *Config) *domain { return &c.DefaultDomain }, optional(hostedDomain)),
		text("postmaster", func(c *Config) *address { return &c.Postmaster }, optional(mailAddress)),

		list("listen.smtp", func(c *Config) *[]string { return &c.Listen.SMTP }, listenAddress(25)),
		list("listen.submission", func(c *Config) *[]string { return &c.Listen.Submission }, listenAddress(587)),
		list("listen.smtps", func(c *Config) *[]string { return &c.Listen.SMTPS }, listenAddress(465)),
		list("listen.pop3", func(c *Config) *[]string { return &c.Listen.POP3 }, listenAddress(110)),
		list("listen.pop3s", func(c *Config) *[]string { return &c.Listen.POP3S }, listenAddress(995)),
		list("listen.odmr", func(c *Config) *[]string { return &c.Listen.ODMR }, listenAddress(366)),
	}
	all = append(all, tlsKeys()...)
	all = append(all,
		plaintextNetworks(),
	)
	all = append(all, logInKeys()...)
	all = append(all, systemKeys()...)
	all = append(all,
		boolean("auth.client_certificates", func(c *Config) *bool { return &c.Auth.ClientCertificates }),

		ruleText("connections.mode", func(c *Config) *policy.Setting[bool] { return &c.Policy.Connections.Only },
			oneOf(choice[bool]{"all_except", false}, choice[bool]{"only", true})),
		hosts("connections.allow", func(c *Config) *policy.HostList { return &c.Policy.Connections.Allow }),
		hosts("connections.deny", func(c *Config) *policy.HostList { return &c.Policy.Connections.Deny }),
		ruleBoolean("connections.verify_hostname", func(c *Config) *policy.Setting[bool] { return &c.Policy.Connections.VerifyHostname }),
		ruleBoolean("connections.reverse_dns", func(c *Config) *policy.Setting[bool] { return &c.Policy.Connections.ReverseDNS }),
		number("connections.timeout_multiplier", func(c *Config) *int { return &c.Connections.TimeoutMultiplier }, 1, 100),

		hosts("anonymous.exceptions", func(c *Config) *policy.HostList { return &c.Policy.Anonymous.Exceptions }),
		ruleBoolean("anonymous.allow_exceptions", func(c *Config) *policy.Setting[bool] { return &c.Policy.Anonymous.AllowExceptions }),
	)
	all = append(all, siteKeys("sites.smtp", func(c *Config) *policy.Site { return &c.Sites.SMTP })...)
	all = append(all, siteKeys("sites.submission", func(c *Config) *policy.Site { return &c.Sites.Submission })...)
	all = append(all, siteKeys("sites.smtps", func(c *Config) *policy.Site { return &c.Sites.SMTPS })...)
	all = append(all,
		boolean("sites.pop3.require_tls", func(c *Config) *bool { return &c.Sites.POP3.RequireTLS }),
		boolean("sites.pop3.require_128_bit", func(c *Config) *bool { return &c.Sites.POP3.Require128Bit }),
		boolean("sites.pop3s.require_tls", func(c *Config) *bool { return &c.Sites.POP3S.RequireTLS }),
		boolean("sites.pop3s.require_128_bit", func(c *Config) *bool { return &c.Sites.POP3S.Require128Bit }),

		ruleText("relay.enforcement", func(c *Config) *policy.Setting[policy.Enforcement] { return &c.Policy.Relay.Enforcement },
			words(policy.EnforceExternal, policy.EnforceAll, policy.EnforceNone)),
		hosts("relay.exclude_hosts", func(c *Config) *policy.HostList { return &c.Policy.Relay.ExcludeHosts }),
		ruleText("relay.authenticated", func(c *Config) *policy.Setting[bool] { return &c.Policy.Relay.AuthenticatedAllow },
			oneOf(choice[bool]{"allow", true}, choice[bool]{"check", false})),
		addresses("relay.allow_domains", func(c *Config) *policy.AddressList { return &c.Policy.Relay.AllowDomains }),
		addresses("relay.deny_domains", func(c *Config) *policy.AddressList { return &c.Policy.Relay.DenyDomains }),
		hosts("relay.allow_hosts", func(c *Config) *policy.HostList { return &c.Policy.Relay.AllowHosts }),
		hosts("relay.deny_hosts", func(c *Config) *policy.HostList { return &c.Policy.Relay.DenyHosts }),
		overrideDomains(),
		ruleBoolean("relay.deny_wins", func(c *Config) *policy.Setting[bool] { return &c.Policy.Relay.DenyWins }),
		ruleText("relay.refusal", func(c *Config) *policy.Setting[bool] { return &c.Policy.Relay.DominoReplies },
			oneOf(choice[bool]{"unable", false}, choice[bool]{"rejected", true})),
		boolean("relay.i_know_this_is_an_open_relay", func(c *Config) *bool { return &c.Relay.OpenOnPurpose }),

		addresses("senders.allow", func(c *Config) *policy.AddressList { return &c.Policy.Senders.Allow }),
		addresses("senders.deny", func(c *Config) *policy.AddressList { return &c.Policy.Senders.Deny }),
		ruleText("senders.verify_user", func(c *Config) *policy.Setting[policy.VerifyUser] { return &c.Policy.Senders.VerifyUser },
			words(policy.VerifyBoth, policy.VerifyHeader, policy.VerifyEnvelope, policy.VerifyOff)),
		ruleBoolean("senders.refuse_forged", func(c *Config) *policy.Setting[bool] { return &c.Policy.Senders.RefuseForged }),
		hosts("senders.trusted_hosts", func(c *Config) *policy.HostList { return &c.Policy.Senders.TrustedHosts }),
		ruleBoolean("senders.verify_domain", func(c *Config) *policy.Setting[bool] { return &c.Policy.Senders.VerifyDomain }),
		text("senders.verify_timeout", func(c *Config) *duration { return &c.Policy.Senders.VerifyTimeout }, span("1s", "5m")),

		addresses("recipients.allow", func(c *Config) *policy.AddressList { return &c.Policy.Recipients.Allow }),
		addresses("recipients.deny", func(c *Config) *policy.AddressList { return &c.Policy.Recipients.Deny }),

		ruleBoolean("outside.send", func(c *Config) *policy.Setting[bool] { return &c.Policy.Outside.Send }),
		ruleBoolean("outside.receive", func(c *Config) *policy.Setting[bool] { return &c.Policy.Outside.Receive }),
		addresses("outside.accept_from", func(c *Config) *policy.AddressList { return &c.Policy.Outside.AcceptFrom }),
		addresses("outside.reject_from", func(c *Config) *policy.AddressList { return &c.Policy.Outside.RejectFrom }),
		placed(number("outside.per_hour", valueOf(perHour), 0, 1_000_000), perHour),
	)
	all = append(all, outboundKeys()...)
	all = append(all, operatorsKeys()...)
	return append(all,
		hosts("dnsbl.private_deny", func(c *Config) *policy.HostList { return &c.Policy.DNSBL.Deny }),
		hosts("dnsbl.private_allow", func(c *Config) *policy.HostList { return &c.Policy.DNSBL.Allow }),
		dnsblSites(),
		ruleText("dnsbl.action", func(c *Config) *policy.Setting[policy.DNSBLAction] { return &c.Policy.DNSBL.Action },
			words(policy.DNSBLLog, policy.DNSBLMark, policy.DNSBLReject)),
		text("dnsbl.reply", func(c *Config) *string { return &c.Policy.DNSBL.Text }, optional(listedText)),
		addresses("dnsbl.exempt", func(c *Config) *policy.AddressList { return &c.Policy.DNSBL.Exempt }),

		text("authenticity.spf", func(c *Config) *Check { return &c.Authenticity.SPF }, words(CheckOff, CheckMark, CheckReject)),
		text("authenticity.dkim", func(c *Config) *Check { return &c.Authenticity.DKIM }, words(CheckOff, CheckMark, CheckReject)),
		text("authenticity.dmarc", func(c *Config) *Check { return &c.Authenticity.DMARC }, words(CheckOff, CheckMark, CheckReject)),
		boolean("authenticity.dkim_sign", func(c *Config) *bool { return &c.Authenticity.Sign }),

		text("smtp.greeting", func(c *Config) *string { return &c.SMTP.Greeting }, greeting("")),
		text("smtp.max_message_size", func(c *Config) *int64 { return &c.SMTP.MaxMessageSize }, limit("64KiB", "1TiB")),
		text("smtp.max_session_size", func(c *Config) *int64 { return &c.SMTP.MaxSessionSize }, limit("64KiB", "1TiB")),
		number("smtp.max_messages_per_connection", func(c *Config) *int { return &c.SMTP.MaxMessages }, 0, 1_000_000),
		number("smtp.max_recipients", func(c *Config) *int { return &c.SMTP.MaxRecipients }, 1, 100_000),
		number("smtp.max_errors", func(c *Config) *int { return &c.SMTP.MaxErrors }, 1, 1000),
		// RFC 5321 §4.5.3.1.4 wants 512 octets at least.
		number("smtp.max_command_length", func(c *Config) *int { return &c.SMTP.MaxCommandLength }, 512, 65536),
		placed(number("smtp.max_hops", valueOf(maxHops), 0, 1000), maxHops),
		text("smtp.command_timeout", func(c *Config) *duration { return &c.SMTP.CommandTimeout }, span("10s", "1h")),
		text("smtp.data_timeout", func(c *Config) *duration { return &c.SMTP.DataTimeout }, span("10s", "1h")),
		text("smtp.max_text_line", func(c *Config) *int { return &c.SMTP.MaxTextLine }, size[int](1000, 16<<20)),
		text("smtp.bare_line_endings", func(c *Config) *BareLineEndings { return &c.SMTP.BareLineEndings }, oneOf(
			choice[BareLineEndings]{"refuse", RefuseBare}, choice[BareLineEndings]{"normalise", NormaliseBare})),

		// An angle bracket would make clients take it for an APOP stamp (RFC 1939 §7).
		text("pop3.greeting", func(c *Config) *string { return &c.POP3.Greeting }, greeting("<>")),
		text("pop3.idle_timeout", func(c *Config) *duration { return &c.POP3.IdleTimeout }, span("10m", "24h")),
		number("pop3.max_errors", func(c *Config) *int { return &c.POP3.MaxErrors }, 1, 1000),

		number("limits.connections", func(c *Config) *int { return &c.Limits.Connections }, 1, 1_000_000),
		number("limits.connections_per_address", func(c *Config) *int { return &c.Limits.ConnectionsPerAddress }, 1, 1_000_000),
		number("limits.connections_per_account", func(c *Config) *int { return &c.Limits.ConnectionsPerAccount }, 1, 1_000_000),

		number("bans.after", func(c *Config) *int { return &c.Bans.After }, 0, 1000),
		text("bans.duration", func(c *Config) *duration { return &c.Bans.Duration }, span("1m", "720h")),
		hosts("bans.trusted", func(c *Config) *policy.HostList { return &c.Bans.Trusted }),

		list("dns.servers", func(c *Config) *[]server { return &c.DNS.Servers }, dnsServer),
		text("dns.timeout", func(c *Config) *duration { return &c.DNS.Timeout }, span("1s", "1m")),

		text("mailboxes.plus_separator", func(c *Config) *string { return &c.Mailboxes.PlusSeparator }, optional(separator)),
		text("mailboxes.default_quota", func(c *Config) *int64 { return &c.Mailboxes.DefaultQuota }, size[int64](0, 1<<50)),
		number("mailboxes.default_messages", func(c *Config) *int { return &c.Mailboxes.DefaultMessages }, 0, 1_000_000_000),
		text("mailboxes.default_warning", func(c *Config) *int { return &c.Mailboxes.DefaultWarning }, percentage),
		text("mailboxes.over_quota", func(c *Config) *OverQuota { return &c.Mailboxes.OverQuota }, words(RefuseOverQuota, DeferOverQuota)),
		text("mailboxes.notices", func(c *Config) *NoticeLanguage { return &c.Mailboxes.Notices }, words(EnglishNotices, GermanNotices, NoNotices)),
		text("mailboxes.notice_templates", func(c *Config) *string { return &c.Mailboxes.NoticeTemplates }, optional(filePath)),
		number("mailboxes.delete_after", func(c *Config) *int { return &c.Mailboxes.DeleteAfter }, 0, MaxDays),
		number("mailboxes.delete_fetched_after", func(c *Config) *int { return &c.Mailboxes.DeleteFetchedAfter }, 0, MaxDays),

		text("log.level", func(c *Config) *slog.Level { return &c.Log.Level }, oneOf(
			choice[slog.Level]{"debug", slog.LevelDebug}, choice[slog.Level]{"info", slog.LevelInfo},
			choice[slog.Level]{"warn", slog.LevelWarn}, choice[slog.Level]{"error", slog.LevelError})),
		text("log.format", func(c *Config) *LogFormat { return &c.Log.Format }, oneOf(
			choice[LogFormat]{"text", TextLog}, choice[LogFormat]{"json", JSONLog})),
	)
}

// siteKeys are what a listener of SMTP may demand.
func siteKeys(section string, site func(*Config) *policy.Site) []key {
	return []key{
		ruleBoolean(section+".require_tls", func(c *Config) *policy.Setting[bool] { return &site(c).RequireTLS }),
		strongKey(section, site),
		ruleText(section+".min_tls", func(c *Config) *policy.Setting[uint16] { return &site(c).MinTLS }, tlsVersion(
			choice[uint16]{"", 0}, choice[uint16]{"1.2", tls.VersionTLS12}, choice[uint16]{"1.3", tls.VersionTLS13})),
		ruleBoolean(section+".require_auth", func(c *Config) *policy.Setting[bool] { return &site(c).RequireAuth }),
		ruleBoolean(section+".anonymous", func(c *Config) *policy.Setting[bool] { return &site(c).Anonymous }),
		ruleBoolean(section+".offer_auth", func(c *Config) *policy.Setting[bool] { return &site(c).OfferAuth }),
	}
}

// outboundKeys are what mail to other servers, and about it, is sent by.
func outboundKeys() []key {
	way := func(c *Config) *route.Route { return &c.Routes.Default }
	all := []key{
		boolean("outbound.enabled", func(c *Config) *bool { return &c.Outbound.Enabled }),
		text("outbound.name", func(c *Config) *string { return &way(c).EHLO }, optional(heloName)),
	}
	all = append(all, wayKeys("outbound", way)...)
	return append(all,
		number("outbound.connections", func(c *Config) *int { return &c.Outbound.Connections }, 1, 100_000),
		number("outbound.connections_per_domain", func(c *Config) *int { return &way(c).Connections }, 1, 100_000),
		number("outbound.messages_per_connection", func(c *Config) *int { return &way(c).PerConnection }, 1, 1_000_000),
		number("outbound.recipients_per_message", func(c *Config) *int { return &way(c).Recipients }, 1, 100_000),
		text("outbound.idle_timeout", func(c *Config) *duration { return &way(c).Idle }, span("10s", "1h")),

		text("reports.language", func(c *Config) *ReportLanguage { return &c.Reports.Language }, words(EnglishReports, GermanReports)),
		text("reports.copy_to", func(c *Config) *address { return &c.Reports.CopyTo }, optional(mailAddress)),
		text("reports.null_sender", func(c *Config) *NullSender { return &c.Reports.NullSender }, words(NullToBadmail, NullSend, NullDrop)),
		boolean("reports.success", func(c *Config) *bool { return &c.Reports.Success }),
		text("reports.max_return", func(c *Config) *int64 { return &c.Reports.MaxReturn }, size[int64](0, 1<<40)),
		text("reports.from", func(c *Config) *address { return &c.Reports.From }, optional(mailAddress)),
		text("reports.strangers", func(c *Config) *Strangers { return &c.Reports.Strangers }, words(VerifiedStrangers, NoStrangers, AllStrangers)),
		number("reports.per_address", func(c *Config) *int { return &c.Reports.PerAddress }, 0, 1_000_000),
		number("reports.per_hour", func(c *Config) *int { return &c.Reports.PerHour }, 0, 1_000_000),
		number("reports.badmail_days", func(c *Config) *int { return &c.Reports.KeepDays }, 0, MaxDays),
		text("reports.badmail_size", func(c *Config) *int64 { return &c.Reports.KeepSize }, limit("1MB", "1TiB")),

		boolean("pickup.enabled", func(c *Config) *bool { return &c.Pickup.Enabled }),
		text("pickup.dir", func(c *Config) *string { return &c.Pickup.Dir }, optional(filePath)),

		boolean("local.enabled", func(c *Config) *bool { return &c.Local.Enabled }),
		text("local.socket", func(c *Config) *string { return &c.Local.Socket }, optional(socketPath)),
		boolean("local.outside", func(c *Config) *bool { return &c.Local.Outside }),
		number("local.per_hour", func(c *Config) *int { return &c.Local.PerHour }, 0, 1_000_000),
	)
}

// dnsblSites is the list of the sites that are asked about a client.
func dnsblSites() key {
	k := group("dnsbl.sites")
	k.compile = func(c *Config, _ map[string][]policy.Line) (errs []error) {
		c.Policy.DNSBL.Sites = nil
		for _, line := range c.lines[k.name] {
			site, err := policy.ParseDNSBLSite(line)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			c.Policy.DNSBL.Sites = append(c.Policy.DNSBL.Sites, site)
		}
		return errs
	}
	return k
}

func maxHops(c *Config) *policy.Setting[int] { return &c.Policy.MaxHops }

func perHour(c *Config) *policy.Setting[int] { return &c.Policy.Outside.PerHour }

// keys is every setting there is, and every entry of a table and every group
// that this configuration has.
func (c *Config) keys() []key {
	all := keys()
	for _, t := range tables() {
		for i := range t.len(c) {
			all = append(all, t.keys(entry(t.name, i), i)...)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.lines)) {
		if isGroup(name) {
			all = append(all, group(name))
		}
	}
	return all
}

// variable is the environment variable that overrides the key.
func (k key) variable() string {
	return prefix + strings.ToUpper(strings.ReplaceAll(k.name, ".", "_"))
}

// section is the part of a key's name before its last dot, "" for none.
func section(name string) string {
	return name[:max(strings.LastIndexByte(name, '.'), 0)]
}

// leaf is the part of a key's name after its last dot.
func leaf(name string) string {
	return name[strings.LastIndexByte(name, '.')+1:]
}

// text is a key whose value is one string.
func text[T any](name string, field func(*Config) *T, as codec[T]) key {
	return key{
		name: name,
		kind: textKind,
		set: func(c *Config, v any, _ func(int) string) []fault {
			parsed, err := as.parse(v.(string))
			if err != nil {
				return []fault{{0, asMistake(err)}}
			}
			*field(c) = parsed
			return nil
		},
		show: func(c *Config) string { return quote(as.format(*field(c))) },
	}
}

// list is a key whose value is a list of strings.
func list[T any](name string, field func(*Config) *[]T, as codec[T]) key {
	return key{
		name: name,
		kind: listKind,
		set: func(c *Config, v any, _ func(int) string) (faults []fault) {
			var all []T
			for i, item := range v.([]string) {
				parsed, err := as.parse(item)
				if err != nil {
					faults = append(faults, fault{i, asMistake(err)})
				}
				all = append(all, parsed)
			}
			if faults == nil {
				*field(c) = all
			}
			return faults
		},
		show: func(c *Config) string {
			var items []string
			for _, item := range *field(c) {
				items = append(items, as.format(item))
			}
			return quoteList(items)
		},
	}
}

// number is a key whose value is a whole number within bounds.
func number(name string, field func(*Config) *int, low, high int64) key {
	return key{
		name: name,
		kind: numberKind,
		set: func(c *Config, v any, _ func(int) string) []fault {
			n := v.(int64)
			if n < low || n > high {
				return []fault{{0, mistake{
					fmt.Sprintf("%d is out of range", n),
					fmt.Sprintf("write a number from %d to %d", low, high)}}}
			}
			*field(c) = int(n)
			return nil
		},
		show: func(c *Config) string { return strconv.Itoa(*field(c)) },
	}
}

// boolean is a key whose value is true or false.
func boolean(name string, field func(*Config) *bool) key {
	return key{
		name: name,
		kind: boolKind,
		set: func(c *Config, v any, _ func(int) string) []fault {
			*field(c) = v.(bool)
			return nil
		},
		show: func(c *Config) string { return strconv.FormatBool(*field(c)) },
	}
}

// ruleBoolean is a boolean that is a setting of the policy.
func ruleBoolean(name string, field func(*Config) *policy.Setting[bool]) key {
	return placed(boolean(name, valueOf(field)), field)
}

// ruleText is a text that is a setting of the policy.
func ruleText[T any](name string, field func(*Config) *policy.Setting[T], as codec[T]) key {
	return placed(text(name, valueOf(field), as), field)
}

// valueOf is the field of a setting's value.
func valueOf[T any](field func(*Config) *policy.Setting[T]) func(*Config) *T {
	return func(c *Config) *T { return &field(c).Value }
}

// placed makes a key note the origin of its setting too.
func placed[T any](k key, field func(*Config) *policy.Setting[T]) key {
	set := k.set
	k.set = func(c *Config, v any, at func(int) string) []fault {
		faults := set(c, v, at)
		if faults == nil {
			field(c).Origin = at(0)
		}
		return faults
	}
	return k
}

// hosts is a list of hosts of the policy.
func hosts(name string, field func(*Config) *policy.HostList) key {
	k := group(name)
	k.compile = func(c *Config, groups map[string][]policy.Line) (errs []error) {
		*field(c), errs = policy.ParseHosts(c.lines[name], groups)
		return errs
	}
	return k
}

// addresses is a list of addresses and domains of the policy.
func addresses(name string, field func(*Config) *policy.AddressList) key {
	k := group(name)
	k.compile = func(c *Config, groups map[string][]policy.Line) (errs []error) {
		*field(c), errs = policy.ParseAddresses(c.lines[name], groups)
		return errs
	}
	return k
}

// overrideDomains takes the routes that everybody may relay to as well.
func overrideDomains() key {
	k := group("relay.override_domains")
	k.compile = func(c *Config, groups map[string][]policy.Line) (errs []error) {
		lines := append(slices.Clone(c.lines[k.name]), c.relayedLines()...)
		c.Policy.Relay.OverrideDomains, errs = policy.ParseAddresses(lines, groups)
		return errs
	}
	return k
}

// group is a list of hosts or addresses as it is written.
func group(name string) key {
	return key{
		name: name,
		kind: listKind,
		set: func(c *Config, v any, at func(int) string) []fault {
			var lines []policy.Line
			for i, item := range v.([]string) {
				lines = append(lines, policy.Line{Text: item, Origin: at(i)})
			}
			c.lines[name] = lines
			return nil
		},
		show: func(c *Config) string {
			var items []string
			for _, line := range c.lines[name] {
				items = append(items, line.Text)
			}
			return quoteList(items)
		},
	}
}

// plaintextNetworks fills the list of the policy and the networks that POP3
// knows.
func plaintextNetworks() key {
	const name = "auth.plaintext_networks"
	k := list(name, func(c *Config) *[]network { return &c.Auth.PlaintextNetworks }, trustedNetwork)
	rule := hosts(name, func(c *Config) *policy.HostList { return &c.Policy.LogIns.PlaintextNetworks })
	set := k.set
	k.set = func(c *Config, v any, at func(int) string) []fault {
		if faults := set(c, v, at); faults != nil {
			return faults
		}
		return rule.set(c, v, at)
	}
	k.show, k.compile = rule.show, rule.compile
	return k
}

func asMistake(err error) mistake {
	if m, ok := errors.AsType[mistake](err); ok {
		return m
	}
	return mistake{what: err.Error()}
}

// Setting is one line of "config show".
type Setting struct {
	Key    string `json:"key"`
	Value  string `json:"value"`  // as it would be written in the file
	Source string `json:"source"` // "default", "file:line" or "env NAME"
	Secret bool   `json:"secret"` // Value must not be shown; no key is secret so far
}

// Effective lists every setting in the order of the sample, then the entries of
// the tables, as route[1].domains, then the groups.
func (c *Config) Effective() []Setting {
	var all []Setting
	for _, k := range c.keys() {
		source := "default"
		if o, ok := c.source(k.name); ok {
			source = o.String()
		}
		all = append(all, Setting{Key: k.name, Value: k.show(c), Source: source})
	}
	return all
}

// Origin is where a key is set, as policy.Setting has it: "pillarbox.toml:41",
// "env PILLARBOX_…" or "default".
func (c *Config) Origin(name string) string {
	if o, ok := c.source(name); ok {
		return o.short()
	}
	return byDefault
}

// source is where a key has its value from: a route's key perhaps from
// [outbound].
func (c *Config) source(name string) (o origin, ok bool) {
	if o, ok = c.origin[name]; ok || !strings.HasPrefix(name, "route[") {
		return o, ok
	}
	of := leaf(name)
	switch of {
	case "user", "password_file":
		if c.ownLogin(section(name)) {
			return o, false
		}
	case "connections":
		of = "connections_per_domain"
	}
	o, ok = c.origin["outbound."+of]
	return o, ok
}

// Diff lists the keys whose values differ, in the order of the sample. An entry
// of a table that only one of the two has is named as a whole, as route[3].
func Diff(old, new *Config) []string {
	var changed []string
	note := func(k key) {
		name := k.name
		switch before, after := k.exists(old), k.exists(new); {
		case before != after:
			name = section(name)
		case before && k.show(old) == k.show(new):
			return
		}
		if !slices.Contains(changed, name) {
			changed = append(changed, name)
		}
	}
	for _, k := range new.keys() {
		note(k)
	}
	for _, k := range old.keys() { // groups and entries that are gone
		note(k)
	}
	return changed
}

// RestartKeys returns those of the changed keys that a running server cannot
// take over: it holds the lock of its data directory, it opened its listening
// sockets while it had the right to, it watches one folder, and a log changes its
// form only as a whole.
func RestartKeys(changed []string) []string {
	return slices.DeleteFunc(slices.Clone(changed), func(name string) bool {
		switch name {
		case "data", "log.format", "local.enabled", "local.socket":
			return false
		}
		return section(name) != "listen" && section(name) != "pickup" && section(name) != "operators"
	})
}
