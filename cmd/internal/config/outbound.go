package config

import (
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp/policy"
	"pillarbox/smtp/route"
)

// Outbound holds what [outbound] says beside the default route, which is
// Config.Routes.Default.
type Outbound struct {
	Enabled     bool // false: mail elsewhere is refused (Policy.Outside.Closed is the same)
	Connections int  // to all servers together; Routes has those to one destination
}

// Relayed holds what [[route]] says beside the way its mail goes.
type Relayed struct {
	ETRNHosts    policy.HostList // hosts that may ask for this route's mail
	ETRNAccounts []addr.Address  // who may, once logged in, by ETRN or ATRN; folded
	AllowRelay   bool            // everybody may send to its domains; they are in Policy.Relay.OverrideDomains too
}

// Reports is how senders are told what became of their mail (RFC 3464).
type Reports struct {
	Language   ReportLanguage
	CopyTo     addr.Address // gets a copy of each failure report; zero: nobody does
	NullSender NullSender
	Success    bool         // reports of success are sent where they are asked for (RFC 3461)
	MaxReturn  int64        // octets; of a larger message only the header goes back
	From       addr.Address // zero: postmaster of the default domain
	Strangers  Strangers
	PerAddress int   // to one address in an hour, notices counted too; 0: no limit
	PerHour    int   // to all together; 0: no limit
	KeepDays   int   // of mail in badmail; 0: for ever
	KeepSize   int64 // octets of it; 0: no limit
}

// Strangers says which senders outside the office are told of the fate of their
// mail. A client can write any address into MAIL FROM.
type Strangers string

// The values of Strangers.
const (
	NoStrangers       Strangers = "none"
	VerifiedStrangers Strangers = "verified" // SPF or DMARC vouches for the sender
	AllStrangers      Strangers = "all"      // and they are offered DSN (RFC 3461)
)

// ReportLanguage is the language of the text of reports.
type ReportLanguage string

// The values of ReportLanguage.
const (
	EnglishReports ReportLanguage = "en"
	GermanReports  ReportLanguage = "de"
)

// NullSender says what happens to mail without a sender that cannot be delivered
// (Domino's RouterDSNForNULLReversePath).
type NullSender string

// The values of NullSender.
const (
	NullToBadmail NullSender = "badmail" // Domino's 0: kept for the administrator
	NullSend      NullSender = "send"    // Domino's 1: reported to the postmaster
	NullDrop      NullSender = "drop"    // Domino's 2: gone
)

// Fetch is one server that mail is asked of: its queue for our domains (ETRN), or
// a mailbox there (POP3). At least one of the two is set.
type Fetch struct {
	Name string // for logs and listings, unique: as configured, or the server's name

	ETRNServer  route.Host // zero: no ETRN
	ETRNDomains []string   // as ETRN takes them: "example.com", "@example.com", "#queue"

	POP3         route.Host // zero: no POP3; ImplicitTLS is set on port 995
	TLS          route.TLSMode
	User         string
	PasswordFile string       // absolute path
	DeliverTo    addr.Address // zero without POP3
	Leave        bool         // messages stay on the server…
	LeaveDays    int          // …so many days after they were fetched; 0: for ever

	Every            time.Duration   // 0 where At is set
	At               []time.Duration // times of day since midnight, sorted
	WithEachDelivery bool            // also when mail has been sent out
}

// Pickup is the folder in which messages are left to be sent.
type Pickup struct {
	Enabled bool
	Dir     string // absolute path
}

// Local is what programs on this machine may send through "pillarbox sendmail".
type Local struct {
	Enabled bool
	Socket  string // absolute path of a unix socket
	Outside bool   // to other servers too
	PerHour int    // recipients of one user of the machine; 0: no limit
}

// Authenticity is what is made of SPF, DKIM and DMARC.
type Authenticity struct {
	SPF, DKIM, DMARC Check
	Sign             bool // mail of a domain that has a key
}

// Check says what happens to mail that fails a check of its authenticity.
type Check string

// The values of Check.
const (
	CheckOff    Check = "off"    // not looked at
	CheckMark   Check = "mark"   // written into Authentication-Results
	CheckReject Check = "reject" // and refused where its domain wants that
)

// Operators is the socket over which operators who may not read the data
// directory have their commands done by the server.
type Operators struct {
	Enabled bool
	Socket  string // absolute path of a unix socket
}

const operatorsSocketName = "admin.sock"

// DefaultOperatorsSocket is where the socket of operators.socket is by default,
// for users who may not read the configuration.
const DefaultOperatorsSocket = runtimeFolder + "/" + operatorsSocketName
