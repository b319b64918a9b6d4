package metrics

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pillarbox/cmd/internal/httpserve"
	"pillarbox/mailstore"
	"pillarbox/mailstore/durable"
	"pillarbox/mailstore/track"
	"pillarbox/smtp/policy"
	"pillarbox/smtp/queue"
	"pillarbox/tls/certs"
)

func everyone(*http.Request) bool { return true }

func nothing() []string { return nil }

func newMetrics() *Metrics {
	return New(Names{
		Rules: policy.RuleNames(), Route: func(name string) bool { return name == "partner" },
	})
}

// newReadings returns readings of a server in which every figure has a value.
func newReadings() *Readings {
	return NewReadings(State{
		Memory: func() Memory {
			return Memory{
				Sessions: map[string]int{"smtp": 3, "pop3": 2},
				Queue:    queue.State{Messages: 7, Held: 1, Oldest: time.Now().Add(-time.Hour)},
				Certificates: []certs.Info{
					{Source: certs.FromOwnCA, Key: "RSA", NotAfter: time.Unix(2e9, 0)},
				},
				Banned: 4, Dropped: 5, Ready: true,
			}
		},
		Disk: func() (Disk, error) {
			return Disk{Space: durable.DiskSpace{Size: 100, Free: 40}, LogFill: 0.25}, nil
		},
		Mailboxes: func() (Mailboxes, error) {
			return Mailboxes{Count: 9, Above: map[int]int{80: 3, 90: 2, 100: 1}}, nil
		},
	})
}

// scrape returns the text of /metrics.
func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler(nothing, everyone).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// allKinds returns one event of each kind, with all that counts.
func allKinds() (all []track.Event) {
	for kind := track.Connected; kind.String() != "unknown"; kind++ {
		all = append(all, track.Event{
			Kind: kind, Time: time.Now(), Service: "smtp", Rule: "relay lists", Route: "partner",
			Reply: "550 5.7.1 no", Text: "TLS 1.3", Size: 5000, Count: 2,
			ID:   "1700000000.M1P2", // of no known form
			From: "secret@office.example", To: "victim@office.example", User: "anna@office.example",
			Host: "evil.example", Remote: netip.MustParseAddr("192.0.2.66"), Subject: "salary",
		})
	}
	return all
}

// TestRead: each event counts where it belongs.
func TestRead(t *testing.T) {
	for _, test := range []struct {
		event track.Event
		want  string
	}{
		{track.Event{Kind: track.Connected, Service: "pop3"},
			`pillarbox_connections_total{service="pop3"} 1`},
		{track.Event{Kind: track.Secured, Service: "smtps", Text: "TLS 1.2, TLS_RSA_…"},
			`pillarbox_tls_connections_total{service="smtps",version="1.2"} 1`},
		{track.Event{Kind: track.LoginFailed, Service: "submission"},
			`pillarbox_logins_total{result="failed",service="submission"} 1`},
		{track.Event{Kind: track.Refused, Service: "smtp", Rule: "relay.deny_hosts", Reply: "550 no"},
			`pillarbox_refusals_total{rule="relay.deny_hosts",service="smtp",verdict="refused"} 1`},
		{track.Event{Kind: track.Refused, Service: "smtp", Reply: "451 later"},
			`pillarbox_refusals_total{rule="none",service="smtp",verdict="deferred"} 1`},
		{track.Event{Kind: track.Refused, Service: "smtp", Rule: "bad@x.example", Reply: "550"},
			`pillarbox_refusals_total{rule="other",service="smtp",verdict="refused"} 1`},
		{track.Event{Kind: track.Accepted, Service: "fetch", Size: 5000, Count: 2},
			`pillarbox_message_size_bytes_bucket{service="fetch",le="10000"} 1`},
		{track.Event{Kind: track.OverQuota}, `pillarbox_deliveries_total{result="over_quota"} 1`},
		{track.Event{Kind: track.Deferred, Route: "partner"},
			`pillarbox_relay_attempts_total{result="deferred",route="partner"} 1`},
		{track.Event{Kind: track.Failed, Route: "made up"},
			`pillarbox_relay_attempts_total{result="failed",route="other"} 1`},
		{track.Event{Kind: track.Fetched, Service: "pop3", Size: 77},
			`pillarbox_fetched_bytes_total{service="pop3"} 77`},
		{track.Event{Kind: track.LoggedIn, Service: "\xff\n"},
			`pillarbox_logins_total{result="ok",service="other"} 1`},
	} {
		m := newMetrics()
		m.Read(&test.event)
		if got := scrape(t, m); !strings.Contains(got, test.want+"\n") {
			t.Errorf("%v: no %s", test.event, test.want)
		}
	}
}

// TestRelayDelay: the time of arrival is in the ID.
func TestRelayDelay(t *testing.T) {
	store, err := openStore(t)
	if err != nil {
		t.Fatal(err)
	}
	arrived := time.Date(2026, 11, 30, 10, 0, 0, 0, time.UTC)
	m := newMetrics()
	m.Read(&track.Event{
		Kind: track.Relayed, ID: store.NewID(arrived), Time: arrived.Add(200 * time.Second),
	})
	want := `pillarbox_relay_delay_seconds_sum{route="none"} 200`
	if got := scrape(t, m); !strings.Contains(got, want) {
		t.Errorf("no %s in\n%s", want, got)
	}
}

func openStore(t *testing.T) (*mailstore.Store, error) {
	root, err := durable.Open(t.TempDir())
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { root.Close() })
	return mailstore.Open(root, mailstore.Options{})
}

// TestNoNames: no address, name or subject gets into a scrape, and a flood of made-up names makes no
// series of its own.
func TestNoNames(t *testing.T) {
	m := newMetrics()
	m.Watch(newReadings())
	for _, e := range allKinds() {
		m.Read(&e)
	}
	before := strings.Count(scrape(t, m), "\n")
	for _, bad := range []string{"office.example", "evil", "192.0.2", "salary"} {
		if strings.Contains(scrape(t, m), bad) {
			t.Errorf("the scrape has %q", bad)
		}
	}
	for i := range 1000 {
		name := strings.Repeat("x", i)
		for _, e := range allKinds() {
			e.Service, e.Rule, e.Route, e.Text = "s"+name, "r"+name, "w"+name, "TLS 9"+name
			m.Read(&e)
		}
	}
	if after := strings.Count(scrape(t, m), "\n"); after > before+100 {
		t.Errorf("%d lines, then %d", before, after)
	}
}

// TestState: the gauges have the values of the readings.
func TestState(t *testing.T) {
	m := newMetrics()
	m.Watch(newReadings())
	got := scrape(t, m)
	for _, want := range []string{
		`pillarbox_sessions{service="smtp"} 3`, `pillarbox_queue_messages 7`,
		`pillarbox_queue_held_messages{by="admin"} 1`, `pillarbox_disk_free_bytes 40`,
		`pillarbox_certificate_expiry_timestamp_seconds{key="RSA",source="own_ca"} 2e+09`,
		`pillarbox_mailboxes_above_quota_level{percent="90"} 2`, `pillarbox_log_fill_ratio 0.25`,
		`pillarbox_banned_networks 4`, `pillarbox_ready 1`, `pillarbox_disk_answers 1`,
		`pillarbox_events_dropped_total 5`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("no %s", want)
		}
	}
	if !strings.Contains(got, "pillarbox_queue_oldest_age_seconds 36") {
		t.Error("the oldest message is not an hour old")
	}
}

// TestStuckDisk: a disk that does not answer delays a scrape by the patience at most, costs one
// goroutine, and leaves the last answer in place.
func TestStuckDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var looks atomic.Int64
		var stuck atomic.Bool
		release := make(chan struct{})
		s := NewSampler(time.Second, 2*time.Second, func() (int, error) {
			look := looks.Add(1)
			if stuck.Load() {
				<-release
			}
			return int(look), nil
		})
		if got := s.Get(); got != (Sample[int]{1, true, true}) {
			t.Fatal(got)
		}
		if got := s.Get(); got.Value != 1 || looks.Load() != 1 {
			t.Fatal("a young answer was not given again")
		}
		stuck.Store(true)
		time.Sleep(time.Minute)
		for range 100 {
			start := time.Now()
			if got := s.Get(); got != (Sample[int]{1, true, false}) {
				t.Fatal(got)
			}
			if waited := time.Since(start); waited > 2*time.Second {
				t.Fatalf("waited %s", waited)
			}
		}
		if n := looks.Load(); n != 2 {
			t.Errorf("%d looks at a stuck disk", n-1)
		}
		close(release)
		synctest.Wait()
		if got := s.Get(); !got.Fresh || got.Value < 2 {
			t.Error(got)
		}
	})
}

// TestFailedLook: a look that fails keeps the answer before, which is no longer fresh.
func TestFailedLook(t *testing.T) {
	var fail error
	s := NewSampler(0, time.Second, func() (int, error) { return 5, fail })
	fail = errors.New("broken")
	if got := s.Get(); got.Known || got.Fresh {
		t.Error(got)
	}
	fail = nil
	if got := s.Get(); got != (Sample[int]{5, true, true}) {
		t.Error(got)
	}
	fail = errors.New("broken again")
	if got := s.Get(); got != (Sample[int]{5, true, false}) {
		t.Error(got)
	}
}

// TestLog: lines are counted by level, also those of loggers with attributes.
func TestLog(t *testing.T) {
	m := newMetrics()
	var out bytes.Buffer
	log := slog.New(m.Log(slog.NewTextHandler(&out, nil)))
	log.Info("one")
	log.Warn("two")
	log.With("a", 1).WithGroup("g").Error("three")
	got := scrape(t, m)
	for _, want := range []string{
		`pillarbox_log_lines_total{level="warn"} 1`, `pillarbox_log_lines_total{level="error"} 1`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("no %s", want)
		}
	}
	if strings.Count(out.String(), "\n") != 3 {
		t.Errorf("the log has %q", out.String())
	}
}

// TestHandler: paths, reasons and access.
func TestHandler(t *testing.T) {
	m := newMetrics()
	reasons := []string{"store: it recovers", "listeners: closed"}
	h := m.Handler(func() []string { return reasons },
		func(r *http.Request) bool { return HasToken(r, "right") })
	get := func(path, token string) (int, string) {
		r := httptest.NewRequest("GET", path, nil)
		if token != "" {
			r.Header.Set("Authorization", token)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	for _, test := range []struct {
		path, token string
		code        int
	}{
		{"/healthz", "Bearer right", 200}, {"/readyz", "Bearer right", 503},
		{"/metrics", "Bearer right", 200}, {"/", "Bearer right", 404},
		{"/debug/pprof/", "Bearer right", 404}, {"/metrics", "", 401}, {"/healthz", "", 401},
		{"/metrics", "Bearer wrong", 401}, {"/metrics", "Bearer ", 401}, {"/metrics", "right", 401},
		{"/metrics", "Basic right", 401},
	} {
		if code, text := get(test.path, test.token); code != test.code {
			t.Errorf("%s with %q: %d %s", test.path, test.token, code, text)
		}
	}
	if _, text := get("/readyz", "Bearer right"); text != strings.Join(reasons, "\n")+"\n" {
		t.Errorf("reasons: %q", text)
	}
	reasons = nil
	if code, text := get("/readyz", "Bearer right"); code != 200 || text != "ready\n" {
		t.Errorf("ready: %d %q", code, text)
	}
	r := httptest.NewRequest("GET", "/metrics", nil)
	r.Header.Set("Authorization", "Bearer ")
	if HasToken(r, "") {
		t.Error("an empty token admits")
	}
}

// TestHangingClients: clients that connect and send nothing do not keep others out for long, and
// their number is limited.
func TestHangingClients(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	m := newMetrics()
	go func() {
		served <- httpserve.Serve(ctx, l, nil, m.Handler(nothing, everyone), Limits(), slog.New(slog.DiscardHandler))
	}()
	var hanging []net.Conn
	for range maxConnections + 5 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		hanging = append(hanging, c)
	}
	closed := 0
	for _, c := range hanging[maxConnections:] { // the first ones hold all places
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := c.Read(make([]byte, 1)); errors.Is(err, io.EOF) || isReset(err) {
			closed++
		}
	}
	if closed != 5 {
		t.Errorf("%d connections above the limit were closed", closed)
	}
	for _, c := range hanging {
		c.Close()
	}
	var answer string
	for range 100 { // until the server has seen that they are gone
		res, err := http.Get("http://" + l.Addr().String() + "/healthz")
		if err != nil {
			continue
		}
		text, _ := io.ReadAll(res.Body)
		res.Body.Close()
		answer = string(text)
		break
	}
	if answer != "alive\n" {
		t.Errorf("answer %q", answer)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func isReset(err error) bool { return err != nil && strings.Contains(err.Error(), "reset") }

// names returns the names of the metrics in a scrape, as a query knows them.
func names(scrape string) (all []string) {
	for line := range strings.SplitSeq(scrape, "\n") {
		if name, _, ok := strings.Cut(line, "{"); ok && !strings.HasPrefix(line, "#") {
			all = append(all, name)
		} else if name, _, ok := strings.Cut(line, " "); ok && !strings.HasPrefix(line, "#") {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
