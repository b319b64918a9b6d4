package telemetry

import (
	"context"
	"crypto/sha256"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"pillarbox/mailstore/track"
)

// The attributes for which OpenTelemetry has no convention.
const (
	keyService   = attribute.Key("pillarbox.service")
	keyRule      = attribute.Key("pillarbox.rule")
	keyRoute     = attribute.Key("pillarbox.route")
	keyAttempt   = attribute.Key("pillarbox.attempt")
	keyCount     = attribute.Key("pillarbox.recipients")
	keyDomain    = attribute.Key("pillarbox.recipient.domain")
	keyCode      = attribute.Key("pillarbox.reply.code")
	keyReply     = attribute.Key("pillarbox.reply")
	keySender    = attribute.Key("pillarbox.sender")
	keyRecipient = attribute.Key("pillarbox.recipient")
)

// span is one piece of work on a message.
type span struct {
	name       string
	message    string // the server's ID
	root       bool   // the span that accepted the message; all others are below it
	parent     string // root only: the message that this one is a report about
	kind       trace.SpanKind
	begin, end time.Time
	failed     string // the type of the error; "": it succeeded
	attributes []attribute.KeyValue
}

// TraceID returns the ID of the trace of a message. It depends only on the server's name and the
// message's ID, so that a server goes on with a trace after a restart.
func TraceID(hostname, message string) (id trace.TraceID) {
	sum := sha256.Sum256([]byte("trace\x00" + hostname + "\x00" + message))
	copy(id[:], sum[:])
	return id
}

// rootID returns the ID of the root span of a message.
func rootID(hostname, message string) (id trace.SpanID) {
	sum := sha256.Sum256([]byte("accept\x00" + hostname + "\x00" + message))
	copy(id[:], sum[:])
	return id
}

// rootContext returns the context of the root span of a message.
func rootContext(hostname, message string) trace.SpanContext {
	return trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: TraceID(hostname, message), SpanID: rootID(hostname, message),
		TraceFlags: trace.FlagsSampled, Remote: true,
	})
}

// builder makes spans of events. It belongs to one goroutine.
type builder struct {
	addresses bool // put mail addresses and the text of replies into the spans
	begins    memory
}

// wanted reports whether an event can begin or end a span.
func wanted(e *track.Event) bool {
	switch e.Kind {
	case track.Accepted, track.Delivered, track.OverQuota, track.Queued, track.Deferred,
		track.Relayed, track.Failed, track.Expired:
		return e.ID != ""
	}
	return false
}

// spans returns the spans that end with an event.
func (b *builder) spans(e *track.Event) []span {
	waits := e.ID + " " + e.To
	switch e.Kind {
	case track.Accepted:
		begin := e.Time.Add(-e.Took)
		b.begins.set(e.ID, begin)
		return []span{b.accepted(e, begin)}
	case track.Delivered, track.OverQuota:
		s := b.about(e, "deliver", semconv.MessagingOperationTypeProcess)
		if since, ok := b.begins.get(e.ID); ok {
			s.begin = since
		}
		if e.Kind == track.OverQuota {
			s.failed = "over_quota"
		}
		return []span{s}
	case track.Queued:
		b.begins.set(waits, e.Time)
	case track.Deferred, track.Relayed, track.Failed:
		// An administrator who returns a message makes no attempt.
		if e.Kind == track.Failed && e.Route == "" {
			return b.waited(e, e.Time, "returned")
		}
		attempt := b.attempt(e)
		all := append(b.waited(e, attempt.begin, ""), attempt)
		if e.Kind == track.Deferred {
			b.begins.set(waits, e.Time)
		}
		return all
	case track.Expired:
		return b.waited(e, e.Time, "expired")
	}
	return nil
}

// about returns a span with the attributes that every span has.
func (b *builder) about(e *track.Event, name string, operation attribute.KeyValue) span {
	s := span{name: name, message: e.ID, kind: trace.SpanKindInternal, begin: e.Time, end: e.Time}
	s.add(semconv.MessagingSystemKey.String("smtp"), semconv.MessagingMessageID(e.ID), operation,
		semconv.MessagingOperationName(name))
	if e.Size > 0 {
		s.add(semconv.MessagingMessageEnvelopeSize(int(e.Size)))
	}
	if at := strings.LastIndexByte(e.To, '@'); at >= 0 {
		s.add(keyDomain.String(e.To[at+1:]))
	}
	if b.addresses {
		s.addText(keySender, e.From)
		s.addText(keyRecipient, e.To)
	}
	return s
}

func (b *builder) accepted(e *track.Event, begin time.Time) span {
	s := b.about(e, "accept", semconv.MessagingOperationTypeReceive)
	s.root, s.parent, s.begin = true, e.Parent, begin
	s.add(keyCount.Int64(e.Count))
	s.addText(keyService, e.Service)
	s.addText(keyRule, e.Rule)
	if e.Remote.IsValid() {
		s.kind = trace.SpanKindServer
		s.add(semconv.ClientAddress(e.Remote.String()))
	}
	if b.addresses {
		s.addText(semconv.UserNameKey, e.User)
	}
	return s
}

func (b *builder) attempt(e *track.Event) span {
	s := b.about(e, "attempt", semconv.MessagingOperationTypeSend)
	s.kind, s.begin = trace.SpanKindClient, e.Time.Add(-e.Took)
	s.add(semconv.NetworkProtocolName("smtp"), keyAttempt.Int64(e.Count))
	s.addText(semconv.ServerAddressKey, e.Host)
	s.addText(keyRoute, e.Route)
	code := replyCode(e.Reply)
	s.addText(keyCode, code)
	if b.addresses {
		s.addText(keyReply, e.Reply)
	}
	if e.Kind != track.Relayed {
		if s.failed = code; code == "" {
			s.failed = strings.ToLower(e.Kind.String())
		}
	}
	return s
}

// waited returns the span of a recipient's wait in the queue until end. After a restart of this
// server it is not known when a wait began: then it returns none.
func (b *builder) waited(e *track.Event, end time.Time, failed string) []span {
	key := e.ID + " " + e.To
	since, ok := b.begins.get(key)
	b.begins.forget(key)
	if !ok || end.Before(since) {
		return nil
	}
	s := b.about(e, "wait", semconv.MessagingOperationTypeProcess)
	s.begin, s.end, s.failed = since, end, failed
	return []span{s}
}

// replyCode returns the code at the begin of a reply, "" without one. The text of a reply can have
// a mail address in it.
func replyCode(reply string) string {
	code, _, _ := strings.Cut(reply, " ")
	if len(code) != 3 || strings.Trim(code, "0123456789") != "" {
		return ""
	}
	return code
}

func (s *span) add(attributes ...attribute.KeyValue) {
	s.attributes = append(s.attributes, attributes...)
}

func (s *span) addText(key attribute.Key, text string) {
	if text != "" {
		s.add(key.String(text))
	}
}

// record makes a span of the library, which hands it to its processor.
func (s *span) record(tracer trace.Tracer, hostname string) {
	root := rootContext(hostname, s.message)
	ctx, options := context.Background(), []trace.SpanStartOption{
		trace.WithTimestamp(s.begin), trace.WithSpanKind(s.kind),
		trace.WithAttributes(s.attributes...),
	}
	if s.root {
		ctx = context.WithValue(ctx, rootKey{}, root)
	} else {
		ctx = trace.ContextWithSpanContext(ctx, root)
	}
	if s.parent != "" {
		about := trace.Link{SpanContext: rootContext(hostname, s.parent)}
		options = append(options, trace.WithLinks(about))
	}
	_, made := tracer.Start(ctx, s.name, options...)
	if s.failed != "" {
		made.SetAttributes(semconv.ErrorTypeKey.String(s.failed))
		made.SetStatus(codes.Error, s.failed)
	}
	made.End(trace.WithTimestamp(s.end))
}

// memory remembers when something began. It forgets the oldest half of what is too much.
type memory struct {
	young, old map[string]time.Time
}

// maxYoung is the number of entries in one half of a memory.
const maxYoung = 20_000

func (m *memory) set(key string, at time.Time) {
	if m.young == nil || len(m.young) >= maxYoung {
		m.young, m.old = map[string]time.Time{}, m.young
	}
	m.young[key] = at
}

func (m *memory) get(key string) (time.Time, bool) {
	if at, ok := m.young[key]; ok {
		return at, true
	}
	at, ok := m.old[key]
	return at, ok
}

func (m *memory) forget(key string) {
	delete(m.young, key)
	delete(m.old, key)
}
