package policy

import "slices"

// RuleNames returns every Step.Rule that a decision may have. A rule of a site is there once for
// each service of Rules.Sites. Statistics use the list to keep their labels few.
func RuleNames() []string {
	names := []string{
		"anonymous.allow_exceptions", "anonymous.exceptions", "auth.plaintext_networks",
		"auth.pop_before_smtp_networks", "connections.allow", "connections.deny",
		"connections.mode", "connections.reverse_dns", "connections.verify_hostname", "device",
		"dnsbl.action", "dnsbl.exempt", "dnsbl.private_allow", "dnsbl.private_deny", "dnsbl.sites",
		"group", "local domains", "login", "mailboxes", "outbound.enabled", "outside.accept_from",
		"outside.per_hour", "outside.receive", "outside.reject_from", "outside.send",
		"recipients.allow", "recipients.deny", "recipients.deny_groups", "recipients.group_senders",
		"relay lists", "relay.allow_domains", "relay.allow_domains, relay.allow_hosts",
		"relay.allow_hosts", "relay.authenticated", "relay.deny_domains", "relay.deny_hosts",
		"relay.deny_wins", "relay.enforcement", "relay.exclude_hosts", "relay.override_domains",
		"rewritten senders", "route.accept_from", "route.max_size", "route.reject_from",
		"route.unresolved", "senders.allow", "senders.deny", "senders.refuse_forged",
		"senders.trusted_hosts", "senders.verify_domain", "senders.verify_user", "smtp.max_hops",
		"TLS",
	}
	for _, site := range []string{"smtp", "submission", "smtps", "odmr", "local"} {
		for _, key := range siteKeys() {
			names = append(names, "sites."+site+"."+key)
		}
	}
	slices.Sort(names)
	return names
}

// siteKeys returns the keys of a site that decide.
func siteKeys() []string {
	return []string{
		"anonymous", "min_tls", "offer_auth", "require_128_bit", "require_auth", "require_tls",
	}
}
