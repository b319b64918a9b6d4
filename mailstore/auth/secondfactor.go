package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"
	"github.com/pquerna/otp/totp"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
)

// The second factor of a login at the page: a code of 6 digits for every 30 seconds, as RFC 6238 and
// all programs have it by default, or a recovery code.
const (
	codePeriod = 30 // seconds
	codeSkew   = 1  // steps by which the clocks may differ (RFC 6238 §5.2)

	recoveryCodes = 10

	// A mailbox whose password an attacker knows is guessed at no faster than this: from each known
	// network of its user, and from all others together. So guesses do not keep the user out.
	maxWrongCodes   = 10
	wrongCodePeriod = time.Hour

	maxKnownNetworks = 8
	knownNetworkTime = 90 * 24 * time.Hour // since the last right code
)

// ErrCode is the class of errors of a code that is not accepted.
var ErrCode = errors.New("the code is not accepted")

var (
	errWrongCode = fmt.Errorf("%w: it is wrong", ErrCode)
	errUsedCode  = fmt.Errorf("%w: it was used before", ErrCode)
	errTooMuch   = fmt.Errorf("%w: too many wrong codes for this mailbox", ErrTemporary)
)

// NewFactor makes the secret of a second factor: as text to type, and as an address to scan, which
// also names the server and the user.
func NewFactor(server string, user addr.Address) (secret, url string, err error) {
	key, err := totp.Generate(totp.GenerateOpts{Issuer: server, AccountName: user.String()})
	if err != nil {
		return "", "", err
	}
	return key.Secret(), key.URL(), nil
}

// timeStep returns the time step of a moment (RFC 6238 §4.2).
func timeStep(t time.Time) int64 { return t.Unix() / codePeriod }

// matchCode returns the time step of a code that is right for a secret about now. Steps up to used
// are spent: no code is accepted twice (RFC 6238 §5.2).
func matchCode(secret, code string, now time.Time, used int64) (found int64, err error) {
	for s := timeStep(now) - codeSkew; s <= timeStep(now)+codeSkew; s++ {
		right, err := hotp.GenerateCodeCustom(secret, uint64(s),
			hotp.ValidateOpts{Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
		if err != nil {
			return 0, err
		}
		if subtle.ConstantTimeCompare([]byte(right), []byte(code)) == 1 {
			found = s
		}
	}
	switch {
	case found == 0:
		return 0, errWrongCode
	case found <= used:
		return 0, errUsedCode
	}
	return found, nil
}

// cleanCode returns a code as it was typed, without blanks: many programs show "123 456".
func cleanCode(code string) string {
	return strings.Join(strings.Fields(code[:min(len(code), 100)]), "")
}

// purposeFactor binds an encrypted secret to its use and its ID.
func purposeFactor(id string) string { return "second factor " + id }

// AddFactor adds a second factor to an account, if code is one of its codes. With the first, it makes
// recovery codes, which must be shown once and kept nowhere. Errors: ErrCode, ErrSecretKey.
func (st *SecretStore) AddFactor(acc *directory.Account, name, secret, code string, now time.Time) (
	recovery []string, err error) {
	used, err := matchCode(secret, cleanCode(code), now, 0)
	if err != nil {
		return nil, err
	}
	id := strings.ToLower(rand.Text()[:8])
	sealed, err := st.key.Load().seal([]byte(secret), purposeFactor(id))
	if err != nil {
		return nil, err
	}
	acc.FactorSecrets = maps.Clone(acc.FactorSecrets) // readers of the old account share the map
	if acc.FactorSecrets == nil {
		acc.FactorSecrets = make(map[string][]byte)
	}
	acc.FactorSecrets[id] = sealed
	acc.SecondFactors = append(slices.Clip(acc.SecondFactors), directory.SecondFactor{
		ID: id, Name: name, Created: now.UTC().Truncate(time.Second), Used: used,
	})
	if len(acc.SecondFactors) == 1 {
		recovery = NewRecoveryCodes(acc)
	}
	return recovery, nil
}

// RemoveFactor removes a second factor, and with the last one the recovery codes. Error:
// directory.ErrNotFound.
func RemoveFactor(acc *directory.Account, id string) error {
	left := slices.DeleteFunc(slices.Clone(acc.SecondFactors),
		func(f directory.SecondFactor) bool { return f.ID == id })
	if len(left) == len(acc.SecondFactors) {
		return fmt.Errorf("second factor %s: %w", id, directory.ErrNotFound)
	}
	if len(left) == 0 {
		RemoveFactors(acc)
		return nil
	}
	acc.SecondFactors = left
	acc.FactorSecrets = maps.Clone(acc.FactorSecrets)
	delete(acc.FactorSecrets, id)
	return nil
}

// RemoveFactors removes all second factors and the recovery codes.
func RemoveFactors(acc *directory.Account) {
	acc.SecondFactors, acc.FactorSecrets, acc.RecoveryCodes = nil, nil, nil
	acc.KnownNetworks = nil
}

// NewRecoveryCodes gives an account new recovery codes instead of the old ones, and returns them.
// Each has 80 random bits, so a fast hash protects it as well as a slow one.
func NewRecoveryCodes(acc *directory.Account) (codes []string) {
	acc.RecoveryCodes = nil
	for range recoveryCodes {
		code := GeneratePassword()
		codes = append(codes, code)
		acc.RecoveryCodes = append(acc.RecoveryCodes, hashRecovery(code))
	}
	return codes
}

func hashRecovery(canonical string) string {
	sum := sha256.Sum256([]byte(canonical))
	return hex.EncodeToString(sum[:])
}

// UseCode accepts a code of one of the account's second factors, or a recovery code, and marks it as
// used. Errors: ErrCode, or ErrSecretKey if the codes cannot be checked.
func (st *SecretStore) UseCode(acc *directory.Account, code string, now time.Time) error {
	if _, canonical, ok := parseAppPassword(code); ok {
		return useRecovery(acc, canonical)
	}
	var unreadable error
	wrong := errWrongCode
	for i, f := range acc.SecondFactors {
		secret, err := st.key.Load().open(acc.FactorSecrets[f.ID], purposeFactor(f.ID))
		if err != nil {
			unreadable = err
			continue
		}
		used, err := matchCode(string(secret), cleanCode(code), now, f.Used)
		switch {
		case err == nil:
			acc.SecondFactors = slices.Clone(acc.SecondFactors)
			acc.SecondFactors[i].Used = used
			return nil
		case errors.Is(err, errUsedCode):
			wrong = err
		case !errors.Is(err, ErrCode):
			unreadable = err
		}
	}
	if unreadable != nil {
		return unreadable
	}
	return wrong
}

func useRecovery(acc *directory.Account, canonical string) error {
	i := slices.Index(acc.RecoveryCodes, hashRecovery(canonical))
	if i < 0 {
		return errWrongCode
	}
	acc.RecoveryCodes = slices.Delete(slices.Clone(acc.RecoveryCodes), i, i+1)
	return nil
}

// Code checks the second step of a login to the page, after Password has returned p with NeedsCode.
// The errors are ErrInvalid, ErrLocked, ErrAccess, ErrTemporary and ErrBanned. A wrong code delays
// and counts like a wrong password.
func (a *Authenticator) Code(ctx context.Context, c Client, p Principal, code string) error {
	err := a.checkCode(ctx, c, p, code)
	if err != nil {
		a.logFailure("second factor", p.Address.String(), c, err)
		return err
	}
	a.tellOf(c, p, "password and second factor")
	return nil
}

func (a *Authenticator) checkCode(ctx context.Context, c Client, p Principal, code string) error {
	if _, banned := a.Bans.Until(c.Remote); banned {
		return ErrBanned
	}
	user := p.Address.String()
	_, network := networkOf(c.Remote)
	guesser := a.guesserOf(user, network)
	// A recovery code is too long to guess, so it is accepted after any number of wrong ones.
	if _, _, recovery := parseAppPassword(code); !recovery && !a.codes.begin(guesser, time.Now()) {
		return errTooMuch
	}
	reason := errWrongCode
	// Each wrong code counts as another guess.
	g := loginAttempt{remote: c.Remote, user: user, fingerprint: randomFingerprint()}
	err := a.attempt(ctx, g, func() (bool, error) {
		err := a.useCode(p.Address, network, code)
		if errors.Is(err, ErrCode) {
			reason = err
			return false, nil
		} else if err != nil {
			return false, fmt.Errorf("%w: %w", ErrTemporary, err)
		}
		return true, nil
	})
	switch {
	case errors.Is(err, ErrInvalid):
		return fmt.Errorf("%w: %w", err, reason)
	case err != nil:
		return err
	}
	a.codes.retract(guesser)
	return a.StillPermits(p, c.Service)
}

// useCode checks a code and stores that it was used, before the login counts. So it cannot be used
// again, not even after a restart.
func (a *Authenticator) useCode(user addr.Address, network netip.Prefix, code string) error {
	if a.Secrets == nil {
		return ErrSecretKey
	}
	return a.accounts.UpdateAccount(user, func(acc *directory.Account) error {
		now := time.Now()
		if err := a.Secrets.UseCode(acc, code, now); err != nil {
			return err
		}
		acc.KnownNetworks = withNetwork(acc.KnownNetworks, network, now)
		return nil
	})
}

// withNetwork adds a network to those that are known, in front, and drops old ones.
func withNetwork(
	known []directory.KnownNetwork, network netip.Prefix, now time.Time,
) []directory.KnownNetwork {
	latest := directory.KnownNetwork{Network: network, Last: now.UTC().Truncate(time.Second)}
	next := []directory.KnownNetwork{latest}
	for _, k := range known {
		if k.Network != network && now.Sub(k.Last) < knownNetworkTime && len(next) < maxKnownNetworks {
			next = append(next, k)
		}
	}
	return next
}

// guesser is who wrong codes are counted for: a mailbox with a network that it knows, or with all
// others, for which the network is zero.
type guesser struct {
	user  string
	known netip.Prefix
}

func (a *Authenticator) guesserOf(user string, network netip.Prefix) guesser {
	box, err := a.accounts.Login(user)
	known := err == nil && slices.ContainsFunc(box.Account.KnownNetworks,
		func(k directory.KnownNetwork) bool {
			return k.Network == network && time.Since(k.Last) < knownNetworkTime
		})
	if known {
		return guesser{user, network}
	}
	return guesser{user: user}
}

// codeLimit limits the wrong codes of each guesser. A code is asked for only after the right password. So
// the table has at most one entry for each known network of a mailbox, and one more for each mailbox. The
// zero value is empty.
type codeLimit struct {
	mu    sync.Mutex
	tries map[guesser][]time.Time // owner: mu; of codes that were wrong or are being checked
}

// begin counts a try as wrong until retract, and reports false if there were too many.
func (l *codeLimit) begin(g guesser, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tries == nil {
		l.tries = make(map[guesser][]time.Time)
	}
	l.tries[g] = slices.DeleteFunc(l.tries[g],
		func(at time.Time) bool { return now.Sub(at) >= wrongCodePeriod })
	if len(l.tries[g]) >= maxWrongCodes {
		return false
	}
	l.tries[g] = append(l.tries[g], now)
	return true
}

// retract forgets the tries of a guesser who has given a right code.
func (l *codeLimit) retract(g guesser) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.tries, g)
}
