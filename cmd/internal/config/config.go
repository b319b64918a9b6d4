// Package config reads the one configuration file of Pillarbox, applies the
// PILLARBOX_… environment on top of it and hands out plain typed values. It is
// the only package that knows how the file is written.
//
// A file with mistakes is refused as a whole, and every mistake in it is
// reported at once: see [Errors].
package config

import (
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/quota/quotamail"
	"pillarbox/smtp/policy"
	"pillarbox/smtp/route"
)

// DefaultPath is where the file is looked for when no other place is named.
const DefaultPath = "/etc/pillarbox/pillarbox.toml"

// Config holds the effective settings: defaults, then the file, then the
// environment. Sizes are in octets. It is not changed after Load.
type Config struct {
	Hostname      addr.Domain  // the server's own name, never an address literal
	Data          string       // absolute path of the data directory
	DefaultDomain addr.Domain  // for bare log-in names; "" leaves the choice to the caller
	Postmaster    addr.Address // who gets postmaster's mail; zero leaves the choice to the caller

	Listen      Listen
	TLS         TLS
	Auth        Auth
	LogIns      LogIns
	Passwords   Passwords
	Directories []Directory
	System      System
	Connections Connections
	Sites       Sites
	Relay       Relay
	SMTP        SMTP
	POP3        POP3
	Limits      Limits
	Bans        Bans
	DNS         DNS
	Mailboxes   Mailboxes
	Log         Log

	Outbound     Outbound
	Routes       route.Table // Default is [outbound]; the others have what they do not say from there
	Relayed      []Relayed   // parallel to Routes.Routes
	Reports      Reports
	Fetch        []Fetch
	Pickup       Pickup
	Local        Local
	Operators    Operators
	Authenticity Authenticity

	// Policy is every rule of who may connect and send what where, ready for
	// use. Its settings and its lists' entries carry their origins.
	Policy policy.Rules

	// Warnings are what is no mistake but deserves a look. Each begins with the
	// place it is about.
	Warnings []string

	origin map[string]origin        // of the keys that are set; the rest hold their defaults
	lines  map[string][]policy.Line // of each list of hosts or addresses, as written, by its key; groups too
}

// Listen holds the addresses of each service as net.Listen takes them. An empty
// list turns the service off. Port 0 lets the system choose a free port.
type Listen struct {
	SMTP       []string // plain, STARTTLS offered
	Submission []string // plain, STARTTLS offered, log-in required
	SMTPS      []string // TLS from the first octet, log-in required
	POP3       []string // plain, STLS offered
	POP3S      []string // TLS from the first octet
	ODMR       []string // plain, STARTTLS offered: on-demand mail relay, ATRN (RFC 2645)
}

// Auth holds the rules for logging in.
type Auth struct {
	// PlaintextNetworks are the clients that may send a password without TLS.
	PlaintextNetworks []netip.Prefix

	ClientCertificates bool // clients are asked for one of the own CA
}

// Connections holds what [connections] says beside the rules.
type Connections struct {
	TimeoutMultiplier int // of SMTP's and POP3's time-outs, 1 to 100
}

// Sites holds what each service demands. The SMTP ones are in Config.Policy too,
// which is where decisions look.
type Sites struct {
	SMTP, Submission, SMTPS policy.Site
	POP3, POP3S             POP3Site
}

// POP3Site is what a POP3 service demands.
type POP3Site struct {
	RequireTLS    bool // before USER, wherever the client is
	Require128Bit bool // no log-in where TLS has a weaker cipher
}

// Relay holds what [relay] says beside the rules.
type Relay struct {
	OpenOnPurpose bool // rules that let everybody relay are warnings, no mistakes
}

// BareLineEndings says what happens to a message in which a CR or an LF stands
// alone (RFC 5321 §2.3.8 allows only CRLF).
type BareLineEndings string

// The values of BareLineEndings.
const (
	RefuseBare    BareLineEndings = "refuse"    // refuse the message
	NormaliseBare BareLineEndings = "normalise" // turn each into CRLF
)

// SMTP holds the settings of the three SMTP services.
type SMTP struct {
	Greeting         string // for ExpandGreeting
	MaxMessageSize   int64  // 0: no limit
	MaxSessionSize   int64  // of all messages of a connection together; 0: no limit
	MaxMessages      int    // for each connection; 0: no limit
	MaxRecipients    int    // for each message
	MaxErrors        int    // for each connection
	MaxCommandLength int    // octets, the CRLF counted
	CommandTimeout   time.Duration
	DataTimeout      time.Duration // for each block of DATA
	MaxTextLine      int           // octets, the CRLF counted
	BareLineEndings  BareLineEndings
}

// POP3 holds the settings of the two POP3 services.
type POP3 struct {
	Greeting    string // for ExpandGreeting
	IdleTimeout time.Duration
	MaxErrors   int // for each connection
}

// Limits hold for all services together.
type Limits struct {
	Connections           int
	ConnectionsPerAddress int
	ConnectionsPerAccount int // that have logged in to it
}

// Bans is when an address that tries passwords is shut out.
type Bans struct {
	After    int             // so many distinct wrong passwords; 0: never
	Duration time.Duration   // how long
	Trusted  policy.HostList // delayed, never banned
}

// DNS is whom names are asked of.
type DNS struct {
	Servers []netip.AddrPort // empty: those of the system
	Timeout time.Duration    // of one question, however many servers are asked
}

// Mailboxes holds what is common to all mailboxes.
type Mailboxes struct {
	PlusSeparator   string // one character, or "" for off
	DefaultQuota    int64  // of a mailbox; 0 for none
	DefaultMessages int    // of a mailbox; 0 for none
	DefaultWarning  int    // per cent of a limit, of a mailbox's or a domain's; 0 for none
	OverQuota       OverQuota
	Notices         NoticeLanguage
	NoticeTemplates string // absolute path of a directory; "" for none

	DeleteAfter        int // days from a message's arrival; 0: never
	DeleteFetchedAfter int // days from when it was first fetched; 0: never

	// Templates are the texts that the two settings before stand for. There are none where notices are off.
	Templates quotamail.Templates
}

// MaxDays is the most that mail can be set to be kept, short of for ever.
const MaxDays = 36_500

// OverQuota says what happens to a message that does not fit into a mailbox.
type OverQuota string

// The values of OverQuota.
const (
	RefuseOverQuota OverQuota = "refuse" // 552 5.2.2: it goes back to its sender
	DeferOverQuota  OverQuota = "defer"  // 452 4.2.2: the sender's server tries again
)

// NoticeLanguage is the language of the notices about full mailboxes.
type NoticeLanguage string

// The values of NoticeLanguage.
const (
	EnglishNotices NoticeLanguage = "en"
	GermanNotices  NoticeLanguage = "de"
	NoNotices      NoticeLanguage = "off"
)

// LogFormat is how a log line is written.
type LogFormat string

// The values of LogFormat.
const (
	TextLog LogFormat = "text"
	JSONLog LogFormat = "json"
)

// Log holds what is logged, and how.
type Log struct {
	Level  slog.Level
	Format LogFormat
}

// ExpandGreeting writes a greeting for one connection: %h becomes the host name
// and %d the date as in a mail header (RFC 5322 §3.3).
func ExpandGreeting(greeting string, hostname addr.Domain, now time.Time) string {
	return strings.NewReplacer("%h", string(hostname), "%d", now.Format(time.RFC1123Z)).Replace(greeting)
}
