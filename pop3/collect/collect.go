// Package collect empties a mailbox at another server by POP3 (RFC 1939, RFC 2449, RFC 2595), or leaves the messages there
// and fetches each once. What the server says is untrusted: its replies are bounded in length and in time.
//
// No message is lost: it is deleted there only when it was delivered here and that is on the disk. After a crash, or a
// connection that breaks at the wrong moment, at most the message that was being delivered comes twice.
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

// TLSMode is how much a connection has to be protected.
type TLSMode int

// The modes; they are called as those of routes.
const (
	TLSOpportunistic TLSMode = iota // where it is offered; plaintext otherwise, password and all
	TLSOff                          // never
	TLSRequired                     // always; any certificate
	TLSVerified                     // always; with a certificate of a known authority for the host's name
)

func (m TLSMode) String() string {
	return [...]string{"opportunistic", "off", "required", "verified"}[m]
}

// Options are what is to be collected, and how. Host, User, Files and Deliver must be set.
type Options struct {
	Name        string // of the state's file; "": made of user and host
	Host        string // a name or an address
	Port        int    // 0: 995 with ImplicitTLS, else 110
	ImplicitTLS bool   // TLS from the first octet (RFC 8314 §3.3); TLS may be TLSVerified then, else any certificate will do
	TLS         TLSMode
	Roots       *x509.CertPool // for TLSVerified; nil: those of the system
	User        string
	Password    string

	Leave     bool // messages stay at the server…
	LeaveDays int  // …so many days after they were fetched; 0: for ever
	// MaxSize is the size in octets of the largest message that is fetched; larger ones stay there. 0: no limit.
	MaxSize int64

	Files durable.FS // fetch/<name>.json keeps what was fetched
	// Deliver takes a message: CRLF text without dot-stuffing. nil says that it is durable, and then it is never fetched
	// again. A message that is cut off ends with an error that is not io.EOF, and must not be kept.
	Deliver func(r io.Reader) error

	Dial func(ctx context.Context, network, address string) (net.Conn, error) // nil: a net.Dialer
	Log  *slog.Logger                                                         // nil: nothing is logged
	Now  func() time.Time                                                     // nil: time.Now
}

// Result is what Collect did.
type Result struct {
	Fetched int   `json:"fetched"` // messages delivered here
	Left    int   `json:"left"`    // messages that are still at the server
	Deleted int   `json:"deleted"` // messages deleted there
	Bytes   int64 `json:"bytes"`   // octets delivered here
}

// The classes of errors, for errors.Is.
var (
	ErrUnreachable = errors.New("the server cannot be reached")
	ErrTLS         = errors.New("no protected connection")
	ErrLogin       = errors.New("the log-in is refused")
	ErrBusy        = errors.New("the mailbox is not available for now")
	ErrProtocol    = errors.New("the server does not speak POP3 as it should")
	ErrNoUIDL      = errors.New("the server cannot tell fetched messages from new ones")
	ErrDelivery    = errors.New("a message cannot be delivered here")
)

// Error is why mail could not be collected. The password stands in none.
type Error struct {
	Class error  // one of the above
	Text  string // in words for the log; what the server said is made printable
	Hint  string // what to do about it, or ""
	Err   error  // what lies behind it, or nil
}

func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %v", e.Text, e.Err)
	}
	return e.Text
}

// Unwrap gives the class and the cause.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Class}
	}
	return []error{e.Class, e.Err}
}
