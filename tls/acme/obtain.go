package acme

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"time"

	"golang.org/x/crypto/acme"

	"pillarbox/mailstore/durable"
)

// obtain gets a certificate and writes it to its file. The steps are those of RFC 8555 §7.1:
// account, order, authorizations, finalization.
func obtain(ctx context.Context, cfg *Config) (*x509.Certificate, error) {
	fsys, err := store(cfg.Dir)
	if err != nil {
		return nil, err
	}
	defer fsys.Close()
	client, err := newClient(cfg, fsys)
	if err != nil {
		return nil, err
	}
	if err := register(ctx, client, cfg); err != nil {
		return nil, err
	}
	order, err := client.AuthorizeOrder(ctx, acme.DomainIDs(cfg.Names...))
	if err != nil {
		return nil, err
	}
	if err := authorize(ctx, client, cfg, order.AuthzURLs); err != nil {
		return nil, err
	}
	if order, err = client.WaitOrder(ctx, order.URI); err != nil {
		return nil, err
	}
	text, leaf, err := finalize(ctx, client, order, cfg.Names)
	if err != nil {
		return nil, err
	}
	return leaf, durable.WriteFile(fsys, certificateFile, text, 0o600)
}

// newClient makes an ACME client with the key of the account. It makes the key if it is missing.
func newClient(cfg *Config, fsys *durable.Root) (*acme.Client, error) {
	key, err := accountKey(fsys)
	if err != nil {
		return nil, err
	}
	web, err := httpClient(cfg.CAFile)
	if err != nil {
		return nil, err
	}
	return &acme.Client{
		Key: key, DirectoryURL: cfg.Directory, UserAgent: "pillarbox",
		RetryBackoff: backoff, HTTPClient: web,
	}, nil
}

// httpClient trusts the CA in caFile, or those of the system if caFile is "".
func httpClient(caFile string) (*http.Client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableKeepAlives = true // the next attempt is weeks away
	if caFile != "" {
		text, err := durable.ReadSmallFile(caFile, durable.MaxSmall)
		if err != nil {
			return nil, err
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s contains no PEM certificate", caFile)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	}
	return &http.Client{Transport: transport, Timeout: 30 * time.Second}, nil
}

// backoff gives one request a few attempts, for used nonces and short faults of the server. If the
// server demands a later attempt (429), the request fails, and retry waits.
func backoff(n int, _ *http.Request, resp *http.Response) time.Duration {
	const most = 6
	if n > most || resp.StatusCode == http.StatusTooManyRequests {
		return 0 // no more
	}
	return 100 * time.Millisecond << n
}

func accountKey(fsys *durable.Root) (crypto.Signer, error) {
	text, err := durable.ReadSmall(fsys, accountFile, durable.MaxSmall)
	if errors.Is(err, fs.ErrNotExist) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		text, err := encodeKey(key)
		if err != nil {
			return nil, err
		}
		return key, durable.WriteFile(fsys, accountFile, text, 0o600)
	} else if err != nil {
		return nil, err
	}
	bad := func(why any) error {
		return fmt.Errorf("%s in %s: %v; restore it from a backup, "+
			"or move it away to have a new account made", accountFile, fsys.Name(), why)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, bad("it contains no PEM key")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, bad(err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, bad("the key cannot sign")
	}
	return signer, nil
}

func encodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), err
}

// register makes the account, or finds the existing one of the key. The configuration exists only
// if the administrator has accepted the terms of service.
func register(ctx context.Context, client *acme.Client, cfg *Config) error {
	account := &acme.Account{}
	if cfg.Email != "" {
		account.Contact = []string{"mailto:" + cfg.Email}
	}
	_, err := client.Register(ctx, account, acme.AcceptTOS)
	if errors.Is(err, acme.ErrAccountAlreadyExists) {
		return nil
	}
	return err
}

// authorize proves for every name that it belongs to this server.
func authorize(ctx context.Context, client *acme.Client, cfg *Config, urls []string) error {
	r, err := listen(cfg)
	if err != nil {
		return err
	}
	defer r.Close()
	for _, url := range urls {
		authz, err := client.GetAuthorization(ctx, url)
		if err != nil {
			return err
		}
		if authz.Status == acme.StatusValid {
			continue // proved for an earlier order
		}
		challenge, err := chosen(authz, cfg.Challenge)
		if err != nil {
			return err
		}
		if err := r.expect(client, challenge.Token, authz.Identifier.Value); err != nil {
			return err
		}
		if _, err := client.Accept(ctx, challenge); err != nil {
			return err
		}
		if _, err := client.WaitAuthorization(ctx, authz.URI); err != nil {
			return err
		}
	}
	return nil
}

// chosen returns the challenge of the configured kind.
func chosen(authz *acme.Authorization, kind Challenge) (*acme.Challenge, error) {
	for _, c := range authz.Challenges {
		if c.Type == string(kind) {
			return c, nil
		}
	}
	return nil, fmt.Errorf("the ACME server does not offer the challenge %s for %s",
		kind, authz.Identifier.Value)
}

// finalize makes a key and has a certificate issued for it. text is the content of the certificate
// file.
func finalize(
	ctx context.Context, client *acme.Client, order *acme.Order, names []string,
) (text []byte, leaf *x509.Certificate, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.CertificateRequest{DNSNames: names}
	csr, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		return nil, nil, err
	}
	chain, _, err := client.CreateCertFromOrder(ctx, order, csr, true)
	if err != nil {
		return nil, nil, err
	}
	if text, err = encodeKey(key); err != nil {
		return nil, nil, err
	}
	for _, der := range chain {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	// An unusable certificate must not replace a usable one.
	pair, err := tls.X509KeyPair(text, text)
	if err != nil {
		return nil, nil, fmt.Errorf("the ACME server's certificate: %w", err)
	}
	for _, name := range names {
		if err := pair.Leaf.VerifyHostname(name); err != nil {
			return nil, nil, fmt.Errorf("the ACME server's certificate: %w", err)
		}
	}
	return text, pair.Leaf, nil
}
