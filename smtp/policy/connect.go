package policy

import (
	"crypto/tls"
	"strings"

	"pillarbox/smtp"
)

// Words of the steps.
const (
	matches    = "matches"
	noMatch    = "matches nothing"
	isOn       = "is on"
	isOff      = "is off"
	isExempt   = "is exempt"
	isEmpty    = "is empty"
	notInThere = "is in none of them"
)

// NeedsName reports whether the client's name must be asked for before Connect,
// Mail and Rcpt can be decided.
func (r *Rules) NeedsName() bool {
	return r.Connections.VerifyHostname.Value || r.Connections.ReverseDNS.Value ||
		r.Connections.Allow.hasNames() || r.Connections.Deny.hasNames() ||
		r.Anonymous.Exceptions.hasNames() || r.LogIns.PlaintextNetworks.hasNames() ||
		r.Relay.ExcludeHosts.hasNames() || r.Relay.AllowHosts.hasNames() || r.Relay.DenyHosts.hasNames() ||
		r.Senders.TrustedHosts.hasNames() || r.DNSBL.Deny.hasNames() || r.DNSBL.Allow.hasNames()
}

// NeedsNameToRelay reports whether the client's name must be asked for before
// Rcpt can be decided: only Domino's enforcement for external hosts wants it, of
// strangers who send elsewhere.
func (r *Rules) NeedsNameToRelay(f *Facts) bool {
	return r.Relay.Enforcement.Value == EnforceExternal && f.Kind == RecipientRemote &&
		f.User.IsZero() && f.Device == nil && f.NameState == NameNotAsked
}

// name is the client's name where it may be relied on: a name that does not lead
// back to the address is the word of whoever runs the address's reverse zone.
func (f *Facts) name() string {
	if f.NameState == NameVerified {
		return f.Name
	}
	return ""
}

// Connect decides whether a client may talk to the server at all. A deny list
// may be escaped by the allow list, except for the entry that both have.
func (r *Rules) Connect(f *Facts) Decision {
	d := decide("connect")
	c := &r.Connections
	refused := func(line Line) Decision {
		return d.refuse(smtp.NewReply(554, [3]int{5, 7, 1}, "Connections from %s are not accepted here", f.Remote),
			entryRemedy("connections", line, f.Remote.String()))
	}
	if line, ok := c.Allow.match(f.Remote, f.name(), &c.Deny.index); ok {
		d.step("connections.allow", line.Origin, line.Text, matches)
		return d.accept()
	} else if c.Allow.Len() > 0 {
		d.step("connections.allow", "", f.Remote.String(), noMatch)
	}
	if line, ok := c.Deny.Match(f.Remote, f.name()); ok {
		d.step("connections.deny", line.Origin, line.Text, matches)
		return refused(line)
	} else if c.Deny.Len() > 0 {
		d.step("connections.deny", "", f.Remote.String(), noMatch)
	}
	if c.Only.Value {
		d.step("connections.mode", c.Only.Origin, "only", "those that the allow list has")
		return refused(Line{})
	}
	return d.accept()
}

// entryRemedy is how somebody whom a deny list refuses would be let in. An entry
// that is just him is no wider one that he could be excepted from.
func entryRemedy(section string, line Line, entry string) string {
	if line.Text == "" {
		return "add \"" + entry + "\" to " + section + ".allow"
	}
	take := "take \"" + line.Text + "\" (" + line.Origin + ") out of " + section + ".deny"
	if strings.EqualFold(strings.Trim(line.Text, "[] "), entry) {
		return take
	}
	return take + ", or add \"" + entry + "\" to " + section + ".allow"
}

// LogIn decides whether a password may be offered on the connection as it is.
func (r *Rules) LogIn(f *Facts) Decision {
	d := decide("log in")
	if site, ok := r.Sites[f.Service.String()]; ok && !site.OfferAuth.Value {
		d.step(siteRule(f, "offer_auth"), site.OfferAuth.Origin, "", isOff)
		return d.refuse(smtp.NewReply(503, [3]int{5, 7, 0}, "Log-in is not offered on this port"), "set "+siteRule(f, "offer_auth")+" = true")
	}
	if site, ok := r.Sites[f.Service.String()]; ok {
		if refusal, ok := r.siteTLS(d, f, &site); !ok {
			return refusal
		}
	}
	if f.TLSVersion != 0 {
		d.step("TLS", "", "the connection", "is encrypted")
		return d.accept()
	}
	d.step("TLS", "", "the connection", "is not encrypted")
	if line, ok := r.LogIns.PlaintextNetworks.Match(f.Remote, f.name()); ok {
		d.step("auth.plaintext_networks", line.Origin, line.Text, matches)
		return d.accept()
	}
	d.step("auth.plaintext_networks", "", f.Remote.String(), notInThere)
	if f.Device != nil && f.Device.AllowPlaintext {
		d.step("device", "devices.json", f.Device.Name, "may log in without TLS")
		return d.accept()
	}
	return d.refuse(smtp.NewReply(538, [3]int{5, 7, 11}, "Encryption is required to log in: turn on TLS (STARTTLS) in your mail program"),
		"use TLS, or add \""+f.Remote.String()+"\" to auth.plaintext_networks")
}

func siteRule(f *Facts, key string) string { return "sites." + f.Service.String() + "." + key }

// site looks at what the listener demands before a message may begin.
func (r *Rules) site(d *Decision, f *Facts) (Decision, bool) {
	site, ok := r.Sites[f.Service.String()]
	if !ok {
		return Decision{}, true
	}
	if refusal, ok := r.siteTLS(d, f, &site); !ok {
		return refusal, false
	}
	return r.anonymous(d, f, &site)
}

// siteTLS is the encryption that the listener demands, of mail and of passwords.
func (r *Rules) siteTLS(d *Decision, f *Facts, site *Site) (Decision, bool) {
	if site.RequireTLS.Value && f.TLSVersion == 0 {
		d.step(siteRule(f, "require_tls"), site.RequireTLS.Origin, "", isOn)
		return d.refuse(smtp.NewReply(530, [3]int{5, 7, 0}, "Must issue a STARTTLS command first"),
			"use TLS, or set "+siteRule(f, "require_tls")+" = false"), false
	}
	if f.WeakCipher != "" && site.Require128Bit.Value {
		d.step(siteRule(f, "require_128_bit"), site.Require128Bit.Origin, f.WeakCipher, "has fewer than 128 bits")
		return d.refuse(smtp.NewReply(530, [3]int{5, 7, 0}, "Encryption with at least 128 bits is required here"),
			"use a stronger cipher, or set "+siteRule(f, "require_128_bit")+" = false"), false
	}
	if f.TLSVersion != 0 && f.TLSVersion < site.MinTLS.Value {
		d.step(siteRule(f, "min_tls"), site.MinTLS.Origin, tls.VersionName(site.MinTLS.Value), "is asked for")
		return d.refuse(smtp.NewReply(530, [3]int{5, 7, 0}, "%s or newer is required here", tls.VersionName(site.MinTLS.Value)),
			"use a newer TLS, or lower "+siteRule(f, "min_tls")), false
	}
	return Decision{}, true
}

// anonymous decides whether a client that has not logged in may send here: the
// site may demand a log-in of all, or take exceptions (seed of the rule: the
// report server that cannot log in).
func (r *Rules) anonymous(d *Decision, f *Facts, site *Site) (Decision, bool) {
	if !f.User.IsZero() {
		d.step("log-in", "", f.User.Address.String(), "is logged in")
		return Decision{}, true
	}
	if !site.RequireAuth.Value && site.Anonymous.Value {
		d.step(siteRule(f, "anonymous"), site.Anonymous.Origin, "", isOn)
		return Decision{}, true
	}
	rule, origin := siteRule(f, "require_auth"), site.RequireAuth.Origin
	if !site.RequireAuth.Value {
		rule, origin = siteRule(f, "anonymous"), site.Anonymous.Origin
	}
	if f.Device != nil {
		d.step("device", "devices.json", f.Device.Name, isExempt)
		return Decision{}, true
	}
	if r.Anonymous.AllowExceptions.Value {
		if line, ok := r.Anonymous.Exceptions.Match(f.Remote, f.name()); ok {
			d.step("anonymous.exceptions", line.Origin, line.Text, isExempt)
			return Decision{}, true
		}
		d.step("anonymous.exceptions", "", f.Remote.String(), notInThere)
	} else {
		d.step("anonymous.allow_exceptions", r.Anonymous.AllowExceptions.Origin, "", isOff)
	}
	d.step(rule, origin, "", "demands a log-in; nobody is logged in")
	remedy := "log in, or add \"" + f.Remote.String() + "\" to anonymous.exceptions, or make it a device (pillarbox admin device add)"
	if r.LogIn(f).Verdict == Refuse {
		return d.refuse(smtp.NewReply(530, [3]int{5, 7, 0}, "Must issue a STARTTLS command first, then log in"), remedy), false
	}
	return d.refuse(smtp.NewReply(530, [3]int{5, 7, 0},
		"Authentication required: turn on \"My server requires authentication\" in your mail program"), remedy), false
}
