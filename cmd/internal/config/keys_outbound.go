package config

import (
	"slices"
	"strings"
	"time"

	"pillarbox/mailstore/auth/oauth"
	"pillarbox/smtp/policy"
	"pillarbox/smtp/remote"
	"pillarbox/smtp/route"
)

// outboundSections are mail to other servers, reports, and mail from this machine.
func outboundSections() []sectionRow {
	return []sectionRow{
		{"outbound", `How mail to other servers leaves. Without a smart host it goes to the mail
			exchangers in DNS. ("Delivery", "Outbound connections", "Outbound security", "Advanced
			delivery")`, outboundKeys()},
		{"reports", `What senders are told about their mail, and who else is told.`, reportKeys()},
		{"pickup", `A folder for outgoing mail: the server sends and removes every file in it. The
			envelope is in X-Sender and X-Receiver lines or in the header. ("Pickup
			directory")`, []key{
			boolean("pickup.enabled", func(c *Config) *bool { return &c.Pickup.Enabled }, true,
				`A change of either key needs a restart. dir is the folder; empty: pickup below
				data.`).needsRestart(),
			path("pickup.dir", func(c *Config) *string { return &c.Pickup.Dir }, optional(filePath),
				"", above).needsRestart(),
		}},
		{"local", `Programs on this machine that send through "pillarbox sendmail", as through
			/usr/sbin/sendmail.`, []key{
			boolean("local.enabled", func(c *Config) *bool { return &c.Local.Enabled }, true,
				`A change of enabled or socket needs a restart. socket is the socket that these
				programs use. Empty: /run/pillarbox/submit.sock if this file is
				/etc/pillarbox/pillarbox.toml; otherwise submit.sock below data, which only the
				server's own account can use.`).needsRestart(),
			path("local.socket", func(c *Config) *string { return &c.Local.Socket },
				optional(socketPath), "", above).needsRestart(),
			boolean("local.outside", func(c *Config) *bool { return &c.Local.Outside }, true,
				`Allow mail to other servers, and the largest number of recipients there to whom one
				user of the machine may write within an hour; 0 means no limit.`),
			number("local.per_hour", func(c *Config) *int { return &c.Local.PerHour },
				bounds{0, 1_000_000}, 0, above),
		}},
		{"operators", `The socket for operators ("pillarbox admin operator"): users of this machine who
			may administer all domains or some, but may not read the server's files. Their
			"pillarbox admin" sends its commands to the server over the socket. All users may open
			it; the system tells the server which user is connected.`, []key{
			boolean("operators.enabled", func(c *Config) *bool { return &c.Operators.Enabled }, true,
				`A change of enabled or socket needs a restart. socket is the path of the socket.
				Empty: the file admin.sock in the directory of local.socket.`).needsRestart(),
			path("operators.socket", func(c *Config) *string { return &c.Operators.Socket },
				optional(socketPath), "", above).needsRestart(),
		}},
	}
}

func outboundKeys() []key {
	of := func(c *Config) *route.Route { return &c.Routes.Default }
	first := []key{
		boolean("outbound.enabled", func(c *Config) *bool { return &c.Outbound.Enabled }, true,
			`false: no mail leaves, and a sender to another server is told "550 5.7.1 … does not send
			mail to other servers".`),
		text("outbound.name", func(c *Config) *string { return &of(c).EHLO }, optional(heloName), "",
			`The name of the server in EHLO; empty: hostname. ("Fully-qualified domain name")`),
		boolean("outbound.srs", func(c *Config) *bool { return &c.Outbound.SRS }, true,
			`Rewrite the envelope sender of remote mail that an alias, a group or a mailbox here
			forwards to another server (SRS), because SPF fails there otherwise. Reports to the
			rewritten address go to the first sender.`),
		boolean("outbound.arc", func(c *Config) *bool { return &c.Outbound.ARC }, true,
			`Seal such mail too (ARC, RFC 8617), if the domain here that forwards it has a DKIM key. The
			seal tells the next server the results in Authentication-Results: see [authenticity].`),
	}
	return append(append(first, routingKeys("outbound", of)...),
		number("outbound.connections", func(c *Config) *int { return &c.Outbound.Connections },
			bounds{1, 100_000}, 1000,
			`The largest number of connections at a time, to all servers and to one domain. ("Limit
			number of connections to", "Limit number of connections per domain to")`),
		number("outbound.connections_per_domain",
			func(c *Config) *int { return &of(c).Connections }, bounds{1, 100_000}, 100, above),
		number("outbound.messages_per_connection",
			func(c *Config) *int { return &of(c).PerConnection }, bounds{1, 1_000_000}, 20,
			`After this number of messages the server opens a new connection. ("Limit number of
			messages per connection to")`),
		number("outbound.recipients_per_message",
			func(c *Config) *int { return &of(c).Recipients }, bounds{1, 100_000}, 100,
			`A message to more recipients is sent in parts. ("Limit number of recipients per message
			to")`),
		text("outbound.idle_timeout", func(c *Config) *duration { return &of(c).Idle },
			span("10s", "1h"), 10*time.Minute,
			`How long to wait for the other server, from "10s" to "1h". ("Time-out (minutes)")`),
	)
}

// routingKeys are those that [outbound] and [[route]] have in common.
func routingKeys(section string, of func(*Config) *route.Route) []key {
	in := func(name string) string { return section + "." + name }
	schedule := route.DefaultSchedule()
	keys := []key{
		list(in("smart_host"), func(c *Config) *[]route.Host { return &of(c).SmartHost }, smartHost,
			nil, `The servers that take all mail for other servers, tried in this order:
			"mail.isp.net", "mail.isp.net:587", "[192.0.2.1]" without DNS, "smtps://mail.isp.net"
			with TLS from the start. ("Smart host", "Forward all mail through this connector to the
			following smart hosts", "Relay host for messages leaving the local internet
			domain")`),
		boolean(in("direct_first"), func(c *Config) *bool { return &of(c).DirectFirst }, false,
			`Try the mail exchangers first, and the smart host if they cannot be reached. ("Attempt
			direct delivery before sending to smart host")`),
		number(in("port"), func(c *Config) *int { return &of(c).Port }, bounds{1, 65535},
			route.PortSMTP, `The port of the mail exchangers. ("TCP port")`),
		text(in("tls"), func(c *Config) *route.TLSMode { return &of(c).TLS }, tlsMode,
			route.TLSOpportunistic,
			`"opportunistic": use TLS if the other server offers it. "required": defer the mail if it
			does not. "verified": require a certificate for the server's name that a known authority
			signed. "off": no TLS. ("TLS encryption")`),
		text(in("user"), func(c *Config) *string { return &of(c).User }, optional(credential), "",
			`Log in to the smart host. The file contains only the password and belongs to the
			server's own account: chmod 600. ("Basic authentication", "Integrated Windows
			authentication", "Anonymous access" for none)`),
		path(in("password_file"), func(c *Config) *string { return &of(c).PasswordFile },
			optional(filePath), "", above),
	}
	keys = append(keys, oauthKeys(section, func(c *Config) *oauth.Config { return &of(c).OAuth })...)
	return append(keys,
		list(in("mechanisms"), func(c *Config) *[]string { return &of(c).Mechanisms },
			words(slices.Concat(remote.Mechanisms(), oauth.Mechanisms())...), nil,
			`The mechanisms for that login, in the order to try them: "PLAIN", "LOGIN", "CRAM-MD5",
			"NTLM"; with an access token "XOAUTH2", "OAUTHBEARER". Empty: all that the server offers.
			If it refuses one, the next is tried; the refused one comes last from then on.`),
		text(in("masquerade"), func(c *Config) *domain { return &of(c).Masquerade },
			optional(hostedDomain), "",
			`The domain that replaces the domains hosted here in MAIL FROM. ("Masquerade
			domain")`),
		text(in("bind"), func(c *Config) *ipAddress { return &of(c).Bind }, optional(localAddress),
			ipAddress{},
			`The address of this machine for outgoing connections; empty: the system chooses.`),
		atLeastOne(`["15m", "30m"]`, list(in("retries"),
			func(c *Config) *[]duration { return &of(c).Schedule.Retries }, span("1s", "168h"),
			schedule.Retries,
			`How long to wait after each failure; the last time repeats. ("First retry interval",
			"Second …", "Third …", "Subsequent retry interval")`)),
		text(in("delay_notice"), func(c *Config) *duration { return &of(c).Schedule.DelayNotice },
			orZero("never", span("1m", "720h")), schedule.DelayNotice,
			`When to tell the sender that the mail is delayed; "0" means never. ("Delay
			notification")`),
		text(in("expire"), func(c *Config) *duration { return &of(c).Schedule.Expire },
			span("1m", "720h"), schedule.Expire,
			`When to return mail to its sender. ("Expiration time-out")`),
		windows(in("windows"), func(c *Config) *route.Windows { return &of(c).Windows },
			`When mail leaves, as "Mon-Fri 08:00-18:00", "22:00-06:00", "Sat,Sun", or "never" except
			by "pillarbox admin queue flush". Empty: always. ("Connection time", "Call at these
			times")`),
		boolean(in("mta_sts"), func(c *Config) *bool { return &of(c).MTASTS }, true,
			`Follow what domains publish: TLS with a verified certificate (MTA-STS, RFC 8461), or
			with the certificate in DNSSEC (DANE, RFC 7672).`),
		boolean(in("dane"), func(c *Config) *bool { return &of(c).DANE }, true, above),
	)
}

// oauthKeys say where to get the access token for a login (OAuth 2.0).
func oauthKeys(section string, of func(*Config) *oauth.Config) []key {
	in := func(name string) string { return section + "." + name }
	return []key{
		text(in("oauth_token_url"), func(c *Config) *string { return &of(c).TokenURL },
			optional(tokenURL), "",
			`Log in with an access token instead of a password (OAuth 2.0), as Microsoft 365 and
			Gmail demand: the address of the token server, and the client's name and scope there.
			The files contain the client's secret and a refresh token, and belong to the server's own
			account: chmod 600. Without a refresh token the client asks with its own credentials. A
			new refresh token is written into the file, in a folder that the server may write.`),
		text(in("oauth_client_id"), func(c *Config) *string { return &of(c).ClientID },
			optional(credential), "", above),
		path(in("oauth_secret_file"), func(c *Config) *string { return &of(c).SecretFile },
			optional(filePath), "", above),
		text(in("oauth_scope"), func(c *Config) *string { return &of(c).Scope },
			optional(credential), "", above),
		path(in("oauth_token_file"), func(c *Config) *string { return &of(c).TokenFile },
			optional(filePath), "", above),
	}
}

func reportKeys() []key {
	return []key{
		text("reports.language", func(c *Config) *ReportLanguage { return &c.Reports.Language },
			words(EnglishReports, GermanReports), EnglishReports,
			`The language: "en" or "de". ("RouterLanguageVisibleNDRStatus")`),
		text("reports.copy_to", func(c *Config) *address { return &c.Reports.CopyTo },
			optional(mailAddress), address{},
			`The address that gets a copy of each failure report; empty: no copy. ("Send copy of
			Non-Delivery Report to")`),
		text("reports.null_sender", func(c *Config) *NullSender { return &c.Reports.NullSender },
			numbered("RouterDSNForNULLReversePath", NullToBadmail, NullSend, NullDrop), NullToBadmail,
			`Undeliverable mail whose sender cannot be told: a report, or mail from a stranger (see
			strangers). "badmail" keeps it in badmail below data, "drop" deletes it, "send" reports
			it to the postmaster. ("Badmail directory", "RouterDSNForNULLReversePath": 0, 2, 1)`),
		boolean("reports.success", func(c *Config) *bool { return &c.Reports.Success }, true,
			`Send reports of success to senders who ask for them; false: only reports of failure and
			delay.`),
		boolean("reports.relayed", func(c *Config) *bool { return &c.Reports.Relayed }, true,
			`Also report to them that a server which cannot report success itself has taken the
			message; false: only success here. ("RouterDisableDSNRelayReports=1" is false)`),
		text("reports.max_return", func(c *Config) *int64 { return &c.Reports.MaxReturn },
			withUnit(size[int64](0, 1<<40), "only headers"), 1<<20,
			`The largest message that a report returns completely; of a larger one, it returns
			only the header.`),
		text("reports.from", func(c *Config) *address { return &c.Reports.From },
			optional(mailAddress), address{},
			`The sender that users see in a report; empty: the postmaster of the default domain. The
			envelope sender is empty.`),
		text("reports.strangers", func(c *Config) *Strangers { return &c.Reports.Strangers },
			words(VerifiedStrangers, NoStrangers, AllStrangers), VerifiedStrangers,
			`Which remote senders get reports. A client can write any address into MAIL FROM, and
			the report would go there. "verified": senders whose domain vouches for them by SPF or
			DMARC. "none": no remote sender. "all": every sender, and DSN is offered to every
			client; strangers can then make this server write to people who sent no mail. Users who
			have logged in and mailboxes here always get reports.`),
		number("reports.per_address", func(c *Config) *int { return &c.Reports.PerAddress },
			bounds{0, 1_000_000}, 100,
			`The largest number within an hour of reports, and of notices about full mailboxes and
			held accounts: to one address, and to all together. 0 means no limit. The log names each
			report that is not sent.`),
		number("reports.per_hour", func(c *Config) *int { return &c.Reports.PerHour },
			bounds{0, 1_000_000}, 1000, above),
		number("reports.badmail_days", func(c *Config) *int { return &c.Reports.KeepDays },
			bounds{0, MaxDays}, 30,
			`How long mail stays in badmail, in days, and how much mail may be there. 0 means no
			limit. The oldest message is removed first. ("Badmail directory")`),
		text("reports.badmail_size", func(c *Config) *int64 { return &c.Reports.KeepSize },
			limit("1MB", "1TiB"), 100_000_000, above),
	}
}

const routeIntro = `Another route for the mail of some domains; write one [[route]] for each. A key that
	a route does not set has its value from [outbound]. But a route with a smart_host of its own does
	not take the login of [outbound]. No variable overrides a route. ("Remote domain", "SMTP
	connector", "Foreign SMTP domain")`

// routeKeys are those of [[route]].
func routeKeys(section string, i int) []key {
	of := func(c *Config) *route.Route { return &c.Routes.Routes[i] }
	more := func(c *Config) *Relayed { return &c.Relayed[i] }
	in := func(name string) string { return section + "." + name }
	own := []key{
		atLeastOne(`["partner.example"]`, routeDomains(in("domains"), of,
			`The domains, required: "partner.example" itself, "*.partner.example" all below it, "*"
			all. An exact entry beats a pattern, and a longer pattern beats a shorter one.`)).
			example(`["partner.example", "*.partner.example"]`),
		boolean(in("lmtp"), func(c *Config) *bool { return &of(c).LMTP }, false,
			`The smart host speaks LMTP, on the network or at the path of a socket
			("/run/dovecot/lmtp").`),
		boolean(in("helo"), func(c *Config) *bool { return &of(c).Helo }, false,
			`Send HELO instead of EHLO, for very old hosts. ("Send HELO instead of EHLO")`),
		boolean(in("hold"), func(c *Config) *bool { return &of(c).Hold }, false,
			`Hold the mail until it is requested: by ETRN from these hosts, or by ETRN or ATRN from a
			client that has logged in with one of these addresses. ("Queue messages for remote
			triggered delivery", "Authorized accounts")`).example(`true`),
		hosts(in("etrn_hosts"), func(c *Config) *policy.HostList { return &more(c).ETRNHosts }, nil,
			above).example(`["192.0.2.25"]`),
		list(in("etrn_accounts"), func(c *Config) *[]address { return &more(c).ETRNAccounts },
			foldedAddress, nil, above).example(`["branch@office.example"]`),
		boolean(in("allow_relay"), func(c *Config) *bool { return &more(c).AllowRelay }, false,
			`All clients may send to these domains through this server, as if the domains were in
			relay.override_domains. ("Allow incoming mail to be relayed to this domain")`),
		boolean(in("unresolved"), func(c *Config) *bool { return &of(c).Unresolved }, false,
			`For a domain that is hosted here: mail for its addresses that do not exist here goes to
			the smart host of this route, where the others are. A catch-all comes first. ("Forward all
			mail with unresolved recipients to host", "RouterSmartHostLocal")`).example(`true`),
		number(in("cost"), func(c *Config) *int { return &of(c).Cost }, bounds{0, 100}, 0,
			`Several routes may have the same domains: the one with the lowest cost is used, and the
			next if its servers cannot be reached. ("Cost" of an address space)`).example("10"),
		addresses(in("accept_from"),
			func(c *Config) *policy.AddressList { return &more(c).AcceptFrom }, nil,
			`Users, groups (by their address) and domains that may send by this route, or may not;
			and the largest message, "0" for no limit. Of routes with the same domains, that with the
			lowest cost decides. ("Delivery restrictions", "Content restrictions")`).
			example(`["boss@office.example"]`),
		addresses(in("reject_from"),
			func(c *Config) *policy.AddressList { return &more(c).RejectFrom }, nil, above).
			example(`["trainees@office.example"]`),
		text(in("max_size"), func(c *Config) *int64 { return &of(c).MaxSize }, limit("1KB", "1TiB"), 0,
			above).example(`"10MB"`),
		number(in("connections"), func(c *Config) *int { return &of(c).Connections },
			bounds{1, 100_000}, 0, `Connections at a time to one domain or smart host.`).
			example("10").inherited(),
	}
	examples := map[string]string{"smart_host": `["mail.partner.example:587"]`, "tls": `"required"`,
		"windows": `["22:00-06:00"]`}
	for n, k := range routingKeys(section, of) {
		k.doc = above
		if n == 0 {
			k.doc = `As in [outbound]. ("Forward all mail to smart host", "Outbound security")`
		}
		own = append(own, k.example(examples[leaf(k.name)]).inherited())
	}
	return entryKeys(own, func(c *Config) bool { return i < len(c.Routes.Routes) })
}

// routeDomains also keeps the domains as lines of a list of addresses, for allow_relay.
func routeDomains(name string, of func(*Config) *route.Route, doc string) key {
	k := list(name, func(c *Config) *[]string { return &of(c).Domains }, routePattern, nil, doc)
	set := k.set
	k.set = func(c *Config, v any, at func(int) string) []fault {
		if faults := set(c, v, at); faults != nil {
			return faults
		}
		var lines []policy.Line
		for i, pattern := range of(c).Domains {
			text := pattern
			if !strings.HasPrefix(pattern, "*") {
				text = "@" + pattern // the domain alone, without the domains below it
			}
			lines = append(lines, policy.Line{Text: text, Origin: at(i)})
		}
		c.lines[name] = lines
		return nil
	}
	return k
}

// relayedLines are the domains of routes with allow_relay.
func (c *Config) relayedLines() (lines []policy.Line) {
	for i, r := range c.Relayed {
		if r.AllowRelay {
			lines = append(lines, c.lines[entry("route", i)+".domains"]...)
		}
	}
	return lines
}

const fetchIntro = `Mail that waits on another server; write one [[fetch]] for each. The server asks the
	other one to send its queue (ETRN), empties a mailbox there (POP3), or does both. No variable
	overrides an entry. ("Request ETRN/TURN from different server", "Request ETRN/TURN when sending
	messages", "Call at these times")`

// fetchKeys are those of [[fetch]].
func fetchKeys(section string, i int) []key {
	of := func(c *Config) *Fetch { return &c.Fetch[i] }
	in := func(name string) string { return section + "." + name }
	keys := []key{
		text(in("name"), func(c *Config) *string { return &of(c).Name }, optional(label), "",
			`Its name in logs and commands; empty: the server's name.`).example(`"isp"`),
		text(in("etrn_server"), func(c *Config) *route.Host { return &of(c).ETRNServer },
			optional(etrnHost), route.Host{},
			`The server to ask by ETRN, and what to ask for: a domain, "@office.example" with all
			below it, or "#queue".`).example(`"mail.isp.example"`),
		list(in("etrn_domains"), func(c *Config) *[]string { return &of(c).ETRNDomains }, etrnDomain,
			nil, above).example(`["office.example"]`),
		text(in("pop3"), func(c *Config) *route.Host { return &of(c).POP3 }, optional(pop3Host),
			route.Host{},
			`The server of the mailbox: "pop.isp.example:995" and "pop3s://pop.isp.example" use TLS
			from the start.`).example(`"pop.isp.example:995"`),
		text(in("tls"), func(c *Config) *route.TLSMode { return &of(c).TLS }, tlsMode,
			route.TLSOpportunistic,
			`As in [outbound]; with pop3 the default is "required".`).example(`"required"`),
		text(in("user"), func(c *Config) *string { return &of(c).User }, optional(credential), "",
			above),
		path(in("password_file"), func(c *Config) *string { return &of(c).PasswordFile },
			optional(filePath), "", above),
	}
	keys = append(keys,
		shareDoc(oauthKeys(section, func(c *Config) *oauth.Config { return &of(c).OAuth }))...)
	return entryKeys(append(keys,
		text(in("deliver_to"), func(c *Config) *address { return &of(c).DeliverTo },
			optional(mailAddress), address{},
			`The mailbox, alias or group here that gets the mail of the mailbox there.`).
			example(`"anna@office.example"`),
		boolean(in("leave"), func(c *Config) *bool { return &of(c).Leave }, false,
			`Leave the messages there, for ever or for some days. No message is fetched twice.`).
			example("true"),
		number(in("leave_days"), func(c *Config) *int { return &of(c).LeaveDays },
			bounds{0, MaxDays}, 0, above),
		text(in("every"), func(c *Config) *duration { return &of(c).Every },
			orZero("never", span("1m", "168h")), 15*time.Minute,
			`How often, at least "1m" apart, or at which times of the day: ["08:00", "13:30"]. "0"
			without times: only with each delivery.`),
		list(in("at"), func(c *Config) *[]duration { return &of(c).At }, timeOfDay, nil, above),
		boolean(in("with_each_delivery"), func(c *Config) *bool { return &of(c).WithEachDelivery },
			false, `Also ask whenever mail has been sent to other servers.`),
	), func(c *Config) bool { return i < len(c.Fetch) })
}

// windows is a list of times at which mail may leave.
func windows(name string, of func(*Config) *route.Windows, doc string) key {
	k := field(name, listKind, of, route.Windows{}, doc)
	k.set = func(c *Config, v any, _ func(int) string) (faults []fault) {
		for i, item := range v.([]string) {
			if _, err := route.ParseWindows([]string{item}); err != nil {
				faults = append(faults, fault{i, mistake{err.Error(), windowHint}})
			}
		}
		if faults != nil {
			return faults
		}
		w, err := route.ParseWindows(v.([]string))
		if err != nil {
			return []fault{{0, mistake{err.Error(), windowHint}}}
		}
		*of(c) = w
		return nil
	}
	k.show = func(c *Config) string {
		w := of(c).String()
		if w == "always" {
			return quoteList(nil)
		}
		return quoteList(strings.Split(w, "; "))
	}
	return k
}

const windowHint = `"22:00-06:00" is every night, "Sat,Sun" all day, and "never" alone is no time at all`
