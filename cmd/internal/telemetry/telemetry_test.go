package telemetry

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"pillarbox/mailstore/track"
)

// collector is a collector of OTLP/HTTP in memory. It is a transport and a handler.
type collector struct {
	mu     sync.Mutex
	spans  []*tracepb.Span
	status int    // 0: 200
	answer []byte // protobuf
	hang   bool
	calls  int
	header http.Header
	path   string
}

func (c *collector) set(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
}

func (c *collector) RoundTrip(r *http.Request) (*http.Response, error) {
	c.mu.Lock()
	c.calls++
	hang := c.hang
	c.mu.Unlock()
	if hang {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	w := httptest.NewRecorder()
	c.ServeHTTP(w, r)
	return w.Result(), nil
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var data tracepb.TracesData
	if err == nil {
		err = proto.Unmarshal(body, &data)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.header, c.path = r.Header, r.URL.Path
	switch {
	case err != nil, r.Header.Get("Content-Type") != "application/x-protobuf":
		w.WriteHeader(http.StatusBadRequest)
		return
	case c.status != 0:
		w.WriteHeader(c.status)
		return
	}
	for _, resource := range data.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			c.spans = append(c.spans, scope.Spans...)
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
	w.Write(c.answer)
}

func (c *collector) names() (names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.spans {
		names = append(names, s.Name)
	}
	return names
}

// lines is a log in memory.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}

// start runs a Telemetry in a bubble of synctest. The function that it returns ends it.
func start(c *collector, log io.Writer, s Settings) (*Telemetry, func()) {
	t := New(Parts{Log: slog.New(slog.NewTextHandler(log, nil)), transport: c}, s)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { t.Run(ctx) })
	synctest.Wait()
	return t, func() { cancel(); running.Wait() }
}

var on = Settings{Endpoint: "http://127.0.0.1:4318", Hostname: "mail.office.example", Version: "1"}

// story are the events of a message to a mailbox here and to another server, and of its report.
func story(at time.Time) []track.Event {
	const from, to = "anna@office.example", "z@far.example"
	reply := "450 4.2.1 <z@far.example>: later"
	return []track.Event{
		{Kind: track.Connected, Time: at, Service: "smtp"},
		{Kind: track.Accepted, ID: "M1", Time: at.Add(time.Second), Took: 20 * time.Millisecond,
			Remote: netip.MustParseAddr("192.168.1.9"), Service: "submission", Rule: "outside.send",
			Subject: "secret plan", From: from, User: from, Count: 2, Size: 700},
		{Kind: track.Delivered, ID: "M1", Time: at.Add(time.Second), From: from, To: "bob@office.example"},
		{Kind: track.Queued, ID: "M1", Time: at.Add(time.Second), From: from, To: to},
		{Kind: track.Deferred, ID: "M1", Time: at.Add(5 * time.Second), Took: time.Second, From: from,
			To: to, Host: "mx.far.example", Route: "default", Reply: reply, Count: 1},
		{Kind: track.Relayed, ID: "M1", Time: at.Add(65 * time.Second), Took: time.Second, From: from,
			To: to, Host: "mx.far.example", Route: "default", Reply: "250 2.0.0 taken", Count: 2},
		{Kind: track.Accepted, ID: "M2", Parent: "M1", Time: at.Add(66 * time.Second),
			Service: "report", Count: 1},
		{Kind: track.Fetched, ID: "M1", Time: at.Add(70 * time.Second), To: "bob@office.example"},
	}
}

func told(s *tracepb.Span, at time.Time) string {
	attributes := []string{}
	for _, a := range s.Attributes {
		value := a.Value.GetStringValue()
		if value == "" {
			value = fmt.Sprint(a.Value.GetIntValue())
		}
		attributes = append(attributes, a.Key+"="+value)
	}
	slices.Sort(attributes)
	since := func(nanoseconds uint64) time.Duration {
		return time.Unix(0, int64(nanoseconds)).Sub(at)
	}
	return fmt.Sprintf("%s %v-%v %s status=%d links=%d\n  %s", s.Name, since(s.StartTimeUnixNano),
		since(s.EndTimeUnixNano), strings.TrimPrefix(s.Kind.String(), "SPAN_KIND_"),
		s.Status.GetCode(), len(s.Links), strings.Join(attributes, "\n  "))
}

// TestStory: the events of a message become the spans of one trace, without personal data unless a
// setting permits it.
func TestStory(t *testing.T) {
	for _, addresses := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var c collector
			var log lines
			s, at := on, time.Now()
			s.Addresses = addresses
			tel, stop := start(&c, &log, s)
			for _, e := range story(at) {
				tel.Read(&e)
			}
			stop()
			all := ""
			for _, s := range c.spans {
				all += told(s, at) + "\n"
			}
			file := filepath.Join("testdata", fmt.Sprintf("story-%v.golden", addresses))
			if os.Getenv("UPDATE_GOLDEN") != "" {
				os.WriteFile(file, []byte(all), 0o644)
			}
			want, err := os.ReadFile(file)
			if err != nil || all != string(want) {
				t.Errorf("%v\ngot\n%s\nwant\n%s", err, all, want)
			}
			for _, personal := range []string{"anna@", "z@far", "later"} {
				if strings.Contains(all, personal) != addresses {
					t.Errorf("addresses = %v, and the spans have %q: %v", addresses, personal, !addresses)
				}
			}
			if strings.Contains(all, "secret plan") {
				t.Error("a subject is in the spans")
			}
			root := c.spans[0]
			id := TraceID(on.Hostname, "M1")
			for _, s := range c.spans[:len(c.spans)-1] {
				if !bytes.Equal(s.TraceId, id[:]) {
					t.Errorf("%s is in the trace %x", s.Name, s.TraceId)
				}
				if s != root && !bytes.Equal(s.ParentSpanId, root.SpanId) {
					t.Errorf("%s is not below the root", s.Name)
				}
			}
			report := c.spans[len(c.spans)-1]
			if bytes.Equal(report.TraceId, id[:]) || len(report.ParentSpanId) > 0 ||
				!bytes.Equal(report.Links[0].TraceId, id[:]) || !bytes.Equal(report.Links[0].SpanId, root.SpanId) {
				t.Errorf("the report is %v", report)
			}
			if sent, dropped := tel.Counts(); sent != uint64(len(c.spans)) || dropped != 0 {
				t.Errorf("sent %d, dropped %d", sent, dropped)
			}
		})
	}
}

// TestEnds: what ends a wait without an attempt, and a restart in between.
func TestEnds(t *testing.T) {
	at := time.Unix(1e9, 0)
	queued := track.Event{Kind: track.Queued, ID: "M", To: "z@far.example", Time: at}
	for _, test := range []struct {
		name   string
		events []track.Event
		want   string
	}{
		{"expired", []track.Event{queued, {Kind: track.Expired}}, "wait:expired"},
		{"returned", []track.Event{queued, {Kind: track.Failed}}, "wait:returned"},
		{"failed", []track.Event{queued, {Kind: track.Failed, Route: "default", Reply: "550 no"}},
			"wait: attempt:550"},
		{"no reply", []track.Event{queued, {Kind: track.Deferred, Route: "default", Reply: "refused"}},
			"wait: attempt:deferred"},
		{"restart", []track.Event{{Kind: track.Relayed, Route: "default", Reply: "250 ok"}}, "attempt:"},
		{"retention", []track.Event{{Kind: track.Expired}}, ""},
		{"full", []track.Event{{Kind: track.OverQuota}}, "deliver:over_quota"},
		{"clock set back", []track.Event{queued, {Kind: track.Expired, Time: at.Add(-time.Hour)}}, ""},
	} {
		var b builder
		got := []string{}
		for _, e := range test.events {
			e.ID, e.To = "M", "z@far.example"
			if e.Time.IsZero() {
				e.Time = at.Add(time.Minute)
			}
			for _, s := range b.spans(&e) {
				got = append(got, s.name+":"+s.failed)
			}
		}
		if text := strings.Join(got, " "); text != test.want {
			t.Errorf("%s: %q, want %q", test.name, text, test.want)
		}
	}
}

func TestMemoryIsBounded(t *testing.T) {
	var m memory
	for i := range 5 * maxYoung {
		m.set(fmt.Sprint(i), time.Unix(int64(i), 0))
	}
	if n := len(m.young) + len(m.old); n > 2*maxYoung {
		t.Errorf("%d entries", n)
	}
	if _, ok := m.get(fmt.Sprint(5*maxYoung - maxYoung)); !ok {
		t.Error("a young entry is forgotten")
	}
}

// TestTrouble: a collector that hangs, is down or refuses holds no reader up and takes a limited
// amount of memory. The log tells begin and end, the counters what was lost.
func TestTrouble(t *testing.T) {
	e := track.Event{Kind: track.Delivered, ID: "M", To: "a@office.example"}
	for _, test := range []struct {
		name string
		set  func(*collector)
		lost bool // what was sent meanwhile does not come later
	}{
		{"hangs", func(c *collector) { c.hang = true }, false},
		{"is down", func(c *collector) { c.status = 503 }, false},
		{"refuses", func(c *collector) { c.status = 401 }, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var c collector
				var log lines
				tel, stop := start(&c, &log, on)
				test.set(&c)
				const events = 2 * (maxWaiting + maxBatch)
				began := time.Now()
				for range events {
					tel.Read(&e)
				}
				if took := time.Since(began); took != 0 {
					t.Errorf("a reader waited %v", took)
				}
				time.Sleep(10 * time.Minute)
				if n := log.count("cannot send traces"); n != 1 {
					t.Errorf("told %d times", n)
				}
				c.set(func() { c.hang, c.status = false, 0 })
				tel.Read(&e)
				time.Sleep(time.Minute)
				tel.Read(&e)
				time.Sleep(time.Minute)
				stop()
				sent, dropped := tel.Counts()
				if sent+dropped != events+2 || dropped == 0 || sent != uint64(len(c.names())) {
					t.Errorf("sent %d, dropped %d, arrived %d", sent, dropped, len(c.names()))
				}
				if !test.lost && sent < maxWaiting || test.lost && sent != 2 {
					t.Errorf("sent %d", sent)
				}
				if n := log.count("traces are sent again"); n != 1 {
					t.Errorf("its end was told %d times", n)
				}
			})
		})
	}
}

// TestStopIsQuick: the server's stop does not wait for a collector that hangs.
func TestStopIsQuick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := collector{hang: true}
		tel, stop := start(&c, io.Discard, on)
		for range maxWaiting {
			tel.Read(&track.Event{Kind: track.Delivered, ID: "M"})
		}
		time.Sleep(time.Second)
		began := time.Now()
		stop()
		if took := time.Since(began); took > lastTime {
			t.Errorf("the stop took %v", took)
		}
		if sent, dropped := tel.Counts(); sent != 0 || dropped != maxWaiting {
			t.Errorf("sent %d, dropped %d", sent, dropped)
		}
	})
}

// TestReload turns spans on and off.
func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c collector
		tel, stop := start(&c, io.Discard, Settings{})
		defer stop()
		add := func() { tel.Read(&track.Event{Kind: track.Delivered, ID: "M"}); time.Sleep(time.Minute) }
		for i, step := range []struct {
			s    Settings
			want int
		}{{Settings{}, 0}, {on, 1}, {Settings{}, 1}, {on, 2}} {
			tel.SetSettings(step.s)
			synctest.Wait()
			add()
			if n := len(c.names()); n != step.want {
				t.Errorf("step %d: %d spans, want %d", i, n, step.want)
			}
		}
	})
}

// TestRejected: spans that the collector says it rejects are counted.
func TestRejected(t *testing.T) {
	partial := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 1)
	partial = protowire.AppendString(protowire.AppendTag(partial, 2, protowire.BytesType), "too old")
	answer := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), partial)
	for i := range answer {
		rejectedSpans(answer[:i]) // must not panic
	}
	synctest.Test(t, func(t *testing.T) {
		c := collector{answer: answer}
		var log lines
		tel, stop := start(&c, &log, on)
		tel.Read(&track.Event{Kind: track.Delivered, ID: "M"})
		tel.Read(&track.Event{Kind: track.Delivered, ID: "N"})
		time.Sleep(time.Minute)
		stop()
		if sent, dropped := tel.Counts(); sent != 1 || dropped != 1 || log.count("dropped_spans=1") != 1 {
			t.Errorf("sent %d, dropped %d, log %s", sent, dropped, log.text.String())
		}
	})
}

// TestHTTPS sends to a collector with TLS and a header field, and to one that the CA does not name.
func TestHTTPS(t *testing.T) {
	var c collector
	srv := httptest.NewTLSServer(&c)
	defer srv.Close()
	dir := t.TempDir()
	ca, header, bad := filepath.Join(dir, "ca"), filepath.Join(dir, "header"), filepath.Join(dir, "bad")
	der := srv.Certificate().Raw
	for file, text := range map[string]string{
		ca:     string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		header: "Authorization: Bearer swordfish\n", bad: "swordfish\n",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		s    Settings
		want string // in the error
	}{
		{Settings{CAFile: ca, HeaderFile: header}, ""},
		{Settings{HeaderFile: header}, "certificate"},
		{Settings{CAFile: ca, HeaderFile: bad}, "has no header field"},
		{Settings{CAFile: bad}, "no certificate"},
	} {
		test.s.Endpoint = srv.URL
		d := net.Dialer{}
		client, err := newClient(Parts{Dial: d.DialContext}, test.s)
		if err == nil {
			err = client.UploadTraces(t.Context(), []*tracepb.ResourceSpans{})
		}
		text := fmt.Sprint(err)
		if test.want == "" && err != nil || !strings.Contains(text, test.want) ||
			strings.Contains(text, "swordfish") {
			t.Errorf("%+v: %v, want %q", test.s, err, test.want)
		}
	}
	if c.path != "/v1/traces" || c.header.Get("Authorization") != "Bearer swordfish" {
		t.Errorf("got %s with %v", c.path, c.header)
	}
	if !errors.As(errors.Join(refusedError{401}), new(refusedError)) {
		t.Error("a refusal is not known as one")
	}
}
