package remote

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"os"
	"slices"
	"strings"
	"time"

	"pillarbox/mailstore/auth/ntlm"
	"pillarbox/mailstore/auth/oauth"
	"pillarbox/mailstore/durable"
	"pillarbox/smtp/route"
)

// logIn logs in (RFC 4954) with the first mechanism that the server accepts, of those that both
// sides support. A refused mechanism is not the end while another one remains: some servers offer PLAIN
// but accept only LOGIN. Each is tried once, since failed logins may lock the account. A server
// that is busy (4xx) is asked no further. A password is sent in clear text only if the route's
// settings turn TLS off, or over a unix socket.
func (c *conn) logIn(report reporter) *failure {
	if err := c.passwordErr; err != nil {
		f := unreachable([3]int{4, 7, 0}, "we cannot log in to %s: the password is not available",
			c.name)
		f.hint = err.Error()
		return report.failed("auth", c.logLoginFailure(f))
	}
	mechanisms := c.mechanisms()
	for i, mechanism := range mechanisms {
		before := len(c.refused)
		if err := c.authenticate(mechanism, c.route.User, c.password); err != nil {
			return report.failed("auth", c.loginLost(mechanism, err, before > 0))
		}
		if c.reply.positive() {
			c.remote.logins.accepted(c.loginKey(), mechanism)
			report.reply("auth", &c.reply, mechanism+" as "+c.route.User)
			return nil
		}
		if err := c.refuseMechanism(mechanism); err != nil {
			return report.failed("auth", c.loginLost(mechanism, err, true))
		}
		if loginOver(c.refused[len(c.refused)-1].reply) {
			break
		}
		if i+1 < len(mechanisms) {
			report.step("auth", false, c.refused[len(c.refused)-1].String(),
				"trying "+mechanisms[i+1])
		}
	}
	if len(c.refused) == 0 {
		return report.failed("auth", c.logLoginFailure(c.noMechanism()))
	}
	return report.failed("auth", c.logLoginFailure(c.loginRefused()))
}

// mechanisms returns those to try on this connection, in order.
func (c *conn) mechanisms() []string {
	return loginOrder(c.route.Mechanisms, c.auth, c.route.OAuth.Enabled(), c.tls != nil, c.mayShowPassword(),
		c.refused, c.remote.logins.lately(c.loginKey()))
}

func (c *conn) mayShowPassword() bool {
	return c.tls != nil || c.socket || c.route.TLS == route.TLSOff
}

func (c *conn) loginKey() loginKey { return loginKey{c.route, c.name} }

// refuseMechanism records the server's reply as the refusal of a mechanism. It cancels an exchange
// that the server wants to continue.
func (c *conn) refuseMechanism(mechanism string) error {
	reply := c.reply.words()
	if c.tokenRefusal != "" {
		reply.Text += " [" + c.tokenRefusal + "]"
	}
	var err error
	if reply.Code/100 == 3 {
		reply = localReply([3]int{5, 5, 0}, "an unexpected reply: %d %s", reply.Code, reply.Text)
		err = c.command(commandTimeout, "*", nil)
	}
	c.refused = append(slices.Clip(c.refused), refusedLogin{mechanism, reply})
	c.remote.logins.refused(c.loginKey(), mechanism)
	return err
}

// loginLost returns the failure of a connection that broke during a login. A server may close it
// after a refused mechanism; then the failure asks for another connection.
func (c *conn) loginLost(mechanism string, err error, afterRefusal bool) *failure {
	f := c.connectionLost("logged in by "+mechanism, err)
	if afterRefusal && !errors.Is(err, os.ErrDeadlineExceeded) && c.ctx.Err() == nil &&
		len(c.mechanisms()) > 0 {
		f.refused = c.refused
	}
	return f
}

// loginRefused returns the failure of a login that the server refused by all mechanisms. It has the
// last reply, and names each mechanism with the reply of the server to it.
func (c *conn) loginRefused() *failure {
	last := c.refused[len(c.refused)-1]
	f := unreachable([3]int{}, "")
	f.reply, f.mta, f.loginRefused = last.reply, c.name, true
	f.reply.Text = printable(refusalText(c.refused))
	f.hint = "the server refuses the login of " + c.route.User + " by " +
		strings.Join(refusedNames(c.refused), ", ") + ": check user and password"
	if c.route.OAuth.Enabled() {
		f.hint = "the server refuses the access token for " + c.route.User +
			": check user and oauth_scope, and that the mailbox permits SMTP for this client"
	}
	if last.reply.Code/100 == 4 {
		f.hint = "the server cannot check the login now; it is asked again with the next attempt"
	}
	return f
}

// noMechanism returns the failure of a login without a mechanism that both sides may use.
func (c *conn) noMechanism() *failure {
	f := unreachable([3]int{4, 7, 0}, "%s offers no login mechanism that we may use", c.name)
	offered := printable(c.reply.mask.Hide(strings.Join(c.auth, " ")))
	switch {
	case len(c.auth) > 0 && !c.route.OAuth.Enabled() &&
		!slices.ContainsFunc(c.auth, func(m string) bool { return slices.Contains(Mechanisms(), m) }):
		f.hint = "it offers " + offered
		if slices.ContainsFunc(c.auth,
			func(m string) bool { return slices.Contains(oauth.Mechanisms(), m) }) {
			f.hint += ": it takes no password; set oauth_token_url and the other keys of OAuth"
		}
	case len(c.auth) == 0:
		f.hint = "it offers no AUTH: try port 587 or 465, or set no user for this route"
	case !c.mayShowPassword():
		f.hint = "it offers " + offered +
			" without TLS; a password is sent in clear text only with tls = off"
	default:
		f.hint = "it offers " + offered
	}
	if len(c.route.Mechanisms) > 0 {
		f.hint += "; mechanisms allows " + strings.Join(c.route.Mechanisms, " ")
	}
	return f
}

// logLoginFailure logs a failure that only an administrator can fix.
func (c *conn) logLoginFailure(f *failure) *failure {
	c.remote.log.Error("cannot log in", "route", c.route.Name, "server", c.name,
		"user", c.route.User, "reply", f.reply.Error(), "hint", f.hint)
	return f
}

// authenticate leaves the server's final reply in c.reply.
func (c *conn) authenticate(mechanism, user, password string) error {
	encode := base64.StdEncoding.EncodeToString
	if slices.Contains(oauth.Mechanisms(), mechanism) {
		return c.authenticateOAuth(mechanism, user)
	}
	if mechanism == "PLAIN" {
		return c.command(commandTimeout, "AUTH PLAIN "+encode([]byte("\x00"+user+"\x00"+password)),
			nil)
	}
	if err := c.command(commandTimeout, "AUTH "+mechanism, nil); err != nil || c.reply.code != 334 {
		return err
	}
	if mechanism == "NTLM" {
		return c.authenticateNTLM(user, password)
	}
	if mechanism == "CRAM-MD5" { // RFC 2195
		challenge, err := c.challenge()
		if err != nil {
			return c.command(commandTimeout, "*", nil)
		}
		mac := hmac.New(md5.New, []byte(password))
		mac.Write(challenge)
		digest := hex.EncodeToString(mac.Sum(nil))
		c.reply.mask.Add(digest) // passwords can be guessed from it offline
		return c.command(commandTimeout, encode([]byte(user+" "+digest)), nil)
	}
	if err := c.command(commandTimeout, encode([]byte(user)), nil); err != nil ||
		c.reply.code != 334 {
		return err
	}
	return c.command(commandTimeout, encode([]byte(password)), nil)
}

// challenge returns the challenge in the server's last reply.
func (c *conn) challenge() ([]byte, error) {
	return base64.StdEncoding.DecodeString(strings.TrimSpace(string(c.reply.text)))
}

// authenticateNTLM continues after the server's 334, whose text is free ([MS-SMTPNTLM] 3.1.5). A
// user may be `DOMAIN\user`, as on Windows.
func (c *conn) authenticateNTLM(user, password string) error {
	domain, name, ok := strings.Cut(user, `\`)
	if !ok {
		domain, name = "", user
	}
	client := ntlm.Client{User: name, Domain: domain, Password: password, Time: time.Now()}
	rand.Read(client.Nonce[:])
	encode := base64.StdEncoding.EncodeToString
	if err := c.command(commandTimeout, encode(client.Negotiate()), nil); err != nil ||
		c.reply.code != 334 {
		return err
	}
	challenge, err := c.challenge()
	if err != nil {
		return c.command(commandTimeout, "*", nil)
	}
	answer, err := client.Authenticate(challenge)
	if err != nil {
		return c.command(commandTimeout, "*", nil)
	}
	c.reply.mask.Add(encode(answer)) // passwords can be guessed from it offline
	return c.command(commandTimeout, encode(answer), nil)
}

// ReadPassword returns the first line of a file, which only its owner and group may be able to
// read. Its errors contain a hint, and never a part of the password.
func ReadPassword(file string) (string, error) { return durable.ReadSecretLine(file) }
