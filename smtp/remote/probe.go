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

// Step is the result of one step of Probe.
type Step struct {
	Name string `json:"name"` // route, mx, address, connect, greeting, ehlo, tls, auth, mail, rcpt, quit
	OK   bool   `json:"ok"`
	Text string `json:"text"`           // the finding, or the server's reply
	Hint string `json:"hint,omitempty"` // what an administrator can do
}

// reporter receives steps. nil discards them.
type reporter func(Step)

func (t reporter) step(name string, ok bool, text, hint string) {
	if t != nil {
		t(Step{Name: name, OK: ok, Text: text, Hint: hint})
	}
}

// failed reports a failure, if f is not nil, and returns it.
func (t reporter) failed(name string, f *failure) *failure {
	if f != nil && t != nil {
		t(Step{Name: name, Text: f.Error(), Hint: f.hint})
	}
	return f
}

// reply reports a server's reply.
func (t reporter) reply(name string, r *reply, remark string) {
	if t == nil {
		return
	}
	text := strconv.Itoa(r.code) + " " + r.line()
	if remark != "" {
		text += " (" + remark + ")"
	}
	t(Step{Name: name, OK: r.code < 400, Text: text})
}

// secured reports a working TLS connection.
func (t reporter) secured(c *conn, at target, state *tls.ConnectionState) {
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

// Probe shows step by step how mail from one address to another would travel, up to RCPT. It never
// sends a message, so the recipient notices nothing. It ends with the first server that replies
// about the address. It calls step in the caller's goroutine.
func (r *Remote) Probe(ctx context.Context, to, from addr.Address, step func(Step)) {
	report := reporter(step)
	for _, rt := range r.opts.Routes().All(to.Domain) {
		if r.probeRoute(ctx, rt, to, from, report) {
			return
		}
	}
}

// probeRoute probes one route. It reports whether a server replied about the address.
func (r *Remote) probeRoute(
	ctx context.Context, rt *route.Route, to, from addr.Address, report reporter,
) bool {
	report.step("route", true, describe(rt), "")
	for _, hop := range nextHops(rt) {
		if hop == viaMX && !to.Domain.IsLiteral() {
			r.reportMX(ctx, rt, to.Domain, report)
		}
		for t, f := range r.targets(ctx, rt, hop, to.Domain) {
			if f != nil {
				if hop == viaSmartHost || f.final {
					report.failed("address", f)
				} else {
					report.failed(t.name, f)
				}
				continue
			}
			report.step("address", true, t.String(), "")
			c, f := r.open(ctx, rt, t, report)
			if f == nil && c.probe(ctx, to, from, report) {
				return true
			}
		}
	}
	return false
}

func (r *Remote) reportMX(ctx context.Context, rt *route.Route, domain addr.Domain,
	report reporter) {
	found, f := r.lookUpMX(ctx, rt, domain)
	if f != nil {
		report.failed("mx", f)
		return
	}
	var hosts []string
	for _, x := range found {
		if x.implicit {
			if _, f := r.addresses(ctx, rt, x.host); f != nil {
				return // the next step tells that the domain does not exist
			}
			hosts = []string{"no MX record: " + x.host + " itself"}
			break
		}
		host := strconv.Itoa(int(x.preference)) + " " + x.host
		if x.secure {
			host += " (signed)"
		}
		hosts = append(hosts, host)
	}
	report.step("mx", true, strings.Join(hosts, ", "), "")
	if policy := r.policyFor(ctx, rt, domain); policy != nil {
		report.step("mta-sts", true, policy.mode+": "+printable(strings.Join(policy.mx, ", ")), "")
	}
}

// describe returns a summary of a route on one line.
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
		if len(rt.Mechanisms) > 0 {
			text += " by " + strings.Join(rt.Mechanisms, ", ")
		}
	}
	if rt.Unresolved {
		text += ", for addresses that do not exist here"
	}
	if rt.Cost > 0 {
		text += ", cost " + strconv.Itoa(rt.Cost)
	}
	if rt.MaxSize > 0 {
		text += ", at most " + strconv.FormatInt(rt.MaxSize, 10) + " octets"
	}
	if rt.Hold {
		text += ", kept until it is requested (ETRN, ATRN)"
	}
	if hours := rt.Windows.String(); hours != "always" {
		text += ", only in the hours " + hours
	}
	return text
}

// probe sends MAIL and RCPT for an address and ends the connection. It reports whether there was a
// reply.
func (c *conn) probe(ctx context.Context, to, from addr.Address, report reporter) bool {
	defer c.quit()
	done := c.begin(ctx, time.Now().Add(maxAttempt(0)))
	defer done()
	for _, command := range [][2]string{
		{"mail", "MAIL FROM:<" + from.String() + ">"},
		{"rcpt", "RCPT TO:<" + to.String() + ">"},
	} {
		if err := c.command(commandTimeout, command[1], nil); err != nil {
			report.failed(command[0], c.connectionLost("sent "+strings.ToUpper(command[0]), err))
			return false
		}
		report.reply(command[0], &c.reply, "")
		if !c.reply.positive() {
			break
		}
	}
	if err := c.command(commandTimeout, "RSET", nil); err == nil {
		report.step("quit", true, "the message was not sent", "")
	}
	return true
}
