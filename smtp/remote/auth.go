package remote

import (
	"crypto/hmac"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"pillarbox/smtp/route"
)

// logIn proves who we are (RFC 4954) by the best mechanism that both sides have.
// A password goes in the clear only where the route forgoes TLS by its settings,
// or stays on this host.
func (c *conn) logIn(tell teller) *failure {
	password, err := ReadPassword(c.route.PasswordFile)
	if err != nil {
		f := unreachable([3]int{4, 7, 0}, "we cannot log in to %s: the password is not to be had", c.name)
		f.hint = err.Error()
		return c.complain(f)
	}
	clear := c.tls != nil || c.socket || c.route.TLS == route.TLSOff
	mechanisms := []string{"PLAIN", "LOGIN", "CRAM-MD5"}
	if c.tls == nil {
		mechanisms = []string{"CRAM-MD5", "PLAIN", "LOGIN"}
	}
	for _, mechanism := range mechanisms {
		if !slices.Contains(c.auth, mechanism) || !clear && mechanism != "CRAM-MD5" {
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
		f.hint = "it offers " + strings.Join(c.auth, " ") + " without TLS; a password goes in the clear only with tls = off"
	default:
		f.hint = "it offers " + printable(strings.Join(c.auth, " "))
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
	if mechanism == "CRAM-MD5" { // RFC 2195
		challenge, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(c.reply.text)))
		if err != nil {
			return c.command(commandTimeout, "*", nil)
		}
		mac := hmac.New(md5.New, []byte(password))
		mac.Write(challenge)
		return c.command(commandTimeout, encode([]byte(user+" "+hex.EncodeToString(mac.Sum(nil)))), nil)
	}
	if err := c.command(commandTimeout, encode([]byte(user)), nil); err != nil || c.reply.code != 334 {
		return err
	}
	return c.command(commandTimeout, encode([]byte(password)), nil)
}

// ReadPassword takes the first line of a file that nobody but its owner and group can read. Its
// errors hold hints, and nothing of the password.
func ReadPassword(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s is no file", file)
	case info.Mode().Perm()&0o007 != 0:
		return "", fmt.Errorf("%s may be read by others (mode %04o): chmod o-rwx it, and change the password", file, info.Mode().Perm())
	}
	text, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil {
		return "", err
	}
	password, _, _ := strings.Cut(string(text), "\n")
	password = strings.TrimSuffix(password, "\r")
	if password == "" || strings.ContainsRune(password, 0) {
		return "", errors.New(file + " has no password in its first line")
	}
	return password, nil
}
