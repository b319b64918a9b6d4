package pop3

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/auth"
	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/durable"
)

// office is a data directory and the parts that use it.
type office struct {
	t     testing.TB
	path  string
	disk  *mailtest.FailFS // nil in a benchmark
	dir   *directory.Directory
	store *mailstore.Store
	auth  *auth.Authenticator
	log   *logBuffer
}

func newOffice(t testing.TB) *office {
	t.Helper()
	o := &office{t: t, path: t.TempDir(), log: new(logBuffer)}
	root, err := durable.Open(o.path)
	o.must(err)
	t.Cleanup(func() { root.Close() })
	var fsys durable.FS = root
	if _, ok := t.(*testing.B); !ok { // a benchmark measures the disk itself
		o.disk = mailtest.NewFailFS(root)
		fsys = o.disk
	}
	o.store, err = mailstore.Open(fsys, mailstore.Options{})
	o.must(err)
	o.dir = directory.New(fsys, directory.Options{})
	o.must(o.dir.AddDomain("office.example"))
	o.auth = auth.New(o.dir, auth.Options{Log: o.logger(), Delay: time.Millisecond})
	return o
}

func (o *office) must(err error) {
	o.t.Helper()
	if err != nil {
		o.t.Fatal(err)
	}
}

func (o *office) logger() *slog.Logger {
	if _, ok := o.t.(*testing.B); ok { // no log: it would cost time, and no check reads it
		return slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	return slog.New(slog.NewTextHandler(o.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// newServer makes a server that allows plain-text login from this machine.
func (o *office) newServer(change func(*Config)) *Server {
	config := Config{
		Hostname:          "mail.office.example",
		PlaintextNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		TLS:               certificate(),
	}
	if change != nil {
		change(&config)
	}
	return New(config, o.store, o.auth, o.logger())
}

// listen serves on loopback until the test ends, and returns the address.
func (o *office) listen(s *Server, implicitTLS bool) string {
	o.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	o.must(err)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Serve(l, implicitTLS); err != nil {
			o.t.Error(err)
		}
	})
	o.t.Cleanup(func() {
		s.Shutdown(context.Background())
		wg.Wait()
	})
	return l.Addr().String()
}

func (o *office) addMailbox(user, password string, locked bool) {
	o.t.Helper()
	_, err := o.dir.AddMailbox(addr.Address{Local: user, Domain: "office.example"},
		directory.Account{Verifier: mailtest.CheapVerifier(password), Locked: locked})
	o.must(err)
}

func (o *office) mailbox(user string) directory.Mailbox {
	o.t.Helper()
	box, err := o.dir.Login(user)
	o.must(err)
	return box
}

// deliver puts a message into a mailbox, and returns its unique-id.
func (o *office) deliver(user, text string) string {
	o.t.Helper()
	in := o.store.Create()
	defer in.Abort()
	_, err := in.Write([]byte(text))
	o.must(err)
	id, err := in.Commit([]string{o.mailbox(user).Dir})
	o.must(err)
	return id
}

// files returns the paths of a mailbox's messages.
func (o *office) files(user string) []string {
	o.t.Helper()
	names, err := filepath.Glob(filepath.Join(o.path, o.mailbox(user).Dir, "*.eml"))
	o.must(err)
	return names
}

// certificate is a TLS configuration with a key made for this run.
var certificate = sync.OnceValue(func() *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotAfter:     time.Now().Add(time.Hour),
		DNSNames:     []string{"mail.office.example"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
})

func clientTLS() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }

// logBuffer is a log that several goroutines write.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func (b *logBuffer) lineWith(part string) string {
	for line := range strings.Lines(b.String()) {
		if strings.Contains(line, part) {
			return line
		}
	}
	return ""
}
