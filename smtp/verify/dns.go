package verify

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"pillarbox/mailstore/caught"
)

// Resolver makes DNS lookups. *net.Resolver implements it.
type Resolver interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)
	LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error)
	LookupAddr(ctx context.Context, addr string) ([]string, error)
}

// lookups makes the DNS queries of one Verify. It counts them, keeps them within the time limit,
// and returns errors that the libraries understand. It implements Resolver.
type lookups struct {
	ctx      context.Context
	log      *slog.Logger // nil: no logging
	resolver Resolver
	quiet    bool // make no queries

	mu       sync.Mutex
	left     int // remaining queries
	answered int
	failed   int
}

var (
	errTooMany = errors.New("too many DNS queries for one message")
	errQuiet   = errors.New("DNS did not answer recently")
)

func (v *Verifier) begin(ctx context.Context) *lookups {
	v.mu.Lock()
	defer v.mu.Unlock()
	return &lookups{ctx: ctx, resolver: v.resolver, left: v.queries,
		quiet: time.Now().Before(v.quiet), log: v.log}
}

// end records that DNS does not answer. Unanswered queries alone are not enough: a sender with
// silent name servers must not be able to switch off the checks of its mail. The root zone must be
// unreachable too, since every working resolver can answer for it.
func (v *Verifier) end(l *lookups) {
	l.mu.Lock()
	suspect := !l.quiet && l.answered == 0 && l.failed > 0 &&
		!errors.Is(l.ctx.Err(), context.Canceled)
	l.mu.Unlock()
	if !suspect {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(l.ctx), probeTime)
	defer cancel()
	probe := &lookups{ctx: ctx, resolver: v.resolver, left: 1}
	if probe.txt("."); probe.answered > 0 {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.quiet = time.Now().Add(quietTime)
}

func (l *lookups) exhausted() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.left < 0
}

// ask makes one query and corrects the errors of package net. Only "not found" is an answer. Every
// other error is temporary, including an unreachable server, which net does not report as
// temporary.
func ask[T any](l *lookups, name string, question func(name string) ([]T, error)) ([]T, error) {
	if l.quiet {
		return nil, temporary(name, errQuiet)
	}
	l.mu.Lock()
	l.left--
	over := l.left < 0
	l.mu.Unlock()
	if over {
		return nil, errTooMany
	}
	var found []T
	// The DKIM library makes lookups in goroutines of its own, where a panic would end the server.
	err := caught.Do(func() (err error) { found, err = question(name); return err })
	caught.Log(l.log, err, "panic while handling a DNS answer", "name", name)
	dnsErr, ok := errors.AsType[*net.DNSError](err)
	// If net drops records with invalid names, it reports an error without a server name.
	bad := ok && dnsErr.Server == "" && !dnsErr.IsTimeout && !dnsErr.IsTemporary
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil || len(found) > 0:
		l.answered++
		return found, nil
	case ok && (dnsErr.IsNotFound || bad):
		l.answered++
		return nil, &net.DNSError{Err: "no such record", Name: name, IsNotFound: true}
	}
	l.failed++
	return nil, temporary(name, err)
}

func temporary(name string, err error) error {
	return &net.DNSError{Err: err.Error(), Name: name, IsTemporary: true}
}

// absolute prevents the use of the system's search list.
func absolute(name string) string { return strings.TrimSuffix(name, ".") + "." }

// The libraries pass the context of l, or none, so it is ignored here.

func (l *lookups) LookupTXT(_ context.Context, name string) ([]string, error) {
	return ask(l, absolute(name), func(name string) ([]string, error) {
		return l.resolver.LookupTXT(l.ctx, name)
	})
}

func (l *lookups) LookupMX(_ context.Context, name string) ([]*net.MX, error) {
	return ask(l, absolute(name), func(name string) ([]*net.MX, error) {
		return l.resolver.LookupMX(l.ctx, name)
	})
}

func (l *lookups) LookupIPAddr(_ context.Context, host string) ([]net.IPAddr, error) {
	return ask(l, absolute(host), func(name string) ([]net.IPAddr, error) {
		return l.resolver.LookupIPAddr(l.ctx, name)
	})
}

func (l *lookups) LookupAddr(_ context.Context, ip string) ([]string, error) {
	return ask(l, ip, func(ip string) ([]string, error) { return l.resolver.LookupAddr(l.ctx, ip) })
}

func (l *lookups) txt(name string) ([]string, error) { return l.LookupTXT(l.ctx, name) }
