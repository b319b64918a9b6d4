package auth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-sasl"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/track"
)

// The mechanisms, by their SASL names. APOP is no SASL mechanism but a POP3 command (RFC 1939 §7).
const (
	PLAIN     = "PLAIN"
	LOGIN     = "LOGIN"
	CRAMMD5   = "CRAM-MD5"
	NTLM      = "NTLM"
	SCRAMSHA  = "SCRAM-SHA-256"
	SCRAMPlus = "SCRAM-SHA-256-PLUS"
	EXTERNAL  = "EXTERNAL"
	APOP      = "APOP"
)

// Mechanisms returns all mechanisms, the strongest first: some programs take the first that they
// support.
func Mechanisms() []string {
	return []string{SCRAMPlus, SCRAMSHA, EXTERNAL, NTLM, CRAMMD5, PLAIN, LOGIN, APOP}
}

// Offers returns the SASL mechanisms to offer to a client whose network and encryption permit a
// login. The settings must permit the mechanism, and every mailbox must have stored its secrets.
// The offer is made before the mailbox is known, and programs that pick the strongest mechanism
// would fail for a mailbox without the secret.
func (a *Authenticator) Offers(c Client) []string {
	return slices.DeleteFunc(Mechanisms(),
		func(m string) bool { return m == APOP || !a.Offered(c, m) })
}

// Offered reports whether a mechanism, including APOP, is offered to a client. USER and PASS of
// POP3 count as PLAIN.
func (a *Authenticator) Offered(c Client, mechanism string) bool {
	return a.refusalReason(c, mechanism) == "" && !a.Withheld(c, mechanism)
}

// Withheld reports whether a mechanism that the client may use is not offered, because some mailbox
// has not stored its secret. A program that is set to the mechanism can use it even so.
func (a *Authenticator) Withheld(c Client, mechanism string) bool {
	s := a.settings.Load()
	needs := Needs(mechanism)
	return needs != nil && !s.RequireSPA && !a.stored.all(needs) &&
		!slices.ContainsFunc(s.ChallengeNetworks,
			func(n netip.Prefix) bool { return n.Contains(c.Remote) })
}

// Needs returns the kinds of stored secrets that serve a mechanism, its own kind first. Any one of
// them is enough. It returns nil if the mechanism needs no stored secret.
func Needs(mechanism string) []directory.SecretKind {
	switch mechanism {
	case NTLM:
		return []directory.SecretKind{directory.SecretSPA}
	case CRAMMD5:
		return []directory.SecretKind{directory.SecretCRAM, directory.SecretAPOP}
	case APOP:
		return []directory.SecretKind{directory.SecretAPOP}
	case SCRAMSHA, SCRAMPlus:
		return []directory.SecretKind{directory.SecretSCRAM}
	}
	return nil
}

// Refuses returns the reason why the settings permit a mechanism to no client; "" means that they
// permit it.
func (s *Settings) Refuses(mechanism string) string {
	switch {
	case s.RequireSPA && mechanism != NTLM:
		return "auth.require_spa permits NTLM only"
	case !s.RequireSPA && s.Mechanisms != nil && !slices.Contains(s.Mechanisms, mechanism):
		return "auth.mechanisms does not have it"
	}
	return ""
}

// LogRefusal logs that a client asked for a mechanism that it is not offered. The user sees only
// that the login fails, so the administrator finds the reason in the log.
func (a *Authenticator) LogRefusal(c Client, mechanism string) {
	const maxName = 40
	mechanism, why := mechanism[:min(len(mechanism), maxName)], a.refusalReason(c, mechanism)
	a.Log.Info("login refused: the mechanism is not offered", "remote_ip", c.Remote,
		"mechanism", mechanism, "reason", why, "offered", a.Offers(c))
	a.Track.Add(track.Event{
		Kind: track.LoginFailed, Service: string(c.Service), Remote: c.Remote, Rule: why,
		Text: c.describe(mechanism),
	})
}

// refusalReason returns why a mechanism is not available to a client; "" means that it is.
func (a *Authenticator) refusalReason(c Client, mechanism string) string {
	s := a.settings.Load()
	if !slices.Contains(Mechanisms(), mechanism) {
		return "the mechanism is unknown"
	}
	if why := s.Refuses(mechanism); why != "" || s.RequireSPA {
		return why // if SPA is required, it is offered even before a mailbox has the secret
	}
	needs := Needs(mechanism)
	switch {
	case mechanism == EXTERNAL && !a.certified(c):
		return "the client sent no certificate of this server's CA"
	case mechanism == SCRAMPlus && c.TLS == nil:
		return "it needs TLS"
	case needs != nil && !a.stored.some(needs):
		return "no mailbox has stored its secret"
	case mechanism == SCRAMPlus && bindTLS(c.TLS, nil) == nil:
		return "the TLS connection has no channel binding"
	}
	return ""
}

// An Exchange is the server side of one SASL exchange.
type Exchange struct {
	sasl.Server
	Principal Principal // valid once Next has returned done
}

// Begin starts an exchange with a mechanism, in capitals, that is Offered or Withheld; for others
// the error is ErrNotOffered. Next of the exchange returns ErrMalformed or the errors of Password.
func (a *Authenticator) Begin(ctx context.Context, c Client, mechanism string) (*Exchange, error) {
	if mechanism == APOP || a.refusalReason(c, mechanism) != "" {
		a.LogRefusal(c, mechanism)
		return nil, ErrNotOffered
	}
	e := new(Exchange)
	record := func(p Principal, err error) error {
		e.Principal = p
		return err
	}
	password := func(user, password string) error {
		return record(a.Password(ctx, c, user, password))
	}
	prove := func(user string, p proof) error { return record(a.prove(ctx, c, mechanism, user, p)) }
	s := a.settings.Load()
	switch mechanism {
	case PLAIN:
		e.Server = NewPLAIN(password)
	case LOGIN:
		e.Server = NewLOGIN(password)
	case NTLM:
		e.Server = newNTLM(ntlmConfig{Hostname: s.Hostname, Domain: s.Domain, V1: s.NTLMv1}, prove)
	case CRAMMD5:
		e.Server = newCRAMMD5(a.Stamp(), prove)
	case SCRAMSHA, SCRAMPlus:
		var binding *scramBinding
		if mechanism == SCRAMPlus || a.Offered(c, SCRAMPlus) {
			binding = bindTLS(c.TLS, nil)
		}
		e.Server = newSCRAMServer(binding, mechanism == SCRAMPlus,
			func(user string) SCRAM { return a.scramKeys(c, user) }, prove)
	case EXTERNAL:
		e.Server = newEXTERNAL(func(authzid string) error {
			return record(a.external(ctx, c, authzid))
		})
	}
	return e, nil
}

// Stamp returns a new challenge for CRAM-MD5, or a new time stamp for APOP in the greeting (RFC
// 1939 §7). It has the form of a message-id and never repeats.
func (a *Authenticator) Stamp() string { return newStamp(a.settings.Load().Hostname, time.Now()) }

// APOP checks an APOP digest over the greeting's time stamp and the user's password. The errors are
// those of Password, ErrMalformed and ErrNotOffered.
func (a *Authenticator) APOP(
	ctx context.Context, c Client, stamp, user, digest string,
) (Principal, error) {
	if !a.Offered(c, APOP) {
		return Principal{}, ErrNotOffered
	}
	p, err := apopProof(stamp, digest)
	if err != nil {
		return Principal{}, err
	}
	return a.prove(ctx, c, APOP, user, p)
}

// errNoSecret is the reason to log when the mailbox lacks the secret of the mechanism.
var errNoSecret = errors.New("the mailbox has no secret for this mechanism; see 'pillarbox admin mailbox show'")

// prove checks a proof of the password. A user who has not stored the secret fails exactly like one
// whose proof is wrong.
func (a *Authenticator) prove(ctx context.Context, c Client, mechanism, user string,
	p proof) (Principal, error) {
	return a.logIn(ctx, c, mechanism, user,
		func(box directory.Mailbox, known bool) (proved, error) {
			secrets, reason := a.secretsOf(box, known)
			// Each challenge differs, so each failure counts as a different guess.
			fingerprint := randomFingerprint()
			if p == nil && known {
				reason = errNTLMv1
			}
			if p == nil { // not a guess: a program that is too old must not get its network banned
				fingerprint = a.fingerprint(mechanism)
				p = func(*Secrets) (had, right bool) { return true, false }
			}
			g := loginAttempt{remote: c.Remote, user: user, fingerprint: fingerprint}
			// A proof is checked in microseconds. It need not wait if the account proved its
			// password before, or if this address sent no wrong guess for it.
			login := a.digest("proof", box.Dir, box.Account.Verifier)
			g.judgeFirst = a.throttle.noneWrong(newSource(user, c.Remote)) || known &&
				a.verified.has(login)
			refused := refusal(&box.Account, c.Service)
			err := a.attempt(ctx, g, func() (bool, error) {
				had, right := p(&secrets)
				if had && right && refused != nil {
					right, reason = false, refused
				}
				if !had {
					if !errors.Is(reason, errNoSecret) && known {
						reason = errNoSecret
					}
					p(a.dummySecrets())
				}
				return had && right && known, nil
			})
			switch {
			case err == nil:
				a.verified.add(login)
			case errors.Is(err, ErrInvalid):
				err = fmt.Errorf("%w: %w", err, reason)
			}
			return proved{password: true, aged: true}, err
		})
}

func randomFingerprint() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.BigEndian.Uint64(b[:])
}

// secretsOf returns the stored secrets of an account, and the reason to log if the proof does not
// match. Secrets of an account with another method are ignored: they may belong to an old password.
func (a *Authenticator) secretsOf(box directory.Mailbox, known bool) (Secrets, error) {
	switch {
	case !known:
		return *a.dummySecrets(), errUnknown
	case box.Method != directory.ByFile:
		return Secrets{}, fmt.Errorf("%w: its password is checked by %s", errNoSecret, box.Method)
	case a.Secrets == nil || box.Account.Verifier == "":
		return Secrets{}, errNoSecret
	}
	s, err := a.Secrets.key.Load().Open(box.Account.Secrets)
	if err != nil {
		a.Log.Error("the secrets of a mailbox cannot be read", "mailbox", box.Address.String(),
			"error", err)
		return Secrets{}, err
	}
	s.keep(a.Secrets.Wanted(&box.Account)) // ignore kinds that are no longer to be stored
	return s, errWrong
}

// scramKeys returns the SCRAM keys of a user, or dummy keys that look the same to the client. The
// dummy salt depends only on the address, so one mailbox has one salt under all its names. A banned
// client causes no lookup.
func (a *Authenticator) scramKeys(c Client, user string) SCRAM {
	name := addr.Address{Local: addr.FoldName(user)}
	if _, banned := a.Bans.Until(c.Remote); !banned {
		box, err := a.accounts.Login(user)
		if err == nil {
			if s, _ := a.secretsOf(box, true); s.SCRAM != nil {
				return *s.SCRAM
			}
		}
		if !box.Login.IsZero() {
			name = box.Login
		}
	}
	dummy := *a.dummySecrets().SCRAM
	dummy.Salt = a.dummySalt(name.Fold().String(), len(dummy.Salt))
	return dummy
}

// dummySalt returns a salt that stays the same for a name, even after a restart.
func (a *Authenticator) dummySalt(name string, size int) []byte {
	key := a.key
	if a.Secrets != nil {
		if k, err := a.Secrets.key.Load().readKey(true); err == nil {
			key = k
		}
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("salt of nobody\x00" + name))
	return mac.Sum(nil)[:size]
}

// certificate returns the mailbox address and fingerprint of the connection's client certificate.
func (a *Authenticator) certificate(c Client) (address, fingerprint string, ok bool) {
	if c.TLS == nil || a.Certificate == nil {
		return "", "", false
	}
	return a.Certificate(c.TLS)
}

func (a *Authenticator) certified(c Client) bool {
	_, _, ok := a.certificate(c)
	return ok
}

// errCertificate is the reason to log when a certificate is refused.
var errCertificate = errors.New("the client certificate is not valid for this mailbox")

// external checks a client certificate. It must come from our own CA, and the account must list it.
// A user cannot act for another one.
func (a *Authenticator) external(ctx context.Context, c Client, authzid string) (Principal, error) {
	address, fingerprint, _ := a.certificate(c)
	return a.logIn(ctx, c, EXTERNAL, address,
		func(box directory.Mailbox, known bool) (proved, error) {
			// A certificate cannot be guessed, so it does not wait while others guess
			// passwords.
			g := loginAttempt{remote: c.Remote, user: address, fingerprint: a.fingerprint(fingerprint),
				judgeFirst: true}
			err := a.attempt(ctx, g, func() (bool, error) {
				same := authzid == "" || strings.EqualFold(authzid, address) ||
					strings.EqualFold(authzid, box.Address.Local)
				listed := slices.ContainsFunc(box.Account.ClientCerts,
					func(cert directory.ClientCert) bool {
						return cert.Fingerprint == fingerprint && time.Now().Before(cert.Expires)
					})
				// A certificate from before a move to an external directory must not let
				// the user in: the account there may be disabled.
				return known && same && listed && box.Method == directory.ByFile, nil
			})
			if errors.Is(err, ErrInvalid) {
				err = fmt.Errorf("%w: %w", err, errCertificate)
			}
			return proved{}, err
		})
}

// storedKinds caches the sets of secrets that mailboxes have. Reading them costs a stat for each
// mailbox, so the cache lives longer the longer a read takes.
type storedKinds struct {
	read func() ([][]directory.SecretKind, error)

	mu   sync.Mutex
	sets [][]directory.SecretKind // guarded by mu; each set once
	next time.Time                // guarded by mu; when to read again
}

// some reports whether any mailbox has one of these kinds.
func (s *storedKinds) some(needs []directory.SecretKind) bool {
	return slices.ContainsFunc(s.known(),
		func(set []directory.SecretKind) bool { return overlap(set, needs) })
}

// all reports whether every mailbox has one of these kinds.
func (s *storedKinds) all(needs []directory.SecretKind) bool {
	return !slices.ContainsFunc(s.known(),
		func(set []directory.SecretKind) bool { return !overlap(set, needs) })
}

func overlap(set, needs []directory.SecretKind) bool {
	return slices.ContainsFunc(needs,
		func(k directory.SecretKind) bool { return slices.Contains(set, k) })
}

func (s *storedKinds) known() [][]directory.SecretKind {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); !now.Before(s.next) {
		if sets, err := s.read(); err == nil {
			s.sets = sets
		}
		s.next = time.Now().Add(max(100*time.Millisecond, 50*time.Since(now)))
	}
	return s.sets
}
