package admin

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
	"pillarbox/tls/certs"
)

// maxClientCerts limits the client certificates of a mailbox. A user needs one for each computer
// and telephone.
const maxClientCerts = 50

// NewClientCert is a request for a client certificate.
type NewClientCert struct {
	Password string // encrypts the file
	Days     int    // days of validity
	RSA      bool   // for old programs: see certs.ClientRequest
}

// IssueClientCert issues a client certificate from the server's own CA. It replaces the mailbox's
// password at a login. The server keeps no copy of the key: it is only in the returned file. Errors
// include certs.ErrDays and certs.ErrNoCAKey.
func (o *Service) IssueClientCert(user string, n NewClientCert) (issued certs.IssuedClient, c Change, err error) {
	c, err = o.changeMailbox(user, "has a new client certificate", func(a addr.Address) (warnings []string, err error) {
		if !a.IsASCII() {
			return nil, fmt.Errorf("no client certificate for %s: its name is not ASCII", a)
		}
		box, err := o.Dir.Mailbox(a)
		if err == nil {
			err = ownPassword(box) // a certificate must not let in a user whom another directory has disabled
		}
		if err != nil {
			return nil, err
		}
		cfg, now := o.Config(), time.Now()
		issued, err = certs.IssueClient(cfg.Certs().Dir, string(cfg.Hostname),
			certs.ClientRequest{Address: a.String(), Password: n.Password, Days: n.Days, RSA: n.RSA}, now)
		if err != nil {
			return nil, err
		}
		if !cfg.Auth.ClientCertificates {
			warnings = append(warnings, "the server does not request client certificates: auth.client_certificates is false")
		}
		return warnings, o.Dir.UpdateAccount(a, func(account *directory.Account) error {
			account.ClientCerts = slices.DeleteFunc(slices.Clone(account.ClientCerts), func(c directory.ClientCert) bool { return now.After(c.Expires) })
			if len(account.ClientCerts) >= maxClientCerts {
				return Hint(fmt.Errorf("%s has %d client certificates already", a, maxClientCerts), "'pillarbox admin tls client-revoke %s FINGERPRINT' revokes one", a)
			}
			account.ClientCerts = append(account.ClientCerts, directory.ClientCert{
				Fingerprint: issued.Fingerprint, Issued: now.UTC().Truncate(time.Second), Expires: issued.NotAfter.UTC(),
			})
			return nil
		})
	})
	return issued, c, err
}

// ClientCerts lists the client certificates of a mailbox, the oldest first.
func (o *Service) ClientCerts(user string) ([]directory.ClientCert, error) {
	a, err := o.ParseUser(user)
	if err != nil {
		return nil, err
	}
	a = a.Fold()
	if err := o.Require(a.Domain, false); err != nil {
		return nil, err
	}
	box, err := o.Dir.Mailbox(a)
	if err != nil {
		return nil, o.explain(err, a.Domain, "domain show "+string(a.Domain))
	}
	return orEmpty(box.Account.ClientCerts), nil
}

// RevokeClientCert revokes the client certificate whose fingerprint begins with the given text.
// Case, colons and blanks are ignored. Several matches are an error.
func (o *Service) RevokeClientCert(user, fingerprint string) (Change, error) {
	start := strings.ToLower(strings.NewReplacer(":", "", " ", "").Replace(fingerprint))
	return o.revoke(user, "has one client certificate less", func(all []directory.ClientCert) ([]directory.ClientCert, error) {
		var meant []int
		for i, c := range all {
			if start != "" && strings.HasPrefix(c.Fingerprint, start) {
				meant = append(meant, i)
			}
		}
		switch len(meant) {
		case 1:
			return slices.Delete(slices.Clone(all), meant[0], meant[0]+1), nil
		case 0:
			return nil, Hint(fmt.Errorf("no client certificate of %s has a fingerprint that begins with %q", user, fingerprint), "'pillarbox admin tls client-certs %s' lists them", user)
		}
		return nil, fmt.Errorf("%d client certificates of %s have a fingerprint that begins with %q; give more of it", len(meant), user, fingerprint)
	})
}

// RevokeClientCerts revokes all client certificates of a mailbox.
func (o *Service) RevokeClientCerts(user string) (Change, error) {
	return o.revoke(user, "has no client certificates any more", func([]directory.ClientCert) ([]directory.ClientCert, error) { return nil, nil })
}

func (o *Service) revoke(user, done string, left func([]directory.ClientCert) ([]directory.ClientCert, error)) (Change, error) {
	return o.changeMailbox(user, done, func(a addr.Address) ([]string, error) {
		return nil, o.Dir.UpdateAccount(a, func(account *directory.Account) (err error) {
			if len(account.ClientCerts) == 0 {
				return errors.New("the mailbox has no client certificates")
			}
			account.ClientCerts, err = left(account.ClientCerts)
			return err
		})
	})
}
