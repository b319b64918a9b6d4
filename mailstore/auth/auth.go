// Package auth decides who a client is: user name and password in, Principal
// out, at a speed that suits a mail program that polls every minute and does
// not suit anybody who guesses.
package auth

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
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
	// ErrExpired: the right password, which is older than passwords may get.
	ErrExpired = errors.New("the password is too old")
	// ErrNotOffered: the mechanism is not for this client.
	ErrNotOffered = errors.New("mechanism not offered")
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

// Accounts finds the mailbox that a login name means, and changes its account.
// *directory.Directory is the one in use. An unknown name is
// directory.ErrNotFound, with a mailbox that has the Method and the Login that
// it would have had; any other error is taken for temporary.
type Accounts interface {
	Login(name string) (directory.Mailbox, error)
	UpdateAccount(a addr.Address, edit func(*directory.Account) error) error
	// Make makes a mailbox that is New.
	Make(box directory.Mailbox) (directory.Mailbox, error)
	// StoredKinds are the sets of secrets that mailboxes have which can be logged in to.
	StoredKinds() ([][]directory.SecretKind, error)
}

// A Backend checks the passwords of those whose verifiers are not here: that of
// who logs in under a name, and may into a mailbox; it is zero where nobody has
// the name here, which no password makes right. The error is nil for the right
// password, an ErrInvalid, or anything else, which is taken for temporary.
type Backend interface {
	Check(ctx context.Context, login, mailbox addr.Address, password string) error
}

// A Client is who wants to log in, as far as the connection tells.
type Client struct {
	Remote netip.Addr
	TLS    *tls.ConnectionState // nil: none
}

// Options are the parts and knobs of an Authenticator; the zero value is ready
// for use.
type Options struct {
	Log      *slog.Logger  // failures at Warn, successes at Debug; nil is silence
	Delay    time.Duration // the least that every failure takes, and the first step of the growing delay; 0 means 500 ms
	MaxDelay time.Duration // where it stops growing; 0 means 8 s
	Forget   time.Duration // when failures are forgotten; 0 means 15 min
	Bans     *Bans         // counts wrong log-ins and refuses who is banned; nil: nobody is banned
	Keeper   *Keeper       // of stored secrets; nil: there are none, and passwords do not age

	// FreeMemory gives memory back to the system after a while without password
	// hashes; nil means debug.FreeOSMemory.
	FreeMemory func()

	// Backend is where a method other than directory.ByFile checks passwords; a
	// nil Backend, and a nil func, means that it cannot now.
	Backend func(directory.Method) Backend
	// Certificate says whose client certificate a connection has shown, by a CA
	// that issues them here; nil: nobody's.
	Certificate func(*tls.ConnectionState) (address, fingerprint string, ok bool)
}

// Settings are what a running Authenticator can be told anew; the zero value
// permits everything but NTLMv1.
type Settings struct {
	Hostname   string   // in challenges
	Domain     string   // the default domain, which NTLM names; "" is none
	Mechanisms []string // that may be used, by their names in capitals; nil: all
	RequireSPA bool     // NTLM, and nothing else
	NTLMv1     bool     // take the responses of clients from before NTLM 2
	// ChallengeNetworks are where a mechanism that needs a stored secret is offered
	// although some mailbox has not stored it.
	ChallengeNetworks []netip.Prefix
}

// An Authenticator verifies passwords and what stands for them. It is safe for
// concurrent use, and it reads the account anew for every login, so that a
// change of password or a lock works at once.
type Authenticator struct {
	Options
	settings atomic.Pointer[Settings]
	accounts Accounts
	throttle throttle
	verified verified
	stored   storedKinds
	hashing  *slots   // one for each password hash that may run
	nobody   verifier // does the work for users that do not exist
	// nothing is the same, for those who have no secret of the kind. It is made at the first use, because it costs as much
	// as a start of the server.
	nothing func() *Secrets
	key     []byte // of this process, for cache and fingerprints: nothing kept here can be attacked offline
}

// New makes an Authenticator over the accounts.
func New(accounts Accounts, opts Options) *Authenticator {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.FreeMemory == nil {
		opts.FreeMemory = debug.FreeOSMemory
	}
	opts.Delay = cmp.Or(opts.Delay, 500*time.Millisecond)
	a := &Authenticator{
		Options:  opts,
		accounts: accounts,
		throttle: throttle{
			delay:    opts.Delay,
			maxDelay: cmp.Or(opts.MaxDelay, 8*time.Second),
			forget:   cmp.Or(opts.Forget, 15*time.Minute),
			sources:  make(map[source]*guesses),
			networks: make(map[netip.Prefix]time.Time),
		},
		verified: verified{logins: make(map[[sha256.Size]byte]struct{})},
		stored:   storedKinds{look: accounts.StoredKinds},
		hashing:  newSlots(runtime.NumCPU(), opts.FreeMemory),
		nobody:   randomVerifier(),
		nothing:  sync.OnceValue(newDummySecrets),
		key:      make([]byte, 32),
	}
	rand.Read(a.key)
	a.SetSettings(Settings{})
	return a
}

// newDummySecrets are those of a password that no client can know.
func newDummySecrets() *Secrets {
	var s Secrets
	s.add(rand.Text(), directory.SecretKinds())
	return &s
}

// SetSettings puts other settings in force, for exchanges to come.
func (a *Authenticator) SetSettings(s Settings) { a.settings.Store(&s) }

// Password verifies a user's password. A failure takes some time: always a
// little, and more with every other wrong password for the account from the
// same remote address (the /64 of an IPv6 address). A password that was right
// before never waits, whatever others guess. The error is ErrInvalid, ErrLocked, ErrExpired or
// ErrTemporary; the last also when ctx ends first, and, as ErrBanned and at once,
// while the address is banned. Whether a password may be asked for is Offers'
// business.
func (a *Authenticator) Password(ctx context.Context, remote netip.Addr, user, password string) (Principal, error) {
	return a.logIn(ctx, remote, "password", user, func(box directory.Mailbox, known bool) (bool, error) {
		return a.checkPassword(ctx, remote, box, known, user, normalize(password))
	})
}

// Locked reports whether the mailbox of one who logged in has been locked since.
func (a *Authenticator) Locked(p Principal) bool {
	box, err := a.accounts.Login(p.Address.String())
	return err == nil && box.Locked
}

// logIn finds the account, lets check say whether it is its user's, and enters
// or not. It is the one way in.
func (a *Authenticator) logIn(ctx context.Context, remote netip.Addr, mechanism, user string,
	check func(box directory.Mailbox, known bool) (aged bool, err error)) (Principal, error) {
	box, err := a.find(remote, user, check)
	if err != nil {
		a.logFailure(mechanism, user, remote, err)
		return Principal{}, err
	}
	a.Log.Debug("authentication succeeded", "user", box.Address.String(), "remote", remote, "mechanism", mechanism)
	return Principal{Address: box.Address, Dir: box.Dir}, nil
}

func (a *Authenticator) find(remote netip.Addr, user string, check func(directory.Mailbox, bool) (bool, error)) (directory.Mailbox, error) {
	if _, banned := a.Bans.Until(remote); banned {
		return directory.Mailbox{}, ErrBanned
	}
	box, err := a.accounts.Login(user)
	known := err == nil
	if !known && !errors.Is(err, directory.ErrNotFound) {
		return box, fmt.Errorf("%w: %w", ErrTemporary, err)
	}
	aged, err := check(box, known)
	if err != nil {
		return box, err
	}
	if box, err = a.again(box, user); err != nil {
		return box, err
	}
	switch {
	case box.Locked:
		return box, ErrLocked
	case aged && a.Keeper != nil && a.Keeper.Expired(&box.Account, time.Now()):
		return box, ErrExpired
	}
	return box, nil
}

// errMeanwhile says that a log-in was judged by what holds no longer.
var errMeanwhile = fmt.Errorf("%w: the account was changed during the log-in", ErrTemporary)

// again reads an account anew after a check, which may have taken a while: a
// password that was changed, and a mailbox that another has by now, let nobody in.
// The mailbox of somebody who is known elsewhere is made here.
func (a *Authenticator) again(box directory.Mailbox, user string) (directory.Mailbox, error) {
	now, err := a.accounts.Login(user)
	if err == nil && now.New && box.New && now.Address == box.Address {
		if now, err = a.accounts.Make(now); err == nil {
			a.Log.Info("mailbox made at its first log-in", "mailbox", now.Address.String())
			now.New, box.Account = false, now.Account
		}
		box.New = false
	}
	switch {
	case errors.Is(err, directory.ErrNotFound):
		return box, errMeanwhile
	case err != nil:
		return box, fmt.Errorf("%w: %w", ErrTemporary, err)
	case now.Dir != box.Dir, now.New != box.New, now.Method != box.Method, now.Account.Verifier != box.Account.Verifier,
		!now.Account.Created.Equal(box.Account.Created):
		return box, errMeanwhile
	}
	return now, nil
}

// checkPassword holds a password against the account's verifier, or asks where
// the account's method says. It reports whether the password is one that ages.
func (a *Authenticator) checkPassword(ctx context.Context, remote netip.Addr, box directory.Mailbox, known bool, user, password string) (aged bool, err error) {
	if box.Method != directory.ByFile && box.Method != "" {
		return false, a.checkRemotely(ctx, remote, box, known, user, password)
	}
	login := a.digest("login", box.Dir, box.Account.Verifier, password)
	if !known || !a.verified.has(login) {
		v, reason := a.verifierOf(known, box.Account.Verifier)
		g := guessing{remote: remote, user: user, fingerprint: a.fingerprint(password)}
		err := a.attempt(ctx, g, func() (bool, error) { return a.hash(ctx, remote, login, v, password) })
		if errors.Is(err, ErrInvalid) {
			return false, fmt.Errorf("%w: %w", err, reason)
		} else if err != nil {
			return false, err
		}
	}
	a.fill(box, password)
	return true, nil
}

// checkRemotely lets the account's method check a password. One that was right
// before is asked about at once, whatever waits.
func (a *Authenticator) checkRemotely(ctx context.Context, remote netip.Addr, box directory.Mailbox, known bool, user, password string) error {
	login := a.digest("remote", string(box.Method), box.Login.String(), box.Address.String(), password)
	reason := errUnknown
	g := guessing{remote: remote, user: user, fingerprint: a.fingerprint(password), atOnce: known && a.verified.has(login)}
	err := a.attempt(ctx, g, func() (right bool, err error) {
		right, reason, err = a.askBackend(ctx, box, password)
		return right && known, err
	})
	switch {
	case err == nil:
		a.verified.add(login)
	case errors.Is(err, ErrInvalid):
		a.verified.remove(login)
	}
	switch {
	case errors.Is(err, ErrInvalid) && errors.Is(reason, ErrInvalid):
		return reason
	case errors.Is(err, ErrInvalid) && reason != nil:
		return fmt.Errorf("%w: %w", err, reason)
	}
	return err
}

// askBackend asks elsewhere; reason is why the password is wrong.
func (a *Authenticator) askBackend(ctx context.Context, box directory.Mailbox, password string) (right bool, reason, err error) {
	var backend Backend
	if a.Backend != nil {
		backend = a.Backend(box.Method)
	}
	if backend == nil {
		return false, nil, fmt.Errorf("%w: the method %q is not configured", ErrTemporary, box.Method)
	}
	err = backend.Check(ctx, box.Login, box.Address, password)
	switch {
	case err == nil && box.Address.IsZero():
		return true, errUnknown, nil
	case err == nil:
		return true, nil, nil
	case errors.Is(err, ErrInvalid):
		return false, err, nil
	}
	return false, nil, fmt.Errorf("%w: %w", ErrTemporary, err)
}

// fill stores the secrets that an account is to have and does not, now that its
// password is known. That it cannot is no reason to refuse a log-in.
func (a *Authenticator) fill(box directory.Mailbox, password string) {
	if a.Keeper == nil || !a.Keeper.lacks(&box.Account) {
		return
	}
	err := a.accounts.UpdateAccount(box.Address, func(acc *directory.Account) error {
		return a.Keeper.fill(acc, box.Account.Verifier, password)
	})
	if err != nil {
		a.Log.Error("the secrets of a mailbox cannot be stored", "mailbox", box.Address.String(), "error", err)
		return
	}
	a.Log.Info("the secrets of a mailbox are stored", "mailbox", box.Address.String(), "kinds", a.Keeper.Wanted(&box.Account))
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

// errTooMany says that so many guesses for an account wait already that another is
// not looked at, be it right or wrong.
var errTooMany = fmt.Errorf("%w: too many log-ins for this account from this network wait", ErrTemporary)

// A guessing is one attempt to log in.
type guessing struct {
	remote      netip.Addr
	user        string
	fingerprint uint64
	// atOnce: it is judged before it waits, and does not wait if it is right.
	atOnce bool
}

// attempt makes one guess: it waits as long as earlier ones demand, lets judge
// say whether it is right, and counts it if not. Every failure takes the same
// time from there, however long judge takes: who has an account, and what kind,
// cannot be read from a clock. Guesses that had to wait when the ban came are
// not looked at any more.
func (a *Authenticator) attempt(ctx context.Context, g guessing, judge func() (bool, error)) error {
	if g.atOnce {
		if right, err := judge(); err != nil || right {
			return err
		}
		judge = func() (bool, error) { return false, nil } // a directory counts each question
	}
	s := newSource(g.user, g.remote)
	wait, ok := a.throttle.begin(s, g.fingerprint)
	if !ok {
		return a.refuseGuess(ctx, g, s)
	}
	defer a.throttle.end(s, g.fingerprint)
	right, err := false, sleep(ctx, wait)
	begun := time.Now()
	if _, banned := a.Bans.Until(g.remote); banned && err == nil {
		err = ErrBanned
	}
	if err == nil {
		right, err = judge()
	}
	if err != nil || right {
		a.throttle.takeBack(s, g.fingerprint)
		return err
	}
	a.countWrong(g, s)
	if err := sleep(ctx, a.Delay-time.Since(begun)); err != nil {
		return err
	}
	return ErrInvalid
}

// refuseGuess answers a guess that is one too many. It takes the longest time that
// a guess can: a right password that is remembered goes in without waiting, so a
// quick refusal would tell an attacker at once that the password is another one.
func (a *Authenticator) refuseGuess(ctx context.Context, g guessing, s source) error {
	a.countWrong(g, s)
	if err := sleep(ctx, a.throttle.maxDelay); err != nil {
		return err
	}
	return errTooMany
}

func (a *Authenticator) countWrong(g guessing, s source) {
	a.throttle.noteWrong(s.remote)
	a.Bans.wrong(g.remote, s.account, g.user, g.fingerprint)
}

// fingerprint tells one guess from another.
func (a *Authenticator) fingerprint(guess string) uint64 {
	digest := a.digest("guess", guess)
	return binary.BigEndian.Uint64(digest[:])
}

// Why a login failed, for the log.
var (
	errUnknown = errors.New("no such user")
	errWrong   = errors.New("wrong password")
)

// hash waits for a slot and holds a password against a verifier. The login may
// have been found right meanwhile: of many at once, few cost a hash.
func (a *Authenticator) hash(ctx context.Context, remote netip.Addr, login [sha256.Size]byte, v verifier, password string) (bool, error) {
	_, network := networkOf(remote)
	if err := a.hashing.acquire(ctx, network, !a.throttle.suspect(network)); err != nil {
		return false, err
	}
	defer a.hashing.release()
	right := a.verified.has(login) || v.matches(password)
	if right {
		a.verified.add(login)
	}
	return right, nil
}

func (a *Authenticator) logFailure(mechanism, user string, remote netip.Addr, err error) {
	const enough = 100 // of what may be anything
	a.Log.Warn("authentication failed", "user", user[:min(len(user), enough)], "remote", remote, "mechanism", mechanism, "reason", err.Error())
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
	if d <= 0 {
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

func (v *verified) remove(login [sha256.Size]byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.logins, login)
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
