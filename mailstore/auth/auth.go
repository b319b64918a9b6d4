// Package auth decides who a client is: user name and password in, Principal
// out, at a speed that suits a mail program that polls every minute and does
// not suit anybody who guesses.
package auth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
)

// The classes of failure. None of the errors that wrap them is meant for the
// client to read.
var (
	// ErrInvalid: no such user, or not the password; which of them, nobody is told.
	ErrInvalid = errors.New("invalid user name or password")
	// ErrLocked: the right password for a locked mailbox.
	ErrLocked = errors.New("the mailbox is locked")
	// ErrTemporary: nothing is known about the password; to be tried again.
	ErrTemporary = errors.New("authentication temporarily impossible")
	// ErrBanned: too many wrong log-ins came from the address. It is an
	// ErrTemporary: right or wrong, no password was looked at.
	ErrBanned = fmt.Errorf("%w: the address is banned", ErrTemporary)
)

// A Principal is a user who has proved to be one.
type Principal struct {
	Address addr.Address // of the mailbox, canonical
	Dir     string       // of the mailbox, for mailstore
}

// Accounts finds the mailbox that a login name means: a full address or a bare
// name. *directory.Directory is the one in use. An unknown name is
// directory.ErrNotFound; any other error is taken for temporary.
type Accounts interface {
	Login(name string) (directory.Mailbox, error)
}

// Options are the knobs of an Authenticator; the zero value is ready for use.
type Options struct {
	Log      *slog.Logger  // failures at Warn, successes at Debug; nil is silence
	Delay    time.Duration // after every failure, and the first step of the growing delay; 0 means 500 ms
	MaxDelay time.Duration // where it stops growing; 0 means 8 s
	Forget   time.Duration // when failures are forgotten; 0 means 15 min
	Bans     *Bans         // counts wrong log-ins and refuses who is banned; nil: nobody is banned
}

// An Authenticator verifies passwords. It is safe for concurrent use, and it
// reads the account anew for every login, so that a change of password or a
// lock works at once.
type Authenticator struct {
	accounts Accounts
	log      *slog.Logger
	delay    time.Duration
	throttle throttle
	bans     *Bans // may be nil
	verified verified
	hashing  chan struct{} // a slot for each password hash that may run: each takes 19 MiB
	nobody   verifier      // does the work for users that do not exist
	key      []byte        // of this process, for cache and fingerprints: nothing kept here can be attacked offline
}

// New makes an Authenticator over the accounts.
func New(accounts Accounts, opts Options) *Authenticator {
	orDefault := func(d, def time.Duration) time.Duration {
		if d == 0 {
			return def
		}
		return d
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	delay := orDefault(opts.Delay, 500*time.Millisecond)
	a := &Authenticator{
		accounts: accounts,
		log:      opts.Log,
		delay:    delay,
		throttle: throttle{
			delay:    delay,
			maxDelay: orDefault(opts.MaxDelay, 8*time.Second),
			forget:   orDefault(opts.Forget, 15*time.Minute),
			sources:  make(map[source]*guesses),
		},
		bans:     opts.Bans,
		verified: verified{logins: make(map[[sha256.Size]byte]struct{})},
		hashing:  make(chan struct{}, runtime.NumCPU()),
		nobody:   randomVerifier(),
		key:      make([]byte, 32),
	}
	rand.Read(a.key)
	return a
}

// Password verifies a user's password. A failure takes some time: always a
// little, and more with every other wrong password for the account from the
// same remote address (the /64 of an IPv6 address). A password that was right a
// minute ago never waits. The error is ErrInvalid, ErrLocked or ErrTemporary;
// the last also when ctx ends first, and, as ErrBanned and at once, while the
// address is banned.
func (a *Authenticator) Password(ctx context.Context, remote netip.Addr, user, password string) (Principal, error) {
	box, err := a.check(ctx, remote, user, normalize(password))
	if err != nil {
		a.logFailure(user, remote, err)
		return Principal{}, err
	}
	a.log.Debug("authentication succeeded", "user", box.Address.String(), "remote", remote)
	return Principal{Address: box.Address, Dir: box.Dir}, nil
}

// Locked reports whether the mailbox of one who logged in has been locked since.
func (a *Authenticator) Locked(p Principal) bool {
	box, err := a.accounts.Login(p.Address.String())
	return err == nil && box.Locked
}

func (a *Authenticator) check(ctx context.Context, remote netip.Addr, user, password string) (directory.Mailbox, error) {
	if _, banned := a.bans.Until(remote); banned {
		return directory.Mailbox{}, ErrBanned
	}
	box, err := a.accounts.Login(user)
	known := err == nil
	if !known && !errors.Is(err, directory.ErrNotFound) {
		return box, fmt.Errorf("%w: %w", ErrTemporary, err)
	}
	login := a.digest("login", box.Dir, box.Account.Verifier, password)
	if !known || !a.verified.has(login) {
		v, reason := a.verifierOf(known, box.Account.Verifier)
		if err := a.verify(ctx, v, remote, user, password); errors.Is(err, ErrInvalid) {
			return box, fmt.Errorf("%w: %w", err, reason)
		} else if err != nil {
			return box, err
		}
		a.verified.add(login)
	}
	if box.Locked {
		return box, ErrLocked
	}
	return box, nil
}

// verifierOf is what to hold a password against, and why it is wrong if it does
// not match. There is one whether or not the account is known and its verifier
// of use, so that all take the same time.
func (a *Authenticator) verifierOf(known bool, stored string) (v verifier, reason error) {
	if !known {
		return a.nobody, errUnknown
	}
	v, err := parseVerifier(stored)
	if err != nil {
		return a.nobody, err
	}
	return v, errWrong
}

func (a *Authenticator) verify(ctx context.Context, v verifier, remote netip.Addr, user, password string) error {
	s := newSource(user, remote)
	digest := a.digest("guess", password)
	fingerprint := binary.BigEndian.Uint64(digest[:])
	right, err := a.guess(ctx, v, remote, password, a.throttle.begin(s, fingerprint))
	if err != nil || right {
		a.throttle.takeBack(s, fingerprint)
		return err
	}
	a.bans.wrong(remote, s.account, user, fingerprint)
	if err := sleep(ctx, a.delay); err != nil {
		return err
	}
	return ErrInvalid
}

// guess checks a password after a while. Guesses that had to wait when the ban
// came are not checked any more.
func (a *Authenticator) guess(ctx context.Context, v verifier, remote netip.Addr, password string, wait time.Duration) (right bool, err error) {
	if err := sleep(ctx, wait); err != nil {
		return false, err
	}
	if _, banned := a.bans.Until(remote); banned {
		return false, ErrBanned
	}
	return a.hash(ctx, v, password)
}

// Why a login failed, for the log.
var (
	errUnknown = errors.New("no such user")
	errWrong   = errors.New("wrong password")
)

// hash waits for a slot: without a bound, a burst of logins would want 19 MiB each.
func (a *Authenticator) hash(ctx context.Context, v verifier, password string) (bool, error) {
	select {
	case a.hashing <- struct{}{}:
	case <-ctx.Done():
		return false, fmt.Errorf("%w: %w", ErrTemporary, ctx.Err())
	}
	defer func() { <-a.hashing }()
	return v.matches(password), nil
}

func (a *Authenticator) logFailure(user string, remote netip.Addr, err error) {
	const enough = 100 // of what may be anything
	a.log.Warn("authentication failed", "user", user[:min(len(user), enough)], "remote", remote, "reason", err.Error())
}

// digest is a keyed hash of the fields, each after its length.
func (a *Authenticator) digest(fields ...string) (sum [sha256.Size]byte) {
	mac := hmac.New(sha256.New, a.key)
	for _, f := range fields {
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(f))))
		mac.Write([]byte(f))
	}
	mac.Sum(sum[:0])
	return sum
}

func sleep(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrTemporary, ctx.Err())
	}
}

// maxVerified bounds the cache; an office has fewer mailboxes.
const maxVerified = 10_000

// verified remembers logins that were right. The verifier is part of what is
// remembered, so a changed password needs no message to anybody.
type verified struct {
	mu     sync.Mutex
	logins map[[sha256.Size]byte]struct{} // guarded by mu
}

func (v *verified) has(login [sha256.Size]byte) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, ok := v.logins[login]
	return ok
}

func (v *verified) add(login [sha256.Size]byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for old := range v.logins {
		if len(v.logins) < maxVerified {
			break
		}
		delete(v.logins, old)
	}
	v.logins[login] = struct{}{}
}
