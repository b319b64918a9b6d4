package pop3

import (
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"pillarbox/mailstore"
	"pillarbox/mailstore/auth"
	"pillarbox/tls/strength"
)

// client is who wants to log in, as far as the connection tells.
func (c *session) client() auth.Client { return auth.Client{Remote: c.remote, TLS: c.tls} }

// offered says whether a mechanism may be used on this connection. USER and PASS
// are PLAIN.
func (c *session) offered(mechanism string) bool {
	return c.mayLogIn() && c.server.auth.Offered(c.client(), mechanism)
}

// mayLogIn says whether a password may cross this connection.
func (c *session) mayLogIn() bool {
	if c.secure {
		return !c.tooWeak()
	}
	for _, network := range c.config.PlaintextNetworks {
		if network.Contains(c.remote) {
			return true
		}
	}
	return false
}

// tooWeak says whether TLS is on with a weaker cipher than the service demands.
func (c *session) tooWeak() bool {
	strong := c.config.Require128Bit
	if c.implicit {
		strong = c.config.Require128BitImplicit
	}
	return strong && c.tls != nil && strength.WeakCipher(c.tls.CipherSuite)
}

func (c *session) mayStartTLS() bool { return !c.secure && c.config.TLS != nil }

// refuseLogin is the answer when mayLogIn says no.
func (c *session) refuseLogin() {
	if c.tooWeak() {
		c.senseless("[AUTH] logging in here needs encryption with at least 128 bits; this mail program is too old for it")
		return
	}
	if c.mayStartTLS() {
		c.senseless("[AUTH] logging in from this address needs encryption; turn on SSL or TLS in the mail program")
		return
	}
	c.senseless("[AUTH] logging in is not allowed from this address")
}

// refuseMechanism notes and answers a way of logging in that is not offered.
func (c *session) refuseMechanism(name string) {
	c.server.auth.LogRefusal(c.client(), name)
	c.answerRefusal()
}

// answerRefusal has no response code: [AUTH] would make programs ask for the
// password anew.
func (c *session) answerRefusal() {
	if c.offered(auth.NTLM) && !c.offered(auth.PLAIN) {
		c.senseless("only Secure Password Authentication (SPA) is accepted here; turn it on in the mail program")
		return
	}
	c.senseless("this way to log in is not offered here")
}

func (c *session) userName(arg string) {
	switch {
	case !c.mayLogIn():
		c.refuseLogin()
	case !c.offered(auth.PLAIN):
		c.refuseMechanism(auth.PLAIN)
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
	c.enter(auth.PLAIN, c.check(user, password))
}

// check verifies a password and keeps the principal.
func (c *session) check(user, password string) (err error) {
	c.principal, err = c.server.auth.Password(c.server.ctx, c.remote, user, password)
	return err
}

// apop is APOP (RFC 1939 §7): the name, and the MD5 of the greeting's time stamp
// and the password.
func (c *session) apop(arg string) {
	user, digest, ok := cutLast(arg, " ")
	switch {
	case !c.mayLogIn():
		c.refuseLogin()
	case c.stamp == "" || !c.offered(auth.APOP):
		c.refuseMechanism(auth.APOP)
	case !ok:
		c.senseless("APOP needs a name and a digest")
	default:
		var err error
		c.principal, err = c.server.auth.APOP(c.server.ctx, c.client(), c.stamp, user, digest)
		c.enter(auth.APOP, err)
	}
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// enter opens the maildrop of the principal after a check by a mechanism that gave err.
func (c *session) enter(mechanism string, err error) {
	if err == nil {
		err = c.open()
	}
	if err != nil {
		c.refuse(mechanism, err)
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
	c.drop, c.progress = drop, time.Now()
	if logged, ok := c.raw.(interface{ LoggedIn() }); ok {
		logged.LoggedIn() // it has room of its own among all connections
	}
	return nil
}

// refuse answers a login that failed with err. The texts follow RFC 2449 §8 and
// RFC 3206; an unknown user is a wrong password, and so is a mailbox that has not
// stored what the mechanism needs: the same words say so of all.
func (c *session) refuse(mechanism string, err error) {
	switch {
	case errors.Is(err, auth.ErrInvalid) && len(auth.Needs(mechanism)) > 0 && c.offered(auth.PLAIN):
		c.senseless("[AUTH] user name or password is wrong, or this mailbox is not set up for " + mechanism +
			"; choose normal password in the mail program")
	case errors.Is(err, auth.ErrInvalid):
		c.senseless("[AUTH] user name or password is wrong")
	case errors.Is(err, auth.ErrMalformed):
		c.senseless("malformed response")
	case errors.Is(err, auth.ErrExpired):
		c.err("[AUTH] the password has expired; ask the administrator for another one")
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
	switch {
	case name == "":
		c.listMechanisms()
		return
	case !c.mayLogIn():
		c.refuseLogin()
		return
	}
	exchange, err := c.server.auth.Begin(c.server.ctx, c.client(), name)
	if err != nil {
		c.answerRefusal()
		return
	}
	// The programs of Windows know nothing of CAPA, and are answered as the server
	// that they know did it ([MS-POP3] §2.2.1): a +OK stands for the empty challenge.
	begin := "+ "
	if name == auth.NTLM && !c.asked {
		begin = "+OK"
	}
	c.exchange(name, exchange, begin, initial)
}

func (c *session) listMechanisms() {
	c.ok("mechanisms:")
	if c.mayLogIn() {
		for _, name := range c.server.auth.Offers(c.client()) {
			c.line(name)
		}
	}
	c.line(".")
}

// exchange leads a SASL exchange to its end. An initial response of "" is none. begin asks for the first response where it is none, and
// the mechanism has nothing to say before it.
func (c *session) exchange(mechanism string, server *auth.Exchange, begin, initial string) {
	var response []byte
	var err error
	if initial != "" {
		response, err = decodeResponse(initial)
	}
	for err == nil {
		var challenge []byte
		var done bool
		if challenge, done, err = server.Next(response); done || err != nil {
			c.principal = server.Principal
			c.enter(mechanism, err)
			return
		}
		if response == nil && len(challenge) == 0 {
			c.line(begin)
		} else {
			c.line("+ ", base64.StdEncoding.EncodeToString(challenge))
		}
		var line string
		if line, err = c.readLine(); err != nil {
			break
		}
		if line == "*" {
			c.senseless("authentication cancelled")
			return
		}
		response, err = decodeResponse(line)
	}
	switch {
	case errors.Is(err, auth.ErrMalformed):
		c.refuse(mechanism, err)
	case errors.Is(err, errLongLine):
		c.senseless("line too long")
	default:
		c.over = cause(err)
	}
}

// decodeResponse never returns nil without an error: nil means no response. An
// empty one may be written as an empty initial one is (RFC 5034 §4): some clients
// do so.
func decodeResponse(text string) ([]byte, error) {
	if text == "=" {
		return []byte{}, nil
	}
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
