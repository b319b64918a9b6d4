// Package collect fetches mail from a mailbox at another server by POP3 (RFC 1939, RFC 2449, RFC
// 2595). It either deletes the messages there, or leaves them and fetches each once.
//
// Start with [Collect] and its [Options]. The daemon calls it for each entry of [[fetch]] when the
// entry is due. Failures are an [*Error] with a class and a hint.
//
// No message is lost: it is deleted at the server only after it was delivered here durably. After a
// crash, or a connection lost at the wrong moment, at most the message then being delivered arrives
// twice.
//
// The server is not trusted. Its replies are limited in length and time, and its texts are made
// printable before they reach a log. The password never appears in an error or a log line.
package collect

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"pillarbox/mailstore/durable"
)

// TLSMode is the protection that a connection must have.
type TLSMode int

// The modes. Routes use the same names.
const (
	TLSOpportunistic TLSMode = iota // if offered; else everything, password included, in plain text
	TLSOff                          // never
	TLSRequired                     // always; any certificate
	TLSVerified                     // always; a certificate for Host from a trusted CA
)

func (m TLSMode) String() string {
	return [...]string{"opportunistic", "off", "required", "verified"}[m]
}

// Options say what to collect, and how. Host, User, Files and Deliver must be set.
type Options struct {
	Name string // names the state file; "" means <user>@<host>
	Host string // a host name or an IP address
	Port int    // 0 means 995 with ImplicitTLS, else 110
	// ImplicitTLS means TLS from the first octet (RFC 8314 §3.3). Any certificate is accepted then,
	// unless TLS is TLSVerified.
	ImplicitTLS bool
	TLS         TLSMode
	Roots       *x509.CertPool // for TLSVerified; nil means the system's
	User        string
	Password    string
	Token       string // an access token (OAuth 2.0), used instead of Password; "": none

	Leave     bool // leave messages at the server
	LeaveDays int  // with Leave, delete them this many days after they were fetched; 0 means never
	// MaxSize is the largest message to fetch, in octets; 0 means no limit. Larger ones stay at
	// the server.
	MaxSize int64

	Files durable.FS // fetch/<name>.json in it records the fetched messages
	// Deliver delivers one message, read as CRLF text without dot-stuffing. It returns nil once
	// the message is durable; the message is never fetched again then. If the message is cut
	// short, r returns an error other than io.EOF, and Deliver must discard it.
	Deliver func(r io.Reader) error

	// Dial connects to the server. nil means a net.Dialer. If its error is an *Error, the hint in
	// it replaces the usual one.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	Log  *slog.Logger     // nil discards everything
	Now  func() time.Time // nil means time.Now
}

// Result counts what Collect did.
type Result struct {
	Fetched int   `json:"fetched"` // messages delivered here
	Left    int   `json:"left"`    // messages still at the server
	Deleted int   `json:"deleted"` // messages deleted there
	Bytes   int64 `json:"bytes"`   // octets delivered here
}

// The classes of errors, for errors.Is.
var (
	ErrUnreachable = errors.New("the server cannot be reached")
	ErrTLS         = errors.New("no secure connection")
	ErrLogin       = errors.New("the server refuses the login")
	ErrBusy        = errors.New("the mailbox is not available for now")
	ErrProtocol    = errors.New("the server violates the POP3 protocol")
	ErrNoUIDL      = errors.New("the server has no UIDL, so it cannot tell fetched messages from new ones")
	ErrDelivery    = errors.New("a message cannot be delivered here")
)

// Error says why mail could not be collected. It never contains the password.
type Error struct {
	Class error  // one of the above
	Text  string // for the log; texts of the server in it are made printable
	Hint  string // what the administrator can do, or ""
	Err   error  // the cause, or nil
}

func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %v", e.Text, e.Err)
	}
	return e.Text
}

// Unwrap returns the class and the cause.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Class}
	}
	return []error{e.Class, e.Err}
}
