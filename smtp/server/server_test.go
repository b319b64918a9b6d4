package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"net/netip"
	"slices"
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
	"pillarbox/mailstore/rules"
	"pillarbox/mailstore/track"
	"pillarbox/smtp"
	"pillarbox/smtp/badmail"
	"pillarbox/smtp/connlimit"
	"pillarbox/smtp/decisionlog"
	"pillarbox/smtp/delivery"
	"pillarbox/smtp/devices"
	"pillarbox/smtp/policy"
	"pillarbox/smtp/queue"
	"pillarbox/smtp/rate"
	"pillarbox/smtp/wire"
)

// office is a running server with one domain, office.example.
type office struct {
	dir     *directory.Directory
	store   *mailstore.Store
	server  *Server
	cfg     Config
	addr    string
	disk    *mailtest.FailFS
	dns     *fakeDNS
	devices *devices.Registry
	room    room
	tls     *tls.Config // for clients
	desk    *delivery.Dispatcher
	outbox  outbox
	relay   relay
	log     mailtest.Log
}

// outbox is a queue without deliveries.
type outbox struct {
	store *mailstore.Store

	mu      sync.Mutex
	items   []*queue.Item
	flushed []string // domains that were asked about
}

func (b *outbox) Add(item *queue.Item) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.items = append(b.items, item)
}

func (b *outbox) all() []*queue.Item {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.items)
}

// FlushETRN finds one message for each of three domains.
func (b *outbox) FlushETRN(match func(addr.Domain) bool) (count int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, domain := range []addr.Domain{"branch.example", "sub.branch.example", "other.example"} {
		if match(domain) {
			b.flushed = append(b.flushed, string(domain))
			count++
		}
	}
	return count
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
	return newTrackedOffice(t, service, edit, nil)
}

// newTrackedOffice is newOffice with a log of the events of mail.
func newTrackedOffice(
	t testing.TB, service smtp.Service, edit func(*Config), events *track.Log,
) *office {
	t.Helper()
	root, err := durable.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	o := &office{dns: &fakeDNS{}}
	var disk durable.FS = root
	if _, isTest := t.(*testing.T); isTest { // FailFS records every operation, which is too much for fuzzing and benchmarks
		o.disk = mailtest.NewFailFS(root)
		disk = o.disk
	}
	o.dir = directory.New(disk, directory.Options{PlusSeparator: "+", DefaultDomain: "office.example"})
	o.devices = devices.New(disk)
	o.room.free = map[string]int64{}
	var room mailstore.Reserver = &o.room
	var past *decisionlog.Log
	if _, isTest := t.(*testing.T); !isTest { // fuzzing and benchmarks need all parts of a server
		past, room = decisionlog.Open(disk), o.ledger()
		t.Cleanup(past.Close)
	}
	if o.store, err = mailstore.Open(disk, mailstore.Options{Reserver: room}); err != nil {
		t.Fatal(err)
	}
	if err := o.store.Recover(mailstore.RecoverOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.store.Close() })
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
	o.cfg.Rules, o.cfg.MaxFor = closedRules(t), 1
	if edit != nil {
		edit(&o.cfg)
	}
	out := io.Writer(&o.log)
	if _, measured := t.(*testing.B); measured {
		out = io.Discard
	}
	quiet := slog.New(slog.NewTextHandler(out, nil))
	o.outbox.store = o.store
	o.desk = delivery.New(delivery.Config{Hostname: "mail.office.example"}, delivery.Parts{
		Dir: o.dir, Store: o.store, Badmail: badmail.New(disk, quiet, nil), Log: quiet,
	})
	o.desk.Queue, o.desk.Track = &o.outbox, events
	o.server = New(o.cfg, Parts{
		Decisions: past, Delivery: o.desk, Queue: &o.outbox, ClaimATRN: o.relay.claim,
		Dir: o.dir, Store: o.store, Auth: auth.New(o.dir, auth.Options{Delay: time.Millisecond}), Recent: auth.NewRecent(), Resolver: o.dns, Devices: o.devices,
		Rates: rate.New(100), Accounts: connlimit.NewAccounts(0, quiet), Log: quiet, Track: events,
	})
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

// messages returns every message in a user's mailbox.
func (o *office) messages(t testing.TB, user string) []string {
	t.Helper()
	return o.read(t, user, false)
}

// read returns every message in a mailbox, and removes them if remove is set.
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

// closedRules are the rules of a default configuration.
func closedRules(t testing.TB) *policy.Rules {
	on, off := policy.Setting[bool]{Value: true, Origin: "default"}, policy.Setting[bool]{Origin: "default"}
	mta := policy.Site{Anonymous: on, OfferAuth: on, RequireAuth: off}
	users := policy.Site{Anonymous: off, OfferAuth: on, RequireAuth: on}
	return &policy.Rules{
		Sites: map[string]policy.Site{"smtp": mta, "submission": users, "smtps": users, "odmr": users},
		Relay: policy.Relay{
			Enforcement:        policy.Setting[policy.Enforcement]{Value: policy.EnforceAll, Origin: "default"},
			AuthenticatedAllow: on, DenyHosts: hosts(t, "*"),
		},
		Senders: policy.Senders{
			RefuseForged: on, VerifyUser: policy.Setting[policy.VerifyUser]{Value: policy.VerifyBoth, Origin: "default"},
		},
		Outside:  policy.Outside{Send: on, Receive: on},
		MaxHops:  policy.Setting[int]{Value: 100, Origin: "default"},
		LineEnds: policy.LineEnds{Bare: policy.KnownBare},
	}
}

func hosts(t testing.TB, entries ...string) policy.HostList {
	t.Helper()
	var lines []policy.Line
	for _, e := range entries {
		lines = append(lines, policy.Line{Text: e, Origin: "config"})
	}
	l, errs := policy.ParseHosts(lines, nil)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return l
}

// fakeDNS gives the answers that a test has set.
type fakeDNS struct {
	mu     sync.Mutex
	name   string             // owner: mu
	state  policy.NameState   // owner: mu
	domain policy.DomainState // owner: mu
	names  int                // asked for; owner: mu
}

func (d *fakeDNS) Name(context.Context, netip.Addr) (string, policy.NameState) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.names++
	return d.name, d.state
}

// asked returns how often a client's name was looked up.
func (d *fakeDNS) asked() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.names
}

func (d *fakeDNS) Listings(_ context.Context, _ netip.Addr, zones []string) (all []policy.Listing) {
	for _, zone := range zones {
		all = append(all, policy.Listing{Site: zone, State: policy.ListedNot})
	}
	return all
}

func (d *fakeDNS) SenderDomain(context.Context, addr.Domain) policy.DomainState {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.domain
}

func (d *fakeDNS) set(name string, state policy.NameState, domain policy.DomainState) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.name, d.state, d.domain = name, state, domain
}

// Options of a dialogue: %service smtp|submission|smtps|odmr; %kept ROUTE USER DOMAIN...; %waiting
// ROUTE DOMAIN busy|NUMBER; %plaintext NETWORK; %mailbox USER [PASSWORD]; %lock USER; %sendas USER
// ADDRESS; %outside and %inbound USER allow|deny; %accept GROUP inside|members; %device NAME
// NETWORK [as=ADDRESS] [per=NUMBER]; %separator CHARACTER; %nolimit; %postmaster USER; %deny
// NETWORK; %perhour, %messages, %session, %command NUMBER; %alias NAME TARGET; %group NAME
// MEMBER...; %catchall TARGET; %forward USER TARGET; %notls; %normalise; %barelines NETWORK; and, checked at the end,
// %stored USER NUMBER.
func TestDialogues(t *testing.T) {
	mailtest.RunDialogues(t, "testdata/*.dialog", func(t *testing.T, d *mailtest.Dialogue) mailtest.Peer {
		services := map[string]smtp.Service{"odmr": smtp.ODMR, "smtp": smtp.MTA, "submission": smtp.Submission, "smtps": smtp.SMTPS}
		service := services[d.Option("service", "smtp")]
		o := newOffice(t, service, func(cfg *Config) {
			for _, network := range d.Options["plaintext"] {
				cfg.Rules.LogIns.PlaintextNetworks = hosts(t, network)
			}
			if _, ok := d.Options["notls"]; ok {
				cfg.Wire.TLS = nil
			}
			if _, ok := d.Options["normalise"]; ok {
				cfg.Rules.LineEnds.Bare = policy.NormaliseBare
			}
			if networks := d.Options["barelines"]; len(networks) > 0 {
				cfg.Rules.LineEnds.Networks = hosts(t, networks...)
			}
			if networks := d.Options["deny"]; len(networks) > 0 {
				cfg.Rules.Connections.Deny = hosts(t, networks...)
			}
			if _, ok := d.Options["nolimit"]; ok {
				cfg.Wire.MaxMessageSize = 0
			}
			for _, line := range d.Options["kept"] {
				w := strings.Fields(line)
				cfg.Triggers = append(cfg.Triggers, Trigger{Route: w[0], Accounts: []addr.Address{address(t, w[1])}, Domains: w[2:]})
			}
			fmt.Sscan(d.Option("perhour", "0"), &cfg.Rules.Outside.PerHour.Value)
			fmt.Sscan(d.Option("messages", "0"), &cfg.Wire.MaxMessages)
			fmt.Sscan(d.Option("session", "0"), &cfg.Wire.MaxSessionSize)
			fmt.Sscan(d.Option("command", "0"), &cfg.Wire.MaxCommandLine)
		})
		if separator := d.Option("separator", ""); separator != "" {
			o.dir.SetOptions(directory.Options{PlusSeparator: separator, DefaultDomain: "office.example"})
		}
		o.furnish(t, d)
		o.relay.waiting = d.Options["waiting"]
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
	for _, line := range d.Options["rule"] { // USER ACT [TEXT]
		w := strings.SplitN(line, " ", 3)
		must(o.dir.UpdateRules(address(t, w[0]), func(list []rules.Rule) ([]rules.Rule, error) {
			return append(list, rules.Rule{Do: rules.Act(w[1]), Text: strings.Join(w[2:], "")}), nil
		}))
	}
	o.furnishRights(t, d, must)
	for _, target := range d.Options["catchall"] {
		must(o.dir.SetCatchAll("office.example", address(t, target)))
	}
	for _, line := range d.Options["forward"] {
		w := strings.Fields(line)
		must(o.dir.SetForward(address(t, w[0]), []addr.Address{address(t, w[1])}, false))
	}
}

func (o *office) furnishRights(t *testing.T, d *mailtest.Dialogue, must func(error)) {
	for _, line := range d.Options["sendas"] {
		w := strings.Fields(line)
		must(o.dir.UpdateAccount(address(t, w[0]), func(a *directory.Account) error {
			a.SendAs = append(a.SendAs, address(t, w[1]))
			return nil
		}))
	}
	for _, right := range []string{"outside", "inbound"} {
		for _, line := range d.Options[right] {
			w := strings.Fields(line)
			may := w[1] == "allow"
			must(o.dir.UpdateAccount(address(t, w[0]), func(a *directory.Account) error {
				if right == "outside" {
					a.Outside = &may
				} else {
					a.Inbound = &may
				}
				return nil
			}))
		}
	}
	for _, line := range d.Options["accept"] {
		w := strings.Fields(line)
		must(o.dir.UpdateDomain("office.example", func(f *directory.DomainFile) error {
			g := f.Groups[w[0]]
			g.Accept = directory.Accept(w[1])
			f.Groups[w[0]] = g
			return nil
		}))
	}
	for _, line := range d.Options["device"] {
		w := strings.Fields(line)
		device := policy.Device{Name: w[0], Networks: []netip.Prefix{netip.MustParsePrefix(w[1])}}
		for _, word := range w[2:] {
			if as, ok := strings.CutPrefix(word, "as="); ok {
				device.As = address(t, as)
			}
			fmt.Sscanf(word, "per=%d", &device.PerHour)
		}
		must(o.devices.Add(device))
	}
	for _, user := range d.Options["postmaster"] {
		must(o.dir.AddAlias(address(t, "postmaster"), address(t, user)))
	}
}
