package config

import (
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/auth/oauth"
	"pillarbox/smtp/policy"
	"pillarbox/smtp/route"
)

// Outbound holds the keys of [outbound] that are not part of the default route,
// Config.Routes.Default.
type Outbound struct {
	Enabled     bool // false: mail to other servers is refused, by Policy.Outside.Closed
	SRS         bool // rewrite the sender of forwarded mail
	ARC         bool // seal it, if its domain has a DKIM key and SRS is on
	Connections int  // to all servers together; Routes limits those to one destination
}

// Relayed holds the keys of a [[route]] that package route does not know.
type Relayed struct {
	ETRNHosts    policy.HostList // hosts that may request the mail of the route by ETRN
	ETRNAccounts []addr.Address  // accounts that may, by ETRN or ATRN after a login; folded

	AcceptFrom, RejectFrom policy.AddressList // who may send by the route

	// AllowRelay lets all clients send to the domains of the route, which
	// Policy.Relay.OverrideDomains then contains.
	AllowRelay bool
}

// Reports holds the rules for delivery reports to senders (RFC 3464).
type Reports struct {
	Language   ReportLanguage
	CopyTo     addr.Address // gets a copy of each failure report; zero: no copy
	NullSender NullSender
	Success    bool         // send reports of success on request (RFC 3461)
	Relayed    bool         // also when a server that cannot report takes a message
	MaxReturn  int64        // octets; of a larger message only the header is returned
	From       addr.Address // zero: postmaster of the default domain
	Strangers  Strangers
	PerAddress int   // reports and notices to one address in an hour; 0: no limit
	PerHour    int   // to all addresses together; 0: no limit
	KeepDays   int   // of mail in badmail; 0: for ever
	KeepSize   int64 // octets of mail in badmail; 0: no limit
}

// Strangers decides which remote senders get reports. A client can write any
// address into MAIL FROM.
type Strangers string

// The values of Strangers.
const (
	NoStrangers       Strangers = "none"
	VerifiedStrangers Strangers = "verified" // SPF or DMARC vouches for the sender
	AllStrangers      Strangers = "all"      // and DSN is offered to every client (RFC 3461)
)

// ReportLanguage is the language of the text of reports.
type ReportLanguage string

// The values of ReportLanguage.
const (
	EnglishReports ReportLanguage = "en"
	GermanReports  ReportLanguage = "de"
)

// NullSender is what happens to undeliverable mail with the null sender (Domino's
// RouterDSNForNULLReversePath).
type NullSender string

// The values of NullSender.
const (
	NullToBadmail NullSender = "badmail" // Domino's 0: kept for the administrator
	NullSend      NullSender = "send"    // Domino's 1: reported to the postmaster
	NullDrop      NullSender = "drop"    // Domino's 2: deleted
)

// Fetch is one server to collect mail from: its queue for our domains (ETRN), a
// mailbox there (POP3), or both.
type Fetch struct {
	Name string // for logs and lists, unique: as configured, or the server's name

	ETRNServer  route.Host // zero: no ETRN
	ETRNDomains []string   // arguments of ETRN: "example.com", "@example.com", "#queue"

	POP3         route.Host // zero: no POP3; ImplicitTLS is set on port 995
	TLS          route.TLSMode
	User         string
	PasswordFile string       // absolute path
	OAuth        oauth.Config // a token instead of the password, if it is enabled
	DeliverTo    addr.Address // zero without POP3
	Leave        bool         // messages stay on the server…
	LeaveDays    int          // …for this number of days after they were fetched; 0: for ever

	Every            time.Duration   // 0 if At is set
	At               []time.Duration // times of day since midnight, sorted
	WithEachDelivery bool            // also after mail has been sent
}

// Pickup is the folder for outgoing messages.
type Pickup struct {
	Enabled bool
	Dir     string // absolute path
}

// Local limits the mail that programs on this machine send through "pillarbox
// sendmail".
type Local struct {
	Enabled bool
	Socket  string // absolute path of a unix socket
	Outside bool   // mail to other servers is allowed
	PerHour int    // remote recipients of one user of the machine; 0: no limit
}

// Authenticity holds the checks by SPF, DKIM and DMARC.
type Authenticity struct {
	SPF, DKIM, DMARC Check
	Sign             bool // sign mail of domains with a DKIM key
}

// Check is what happens to mail that fails a check of its authenticity.
type Check string

// The values of Check.
const (
	CheckOff    Check = "off"    // no check
	CheckMark   Check = "mark"   // write the result into Authentication-Results
	CheckReject Check = "reject" // also refuse mail, if its domain asks for that
)

// Operators is the socket for operators. They may not read the data directory; the
// server runs their commands.
type Operators struct {
	Enabled bool
	Socket  string // absolute path of a unix socket
}

const operatorsSocketName = "admin.sock"

// DefaultOperatorsSocket is the default of operators.socket, for users who may not
// read the configuration.
const DefaultOperatorsSocket = runtimeFolder + "/" + operatorsSocketName
