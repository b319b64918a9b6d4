// Package smtp holds the words that the SMTP rooms below it share: the
// envelope, the reply, and what is known of a session. It does nothing.
package smtp

import (
	"crypto/tls"
	"fmt"
	"net/netip"

	"pillarbox/mailstore/addr"
)

// Service is the kind of port that a client came to.
type Service int

const (
	MTA        Service = iota // 25: mail from other servers and from old clients
	Submission                // 587: STARTTLS, log-in demanded (RFC 6409)
	SMTPS                     // 465: TLS from the first byte (RFC 8314), log-in demanded
	Local                     // a unix socket: programs on this machine
	ODMR                      // 366: mail is asked for, none is taken (RFC 2645)
)

// services are all of them.
func services() []Service { return []Service{MTA, Submission, SMTPS, Local, ODMR} }

func (s Service) String() string {
	return [...]string{"smtp", "submission", "smtps", "local", "odmr"}[s]
}

// MarshalText writes a service as a word.
func (s Service) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (s *Service) UnmarshalText(text []byte) error {
	for _, known := range services() {
		if known.String() == string(text) {
			*s = known
			return nil
		}
	}
	return fmt.Errorf("%q is no service that takes mail", text)
}

// DemandsAuth reports whether mail is taken only after a log-in.
func (s Service) DemandsAuth() bool { return s != MTA && s != Local }

// Submits reports whether mail comes from where it was written, and may be completed (RFC 6409 §8).
func (s Service) Submits() bool { return s != MTA }

// DateLayout is RFC 5322 §3.3.
const DateLayout = "Mon, 2 Jan 2006 15:04:05 -0700"

// Envelope is what MAIL and RCPT said (RFC 5321 §2.3.1).
type Envelope struct {
	From  addr.Address // zero: the null reverse-path
	To    []Recipient
	Body8 bool   // BODY=8BITMIME (RFC 6152)
	UTF8  bool   // SMTPUTF8 (RFC 6531)
	Size  int64  // octets the client declared; 0: it did not
	Ret   string // RET=FULL or HDRS (RFC 3461 §4.3), "" without
	EnvID string // ENVID, decoded
}

// Recipient is one accepted RCPT with its DSN wishes (RFC 3461 §4.1, §4.2).
type Recipient struct {
	Address   addr.Address
	Notify    []string // NEVER, or of SUCCESS, FAILURE, DELAY; nil: not said
	ORcptType string   // "RFC822" or "UTF-8"; "" without ORCPT
	ORcpt     string
}

// SessionInfo is what is known of a client beside its envelope.
type SessionInfo struct {
	Service  Service
	Remote   netip.AddrPort
	TLS      *tls.ConnectionState // nil: plaintext
	Helo     string               // as the client said it, made printable
	Extended bool                 // EHLO, not HELO
	User     addr.Address         // who logged in; zero: nobody
}

// Protocol is the "with" word of the Received header (RFC 3848, RFC 6531
// §4.3): SMTP, ESMTP, ESMTPS, ESMTPA, ESMTPSA, or the UTF8SMTP family.
func (s SessionInfo) Protocol(utf8 bool) string {
	word := "SMTP"
	switch {
	case utf8:
		word = "UTF8SMTP"
	case s.Extended || s.TLS != nil || !s.User.IsZero():
		word = "ESMTP"
	}
	if s.TLS != nil {
		word += "S"
	}
	if !s.User.IsZero() {
		word += "A"
	}
	return word
}

// Reply is what a client is told, chosen word for word; it serves as an error,
// so that a refusal can travel up to where replies are written.
type Reply struct {
	Code     int    `json:"code"`
	Enhanced [3]int `json:"enhanced"` // RFC 3463
	Text     string `json:"text"`
}

// NewReply makes a Reply; text is a format.
func NewReply(code int, enhanced [3]int, text string, args ...any) *Reply {
	return &Reply{Code: code, Enhanced: enhanced, Text: fmt.Sprintf(text, args...)}
}

func (r *Reply) Error() string {
	return fmt.Sprintf("%d %d.%d.%d %s", r.Code, r.Enhanced[0], r.Enhanced[1], r.Enhanced[2], r.Text)
}

// Temporary reports whether the client may try again.
func (r *Reply) Temporary() bool { return r.Code/100 == 4 }
