package acme

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/acme"

	"pillarbox/mailstore/caught"
	"pillarbox/mailstore/durable"
	"pillarbox/mailstore/foreign"
)

const (
	attemptTime = 5 * time.Minute // limit for one attempt

	// After the first failure the next attempt follows in firstRetry. Each further failure
	// doubles the time, up to lastRetry. Let's Encrypt allows five failures in an hour.
	firstRetry = 15 * time.Minute
	lastRetry  = 12 * time.Hour

	longestSleep = time.Hour // the clock may be set meanwhile
)

// Renewer keeps a certificate valid. It gets one if there is none, if a third of the lifetime is
// left, or if the names have changed. It is safe for concurrent use.
type Renewer struct {
	installed func()
	log       *slog.Logger
	now       func() time.Time
	wake      chan struct{}
	attempts  chan struct{} // holds one token while an attempt runs

	mu       sync.Mutex
	cfg      *Config           // nil means off
	leaf     *x509.Certificate // nil if there is none
	next     time.Time         // the next attempt
	last     time.Time
	lastErr  error
	failures int
}

// NewRenewer makes a Renewer. With a nil configuration it does nothing. It calls installed, from
// any goroutine, after it has written a new certificate.
func NewRenewer(cfg *Config, installed func(), log *slog.Logger) *Renewer {
	r := &Renewer{
		installed: installed, log: log, now: time.Now,
		wake: make(chan struct{}, 1), attempts: make(chan struct{}, 1),
	}
	r.SetConfig(cfg)
	return r
}

// SetConfig changes the configuration. An equal one has no effect, so the time of the next attempt
// stays.
func (r *Renewer) SetConfig(cfg *Config) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if cfg.equal(r.cfg) {
		return
	}
	r.cfg, r.leaf, r.failures, r.last, r.lastErr = cfg, nil, 0, time.Time{}, nil
	if cfg != nil {
		r.leaf = r.read(cfg)
		r.next = due(r.leaf, cfg.Names)
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// read returns the existing certificate, or nil.
func (r *Renewer) read(cfg *Config) *x509.Certificate {
	text, err := durable.ReadSmallFile(CertificateFile(cfg.Dir), durable.MaxSmall)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var pair tls.Certificate
	if err == nil {
		pair, err = tls.X509KeyPair(text, text)
	}
	if err != nil {
		r.log.Error("the ACME certificate cannot be read; the server requests a new one",
			"file", CertificateFile(cfg.Dir), "error", err)
		return nil
	}
	return pair.Leaf
}

// due returns when a certificate must be replaced. The zero time means at once.
func due(leaf *x509.Certificate, names []string) time.Time {
	if leaf == nil {
		return time.Time{}
	}
	for _, name := range names {
		if leaf.VerifyHostname(name) != nil {
			return time.Time{}
		}
	}
	return leaf.NotAfter.Add(-leaf.NotAfter.Sub(leaf.NotBefore) / 3)
}

// retry returns the time until the next attempt, after this many failures in a row, of which err is
// the last. It is at least the time that the ACME server demands.
func retry(failures int, err error) time.Duration {
	wait := min(firstRetry<<min(failures-1, 10), lastRetry)
	var problem *acme.Error
	if errors.As(err, &problem) {
		if asked, ok := acme.RateLimit(problem); ok {
			wait = max(wait, asked)
		}
	}
	return wait
}

// Run keeps the certificate valid until ctx is done.
func (r *Renewer) Run(ctx context.Context) {
	for {
		wait := longestSleep
		r.mu.Lock()
		on, next := r.cfg != nil, r.next
		r.mu.Unlock()
		if on {
			if wait = min(next.Sub(r.now()), longestSleep); wait <= 0 {
				r.attempt(ctx)
				wait = 0
			}
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-r.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// Renew gets a new certificate now, due or not. It returns ErrOff if ACME is off.
func (r *Renewer) Renew(ctx context.Context) error { return r.attempt(ctx) }

func (r *Renewer) attempt(ctx context.Context) error {
	select {
	case r.attempts <- struct{}{}:
		defer func() { <-r.attempts }()
	case <-ctx.Done():
		return ctx.Err()
	}
	r.mu.Lock()
	cfg := r.cfg
	r.mu.Unlock()
	if cfg == nil {
		return ErrOff
	}
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	var leaf *x509.Certificate
	err := caught.Do(func() (err error) { leaf, err = obtain(ctx, cfg); return err })
	caught.Log(r.log, err, "a program error at a reply of the ACME server")
	if err != nil {
		err = problem{err}
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err() // the caller gave up, or the server stops: this is no failure
	}
	r.recordAttempt(cfg, leaf, err)
	if err == nil {
		r.installed()
	}
	return err
}

// problem wraps an error that may contain text of the ACME server, and makes it fit for a log and a
// terminal.
type problem struct{ error }

func (p problem) Error() string {
	const limit = 1000
	return foreign.Printable(strings.Join(strings.Fields(p.error.Error()), " "), limit)
}

func (p problem) Unwrap() error { return p.error }

// recordAttempt records and logs the result of an attempt.
func (r *Renewer) recordAttempt(cfg *Config, leaf *x509.Certificate, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !cfg.equal(r.cfg) {
		return // the configuration has changed since
	}
	r.last, r.lastErr = r.now(), err
	if err != nil {
		r.failures++
		r.next = r.last.Add(retry(r.failures, err))
		r.log.Error("no certificate by ACME", "names", cfg.Names,
			"failures", r.failures, "next_attempt", r.next, "error", err)
		return
	}
	r.failures, r.leaf = 0, leaf
	// A certificate that is due as soon as it is issued must not cause an endless loop.
	r.next = due(leaf, cfg.Names)
	if earliest := r.last.Add(firstRetry); r.next.Before(earliest) {
		r.next = earliest
	}
	r.log.Info("certificate by ACME",
		"names", cfg.Names, "until", leaf.NotAfter, "next_attempt", r.next)
}

// Status returns the current status.
func (r *Renewer) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cfg == nil {
		return Status{Names: []string{}}
	}
	s := Status{
		Enabled: true, Directory: r.cfg.Directory, Names: r.cfg.Names, Challenge: r.cfg.Challenge,
		Next: r.next, Last: r.last, Failures: r.failures,
	}
	if r.leaf != nil {
		s.NotAfter = r.leaf.NotAfter
	}
	if r.lastErr != nil {
		s.Error = r.lastErr.Error()
	}
	return s
}

// store opens the directory of a configuration, and makes it if it is missing.
func store(dir string) (*durable.Root, error) {
	// Make it by way of its grandparent, the server's TLS directory, so that it gets the same owner.
	parent := filepath.Dir(filepath.Dir(dir))
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return nil, err
	}
	above, err := durable.Open(parent)
	if err != nil {
		return nil, err
	}
	defer above.Close()
	below, err := filepath.Rel(parent, dir)
	if err != nil {
		return nil, err
	}
	if err := above.MkdirAll(filepath.ToSlash(below), 0o700); err != nil {
		return nil, err
	}
	return durable.Open(dir)
}
