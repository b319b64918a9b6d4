package remote

import (
	"context"
	"encoding/base64"
	"errors"
	"net/url"
	"time"

	"pillarbox/mailstore/auth/oauth"
	"pillarbox/smtp/route"
)

// accessToken gets the token for a login to a server, or the zero Token if the route needs none.
// A token server that fails is a temporary failure; another server would need the same token.
func (r *Remote) accessToken(
	ctx context.Context, rt *route.Route, t target, report reporter,
) (oauth.Token, *failure) {
	if !rt.OAuth.Enabled() || rt.User == "" || !t.security.login {
		return oauth.Token{}, nil
	}
	token, err := r.tokens.Token(ctx, rt.OAuth)
	if err != nil {
		f := r.noToken(rt, t, err)
		return token, report.failed("token", f)
	}
	text := "access token of " + tokenHost(rt.OAuth) + ", valid for " +
		time.Until(token.Expires).Round(time.Second).String()
	report.step("token", true, text, "")
	return token, nil
}

func (r *Remote) noToken(rt *route.Route, t target, err error) *failure {
	f := unreachable([3]int{4, 7, 0}, "we cannot log in to %s: %v", t.name, err)
	f.final = true
	if e, ok := errors.AsType[*oauth.Error](err); ok {
		f.hint = e.Hint
	}
	r.log.Error("cannot log in", "route", rt.Name, "server", t.name, "user", rt.User,
		"reply", f.reply.Error(), "hint", f.hint)
	return f
}

func tokenHost(cfg oauth.Config) string {
	if u, err := url.Parse(cfg.TokenURL); err == nil {
		return u.Host
	}
	return cfg.TokenURL
}

// useToken sets the access token of the connection, which is masked from then on.
func (c *conn) useToken(token oauth.Token) {
	if token.Value == "" {
		return
	}
	c.password, c.tokenCached = token.Value, token.Cached
	c.reply.mask.Add(token.Value)
}

// authenticateOAuth logs in with the access token. If the server refuses a token that was kept from
// before, it tries once more with a new one.
func (c *conn) authenticateOAuth(mechanism, user string) error {
	if err := c.sendToken(mechanism, user); err != nil || c.reply.positive() {
		return err
	}
	if loginOver(c.reply.words()) {
		return nil
	}
	c.remote.tokens.Drop(c.route.OAuth, c.password)
	if !c.tokenCached {
		return nil
	}
	token, err := c.remote.tokens.Token(c.ctx, c.route.OAuth)
	if err != nil {
		return nil // the next attempt tells why there is no token
	}
	c.useToken(token)
	return c.sendToken(mechanism, user)
}

// sendToken leaves the server's final reply in c.reply. Before it refuses a token, a server says why
// in a challenge (RFC 7628 §3.2.2).
func (c *conn) sendToken(mechanism, user string) error {
	encode := base64.StdEncoding.EncodeToString
	response := oauth.Response(mechanism, user, c.name, c.port, c.password)
	c.tokenRefusal = ""
	err := c.command(commandTimeout, "AUTH "+mechanism+" "+encode(response), nil)
	if err != nil || c.reply.code != 334 {
		return err
	}
	if challenge, err := c.challenge(); err == nil {
		c.tokenRefusal = c.reply.mask.Hide(oauth.Refusal(challenge))
	}
	return c.command(commandTimeout, encode(oauth.Abort(mechanism)), nil)
}
