package collect

import (
	"context"
	"crypto/md5"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"regexp"
	"strings"
)

// capabilities are what a server says that it can do (RFC 2449).
type capabilities struct {
	known      bool // it knows the command CAPA
	stls       bool
	user       bool
	plain      bool // SASL PLAIN (RFC 5034)
	loginDelay bool // it does not like to be asked again soon
}

func (c *conn) capabilities() (caps capabilities, err error) {
	_, err = c.command("CAPA")
	if _, refused := errors.AsType[*refusal](err); refused {
		return caps, nil
	} else if err != nil {
		return caps, err
	}
	caps.known = true
	err = c.lines(func(line string) {
		words := strings.Fields(strings.ToUpper(line))
		if len(words) == 0 {
			return
		}
		switch words[0] {
		case "STLS":
			caps.stls = true
		case "USER":
			caps.user = true
		case "LOGIN-DELAY":
			caps.loginDelay = true
		case "SASL":
			for _, word := range words[1:] {
				caps.plain = caps.plain || word == "PLAIN"
			}
		}
	})
	return caps, err
}

// enter protects the connection as it is demanded, and logs in.
func (c *conn) enter(ctx context.Context) (capabilities, error) {
	caps, err := c.capabilities()
	if err != nil {
		return caps, err
	}
	if !c.secure && c.opts.TLS != TLSOff {
		if caps, err = c.stls(ctx, caps); err != nil {
			return caps, err
		}
	}
	return caps, c.logIn(caps)
}

// stls asks for TLS (RFC 2595 §4). What was said before it counts no more.
func (c *conn) stls(ctx context.Context, caps capabilities) (capabilities, error) {
	demanded := c.opts.TLS == TLSRequired || c.opts.TLS == TLSVerified
	missing := &Error{Class: ErrTLS, Text: c.opts.Host + " offers no TLS on this port", Hint: "try port 995; if the server really has none, tls = \"off\" sends the password in the clear"}
	if caps.known && !caps.stls {
		if demanded {
			return caps, missing
		}
		return caps, nil
	}
	_, err := c.command("STLS")
	if refused, ok := errors.AsType[*refusal](err); ok {
		if demanded {
			missing.Err = refused
			return caps, missing
		}
		return caps, nil
	} else if err != nil {
		return caps, err
	}
	if c.in.Buffered() > 0 {
		// Somebody between us may have put this in, to be believed inside TLS.
		return caps, &Error{Class: ErrTLS, Text: c.opts.Host + " spoke on after it had agreed to TLS: somebody may tamper with the connection"}
	}
	if err := c.startTLS(ctx); err != nil {
		return caps, err
	}
	return c.capabilities()
}

// startTLS does the handshake.
func (c *conn) startTLS(ctx context.Context) error {
	cfg := &tls.Config{ServerName: c.opts.Host, RootCAs: c.opts.Roots, MinVersion: tls.VersionTLS12}
	if c.opts.TLS != TLSVerified {
		cfg.InsecureSkipVerify = true
	}
	if c.opts.TLS == TLSOpportunistic {
		cfg.MinVersion = tls.VersionTLS10 // the alternative is none
	}
	c.pace.within(commandTime)
	tc := tls.Client(c.pace, cfg)
	if err := tc.HandshakeContext(ctx); err != nil {
		e := &Error{Class: ErrTLS, Text: "no TLS with " + c.opts.Host, Err: err}
		if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
			e.Hint = "use the name that stands in the certificate, or tls = \"required\", which takes any certificate"
		}
		if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
			e.Hint = "the server does not speak TLS on this port; perhaps port 110 is meant"
		}
		return e
	}
	c.secure = true
	c.setNet(tc)
	return nil
}

// timestamp is what a server that knows APOP puts into its greeting (RFC 1939 §7).
var timestamp = regexp.MustCompile(`<[!-;=?-~]+@[!-;=?-~]+>`)

// logIn says who we are. Without TLS the password itself is not sent where there is a way without.
func (c *conn) logIn(caps capabilities) error {
	user, password := c.opts.User, c.opts.Password
	if strings.ContainsAny(user+password, "\r\n\x00") {
		return &Error{Class: ErrLogin, Text: "the name or the password holds a line end or a NUL"}
	}
	stamp := timestamp.FindString(c.greeting)
	var err error
	switch {
	case !c.secure && stamp != "":
		sum := md5.Sum([]byte(stamp + password))
		digest := hex.EncodeToString(sum[:])
		c.mask.Add(digest) // passwords can be tried against it
		_, err = c.command("APOP " + user + " " + digest)
		if _, refused := errors.AsType[*refusal](err); refused && c.opts.TLS == TLSOff {
			err = c.sayUser(user, password) // it knows APOP, perhaps, but not for this mailbox
		}
	case caps.known && !caps.user && caps.plain:
		_, err = c.command("AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password)))
	default:
		err = c.sayUser(user, password)
	}
	if refused, ok := errors.AsType[*refusal](err); ok {
		return c.loginError(refused)
	}
	return err
}

func (c *conn) sayUser(user, password string) error {
	_, err := c.command("USER " + user)
	if err == nil {
		_, err = c.command("PASS " + password)
	}
	return err
}

func (c *conn) loginError(r *refusal) error {
	switch r.code {
	case "IN-USE":
		return &Error{Class: ErrBusy, Text: "the mailbox is in use: " + r.text, Hint: "somebody else collects from it; the next time may do"}
	case "LOGIN-DELAY":
		return &Error{Class: ErrBusy, Text: "the server wants to be asked less often: " + r.text, Hint: "collect less often (every)"}
	case "SYS/TEMP", "SYS/PERM":
		return &Error{Class: ErrBusy, Text: "the server has trouble of its own: " + r.text}
	}
	return &Error{Class: ErrLogin, Text: "the log-in of " + c.printable(c.opts.User) + " is refused: " + r.text, Hint: "see whether name and password are right, and whether the provider allows POP3 for this mailbox"}
}
