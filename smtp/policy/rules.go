package policy

import (
	"time"
)

// Rules is the configuration that decisions follow. Every list and setting
// carries where it stands, for the steps.
type Rules struct {
	Connections Connections
	Anonymous   Anonymous
	Sites       map[string]Site // by smtp.Service.String(): smtp, submission, smtps
	LogIns      LogIns
	Relay       Relay
	Senders     Senders
	Recipients  Recipients
	Outside     Outside
	DNSBL       DNSBL
	MaxHops     Setting[int] // Received lines of a message; 0: no limit
}

// Setting is a value with where it stands.
type Setting[T any] struct {
	Value  T
	Origin string // "pillarbox.toml:41", "env PILLARBOX_…", "default"
}

// Connections is who may connect at all.
type Connections struct {
	Only           Setting[bool] // true: only Allow may connect; false: all except Deny
	Allow, Deny    HostList
	VerifyHostname Setting[bool] // a client without a name in DNS sends nothing
	ReverseDNS     Setting[bool] // look names up for the Received header
}

// Anonymous is who may send without a log-in where a site demands one.
type Anonymous struct {
	AllowExceptions Setting[bool] // Domino's SMTPAllowConnectionsAnonymous
	Exceptions      HostList
}

// Site is what one listener demands (Domino's Internet sites).
type Site struct {
	RequireTLS Setting[bool]

	// Require128Bit refuses TLS with a cipher below 128 bits ("Require 128-bit
	// encryption" of IIS, which kept out the browsers and mail programs with 40 and
	// 56 bits of the export rules; what is left of that kind is 3DES and RC4). It
	// demands no TLS: that is RequireTLS.
	Require128Bit Setting[bool]

	MinTLS      Setting[uint16] // as in crypto/tls; 0: the server's own minimum
	RequireAuth Setting[bool]
	Anonymous   Setting[bool] // may mail be sent without a log-in; false is RequireAuth with exceptions
	OfferAuth   Setting[bool] // may anybody log in here
}

// LogIns is where passwords may cross the wire in the clear.
type LogIns struct {
	PlaintextNetworks HostList
}

// Enforcement is whom Domino's anti-relay checks are for.
type Enforcement string

const (
	EnforceExternal Enforcement = "external" // hosts whose verified name is not in a hosted domain
	EnforceAll      Enforcement = "all"
	EnforceNone     Enforcement = "none"
)

// Relay is who may send to domains that are not hosted here (domino.md; the four
// lists, and what IIS's forms add).
type Relay struct {
	Enforcement               Setting[Enforcement]
	ExcludeHosts              HostList
	AuthenticatedAllow        Setting[bool] // logged-in users may relay; false: check them like anyone
	AllowDomains, DenyDomains AddressList
	AllowHosts, DenyHosts     HostList
	OverrideDomains           AddressList   // IIS remote domains, Exchange connectors: always allowed
	DenyWins                  Setting[bool] // the rule of Domino R5
	DominoReplies             Setting[bool] // 554 Relay rejected for policy reasons
}

// VerifyUser is where a user's sender is held against his own addresses.
type VerifyUser string

const (
	VerifyOff      VerifyUser = "off"
	VerifyEnvelope VerifyUser = "envelope"
	VerifyHeader   VerifyUser = "header"
	VerifyBoth     VerifyUser = "both"
)

// Senders is who may be named in MAIL FROM and in the header.
type Senders struct {
	Allow, Deny   AddressList
	VerifyUser    Setting[VerifyUser]
	RefuseForged  Setting[bool] // a hosted domain in an anonymous sender is refused…
	TrustedHosts  HostList      // …unless the host is one of these
	VerifyDomain  Setting[bool]
	VerifyTimeout time.Duration
}

// Recipients is who may be named in RCPT TO.
type Recipients struct {
	Allow, Deny AddressList
}

// Outside is who may send to other servers, beside each mailbox's own right.
type Outside struct {
	Send, Receive          Setting[bool] // the rights of mailboxes that have none of their own
	AcceptFrom, RejectFrom AddressList   // users, groups, domains
	PerHour                Setting[int]  // recipients elsewhere of one account; 0: no limit
	Closed                 Setting[bool] // nothing is sent to other servers, whoever wants to (outbound.enabled = false)
}
