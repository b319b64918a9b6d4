package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"pillarbox/tls/acme"
	"pillarbox/tls/certs"
)

// ACME gets the running server's certificate from an authority.
type ACME interface {
	Status() acme.Status
	Renew(ctx context.Context) error
}

// Certificates are the server's certificates. Most clients are shown the first one.
type Certificates struct {
	All      []certs.Info
	Warnings []string
}

// showCertificates shows the certificates that the configuration names.
func (o *Service) showCertificates() (Certificates, error) {
	m, err := certs.Open(o.Config().Certs())
	if err != nil {
		return Certificates{}, Hint(err, hintCertificate)
	}
	return Certificates{m.Infos(), orEmpty(m.Warnings(time.Now()))}, nil
}

// Renewed is a new certificate of the server's own CA.
type Renewed struct {
	NotAfter time.Time
	Beside   bool // most clients are shown another one, by ACME
}

// renewCertificate issues a new certificate. A running server takes it within a minute.
func (o *Service) renewCertificate() (Renewed, error) {
	m, err := OpenCertificate(o.Config())
	if err == nil {
		err = m.Renew(time.Now())
	}
	switch {
	case errors.Is(err, certs.ErrNotOwnCA):
		return Renewed{}, Hint(err, "renew it where it came from; the server notices the new files by itself")
	case err != nil:
		return Renewed{}, err
	}
	o.Record("certificate", nil, map[string]any{"not_after": m.OwnExpiry()})
	return Renewed{m.OwnExpiry(), m.Info().Source == certs.FromACME}, nil
}

// CertificateNames returns the names at which mail programs ask the page for their settings. The
// certificates of the own CA must have them.
func (o *Service) CertificateNames() (names []string) {
	if !ServesPrograms(o.Config()) {
		return nil
	}
	domains, err := o.Dir.Domains()
	if err != nil {
		return nil // the next check asks again
	}
	for _, d := range domains {
		names = append(names, string(d), "autoconfig."+string(d), "autodiscover."+string(d))
	}
	return names
}

// exportCA returns the certificate of the server's own CA, in the format pem or der.
func (o *Service) exportCA(format string) ([]byte, error) {
	m, err := OpenCertificate(o.Config())
	if err != nil {
		return nil, err
	}
	ca, err := m.ExportCA(format)
	if errors.Is(err, certs.ErrFormat) {
		err = usage(fmt.Errorf("--format is pem or der, not %q", format))
	}
	return ca, err
}

// TLSClientsQuestion asks for the clients that used TLS since the server's start.
type TLSClientsQuestion struct {
	Legacy bool // only those that need old TLS, or were refused for it
}

func (o *Service) tlsClients(q TLSClientsQuestion) ([]certs.Client, error) {
	r, err := o.server("answer")
	if err != nil {
		return nil, err
	}
	all := orEmpty(r.TLSClients())
	if q.Legacy {
		all = slices.DeleteFunc(all, func(c certs.Client) bool { return !c.Legacy && !c.Refused })
	}
	return all, nil
}

// acmeStatus tells how the running server's certificate by ACME is.
func (o *Service) acmeStatus() (acme.Status, error) {
	r, err := o.server("answer")
	if err != nil {
		return acme.Status{}, err
	}
	return r.ACME.Status(), nil
}

// acmeRenew makes the running server get a certificate by ACME now.
func (o *Service) acmeRenew(ctx context.Context, _ struct{}) (acme.Status, error) {
	r, err := o.server("answer")
	if err == nil {
		err = r.ACME.Renew(ctx)
	}
	if err != nil {
		return acme.Status{}, err
	}
	status := r.ACME.Status()
	o.Record("certificate by ACME", nil, map[string]any{"not_after": status.NotAfter})
	return status, nil
}

// ClientCertOrder is a client certificate that is to be made for a mailbox.
type ClientCertOrder struct {
	User string
	NewClientCert
	Try bool // only tell what the mailbox is called
}

// ClientCertIssued is a client certificate that was made.
type ClientCertIssued struct {
	Mailbox string // its whole name
	Issued  certs.IssuedClient
	Change  Change
}

// issueClientCert makes a certificate. The caller writes the file, and revokes the certificate if
// that fails.
func (o *Service) issueClientCert(in ClientCertOrder) (out ClientCertIssued, err error) {
	user, err := o.ParseUser(in.User)
	if err != nil {
		return out, err
	}
	out.Mailbox = user.Fold().String()
	if in.Try {
		return out, nil
	}
	out.Issued, out.Change, err = o.IssueClientCert(in.User, in.NewClientCert)
	if errors.Is(err, certs.ErrDays) {
		err = usage(err)
	}
	return out, err
}

// ClientCertToRevoke names client certificates of a mailbox.
type ClientCertToRevoke struct {
	User        string
	Fingerprint string // or the beginning of it
	All         bool   // all that the mailbox has
}

func (o *Service) revokeClientCert(in ClientCertToRevoke) (Change, error) {
	if in.All {
		return o.RevokeClientCerts(in.User)
	}
	return o.RevokeClientCert(in.User, in.Fingerprint)
}
