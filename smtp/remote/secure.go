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

// security is the required protection of a connection.
type security struct {
	mode  route.TLSMode
	by    string      // what requires more than the route: "DANE", "MTA-STS"
	tlsa  []*dns.TLSA // with DANE: one of these must match
	login bool        // the route's login is meant for this server
}

// startTLS starts TLS (RFC 3207) and greets again inside it.
func (c *conn) startTLS(t target, report reporter) *failure {
	if !c.extensions.startTLS {
		if t.security.mode == route.TLSOpportunistic {
			report.step("tls", true, "the server offers no TLS; continuing without TLS", "")
			return nil
		}
		f := unreachable([3]int{4, 7, 4}, "%s offers no TLS, which %s requires", c.name,
			requiredBy(t))
		f.hint = "if the server has no TLS, allow plaintext for this route"
		return f
	}
	if err := c.command(commandTimeout, "STARTTLS", nil); err != nil {
		f := c.connectionLost("sent STARTTLS", err)
		f.tls = true
		return f
	}
	if c.reply.code != 220 {
		f := c.refusal()
		f.tls = true
		return f
	}
	if c.in.Buffered() > 0 {
		// An attacker may have injected this text, so that we would accept it as sent inside TLS
		//.
		return unreachable([3]int{4, 7, 0},
			"%s sent text after it agreed to TLS; the connection may be under attack", c.name)
	}
	if f := c.handshake(t, report); f != nil {
		return f
	}
	return c.hello(report)
}

func requiredBy(t target) string {
	if t.security.by != "" {
		return t.security.by
	}
	return "the route"
}

// handshake starts TLS on the connection.
func (c *conn) handshake(t target, report reporter) *failure {
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
	report.secured(c, t, &state)
	return nil
}

// tlsConfig returns a configuration that checks the certificate as the target requires.
// Opportunistic TLS accepts TLS 1.0 too, since the alternative is plaintext.
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
		cfg.InsecureSkipVerify = true // VerifyConnection verifies instead
		cfg.VerifyConnection = func(cs tls.ConnectionState) error {
			return verifyDANE(t.security.tlsa, cs)
		}
		cfg.ClientSessionCache = nil // a resumed session may lack the certificate chain
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
	return "it " + describeError(err)
}

func tlsHint(err error) string {
	var name x509.HostnameError
	var authority x509.UnknownAuthorityError
	switch {
	case errors.As(err, &name):
		return "use the name in the certificate, or set tls = required"
	case errors.As(err, &authority):
		return "add the server's CA to the trusted ones, or set tls = required"
	}
	return ""
}
