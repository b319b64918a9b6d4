package collect_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"pillarbox/mailstore"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/auth"
	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/durable"
	"pillarbox/pop3"
	"pillarbox/pop3/collect"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// provider is our own server, with the mailbox anna.
type provider struct {
	t     *testing.T
	dir   string // of the mailbox, relative to path
	path  string
	store *mailstore.Store
	roots *x509.CertPool
	ports map[bool]int // by implicit TLS
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	p := &provider{t: t, path: t.TempDir(), roots: x509.NewCertPool(), ports: map[bool]int{}}
	root, err := durable.Open(p.path)
	must(t, err)
	t.Cleanup(func() { root.Close() })
	p.store, err = mailstore.Open(root, mailstore.Options{})
	must(t, err)
	dir := directory.New(root, directory.Options{})
	must(t, dir.AddDomain("isp.example"))
	verifier, err := auth.HashPassword("secret")
	must(t, err)
	box, err := dir.AddMailbox(addr.Address{Local: "anna", Domain: "isp.example"}, directory.Account{Verifier: verifier})
	must(t, err)
	p.dir = box.Dir
	log := slog.New(slog.DiscardHandler)
	server := pop3.New(pop3.Config{Hostname: "pop.isp.example", TLS: p.certificate(), PlaintextNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
		p.store, auth.New(dir, auth.Options{Log: log, Delay: time.Millisecond}), log)
	var serving sync.WaitGroup
	for _, implicit := range []bool{false, true} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		p.ports[implicit] = l.Addr().(*net.TCPAddr).Port
		serving.Go(func() { server.Serve(l, implicit) })
	}
	t.Cleanup(func() {
		server.Shutdown(context.Background())
		serving.Wait()
	})
	return p
}

func (p *provider) certificate() *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(p.t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"pop.isp.example"}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(p.t, err)
	cert, err := x509.ParseCertificate(der)
	must(p.t, err)
	p.roots.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

func (p *provider) deliver(text string) {
	p.t.Helper()
	in := p.store.Create()
	defer in.Abort()
	_, err := io.WriteString(in, text)
	must(p.t, err)
	_, err = in.Commit([]string{p.dir})
	must(p.t, err)
}

func (p *provider) left() int {
	names, _ := filepath.Glob(filepath.Join(p.path, p.dir, "*.eml"))
	return len(names)
}

// Mail is collected from our own server, octet for octet, with and without TLS.
func TestOwnServer(t *testing.T) {
	p := newProvider(t)
	root, err := durable.Open(t.TempDir())
	must(t, err)
	defer root.Close()
	for _, test := range []struct {
		name     string
		implicit bool
		mode     collect.TLSMode
		roots    *x509.CertPool
		host     string
		password string
		class    error
	}{
		{name: "plain", mode: collect.TLSOff},
		{name: "STLS", mode: collect.TLSOpportunistic},
		{name: "STLS demanded", mode: collect.TLSRequired},
		{name: "STLS verified", mode: collect.TLSVerified, roots: p.roots},
		{name: "TLS", implicit: true, mode: collect.TLSRequired},
		{name: "TLS verified", implicit: true, mode: collect.TLSVerified, roots: p.roots},
		{name: "unknown authority", implicit: true, mode: collect.TLSVerified, class: collect.ErrTLS},
		{name: "other name", mode: collect.TLSVerified, roots: p.roots, host: "pop.else.example", class: collect.ErrTLS},
		{name: "wrong password", mode: collect.TLSRequired, password: "wrong", class: collect.ErrLogin},
	} {
		t.Run(test.name, func(t *testing.T) {
			text := fmt.Sprintf("Message-ID: <%s>\r\n\r\n.\r\n..dots\r\n\xff 8 bit\r\n", test.name)
			p.deliver(text)
			before := p.left()
			var got string
			o := collect.Options{
				Name: test.name, Host: "pop.isp.example", Port: p.ports[test.implicit], ImplicitTLS: test.implicit, TLS: test.mode,
				Roots: test.roots, User: "anna@isp.example", Password: "secret", Files: root,
				Deliver: func(r io.Reader) error {
					all, err := io.ReadAll(r)
					got += string(all)
					return err
				},
				Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
					_, port, _ := net.SplitHostPort(address)
					return new(net.Dialer).DialContext(ctx, network, "127.0.0.1:"+port)
				},
			}
			if test.host != "" {
				o.Host = test.host
			}
			if test.password != "" {
				o.Password = test.password
			}
			result, err := collect.Collect(t.Context(), o)
			if test.class != nil {
				if e, ok := errors.AsType[*collect.Error](err); !errors.Is(err, test.class) || !ok || e.Hint == "" || p.left() != before {
					t.Errorf("%v, %d messages are left of %d", err, p.left(), before)
				}
				return
			}
			want := collect.Result{Fetched: 1, Deleted: 1, Bytes: int64(len(text))}
			if err != nil || result != want || got != text || p.left() != 0 {
				t.Errorf("%+v, %v, %q, %d left", result, err, got, p.left())
			}
		})
	}
}
