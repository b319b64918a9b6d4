package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pillarbox/cmd/internal/config"
	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/durable"
	"pillarbox/pop3/collect"
	"pillarbox/smtp"
	"pillarbox/smtp/badmail"
	"pillarbox/smtp/queue"
	"pillarbox/smtp/route"
)

func TestNextTime(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip(err)
	}
	at := func(s string) time.Time {
		if s == "" {
			return time.Time{}
		}
		t.Helper()
		moment, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return moment.In(berlin)
	}
	quarter := config.Fetch{Every: 15 * time.Minute}
	hours := config.Fetch{At: []time.Duration{2*time.Hour + 30*time.Minute, 8 * time.Hour, 23*time.Hour + 59*time.Minute}}
	midnight := config.Fetch{At: []time.Duration{0}}
	for _, test := range []struct {
		f               config.Fetch
		last, now, want string
	}{
		{quarter, "", "2026-11-22T08:00:00+01:00", "2026-11-22T08:00:00+01:00"},
		{quarter, "2026-11-22T08:00:00+01:00", "2026-11-22T08:00:01+01:00", "2026-11-22T08:15:00+01:00"},
		{quarter, "2026-11-22T08:00:00+01:00", "2026-11-22T10:00:00+01:00", "2026-11-22T08:15:00+01:00"}, // it is late
		{quarter, "2026-11-22T08:00:00+01:00", "2026-11-22T07:00:00+01:00", "2026-11-22T07:15:00+01:00"}, // the clock was set back
		{quarter, "2026-10-25T02:55:00+02:00", "2026-10-25T02:56:00+02:00", "2026-10-25T02:10:00+01:00"},
		{hours, "", "2026-11-22T07:59:59+01:00", "2026-11-22T08:00:00+01:00"},
		{hours, "2026-11-22T08:00:00+01:00", "2026-11-22T08:00:00+01:00", "2026-11-22T23:59:00+01:00"},
		{hours, "2026-11-22T23:59:00+01:00", "2026-11-23T00:00:00+01:00", "2026-11-23T02:30:00+01:00"},
		{hours, "2026-11-22T08:00:00+01:00", "2026-11-24T00:00:00+01:00", "2026-11-22T23:59:00+01:00"}, // it was missed
		{hours, "2026-12-31T23:59:00+01:00", "2026-12-31T23:59:30+01:00", "2027-01-01T02:30:00+01:00"},
		{hours, "2026-03-28T23:59:00+01:00", "2026-03-29T00:00:00+01:00", "2026-03-29T03:30:00+02:00"}, // there is no 02:30
		{hours, "2026-10-24T23:59:00+02:00", "2026-10-25T00:00:00+02:00", "2026-10-25T02:30:00+01:00"}, // there are two
		{hours, "2026-10-25T02:30:00+01:00", "2026-10-25T02:31:00+01:00", "2026-10-25T08:00:00+01:00"},
		{midnight, "2026-11-22T00:00:00+01:00", "2026-11-22T12:00:00+01:00", "2026-11-23T00:00:00+01:00"},
		{config.Fetch{WithEachDelivery: true}, "", "2026-11-22T12:00:00+01:00", ""},
	} {
		if got, want := nextTime(&test.f, at(test.last), at(test.now)), at(test.want); !got.Equal(want) {
			t.Errorf("%v after %q at %s: %s, want %s", test.f, test.last, test.now, got, want)
		}
	}
}

func TestBackOff(t *testing.T) {
	quarter, daily, never := config.Fetch{Every: 15 * time.Minute}, config.Fetch{Every: 24 * time.Hour}, config.Fetch{}
	for _, test := range []struct {
		f        config.Fetch
		failures int
		want     time.Duration
	}{
		{quarter, 0, 0}, {quarter, 1, 15 * time.Minute}, {quarter, 3, time.Hour}, {quarter, 1000, maxBackOff},
		{daily, 5, 24 * time.Hour}, {never, 2, 2 * firstBackOff}, {config.Fetch{At: []time.Duration{0}}, 9, 0},
	} {
		if got := backOff(&test.f, test.failures); got != test.want {
			t.Errorf("%v, %d failures: %s, want %s", test.f, test.failures, got, test.want)
		}
	}
}

// post is where mail is fetched from in a test.
type post struct {
	*Scheduler
	out    mailtest.Log
	asked  sync.Map     // name: *atomic.Int32
	broken atomic.Value // error of collect, or nothing
	hang   chan struct{}
	sent   chan struct{}
}

func newPost(t *testing.T, entries ...config.Fetch) *post {
	p := &post{hang: make(chan struct{}), sent: make(chan struct{}, 1)}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("pass\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range entries {
		entries[i].PasswordFile = secret
	}
	p.Scheduler = New(Config{Entries: entries, Hostname: "mail.office.example"}, Parts{
		Resolve: func(to addr.Address) (bool, error) { return to.Local != "nobody", nil },
		Files:   mailtest.NewPowerFS(), Sent: p.sent, Log: p.out.Logger(),
	})
	p.Scheduler.collect = p.collect
	return p
}

// collect stands in for collect.Collect.
func (p *post) collect(ctx context.Context, o collect.Options) (collect.Result, error) {
	n, _ := p.asked.LoadOrStore(o.Name, new(atomic.Int32))
	n.(*atomic.Int32).Add(1)
	if o.Name == "hangs" {
		select {
		case <-p.hang:
		case <-ctx.Done():
		}
	}
	if o.Name == "panics" {
		panic("what is this greeting?")
	}
	if err, ok := p.broken.Load().(error); ok && o.Name == "fails" {
		return collect.Result{}, err
	}
	return collect.Result{Fetched: 1}, nil
}

func (p *post) count(name string) int32 {
	n, ok := p.asked.Load(name)
	if !ok {
		return 0
	}
	return n.(*atomic.Int32).Load()
}

func pop(name string, every time.Duration) config.Fetch {
	return config.Fetch{Name: name, POP3: route.Host{Name: "pop.isp.example", Port: 110}, User: "anna", Every: every,
		DeliverTo: addr.Address{Local: "anna", Domain: "office.example"}}
}

// Entries are asked in their time; one that hangs or fails is in no other one's way.
func TestFetching(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		delivery := pop("delivery", 0)
		delivery.WithEachDelivery = true
		nobody := pop("nobody", time.Hour)
		nobody.DeliverTo.Local = "nobody"
		p := newPost(t, pop("works", 15*time.Minute), pop("hangs", 15*time.Minute), pop("fails", 15*time.Minute), delivery, nobody)
		p.broken.Store(error(&collect.Error{Class: collect.ErrLogin, Text: "refused", Hint: "see the password"}))
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { p.Run(ctx) })
		time.Sleep(4*time.Hour + time.Minute)
		synctest.Wait()
		for name, want := range map[string]int32{"works": 17, "hangs": 1, "fails": 5, "delivery": 0, "nobody": 0} {
			if got := p.count(name); got != want {
				t.Errorf("%s was asked %d times, want %d", name, got, want)
			}
		}
		if out := p.out.Take(); !strings.Contains(out, `fetch=fails fetched=0 bytes=0 deleted=0 left=0 error=refused failures=1 hint="see the password"`) ||
			!strings.Contains(out, "nobody@office.example does not exist") {
			t.Error(out)
		}
		for range 3 {
			p.sent <- struct{}{}
			synctest.Wait()
		}
		if got := p.count("delivery"); got != 3 {
			t.Errorf("delivery was asked %d times", got)
		}
		close(p.hang)
		results, err := p.Now(t.Context(), "fails")
		if err != nil || len(results) != 1 || results[0].Error == "" || p.count("fails") != 6 {
			t.Error(results, err)
		}
		if results, err = p.Now(t.Context(), ""); err != nil || len(results) != 5 || results[0].Fetched != 1 {
			t.Error(results, err)
		}
		if _, err := p.Now(t.Context(), "else"); !errors.Is(err, ErrUnknown) {
			t.Error(err)
		}
		all := p.List()
		if len(all) != 5 || all[2].Failures != 7 || all[0].POP3 != "pop.isp.example:110" || !all[3].Next.IsZero() {
			t.Errorf("%+v", all)
		}
		stop()
		running.Wait()
	})
}

func TestAskETRN(t *testing.T) {
	entry := config.Fetch{Name: "isp", ETRNServer: route.Host{Name: "mail.isp.example"}, ETRNDomains: []string{"a.example", "b.example"}, User: "us", TLS: route.TLSRequired}
	p := newPost(t, entry)
	p.AskETRN = func(_ context.Context, host route.Host, rt *route.Route, node string) (smtp.Reply, error) {
		if rt.User != "us" || rt.TLS != route.TLSRequired || host != entry.ETRNServer {
			t.Error(host, rt)
		}
		if node == "b.example" {
			return *smtp.NewReply(459, [3]int{4, 7, 1}, "Not allowed"), nil
		}
		return *smtp.NewReply(250, [3]int{2, 0, 0}, "Queuing"), nil
	}
	var result Result
	err := p.askAll(t.Context(), &p.Scheduler.config.Load().Entries[0], &result)
	if err == nil || !strings.Contains(err.Error(), "ETRN b.example: the server says: 459 4.7.1 Not allowed") || hintOf(err) != etrnHint(459) {
		t.Error(err)
	}
	if fmt.Sprint(result.ETRN) != "[a.example: 250 2.0.0 Queuing]" {
		t.Error(result.ETRN)
	}
}

func TestFetchedMessage(t *testing.T) {
	entry := pop("isp", time.Hour)
	for name, test := range map[string]struct {
		in, from, out string
		aside         string
	}{
		"as it should be": {
			in:   "Return-Path: <Bert@else.example>\r\nReceived: x\r\n\ty\r\nReturn-Path:\r\n <evil@else.example>\r\nSubject: x\r\n\r\nReturn-Path: text\r\n",
			from: "Bert@else.example",
			out:  "Received: x\r\n\ty\r\nSubject: x\r\n\r\nReturn-Path: text\r\n",
		},
		"null sender":         {in: "Return-Path: <>\r\n\r\n", out: "\r\n"},
		"no valid sender":     {in: "Return-Path: nobody\r\nSubject: x\r\n\r\n", out: "Subject: x\r\n\r\n"},
		"no header":           {in: "text\r\n", out: "text\r\n"},
		"nothing":             {in: "", out: ""},
		"fetched by others":   {in: "X-Pillarbox-Fetched: bert@office.example by mail.office.example\r\n\r\n", out: "X-Pillarbox-Fetched: bert@office.example by mail.office.example\r\n\r\n"},
		"a very long header":  {in: strings.Repeat("X: "+strings.Repeat("x", 70_000)+"\r\n", 10) + "\r\nx", out: strings.Repeat("X: "+strings.Repeat("x", 70_000)+"\r\n", 10) + "\r\nx"},
		"fetched before":      {in: "x-pillarbox-fetched: anna@office.example by mail.office.example\r\n\r\nx", aside: "was collected for anna@office.example before"},
		"round and round":     {in: strings.Repeat("Received: x\r\n", 101) + "\r\nx", aside: "went through 101 servers"},
		"a provider's mark":   {in: "Delivered-To: anna@office.example\r\n\r\n", out: "Delivered-To: anna@office.example\r\n\r\n"},
		"mbox separator":      {in: "From a@b Mon Jan  5 10:00:00 2026\r\nReturn-Path: <a@b.example>\r\n\r\n", from: "a@b.example", out: "\r\n"},
		"hops that are fine":  {in: strings.Repeat("Received: x\r\n", 100) + "\r\nx", out: strings.Repeat("Received: x\r\n", 100) + "\r\nx"},
		"not a field on top":  {in: "From x y\r\nReturn-Path: <a@b.example>\r\n\r\n", out: "From x y\r\nReturn-Path: <a@b.example>\r\n\r\n"},
		"header without text": {in: "Subject: x\r\n", out: "Subject: x\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			files := mailtest.NewPowerFS()
			var got, from string
			log := slog.New(slog.DiscardHandler)
			parts := Parts{Keep: badmail.New(files, log, nil).Put, Log: log,
				Inject: func(env *smtp.Envelope, source queue.Source, received string, message io.Reader) (string, error) {
					from = env.From.String()
					if len(env.To) != 1 || env.To[0].Address != entry.DeliverTo || source.Service != "fetch" || received != "from pop.isp.example (POP3 mailbox anna)" {
						t.Error(env, source, received)
					}
					text, err := io.ReadAll(message)
					got = string(text)
					return "id", err
				}}
			box := mailbox{Parts: &parts, cfg: &entry, host: "pop.isp.example", hostname: "mail.office.example", maxHops: 100}
			if err := box.deliver(strings.NewReader(test.in)); err != nil {
				t.Fatal(err)
			}
			if test.aside != "" {
				wantAside(t, files, test.aside, test.in)
			} else if want := "X-Pillarbox-Fetched: anna@office.example by mail.office.example\r\n" + test.out; got != want || from != test.from {
				t.Errorf("from %q: %.200q, want %.200q", from, got, want)
			}
		})
	}
}

func wantAside(t *testing.T, files durable.FS, reason, message string) {
	t.Helper()
	names, err := files.ReadNames("badmail")
	if err != nil || len(names) != 2 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		text, _ := durable.ReadFile(files, "badmail/"+name)
		if strings.HasSuffix(name, ".txt") && !strings.Contains(string(text), reason) || strings.HasSuffix(name, ".eml") && !bytes.Equal(text, []byte(message)) {
			t.Errorf("%s: %q", name, text)
		}
	}
}

// An entry whose server brings the program to a panic fails like others, and backs off.
func TestFetchPanicIsContained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPost(t, pop("panics", 15*time.Minute), pop("works", 15*time.Minute))
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { p.Run(ctx) })
		time.Sleep(4*time.Hour + time.Minute)
		synctest.Wait()
		if panics, works := p.count("panics"), p.count("works"); panics != 5 || works != 17 {
			t.Errorf("asked %d and %d times", panics, works)
		}
		if out := p.out.Take(); !strings.Contains(out, "what is this greeting?") || !strings.Contains(out, "fetch_test.go") {
			t.Error(out)
		}
		stop()
		running.Wait()
	})
}

// A reload adds entries and removes them, without a wait for the next check of the clock.
func TestSetConfig(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPost(t, pop("old", time.Hour), pop("works", time.Hour))
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { p.Run(ctx) })
		synctest.Wait()
		cfg := *p.config.Load()
		fresh := pop("fresh", time.Hour)
		fresh.PasswordFile = cfg.Entries[1].PasswordFile
		cfg.Entries = []config.Fetch{cfg.Entries[1], fresh}
		p.SetConfig(cfg)
		synctest.Wait()
		for _, name := range []string{"old", "works", "fresh"} {
			if got := p.count(name); got != 1 {
				t.Errorf("%s was asked %d times", name, got)
			}
		}
		if all := p.List(); len(all) != 2 || all[1].Name != "fresh" || len(p.entries) != 2 {
			t.Errorf("%+v, %d remembered", all, len(p.entries))
		}
		stop()
		running.Wait()
	})
}

// A mailbox at this server itself is not collected.
func TestDialOwn(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	own := true
	s := New(Config{}, Parts{Own: func(to netip.AddrPort) bool { return own && to.String() == l.Addr().String() }})
	if c, err := s.dial(t.Context(), "tcp", l.Addr().String()); !strings.Contains(hintOf(err), "provider") || c != nil {
		t.Error(c, err)
	}
	own = false
	c, err := s.dial(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}
