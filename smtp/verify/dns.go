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

// Resolver asks DNS. *net.Resolver is one.
type Resolver interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)
	LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error)
	LookupAddr(ctx context.Context, addr string) ([]string, error)
}

// lookups are the questions of one Verify: counted, within its time, and with
// errors that the libraries understand. It is a Resolver.
type lookups struct {
	ctx      context.Context
	log      *slog.Logger // may be nil
	resolver Resolver
	silent   bool // nothing is to be asked

	mu       sync.Mutex
	left     int // questions that may be asked
	answered int
	failed   int
}

var (
	errTooMany = errors.New("too many questions to DNS for one message")
	errSilent  = errors.New("DNS did not answer lately")
)

func (v *Verifier) begin(ctx context.Context) *lookups {
	v.mu.Lock()
	defer v.mu.Unlock()
	return &lookups{ctx: ctx, resolver: v.resolver, left: v.queries, silent: time.Now().Before(v.quiet), log: v.log}
}

// end remembers a DNS that does not answer. That nothing was answered is not
// enough: a sender whose own servers are silent must not switch off what
// protects from him. The root is what any DNS knows.
func (v *Verifier) end(l *lookups) {
	l.mu.Lock()
	suspect := !l.silent && l.answered == 0 && l.failed > 0 && !errors.Is(l.ctx.Err(), context.Canceled)
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

// ask asks one question. The errors of net are made to say what they mean: only
// "not found" is an answer, all else is temporary, a server that cannot be
// reached, too, which net does not call so.
func ask[T any](l *lookups, name string, question func(name string) ([]T, error)) ([]T, error) {
	if l.silent {
		return nil, temporary(name, errSilent)
	}
	l.mu.Lock()
	l.left--
	over := l.left < 0
	l.mu.Unlock()
	if over {
		return nil, errTooMany
	}
	var found []T
	// The DKIM library asks in goroutines of its own, where a panic would end the server.
	err := caught.Do(func() (err error) { found, err = question(name); return err })
	caught.Log(l.log, err, "the program goes wrong with an answer of DNS", "name", name)
	dnsErr, ok := errors.AsType[*net.DNSError](err)
	// net reports records that it left out for their bad names as an error that names no server.
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

// absolute keeps the search list of the system out of it.
func absolute(name string) string { return strings.TrimSuffix(name, ".") + "." }

// The context of the libraries is that of l, or none.

func (l *lookups) LookupTXT(_ context.Context, name string) ([]string, error) {
	return ask(l, absolute(name), func(name string) ([]string, error) { return l.resolver.LookupTXT(l.ctx, name) })
}

func (l *lookups) LookupMX(_ context.Context, name string) ([]*net.MX, error) {
	return ask(l, absolute(name), func(name string) ([]*net.MX, error) { return l.resolver.LookupMX(l.ctx, name) })
}

func (l *lookups) LookupIPAddr(_ context.Context, host string) ([]net.IPAddr, error) {
	return ask(l, absolute(host), func(name string) ([]net.IPAddr, error) { return l.resolver.LookupIPAddr(l.ctx, name) })
}

func (l *lookups) LookupAddr(_ context.Context, ip string) ([]string, error) {
	return ask(l, ip, func(ip string) ([]string, error) { return l.resolver.LookupAddr(l.ctx, ip) })
}

func (l *lookups) txt(name string) ([]string, error) { return l.LookupTXT(l.ctx, name) }
