// Package track stores the events of mail: a connection, a refusal, a message accepted, delivered,
// attempted, fetched, deleted. An administrator asks it where a message is. The console lines,
// metrics and statistics read the same events while they happen.
//
// Start with Open and Log.Add. Search finds events on disk, also without a running server. The
// SMTP server, the queue, the delivery, the POP3 server and the administration add events; none of
// them waits. Events that come too fast are dropped and counted. Mail never fails because an event
// cannot be written.
//
// Files below the data directory:
//
//	track/20261130-001.events   the events that are being written
//	track/20261129-001.pack     events of a past day, or of a full file: compressed, with an index
//
// A .events file is a sequence of records, each with its length and a checksum (record.go). A crash
// leaves at most one record incomplete; Search skips it. A .pack file holds compressed blocks and,
// for each block, a filter of the names in it (pack.go), so that Search reads only the blocks in
// which a name can be.
package track

import (
	"net/netip"
	"time"
)

// Kind says what happened.
type Kind uint8

// The kinds of events. Their numbers are stored on disk and must not change.
const (
	Connected    Kind = iota + 1 // a client connected
	Secured                      // TLS began; Text has its version and cipher suite
	LoggedIn                     // User logged in; Text has the mechanism
	LoginFailed                  // Text has the reason
	Refused                      // a command or a message; Trace has the code, Rule the rule
	Accepted                     // a message was accepted, and is durable
	Expanded                     // the recipient To stands for Target
	Delivered                    // the message is in the mailbox To
	OverQuota                    // the mailbox To was full and did not get the message
	Queued                       // the message waits for another server
	Deferred                     // an attempt failed and will be repeated at Next
	Relayed                      // another server took the message
	Failed                       // the message cannot be delivered to To
	Reported                     // a delivery report was made; Parent is the reported message
	Badmail                      // the message was put into badmail
	Held                         // an administrator stopped deliveries of the message
	Released                     // an administrator let them go on
	Listed                       // a POP3 client listed a mailbox; Count and Size are its contents
	Fetched                      // a POP3 client fetched the message
	Deleted                      // a POP3 client deleted the message
	Expired                      // retention deleted the message, or its time in the queue ended
	Exported                     // an administrator copied the mailbox To; Count has the messages
	Removed                      // an administrator removed the message, or the mailbox To
	Disconnected                 // a session ended; Count has its messages, Size its octets
	Imported                     // an administrator put messages into the mailbox To
	Ruled                        // a rule of the mailbox To, Rule, did what Text says
	Discarded                    // a rule of the mailbox To, Rule, threw the message away
	Archived                     // a copy is in the archive To
	Answered                     // Text, an automatic answer about Parent, was made for To
	Restored                     // the deleted message Parent is in the mailbox To again, as ID
	lastKind
)

var kindNames = [lastKind]string{
	Connected: "connected", Secured: "tls", LoggedIn: "logged in", LoginFailed: "login failed",
	Refused: "refused", Accepted: "accepted", Expanded: "expanded", Delivered: "delivered",
	OverQuota: "over quota", Queued: "queued", Deferred: "deferred", Relayed: "relayed",
	Failed: "failed", Reported: "reported", Badmail: "badmail", Held: "held", Released: "released",
	Listed: "listed", Fetched: "fetched", Deleted: "deleted", Expired: "expired",
	Exported: "exported", Removed: "removed", Disconnected: "disconnected",
	Imported: "imported", Ruled: "ruled", Discarded: "discarded", Archived: "archived",
	Answered: "answered", Restored: "restored",
}

// String returns the kind as a word. A kind of a newer release is "unknown".
func (k Kind) String() string {
	if k > 0 && k < lastKind {
		return kindNames[k]
	}
	return "unknown"
}

// MarshalText implements encoding.TextMarshaler.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (k *Kind) UnmarshalText(text []byte) error {
	*k = 0
	for i, name := range kindNames {
		if name == string(text) {
			*k = Kind(i)
		}
	}
	return nil
}

// Event is one thing that happened. Fields that do not apply are empty. The text fields hold no
// secrets; Add cuts them to maxText octets and replaces characters that are not printable.
type Event struct {
	Time time.Time `json:"time"` // zero: the time of Add; stored with microseconds
	Kind Kind      `json:"event"`

	ID        string `json:"id,omitempty"`         // the server's ID of the message
	Parent    string `json:"parent,omitempty"`     // the message that a report is about
	Trace     string `json:"trace,omitempty"`      // the code that a refusal shows to the client
	MessageID string `json:"message_id,omitempty"` // the Message-ID field, without angle brackets
	Subject   string `json:"subject,omitempty"`    // only if Options.Subjects says so

	From   string `json:"from,omitempty"`   // envelope sender
	To     string `json:"to,omitempty"`     // recipient, or mailbox
	Target string `json:"target,omitempty"` // what To stands for

	Service string     `json:"service,omitempty"` // the key under [listen], or where mail came from
	Remote  netip.Addr `json:"remote_ip,omitzero"`
	Host    string     `json:"host,omitempty"` // HELO name of a client; name of a next hop
	User    string     `json:"user,omitempty"` // who logged in, or the device
	Session uint64     `json:"session,omitempty"`

	Rule  string    `json:"rule,omitempty"`  // what decided
	Route string    `json:"route,omitempty"` // how the message left
	Reply string    `json:"reply,omitempty"` // SMTP reply, ours or of the next hop
	Text  string    `json:"text,omitempty"`  // see the kinds
	Next  time.Time `json:"next,omitzero"`   // of the next attempt; stored with microseconds

	// Took is how long the commit of an accepted message or an attempt took: nanoseconds in JSON,
	// stored with microseconds.
	Took time.Duration `json:"took,omitempty"`

	Size  int64 `json:"size,omitempty"`  // octets
	Count int64 `json:"count,omitempty"` // see the kinds
}
