package server

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pillarbox/mailstore"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/auth"
	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/durable"
	"pillarbox/mailstore/mailtest"
	"pillarbox/smtp"
	"pillarbox/smtp/wire"
)

// office is a running server with one domain, office.example.
type office struct {
	dir    *directory.Directory
	store  *mailstore.Store
	server *Server
	cfg    Config
	addr   string
	disk   *mailtest.FailFS
	tls    *tls.Config // for clients
}

// testTLS is a certificate that a client of the tests trusts.
func testTLS(t testing.TB) (server, client *tls.Config) {
	t.Helper()
	h := httptest.NewUnstartedServer(nil)
	h.StartTLS()
	t.Cleanup(h.Close)
	pool := x509.NewCertPool()
	pool.AddCert(h.Certificate())
	return &tls.Config{Certificates: h.TLS.Certificates}, &tls.Config{RootCAs: pool, ServerName: "example.com"}
}

func newOffice(t testing.TB, service smtp.Service, edit func(*Config)) *office {
	t.Helper()
	root, err := durable.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	o := &office{}
	var disk durable.FS = root
	if _, isTest := t.(*testing.T); isTest { // it notes every operation: too much for the others
		o.disk = mailtest.NewFailFS(root)
		disk = o.disk
	}
	o.dir = directory.New(disk, directory.Options{PlusSeparator: "+", DefaultDomain: "office.example"})
	if o.store, err = mailstore.Open(disk, mailstore.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := o.dir.AddDomain("office.example"); err != nil {
		t.Fatal(err)
	}
	serverTLS, clientTLS := testTLS(t)
	o.tls = clientTLS
	o.cfg = Config{Wire: wire.Config{
		Hostname: "mail.office.example", Greeting: func() string { return "Pillarbox ESMTP ready" }, TLS: serverTLS,
		MaxMessageSize: 100_000, MaxRecipients: 5, MaxTextLine: 5000, MaxErrors: 6,
		CommandTimeout: 10 * time.Second, DataTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second,
	}}
	if edit != nil {
		edit(&o.cfg)
	}
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	o.server = New(o.cfg, o.dir, o.store, auth.New(o.dir, auth.Options{Delay: time.Millisecond}), quiet)
	o.server.now = func() time.Time { return time.Date(2026, 11, 21, 9, 14, 0, 0, time.UTC) }
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.addr = l.Addr().String()
	done := make(chan error, 1)
	go func() { done <- o.server.Serve(l, service) }()
	t.Cleanup(func() {
		o.server.Shutdown(t.Context())
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return o
}

func (o *office) mailbox(t testing.TB, user, password string) {
	t.Helper()
	verifier := ""
	if password != "" {
		var err error
		if verifier, err = auth.HashPassword(password); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := o.dir.AddMailbox(address(t, user), directory.Account{Verifier: verifier}); err != nil {
		t.Fatal(err)
	}
}

func address(t testing.TB, s string) addr.Address {
	t.Helper()
	if !strings.Contains(s, "@") {
		s += "@office.example"
	}
	a, err := addr.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// messages is everything in a user's mailbox.
func (o *office) messages(t testing.TB, user string) []string {
	t.Helper()
	return o.read(t, user, false)
}

// read reads a whole mailbox, and empties it if it is told to.
func (o *office) read(t testing.TB, user string, remove bool) (all []string) {
	t.Helper()
	box, err := o.dir.Mailbox(address(t, user))
	if err != nil {
		t.Fatal(err)
	}
	m, err := o.store.OpenMaildrop(box.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	var every []int
	for i := range m.Messages() {
		r, err := m.Open(i)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		r.Close()
		if err != nil {
			t.Fatal(err)
		}
		all, every = append(all, string(text)), append(every, i)
	}
	if remove {
		if err := m.Remove(every); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// Options of a dialogue: %service smtp|submission|smtps; %plaintext NETWORK;
// %mailbox USER [PASSWORD]; %lock USER; %alias NAME TARGET; %group NAME
// MEMBER...; %catchall TARGET; %forward USER TARGET; %notls; %normalise;
// and, judged at the end, %stored USER NUMBER.
func TestDialogues(t *testing.T) {
	mailtest.RunDialogues(t, "testdata/*.dialog", func(t *testing.T, d *mailtest.Dialogue) mailtest.Peer {
		services := map[string]smtp.Service{"smtp": smtp.MTA, "submission": smtp.Submission, "smtps": smtp.SMTPS}
		service := services[d.Option("service", "smtp")]
		o := newOffice(t, service, func(cfg *Config) {
			for _, network := range d.Options["plaintext"] {
				cfg.Rules.PlaintextNetworks = append(cfg.Rules.PlaintextNetworks, netip.MustParsePrefix(network))
			}
			if _, ok := d.Options["notls"]; ok {
				cfg.Wire.TLS = nil
			}
			if _, ok := d.Options["normalise"]; ok {
				cfg.Wire.BareEndings = wire.NormaliseBare
			}
		})
		o.furnish(t, d)
		t.Cleanup(func() {
			for _, want := range d.Options["stored"] {
				var user string
				var n int
				fmt.Sscan(want, &user, &n)
				if got := len(o.messages(t, user)); got != n {
					t.Errorf("%s has %d messages, want %d", user, got, n)
				}
			}
		})
		return mailtest.Peer{
			Dial: func() (net.Conn, error) {
				if service == smtp.SMTPS {
					return tls.Dial("tcp", o.addr, o.tls)
				}
				return net.Dial("tcp", o.addr)
			},
			TLS: o.tls,
		}
	})
}

func (o *office) furnish(t *testing.T, d *mailtest.Dialogue) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range d.Options["mailbox"] {
		user, password, _ := strings.Cut(m, " ")
		o.mailbox(t, user, password)
	}
	for _, user := range d.Options["lock"] {
		must(o.dir.UpdateAccount(address(t, user), func(a *directory.Account) error { a.Locked = true; return nil }))
	}
	for _, line := range d.Options["alias"] {
		w := strings.Fields(line)
		must(o.dir.AddAlias(address(t, w[0]), address(t, w[1])))
	}
	for _, line := range d.Options["group"] {
		w := strings.Fields(line)
		var members []addr.Address
		for _, m := range w[1:] {
			members = append(members, address(t, m))
		}
		must(o.dir.AddGroup(address(t, w[0]), members))
	}
	for _, target := range d.Options["catchall"] {
		must(o.dir.SetCatchAll("office.example", address(t, target)))
	}
	for _, line := range d.Options["forward"] {
		w := strings.Fields(line)
		must(o.dir.SetForward(address(t, w[0]), []addr.Address{address(t, w[1])}, false))
	}
}
