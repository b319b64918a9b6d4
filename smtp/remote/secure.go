package remote

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"strings"

	"github.com/miekg/dns"

	"pillarbox/smtp/route"
)

// security is how much a connection to a target has to be protected.
type security struct {
	mode  route.TLSMode
	by    string      // what demands more than the route does: "DANE", "MTA-STS"
	tlsa  []*dns.TLSA // with DANE: one of these must fit
	login bool        // the route's log-in is meant for this server
}

// startTLS asks for TLS (RFC 3207) and greets again inside it.
func (c *conn) startTLS(t target, tell teller) *failure {
	if !c.extensions.startTLS {
		if t.security.mode == route.TLSOpportunistic {
			tell.step("tls", true, "the server offers no TLS; going on without", "")
			return nil
		}
		f := unreachable([3]int{4, 7, 4}, "%s offers no TLS, which %s demands", c.name, demander(t))
		f.hint = "if the server really has none, allow plaintext for this route"
		return f
	}
	if err := c.command(commandTimeout, "STARTTLS", nil); err != nil {
		f := c.lost("said STARTTLS", err)
		f.tls = true
		return f
	}
	if c.reply.code != 220 {
		f := c.refusal()
		f.tls = true
		return f
	}
	if c.in.Buffered() > 0 {
		// Somebody between us may have put this in, to be believed inside TLS.
		return unreachable([3]int{4, 7, 0}, "%s spoke on after it had agreed to TLS: somebody may tamper with the connection", c.name)
	}
	if f := c.shakeHands(t, tell); f != nil {
		return f
	}
	return c.hello(tell)
}

func demander(t target) string {
	if t.security.by != "" {
		return t.security.by
	}
	return "the route"
}

// shakeHands puts TLS around the connection.
func (c *conn) shakeHands(t target, tell teller) *failure {
	cfg := c.remote.tlsConfig(t)
	tc := tls.Client(c.net, cfg)
	c.deadline(tlsTimeout)
	if err := tc.HandshakeContext(c.ctx); err != nil {
		f := unreachable([3]int{4, 7, 5}, "no TLS with %s: %s", c.name, tlsError(err))
		f.tls = true
		f.hint = tlsHint(err)
		return f
	}
	c.net = tc
	c.in = bufio.NewReaderSize(tc, maxReplyLine)
	state := tc.ConnectionState()
	c.tls = &state
	switch {
	case t.security.tlsa != nil:
		c.trust = "DANE"
	case !cfg.InsecureSkipVerify:
		c.trust = "certificate authority"
	}
	tell.secured(c, t, &state)
	return nil
}

// tlsConfig demands of a certificate what the target does. An opportunistic
// connection takes TLS 1.0, too: the alternative is none.
func (r *Remote) tlsConfig(t target) *tls.Config {
	cfg := &tls.Config{
		ServerName:         t.name,
		RootCAs:            r.opts.TLSRoots,
		MinVersion:         tls.VersionTLS12,
		ClientSessionCache: r.sessions,
	}
	if strings.HasPrefix(t.name, "[") {
		cfg.ServerName = t.addr.Addr().String()
	}
	switch {
	case t.security.tlsa != nil:
		cfg.InsecureSkipVerify = true // VerifyConnection does it
		cfg.VerifyConnection = func(cs tls.ConnectionState) error { return verifyDANE(t.security.tlsa, cs) }
		cfg.ClientSessionCache = nil // a resumed session may lack the chain
	case t.security.mode != route.TLSVerified:
		cfg.InsecureSkipVerify = true
	}
	if t.security.mode == route.TLSOpportunistic {
		cfg.MinVersion = tls.VersionTLS10
	}
	return cfg
}

func tlsError(err error) string {
	if verify, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "its certificate was not accepted (" + verify.Err.Error() + ")"
	}
	if errors.Is(err, errDANE) {
		return errDANE.Error()
	}
	return "it " + plainly(err)
}

func tlsHint(err error) string {
	var name x509.HostnameError
	var authority x509.UnknownAuthorityError
	switch {
	case errors.As(err, &name):
		return "use the name that stands in the certificate, or demand TLS without verification"
	case errors.As(err, &authority):
		return "add the server's authority to the trusted ones, or demand TLS without verification"
	}
	return ""
}
