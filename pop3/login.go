package pop3

import (
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"pillarbox/mailstore"
	"pillarbox/mailstore/auth"
	"pillarbox/mailstore/track"
	"pillarbox/tls/strength"
)

// client describes the client to the authenticator.
func (c *session) client() auth.Client {
	return auth.Client{Service: auth.ServicePOP3, Remote: c.remote, TLS: c.tls}
}

// offered reports whether a mechanism may be used on this connection. USER and PASS count as PLAIN.
func (c *session) offered(mechanism string) bool {
	return c.loginAllowed() && c.server.auth.Offered(c.client(), mechanism)
}

// loginAllowed reports whether a login may cross this connection: over TLS unless the cipher is too
// weak, or without TLS from a plain-text network.
func (c *session) loginAllowed() bool {
	if c.tls != nil {
		return !c.weakCipher()
	}
	for _, network := range c.config.PlaintextNetworks {
		if network.Contains(c.remote) {
			return true
		}
	}
	return false
}

// weakCipher reports whether TLS is on with a weaker cipher than the configuration requires.
func (c *session) weakCipher() bool {
	required := c.config.Require128Bit
	if c.implicit {
		required = c.config.Require128BitImplicit
	}
	return required && c.tls != nil && strength.WeakCipher(c.tls.CipherSuite)
}

func (c *session) offersTLS() bool { return c.tls == nil && c.config.TLS != nil }

// refuseConnection answers a login when loginAllowed is false.
func (c *session) refuseConnection() {
	switch {
	case c.weakCipher():
		c.protocolError("[AUTH] logging in here needs encryption with at least 128 bits; " +
			"this mail program is too old for it")
	case c.offersTLS():
		c.protocolError("[AUTH] logging in from this address needs encryption; " +
			"turn on SSL or TLS in the mail program")
	default:
		c.protocolError("[AUTH] logging in is not allowed from this address")
	}
}

// refuseMechanism logs and answers a login with a mechanism that is not offered.
func (c *session) refuseMechanism(name string) {
	c.server.auth.LogRefusal(c.client(), name)
	c.mechanismNotOffered()
}

// mechanismNotOffered replies without a response code: after [AUTH] mail programs would ask the
// user for the password again.
func (c *session) mechanismNotOffered() {
	if c.offered(auth.NTLM) && !c.offered(auth.PLAIN) {
		c.protocolError("only Secure Password Authentication (SPA) is accepted here; " +
			"turn it on in the mail program")
		return
	}
	c.protocolError("this way to log in is not offered here")
}

// user is USER (RFC 1939 §7). It accepts every name, so that it does not reveal which exist.
func (c *session) user(arg string) {
	switch {
	case !c.loginAllowed():
		c.refuseConnection()
	case !c.offered(auth.PLAIN):
		c.refuseMechanism(auth.PLAIN)
	case arg == "":
		c.protocolError("USER needs a name")
	default:
		c.username = arg
		c.ok("send the password")
	}
}

// pass is PASS (RFC 1939 §7). It uses up the name of USER, whether it succeeds or not.
func (c *session) pass(password string) {
	user := c.username
	c.username = ""
	if user == "" {
		c.protocolError("USER first")
		return
	}
	var err error
	c.principal, err = c.server.auth.Password(c.server.ctx, c.client(), user, password)
	c.finishLogin(auth.PLAIN, err)
}

// apop is APOP (RFC 1939 §7). Its arguments are the name, and the MD5 of the greeting's time
// stamp followed by the password.
func (c *session) apop(arg string) {
	user, digest, ok := cutLast(arg, " ")
	switch {
	case !c.loginAllowed():
		c.refuseConnection()
	case c.stamp == "" || !c.offered(auth.APOP):
		c.refuseMechanism(auth.APOP)
	case !ok:
		c.protocolError("APOP needs a name and a digest")
	default:
		var err error
		c.principal, err = c.server.auth.APOP(c.server.ctx, c.client(), c.stamp, user, digest)
		c.finishLogin(auth.APOP, err)
	}
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// finishLogin opens the principal's maildrop and replies. err is the result of the mechanism.
func (c *session) finishLogin(mechanism string, err error) {
	if err == nil {
		err = c.openMaildrop()
	}
	if err != nil {
		c.refuseLogin(mechanism, err)
		return
	}
	n, octets := c.count()
	c.okf("%s has %d messages (%d octets)", c.principal.Address, n, octets)
}

func (c *session) openMaildrop() error {
	dir := c.principal.Dir
	drop, err := c.server.drops.OpenMaildrop(dir)
	if errors.Is(err, mailstore.ErrInUse) && c.overtake(dir) {
		drop, err = c.server.drops.OpenMaildrop(dir)
	}
	if err != nil {
		c.server.log.Warn("pop3: maildrop not opened",
			"user", c.principal.Address.String(), "remote_ip", c.remote, "error", err)
		c.principal = auth.Principal{}
		return err
	}
	c.drop, c.progress = drop, time.Now()
	c.server.hold(dir, c)
	c.live.SetUser(c.principal.Address.String())
	if logged, ok := c.raw.(interface{ LoggedIn() }); ok {
		logged.LoggedIn() // logged-in connections have a limit of their own
	}
	e := c.event(track.Listed)
	e.Count, e.Size = int64(len(drop.Messages())), drop.Octets()
	c.config.Track.Add(e)
	if c.config.LoggedIn != nil {
		c.config.LoggedIn(c.remote, c.principal)
	}
	return nil
}

// overtakeTimeout is how long a session may take to end. It waits for its client, so that is quick.
const overtakeTimeout = 5 * time.Second

// overtake ends another session with this maildrop if its client is silent. It reports whether the
// maildrop is free.
func (c *session) overtake(dir string) bool {
	freed := c.server.overtake(dir, c.config.Overtake)
	if freed == nil {
		return false
	}
	late := time.NewTimer(overtakeTimeout)
	defer late.Stop()
	select {
	case <-freed:
		c.server.log.Info("pop3: the session of a silent client was ended for another login",
			"user", c.principal.Address.String(), "remote_ip", c.remote)
		return true
	case <-late.C:
		return false
	}
}

// refuseLogin answers a login that failed with err. The response codes follow RFC 2449 §8 and RFC
// 3206. A wrong password, an unknown user and a mailbox without the secret that the mechanism needs
// get the same reply, so that a client cannot tell them apart.
func (c *session) refuseLogin(mechanism string, err error) {
	switch {
	case errors.Is(err, auth.ErrInvalid) && len(auth.Needs(mechanism)) > 0 && c.offered(auth.PLAIN):
		c.protocolError("[AUTH] user name or password is wrong, " +
			"or this mailbox is not set up for " + mechanism +
			"; choose normal password in the mail program")
	case errors.Is(err, auth.ErrInvalid):
		c.protocolError("[AUTH] user name or password is wrong")
	case errors.Is(err, auth.ErrMalformed):
		c.protocolError("malformed response")
	case errors.Is(err, auth.ErrExpired):
		c.err("[AUTH] the password has expired; ask the administrator for another one")
	case errors.Is(err, auth.ErrLocked):
		c.err("[SYS/PERM] this mailbox is locked; ask the administrator")
	case errors.Is(err, auth.ErrAccess):
		c.err("[SYS/PERM] this mailbox may not be read by POP3; ask the administrator")
	case errors.Is(err, mailstore.ErrInUse):
		c.err("[IN-USE] this mailbox is being read by another program or device; try again later")
	default:
		c.err("[SYS/TEMP] cannot log in at the moment; try again later")
	}
}

// auth is AUTH (RFC 5034). Without an argument it lists the mechanisms, as clients older than CAPA
// expect.
func (c *session) auth(arg string) {
	name, initial, _ := strings.Cut(arg, " ")
	name = strings.ToUpper(name)
	switch {
	case name == "":
		c.listMechanisms()
		return
	case !c.loginAllowed():
		c.refuseConnection()
		return
	}
	exchange, err := c.server.auth.Begin(c.server.ctx, c.client(), name)
	if err != nil {
		c.mechanismNotOffered()
		return
	}
	// Windows mail programs do not send CAPA. They expect the reply of Microsoft's server
	// ([MS-POP3] §2.2.1): +OK instead of the empty challenge.
	begin := "+ "
	if name == auth.NTLM && !c.sentCAPA {
		begin = "+OK"
	}
	c.exchange(name, exchange, begin, initial)
}

func (c *session) listMechanisms() {
	c.ok("mechanisms:")
	if c.loginAllowed() {
		for _, name := range c.server.auth.Offers(c.client()) {
			c.line(name)
		}
	}
	c.line(".")
}

// exchange runs a SASL exchange to its end. initial is the initial response in base64; "" means
// none. begin is the line that asks for the first response if the client sent none and the
// mechanism has no challenge to send before it.
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
			c.finishLogin(mechanism, err)
			return
		}
		if response == nil && len(challenge) == 0 {
			c.line(begin)
		} else {
			c.challenge("+ ", base64.StdEncoding.EncodeToString(challenge))
		}
		var line string
		if line, err = c.readLine(); err != nil {
			break
		}
		c.said.Continue()
		if line == "*" {
			c.protocolError("authentication cancelled")
			return
		}
		response, err = decodeResponse(line)
	}
	switch {
	case errors.Is(err, auth.ErrMalformed):
		c.refuseLogin(mechanism, err)
	case errors.Is(err, errLongLine):
		c.protocolError("line too long")
	case errors.Is(err, errKilled):
		c.endKilled()
	default:
		c.endReason = endReason(err)
	}
}

// decodeResponse never returns nil without an error, since nil means no response. It accepts "=",
// the form of an empty initial response, in place of any response (RFC 5034 §4), because some
// clients send it.
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

// stls is STLS (RFC 2595 §4).
func (c *session) stls(string) {
	if !c.offersTLS() {
		c.protocolError("TLS is not available, or on already")
		return
	}
	c.ok("begin TLS now")
	if err := c.out.flush(); err != nil {
		c.endReason = endReason(err)
		return
	}
	if c.startTLS() {
		c.trackTLS()
	}
}

// utf8 is UTF8 (RFC 6856 §2). It changes nothing: messages are always sent as they are stored. CAPA
// does not announce it.
func (c *session) utf8(string) { c.ok("UTF-8 it is") }
