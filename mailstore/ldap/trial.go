package ldap

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	ldapv3 "github.com/go-ldap/ldap/v3"
)

// A Step is one step of Test.
type Step struct {
	Server string // its URL; "" for a step that is not about one server
	What   string // such as "connect"
	Detail string // the result
	Err    error  // nil: success
	Took   time.Duration
}

// Test tries every server, even one that is down, and reports each step: connect, with encryption
// if configured; log in as the search account; and search below the base. With a login it also
// finds that user, and with a password it checks the password. It caches no result.
func (d *Directory) Test(ctx context.Context, login Login, password string) []Step {
	t := &trial{d: d, ctx: ctx}
	for _, s := range d.pool.servers {
		t.server = s
		t.tryServer()
	}
	t.server = nil
	if login.User == "" {
		return t.steps
	}
	if d.cfg.Base != "" && (d.cfg.UserDN == "" || d.cfg.BindDN != "") {
		if t.step("find "+login.address(), func() (string, error) { return t.find(login) }) ||
			d.cfg.AddressFilter == "" || login.Domain == "" {
			// no group to look for
		} else if p, err := t.findGroup(login); !errors.Is(err, ErrNotFound) {
			t.step("find the group "+login.address(),
				func() (string, error) { return describeGroup(p), err })
		}
	}
	if password != "" {
		t.step("check the password of "+login.address(), func() (string, error) {
			p, err := d.verify(ctx, login, password)
			return describe(p), err
		})
	}
	return t.steps
}

type trial struct {
	d      *Directory
	ctx    context.Context
	server *server
	steps  []Step
}

// step runs try as a step, and reports success.
func (t *trial) step(what string, try func() (string, error)) bool {
	began := time.Now()
	detail, err := try()
	s := Step{What: what, Detail: detail, Err: err, Took: time.Since(began)}
	if t.server != nil {
		s.Server = t.server.url
	}
	t.steps = append(t.steps, s)
	return err == nil
}

func (t *trial) tryServer() {
	cfg := t.d.cfg
	var c *conn
	if !t.step("connect", func() (detail string, err error) {
		c, err = t.d.pool.open(t.ctx, t.server)
		if err != nil {
			return "", err
		}
		return c.protection(), nil
	}) {
		return
	}
	defer c.Close()
	if cfg.BindDN != "" &&
		!t.step("log in as "+cfg.BindDN, func() (string, error) { return "", t.d.pool.logIn(c) }) {
		return
	}
	if cfg.Base == "" || cfg.UserDN != "" && cfg.BindDN == "" {
		return // there is no search account
	}
	t.step("search below "+cfg.Base, func() (string, error) {
		if _, err := t.d.read(c, cfg.Base, "(objectClass=*)", []string{"1.1"}); err != nil {
			return "", fmt.Errorf("the base: %w", err)
		}
		some, err := t.d.search(c, cfg.Base, ldapv3.ScopeWholeSubtree, "("+cfg.MailboxAttr+"=*)", 1,
			[]string{"1.1"})
		switch {
		case err != nil:
			return "", err
		case len(some) == 0:
			return "", fmt.Errorf("%w: no entry with %s is visible", ErrNotFound, cfg.MailboxAttr)
		}
		return "for example " + some[0].DN, nil
	})
}

func (t *trial) find(login Login) (detail string, err error) {
	err = t.d.pool.do(t.ctx, searching, func(c *conn) error {
		p, err := t.d.findLogin(c, login)
		detail = describe(p)
		return err
	})
	return detail, err
}

// findGroup looks up the login's address as a group.
func (t *trial) findGroup(login Login) (p Person, err error) {
	err = t.d.pool.do(t.ctx, searching, func(c *conn) error {
		p, err = t.d.findAddress(t.ctx, c, login)
		return err
	})
	return p, err
}

func describeGroup(p Person) string {
	if !p.Group {
		return describe(p)
	}
	return fmt.Sprintf("%s, %d members", p.DN, len(p.Members))
}

// protection describes the encryption of a connection.
func (c *conn) protection() string {
	state, ok := c.TLSConnectionState()
	if !ok {
		return "not encrypted"
	}
	text := tls.VersionName(state.Version)
	if len(state.PeerCertificates) > 0 {
		text += ", certificate valid until " + state.PeerCertificates[0].NotAfter.Format(time.DateOnly)
	}
	return text
}

func describe(p Person) string {
	if p.Mailbox.IsZero() {
		return p.DN
	}
	return p.DN + ", mailbox " + p.Mailbox.String()
}
