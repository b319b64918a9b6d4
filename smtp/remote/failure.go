package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"pillarbox/smtp"
)

// failure is the reason why a connection, or a whole attempt, failed.
type failure struct {
	fate        smtp.Status
	reply       smtp.Reply
	mta         string // the server that sent the reply; "": the reply is ours
	unreachable bool   // the failure concerns the destination, not a message
	final       bool   // try no other server
	noMail      bool   // 5xx before any command: the server accepts no mail
	tls         bool   // TLS failed; without TLS the server may work
	hint        string // what an administrator can do

	loginRefused bool           // by all mechanisms
	refused      []refusedLogin // not nil: another connection may log in by another mechanism
}

func (f *failure) Error() string {
	if f.mta == "" {
		return f.reply.Error()
	}
	return f.mta + ": " + f.reply.Error()
}

// weight ranks failures; that with the highest weight represents all.
func (f *failure) weight() int {
	switch {
	case f.fate == smtp.Failed:
		return 0
	case f.noMail:
		return 1
	case f.mta == "":
		return 2
	}
	return 3
}

func (f *failure) result() smtp.Result {
	return smtp.Result{Status: f.fate, Reply: f.reply, MTA: f.mta}
}

// localReply returns a reply in our own words. The enhanced code sets its class.
func localReply(enhanced [3]int, text string, args ...any) smtp.Reply {
	code := 451
	if enhanced[0] == 5 {
		code = 554
	}
	return smtp.Reply{Code: code, Enhanced: enhanced, Text: printable(fmt.Sprintf(text, args...))}
}

// unreachable returns a failure of one server; another server may work.
func unreachable(enhanced [3]int, text string, args ...any) *failure {
	return &failure{reply: localReply(enhanced, text, args...), unreachable: true}
}

// permanent returns a failure that neither time nor another server will fix.
func permanent(enhanced [3]int, text string, args ...any) *failure {
	return &failure{fate: smtp.Failed, reply: localReply(enhanced, text, args...), final: true}
}

// refusal returns a failure with the server's negative reply, before any message.
func (c *conn) refusal() *failure {
	f := &failure{reply: c.reply.words(), mta: c.name, unreachable: true}
	if f.reply.Code/100 == 3 || f.reply.Code/100 == 2 {
		f.mta, f.reply = "", localReply([3]int{4, 5, 0}, "%s sent an unexpected reply: %d %s",
			c.name, f.reply.Code, f.reply.Text)
	}
	return f
}

// connectionLost returns a failure for a broken connection. during completes "while we …".
func (c *conn) connectionLost(during string, err error) *failure {
	return unreachable([3]int{4, 4, 2}, "%s %s while we %s", c.name, describeError(err), during)
}

// describeError returns the text of a connection error without names of files or operations.
func describeError(err error) string {
	var op *net.OpError
	switch {
	case errors.Is(err, errReply):
		return "sent a reply that is not SMTP"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return "took too long"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrClosedPipe):
		return "closed the connection"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset the connection"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused the connection"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return "cannot be reached from here"
	case errors.Is(err, context.Canceled):
		return "was interrupted by us"
	case errors.As(err, &op) && op.Err != nil:
		return "failed (" + op.Err.Error() + ")"
	}
	return "failed (" + err.Error() + ")"
}
