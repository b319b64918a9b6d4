package policy

import (
	"net/netip"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
)

// NameState is what DNS said of a client's address.
type NameState string

const (
	NameNotAsked   NameState = ""           // no rule needs it
	NameVerified   NameState = "verified"   // the name leads back to the address
	NameUnverified NameState = "unverified" // there is a name, and it leads elsewhere
	NameNone       NameState = "none"       // there is no name
	NameFailed     NameState = "failed"     // DNS did not answer
)

// DomainState is what DNS said of a sender's domain.
type DomainState string

const (
	DomainNotAsked DomainState = ""        // no rule needs it
	DomainExists   DomainState = "exists"  // it has MX, A or AAAA
	DomainMissing  DomainState = "missing" // it has none
	DomainFailed   DomainState = "failed"  // DNS did not answer
)

// RecipientKind is what the directory says of a recipient.
type RecipientKind string

const (
	RecipientLocal   RecipientKind = "local"   // ends in mailboxes here
	RecipientUnknown RecipientKind = "unknown" // the domain is hosted here, the address is nobody's
	RecipientRemote  RecipientKind = "remote"  // the domain is not hosted here
)

// Facts is all that a decision looks at, and all that the journal keeps of one.
// What a stage does not look at may be missing.
type Facts struct {
	// The connection.
	Service      smtp.Service `json:"service"`
	Remote       netip.Addr   `json:"remote"`
	Name         string       `json:"name,omitempty"` // by reverse DNS, lower case, no trailing dot
	NameState    NameState    `json:"name_state,omitempty"`
	TLSVersion   uint16       `json:"tls,omitempty"`         // as in crypto/tls; 0: none
	WeakCipher   string       `json:"weak_cipher,omitempty"` // the name of TLS's cipher suite, when that is below 128 bits
	Helo         string       `json:"helo,omitempty"`
	InternalName bool         `json:"internal_name,omitempty"` // Name is in a hosted domain
	Device       *Device      `json:"device,omitempty"`        // the device that the address belongs to
	Listed       []Listing    `json:"listed,omitempty"`        // what the DNSBL sites say of Remote; nil: not asked

	// Who logged in; zero: nobody.
	User User `json:"user,omitzero"`

	// MAIL FROM.
	From         addr.Address `json:"from,omitzero"` // zero: the null reverse-path
	FromHosted   bool         `json:"from_hosted,omitempty"`
	FromPlain    addr.Address `json:"from_plain,omitzero"` // From without what is behind a plus, where the whole is no name of its own
	SenderDomain DomainState  `json:"sender_domain,omitempty"`

	// RCPT TO.
	To           addr.Address  `json:"to,omitzero"`
	Kind         RecipientKind `json:"kind,omitempty"`
	NoOutside    bool          `json:"no_outside,omitempty"`    // the recipient takes no mail from outside
	InboundRight string        `json:"inbound_right,omitempty"` // where NoOutside is said; "": nowhere, the default holds
	GroupAccept  GroupAccept   `json:"group_accept,omitempty"`  // the recipient is a group that restricts who may write
	GroupMember  bool          `json:"group_member,omitempty"`  // the sender is a member of that group
	GroupName    addr.Address  `json:"group_name,omitzero"`     // of the group, where To is another name of it
	Forwards     bool          `json:"forwards,omitempty"`      // mail for To leaves this server, whole or in part

	// The message.
	HeaderSender []addr.Address `json:"header_sender,omitempty"` // of Sender, or of From where there is no Sender
	HeaderPlain  []addr.Address `json:"header_plain,omitempty"`  // each of HeaderSender likewise
	HeaderField  string         `json:"header_field,omitempty"`  // "Sender" or "From": where HeaderSender comes from; "": neither is there
	HeaderBad    bool           `json:"header_bad,omitempty"`    // the field could not be read, or is there twice
	Hops         int            `json:"hops,omitempty"`          // Received lines
}

// LeavesServer reports whether mail for To leaves this server, whole or in part.
func (f *Facts) LeavesServer() bool { return f.Kind == RecipientRemote || f.Forwards }

// User is a client that has logged in.
type User struct {
	Address addr.Address   `json:"address"`
	Own     []addr.Address `json:"own,omitempty"`    // what he may send as beside Address: his aliases, and grants; folded
	Groups  []addr.Address `json:"groups,omitempty"` // that he is a member of, folded
	Outside bool           `json:"outside"`          // may send to other servers
	Right   string         `json:"right,omitempty"`  // where Outside is said: his account or a group of his; "": nowhere, the default holds
	Held    bool           `json:"held,omitempty"`   // sent too much and is held
}

// IsZero reports that nobody has logged in.
func (u User) IsZero() bool { return u.Address.IsZero() }

// GroupAccept is who may write to a group.
type GroupAccept string

const (
	AcceptAnyone  GroupAccept = "" // the default
	AcceptInside  GroupAccept = "inside"
	AcceptMembers GroupAccept = "members"
)

// Device is a machine that may send without a log-in: a scanner, a UPS, a report
// server. It is known by its address.
type Device struct {
	Name           string         `json:"name"`
	Networks       []netip.Prefix `json:"networks"`
	Outside        bool           `json:"outside,omitempty"`         // may send to other servers; otherwise only to this one's mailboxes
	As             addr.Address   `json:"as,omitzero"`               // its sender, whatever it says; zero: any address of a hosted domain
	PerHour        int            `json:"per_hour,omitempty"`        // recipients in an hour; 0: no limit
	AllowPlaintext bool           `json:"allow_plaintext,omitempty"` // may log in without TLS, should it want to

	// Over says that the device has used up its hour. It is a fact, not a setting.
	Over bool `json:"over,omitempty"`
}
