// Package selftest sends and fetches a message through every listener of a running server, as a mail
// program does: with verified TLS and a login. It also tries to relay ([Relay]).
package selftest

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/config"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/durable"
	"pillarbox/tls/certs"
)

// stepTimeout limits the test of one listener.
const stepTimeout = 20 * time.Second

// Result is the result of one listener; Err is nil if it passed.
type Result struct {
	Service string
	Address string
	What    string
	Err     error
}

// test is one selftest in progress: its own mailbox, and the subjects of the messages in it.
type test struct {
	cfg      *config.Config
	box      addr.Address
	password string
	spa      bool // log in by NTLM, because the server refuses the plain password
	tls      *tls.Config
	sent     []string // subjects
}

// Run tests every listener and calls report for each. It makes a mailbox for the test and removes it
// afterwards. The error is about the test itself, not about a listener.
func Run(ctx context.Context, office *admin.Service, report func(Result)) error {
	cfg := office.Config()
	t := &test{cfg: cfg, password: rand.Text(), spa: wantsSPA(cfg)}
	var err error
	if t.tls, err = clientTLS(cfg); err != nil {
		return err
	}
	remove, err := t.makeMailbox(office)
	if err != nil {
		return err
	}
	defer remove()
	type service struct {
		name      string
		addresses []string
		run       func(context.Context, string, string) (string, error)
	}
	for _, s := range []service{
		{"smtp", cfg.Listen.SMTP, t.send}, {"submission", cfg.Listen.Submission, t.send},
		{"smtps", cfg.Listen.SMTPS, t.send},
		{"pop3", cfg.Listen.POP3, t.fetch}, {"pop3s", cfg.Listen.POP3S, t.fetch},
	} {
		for _, address := range s.addresses {
			step, cancel := context.WithTimeout(ctx, stepTimeout)
			what, err := s.run(step, s.name, address)
			cancel()
			report(Result{s.name, address, what, explain(err)})
		}
	}
	return nil
}

// explain adds a hint to an error with a likely cause.
func explain(err error) error {
	var unknown x509.UnknownAuthorityError
	var wrongName x509.HostnameError
	switch {
	case err == nil:
		return nil
	case isRefused(err):
		return admin.Hint(err, "no server listens there: is 'pillarbox serve' running, or does another program hold the port?")
	case errors.As(err, &unknown), errors.As(err, &wrongName):
		return admin.Hint(err, "the certificate is not valid for this server: 'pillarbox admin tls show' shows it; "+
			"'pillarbox setup' issues a new one from the server's own CA")
	}
	return err
}

func isRefused(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

func (t *test) makeMailbox(office *admin.Service) (remove func(), err error) {
	domain := office.Dir.DefaultDomain()
	if domain == "" {
		all, err := office.Dir.Domains()
		if err != nil {
			return nil, err
		}
		if len(all) == 0 {
			return nil, admin.Hint(errors.New("there is no domain to test with"), "pillarbox admin domain add DOMAIN")
		}
		domain = all[0]
	}
	t.box = addr.Address{Local: "selftest-" + strings.ToLower(rand.Text()[:8]), Domain: domain}
	// The domain may have another method, which does not know this user.
	account := directory.Account{Method: directory.ByFile}
	if t.spa {
		account.Store = []directory.SecretKind{directory.SecretSPA}
	}
	set, err := office.Keeper.New(t.box, account, t.password, time.Now())
	if err == nil {
		err = set(&account)
	}
	if err == nil {
		_, err = office.Dir.AddMailbox(t.box, account)
	}
	if err != nil {
		return nil, err
	}
	return func() { office.Dir.RemoveMailbox(t.box) }, nil
}

// clientTLS returns the TLS of a mail program that trusts the server's CA or certificate.
func clientTLS(cfg *config.Config) (*tls.Config, error) {
	m, err := certs.Open(cfg.Certs())
	if err != nil {
		return nil, err
	}
	conf := &tls.Config{ServerName: string(cfg.Hostname)}
	if cfg.TLS.Cert != "" {
		// The certificate must be from a root of this machine, or be the file itself.
		if conf.RootCAs, err = x509.SystemCertPool(); err != nil {
			conf.RootCAs = x509.NewCertPool()
		}
		pem, err := durable.ReadSmallFile(cfg.TLS.Cert, durable.MaxSmall)
		if err != nil {
			return nil, err
		}
		conf.RootCAs.AppendCertsFromPEM(pem)
		return conf, nil
	}
	ca, err := m.ExportCA("pem")
	if err != nil {
		return nil, err
	}
	conf.RootCAs = x509.NewCertPool()
	if file := cfg.Certs().ACMEFile; m.Info().Source == certs.FromACME {
		pem, err := durable.ReadSmallFile(file, durable.MaxSmall)
		if err != nil {
			return nil, err
		}
		conf.RootCAs.AppendCertsFromPEM(pem)
	}
	conf.RootCAs.AppendCertsFromPEM(ca)
	return conf, nil
}

// dial connects to a listen address from this machine, with TLS from the start if implicit is set.
func (t *test) dial(ctx context.Context, address string, implicit bool) (net.Conn, error) {
	// For an address without a host, Dial takes this machine. The name localhost would need a hosts file or DNS.
	c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	c.SetDeadline(deadline)
	if implicit {
		return tls.Client(c, t.tls), nil
	}
	return c, nil
}

// send sends a message to the test's own mailbox. At the service smtp it acts as another server,
// without a login; at the others it logs in.
func (t *test) send(ctx context.Context, service, address string) (string, error) {
	c, err := t.dial(ctx, address, service == "smtps")
	if err != nil {
		return "connect", err
	}
	defer c.Close()
	var client *gosmtp.Client
	if service == "smtps" {
		client = gosmtp.NewClient(c)
	} else if client, err = gosmtp.NewClientStartTLS(c, t.tls); err != nil {
		return "STARTTLS", err
	}
	if err := client.Hello("selftest.invalid"); err != nil {
		return "EHLO", err
	}
	from := ""
	if service != "smtp" {
		from = t.box.String()
		if err := client.Auth(t.credentials()); err != nil {
			return "log in", err
		}
	}
	subject := "pillarbox selftest " + rand.Text()
	message := fmt.Sprintf("From: <%s>\r\nTo: <%s>\r\nSubject: %s\r\n\r\nsent through %s %s\r\n",
		t.box, t.box, subject, service, address)
	if err := client.SendMail(from, []string{t.box.String()}, strings.NewReader(message)); err != nil {
		return "send", err
	}
	t.sent = append(t.sent, subject)
	return "a message sent to " + t.box.String(), client.Quit()
}

// fetch reads every message that was sent, over TLS and after a login.
func (t *test) fetch(ctx context.Context, service, address string) (string, error) {
	c, err := t.dial(ctx, address, service == "pop3s")
	if err != nil {
		return "connect", err
	}
	defer c.Close()
	p, err := newPOP3(c)
	if err != nil {
		return "greeting", err
	}
	if service == "pop3" {
		if err := p.startTLS(t.tls); err != nil {
			return "STLS", err
		}
	}
	if err := p.logIn(t.credentials()); err != nil {
		return "log in", err
	}
	all, err := p.retrieveAll()
	if err != nil {
		return "fetch", err
	}
	for _, subject := range t.sent {
		if !strings.Contains(all, "Subject: "+subject+"\n") {
			return "fetch", fmt.Errorf("an accepted message is not in the mailbox (%s)", subject)
		}
	}
	return fmt.Sprintf("%d messages fetched from %s", len(t.sent), t.box), p.quit()
}
