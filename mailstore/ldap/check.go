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

// Check checks a password. The error is ErrNotFound, ErrInvalid (a *Refusal) or ErrUnavailable. The
// first two take a multiple of 250 ms, so that the time does not reveal which of them it is.
//
// A right password is cached. It is accepted without a question for Config.FreshPasswords, and for
// Config.Stale while the directory does not answer. A wrong one is checked every time. The Person
// has a mailbox only if the configuration has a Base to search.
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
	// A bind with an empty password is an unauthenticated bind, which succeeds (RFC 4513
	// §5.1.2). Some servers may take one that begins with NUL for empty.
	if password == "" || strings.ContainsRune(password, 0) {
		return Person{}, &Refusal{Reason: BadPassword}
	}
	question, digest := loginQuestion(login), d.digest(loginQuestion(login), password)
	last, known := d.passwords.get(question)
	known = known && last.by(digest)
	if known && recent(last.at, d.cfg.FreshPasswords) {
		return last.person, nil
	}
	p, err := share(ctx, d, "password\x00"+string(digest[:]),
		func(ctx context.Context) (Person, error) {
			p, err := d.verify(ctx, login, password)
			d.cachePassword(question, digest, p, err)
			return p, err
		})
	if known && unreachable(err) && recent(last.at, d.cfg.Stale) {
		return last.person, nil
	}
	return p, err
}

func (d *Directory) cachePassword(question string, digest [sha256.Size]byte, p Person, err error) {
	switch {
	case err == nil:
		d.passwords.put(question, proven{digest, p, time.Now()})
	case errors.Is(err, ErrInvalid):
		d.passwords.dropIf(question, func(was proven) bool { return was.by(digest) })
	case errors.Is(err, ErrNotFound):
		d.passwords.dropIf(question, func(proven) bool { return true })
	}
}

// verify asks the directory to check a password.
func (d *Directory) verify(ctx context.Context, login Login, password string) (Person, error) {
	if d.cfg.UserDN != "" {
		return d.bindDirectly(ctx, login, password)
	}
	var p Person
	err := d.pool.do(ctx, searching, func(c *conn) (err error) {
		p, err = d.findLogin(c, login)
		return err
	})
	d.cacheFound(loginQuestion(login), p, err)
	if err != nil {
		return Person{}, err
	}
	err = d.pool.do(ctx, binding, func(c *conn) error { return c.bind(p.DN, password) })
	if err != nil {
		return Person{}, err
	}
	return p, nil
}

// bindDirectly binds as the user without a search, then reads the user's entry as that user. It
// needs no search account.
func (d *Directory) bindDirectly(
	ctx context.Context, login Login, password string,
) (p Person, err error) {
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

// self returns the entry of the user who is bound as name.
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
	// A search with the filter might find another entry by its address. So the filter is
	// applied to this entry only.
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

// bind authenticates as name.
func (c *conn) bind(name, password string) error {
	if name == "" || password == "" {
		return &Refusal{Reason: BadPassword}
	}
	c.wire.resetLimit()
	c.mask = foreign.NewMask(password)
	return bindError(c.masked(c.Bind(name, password)))
}

// digest is an HMAC-SHA-256 of the fields, each preceded by its length.
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
