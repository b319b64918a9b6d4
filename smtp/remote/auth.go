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

// logIn proves who we are (RFC 4954) by the best mechanism that both sides have.
// A password goes in the clear only where the route forgoes TLS by its settings,
// or stays on this host.
func (c *conn) logIn(tell teller) *failure {
	password := c.password
	if err := c.passwordErr; err != nil {
		f := unreachable([3]int{4, 7, 0}, "we cannot log in to %s: the password is not to be had", c.name)
		f.hint = err.Error()
		return c.complain(f)
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
			return c.lost("logged in", err)
		}
		if !c.reply.positive() {
			f := c.refusal()
			f.hint = "the server refuses the log-in of " + c.route.User + ": see whether name and password are right"
			return c.complain(f)
		}
		tell.reply("auth", &c.reply, mechanism+" as "+c.route.User)
		return nil
	}
	f := unreachable([3]int{4, 7, 0}, "%s offers no way to log in that we may use", c.name)
	switch {
	case len(c.auth) == 0:
		f.hint = "it offers no AUTH: another port (587 or 465), or no user for this route"
	case !clear:
		f.hint = "it offers " + printable(c.reply.mask.Hide(strings.Join(c.auth, " "))) + " without TLS; a password goes in the clear only with tls = off"
	default:
		f.hint = "it offers " + printable(c.reply.mask.Hide(strings.Join(c.auth, " ")))
	}
	return c.complain(f)
}

// complain logs what only the operator can mend.
func (c *conn) complain(f *failure) *failure {
	c.remote.log.Error("cannot log in", "route", c.route.Name, "server", c.name, "user", c.route.User, "reply", f.reply.Error(), "hint", f.hint)
	return f
}

// authenticate leaves the server's last word in c.reply.
func (c *conn) authenticate(mechanism, user, password string) error {
	encode := base64.StdEncoding.EncodeToString
	if mechanism == "PLAIN" {
		return c.command(commandTimeout, "AUTH PLAIN "+encode([]byte("\x00"+user+"\x00"+password)), nil)
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
		c.reply.mask.Add(digest) // passwords can be tried against it
		return c.command(commandTimeout, encode([]byte(user+" "+digest)), nil)
	}
	if err := c.command(commandTimeout, encode([]byte(user)), nil); err != nil || c.reply.code != 334 {
		return err
	}
	return c.command(commandTimeout, encode([]byte(password)), nil)
}

// challenge is what the server's last reply asks.
func (c *conn) challenge() ([]byte, error) {
	return base64.StdEncoding.DecodeString(strings.TrimSpace(string(c.reply.text)))
}

// authenticateNTLM goes on where the server has said that it knows NTLM, in
// words of its own ([MS-SMTPNTLM] 3.1.5). A user may be `DOMAIN\user`, as Windows
// writes it.
func (c *conn) authenticateNTLM(user, password string) error {
	domain, name, ok := strings.Cut(user, `\`)
	if !ok {
		domain, name = "", user
	}
	client := ntlm.Client{User: name, Domain: domain, Password: password, Time: time.Now()}
	rand.Read(client.Nonce[:])
	encode := base64.StdEncoding.EncodeToString
	if err := c.command(commandTimeout, encode(client.Negotiate()), nil); err != nil || c.reply.code != 334 {
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
	c.reply.mask.Add(encode(answer)) // passwords can be tried against it
	return c.command(commandTimeout, encode(answer), nil)
}

// ReadPassword takes the first line of a file that nobody but its owner and group can read. Its
// errors hold hints, and nothing of the password.
func ReadPassword(file string) (string, error) { return durable.ReadSecretLine(file) }
