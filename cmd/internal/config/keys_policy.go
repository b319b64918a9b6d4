package config

import (
	"crypto/tls"
	"slices"
	"time"

	"pillarbox/smtp/policy"
)

// policySections are the rules for connections, senders, recipients and relaying.
func policySections() []sectionRow {
	rules := []sectionRow{
		{"connections", `Which hosts may connect. Others get a 554 at once, before any command.
			("Connection control", "Allow/deny connections from the following SMTP Internet
			hostnames/IP addresses")`, []key{
			ruleText("connections.mode",
				func(c *Config) *policy.Setting[bool] { return &c.Policy.Connections.Only },
				oneOf(choice[bool]{"all_except", false}, choice[bool]{"only", true}), false,
				`"all_except": all hosts but those in deny ("All except the list below"). "only":
				only the hosts in allow ("Only the list below").`),
			hosts("connections.allow",
				func(c *Config) *policy.HostList { return &c.Policy.Connections.Allow }, nil,
				`A host in allow may connect although a wider entry of deny contains it. An entry in
				both lists is denied.`),
			hosts("connections.deny",
				func(c *Config) *policy.HostList { return &c.Policy.Connections.Deny }, nil, above),
			ruleBoolean("connections.verify_hostname",
				func(c *Config) *policy.Setting[bool] { return &c.Policy.Connections.VerifyHostname },
				false, `Refuse mail from a host whose address has no name in DNS, or a name that does
				not lead back to the address. The refusal is the reply to MAIL FROM. ("Verify
				connecting hostname in DNS")`),
			ruleBoolean("connections.reverse_dns",
				func(c *Config) *policy.Setting[bool] { return &c.Policy.Connections.ReverseDNS },
				false, `Look up the name of each client in DNS, compare it with the name in HELO or
				EHLO, and write the result into the Received header: the name if both are the same;
				"unverified" if they differ, or if the name does not lead back to the address;
				"RDNS failed" if the address has no name, or DNS does not answer. ("Perform reverse
				DNS lookup on incoming messages")`),
			number("connections.timeout_multiplier",
				func(c *Config) *int { return &c.Connections.TimeoutMultiplier }, bounds{1, 100}, 1,
				`A factor from 1 to 100 for all timeouts of SMTP and POP3.
				("SMTPTimeoutMultiplier")`),
		}},
		{"anonymous", "", []key{
			hosts("anonymous.exceptions",
				func(c *Config) *policy.HostList { return &c.Policy.Anonymous.Exceptions }, nil,
				`Hosts that may send without a login where a site requires one, such as a report
				server that cannot log in. The other sections decide what they may send, and where
				to. A device of its own is better: "pillarbox admin device add".
				("SMTPAllowConnectionsAnonymous=1" and the list of allowed connections)`),
			ruleBoolean("anonymous.allow_exceptions",
				func(c *Config) *policy.Setting[bool] { return &c.Policy.Anonymous.AllowExceptions },
				true, `false: the list has no effect. ("SMTPAllowConnectionsAnonymous=0")`),
		}},
	}
	return slices.Concat(rules, siteSections(), relaySections())
}

// siteSections are the demands of each service.
func siteSections() []sectionRow {
	return []sectionRow{
		{"sites.smtp", `What each service demands ("Internet sites", "Access control"). [listen] turns
			a service off.`, smtpSiteKeys("sites.smtp",
			func(c *Config) *policy.Site { return &c.Sites.SMTP }, siteDefaults{anonymous: true})},
		{"sites.submission", `The same for submission.`, shareDoc(smtpSiteKeys("sites.submission",
			func(c *Config) *policy.Site { return &c.Sites.Submission },
			siteDefaults{requireAuth: true}))},
		{"sites.smtps", `The same for smtps, which always has TLS.`, shareDoc(
			smtpSiteKeys("sites.smtps", func(c *Config) *policy.Site { return &c.Sites.SMTPS },
				siteDefaults{requireAuth: true, requireTLS: true}))},
		{"sites.pop3", "", []key{
			boolean("sites.pop3.require_tls", func(c *Config) *bool { return &c.Sites.POP3.RequireTLS },
				false, `Refuse every login without TLS, even from auth.plaintext_networks.`),
			boolean("sites.pop3.require_128_bit",
				func(c *Config) *bool { return &c.Sites.POP3.Require128Bit }, false,
				`Refuse every login over TLS with 3DES or RC4.`),
		}},
		{"sites.pop3s", `The same for pop3s, which always has TLS.`, shareDoc([]key{
			boolean("sites.pop3s.require_tls",
				func(c *Config) *bool { return &c.Sites.POP3S.RequireTLS }, true, above),
			boolean("sites.pop3s.require_128_bit",
				func(c *Config) *bool { return &c.Sites.POP3S.Require128Bit }, false, above),
		})},
	}
}

// siteDefaults are the defaults in which the SMTP services differ.
type siteDefaults struct{ requireTLS, requireAuth, anonymous bool }

// smtpSiteKeys are the demands of one SMTP service.
func smtpSiteKeys(section string, of func(*Config) *policy.Site, def siteDefaults) []key {
	return []key{
		ruleBoolean(section+".require_tls",
			func(c *Config) *policy.Setting[bool] { return &of(c).RequireTLS }, def.requireTLS,
			`Refuse mail and logins without TLS. ("Require secure channel", "Requires TLS
			encryption")`),
		ruleBoolean(section+".require_128_bit",
			func(c *Config) *policy.Setting[bool] { return &of(c).Require128Bit }, false,
			`Refuse mail and logins over TLS with 3DES or RC4, which only programs in
			tls.legacy_networks use. It does not require TLS. ("Require 128-bit encryption", which
			kept out the 40 and 56 bits of old export versions)`),
		ruleText(section+".min_tls",
			func(c *Config) *policy.Setting[uint16] { return &of(c).MinTLS }, tlsVersion(
				choice[uint16]{"", 0}, choice[uint16]{"1.2", tls.VersionTLS12},
				choice[uint16]{"1.3", tls.VersionTLS13}), 0,
			`The oldest TLS with which a client may send: "1.2", "1.3", or "" for that of [tls].`),
		ruleBoolean(section+".require_auth",
			func(c *Config) *policy.Setting[bool] { return &of(c).RequireAuth }, def.requireAuth,
			`Refuse mail without a login.`),
		ruleBoolean(section+".anonymous",
			func(c *Config) *policy.Setting[bool] { return &of(c).Anonymous }, def.anonymous,
			`Accept mail without a login, for mailboxes here and as far as [relay] allows.
			("Anonymous access"; false is Domino's "Anonymous: No": 530 until AUTH)`),
		ruleBoolean(section+".offer_auth",
			func(c *Config) *policy.Setting[bool] { return &of(c).OfferAuth }, true,
			`Offer logins, with the mechanisms of [auth]. ("Basic authentication", "Integrated Windows
			authentication", "Name & password")`),
	}
}

// relaySections are the rules for relaying, senders and recipients.
func relaySections() []sectionRow {
	return []sectionRow{
		{"relay", `Who may send to domains that are not hosted here. By default, users who have logged
			in. ("SMTP inbound relay controls", "Relay restrictions")`, []key{
			ruleText("relay.enforcement", func(c *Config) *policy.Setting[policy.Enforcement] {
				return &c.Policy.Relay.Enforcement
			}, words(policy.EnforceAll, policy.EnforceExternal, policy.EnforceNone),
				policy.EnforceAll,
				`The hosts to which the lists below apply: "all"; "external" ones, whose name in DNS
				is in no domain hosted here; "none". Domino's default is "external": every computer
				to which your DNS gives a name of your domain may then send to other servers without
				a login. ("Perform anti-relay enforcement for these connecting hosts")`),
			hosts("relay.exclude_hosts",
				func(c *Config) *policy.HostList { return &c.Policy.Relay.ExcludeHosts }, nil,
				`Hosts that may relay in spite of the lists. ("Exclude these connecting hosts from
				anti-relay checks", "do not check these hosts during relay")`),
			ruleText("relay.authenticated",
				func(c *Config) *policy.Setting[bool] { return &c.Policy.Relay.AuthenticatedAllow },
				oneOf(choice[bool]{"allow", true}, choice[bool]{"check", false}), true,
				`Users who have logged in: "allow" them to relay, or "check" them against the lists
				like all others. ("Exceptions for authenticated users", "Allow all computers which
				successfully authenticate to relay, regardless of the list above")`),
			addresses("relay.allow_domains",
				func(c *Config) *policy.AddressList { return &c.Policy.Relay.AllowDomains }, nil,
				`Domains to relay to. ("Allow messages to be sent only to the following external
				Internet domains", "Deny messages to be sent to …")`),
			addresses("relay.deny_domains",
				func(c *Config) *policy.AddressList { return &c.Policy.Relay.DenyDomains }, nil,
				above),
			hosts("relay.allow_hosts",
				func(c *Config) *policy.HostList { return &c.Policy.Relay.AllowHosts }, nil,
				`Hosts to relay for. ("Allow messages only from the following Internet hosts to be
				sent to external Internet domains", "Deny messages from …") For "Only the list
				below", put the list into allow_hosts and "*" into deny_hosts. "All except the list
				below" is an open relay, and so are four empty lists.`),
			hosts("relay.deny_hosts",
				func(c *Config) *policy.HostList { return &c.Policy.Relay.DenyHosts },
				[]string{"*"}, above),
			overrideDomains("relay.override_domains",
				`Domains to which all clients may relay. ("Allow incoming mail to be relayed to this
				domain" of a remote domain, "Allow messages to be relayed to these domains" of a
				connector)`),
			ruleBoolean("relay.deny_wins",
				func(c *Config) *policy.Setting[bool] { return &c.Policy.Relay.DenyWins }, false,
				`false: allow beats deny, also from one pair of lists to the other; an entry in both
				lists of a pair is denied. true: any deny beats any allow, as in Domino R5.
				("SMTPRelayHostsandDomains=1")`),
			ruleText("relay.refusal",
				func(c *Config) *policy.Setting[bool] { return &c.Policy.Relay.DominoReplies },
				oneOf(choice[bool]{"unable", false}, choice[bool]{"rejected", true}), false,
				`The text of the refusal: "unable" is "550 5.7.1 Unable to relay for …", "rejected"
				is Domino's "554 5.7.1 Relay rejected for policy reasons."`),
			boolean("relay.i_know_this_is_an_open_relay",
				func(c *Config) *bool { return &c.Relay.OpenOnPurpose }, false,
				`A file that would let strangers relay is refused: "*", "0.0.0.0/0", the default
				gateway or a bridge of containers among the trusted hosts, "*" among the allowed
				domains, or no entry that denies. true: such a file loads with a warning.`),
		}},
		{"senders", "", []key{
			addresses("senders.allow",
				func(c *Config) *policy.AddressList { return &c.Policy.Senders.Allow }, nil,
				`Senders that MAIL FROM may name. If allow has entries, all others are refused. An
				entry in both lists is denied. ("Accept/deny messages from the following Internet
				addresses/domains", "Sender filtering")`),
			addresses("senders.deny",
				func(c *Config) *policy.AddressList { return &c.Policy.Senders.Deny }, nil, above),
			ruleText("senders.verify_user", func(c *Config) *policy.Setting[policy.VerifyUser] {
				return &c.Policy.Senders.VerifyUser
			}, words(policy.VerifyBoth, policy.VerifyHeader, policy.VerifyEnvelope,
				policy.VerifyOff), policy.VerifyBoth,
				`Where the server refuses senders other than the addresses of the logged-in user: in
				the "envelope" (MAIL FROM), in the "header" (Sender, or From), in "both", or "off".
				"pillarbox admin sendas grant" allows further addresses.
				("SMTPVerifyAuthenticatedSender=1" is "header")`),
			ruleBoolean("senders.refuse_forged",
				func(c *Config) *policy.Setting[bool] { return &c.Policy.Senders.RefuseForged }, true,
				`Refuse a sender of a domain hosted here without a login. trusted_hosts are exempt:
				web servers and other hosts that send in your name. So are hosts that are both in
				anonymous.exceptions and in relay.exclude_hosts.`),
			hosts("senders.trusted_hosts",
				func(c *Config) *policy.HostList { return &c.Policy.Senders.TrustedHosts }, nil,
				above),
			ruleBoolean("senders.verify_domain",
				func(c *Config) *policy.Setting[bool] { return &c.Policy.Senders.VerifyDomain },
				false,
				`Refuse a sender whose domain has neither an MX nor an address in DNS, and how long
				to wait for the answer, from "1s" to "5m". Without an answer the refusal is
				temporary. ("Verify sender's domain in DNS", "SMTPVerifySendersDomainTimeout")`),
			text("senders.verify_timeout",
				func(c *Config) *duration { return &c.Policy.Senders.VerifyTimeout },
				span("1s", "5m"), 30*time.Second, above),
		}},
		{"recipients", "", []key{
			addresses("recipients.allow",
				func(c *Config) *policy.AddressList { return &c.Policy.Recipients.Allow }, nil,
				`Recipients that RCPT TO may name. If allow has entries, all others are refused. An
				entry in both lists is denied. ("Allow/deny messages intended only for the following
				Internet addresses", "Recipient filtering") The server always checks that a local
				recipient exists ("Verify that local domain recipients exist in the Domino
				Directory").`),
			addresses("recipients.deny",
				func(c *Config) *policy.AddressList { return &c.Policy.Recipients.Deny }, nil,
				above),
			ruleText("recipients.group_senders",
				func(c *Config) *policy.Setting[policy.GroupAccept] { return &c.Policy.Recipients.GroupSenders },
				words(policy.AcceptAnyone, policy.AcceptInside, policy.AcceptMembers, policy.AcceptNobody), policy.AcceptAnyone,
				`Who may write to a group that has no setting of its own ("pillarbox admin group
				accept"): "anyone"; "inside": users who have logged in and devices; "members" of the
				group; "nobody".`),
			ruleText("recipients.deny_groups",
				func(c *Config) *policy.Setting[policy.GroupDenial] { return &c.Policy.Recipients.DenyGroups },
				words(policy.DenyNone, policy.DenyOutside, policy.DenyAll), policy.DenyNone,
				`Refuse mail to every group, whatever its setting: "none" of it; "outside": that of
				clients that have not logged in and are no devices ("SMTPDenyMailToGroups=1"); "all"
				of it, collected mail and the pickup folder included ("SMTPDenyMailToGroups=2",
				"RouterDisableMailToGroups=1"). A postmaster that is a group is reachable.`),
		}},
		{"outside", `Rights of mailboxes without a right of their own; "pillarbox admin mailbox" sets
			that of one mailbox.`, []key{
			ruleBoolean("outside.send",
				func(c *Config) *policy.Setting[bool] { return &c.Policy.Outside.Send }, true,
				`Send to other servers.`),
			ruleBoolean("outside.receive",
				func(c *Config) *policy.Setting[bool] { return &c.Policy.Outside.Receive }, true,
				`Get mail from other servers, and from clients without a login.`),
			addresses("outside.accept_from",
				func(c *Config) *policy.AddressList { return &c.Policy.Outside.AcceptFrom }, nil,
				`Users, groups (by their address) and domains that may send to other servers, or may
				not. ("Delivery restrictions: accept/reject messages from" of a connector)`),
			addresses("outside.reject_from",
				func(c *Config) *policy.AddressList { return &c.Policy.Outside.RejectFrom }, nil,
				above),
			ruleNumber("outside.per_hour",
				func(c *Config) *policy.Setting[int] { return &c.Policy.Outside.PerHour },
				bounds{0, 1_000_000}, 500,
				`The largest number of recipients on other servers to which one account may write
				within an hour; 0 means no limit. An account over the limit is held, and the
				postmaster is told.`),
		}},
	}
}

// filterSections are the checks of hosts by DNS lists and of messages by SPF, DKIM and DMARC.
func filterSections() []sectionRow {
	return []sectionRow{
		{"dnsbl", `Hosts that are known to send spam: your own list, then your exceptions, then lists
			in DNS. Users who have logged in and devices pass. The LAN, auth.plaintext_networks and
			senders.trusted_hosts are not looked up in DNS. ("DNS blacklist filters", "Connection
			filtering")`, []key{
			hosts("dnsbl.private_deny",
				func(c *Config) *policy.HostList { return &c.Policy.DNSBL.Deny }, nil,
				`Hosts that count as listed, and hosts that are not looked up in any list. ("Private
				blacklist filter", "Private whitelist filter", "Global accept and deny list")`),
			hosts("dnsbl.private_allow",
				func(c *Config) *policy.HostList { return &c.Policy.DNSBL.Allow }, nil, above),
			dnsblSites("dnsbl.sites",
				`Lists in DNS, such as "zen.example"; with "zen.example=127.0.0.2" or
				"…=127.0.0.4-7" only these answers count. Write one entry for each set of answers of
				a site. ("DNS sites", "Match filter rule to any of the following responses") Most
				lists require a name server of your own, and some require payment.`),
			ruleText("dnsbl.action", func(c *Config) *policy.Setting[policy.DNSBLAction] {
				return &c.Policy.DNSBL.Action
			}, words(policy.DNSBLLog, policy.DNSBLMark, policy.DNSBLReject), policy.DNSBLLog,
				`"log": only log it; "mark": add an X-DNSBL-Site header to the message; "reject": 550
				at RCPT. ("Log only", "Log and tag message", "Log and reject message")`),
			text("dnsbl.reply", func(c *Config) *string { return &c.Policy.DNSBL.Text },
				optional(listedText), "",
				`The text of the refusal: %i is the host's address, %s the site. Empty: "Mail from %i
				is not accepted: it is listed by %s". ("Custom SMTP error response", "Custom error
				message to return")`),
			addresses("dnsbl.exempt",
				func(c *Config) *policy.AddressList { return &c.Policy.DNSBL.Exempt }, nil,
				`Recipients to whom listed hosts may write; the postmaster is always one of them.
				("Exceptions", "Exempt recipients")`),
		}},
		{"authenticity", `Checks of the sender's domain: "off"; "mark" writes the result into an
			Authentication-Results header; "reject" also refuses mail that fails.`, []key{
			text("authenticity.spf", func(c *Config) *Check { return &c.Authenticity.SPF },
				words(CheckOff, CheckMark, CheckReject), CheckOff,
				`SPF: the host may send for the sender's domain. ("Sender ID filtering")`),
			text("authenticity.dkim", func(c *Config) *Check { return &c.Authenticity.DKIM },
				words(CheckOff, CheckMark, CheckReject), CheckOff,
				`DKIM: a signature in the header is valid.`),
			text("authenticity.dmarc", func(c *Config) *Check { return &c.Authenticity.DMARC },
				words(CheckOff, CheckMark, CheckReject), CheckOff,
				`DMARC: SPF or DKIM holds for the domain in From, which users see. "reject" refuses
				mail if that domain asks for it.`),
			boolean("authenticity.dkim_sign", func(c *Config) *bool { return &c.Authenticity.Sign },
				true, `Sign mail of domains that have a key: "pillarbox admin dkim create".`),
		}},
	}
}

// overrideDomains also takes the domains of routes that have allow_relay.
func overrideDomains(name, doc string) key {
	k := lineList(name, nil, doc)
	k.compile = func(c *Config, groups map[string][]policy.Line) (errs []error) {
		lines := append(slices.Clone(c.lines[name]), c.relayedLines()...)
		c.Policy.Relay.OverrideDomains, errs = policy.ParseAddresses(lines, groups)
		return errs
	}
	return k
}

// dnsblSites is the list of the DNS sites in which a client is looked up.
func dnsblSites(name, doc string) key {
	k := lineList(name, nil, doc)
	k.compile = func(c *Config, _ map[string][]policy.Line) (errs []error) {
		c.Policy.DNSBL.Sites = nil
		for _, line := range c.lines[name] {
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
