// Package wire stands between the network and the SMTP library. The library
// parses commands and runs the AUTH exchange; this package gives it one command
// line at a time through a net.Conn, and does itself what the library lacks:
// greeting and EHLO in our words, HELP and VRFY, strict order of commands, a
// limit per kind of line, a count of errors, sticky deadlines and failures, TLS,
// and the body of DATA (RFC 5321 §4.1–4.5).
//
// The rule that makes it work: the library asks for more input only when it has
// answered everything before. So a command may be answered here, in order, in
// the middle of a pipeline (RFC 2920), and replies are held back until the
// client must be waited for.
package wire

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
)

// BareEndings says what happens to a CR or LF that stands alone in a body.
type BareEndings int

const (
	RefuseBare    BareEndings = iota // the message is refused (SMTP smuggling, CVE-2023-51764)
	NormaliseBare                    // each becomes CRLF before anything else sees it
)

// Config is what a listener's connections share. It is not changed once in use;
// a reload makes a new one for the connections to come.
type Config struct {
	Hostname       string
	Greeting       func() string                  // the text after "220 hostname "
	DefaultDomain  func(local string) addr.Domain // of a path without one; "": such paths are refused
	TLS            *tls.Config                    // nil: no STARTTLS
	MaxMessageSize int64                          // octets of a body; 0: no limit
	MaxRecipients  int                            // of a message; RFC 5321 §4.5.3.1.8 wants at least 100; 0: no limit
	MaxTextLine    int                            // octets of a body line with its CRLF
	MaxErrors      int                            // protocol and log-in errors before 421
	MaxCommandLine int                            // octets of a command line; 0: 2,048
	MaxSessionSize int64                          // octets of all bodies on a connection; 0: no limit
	MaxMessages    int                            // on a connection; 0: no limit
	CommandTimeout time.Duration
	Patience       time.Duration // without a log-in or a whole message, whatever commands come; 0: for ever
	DataTimeout    time.Duration // for each block of a body
	WriteTimeout   time.Duration
	BareEndings    BareEndings
	Log            *slog.Logger

	// ETRN answers the command of that name (RFC 1985) for a node: a domain, "@domain" or "#queue". nil: it is not
	// offered.
	ETRN func(c *Conn, node string) *smtp.Reply

	// ATRN answers the command of that name (RFC 2645) for a list of domains, or "". A turn that comes with the reply is
	// run once that is sent, in any case, even if the connection has broken: it is the client on the connection from then
	// on, which ends with it. No mail is taken then. nil: it is not offered.
	ATRN func(c *Conn, domains string) (r *smtp.Reply, turn func(net.Conn))

	// DSN reports whether delivery reports are offered to a client (RFC 3461); nil offers them to all. Their parameters of
	// MAIL and RCPT are understood even so.
	DSN func(*Conn) bool

	// Admit is asked about each connection before the greeting, in the goroutine
	// that serves it, so that it may take its time. A reply turns the client away.
	// What it puts into the connection's Guest is there for the session. nil
	// admits everybody.
	Admit func(*Conn) *smtp.Reply
}

// Limits of command lines in octets. RFC 5321 §4.5.3.1.4 gives 512, RFC 3461
// §5 and RFC 6531 §3.4 add to MAIL and RCPT; RFC 4954 §4 gives AUTH 12,288.
const (
	commandLine = 2048 // the default
	maxAuthLine = 12288
	maxDiscard  = 1 << 20 // of a line that is too long, before the connection ends
)

// Errors of a body, each to be told by the session in its own reply.
var (
	ErrTooLarge   = errors.New("message over the size limit")
	ErrSession    = errors.New("connection over the size limit of all its messages")
	ErrTextLine   = errors.New("line over the length limit")
	ErrBareEnding = errors.New("a CR or LF stands alone")
)

// Reasons why a connection ends; sticky, and known to the library as read
// errors only.
var (
	errShutdown = errors.New("the server is stopping")
	errTimeout  = errors.New("the client was silent too long")
	errStalled  = errors.New("the client neither logged in nor sent a message in time")
	errTooMany  = errors.New("too many errors")
	errFlood    = errors.New("endless line or body")
	errTurned   = errors.New("the client became the server")
	errRefused  = errors.New("the client is not admitted")
)
