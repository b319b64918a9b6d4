package acme

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/acme"
)

func (p *pebble) config(t *testing.T, kind Challenge) *Config {
	t.Helper()
	port := p.httpPort
	if kind == TLSALPN01 {
		port = p.tlsPort
	}
	return &Config{
		Dir: filepath.Join(t.TempDir(), "tls", "acme", "pebble"), Directory: p.directory, Email: "postmaster@office.example",
		Names: []string{"mail.office.example", "office.example"}, Challenge: kind, Listen: fmt.Sprintf("127.0.0.1:%d", port), CAFile: p.caFile,
	}
}

// keeping is a Renewer under test, with a clock, a log, and a signal for each certificate.
type keeping struct {
	*Renewer
	clock atomic.Int64 // nanoseconds ahead of the real time
	log   logBuffer
	new   chan struct{}
}

func keep(t *testing.T, cfg *Config) *keeping {
	t.Helper()
	k := &keeping{new: make(chan struct{}, 10)}
	k.Renewer = NewRenewer(nil, func() { k.new <- struct{}{} }, slog.New(slog.NewTextHandler(&k.log, nil)))
	k.now = func() time.Time { return time.Now().Add(time.Duration(k.clock.Load())) }
	k.SetConfig(cfg)
	return k
}

// run runs the Renewer until the end of the test.
func (k *keeping) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		k.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

func (k *keeping) await(t *testing.T) {
	t.Helper()
	select {
	case <-k.new:
	case <-time.After(30 * time.Second):
		t.Fatal("no certificate came; the log:\n", k.log.String())
	}
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// mustHave reads the certificate and verifies it as a client would.
func (p *pebble) mustHave(t *testing.T, cfg *Config) *x509.Certificate {
	t.Helper()
	text, err := os.ReadFile(CertificateFile(cfg.Dir))
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(text, text)
	if err != nil {
		t.Fatal(err)
	}
	between := x509.NewCertPool()
	for _, der := range pair.Certificate[1:] {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		between.AddCert(c)
	}
	for _, name := range cfg.Names {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: p.issuers, Intermediates: between}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	return pair.Leaf
}

func TestCertificateAndRenewal(t *testing.T) {
	p := startPebble(t, 90*24*time.Hour)
	for _, kind := range []Challenge{HTTP01, TLSALPN01} {
		t.Run(string(kind), func(t *testing.T) {
			cfg := p.config(t, kind)
			k := keep(t, cfg)
			k.run(t)
			k.await(t)
			first := p.mustHave(t, cfg)
			account := mustRead(t, filepath.Join(cfg.Dir, accountFile))
			for _, name := range []string{accountFile, certificateFile} {
				if info, err := os.Stat(filepath.Join(cfg.Dir, name)); err != nil || info.Mode() != 0o600 {
					t.Errorf("%s: %v %v", name, info.Mode(), err)
				}
			}
			if _, err := net.Dial("tcp", cfg.Listen); err == nil {
				t.Error("somebody listens though no challenge is open")
			}
			if s := k.Status(); !s.Enabled || !s.NotAfter.Equal(first.NotAfter) || s.Error != "" || time.Until(s.Next).Round(24*time.Hour) != 60*24*time.Hour {
				t.Errorf("status %+v", s)
			}

			k.jump(59 * 24 * time.Hour)
			select {
			case <-k.new:
				t.Error("renewed too early")
			case <-time.After(50 * time.Millisecond):
			}
			k.jump(2 * 24 * time.Hour)
			k.await(t)
			second := p.mustHave(t, cfg)
			if first.SerialNumber.Cmp(second.SerialNumber) == 0 || bytes.Equal(first.RawSubjectPublicKeyInfo, second.RawSubjectPublicKeyInfo) {
				t.Error("the renewed certificate is the old one")
			}
			if !bytes.Equal(account, mustRead(t, filepath.Join(cfg.Dir, accountFile))) {
				t.Error("another account was made")
			}
		})
	}
}

// jump advances the clock and wakes the Renewer.
func (k *keeping) jump(d time.Duration) {
	k.clock.Add(int64(d))
	k.wake <- struct{}{}
}

func mustRead(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Another name, and a restart, are noticed.
func TestWhatIsThereIsKept(t *testing.T) {
	p := startPebble(t, 90*24*time.Hour)
	cfg := p.config(t, HTTP01)
	if err := keep(t, cfg).Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := mustRead(t, CertificateFile(cfg.Dir))
	k := keep(t, cfg)
	k.run(t)
	select {
	case <-k.new:
		t.Error("a certificate was got though there is a good one")
	case <-time.After(100 * time.Millisecond):
	}
	if !bytes.Equal(before, mustRead(t, CertificateFile(cfg.Dir))) {
		t.Error("the certificate has changed")
	}
	more := *cfg
	more.Names = append(more.Names, "pop.office.example")
	k.SetConfig(&more)
	k.await(t)
	p.mustHave(t, &more)
	k.SetConfig(nil)
	if err := k.Renew(t.Context()); !errors.Is(err, ErrOff) || k.Status().Enabled {
		t.Errorf("off: %v", err)
	}
}

// A failed attempt keeps the old certificate, is logged, and is followed by another attempt.
func TestFailures(t *testing.T) {
	p := startPebble(t, 90*24*time.Hour)
	good := p.config(t, HTTP01)
	if err := keep(t, good).Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := mustRead(t, CertificateFile(good.Dir))
	failing := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "out of order", http.StatusNotFound)
	}))
	defer failing.Close()
	for name, spoil := range map[string]func(*Config){
		"nobody there":       func(c *Config) { c.Directory = fmt.Sprintf("https://127.0.0.1:%d/dir", freePort(t)) },
		"not an ACME server": func(c *Config) { c.Directory = failing.URL },
		"unknown CA":         func(c *Config) { c.CAFile = "" },
		"no CA file":         func(c *Config) { c.CAFile = "missing.pem" },
		"unreachable":        func(c *Config) { c.Listen = "127.0.0.1:0" }, // not where the server connects
		"port taken":         func(c *Config) { c.Listen = failing.Listener.Addr().String() },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := *good
			spoil(&cfg)
			k := keep(t, &cfg)
			for failures := 1; failures <= 2; failures++ {
				if err := k.Renew(t.Context()); err == nil {
					t.Fatal("no error")
				}
				s := k.Status()
				if s.Failures != failures || s.Error == "" || s.NotAfter.IsZero() || s.Next.Sub(s.Last) != firstRetry<<(failures-1) {
					t.Errorf("after %d failures: %+v", failures, s)
				}
			}
			if !strings.Contains(k.log.String(), "no certificate by ACME") {
				t.Error("the log says nothing")
			}
			if !bytes.Equal(before, mustRead(t, CertificateFile(good.Dir))) {
				t.Error("the certificate has changed")
			}
		})
	}
}

// A server that accepts connections but sends no reply does not delay a shutdown.
func TestSilentServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	k := keep(t, &Config{Dir: filepath.Join(t.TempDir(), "a", "b"), Directory: "https://" + l.Addr().String(), Names: []string{"a.example"}, Challenge: HTTP01, Listen: "127.0.0.1:0"})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		l.Accept()
		cancel()
	}()
	done := make(chan struct{})
	go func() {
		defer close(done)
		k.Run(ctx)
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("Run goes on")
	}
	if s := k.Status(); s.Failures != 0 {
		t.Errorf("a shutdown counts as a failure: %+v", s)
	}
}

// While a challenge is open, other requests get no answer, and connections are limited.
func TestResponderIsBounded(t *testing.T) {
	r, err := listen(&Config{Challenge: HTTP01, Listen: fmt.Sprintf("127.0.0.1:%d", freePort(t))})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	r.files["/.well-known/acme-challenge/token"] = "answer"
	for _, test := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/.well-known/acme-challenge/token", 200},
		{"GET", "/.well-known/acme-challenge/other", 404},
		{"POST", "/.well-known/acme-challenge/token", 404},
		{"GET", "/", 404},
	} {
		w := httptest.NewRecorder()
		r.ServeHTTP(w, httptest.NewRequest(test.method, test.path, nil))
		if w.Code != test.status || w.Code == 200 && w.Body.String() != "answer" {
			t.Errorf("%s %s: %d %s", test.method, test.path, w.Code, w.Body)
		}
	}
}

func TestOnlySoManyVisitors(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &limited{Listener: inner, slots: make(chan struct{}, 2), closed: make(chan struct{})}
	accepted := make(chan net.Conn)
	go func() {
		defer close(accepted)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	var here []net.Conn
	for range 3 {
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	here = append(here, <-accepted, <-accepted)
	select {
	case <-accepted:
		t.Error("the third came in")
	case <-time.After(50 * time.Millisecond):
	}
	here[0].Close()
	here[0].Close() // frees one slot, not two
	if c, ok := <-accepted; !ok {
		t.Error("the third never came in")
	} else {
		defer c.Close()
	}
	l.Close()
	if _, ok := <-accepted; ok {
		t.Error("Accept goes on after Close")
	}
	here[1].Close()
}

// A client without acme-tls/1, or with another name, gets no certificate.
func TestTLSResponder(t *testing.T) {
	r := &responder{kind: TLSALPN01, certs: map[string]*tls.Certificate{"mail.example": {}}}
	for _, test := range []struct {
		name   string
		protos []string
		ok     bool
	}{
		{"mail.example", []string{acme.ALPNProto}, true},
		{"mail.example", []string{"h2"}, false},
		{"mail.example", nil, false},
		{"other.example", []string{acme.ALPNProto}, false},
	} {
		if _, err := r.certificate(&tls.ClientHelloInfo{ServerName: test.name, SupportedProtos: test.protos}); (err == nil) != test.ok {
			t.Errorf("%+v: %v", test, err)
		}
	}
}

func TestRetry(t *testing.T) {
	limited := &acme.Error{StatusCode: 429, ProblemType: "urn:ietf:params:acme:error:rateLimited", Header: http.Header{"Retry-After": {"172800"}}}
	for _, test := range []struct {
		failures int
		err      error
		want     time.Duration
	}{
		{1, io.EOF, 15 * time.Minute},
		{2, io.EOF, 30 * time.Minute},
		{6, io.EOF, 8 * time.Hour},
		{7, io.EOF, 12 * time.Hour},
		{1000, io.EOF, 12 * time.Hour},
		{1, fmt.Errorf("order: %w", limited), 48 * time.Hour},
	} {
		if got := retry(test.failures, test.err); got != test.want {
			t.Errorf("%d failures, %v: %v, want %v", test.failures, test.err, got, test.want)
		}
	}
}

// A damaged certificate file stops neither the start nor a new attempt.
func TestDamagedFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(CertificateFile(dir), []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	k := keep(t, &Config{Dir: dir, Names: []string{"a.example"}})
	if s := k.Status(); !s.Next.IsZero() || !s.NotAfter.IsZero() || !strings.Contains(k.log.String(), "cannot be read") {
		t.Errorf("%+v\n%s", s, k.log.String())
	}
	if err := os.WriteFile(filepath.Join(dir, accountFile), []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := k.Renew(t.Context()); err == nil || !strings.Contains(err.Error(), "restore it from a backup") {
		t.Errorf("damaged account: %v", err)
	}
}
