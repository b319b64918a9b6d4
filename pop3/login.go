package pop3

import (
	"encoding/base64"
	"errors"
	"strings"

	"github.com/emersion/go-sasl"

	"pillarbox/mailstore"
	"pillarbox/mailstore/auth"
)

// mechanisms are those of AUTH, the better first.
var mechanisms = []string{"PLAIN", "LOGIN"}

func newMechanism(name string, check func(user, password string) error) sasl.Server {
	switch name {
	case "PLAIN":
		return auth.NewPLAIN(check)
	case "LOGIN":
		return auth.NewLOGIN(check)
	}
	return nil
}

// mayLogIn says whether a password may cross this connection.
func (c *session) mayLogIn() bool {
	if c.secure {
		return true
	}
	for _, network := range c.config.PlaintextNetworks {
		if network.Contains(c.remote) {
			return true
		}
	}
	return false
}

func (c *session) mayStartTLS() bool { return !c.secure && c.config.TLS != nil }

// refuseLogin is the answer when mayLogIn says no.
func (c *session) refuseLogin() {
	if c.mayStartTLS() {
		c.senseless("[AUTH] logging in from this address needs encryption; turn on SSL or TLS in the mail program")
		return
	}
	c.senseless("[AUTH] logging in is not allowed from this address")
}

func (c *session) userName(arg string) {
	switch {
	case !c.mayLogIn():
		c.refuseLogin()
	case arg == "":
		c.senseless("USER needs a name")
	default:
		c.user = arg
		c.ok("send the password")
	}
}

func (c *session) pass(password string) {
	user := c.user
	c.user = ""
	if user == "" {
		c.senseless("USER first")
		return
	}
	c.enter(c.check(user, password))
}

// check verifies a password and keeps the principal.
func (c *session) check(user, password string) error {
	p, err := c.server.auth.Password(c.server.ctx, c.remote, user, password)
	if err == nil {
		c.principal = p
	}
	return err
}

// enter opens the maildrop of the principal after a check that gave err.
func (c *session) enter(err error) {
	if err == nil {
		err = c.open()
	}
	if err != nil {
		c.refuse(err)
		return
	}
	n, octets := c.count()
	c.okf("%s has %d messages (%d octets)", c.principal.Address, n, octets)
}

func (c *session) open() error {
	drop, err := c.server.drops.OpenMaildrop(c.principal.Dir)
	if err != nil {
		c.server.log.Warn("pop3: maildrop not opened", "user", c.principal.Address.String(), "remote", c.remote, "error", err)
		c.principal = auth.Principal{}
		return err
	}
	c.drop = drop
	return nil
}

// refuse answers a login that failed with err. The texts follow RFC 2449 §8 and
// RFC 3206; an unknown user is a wrong password.
func (c *session) refuse(err error) {
	switch {
	case errors.Is(err, auth.ErrInvalid):
		c.senseless("[AUTH] user name or password is wrong")
	case errors.Is(err, auth.ErrMalformed):
		c.senseless("malformed response")
	case errors.Is(err, auth.ErrLocked):
		c.err("[SYS/PERM] this mailbox is locked; ask the administrator")
	case errors.Is(err, mailstore.ErrInUse):
		c.err("[IN-USE] this mailbox is being read by another program or device; try again later")
	default:
		c.err("[SYS/TEMP] cannot log in at the moment; try again later")
	}
}

// authenticate is AUTH (RFC 5034). Without an argument it lists the mechanisms,
// as clients from before CAPA expect.
func (c *session) authenticate(arg string) {
	name, initial, _ := strings.Cut(arg, " ")
	name = strings.ToUpper(name)
	server := newMechanism(name, c.check)
	switch {
	case name == "":
		c.listMechanisms()
	case !c.mayLogIn():
		c.refuseLogin()
	case server == nil:
		c.senseless("unknown mechanism")
	default:
		c.exchange(server, initial)
	}
}

func (c *session) listMechanisms() {
	c.ok("mechanisms:")
	if c.mayLogIn() {
		for _, name := range mechanisms {
			c.line(name)
		}
	}
	c.line(".")
}

// exchange leads a SASL exchange to its end. An initial response of "=" is an
// empty one; "" is none.
func (c *session) exchange(server sasl.Server, initial string) {
	var response []byte
	var err error
	switch initial {
	case "":
	case "=":
		response = []byte{}
	default:
		response, err = decodeResponse(initial)
	}
	for err == nil {
		var challenge []byte
		var done bool
		if challenge, done, err = server.Next(response); done || err != nil {
			c.enter(err)
			return
		}
		c.line("+ ", base64.StdEncoding.EncodeToString(challenge))
		var line string
		if line, err = c.readLine(); err != nil {
			break
		}
		if line == "*" {
			c.err("authentication cancelled")
			return
		}
		response, err = decodeResponse(line)
	}
	switch {
	case errors.Is(err, auth.ErrMalformed):
		c.refuse(err)
	case errors.Is(err, errLongLine):
		c.senseless("line too long")
	default:
		c.over = cause(err)
	}
}

// decodeResponse never returns nil without an error: nil means no response.
func decodeResponse(text string) ([]byte, error) {
	response, err := base64.StdEncoding.AppendDecode([]byte{}, []byte(text))
	if err != nil {
		return nil, auth.ErrMalformed
	}
	return response, nil
}

// stls starts TLS (RFC 2595 §4).
func (c *session) stls(string) {
	if !c.mayStartTLS() {
		c.senseless("TLS is not available, or on already")
		return
	}
	c.ok("begin TLS now")
	if err := c.out.flush(); err != nil {
		c.over = cause(err)
		return
	}
	c.startTLS()
}

// utf8 (RFC 6856 §2) changes nothing: messages are sent as they are in any case.
func (c *session) utf8(string) { c.ok("UTF-8 it is") }
