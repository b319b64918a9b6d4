package policy

import (
	"net/netip"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
)

// NameState is the result of the reverse look-up of a client's address.
type NameState string

const (
	NameNotAsked   NameState = ""           // no rule needs the name, so DNS was not asked
	NameVerified   NameState = "verified"   // the name resolves to the client's address
	NameUnverified NameState = "unverified" // the name does not resolve to the client's address
	NameNone       NameState = "none"       // the address has no name
	NameFailed     NameState = "failed"     // DNS did not answer
)

// DomainState is the result of the look-up of a sender's domain.
type DomainState string

const (
	DomainNotAsked DomainState = ""        // no rule needs the look-up
	DomainExists   DomainState = "exists"  // the domain has an MX, A or AAAA record
	DomainMissing  DomainState = "missing" // it has none of these records
	DomainFailed   DomainState = "failed"  // DNS did not answer
)

// RecipientKind is what the directory knows about a recipient.
type RecipientKind string

const (
	RecipientLocal   RecipientKind = "local"   // the address leads to local mailboxes
	RecipientUnknown RecipientKind = "unknown" // a hosted domain does not have the address
	RecipientRemote  RecipientKind = "remote"  // the domain is not hosted here
)

// Facts is the whole input of a decision, and the part of it that the decision log stores. A
// stage does not need the facts that later stages look at. The JSON form is flat, and its field
// names are the format of the decision log: they must not change.
type Facts struct {
	Client
	Transaction
}

// Client holds the facts about the connection and its user. They stay when a transaction ends.
type Client struct {
	Service      smtp.Service `json:"service"`
	Remote       netip.Addr   `json:"remote"`
	Name         string       `json:"name,omitempty"` // by reverse DNS, lower case, no trailing dot
	NameState    NameState    `json:"name_state,omitempty"`
	TLSVersion   uint16       `json:"tls,omitempty"`         // as in crypto/tls; 0 means no TLS
	WeakCipher   string       `json:"weak_cipher,omitempty"` // of TLS, if below 128 bits
	Helo         string       `json:"helo,omitempty"`
	InternalName bool         `json:"internal_name,omitempty"` // Name is in a hosted domain
	Device       *Device      `json:"device,omitempty"`        // with the client's address
	Listed       []Listing    `json:"listed,omitempty"`        // by DNSBL; nil means not asked
	User         User         `json:"user,omitzero"`           // zero means not logged in
}

// Transaction holds the facts about one message. A session clears all of them at once, by
// assigning Transaction{}.
type Transaction struct {
	// MAIL FROM
	From       addr.Address `json:"from,omitzero"` // zero means the null sender
	FromHosted bool         `json:"from_hosted,omitempty"`
	// FromPlain is From without its "+detail". It is zero if From has none, or if the directory
	// has an entry for the whole of From.
	FromPlain    addr.Address `json:"from_plain,omitzero"`
	SenderDomain DomainState  `json:"sender_domain,omitempty"`
	Size         int64        `json:"size,omitempty"` // of the message, as MAIL declared it; octets

	Recipient

	// The header
	// HeaderSender holds the addresses in Sender, or in From if there is no Sender.
	HeaderSender []addr.Address `json:"header_sender,omitempty"`
	// HeaderPlain is parallel to HeaderSender, each address without its "+detail" as FromPlain is.
	HeaderPlain []addr.Address `json:"header_plain,omitempty"`
	// HeaderField is the field of HeaderSender: "Sender" or "From"; "" if the header has neither.
	HeaderField string `json:"header_field,omitempty"`
	HeaderBad   bool   `json:"header_bad,omitempty"` // the field cannot be parsed or occurs twice
	Hops        int    `json:"hops,omitempty"`       // number of Received fields
}

// Recipient holds the facts about the latest RCPT TO.
type Recipient struct {
	To        addr.Address  `json:"to,omitzero"`
	Kind      RecipientKind `json:"kind,omitempty"`
	NoOutside bool          `json:"no_outside,omitempty"` // it takes no mail from strangers
	// InboundRight is the file that sets NoOutside; "" means the default.
	InboundRight string      `json:"inbound_right,omitempty"`
	GroupAccept  GroupAccept `json:"group_accept,omitempty"` // the recipient's own setting, if it is a group
	GroupMember  bool        `json:"group_member,omitempty"` // the user is a member of it
	// GroupName is the name of the group that To is, or is an alias of.
	GroupName addr.Address `json:"group_name,omitzero"`
	Forwards  bool         `json:"forwards,omitempty"` // some or all mail leaves this server
	Shared    bool         `json:"shared,omitempty"`   // it is on another server of its domain
}

// LeavesServer reports whether some or all mail for To leaves this server.
func (f *Facts) LeavesServer() bool { return f.Kind == RecipientRemote || f.Forwards }

// User is the account that a client has logged in to.
type User struct {
	Address addr.Address   `json:"address"`
	Own     []addr.Address `json:"own,omitempty"`    // also to send as: aliases and grants; folded
	Groups  []addr.Address `json:"groups,omitempty"` // that the user is a member of; folded
	Outside bool           `json:"outside"`          // may send to other servers
	// Right is the file that sets Outside, of the account or of a group; "" means the default.
	Right string `json:"right,omitempty"`
	Held  bool   `json:"held,omitempty"` // has sent too much mail and is held
	// ByPOP3 means that the login was one to POP3 from the same address, some minutes ago.
	ByPOP3 bool `json:"by_pop3,omitempty"`
}

// IsZero reports whether the client has not logged in.
func (u User) IsZero() bool { return u.Address.IsZero() }

// name is the client's name if it can be trusted: anyone who controls the reverse zone of an
// address can claim a name that does not resolve to it.
func (f *Facts) name() string {
	if f.NameState == NameVerified {
		return f.Name
	}
	return ""
}

// isLocalSender reports whether the client is a user who has logged in or a device.
func (f *Facts) isLocalSender() bool { return !f.User.IsZero() || f.Device != nil }

// isDevice reports whether the client is a device that has not logged in.
func (f *Facts) isDevice() bool { return f.Device != nil && f.User.IsZero() }

// toPostmaster reports whether the recipient is a postmaster of this server.
func (f *Facts) toPostmaster() bool {
	return f.Kind == RecipientLocal && addr.IsPostmaster(f.To.Local)
}
