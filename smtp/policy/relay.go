package policy

import (
	"strings"

	"pillarbox/smtp"
)

// Relay sets who may send to domains that are not hosted here: Domino's four lists, and what the
// forms of IIS add.
type Relay struct {
	Enforcement               Setting[Enforcement]
	ExcludeHosts              HostList
	AuthenticatedAllow        Setting[bool] // users may relay; false: the lists apply to them
	AllowDomains, DenyDomains AddressList
	AllowHosts, DenyHosts     HostList
	OverrideDomains           AddressList   // IIS remote domains, Exchange connectors: permitted
	DenyWins                  Setting[bool] // a deny entry beats an allow entry, as in Domino R5
	DominoReplies             Setting[bool] // refuse with 554 Relay rejected for policy reasons
}

// Enforcement sets which hosts Domino's anti-relay checks apply to.
type Enforcement string

const (
	EnforceAll      Enforcement = "all"
	EnforceExternal Enforcement = "external" // hosts without a verified name in a hosted domain
	EnforceNone     Enforcement = "none"
)

// NeedsNameToRelay reports whether Rcpt needs the client's name in DNS, and DNS has not been
// asked. Only enforcement for external hosts needs it, for clients that relay as strangers.
func (r *Rules) NeedsNameToRelay(f *Facts) bool {
	return r.Relay.Enforcement.Value == EnforceExternal && f.Kind == RecipientRemote &&
		!f.isLocalSender() && f.NameState == NameNotAsked
}

// relay decides on a remote recipient. It follows Domino's order of evaluation (Domino
// administrator help, "Restricting SMTP inbound routing"), with the additions of the forms of IIS.
func (r *Rules) relay(d *Decision, f *Facts) bool {
	rule := &r.Relay
	d.step("local domains", "", string(f.To.Domain), "is not delivered here")
	if line, ok := rule.OverrideDomains.Match(f.To); ok {
		d.step("relay.override_domains", line.Origin, line.Text, matches)
		return true
	}
	if f.isDevice() {
		return true // deviceRecipient decides
	}
	if r.exempt(d, f) || r.authenticated(d, f) || r.relayLists(d, f) {
		return true
	}
	reply := smtp.NewReply(550, [3]int{5, 7, 1}, "Unable to relay for %s", f.To)
	if rule.DominoReplies.Value {
		reply = smtp.NewReply(554, [3]int{5, 7, 1}, "Relay rejected for policy reasons.")
	}
	return d.refuse(reply, r.relayRemedy(f))
}

// exempt is Domino's steps 1 to 3: it reports whether the anti-relay checks spare this host.
func (r *Rules) exempt(d *Decision, f *Facts) bool {
	rule := &r.Relay
	switch e := rule.Enforcement; {
	case e.Value == EnforceNone:
		d.step("relay.enforcement", e.Origin, "none", "every host may relay")
		return true
	case e.Value == EnforceExternal && f.InternalName && f.NameState == NameVerified:
		d.step("relay.enforcement", e.Origin, f.Name, "is one of our hosts")
		return true
	case e.Value == EnforceExternal:
		d.step("relay.enforcement", e.Origin, f.Remote.String(), "is an external host")
	default:
		d.step("relay.enforcement", e.Origin, "", "every host is checked")
	}
	line, ok := rule.ExcludeHosts.Match(f.Remote, f.name())
	if ok {
		d.step("relay.exclude_hosts", line.Origin, line.Text, matches)
	}
	return ok
}

// authenticated is Domino's step 4: it reports whether the client may relay because it has logged
// in.
func (r *Rules) authenticated(d *Decision, f *Facts) bool {
	if f.User.IsZero() {
		return false
	}
	allow, outcome := r.Relay.AuthenticatedAllow, "is logged in and may relay"
	if !allow.Value {
		outcome = "is logged in, but is checked like every host"
	}
	d.step("relay.authenticated", allow.Origin, f.User.Address.String(), outcome)
	return allow.Value
}

// relayLists is Domino's step 5, the four lists. An allow entry beats a deny entry, unless both
// lists of a pair have the same one. In Domino R5 a deny entry beats an allow entry. An allow
// list that is not empty refuses what it does not name.
func (r *Rules) relayLists(d *Decision, f *Facts) bool {
	rule := &r.Relay
	toDeny, denyTo := rule.DenyDomains.Match(f.To)
	fromDeny, denyFrom := rule.DenyHosts.Match(f.Remote, f.name())
	step := func(key string, line Line, ok bool) {
		if ok {
			d.step(key, line.Origin, line.Text, matches)
		}
	}
	if rule.DenyWins.Value && (denyTo || denyFrom) {
		d.step("relay.deny_wins", rule.DenyWins.Origin, "", isOn)
		step("relay.deny_domains", toDeny, denyTo)
		step("relay.deny_hosts", fromDeny, denyFrom)
		return false
	}
	if line, ok := rule.AllowDomains.match(f.To, &rule.DenyDomains.index); ok {
		step("relay.allow_domains", line, true)
		return true
	}
	if line, ok := rule.AllowHosts.match(f.Remote, f.name(), &rule.DenyHosts.index); ok {
		step("relay.allow_hosts", line, true)
		return true
	}
	if denyTo || denyFrom {
		step("relay.deny_domains", toDeny, denyTo)
		step("relay.deny_hosts", fromDeny, denyFrom)
		return false
	}
	if rule.AllowDomains.Len()+rule.AllowHosts.Len() > 0 {
		d.step("relay.allow_domains, relay.allow_hosts", "", f.Remote.String(), noMatch)
		return false
	}
	d.step("relay lists", "", "", "deny nothing")
	return true
}

func (r *Rules) relayRemedy(f *Facts) string {
	host := f.Remote.String()
	add := "add \"" + host + "\" to relay.allow_hosts"
	if line, ok := r.Relay.DenyHosts.Match(f.Remote, f.name()); ok && strings.Trim(line.Text, "[] ") == host {
		add += " and take it out of relay.deny_hosts"
	}
	if r.Relay.DenyWins.Value {
		add += " and set relay.deny_wins = false"
	}
	if f.User.IsZero() {
		return "log in, or " + add + ", or make it a device (pillarbox admin device add NAME --ip " + host + " --may-send-to all)"
	}
	return "set relay.authenticated = \"allow\", or " + add
}
