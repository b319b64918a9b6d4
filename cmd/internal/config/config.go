// Package config reads the configuration file of Pillarbox, applies the PILLARBOX_… environment on
// top of it, and returns plain typed values in a [Config]. No other package knows how the file is
// written. A file with mistakes is refused as a whole, with every mistake at once: see [Errors].
//
// # From the rows to a Config
//
// Every key is one row in keys_*.go: its name, its type with the check, its field in Config, its
// default and its text. The rows stand in sections, in the order of the sample. [Load] works in this
// order:
//
//  1. Default gives each field the default of its row.
//  2. readDocument reads the TOML with the line of every value, and continues after an error.
//  3. Each row parses its value into its field; the environment then overrides the file.
//  4. Each entry of a table, such as [[route]], gets its own rows. A [[route]] begins as a copy of
//     [outbound], so it comes after the environment.
//  5. resolve makes paths absolute, and compile turns lists and groups into the rules of package
//     policy.
//  6. The check_*.go files, openrelay.go and others look at what no single key can show.
//
// [Render] writes the rows as a commented file, "config show" lists them ([Config.Effective]), and a
// reload compares them ([Diff], [RestartKeys]).
//
// # Add a key
//
//  1. Add the field to its struct, in this file, outbound.go, logins.go, tls.go or directories.go.
//  2. Add the row to its section in keys_server.go, keys_logins.go, keys_policy.go or
//     keys_outbound.go: for example number("smtp.max_errors", the field, bounds, default, text).
//     Use path for a file, and .needsRestart() if a running server cannot take a new value.
//  3. Run: go test ./cmd/internal/config -run 'TestSample$' -update
//  4. Read the field where it is needed.
//
// The rest follows from the row: the default, the check with its hint, "did you mean", the variable
// PILLARBOX_SMTP_MAX_ERRORS, "config show", the comparison at a reload, the restart list, the path
// relative to the file, and the sample etc/pillarbox.toml. Write a check only if several keys must
// agree.
package config

import (
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"pillarbox/cmd/internal/logging"
	"pillarbox/cmd/internal/wirelog"
	"pillarbox/mailstore/addr"
	"pillarbox/quota/quotamail"
	"pillarbox/smtp/policy"
	"pillarbox/smtp/route"
)

// DefaultPath is the path of the file unless another one is given.
const DefaultPath = "/etc/pillarbox/pillarbox.toml"

// Config holds the effective settings: defaults, then the file, then the
// environment. Sizes are in octets. It does not change after Load.
type Config struct {
	Hostname      addr.Domain  // the server's own name, never an address literal
	Data          string       // absolute path of the data directory
	DefaultDomain addr.Domain  // of login names without one; "" leaves the choice to the caller
	Postmaster    addr.Address // gets postmaster's mail; zero leaves the choice to the caller

	UpdateInterval time.Duration // at which the file is looked at for changes; 0: never

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
	Events      Events
	Metrics     Metrics
	Alerts      Alerts
	Backup      Backup
	Web         Web
	Telemetry   Telemetry

	Outbound     Outbound
	Routes       route.Table // Default is [outbound]; a route inherits the keys that it does not set
	Relayed      []Relayed   // parallel to Routes.Routes
	Reports      Reports
	Fetch        []Fetch
	Pickup       Pickup
	Local        Local
	Operators    Operators
	Authenticity Authenticity

	// Policy is the compiled rules: which hosts may connect, and which clients may
	// send to which recipients. Each setting and each entry of a list has its origin.
	Policy policy.Rules

	// Warnings are about settings that are valid but probably not meant. Each
	// begins with the place in the file.
	Warnings []string

	origin map[string]origin        // of each key that is set, by its name
	lines  map[string][]policy.Line // lists of hosts and addresses as written, by key; groups too
}

// Listen holds the addresses of each service in the form of net.Listen. An empty
// list turns the service off. With port 0 the system chooses a free port.
type Listen struct {
	SMTP       []string // plain, STARTTLS offered
	Submission []string // plain, STARTTLS offered, login required
	SMTPS      []string // TLS from the start, login required
	POP3       []string // plain, STLS offered
	POP3S      []string // TLS from the start
	ODMR       []string // plain, STARTTLS offered: on-demand mail relay, ATRN (RFC 2645)
	Web        []string // HTTPS
	Metrics    []string // HTTP on loopback, HTTPS elsewhere
}

// Auth holds the rules for logging in.
type Auth struct {
	// PlaintextNetworks are the clients that may send a password without TLS.
	PlaintextNetworks []netip.Prefix

	ClientCertificates bool // ask clients for a certificate of the server's own CA
}

// Connections holds the keys of [connections] that are not rules of the policy.
type Connections struct {
	TimeoutMultiplier int // factor for the timeouts of SMTP and POP3, 1 to 100
}

// Sites holds the demands of each service. Config.Policy has those of SMTP too;
// decisions read them there.
type Sites struct {
	SMTP, Submission, SMTPS policy.Site
	POP3, POP3S             POP3Site
}

// POP3Site holds the demands of a POP3 service.
type POP3Site struct {
	RequireTLS    bool // before USER, for clients in every network
	Require128Bit bool // refuse a login over TLS with a weaker cipher
}

// Relay holds the keys of [relay] that are not rules of the policy.
type Relay struct {
	OpenOnPurpose bool // an open relay is a warning, not a mistake
}

// SMTP holds the settings of the three SMTP services.
type SMTP struct {
	Greeting         string // for ExpandGreeting
	MaxMessageSize   int64  // 0: no limit
	MaxSessionSize   int64  // all messages of a connection together; 0: no limit
	MaxMessages      int    // for each connection; 0: no limit
	MaxRecipients    int    // for each message
	MaxForRecipients int    // that a Received field names
	MaxErrors        int    // for each connection
	MaxCommandLength int    // octets, including the CRLF
	CommandTimeout   time.Duration
	DataTimeout      time.Duration // for each block of DATA
	MaxTextLine      int64         // octets, including the CRLF; 0: no limit
	StrictAddresses  bool
	StrictLines      bool
}

// POP3 holds the settings of the two POP3 services.
type POP3 struct {
	Greeting    string // for ExpandGreeting
	IdleTimeout time.Duration
	Overtake    time.Duration // 0: never
	MaxErrors   int           // for each connection

	Hosts policy.Connections // only Allow and Deny: which hosts may connect
}

// Limits are the connections at a time, all services together.
type Limits struct {
	Connections           int
	ConnectionsPerAddress int
	ConnectionsPerAccount int // that have logged in to one account

	// Of one service; 0 means no limit but Connections.
	SMTP, Submission, SMTPS, ODMR, POP3, POP3S int
}

// Bans decides when a client address that guesses passwords is banned.
type Bans struct {
	After    int             // number of distinct wrong passwords; 0: no bans
	Duration time.Duration   // of a ban
	Trusted  policy.HostList // delayed, but never banned
}

// DNS holds the name servers.
type DNS struct {
	Servers []netip.AddrPort // empty: those of the system
	Timeout time.Duration    // of one query, over all servers
}

// Mailboxes holds the defaults of all mailboxes.
type Mailboxes struct {
	PlusSeparator   string // one character, or "" for off
	DefaultQuota    int64  // of a mailbox; 0: no limit
	DefaultMessages int    // of a mailbox; 0: no limit
	DefaultWarning  int    // per cent of the limit of a mailbox or domain; 0: no warning
	OverQuota       OverQuota
	Notices         NoticeLanguage
	NoticeTemplates string // absolute path of a directory; "" for none

	DeleteAfter        int // days from a message's arrival; 0: never
	DeleteFetchedAfter int // days from its first fetch; 0: never

	Undelete     time.Duration // how long deleted mail can be restored; 0: not at all
	UndeleteSize int64         // octets of deleted mail that a mailbox keeps at most; 0: no limit

	// Templates are the texts of Notices and NoticeTemplates; none if notices are off.
	Templates quotamail.Templates
}

// MaxDays is the largest number of days in the configuration.
const MaxDays = 36_500

// OverQuota is what happens to a message that does not fit into a mailbox.
type OverQuota string

// The values of OverQuota.
const (
	RefuseOverQuota OverQuota = "refuse" // 552 5.2.2: it returns to its sender
	DeferOverQuota  OverQuota = "defer"  // 452 4.2.2: the sending server tries again
)

// NoticeLanguage is the language of the quota notices.
type NoticeLanguage string

// The values of NoticeLanguage.
const (
	EnglishNotices NoticeLanguage = "en"
	GermanNotices  NoticeLanguage = "de"
	NoNotices      NoticeLanguage = "off"
)

// LogFormat is the form of a log line.
type LogFormat string

// The values of LogFormat.
const (
	TextLog LogFormat = "text"
	JSONLog LogFormat = "json"
)

// Events says which events of mail are stored, and for how long.
type Events struct {
	Enabled  bool
	KeepDays int   // 0: for ever
	MaxSize  int64 // octets on disk
	Subjects bool
}

// Log holds the levels and the form of the log.
type Log struct {
	Level    slog.Level
	Levels   logging.Words // of the parts
	W3C      W3CLog
	Protocol ProtocolLog
	Format   LogFormat
}

// W3CLog holds the settings of the W3C extended log files.
type W3CLog struct {
	Dir       string   // "": no such log
	Services  []string // smtp, pop3
	Fields    []string
	RollOver  wirelog.RollOver
	MaxSize   int64 // octets of a file; if RollOver is BySize
	LocalTime bool
	KeepDays  int // 0: for ever
}

// ProtocolLog says whose dialogues are written, and where.
type ProtocolLog struct {
	Dir      string // "": no such log
	Services []string
	Clients  []netip.Prefix
	KeepDays int   // 0: for ever
	MaxSize  int64 // octets of all files
}

// ExpandGreeting expands a greeting for one connection: %h is the host name, %d
// the date as in a mail header (RFC 5322 §3.3).
func ExpandGreeting(greeting string, hostname addr.Domain, now time.Time) string {
	return strings.NewReplacer("%h", string(hostname), "%d", now.Format(time.RFC1123Z)).Replace(greeting)
}
