package remote

import (
	"context"
	"crypto/tls"
	"pillarbox/mailstore/addr"
	"pillarbox/smtp/route"
	"strconv"
	"strings"
	"time"
)

// Step is one thing that Probe did, or failed to do.
type Step struct {
	Name string `json:"name"` // route, mx, address, connect, greeting, ehlo, tls, auth, mail, rcpt, quit
	OK   bool   `json:"ok"`
	Text string `json:"text"`           // what was found, or the server's reply
	Hint string `json:"hint,omitempty"` // what can be done about it
}

// teller hears of steps; nil: nobody does.
type teller func(Step)

func (t teller) step(name string, ok bool, text, hint string) {
	if t != nil {
		t(Step{Name: name, OK: ok, Text: text, Hint: hint})
	}
}

// failed tells of a failure, if there is one, and returns it.
func (t teller) failed(name string, f *failure) *failure {
	if f != nil && t != nil {
		t(Step{Name: name, Text: f.Error(), Hint: f.hint})
	}
	return f
}

// reply tells of a server's reply.
func (t teller) reply(name string, r *reply, remark string) {
	if t == nil {
		return
	}
	text := strconv.Itoa(r.code) + " " + r.line()
	if remark != "" {
		text += " (" + remark + ")"
	}
	t(Step{Name: name, OK: r.code < 400, Text: text})
}

// secured tells of TLS that works.
func (t teller) secured(c *conn, at target, state *tls.ConnectionState) {
	if t == nil {
		return
	}
	text := tls.VersionName(state.Version) + ", " + tls.CipherSuiteName(state.CipherSuite)
	if c.trust != "" {
		text += ", verified by " + c.trust
	} else {
		text += ", certificate not verified"
	}
	if at.security.by != "" {
		text += " (demanded by " + at.security.by + ")"
	}
	t(Step{Name: "tls", OK: true, Text: text})
}

// Probe shows, step by step, how mail from one address to another would go, up
// to RCPT: the message is never sent, and the address is not disturbed. It ends
// with the first server that gives an answer about the address. step is called
// in the caller's goroutine.
func (r *Remote) Probe(ctx context.Context, to, from addr.Address, step func(Step)) {
	tell := teller(step)
	rt := r.opts.Routes().For(to.Domain)
	tell.step("route", true, describe(rt), "")
	for _, way := range waysOf(rt) {
		if way == byMX && !to.Domain.IsLiteral() {
			r.tellMX(ctx, rt, to.Domain, tell)
		}
		for t, f := range r.targets(ctx, rt, way, to.Domain) {
			if f != nil {
				if way == bySmartHost || f.final {
					tell.failed("address", f)
				} else {
					tell.failed(t.name, f)
				}
				continue
			}
			tell.step("address", true, t.String(), "")
			c, f := r.open(ctx, rt, t, tell)
			if f == nil && c.probe(ctx, to, from, tell) {
				return
			}
		}
	}
}

func (r *Remote) tellMX(ctx context.Context, rt *route.Route, domain addr.Domain, tell teller) {
	found, f := r.lookUpMX(ctx, rt, domain)
	if f != nil {
		tell.failed("mx", f)
		return
	}
	var hosts []string
	for _, x := range found {
		host := strconv.Itoa(int(x.preference)) + " " + x.host
		if x.secure {
			host += " (signed)"
		}
		hosts = append(hosts, host)
	}
	tell.step("mx", true, strings.Join(hosts, ", "), "")
	if policy := r.policyFor(ctx, rt, domain); policy != nil {
		tell.step("mta-sts", true, policy.mode+": "+printable(strings.Join(policy.mx, ", ")), "")
	}
}

// describe is a route in a line.
func describe(rt *route.Route) string {
	text := rt.Name + ": "
	switch {
	case len(rt.SmartHost) == 0:
		text += "the domain's own mail servers"
	case rt.DirectFirst:
		text += "the domain's own mail servers first, then "
	}
	for i, host := range rt.SmartHost {
		if i > 0 {
			text += ", "
		}
		text += host.String()
	}
	if rt.LMTP {
		text += ", by LMTP"
	}
	text += ", TLS " + rt.TLS.String()
	if rt.User != "" {
		text += ", as " + rt.User
	}
	if rt.Hold {
		text += ", held until it is asked for"
	}
	if hours := rt.Windows.String(); hours != "always" {
		text += ", leaves only " + hours
	}
	return text
}

// probe asks about an address and ends the connection. It reports whether there
// was an answer.
func (c *conn) probe(ctx context.Context, to, from addr.Address, tell teller) bool {
	defer c.quit()
	done := c.begin(ctx, time.Now().Add(maxAttempt(0)))
	defer done()
	for _, command := range [][2]string{
		{"mail", "MAIL FROM:<" + from.String() + ">"},
		{"rcpt", "RCPT TO:<" + to.String() + ">"},
	} {
		if err := c.command(commandTimeout, command[1], nil); err != nil {
			tell.failed(command[0], c.lost("said "+strings.ToUpper(command[0]), err))
			return false
		}
		tell.reply(command[0], &c.reply, "")
		if !c.reply.positive() {
			break
		}
	}
	if err := c.command(commandTimeout, "RSET", nil); err == nil {
		tell.step("quit", true, "the message was not sent", "")
	}
	return true
}
