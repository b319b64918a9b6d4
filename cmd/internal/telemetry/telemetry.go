// Package telemetry sends the story of each message to an OpenTelemetry collector, as spans: the
// message was accepted, delivered to a mailbox, waited in the queue, was attempted.
//
// Start with [New] and [Telemetry.Run]. [Telemetry.Read] is a reader of package track: it neither
// waits nor keeps an event, and drops events that come too fast. Run makes spans of events ([builder];
// it does no I/O) and sends them by OTLP/HTTP. A collector that is down or hangs delays no mail, and
// takes a limited amount of memory: spans that cannot be sent are dropped and counted.
package telemetry

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"pillarbox/mailstore/caught"
	"pillarbox/mailstore/track"
)

const (
	maxWaiting = 4096            // events that wait
	maxBatch   = 512             // spans in one request; one event may add one more
	pause      = 5 * time.Second // between requests that are not full, and after a failure
	lastTime   = 2 * time.Second // for the request at the end
	complaint  = time.Hour       // between two log lines about dropped spans
)

// Settings are the keys of [telemetry].
type Settings struct {
	Endpoint   string // URL of a collector; "": off
	HeaderFile string // its first line is a header field; "": none
	CAFile     string // PEM; "": the system's
	Addresses  bool   // put mail addresses and replies of other servers into spans
	Hostname   string // of this server
	Version    string // of the program
}

// Parts are what Telemetry works with.
type Parts struct {
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	Log  *slog.Logger

	transport http.RoundTripper // for tests
}

// Telemetry sends spans. It is safe for concurrent use.
type Telemetry struct {
	Parts
	settings atomic.Pointer[Settings]
	changed  chan struct{} // has a value after a change of settings
	events   chan *track.Event

	sent    atomic.Uint64
	dropped atomic.Uint64
}

// New returns a Telemetry. It sends nothing before Run.
func New(parts Parts, s Settings) *Telemetry {
	t := &Telemetry{
		Parts: parts, changed: make(chan struct{}, 1), events: make(chan *track.Event, maxWaiting),
	}
	t.settings.Store(&s)
	return t
}

// SetSettings takes effect for the next request.
func (t *Telemetry) SetSettings(s Settings) {
	if *t.settings.Swap(&s) == s {
		return
	}
	select {
	case t.changed <- struct{}{}:
	default:
	}
}

// Counts returns the number of spans that the collector took, and of those that it did not get. A
// dropped event counts as one span.
func (t *Telemetry) Counts() (sent, dropped uint64) { return t.sent.Load(), t.dropped.Load() }

// Read queues an event. It is a track.Reader.
func (t *Telemetry) Read(e *track.Event) {
	if t.settings.Load().Endpoint == "" || !wanted(e) {
		return
	}
	kept := *e
	select {
	case t.events <- &kept:
	default:
		t.dropped.Add(1)
	}
}

// Run works until ctx ends, and sends then what it has.
func (t *Telemetry) Run(ctx context.Context) {
	for {
		s := *t.settings.Load()
		if s.Endpoint == "" {
			select {
			case <-t.changed:
				continue
			case <-ctx.Done():
				return
			}
		}
		err := caught.Do(func() error { return t.serve(ctx, s) })
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			continue // the settings changed
		}
		caught.Log(t.Log, err, "a program error in traces")
		t.Log.Error("cannot send traces; mail is not affected", "error", err)
		select {
		case <-t.changed:
		case <-time.After(complaint): // a file may be readable by then
		case <-ctx.Done():
			return
		}
	}
}

// serve sends spans with these settings until they change or ctx ends.
func (t *Telemetry) serve(ctx context.Context, s Settings) error {
	c, err := newClient(t.Parts, s)
	if err != nil {
		return err
	}
	x := &sender{t: t, client: c, hostname: s.Hostname, builder: builder{addresses: s.Addresses}}
	x.exporter = otlptrace.NewUnstarted(c)
	if err := x.exporter.Start(ctx); err != nil {
		return err
	}
	provider := sdk.NewTracerProvider(sdk.WithSpanProcessor(x), sdk.WithIDGenerator(ids{}),
		sdk.WithSampler(sdk.AlwaysSample()), sdk.WithResource(resource.NewWithAttributes(
			semconv.SchemaURL, semconv.ServiceName("pillarbox"),
			semconv.ServiceVersion(s.Version), semconv.ServiceInstanceID(s.Hostname))))
	x.tracer = provider.Tracer("pillarbox")
	defer c.Stop(ctx)
	x.run(ctx)
	return nil
}

// sender sends spans with one set of settings. It belongs to the goroutine of Run. As an
// sdk.SpanProcessor it gets its own spans back in the form that the exporter takes.
type sender struct {
	t        *Telemetry
	client   *client
	exporter *otlptrace.Exporter
	tracer   trace.Tracer
	hostname string
	builder  builder
	batch    []sdk.ReadOnlySpan

	failing bool
	told    uint64    // dropped spans that the log names
	toldAt  time.Time // of the last log line about them
}

// run sends until the settings change or ctx ends.
func (x *sender) run(ctx context.Context) {
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for {
		in := x.t.events
		if len(x.batch) >= maxBatch {
			in = nil // the collector does not answer: events wait in their queue
		}
		select {
		case e := <-in:
			x.add(e)
			if len(x.batch) < maxBatch || x.failing {
				continue
			}
		case <-ticker.C:
		case <-x.t.changed:
			x.finish(ctx)
			return
		case <-ctx.Done():
			x.finish(ctx)
			return
		}
		x.send(ctx)
		x.tell()
	}
}

func (x *sender) add(e *track.Event) {
	for _, s := range x.builder.spans(e) {
		s.record(x.tracer, x.hostname)
	}
}

// send sends the batch. It stays for the next time if the collector may take it then.
func (x *sender) send(ctx context.Context) {
	if len(x.batch) == 0 {
		return
	}
	count := uint64(len(x.batch))
	err := x.exporter.ExportSpans(ctx, x.batch)
	rejected := min(x.client.rejected.Swap(0), count)
	_, refused := errors.AsType[refusedError](err)
	switch {
	case err == nil:
		x.t.sent.Add(count - rejected)
		x.t.dropped.Add(rejected)
		x.batch = nil
		if x.failing {
			x.t.Log.Info("traces are sent again", "dropped_spans", x.t.dropped.Load())
			x.told = x.t.dropped.Load()
		}
		x.failing = false
		return
	case refused:
		x.t.dropped.Add(count)
		x.batch = nil
	}
	if !x.failing {
		x.t.Log.Warn("cannot send traces; mail is not affected", "error", err,
			"hint", "see telemetry.endpoint")
	}
	x.failing = true
}

// tell logs dropped spans, once an hour. While the collector fails, its end tells them.
func (x *sender) tell() {
	dropped := x.t.dropped.Load()
	if x.failing || dropped == x.told || time.Since(x.toldAt) < complaint {
		return
	}
	x.t.Log.Warn("spans were dropped: they come too fast, or the collector rejects them",
		"dropped_spans", dropped)
	x.told, x.toldAt = dropped, time.Now()
}

// finish sends what is there, within lastTime. What remains is dropped.
func (x *sender) finish(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastTime)
	defer cancel()
	for more := true; more; {
		select {
		case e := <-x.t.events:
			x.add(e)
		default:
			more = false
		}
		if len(x.batch) >= maxBatch || !more {
			x.send(ctx)
			x.t.dropped.Add(uint64(len(x.batch)))
			x.batch = nil
		}
	}
	x.tell()
}

// OnStart implements sdk.SpanProcessor.
func (x *sender) OnStart(context.Context, sdk.ReadWriteSpan) {}

// OnEnd implements sdk.SpanProcessor.
func (x *sender) OnEnd(s sdk.ReadOnlySpan) { x.batch = append(x.batch, s) }

// Shutdown implements sdk.SpanProcessor.
func (x *sender) Shutdown(context.Context) error { return nil }

// ForceFlush implements sdk.SpanProcessor.
func (x *sender) ForceFlush(context.Context) error { return nil }

// rootKey is the key of a context under which span.record hands the IDs of a root to ids.
type rootKey struct{}

// ids implements sdk.IDGenerator.
type ids struct{}

// NewIDs implements sdk.IDGenerator: the IDs of a root span.
func (ids) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	root, _ := ctx.Value(rootKey{}).(trace.SpanContext)
	return root.TraceID(), root.SpanID()
}

// NewSpanID implements sdk.IDGenerator.
func (ids) NewSpanID(context.Context, trace.TraceID) (id trace.SpanID) {
	for !id.IsValid() {
		rand.Read(id[:])
	}
	return id
}
