package auth

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
)

// Rules say which new passwords are permitted, how long a password may be used, and which secrets
// are stored. The zero value permits every password that the protocols can carry, and stores only
// the verifier.
type Rules struct {
	MinLength int // in characters; 0 means no minimum
	// Common reports a common password, given in lower case; nil means none.
	Common func(lower string) bool
	// Denied reports a password on the administrator's list, given in lower case; nil means none.
	Denied func(lower string) bool
	// Reuse is how many passwords, including the present one, must not be used again.
	Reuse  int
	MaxAge time.Duration          // maximum age of a password; 0 means no maximum
	Store  []directory.SecretKind // secrets to store beside the verifier, for every mailbox
}

// MaxReuse is the largest Rules.Reuse that counts: each one costs a password hash.
const MaxReuse = 24

// A RuleError says which rule a new password breaks. It is an ErrPassword, and its text is for the
// person who chose the password.
type RuleError struct {
	// Rule is the setting: "min_length", "deny_common", "deny_list" or "reuse"; or "user_name" or
	// "app_password", which have no setting.
	Rule string
	Text string
}

func (e *RuleError) Error() string        { return ErrPassword.Error() + ": " + e.Text }
func (e *RuleError) Is(target error) bool { return target == ErrPassword }

// Text says the rules in one sentence, for the person who is about to choose a password; "" if every
// password is permitted.
func (r *Rules) Text() string {
	var refused []string
	if r.Common != nil {
		refused = append(refused, "common passwords")
	}
	if r.MinLength > 0 {
		refused = append(refused, "the name of the mailbox")
	}
	if r.Reuse > 0 {
		refused = append(refused, fmt.Sprintf("the last %d passwords", r.Reuse))
	}
	text := ""
	if r.MinLength > 0 {
		text = fmt.Sprintf("A password needs at least %d characters.", r.MinLength)
	}
	if len(refused) > 0 {
		text += " Refused: " + strings.Join(refused, ", ") + "."
	}
	return strings.TrimSpace(text)
}

// Check reports whether a mailbox may get this password. It does not compare it with earlier ones.
// The error is an ErrPassword; it is a *RuleError if the password breaks one of the rules.
func (r *Rules) Check(user addr.Address, password string) error {
	if err := CheckPassword(password); err != nil {
		return err
	}
	lower := strings.ToLower(normalize(password))
	length := utf8.RuneCountInString(lower)
	name := strings.ToLower(user.Local)
	switch {
	case length < r.MinLength:
		return &RuleError{"min_length",
			fmt.Sprintf("it has %d characters; passwords need at least %d", length, r.MinLength)}
	case r.Common != nil && r.Common(lower):
		return &RuleError{"deny_common", "it is a common password, which attackers try first"}
	case r.Denied != nil && r.Denied(lower):
		return &RuleError{"deny_list", "it is on the list of forbidden passwords"}
	case r.MinLength > 0 && (lower == name || lower == user.Fold().String()):
		return &RuleError{"user_name", "it is the name of the mailbox"}
	}
	return nil
}

// A SecretStore prepares what an account stores of a password: the verifier, the sealed secrets,
// the history and the date. It is safe for concurrent use.
type SecretStore struct {
	key   atomic.Pointer[SecretKey]
	rules atomic.Pointer[Rules]
}

// NewSecretStore returns a SecretStore that seals secrets with key.
func NewSecretStore(key *SecretKey, rules Rules) *SecretStore {
	st := new(SecretStore)
	st.SetKey(key)
	st.SetRules(rules)
	return st
}

// SetKey replaces the key. Secrets that were sealed with the old key are made again at the next
// login with a password.
func (st *SecretStore) SetKey(v *SecretKey) { st.key.Store(v) }

// SetRules replaces the rules.
func (st *SecretStore) SetRules(rules Rules) { st.rules.Store(&rules) }

// Rules returns the rules in force. The caller must not change them.
func (st *SecretStore) Rules() *Rules { return st.rules.Load() }

// Wanted returns the kinds of secrets that an account must store: its own choice and Rules.Store.
func (st *SecretStore) Wanted(acc *directory.Account) (all []directory.SecretKind) {
	for _, kind := range directory.SecretKinds() {
		if slices.Contains(acc.Store, kind) || slices.Contains(st.Rules().Store, kind) {
			all = append(all, kind)
		}
	}
	return all
}

// New hashes a new password for an account in its present state, and returns a function that writes
// it into the account. New is slow, so the caller runs it before it locks the account. The error is
// an ErrPassword or an ErrSecretKey.
func (st *SecretStore) New(user addr.Address, acc directory.Account, password string,
	now time.Time) (set func(*directory.Account) error, err error) {
	rules := st.Rules()
	if err := rules.Check(user, password); err != nil {
		return nil, err
	}
	earlier := acc.History
	if acc.Verifier != "" {
		earlier = append([]string{acc.Verifier}, earlier...)
	}
	reuse := min(rules.Reuse, MaxReuse)
	earlier = earlier[:min(len(earlier), reuse)]
	if slices.ContainsFunc(earlier, func(old string) bool { return fits(old, password) }) {
		return nil, &RuleError{"reuse",
			fmt.Sprintf("it is one of the last %d passwords of this mailbox", reuse)}
	}
	if id, _, ok := parseAppPassword(password); ok {
		if _, _, ok := acc.AppPassword(id); ok {
			return nil, &RuleError{"app_password", "it begins like an app password of this mailbox"}
		}
	}
	verifier, err := HashPassword(password)
	if err != nil {
		return nil, err
	}
	return func(acc *directory.Account) error {
		var s Secrets
		s.add(normalize(password), st.Wanted(acc))
		sealed, err := st.key.Load().Seal(s)
		if err != nil {
			return err
		}
		acc.Verifier, acc.Secrets, acc.PasswordSet = verifier, sealed,
			now.UTC().Truncate(time.Second)
		acc.History = earlier[:min(len(earlier), max(reuse-1, 0))]
		acc.Reset = directory.Reset{} // a link for the old password must not set another one
		return nil
	}, nil
}

// fits reports whether a password matches a stored verifier.
func fits(stored, password string) bool {
	v, err := parseVerifier(stored)
	return err == nil && v.matches(normalize(password))
}

// SetStore makes an account store these kinds of secrets beside those of the rules. Kinds that are
// no longer wanted are deleted at once. Missing kinds are made now if the clear password is stored,
// or else at the next login with a password or when the next password is set.
func (st *SecretStore) SetStore(acc *directory.Account, kinds []directory.SecretKind) error {
	acc.Store = kinds
	s, err := st.key.Load().Open(acc.Secrets)
	if err != nil {
		acc.Secrets = directory.Secrets{} // unreadable, so useless; the next login fills them
		return nil
	}
	if s.Clear != "" {
		s.add(s.Clear, st.Wanted(acc))
	}
	s.keep(st.Wanted(acc))
	acc.Secrets, err = st.key.Load().Seal(s)
	return err
}

// Forget deletes from an account everything that depends on its password, and the client
// certificates and app passwords that allow a login without it. The second factor stays.
func Forget(acc *directory.Account) {
	acc.ClientCerts, acc.AppPasswords, acc.AppVerifiers = nil, nil, nil
	acc.Verifier, acc.Secrets = "", directory.Secrets{}
	acc.History, acc.PasswordSet, acc.Reset = nil, time.Time{}, directory.Reset{}
}

// Check reports whether the stored secrets of an account can be opened; the error is an
// ErrSecretKey.
func (st *SecretStore) Check(acc *directory.Account) error {
	_, err := st.key.Load().Open(acc.Secrets)
	return err
}

// lacks reports whether an account lacks a secret that it must store, or has secrets that the key
// cannot open.
func (st *SecretStore) lacks(acc *directory.Account) bool {
	wanted := st.Wanted(acc)
	return slices.ContainsFunc(wanted,
		func(kind directory.SecretKind) bool { return !acc.Secrets.Has(kind) }) ||
		len(wanted) > 0 && st.Check(acc) != nil
}

// errChanged means that the account got a new password during the login.
var errChanged = errors.New("the password was changed during the login")

// fill adds the missing secrets to an account. verifier is the one that the password matched.
func (st *SecretStore) fill(acc *directory.Account, verifier, password string) error {
	if acc.Verifier != verifier {
		return errChanged
	}
	s, err := st.key.Load().Open(acc.Secrets)
	if err != nil {
		s = Secrets{} // sealed with a lost key: make them again
	}
	var missing []directory.SecretKind
	for _, kind := range st.Wanted(acc) {
		if !s.has(kind) {
			missing = append(missing, kind)
		}
	}
	s.add(password, missing)
	s.keep(st.Wanted(acc))
	acc.Secrets, err = st.key.Load().Seal(s)
	return err
}

// Expired reports whether the password is older than Rules.MaxAge. If its date is not stored, the
// mailbox's creation date counts.
func (st *SecretStore) Expired(acc *directory.Account, now time.Time) bool {
	set := acc.PasswordSet
	if set.IsZero() {
		set = acc.Created
	}
	age := st.Rules().MaxAge
	return age > 0 && acc.Verifier != "" && now.Sub(set) > age
}
