// Package smtp defines the types that the SMTP packages below it share: Envelope, Recipient and
// Reply for a transaction, SessionInfo for a client, Attempt and Outcome for a delivery. It has no
// behaviour of its own: no connections, no disk, no policy.
package smtp

import (
	"crypto/tls"
	"fmt"
	"net/netip"

	"pillarbox/mailstore/addr"
)

// SelfTestDomain is the domain of the attempts of "pillarbox selftest relay". It cannot exist (RFC
// 2606).
const SelfTestDomain = "relay-test.invalid"

// Service is a kind of listener.
type Service int

const (
	MTA        Service = iota // port 25: mail from other servers and old clients
	Submission                // port 587: STARTTLS, login required (RFC 6409)
	SMTPS                     // port 465: TLS from the first byte (RFC 8314), login required
	Local                     // unix socket: programs on this machine
	ODMR                      // port 366: clients fetch mail and cannot send any (RFC 2645)
)

func services() []Service { return []Service{MTA, Submission, SMTPS, Local, ODMR} }

func (s Service) String() string {
	return [...]string{"smtp", "submission", "smtps", "local", "odmr"}[s]
}

// MarshalText returns the service as a word.
func (s Service) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText parses the word that MarshalText returns.
func (s *Service) UnmarshalText(text []byte) error {
	for _, known := range services() {
		if known.String() == string(text) {
			*s = known
			return nil
		}
	}
	return fmt.Errorf("%q is not a service that accepts mail", text)
}

// DemandsAuth reports whether the service accepts mail only after a login.
func (s Service) DemandsAuth() bool { return s != MTA && s != Local }

// Submits reports whether the service gets mail from its authors. Missing header fields may then be
// added (RFC 6409 §8).
func (s Service) Submits() bool { return s != MTA }

// DateLayout is the format of dates in header fields (RFC 5322 §3.3).
const DateLayout = "Mon, 2 Jan 2006 15:04:05 -0700"

// Envelope has the parameters of MAIL and RCPT (RFC 5321 §2.3.1).
type Envelope struct {
	From addr.Address // zero: null reverse-path
	// Sender replaces From for the next server, since the message was forwarded (SRS); zero: From.
	Sender addr.Address
	To     []Recipient
	Body8  bool   // BODY=8BITMIME (RFC 6152)
	UTF8   bool   // SMTPUTF8 (RFC 6531)
	Size   int64  // octets, as declared in SIZE; 0: not declared
	Ret    string // RET=FULL or HDRS (RFC 3461 §4.3); "": absent
	EnvID  string // ENVID, decoded
}

// Recipient is one accepted RCPT with its DSN parameters (RFC 3461 §4.1, §4.2).
type Recipient struct {
	Address   addr.Address
	Notify    []string // NEVER, or some of SUCCESS, FAILURE, DELAY; nil: absent
	ORcptType string   // "RFC822" or "UTF-8"; "" without ORCPT
	ORcpt     string
}

// SessionInfo describes the client of a session.
type SessionInfo struct {
	Service  Service
	Remote   netip.AddrPort
	TLS      *tls.ConnectionState // nil: plaintext
	Helo     string               // as the client sent it, made printable
	Extended bool                 // EHLO, not HELO
	User     addr.Address         // the mailbox that logged in; zero: none
}

// Protocol returns the "with" word of the Received header (RFC 3848, RFC 6531 §4.3): SMTP, ESMTP,
// ESMTPS, ESMTPA, ESMTPSA, or the UTF8SMTP family.
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

// Reply is an SMTP reply. Its text is written for the client. A Reply is an error too, so that a
// function can refuse by returning it.
type Reply struct {
	Code     int    `json:"code"`
	Enhanced [3]int `json:"enhanced"` // RFC 3463
	Text     string `json:"text"`
}

// NewReply returns a Reply. text is a format for args.
func NewReply(code int, enhanced [3]int, text string, args ...any) *Reply {
	return &Reply{Code: code, Enhanced: enhanced, Text: fmt.Sprintf(text, args...)}
}

func (r *Reply) Error() string {
	e := r.Enhanced
	return fmt.Sprintf("%d %d.%d.%d %s", r.Code, e[0], e[1], e[2], r.Text)
}

// Temporary reports whether the client may try again (4yz).
func (r *Reply) Temporary() bool { return r.Code/100 == 4 }
