package policy

import "slices"

// Rules is the configuration that decisions follow. Every list and setting carries its origin,
// which the steps name.
type Rules struct {
	Connections Connections
	Anonymous   Anonymous
	Sites       map[string]Site // by smtp.Service.String(): smtp, submission, smtps
	LogIns      LogIns
	Relay       Relay
	Senders     Senders
	Recipients  Recipients
	Outside     Outside
	Routes      Routes
	DNSBL       DNSBL
	MaxHops     Setting[int] // Received fields of a message; 0 means no limit
	LineEnds    LineEnds
}

// Setting is a value with its origin.
type Setting[T any] struct {
	Value  T
	Origin string // "pillarbox.toml:41", "env PILLARBOX_…", "default"
}

// Connect decides whether a client may connect.
func (r *Rules) Connect(f *Facts) Decision { return decide("connect", f, r.connectionLists) }

// LogIn decides whether the client may send a password over the connection as it is.
func (r *Rules) LogIn(f *Facts) Decision {
	return decide("log in", f, r.offersLogin, r.siteTLS, r.plaintextLogin)
}

// Mail decides whether a client may begin a message from the sender it names.
func (r *Rules) Mail(f *Facts) Decision {
	return decide("mail", f, r.hostName, r.siteTLS, r.anonymous, r.senderLists, r.userSender, r.deviceSender, r.forged,
		r.senderDomain)
}

// Rcpt decides whether a client may send to one recipient.
func (r *Rules) Rcpt(f *Facts) Decision {
	if f.Kind == RecipientRemote {
		return decide("rcpt", f, r.recipientLists, r.dnsbl, r.relay, r.closed, r.outside, r.route,
			r.deviceRecipient)
	}
	rules := []rule{r.recipientLists, r.dnsbl, r.unknown, r.inbound, r.group, r.closed, r.deviceRecipient}
	if f.Forwards { // the right to send to other servers applies to a forwarding too
		rules = append(rules, r.outside)
	}
	return decide("rcpt", f, rules...)
}

// Message decides on a message by its header, after DATA.
func (r *Rules) Message(f *Facts) Decision { return decide("message", f, r.hops, r.headerSender) }

// Evaluate asks every stage in the order of a session. It returns the decisions up to the first
// refusal. LogIn is asked only for a client that has logged in to SMTP.
func (r *Rules) Evaluate(f *Facts) []Decision {
	stages := []func(*Facts) Decision{r.Connect, r.LogIn, r.Mail, r.Rcpt, r.Message}
	if f.User.IsZero() || f.User.ByPOP3 {
		stages = slices.Delete(stages, 1, 2)
	}
	var all []Decision
	for _, stage := range stages {
		d := stage(f)
		all = append(all, d)
		if d.Verdict == Refuse {
			break
		}
	}
	return all
}

// NeedsName reports whether a rule of any stage needs the client's name in DNS, whatever the client
// asks for. The anti-relay checks of Rcpt are not included: see NeedsNameToRelay.
func (r *Rules) NeedsName() bool {
	return r.Connections.VerifyHostname.Value || r.Connections.ReverseDNS.Value ||
		r.Connections.Allow.hasNames() || r.Connections.Deny.hasNames() ||
		r.Anonymous.Exceptions.hasNames() || r.LogIns.PlaintextNetworks.hasNames() ||
		r.Relay.ExcludeHosts.hasNames() || r.Relay.AllowHosts.hasNames() || r.Relay.DenyHosts.hasNames() ||
		r.Senders.TrustedHosts.hasNames() || r.DNSBL.Deny.hasNames() || r.DNSBL.Allow.hasNames() ||
		r.LineEnds.Networks.hasNames()
}

// Judgeable reports whether the facts hold every name and domain that the rules look up in DNS.
// Facts that were recorded under other rules may lack some.
func (r *Rules) Judgeable(f *Facts) bool {
	named := f.NameState != NameNotAsked
	return (named || !r.NeedsName() && !r.NeedsNameToRelay(f)) &&
		(f.SenderDomain != DomainNotAsked || !r.NeedsSenderDomain(f))
}
