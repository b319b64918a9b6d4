package httpserve

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"
)

// The end is no error, whether the context or the listener is noticed first. A listener that is
// closed before the end is one.
func TestEnd(t *testing.T) {
	serve := func(end func(cancel func(), l net.Listener)) error {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		served := make(chan error, 1)
		limits := Limits{Connections: 1, Request: time.Second, Answer: time.Second, Idle: time.Second}
		go func() {
			served <- Serve(ctx, l, nil, http.NotFoundHandler(), limits, slog.New(slog.DiscardHandler))
		}()
		end(cancel, l)
		return <-served
	}
	for range 300 {
		if err := serve(func(cancel func(), l net.Listener) { cancel(); l.Close() }); err != nil {
			t.Fatalf("at the end: %v", err)
		}
	}
	if err := serve(func(_ func(), l net.Listener) { l.Close() }); err == nil {
		t.Error("a listener that is closed is no error")
	}
}
