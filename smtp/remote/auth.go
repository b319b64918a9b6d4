package remote

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"pillarbox/mailstore/auth/ntlm"
	"pillarbox/mailstore/durable"
	"pillarbox/smtp/route"
)

// logIn logs in (RFC 4954) with the best mechanism that both sides support. A password is sent in
// clear text only if the route's settings turn TLS off, or over a unix socket.
func (c *conn) logIn(report reporter) *failure {
	password := c.password
	if err := c.passwordErr; err != nil {
		f := unreachable([3]int{4, 7, 0}, "we cannot log in to %s: the password is not available",
			c.name)
		f.hint = err.Error()
		return c.logLoginFailure(f)
	}
	clear := c.tls != nil || c.socket || c.route.TLS == route.TLSOff
	passwords, proofs := []string{"PLAIN", "LOGIN"}, []string{"CRAM-MD5", "NTLM"}
	mechanisms := append(passwords, proofs...)
	if c.tls == nil {
		mechanisms = append(proofs, passwords...)
	}
	for _, mechanism := range mechanisms {
		if !slices.Contains(c.auth, mechanism) || !clear && !slices.Contains(proofs, mechanism) {
			continue
		}
		if err := c.authenticate(mechanism, c.route.User, password); err != nil {
			return c.connectionLost("logged in", err)
		}
		if !c.reply.positive() {
			f := c.refusal()
			f.hint = "the server refuses the login of " + c.route.User + ": check user and password"
			return c.logLoginFailure(f)
		}
		report.reply("auth", &c.reply, mechanism+" as "+c.route.User)
		return nil
	}
	f := unreachable([3]int{4, 7, 0}, "%s offers no login mechanism that we may use", c.name)
	offered := printable(c.reply.mask.Hide(strings.Join(c.auth, " ")))
	switch {
	case len(c.auth) == 0:
		f.hint = "it offers no AUTH: try port 587 or 465, or set no user for this route"
	case !clear:
		f.hint = "it offers " + offered +
			" without TLS; a password is sent in clear text only with tls = off"
	default:
		f.hint = "it offers " + offered
	}
	return c.logLoginFailure(f)
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
