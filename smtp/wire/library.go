package wire

import (
	"errors"
	"io"
	"log/slog"
	"net"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"pillarbox/smtp"
)

// Serve serves the connections of the listener until it is closed. Then it returns nil.
func (l *Listener) Serve() error {
	lib := gosmtp.NewServer(gosmtp.BackendFunc(func(c *gosmtp.Conn) (gosmtp.Session, error) {
		return adapter{c.Conn().(*Conn)}, nil
	}))
	lib.MaxLineLength = 0        // readLine has a limit for each kind of line
	lib.AllowInsecureAuth = true // the session decides
	lib.EnableSMTPUTF8 = true
	lib.EnableDSN = true
	lib.ErrorLog = slog.NewLogLogger(l.cfg.Load().Log.Handler(), slog.LevelWarn)
	if err := lib.Serve(l); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// adapter is a Session in the form that the library calls.
type adapter struct{ c *Conn }

func (a adapter) Mail(_ string, opts *gosmtp.MailOptions) error {
	opts.Size = a.c.state.size
	return libraryError(a.c.session.Mail(a.c.state.path, opts))
}

func (a adapter) Rcpt(_ string, opts *gosmtp.RcptOptions) error {
	return libraryError(a.c.session.Rcpt(a.c.state.path, opts))
}

func (a adapter) Data(io.Reader) error     { return libraryError(a.c.session.Data(a.c.body)) }
func (a adapter) Reset()                   { a.c.session.Reset() }
func (a adapter) AuthMechanisms() []string { return a.c.session.AuthMechanisms() }

// Logout is called with the library's lock held.
func (a adapter) Logout() error {
	a.c.session.Logout()
	return nil
}

func (a adapter) Auth(mechanism string) (sasl.Server, error) {
	exchange, r := a.c.session.Auth(mechanism)
	if r != nil {
		return nil, libraryError(r)
	}
	return saslAdapter{exchange}, nil
}

// saslAdapter gives the library the errors of an exchange in its own type.
type saslAdapter struct{ sasl.Server }

func (s saslAdapter) Next(response []byte) (challenge []byte, done bool, err error) {
	challenge, done, err = s.Server.Next(response)
	if r, ok := errors.AsType[*smtp.Reply](err); ok {
		err = libraryError(r)
	}
	return challenge, done, err
}

// libraryError makes a reply an error of the library, which writes no other one word for word.
func libraryError(r *smtp.Reply) error {
	if r == nil {
		return nil
	}
	return &gosmtp.SMTPError{Code: r.Code, EnhancedCode: r.Enhanced, Message: r.Text}
}
