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
)

// The mechanisms, by their SASL names; APOP is a command of POP3's own (RFC 1939
// §7).
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

// Mechanisms are all mechanisms there are, the best first: programs that do not
// choose take the first that they know.
func Mechanisms() []string {
	return []string{SCRAMPlus, SCRAMSHA, EXTERNAL, NTLM, CRAMMD5, PLAIN, LOGIN, APOP}
}

// Offers are the SASL mechanisms for a client that may log in as far as its
// network and its encryption go: those that the settings permit, and that every
// mailbox here has the stored secrets for. Which mailbox it will be is not known yet,
// and programs that take the strongest mechanism would fail for one without.
func (a *Authenticator) Offers(c Client) []string {
	return slices.DeleteFunc(Mechanisms(), func(m string) bool { return m == APOP || !a.Offered(c, m) })
}

// Offered reports whether a mechanism, APOP too, is offered to a client. USER and
// PASS of POP3 are PLAIN.
func (a *Authenticator) Offered(c Client, mechanism string) bool {
	return a.whyNot(c, mechanism) == "" && !a.Held(c, mechanism)
}

// Held reports whether a mechanism that a client may use is not offered to it, since
// some mailbox has not stored what it needs. A program that is set to it can use it.
func (a *Authenticator) Held(c Client, mechanism string) bool {
	s := a.settings.Load()
	needs := Needs(mechanism)
	return needs != nil && !s.RequireSPA && !a.stored.all(needs) &&
		!slices.ContainsFunc(s.ChallengeNetworks, func(n netip.Prefix) bool { return n.Contains(c.Remote) })
}

// Needs are the kinds of stored secrets that a mechanism can do with, any of them
// and the one of its own first; none for a mechanism that needs nothing.
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

// Refuses says why the settings do not permit a mechanism to anybody; "": they do.
func (s *Settings) Refuses(mechanism string) string {
	switch {
	case s.RequireSPA && mechanism != NTLM:
		return "auth.require_spa permits NTLM only"
	case !s.RequireSPA && s.Mechanisms != nil && !slices.Contains(s.Mechanisms, mechanism):
		return "auth.mechanisms does not have it"
	}
	return ""
}

// LogRefusal writes down that a client wanted to log in by a mechanism that it is
// not offered: whoever set the program up sees no more than that it fails.
func (a *Authenticator) LogRefusal(c Client, mechanism string) {
	const enough = 40
	a.Log.Info("log-in refused: the mechanism is not offered", "remote", c.Remote, "mechanism", mechanism[:min(len(mechanism), enough)],
		"why", a.whyNot(c, mechanism), "offered", a.Offers(c))
}

// whyNot puts into words why a mechanism is not offered; "": it is.
func (a *Authenticator) whyNot(c Client, mechanism string) string {
	s := a.settings.Load()
	if !slices.Contains(Mechanisms(), mechanism) {
		return "it is not known here"
	}
	if why := s.Refuses(mechanism); why != "" || s.RequireSPA {
		return why // SPA that everybody must use is offered even before anybody can
	}
	needs := Needs(mechanism)
	switch {
	case mechanism == EXTERNAL && !a.certified(c):
		return "the client has shown no certificate of the server's own CA"
	case mechanism == SCRAMPlus && c.TLS == nil:
		return "it needs TLS"
	case needs != nil && !a.stored.some(needs):
		return "no mailbox has stored what it needs"
	case mechanism == SCRAMPlus && bindTLS(c.TLS, nil) == nil:
		return "the TLS connection has nothing that it could be bound to"
	}
	return ""
}

// An Exchange is one SASL exchange, the server's side.
type Exchange struct {
	sasl.Server
	Principal Principal // who has logged in, once Next has said that it is done
}

// Begin begins an exchange by a mechanism, in capital letters, that is offered or
// held. The error is ErrNotOffered. Those of the exchange's Next are ErrMalformed, and those of
// Password.
func (a *Authenticator) Begin(ctx context.Context, c Client, mechanism string) (*Exchange, error) {
	if mechanism == APOP || a.whyNot(c, mechanism) != "" {
		a.LogRefusal(c, mechanism)
		return nil, ErrNotOffered
	}
	e := new(Exchange)
	keep := func(p Principal, err error) error {
		e.Principal = p
		return err
	}
	password := func(user, password string) error { return keep(a.Password(ctx, c.Remote, user, password)) }
	prove := func(user string, p proof) error { return keep(a.prove(ctx, c, mechanism, user, p)) }
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
		e.Server = newSCRAMServer(binding, mechanism == SCRAMPlus, func(user string) SCRAM { return a.scramKeys(c, user) }, prove)
	case EXTERNAL:
		e.Server = newEXTERNAL(func(authzid string) error { return keep(a.external(ctx, c, authzid)) })
	}
	return e, nil
}

// Stamp makes a challenge for CRAM-MD5, or a greeting's time stamp for APOP (RFC
// 1939 §7): in the form of a message-id, and never the same.
func (a *Authenticator) Stamp() string { return newStamp(a.settings.Load().Hostname, time.Now()) }

// APOP verifies the digest of a greeting's time stamp and the user's password.
// The error is as Password's, or ErrMalformed.
func (a *Authenticator) APOP(ctx context.Context, c Client, stamp, user, digest string) (Principal, error) {
	if !a.Offered(c, APOP) {
		return Principal{}, ErrNotOffered
	}
	p, err := apopProof(stamp, digest)
	if err != nil {
		return Principal{}, err
	}
	return a.prove(ctx, c, APOP, user, p)
}

// errNoSecret is why a mailbox cannot be logged in to by a mechanism, for the log.
var errNoSecret = errors.New("the mailbox has not stored what this mechanism needs; see 'pillarbox admin mailbox show'")

// prove verifies what stands for a password. Whoever has no such secret fails
// like one who has another.
func (a *Authenticator) prove(ctx context.Context, c Client, mechanism, user string, p proof) (Principal, error) {
	return a.logIn(ctx, c.Remote, mechanism, user, func(box directory.Mailbox, known bool) (bool, error) {
		secrets, reason := a.secretsOf(box, known)
		// Each challenge is another one, so each failure counts as another guess.
		fingerprint := randomFingerprint()
		if p == nil && known {
			reason = errNTLMv1
		}
		if p == nil { // no guess at all: a program that is too old must not ban its network
			fingerprint = a.fingerprint(mechanism)
			p = func(*Secrets) (had, right bool) { return true, false }
		}
		g := guessing{remote: c.Remote, user: user, fingerprint: fingerprint}
		// A proof is judged in microseconds. It need not wait if the account proved
		// itself before, or if no guess for it came from this address.
		login := a.digest("proof", box.Dir, box.Account.Verifier)
		g.atOnce = a.throttle.clean(newSource(user, c.Remote)) || known && a.verified.has(login)
		err := a.attempt(ctx, g, func() (bool, error) {
			had, right := p(&secrets)
			if !had {
				if !errors.Is(reason, errNoSecret) && known {
					reason = errNoSecret
				}
				p(a.nothing())
			}
			return had && right && known, nil
		})
		switch {
		case err == nil:
			a.verified.add(login)
		case errors.Is(err, ErrInvalid):
			err = fmt.Errorf("%w: %w", err, reason)
		}
		return true, err
	})
}

func randomFingerprint() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.BigEndian.Uint64(b[:])
}

// secretsOf are the stored secrets of an account, and why what they are held
// against is wrong if it does not match. Those of accounts whose passwords are
// checked elsewhere do not count: they may be of an old password.
func (a *Authenticator) secretsOf(box directory.Mailbox, known bool) (Secrets, error) {
	switch {
	case !known:
		return *a.nothing(), errUnknown
	case box.Method != directory.ByFile:
		return Secrets{}, fmt.Errorf("%w: its password is checked by %s", errNoSecret, box.Method)
	case a.Keeper == nil || box.Account.Verifier == "":
		return Secrets{}, errNoSecret
	}
	s, err := a.Keeper.vault.Load().Open(box.Account.Secrets)
	if err != nil {
		a.Log.Error("the secrets of a mailbox cannot be read", "mailbox", box.Address.String(), "error", err)
		return Secrets{}, err
	}
	s.keep(a.Keeper.Wanted(&box.Account)) // a kind that is not permitted any more counts no longer
	return s, errWrong
}

// scramKeys are those of a user, or such as nobody can tell from a user's: the
// salt comes of the name alone, as an address, and one mailbox has one by
// whatever name it is called. Who is banned causes no look-up.
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
	invented := *a.nothing().SCRAM
	invented.Salt = a.inventedSalt(name.Fold().String(), len(invented.Salt))
	return invented
}

// inventedSalt is always the same for a name, also after a restart.
func (a *Authenticator) inventedSalt(name string, size int) []byte {
	key := a.key
	if a.Keeper != nil {
		if k, err := a.Keeper.vault.Load().readKey(true); err == nil {
			key = k
		}
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("salt of nobody\x00" + name))
	return mac.Sum(nil)[:size]
}

// certificate is whose client certificate the connection has shown.
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

// errCertificate is why a certificate does not let in, for the log.
var errCertificate = errors.New("the client certificate is not, or no longer, one of the mailbox")

// external verifies a client certificate: by our own CA, and one of those that
// the account lists. Acting for somebody else is not offered.
func (a *Authenticator) external(ctx context.Context, c Client, authzid string) (Principal, error) {
	address, fingerprint, _ := a.certificate(c)
	return a.logIn(ctx, c.Remote, EXTERNAL, address, func(box directory.Mailbox, known bool) (bool, error) {
		// A certificate cannot be guessed, so it never waits for those who guess passwords.
		g := guessing{remote: c.Remote, user: address, fingerprint: a.fingerprint(fingerprint), atOnce: true}
		err := a.attempt(ctx, g, func() (bool, error) {
			same := authzid == "" || strings.EqualFold(authzid, address) || strings.EqualFold(authzid, box.Address.Local)
			listed := slices.ContainsFunc(box.Account.ClientCerts, func(cert directory.ClientCert) bool {
				return cert.Fingerprint == fingerprint && time.Now().Before(cert.Expires)
			})
			// Who has gone elsewhere must not get in by what was made for him here.
			return known && same && listed && box.Method == directory.ByFile, nil
		})
		if errors.Is(err, ErrInvalid) {
			err = fmt.Errorf("%w: %w", err, errCertificate)
		}
		return false, err
	})
}

// storedKinds remembers which secrets mailboxes here have. To look costs a stat
// for each mailbox, so the more there are, the longer it waits to look again.
type storedKinds struct {
	look func() ([][]directory.SecretKind, error)

	mu   sync.Mutex
	sets [][]directory.SecretKind // owner: mu; of the mailboxes, each once
	next time.Time                // owner: mu; when to look again
}

// some reports whether a mailbox has one of these kinds.
func (s *storedKinds) some(needs []directory.SecretKind) bool {
	return slices.ContainsFunc(s.known(), func(set []directory.SecretKind) bool { return overlap(set, needs) })
}

// all reports whether every mailbox has one of these kinds.
func (s *storedKinds) all(needs []directory.SecretKind) bool {
	return !slices.ContainsFunc(s.known(), func(set []directory.SecretKind) bool { return !overlap(set, needs) })
}

func overlap(set, needs []directory.SecretKind) bool {
	return slices.ContainsFunc(needs, func(k directory.SecretKind) bool { return slices.Contains(set, k) })
}

func (s *storedKinds) known() [][]directory.SecretKind {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); !now.Before(s.next) {
		if sets, err := s.look(); err == nil {
			s.sets = sets
		}
		s.next = time.Now().Add(max(100*time.Millisecond, 50*time.Since(now)))
	}
	return s.sets
}
