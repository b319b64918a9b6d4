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

// failure is why a connection, or an attempt as a whole, came to nothing.
type failure struct {
	fate        smtp.Status
	reply       smtp.Reply
	mta         string // whose words the reply is; "": ours
	unreachable bool   // about the destination, not about a message
	final       bool   // no other server is to be tried
	turnedAway  bool   // 5xx before any command: no mail is wanted here
	tls         bool   // TLS was the trouble: without it there may be none
	hint        string // what the operator can do
}

func (f *failure) Error() string {
	if f.mta == "" {
		return f.reply.Error()
	}
	return f.mta + ": " + f.reply.Error()
}

// weight is how well the failure of one server can stand for those of all.
func (f *failure) weight() int {
	switch {
	case f.fate == smtp.Failed:
		return 0
	case f.turnedAway:
		return 1
	case f.mta == "":
		return 2
	}
	return 3
}

func (f *failure) result() smtp.Result {
	return smtp.Result{Status: f.fate, Reply: f.reply, MTA: f.mta}
}

// ours is a reply in our own words, of the class of its enhanced code.
func ours(enhanced [3]int, text string, args ...any) smtp.Reply {
	code := 451
	if enhanced[0] == 5 {
		code = 554
	}
	return smtp.Reply{Code: code, Enhanced: enhanced, Text: printable(fmt.Sprintf(text, args...))}
}

// unreachable is trouble with one server; another may do.
func unreachable(enhanced [3]int, text string, args ...any) *failure {
	return &failure{reply: ours(enhanced, text, args...), unreachable: true}
}

// hopeless is trouble that neither time nor another server will mend.
func hopeless(enhanced [3]int, text string, args ...any) *failure {
	return &failure{fate: smtp.Failed, reply: ours(enhanced, text, args...), final: true}
}

// refusal is a server's own word against us, before any message.
func (c *conn) refusal() *failure {
	f := &failure{reply: c.reply.words(), mta: c.name, unreachable: true}
	if f.reply.Code/100 == 3 || f.reply.Code/100 == 2 {
		f.mta, f.reply = "", ours([3]int{4, 5, 0}, "%s gave an answer that makes no sense here: %d %s", c.name, f.reply.Code, f.reply.Text)
	}
	return f
}

// lost tells what became of a connection; during says what we were doing.
func (c *conn) lost(during string, err error) *failure {
	return unreachable([3]int{4, 4, 2}, "%s %s while we %s", c.name, plainly(err), during)
}

// plainly says an error of a connection in words that end in no file name.
func plainly(err error) string {
	var op *net.OpError
	switch {
	case errors.Is(err, errReply):
		return "answered with something that is not SMTP"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return "took too long"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrClosedPipe):
		return "closed the connection"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "broke the connection off"
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
