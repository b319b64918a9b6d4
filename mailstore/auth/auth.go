// Package auth checks logins: it takes a user name and a password, or a SASL exchange, and returns
// the Principal that may use a mailbox. The SMTP and POP3 servers call it.
//
// Start with [Authenticator]. [Authenticator.Password] checks a password, [Authenticator.Begin]
// starts a SASL exchange, and [Authenticator.Offers] lists the mechanisms for a client.
// [SecretStore] prepares new passwords and stored secrets, [SecretKey] encrypts them, and [Bans]
// blocks addresses with too many wrong logins.
//
// A mail program that polls every minute with the right password never waits. Guesses get slower
// and slower. Neither the reply nor its timing may reveal whether a user exists, or which secrets a
// mailbox has stored. Passwords and secrets must never get into the log.
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
	"pillarbox/mailstore/track"
)

// The classes of failure. Errors that wrap them are for the log, never for the client.
var (
	// ErrInvalid: no such user, or a wrong password. The client is not told which.
	ErrInvalid = errors.New("invalid user name or password")
	// ErrLocked: the password is right, but the mailbox is locked.
	ErrLocked = errors.New("the mailbox is locked")
	// ErrAccess: the password is right, but the mailbox may not use this service.
	ErrAccess = errors.New("the mailbox may not use this service")
	// ErrExpired: the password is right, but older than Rules.MaxAge.
	ErrExpired = errors.New("the password is too old")
	// ErrNotOffered: the mechanism is not available to this client.
	ErrNotOffered = errors.New("mechanism not offered")
	// ErrTemporary: the password could not be checked; the client may try again.
	ErrTemporary = errors.New("authentication temporarily impossible")
	// ErrBanned: the address sent too many wrong logins. It wraps ErrTemporary, since the
	// password was not checked.
	ErrBanned = fmt.Errorf("%w: the address is banned", ErrTemporary)
)

// A Principal is an authenticated user.
type Principal struct {
	Address addr.Address // canonical address of the mailbox
	Dir     string       // directory of the mailbox, for package mailstore

	// Password: the user has proved the password of the mailbox.
	Password bool
	// App is the ID of the app password that the user has given instead, and Scope what it is for.
	App   string
	Scope directory.Access
	// NeedsCode: the user has not logged in before Authenticator.Code has accepted a code too. Only
	// logins to ServiceWeb have it.
	NeedsCode bool
}

// Accounts finds the mailbox for a login name, and updates its account. *directory.Directory
// implements it.
type Accounts interface {
	// Login returns directory.ErrNotFound for an unknown name, with a Mailbox that has the
	// Method and the Login that would apply. Every other error is treated as temporary.
	Login(name string) (directory.Mailbox, error)
	UpdateAccount(a addr.Address, edit func(*directory.Account) error) error
	// Make creates a mailbox whose New is set.
	Make(box directory.Mailbox) (directory.Mailbox, error)
	// StoredKinds returns the distinct sets of secrets among the mailboxes that can log in.
	StoredKinds() ([][]directory.SecretKind, error)
}

// A Backend checks passwords that are not stored here. login is the name as typed, and mailbox is
// the mailbox to open. The mailbox is zero if the name is unknown here; no password is right for
// it. Check returns nil for the right password and an ErrInvalid for a wrong one. Every other error
// is treated as temporary.
type Backend interface {
	Check(ctx context.Context, login, mailbox addr.Address, password string) error
}

// A Service is a kind of server that a client logs in to.
type Service = directory.Service

// The services.
const (
	ServicePOP3 = directory.ServicePOP3
	ServiceSMTP = directory.ServiceSMTP
	ServiceWeb  = directory.ServiceWeb
)

// A Client is the connection that logs in.
type Client struct {
	Service Service // that it logs in to; "" means any
	Remote  netip.Addr
	TLS     *tls.ConnectionState // nil without TLS
}

// Options are the parts and limits of an Authenticator. The zero value is ready for use.
type Options struct {
	Log *slog.Logger // failures at Warn, successes at Debug; nil discards both
	// Delay is the minimum duration of every failure, and the first step of the growing delay.
	Delay    time.Duration // 0 means 500 ms
	MaxDelay time.Duration // the longest delay; 0 means 8 s
	Forget   time.Duration // how long failures count; 0 means 15 min
	Bans     *Bans         // counts wrong logins and refuses banned addresses; nil means no bans
	Secrets  *SecretStore  // nil means no stored secrets and no maximum password age

	// FreeMemory returns memory to the system after a time without password hashes. nil means
	// debug.FreeOSMemory.
	FreeMemory func()

	// Backend returns the Backend of a method other than directory.ByFile. If it is nil or
	// returns nil, such passwords cannot be checked now.
	Backend func(directory.Method) Backend
	// Certificate returns the mailbox address of a client certificate that this server's CA has
	// issued, and its fingerprint. nil means that no certificate is accepted.
	Certificate func(*tls.ConnectionState) (address, fingerprint string, ok bool)
	Track       *track.Log // gets the events; nil: no events
	// LoggedIn is told of each login that succeeded. It must not block. nil: it is not told.
	LoggedIn func(c Client, p Principal)
}

// Settings can be changed while the Authenticator runs. The zero value permits everything but
// NTLMv1.
type Settings struct {
	Hostname   string   // used in challenges
	Domain     string   // the default domain, sent in NTLM challenges; "" means none
	Mechanisms []string // permitted mechanisms, by name in capitals; nil means all
	RequireSPA bool     // permit NTLM only
	NTLMv1     bool     // accept the responses of clients older than NTLMv2
	// ChallengeNetworks are offered a mechanism that needs a stored secret even if some
	// mailboxes have not stored it.
	ChallengeNetworks []netip.Prefix
}

// An Authenticator checks passwords, and proofs of a password such as CRAM-MD5 digests. It is safe
// for concurrent use. It reads the account again at every login, so a changed password or a lock
// takes effect at once.
type Authenticator struct {
	Options
	settings      atomic.Pointer[Settings]
	accounts      Accounts
	throttle      throttle
	verified      verified
	codes         codeLimit
	stored        storedKinds
	hashing       *slots   // limits concurrent password hashes
	dummyVerifier verifier // for unknown users, so that they cost a hash too
	// dummySecrets are for accounts that lack the secret. They are made at first use, because
	// they cost as much time as the start of the server.
	dummySecrets func() *Secrets
	// key is random for each process, so cache entries and fingerprints cannot be attacked offline.
	key []byte
}

// New returns an Authenticator for the accounts.
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
		verified:      verified{logins: make(map[[sha256.Size]byte]struct{})},
		stored:        storedKinds{read: accounts.StoredKinds},
		hashing:       newSlots(runtime.NumCPU(), opts.FreeMemory),
		dummyVerifier: randomVerifier(),
		dummySecrets:  sync.OnceValue(newDummySecrets),
		key:           make([]byte, 32),
	}
	rand.Read(a.key)
	a.SetSettings(Settings{})
	return a
}

// newDummySecrets makes secrets from a random password, which no client can know.
func newDummySecrets() *Secrets {
	var s Secrets
	s.add(rand.Text(), directory.SecretKinds())
	return &s
}

// SetSettings replaces the settings. Exchanges that have begun keep the old ones.
func (a *Authenticator) SetSettings(s Settings) { a.settings.Store(&s) }

// Password checks a user's password. Every failure takes at least Options.Delay. It takes longer
// with each different wrong password for the account from the same remote address (the /64 of an
// IPv6 address). A password that was right before never waits, whatever others guess.
//
// The error is ErrInvalid, ErrLocked, ErrAccess, ErrExpired or ErrTemporary. It is ErrTemporary also if ctx
// ends first. From a banned address it is ErrBanned, without delay. Password does not check whether
// the client may send a password; the caller asks Offered first.
func (a *Authenticator) Password(
	ctx context.Context, c Client, user, password string,
) (Principal, error) {
	return a.logIn(ctx, c, "password", user,
		func(box directory.Mailbox, known bool) (proved, error) {
			return a.checkPassword(ctx, c, box, known, user, normalize(password))
		})
}

// StillPermits returns ErrLocked or ErrAccess if an administrator has locked the mailbox of a
// logged-in user since the login, or has taken the service from it. It returns ErrInvalid if what the
// user has proved would not be enough any more: the app password was removed, or the mailbox has got
// a second factor.
func (a *Authenticator) StillPermits(p Principal, s Service) error {
	box, err := a.accounts.Login(p.Address.String())
	if err != nil {
		return nil
	}
	if p.App != "" {
		if app, _, ok := box.Account.AppPassword(p.App); !ok || !scopePermits(app.Scope, s) {
			return fmt.Errorf("%w: the app password %s was removed", ErrInvalid, p.App)
		}
	} else if why := refusal(&box.Account, s); p.Password && why != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, why)
	}
	return permits(box, s)
}

// permits returns ErrLocked or ErrAccess if the user of a mailbox may not use a service.
func permits(box directory.Mailbox, s Service) error {
	switch {
	case box.Locked:
		return ErrLocked
	case !box.Account.Access.Permits(s):
		return ErrAccess
	}
	return nil
}

// proved is what a check has found: what the user knows or has.
type proved struct {
	password bool // the password of the mailbox
	aged     bool // Rules.MaxAge applies
	app      directory.AppPassword
}

// check judges what a client sends for a login.
type check func(box directory.Mailbox, known bool) (proved, error)

// logIn is the only way in: it authenticates with check, and logs the result. A login that needs a
// code too is not one yet, so only the log hears of it.
func (a *Authenticator) logIn(
	ctx context.Context, c Client, mechanism, user string, check check,
) (Principal, error) {
	box, got, err := a.authenticate(c, user, check)
	if err != nil {
		a.logFailure(mechanism, user, c, err)
		return Principal{}, err
	}
	p := Principal{
		Address: box.Address, Dir: box.Dir, Password: got.password,
		App: got.app.ID, Scope: got.app.Scope,
		NeedsCode: c.Service == ServiceWeb && box.Account.HasSecondFactor(),
	}
	if p.App != "" {
		mechanism = "app password " + p.App
	}
	if p.NeedsCode {
		a.Log.Info("password accepted, the code of the second factor is missing",
			"user", box.Address.String(), "remote_ip", c.Remote)
		return p, nil
	}
	a.tellOf(c, p, mechanism)
	return p, nil
}

// tellOf tells the log, the events and LoggedIn of a login that succeeded.
func (a *Authenticator) tellOf(c Client, p Principal, mechanism string) {
	a.Log.Info("authentication succeeded", "user", p.Address.String(), "remote_ip", c.Remote,
		"mechanism", mechanism)
	a.Track.Add(track.Event{
		Kind: track.LoggedIn, Service: string(c.Service), Remote: c.Remote,
		User: p.Address.String(), Text: c.describe(mechanism),
	})
	if a.LoggedIn != nil {
		a.LoggedIn(c, p)
	}
}

// authenticate refuses banned addresses, runs check, and then applies locks, the mailbox's access and
// the maximum password age.
func (a *Authenticator) authenticate(
	c Client, user string, check check,
) (box directory.Mailbox, got proved, err error) {
	if _, banned := a.Bans.Until(c.Remote); banned {
		return box, got, ErrBanned
	}
	box, err = a.accounts.Login(user)
	known := err == nil
	if !known && !errors.Is(err, directory.ErrNotFound) {
		return box, got, fmt.Errorf("%w: %w", ErrTemporary, err)
	}
	if got, err = check(box, known); err != nil {
		return box, got, err
	}
	if box, err = a.recheckAccount(box, user, got); err != nil {
		return box, got, err
	}
	err = permits(box, c.Service)
	switch {
	case err != nil:
		return box, got, err
	case got.aged && a.Secrets != nil && a.Secrets.Expired(&box.Account, time.Now()):
		return box, got, ErrExpired
	}
	return box, got, nil
}

// errAccountChanged means that the account changed after it was read, so the check no longer
// counts.
var errAccountChanged = fmt.Errorf("%w: the account was changed during the login", ErrTemporary)

// recheckAccount reads the account again after a check, which may have taken a while. A password
// that has changed since, an app password that was removed, or a mailbox that now belongs to another
// user must not let the client in. It creates the mailbox of a user of an external directory at the
// first login.
func (a *Authenticator) recheckAccount(
	box directory.Mailbox, user string, got proved,
) (directory.Mailbox, error) {
	now, err := a.accounts.Login(user)
	if err == nil && now.New && box.New && now.Address == box.Address {
		if now, err = a.accounts.Make(now); err == nil {
			a.Log.Info("mailbox created at its first login", "mailbox", now.Address.String())
			now.New, box.Account = false, now.Account
		}
		box.New = false
	}
	switch {
	case errors.Is(err, directory.ErrNotFound):
		return box, errAccountChanged
	case err != nil:
		return box, fmt.Errorf("%w: %w", ErrTemporary, err)
	case now.Dir != box.Dir, now.New != box.New, now.Method != box.Method,
		now.Account.Verifier != box.Account.Verifier,
		!now.Account.Created.Equal(box.Account.Created),
		got.app.ID != "" && !sameApp(&now.Account, &box.Account, got.app.ID),
		got.password && now.Account.HasSecondFactor() != box.Account.HasSecondFactor():
		return box, errAccountChanged
	}
	return now, nil
}

// sameApp reports whether two states of an account have the same app password.
func sameApp(a, b *directory.Account, id string) bool {
	p, stored, ok := a.AppPassword(id)
	q, before, _ := b.AppPassword(id)
	return ok && stored == before && p.Scope == q.Scope
}

// checkPassword checks a password: an app password if it has the ID of one, or else the password of
// the mailbox, by the account's verifier or the backend of the account's method.
func (a *Authenticator) checkPassword(ctx context.Context, c Client, box directory.Mailbox,
	known bool, user, password string) (proved, error) {
	if id, canonical, ok := parseAppPassword(password); ok && known {
		if _, _, ok := box.Account.AppPassword(id); ok {
			return a.checkAppPassword(ctx, c, box, user, id, canonical)
		}
	}
	refused := refusal(&box.Account, c.Service)
	if box.Method != directory.ByFile && box.Method != "" {
		return proved{password: true}, a.checkRemotely(ctx, c, box, known, user, password, refused)
	}
	err := a.checkHash(ctx, c, box, known, user, box.Account.Verifier, password, refused)
	if err != nil {
		return proved{}, err
	}
	a.fill(box, password)
	return proved{password: true, aged: true}, nil
}

// checkHash checks a password against a stored verifier. If refused is not nil, even the right
// password fails, exactly like a wrong one, and refused is the reason to log.
func (a *Authenticator) checkHash(ctx context.Context, c Client, box directory.Mailbox, known bool,
	user, stored, password string, refused error) error {
	login := a.digest("login", box.Dir, stored, password)
	if known && refused == nil && a.verified.has(login) {
		return nil
	}
	v, reason := a.verifierOf(known, stored)
	g := loginAttempt{remote: c.Remote, user: user, fingerprint: a.fingerprint(password)}
	err := a.attempt(ctx, g, func() (bool, error) {
		right, err := a.hash(ctx, c.Remote, login, v, password)
		if right && refused != nil {
			right, reason = false, refused
		}
		return right, err
	})
	if errors.Is(err, ErrInvalid) {
		return fmt.Errorf("%w: %w", err, reason)
	}
	return err
}

// checkRemotely checks a password with the backend of the account's method. A password that was
// right before is checked without waiting for earlier guesses. If refused is not nil, the backend is
// not asked, because it might count the attempt.
func (a *Authenticator) checkRemotely(ctx context.Context, c Client, box directory.Mailbox,
	known bool, user, password string, refused error) error {
	login := a.digest("remote", string(box.Method),
		box.Login.String(), box.Address.String(), password)
	reason := errUnknown
	g := loginAttempt{remote: c.Remote, user: user, fingerprint: a.fingerprint(password),
		judgeFirst: known && refused == nil && a.verified.has(login)}
	err := a.attempt(ctx, g, func() (right bool, err error) {
		if refused != nil {
			reason = refused
			return false, nil
		}
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

// askBackend calls the backend; reason says why a password is wrong.
func (a *Authenticator) askBackend(ctx context.Context, box directory.Mailbox,
	password string) (right bool, reason, err error) {
	var backend Backend
	if a.Backend != nil {
		backend = a.Backend(box.Method)
	}
	if backend == nil {
		return false, nil,
			fmt.Errorf("%w: the method %q is not configured", ErrTemporary, box.Method)
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

// fill stores the secrets that an account lacks, since its password is known now. An error does not
// fail the login; it is only logged.
func (a *Authenticator) fill(box directory.Mailbox, password string) {
	if a.Secrets == nil || !a.Secrets.lacks(&box.Account) {
		return
	}
	err := a.accounts.UpdateAccount(box.Address, func(acc *directory.Account) error {
		return a.Secrets.fill(acc, box.Account.Verifier, password)
	})
	if err != nil {
		a.Log.Error("the secrets of a mailbox cannot be stored", "mailbox", box.Address.String(),
			"error", err)
		return
	}
	a.Log.Info("the secrets of a mailbox are stored", "mailbox", box.Address.String(),
		"kinds", a.Secrets.Wanted(&box.Account))
}

// verifierOf returns the verifier to check a password against, and the reason to log if it does not
// match. It returns dummyVerifier for an unknown user or an unusable verifier, so that all logins
// take the same time.
func (a *Authenticator) verifierOf(known bool, stored string) (v verifier, reason error) {
	if !known {
		return a.dummyVerifier, errUnknown
	}
	v, err := parseVerifier(stored)
	if err != nil {
		return a.dummyVerifier, err
	}
	return v, errWrong
}

// errTooMany means that too many different guesses for the account wait already. The password was
// not checked.
var errTooMany = fmt.Errorf("%w: too many waiting logins for this account from this network",
	ErrTemporary)

// A loginAttempt is one login to throttle, and to count if it fails.
type loginAttempt struct {
	remote      netip.Addr
	user        string
	fingerprint uint64
	// judgeFirst: judge runs before any wait; a right guess does not wait at all.
	judgeFirst bool
}

// attempt waits as long as earlier guesses demand, calls judge, and counts a wrong guess. After the
// wait, every failure takes the same time, however long judge takes: the clock must not reveal
// whether an account exists, or which kind it is. A guess that was waiting when its address was
// banned is not judged.
func (a *Authenticator) attempt(ctx context.Context, g loginAttempt,
	judge func() (bool, error)) error {
	if g.judgeFirst {
		if right, err := judge(); err != nil || right {
			return err
		}
		// It must not ask twice: an LDAP server counts every attempt.
		judge = func() (bool, error) { return false, nil }
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
		a.throttle.retract(s, g.fingerprint)
		return err
	}
	a.countWrong(g, s)
	if err := sleep(ctx, a.Delay-time.Since(begun)); err != nil {
		return err
	}
	return ErrInvalid
}

// refuseGuess refuses a guess when too many wait already. It takes the longest delay. A remembered
// password is accepted without waiting, so a quick refusal would reveal that the guess is wrong.
func (a *Authenticator) refuseGuess(ctx context.Context, g loginAttempt, s source) error {
	a.countWrong(g, s)
	if err := sleep(ctx, a.throttle.maxDelay); err != nil {
		return err
	}
	return errTooMany
}

func (a *Authenticator) countWrong(g loginAttempt, s source) {
	a.throttle.markNetwork(s.remote)
	a.Bans.wrong(g.remote, s.account, g.user, g.fingerprint)
}

// fingerprint identifies a guess, so that repeats of it count once.
func (a *Authenticator) fingerprint(guess string) uint64 {
	digest := a.digest("guess", guess)
	return binary.BigEndian.Uint64(digest[:])
}

// Why a login failed, for the log.
var (
	errUnknown = errors.New("no such user")
	errWrong   = errors.New("wrong password")
)

// hash waits for a slot and checks a password against a verifier. The same login may have succeeded
// during the wait: of many equal logins at once, only a few cost a hash.
func (a *Authenticator) hash(ctx context.Context, remote netip.Addr, login [sha256.Size]byte,
	v verifier, password string) (bool, error) {
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

func (a *Authenticator) logFailure(mechanism, user string, c Client, err error) {
	const maxName = 100 // the client can send anything
	user = user[:min(len(user), maxName)]
	a.Log.Warn("authentication failed", "user", user, "remote_ip", c.Remote,
		"mechanism", mechanism, "reason", err.Error())
	a.Track.Add(track.Event{
		Kind: track.LoginFailed, Service: string(c.Service), Remote: c.Remote, User: user,
		Rule: err.Error(), Text: c.describe(mechanism),
	})
}

// describe names the mechanism and the TLS of a login, for its event.
func (c Client) describe(mechanism string) string {
	if c.TLS == nil {
		return mechanism
	}
	return mechanism + ", " + tls.VersionName(c.TLS.Version)
}

// digest is an HMAC-SHA-256 of the fields, each preceded by its length.
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

// maxVerified bounds the cache of right logins. A small office has fewer mailboxes.
const maxVerified = 10_000

// verified remembers right logins. The digest covers the verifier, so a changed password
// invalidates an entry by itself.
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
