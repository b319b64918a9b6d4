package ldap

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	ldapv3 "github.com/go-ldap/ldap/v3"
)

// A Step is one thing that Test tried.
type Step struct {
	Server string // its URL; "" for what no single server does
	What   string // as in "connect"
	Detail string // what was found
	Err    error  // nil: it went well
	Took   time.Duration
}

// Test tries every server by itself, whatever is known of it, and says what it
// found: whether it can be reached, encrypted as it is to be, whether the account
// that searches can log in, and whether the base is there. With a login it also
// looks for that one, and with a password checks it. Nothing of it is kept.
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
		if t.step("find "+login.address(), func() (string, error) { return t.find(login) }) || d.cfg.AddressFilter == "" || login.Domain == "" {
			// a person
		} else if p, err := t.findGroup(login); !errors.Is(err, ErrNotFound) {
			t.step("find the group "+login.address(), func() (string, error) { return describeGroup(p), err })
		}
	}
	if password != "" {
		t.step("check the password of "+login.address(), func() (string, error) {
			p, err := d.ask(ctx, login, password)
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

// step tries something and reports whether it went well.
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
	if cfg.BindDN != "" && !t.step("log in as "+cfg.BindDN, func() (string, error) { return "", t.d.pool.logIn(c) }) {
		return
	}
	if cfg.Base == "" || cfg.UserDN != "" && cfg.BindDN == "" {
		return // only a user himself may look
	}
	t.step("search below "+cfg.Base, func() (string, error) {
		if _, err := t.d.read(c, cfg.Base, "(objectClass=*)", []string{"1.1"}); err != nil {
			return "", fmt.Errorf("the base: %w", err)
		}
		some, err := t.d.search(c, cfg.Base, ldapv3.ScopeWholeSubtree, "("+cfg.MailboxAttr+"=*)", 1, []string{"1.1"})
		switch {
		case err != nil:
			return "", err
		case len(some) == 0:
			return "", fmt.Errorf("%w: no entry with %s is to be seen", ErrNotFound, cfg.MailboxAttr)
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

// findGroup looks a login's address up as that of a group.
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

// protection says how a connection is encrypted.
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
