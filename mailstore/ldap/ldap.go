// Package ldap asks a directory of people, Active Directory or OpenLDAP, whether
// a password is somebody's, and who has a mail address (LDAP version 3, RFC 4511
// to 4519). What it learnt is kept for a while, so that a directory that is down
// for minutes does not log everybody out.
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

// The classes of failure. None of the errors that wrap them is meant for a client
// of the mail server to read; all of them are fit for a log.
var (
	// ErrNotFound: the directory answered, and nobody is called so.
	ErrNotFound = errors.New("not in the directory")
	// ErrInvalid: the directory refused the password; a *Refusal says why.
	ErrInvalid = errors.New("the directory refuses the password")
	// ErrUnavailable: nothing is known now, neither good nor bad.
	ErrUnavailable = errors.New("the directory gives no answer")
	// ErrUnusable: the directory answered, and time will not make the answer usable: a
	// group is too large, for example. An administrator must change the entry.
	ErrUnusable = errors.New("what the directory has cannot be used")
	// ErrAmbiguous: several entries fit where one must. It is an ErrUnavailable:
	// nothing is known until somebody has tidied up.
	ErrAmbiguous error = ambiguous{}
)

type ambiguous struct{}

func (ambiguous) Error() string        { return "several entries fit where one must" }
func (ambiguous) Is(target error) bool { return target == ErrUnavailable }

// A Login is what a person typed as a user name, taken apart. Domain is that of
// the mail address, also where a NetBIOS domain or nothing was typed.
type Login struct {
	User   string
	Domain addr.Domain
}

// A Person is an entry of the directory: somebody with a mailbox, or a group.
// Those that a Directory returns are shared: read them only.
type Person struct {
	DN      string
	Name    string         // for people to read; may be ""
	Mailbox addr.Address   // folded; zero where the entry has none
	Aliases []addr.Address // folded, without Mailbox
	Quota   int64          // octets; 0: the directory says nothing

	Group   bool
	Members []addr.Address // of a group, those of the groups in it too; folded, each once
}

// Open prepares for a directory and connects to nothing. It fails where the
// configuration cannot be, or the CA's file cannot be read.
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

// A Directory is one directory service, on however many servers. It is safe for
// concurrent use.
type Directory struct {
	cfg       Config
	log       *slog.Logger
	pool      *pool
	people    kept[found]
	passwords kept[proven]
	flights   singleflight.Group // look-ups under way, shared by all who ask the same
	key       []byte             // of this process, for digests of passwords
}

// Name is what the configuration calls the directory.
func (d *Directory) Name() string { return d.cfg.Name }

// Close closes the connections that nobody uses; look-ups under way end as they do.
func (d *Directory) Close() { d.pool.close() }

// Servers tells how the servers are, in the configured order.
func (d *Directory) Servers() []Server { return d.pool.states() }

// Server is how a server of the directory is.
type Server struct {
	URL     string
	Down    bool      // it failed, and was not reached since
	Since   time.Time // of Down
	Failure error     // the last one, where Down
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
		return nil, fmt.Errorf("%s: holds no certificate in PEM form", file)
	}
	return roots, nil
}

// share runs ask, or waits for the same question that is under way, for as long
// as the caller has time. The question itself goes on without him: others may
// wait for it, and the answer is kept.
func share[T any](ctx context.Context, d *Directory, question string, ask func(context.Context) (T, error)) (T, error) {
	answer := d.flights.DoChan(question, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.cfg.patience())
		defer cancel()
		var v T
		err := caught.Do(func() (err error) { v, err = ask(ctx); return err })
		if caught.Is(err) {
			caught.Log(d.log, err, "the program goes wrong with what the directory says")
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

// Config is what the directory was opened with, defaults filled in.
func (d *Directory) Config() Config { return d.cfg }
