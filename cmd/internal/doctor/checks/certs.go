package checks

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"pillarbox/cmd/internal/netinfo"
	"pillarbox/mailstore/durable"
	"pillarbox/tls/certs"
)

// certificate reports certificates that are unusable or about to expire.
func (e *Env) certificate(context.Context) findings {
	m, err := certs.OpenAny(e.Config.Certs())
	if err != nil {
		return findings{problem("'pillarbox setup' makes one; [tls] in the configuration names "+
			"another",
			"the certificate cannot be used: %v", err)}
	}
	return judgeCertificates(m.Infos(), m.Warnings(e.Now()), m.Fault(), e.Now())
}

// judgeCertificates judges what the manager of certificates says. fault is why the certificate that
// the configuration names is not in use.
func judgeCertificates(infos []certs.Info, warnings []string, fault error,
	now time.Time) (all findings) {
	fix := "renew it where it came from; the server notices new files by itself"
	invalid := len(infos) == 0
	for _, i := range infos {
		invalid = invalid || now.Before(i.NotBefore) || now.After(i.NotAfter)
		switch i.Source {
		case certs.FromOwnCA:
			fix = "'pillarbox admin tls renew'"
		case certs.FromACME:
			fix = "'pillarbox admin tls acme status' says why it was not renewed"
		}
	}
	for _, text := range warnings {
		judge := warning
		if invalid || fault != nil {
			judge = problem
		}
		all = append(all, about(text, judge(fix, "%s", text)))
	}
	if len(all) == 0 && invalid {
		return findings{problem(fix, "no certificate is valid now")}
	}
	if len(all) > 0 {
		return all
	}
	return ok("valid to %s", infos[0].NotAfter.UTC().Format("2006-01-02"))
}

// certificateNames reports names that are missing from the certificate.
func (e *Env) certificateNames(context.Context) findings {
	m, err := certs.OpenAny(e.Config.Certs())
	if err != nil {
		return skipped("the certificate cannot be used")
	}
	interfaces, err := e.interfaces()
	if err != nil {
		return failed("the networks of this machine are not known", err)
	}
	return judgeNames(m.Info(), string(e.Config.Hostname), netinfo.Addresses(interfaces))
}

// judgeNames reports names by which clients reach this machine and that a certificate lacks. Only
// the own CA writes addresses into a certificate.
func judgeNames(i certs.Info, hostname string, own []netip.Addr) (all findings) {
	cert := &x509.Certificate{DNSNames: i.Names}
	fix := "get a certificate with this name, or correct 'hostname' in the configuration"
	if i.Source == certs.FromOwnCA {
		fix = "'pillarbox setup DOMAIN' issues a new certificate with the present names; no " +
			"program must be changed"
		for _, ip := range i.IPs {
			cert.IPAddresses = append(cert.IPAddresses, ip.AsSlice())
		}
	}
	if cert.VerifyHostname(hostname) != nil {
		all = append(all, about(hostname, problem(fix,
			"the certificate is not for %s, the name of this server, but for %s",
			hostname, strings.Join(i.Names, ", "))))
	}
	for _, ip := range own {
		if i.Source == certs.FromOwnCA && cert.VerifyHostname(ip.String()) != nil {
			all = append(all, about(ip.String(), warning(fix,
				"the certificate is not for %s, an address of this machine", ip)))
		}
	}
	return orOK(all, "the certificate is for %s", strings.Join(i.Names, ", "))
}

// certificateChain verifies the first certificate with the chain that clients are shown.
func (e *Env) certificateChain(context.Context) findings {
	m, err := certs.OpenAny(e.Config.Certs())
	if err != nil {
		return skipped("the certificate cannot be used")
	}
	info := m.Info()
	if info.Source == certs.FromOwnCA {
		return ok("the server's own CA issued it; each mail program must trust that CA once " +
			"('pillarbox admin tls export-ca')")
	}
	text, err := durable.ReadSmallFile(info.File, durable.MaxSmall)
	if err != nil {
		return failed("the certificate cannot be read", err)
	}
	roots, err := e.Machine.Roots()
	if err != nil {
		return failed("the CAs of this machine are not known", err)
	}
	return judgeChain(info.File, certificatesIn(text), roots, e.Now())
}

// certificatesIn returns the certificates of a PEM file.
func certificatesIn(text []byte) (all []*x509.Certificate) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
			all = append(all, cert)
		}
	}
	return all
}

func judgeChain(file string, chain []*x509.Certificate, roots *x509.CertPool,
	now time.Time) findings {
	if len(chain) == 0 {
		return findings{problem("correct tls.cert in the configuration", "%s has no certificate",
			file)}
	}
	between := x509.NewCertPool()
	for _, cert := range chain[1:] {
		between.AddCert(cert)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between,
		CurrentTime: now})
	var unknown x509.UnknownAuthorityError
	switch {
	case err == nil:
		return ok("the chain leads to a CA that this machine knows")
	case !errors.As(err, &unknown):
		return findings{problem("renew the certificate", "the chain cannot be verified: %v", err)}
	case bytes.Equal(chain[0].RawIssuer, chain[0].RawSubject):
		return findings{warning("get one from a CA, or leave tls.cert empty: the server's own "+
			"CA then issues one",
			"the certificate is signed by itself, so each mail program must be told to trust it")}
	case len(chain) == 1:
		return findings{problem(fmt.Sprintf("append the certificate of %q to %s; the CA offers "+
			"it as the chain file",
			chain[0].Issuer.CommonName, file), "%s lacks the intermediate certificate; many "+
			"programs refuse it", file)}
	}
	last := chain[len(chain)-1]
	return findings{warning("nothing, if all mail programs know this CA; else get a "+
		"certificate from a public one",
		"this machine does not know the CA %q, to which the chain leads", last.Issuer.CommonName)}
}
