// Package wire speaks SMTP (RFC 5321 §4.1–4.5) with the client, and lets the library
// github.com/emersion/go-smtp drive the session.
//
// The library parses the parameters of MAIL and RCPT, runs the AUTH exchange and calls the
// session. As of v0.25 it has no hooks for other needs of a server on the internet:
//
//   - replies, a greeting and an EHLO of the server's own; VRFY, ETRN and ATRN
//   - the order of commands in every state, and a limit of errors other than three
//   - addresses without a domain, as old programs write them
//   - SIZE of more than 32 bits (RFC 1870 §4)
//   - a limit for each kind of line, and an end for clients that make no progress
//   - bare CR and LF in a body (SMTP smuggling, CVE-2023-51764); a body that is read without a copy
//   - BDAT (RFC 3030) that takes no message whose last chunk is incomplete
//   - a shutdown that ends idle sessions at once and lets the others finish their command
//
// So this package reads the connection itself, TLS included, and gives the library one command line
// at a time through a net.Conn. It parses the path of MAIL and RCPT; the library gets a placeholder
// instead. It parses each reply of the library once, follows the state of the session from the
// codes, and chooses the words. The library calls an adapter (library.go), which calls the Session.
//
// This works because the library asks for more input only after it has answered everything
// before. So a command can be answered here, in order, in the middle of a pipeline (RFC 2920).
// Replies are held back until the server must wait for the client.
//
// The package can shrink to the body and the listener when the library lets a server choose replies
// and keywords, handle commands of its own, and read the body itself.
package wire

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/dialogue"
	"pillarbox/mailstore/sessions"
	"pillarbox/smtp"
)

// Session serves one client. Its methods are called from the goroutine of the connection, and only
// after EHLO or HELO. A nil reply accepts.
type Session interface {
	// Mail begins a transaction (RFC 5321 §4.1.1.2). A zero address is the null sender.
	Mail(from addr.Address, opts *gosmtp.MailOptions) *smtp.Reply
	// Rcpt adds a recipient to it.
	Rcpt(to addr.Address, opts *gosmtp.RcptOptions) *smtp.Reply
	// BareEndings decides on bare CRs and LFs of the message that follows.
	BareEndings() BareEndings
	// Data reads the message and returns the reply to it. What it leaves unread is dropped.
	Data(body *Body) *smtp.Reply
	// Reset ends the transaction.
	Reset()
	// Logout ends a session that has been greeted.
	Logout()
	// Secured tells that STARTTLS has succeeded. Implicit TLS begins before Config.Admit.
	Secured()

	// AuthMechanisms returns the mechanisms to offer now.
	AuthMechanisms() []string
	// Auth begins an exchange (RFC 4954). The errors of its Next are of type *smtp.Reply.
	Auth(mechanism string) (sasl.Server, *smtp.Reply)

	// OffersDSN reports whether EHLO offers delivery reports (RFC 3461). The parameters of MAIL
	// and RCPT are understood in any case.
	OffersDSN() bool
	// ETRN answers the command (RFC 1985) for a node: a domain, "@domain" or "#queue".
	ETRN(node string) *smtp.Reply
	// ATRN answers the command (RFC 2645) for a list of domains, or "". If it returns a function,
	// that is called after the reply, even if the connection has broken by then. It acts as the
	// client on the connection from then on, and the connection ends when it returns.
	ATRN(domains string) (*smtp.Reply, func(net.Conn))
}

// BareEndings sets what happens to a CR or LF that stands alone in a body.
type BareEndings int

const (
	// RefuseBare refuses the message.
	RefuseBare BareEndings = iota
	// NormaliseBare makes it CRLF, as package mailtext does, before anything else reads it.
	NormaliseBare
	// NormaliseBareDot does too, and LF.LF may end a body of DATA. See Body.
	NormaliseBareDot
)

// Config is what the connections of a listener share. It does not change while it is in use; a
// reload makes a new one for later connections. A limit of 0 means no limit. CommandTimeout must be
// set if TLS is.
type Config struct {
	Hostname        string
	Greeting        func() string                  // the text after "220 hostname "
	DefaultDomain   func(local string) addr.Domain // of a path without one; "" refuses the path
	TLS             *tls.Config                    // nil means no STARTTLS
	MaxMessageSize  int64                          // octets of a body
	MaxRecipients   int                            // per message, at least 100 (RFC 5321 §4.5.3.1.8)
	MaxTextLine     int                            // octets of a body line with its CRLF
	MaxErrors       int                            // protocol and login errors before 421
	MaxCommandLine  int                            // octets of a command line; 0 means 2,048
	MaxSessionSize  int64                          // octets of all bodies on a connection
	MaxMessages     int                            // per connection
	CommandTimeout  time.Duration                  // for a command, and for the TLS handshake
	ProgressTimeout time.Duration                  // without a login or a whole message
	DataTimeout     time.Duration                  // for each piece of a body
	WriteTimeout    time.Duration
	StrictPaths     bool // paths of MAIL and RCPT need their brackets (RFC 5321 §4.1.2)
	StrictLines     bool // command lines end with CRLF, not with LF
	Log             *slog.Logger
	Sessions        *sessions.Table // in which each connection is listed; nil: in none
	Service         string          // of the listener, for Sessions
	Tap             *dialogue.Tap   // what is said goes there; nil: nowhere
	// HandshakeFailed logs a failed TLS handshake with a client; nil: wire logs it.
	HandshakeFailed func(remote netip.Addr, err error)

	ETRN bool // offer ETRN
	ATRN bool // offer ATRN; such a listener accepts no mail

	// Admit is called before the greeting, in the goroutine of the connection, so it may take its
	// time. A reply refuses the client.
	Admit func(*Conn) (Session, *smtp.Reply)
}

// Limits of command lines in octets. RFC 5321 §4.5.3.1.4 gives 512; RFC 3461 §5 and RFC 6531 §3.4
// add to MAIL and RCPT; RFC 4954 §4 gives AUTH 12,288.
const (
	commandLine = 2048 // the default
	maxAuthLine = 12288
	maxDiscard  = 1 << 20 // of a line that is too long, before the connection ends
)

// Errors of a body. The session has a reply for each.
var (
	ErrTooLarge   = errors.New("message over the size limit")
	ErrSession    = errors.New("connection over the size limit of all its messages")
	ErrTextLine   = errors.New("line over the length limit")
	ErrBareEnding = errors.New("a CR or LF stands alone")
	ErrLoneDot    = errors.New("the client was silent after a dot that did not end the message")
	ErrAborted    = errors.New("the client ended the message between two chunks") // no reply is sent
	ErrKilled     = errors.New("an administrator closed the session")             // no reply is sent
)

// Reasons why a connection ends. The first one stays. The library sees an end of file for each.
var (
	errShutdown = errors.New("the server is stopping")
	errTimeout  = errors.New("the client was silent too long")
	errStalled  = errors.New("the client neither logged in nor sent a message in time")
	errTooMany  = errors.New("too many errors")
	errFlood    = errors.New("endless line or body")
	errReversed = errors.New("ATRN reversed the connection")
	errRefused  = errors.New("the client is not admitted")
)
