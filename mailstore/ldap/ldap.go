// Package ldap checks passwords and looks up mail addresses in an external directory: Active
// Directory or OpenLDAP, by LDAP version 3 (RFC 4511 to 4519).
//
// Start with [Open] and a [Config]. [Directory.Check] checks a password, [Directory.Find] finds a
// user, and [Directory.Address] finds the owner of an address. Packages auth and directory use them
// through adapters in cmd. [Directory.Test] is for the administrator.
//
// Answers are cached, so that an outage of a few minutes does not lock users out. While the
// directory does not answer, the error is ErrUnavailable, never "no such user" or "wrong password".
// A password must never reach the log, even if the server repeats it in an error text.
package ldap

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"golang.org/x/sync/singleflight"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/caught"
	"pillarbox/mailstore/durable"
)

// The classes of failure. Errors that wrap them are for the log, never for a client of the mail
// server.
var (
	// ErrNotFound: the directory answered, and has no such entry.
	ErrNotFound = errors.New("not in the directory")
	// ErrInvalid: the directory refused the password; a *Refusal says why.
	ErrInvalid = errors.New("the directory refuses the password")
	// ErrUnavailable: the directory did not answer, so the result is unknown.
	ErrUnavailable = errors.New("the directory gives no answer")
	// ErrUnusable: the directory answered, but the entry cannot be used until an administrator
	// changes it. For example, a group is too large.
	ErrUnusable = errors.New("the directory entry cannot be used")
	// ErrAmbiguous: several entries match where one is required. It is an ErrUnavailable until
	// an administrator changes the entries.
	ErrAmbiguous error = ambiguous{}

	// errNoBase: a search is impossible. It is an ErrUnavailable until an administrator changes
	// the configuration.
	errNoBase error = noBase{}
)

type ambiguous struct{}

func (ambiguous) Error() string        { return "several entries match, and only one may" }
func (ambiguous) Is(target error) bool { return target == ErrUnavailable }

type noBase struct{}

func (noBase) Error() string        { return "no search base is configured" }
func (noBase) Is(target error) bool { return target == ErrUnavailable }

// A Login is a user name, parsed. Domain is the mail domain, even if the user typed a NetBIOS
// domain or none.
type Login struct {
	User   string
	Domain addr.Domain
}

// A Person is an entry of the directory: a user with a mailbox, or a group. A Directory shares its
// Persons: callers must not change them.
type Person struct {
	DN      string
	Name    string         // display name; may be ""
	Mailbox addr.Address   // folded; zero if the entry has none
	Aliases []addr.Address // folded, without Mailbox
	Quota   int64          // octets; 0: not set

	Group   bool
	Members []addr.Address // of a group, including the groups in it; folded, without duplicates
}

// Open prepares a Directory and makes no connection. It fails if the configuration is invalid or
// the CA file cannot be read.
func Open(cfg Config) (*Directory, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("directory %q: %w", cfg.Name, err)
	}
	roots, err := readRoots(cfg.CAFile)
	if err != nil {
		return nil, fmt.Errorf("directory %q: %w", cfg.Name, err)
	}
	d := &Directory{cfg: cfg, log: cfg.Log, key: make([]byte, 32)}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	d.log = d.log.With("directory", cfg.Name)
	rand.Read(d.key)
	dialer := net.Dialer{}
	d.pool = newPool(cfg, roots, d.log, dialer.DialContext)
	return d, nil
}

// A Directory is one directory service with one or more servers. It is safe for concurrent use.
type Directory struct {
	cfg       Config
	log       *slog.Logger
	pool      *pool
	people    cache[found]
	passwords cache[proven]
	flights   singleflight.Group // lookups that run now; equal questions share one
	key       []byte             // random for each process, for digests of passwords
}

// Name is the name in the configuration.
func (d *Directory) Name() string { return d.cfg.Name }

// Close closes the idle connections. Lookups that run now are not interrupted.
func (d *Directory) Close() { d.pool.close() }

// Servers returns the state of the servers, in the configured order.
func (d *Directory) Servers() []Server { return d.pool.states() }

// Server is the state of one server.
type Server struct {
	URL     string
	Down    bool      // it failed, and has not been reached since
	Since   time.Time // start of Down
	Failure error     // the latest error, if Down
}

func readRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := durable.ReadSmallFile(file, durable.MaxSmall)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: no certificate in PEM format", file)
	}
	return roots, nil
}

// share runs ask, or waits for an equal question that runs already, until ctx ends. The question
// runs on without its caller, because others may wait for it and the answer is cached.
func share[T any](ctx context.Context, d *Directory, question string,
	ask func(context.Context) (T, error)) (T, error) {
	answer := d.flights.DoChan(question, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.cfg.queryTimeout())
		defer cancel()
		var v T
		err := caught.Do(func() (err error) { v, err = ask(ctx); return err })
		if caught.Is(err) {
			caught.Log(d.log, err, "internal error while handling a directory answer")
			err = fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		return v, err
	})
	select {
	case r := <-answer:
		v, _ := r.Val.(T)
		return v, r.Err
	case <-ctx.Done():
		var none T
		return none, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
}

// Config is the configuration of the directory, with the defaults filled in.
func (d *Directory) Config() Config { return d.cfg }
