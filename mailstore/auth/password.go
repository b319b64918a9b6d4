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

// Rules are what a new password must be like, and what is kept of it. The zero
// value permits every password that the protocols can carry, and keeps a
// verifier alone.
type Rules struct {
	MinLength int                     // in characters; 0: none
	Common    func(lower string) bool // passwords that everybody tries, asked in small letters; nil: none
	Denied    func(lower string) bool // more that are not allowed, asked likewise; nil: none
	Reuse     int                     // so many earlier passwords, the present one counted, may not come back
	MaxAge    time.Duration           // after which a password must be changed; 0: never
	Store     []directory.SecretKind  // what is kept beside the verifier for every mailbox
}

// MaxReuse is the most that Rules.Reuse counts: each costs a password hash.
const MaxReuse = 24

// A RuleError says which rule a password broke. It is an ErrPassword, and its
// text is meant for the person who chose the password.
type RuleError struct {
	Rule string // the setting: "min_length", "deny_common", "deny_list", "reuse"; "user_name" has none
	Text string
}

func (e *RuleError) Error() string        { return ErrPassword.Error() + ": " + e.Text }
func (e *RuleError) Is(target error) bool { return target == ErrPassword }

// Check says whether a password is fit to be a mailbox's. It does not look at
// earlier ones. The error is an ErrPassword, a *RuleError where a rule of the
// administrator's is broken.
func (r *Rules) Check(user addr.Address, password string) error {
	if err := CheckPassword(password); err != nil {
		return err
	}
	lower := strings.ToLower(normalize(password))
	length := utf8.RuneCountInString(lower)
	name := strings.ToLower(user.Local)
	switch {
	case length < r.MinLength:
		return &RuleError{"min_length", fmt.Sprintf("it has %d characters, and passwords here have at least %d", length, r.MinLength)}
	case r.Common != nil && r.Common(lower):
		return &RuleError{"deny_common", "it is one of those that everybody tries first"}
	case r.Denied != nil && r.Denied(lower):
		return &RuleError{"deny_list", "it is on the list of those that are not allowed here"}
	case r.MinLength > 0 && (lower == name || lower == user.Fold().String()):
		return &RuleError{"user_name", "it is the name of the mailbox"}
	}
	return nil
}

// A Keeper makes what an account keeps of a password. Safe for concurrent use.
type Keeper struct {
	vault atomic.Pointer[Vault]
	rules atomic.Pointer[Rules]
}

// NewKeeper makes a Keeper that seals with the vault.
func NewKeeper(vault *Vault, rules Rules) *Keeper {
	k := new(Keeper)
	k.SetVault(vault)
	k.SetRules(rules)
	return k
}

// SetVault puts another key in use. What was sealed with the one before is made
// anew at the next log-in with a password.
func (k *Keeper) SetVault(v *Vault) { k.vault.Store(v) }

// SetRules puts other rules in force.
func (k *Keeper) SetRules(rules Rules) { k.rules.Store(&rules) }

// Rules are those in force; they are not to be changed.
func (k *Keeper) Rules() *Rules { return k.rules.Load() }

// Wanted are the kinds of secrets that an account is to keep.
func (k *Keeper) Wanted(acc *directory.Account) (all []directory.SecretKind) {
	for _, kind := range directory.SecretKinds() {
		if slices.Contains(acc.Store, kind) || slices.Contains(k.Rules().Store, kind) {
			all = append(all, kind)
		}
	}
	return all
}

// New prepares another password for an account as it is now, and returns what
// writes it into the account. It is slow; the account is not locked meanwhile.
// An ErrPassword or an ErrVault.
func (k *Keeper) New(user addr.Address, acc directory.Account, password string, now time.Time) (set func(*directory.Account) error, err error) {
	rules := k.Rules()
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
		return nil, &RuleError{"reuse", fmt.Sprintf("it is among the last %d that this mailbox had", reuse)}
	}
	verifier, err := HashPassword(password)
	if err != nil {
		return nil, err
	}
	return func(acc *directory.Account) error {
		var s Secrets
		s.add(normalize(password), k.Wanted(acc))
		sealed, err := k.vault.Load().Seal(s)
		if err != nil {
			return err
		}
		acc.Verifier, acc.Secrets, acc.PasswordSet = verifier, sealed, now.UTC().Truncate(time.Second)
		acc.History = earlier[:min(len(earlier), max(reuse-1, 0))]
		return nil
	}, nil
}

// fits reports whether a password is that of a stored verifier.
func fits(stored, password string) bool {
	v, err := parseVerifier(stored)
	return err == nil && v.matches(normalize(password))
}

// SetStore makes an account keep these kinds of secrets beside what the rules
// say. Those that are not to be kept any more are forgotten at once; those that
// are missing are made of the password where it is stored as it is, or come with the
// next that is set or proven.
func (k *Keeper) SetStore(acc *directory.Account, kinds []directory.SecretKind) error {
	acc.Store = kinds
	s, err := k.vault.Load().Open(acc.Secrets)
	if err != nil {
		acc.Secrets = directory.Secrets{} // of no use to anybody; the next log-in fills them
		return nil
	}
	if s.Clear != "" {
		s.add(s.Clear, k.Wanted(acc))
	}
	s.keep(k.Wanted(acc))
	acc.Secrets, err = k.vault.Load().Seal(s)
	return err
}

// Forget takes from an account all that it keeps of its password, and the
// certificates that let in without.
func Forget(acc *directory.Account) {
	acc.ClientCerts = nil
	acc.Verifier, acc.Secrets, acc.History, acc.PasswordSet = "", directory.Secrets{}, nil, time.Time{}
}

// Check says whether the stored secrets of an account can be opened: nil, or an
// ErrVault.
func (k *Keeper) Check(acc *directory.Account) error {
	_, err := k.vault.Load().Open(acc.Secrets)
	return err
}

// lacks reports whether an account misses a secret that it is to keep, or has it
// under a seal that nobody can open.
func (k *Keeper) lacks(acc *directory.Account) bool {
	wanted := k.Wanted(acc)
	return slices.ContainsFunc(wanted, func(kind directory.SecretKind) bool { return !acc.Secrets.Has(kind) }) ||
		len(wanted) > 0 && k.Check(acc) != nil
}

// errChanged says that the account has another password by now.
var errChanged = errors.New("the password has been changed meanwhile")

// fill adds what is missing to an account whose verifier the password fitted.
func (k *Keeper) fill(acc *directory.Account, verifier, password string) error {
	if acc.Verifier != verifier {
		return errChanged
	}
	s, err := k.vault.Load().Open(acc.Secrets)
	if err != nil {
		s = Secrets{} // sealed with a lost key: they are made anew
	}
	var missing []directory.SecretKind
	for _, kind := range k.Wanted(acc) {
		if !s.has(kind) {
			missing = append(missing, kind)
		}
	}
	s.add(password, missing)
	s.keep(k.Wanted(acc))
	acc.Secrets, err = k.vault.Load().Seal(s)
	return err
}

// Expired reports whether a password is older than the rules permit. One whose
// age nobody knows is as old as its mailbox.
func (k *Keeper) Expired(acc *directory.Account, now time.Time) bool {
	set := acc.PasswordSet
	if set.IsZero() {
		set = acc.Created
	}
	age := k.Rules().MaxAge
	return age > 0 && acc.Verifier != "" && now.Sub(set) > age
}
