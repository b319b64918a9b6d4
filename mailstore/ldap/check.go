package ldap

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	ldapv3 "github.com/go-ldap/ldap/v3"

	"pillarbox/mailstore/foreign"
)

// Check verifies a password: ErrNotFound, ErrInvalid (a *Refusal) or
// ErrUnavailable. The first two take a whole number of quarter seconds, so that
// the time tells nobody which of them it is.
//
// A password that was right is right without being asked about for
// Config.FreshPasswords, and for Config.Stale while the directory gives no
// answer. A wrong one is asked about every time. The Person has a mailbox only
// where the configuration says where to search.
func (d *Directory) Check(ctx context.Context, login Login, password string) (Person, error) {
	began := time.Now()
	p, err := d.check(ctx, login, password)
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrInvalid) {
		const step = 250 * time.Millisecond
		pause(ctx, step-time.Since(began)%step)
	}
	return p, err
}

func (d *Directory) check(ctx context.Context, login Login, password string) (Person, error) {
	if err := login.check(); err != nil {
		return Person{}, err
	}
	// Of an empty password a server makes an unauthenticated bind, which succeeds
	// (RFC 4513 §5.1.2); one that begins with a NUL may be empty to some.
	if password == "" || strings.ContainsRune(password, 0) {
		return Person{}, &Refusal{Reason: BadPassword}
	}
	question, digest := loginQuestion(login), d.digest(loginQuestion(login), password)
	last, known := d.passwords.get(question)
	known = known && last.by(digest)
	if known && recent(last.at, d.cfg.FreshPasswords) {
		return last.person, nil
	}
	p, err := share(ctx, d, "password\x00"+string(digest[:]), func(ctx context.Context) (Person, error) {
		p, err := d.ask(ctx, login, password)
		d.notePassword(question, digest, p, err)
		return p, err
	})
	if known && silent(err) && recent(last.at, d.cfg.Stale) {
		return last.person, nil
	}
	return p, err
}

func (d *Directory) notePassword(question string, digest [sha256.Size]byte, p Person, err error) {
	switch {
	case err == nil:
		d.passwords.put(question, proven{digest, p, time.Now()})
	case errors.Is(err, ErrInvalid):
		d.passwords.dropIf(question, func(was proven) bool { return was.by(digest) })
	case errors.Is(err, ErrNotFound):
		d.passwords.dropIf(question, func(proven) bool { return true })
	}
}

// ask lets the directory check a password.
func (d *Directory) ask(ctx context.Context, login Login, password string) (Person, error) {
	if d.cfg.UserDN != "" {
		return d.askDirectly(ctx, login, password)
	}
	var p Person
	err := d.pool.do(ctx, searching, func(c *conn) (err error) {
		p, err = d.findLogin(c, login)
		return err
	})
	d.noteFound(loginQuestion(login), p, err)
	if err != nil {
		return Person{}, err
	}
	err = d.pool.do(ctx, binding, func(c *conn) error { return c.bind(p.DN, password) })
	if err != nil {
		return Person{}, err
	}
	return p, nil
}

// askDirectly logs in without a search before, and then looks who it is, as the
// user himself: no other account is needed.
func (d *Directory) askDirectly(ctx context.Context, login Login, password string) (p Person, err error) {
	name, err := userDN(d.cfg.UserDN, login)
	if err != nil {
		return Person{}, err
	}
	err = d.pool.do(ctx, binding, func(c *conn) error {
		if err := c.bind(name, password); err != nil {
			return err
		}
		p, err = d.self(c, name, login)
		return err
	})
	return p, err
}

// self is the entry of one who has logged in as name.
func (d *Directory) self(c *conn, name string, login Login) (Person, error) {
	byDN := isDN(d.cfg.UserDN)
	switch {
	case d.cfg.Base == "" && byDN:
		return Person{DN: name}, nil
	case d.cfg.Base == "":
		return Person{}, nil
	case !byDN:
		return d.findLogin(c, login)
	}
	// The filter might find another one by his address; it only says whether this
	// one may.
	filter, err := expand(d.cfg.UserFilter, login, ldapv3.EscapeFilter)
	if err != nil {
		return Person{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	e, err := d.read(c, name, filter, d.cfg.attributes())
	if err != nil {
		return Person{}, err
	}
	return d.person(e), nil
}

// bind logs in as somebody.
func (c *conn) bind(name, password string) error {
	if name == "" || password == "" {
		return &Refusal{Reason: BadPassword}
	}
	c.wire.grant()
	c.mask = foreign.NewMask(password)
	return bindError(c.masked(c.Bind(name, password)))
}

// digest is a keyed hash of the fields, each after its length.
func (d *Directory) digest(fields ...string) (sum [sha256.Size]byte) {
	mac := hmac.New(sha256.New, d.key)
	for _, f := range fields {
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(f))))
		mac.Write([]byte(f))
	}
	mac.Sum(sum[:0])
	return sum
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
