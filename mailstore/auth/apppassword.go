package auth

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"pillarbox/mailstore/directory"
)

// An app password has the form of GeneratePassword. Its first group is its ID, so that a login
// costs one password hash, however many app passwords an account has. The other groups, 60 random
// bits, are the secret.
const (
	appGroup  = 4  // characters of a group
	appLength = 16 // characters without the hyphens
)

// parseAppPassword returns the ID and the canonical form of a text that looks like an app password.
// Capitals, blanks and hyphens do not matter: people copy it into telephones and scanners.
func parseAppPassword(text string) (id, canonical string, ok bool) {
	const longest = 64 // with many blanks
	if len(text) > longest {
		return "", "", false
	}
	plain := strings.NewReplacer("-", "", " ", "").Replace(strings.ToLower(text))
	if len(plain) != appLength || strings.Trim(plain, "abcdefghijklmnopqrstuvwxyz234567") != "" {
		return "", "", false
	}
	return plain[:appGroup], inGroups(plain), true
}

// inGroups puts a hyphen after each group of characters.
func inGroups(plain string) string {
	var b strings.Builder
	for i := 0; i < len(plain); i += appGroup {
		if i > 0 {
			b.WriteByte('-')
		}
		b.WriteString(plain[i:min(i+appGroup, len(plain))])
	}
	return b.String()
}

// NewAppPassword makes an app password for an account in its present state. It returns the password,
// which must be shown once and kept nowhere, and a function that adds it to the account. It is slow,
// so the caller runs it before it locks the account.
func NewAppPassword(acc directory.Account, name string, scope directory.Access, now time.Time) (
	password string, add func(*directory.Account) (directory.AppPassword, error), err error) {
	id := ""
	for taken := true; taken; {
		password = GeneratePassword()
		id = password[:appGroup]
		_, _, taken = acc.AppPassword(id)
	}
	verifier, err := HashPassword(password)
	p := directory.AppPassword{ID: id, Name: name, Scope: scope,
		Created: now.UTC().Truncate(time.Second)}
	return password, func(acc *directory.Account) (directory.AppPassword, error) {
		return p, acc.AddAppPassword(p, verifier)
	}, err
}

// Why a right password does not open a service, for the log. The client cannot tell it from a wrong
// one.
var (
	errScope  = errors.New("the app password is not for this service")
	errFactor = errors.New("the mailbox has a second factor, so this service accepts app passwords " +
		"only; see 'pillarbox admin mailbox app-password'")
)

// refusal returns why a service does not accept the password of a mailbox, or a proof of it; nil
// means that it does.
func refusal(acc *directory.Account, s Service) error {
	if acc.HasSecondFactor() && s != ServiceWeb {
		return errFactor
	}
	return nil
}

// scopePermits reports whether an app password may be used for a service. The page never takes one:
// it could make more of them, or remove the second factor.
func scopePermits(scope directory.Access, s Service) bool {
	return s != ServiceWeb && scope.Permits(s)
}

// checkAppPassword checks a password that has the ID of an app password of the account.
func (a *Authenticator) checkAppPassword(ctx context.Context, c Client, box directory.Mailbox,
	user, id, password string) (proved, error) {
	app, stored, _ := box.Account.AppPassword(id)
	var refused error
	if !scopePermits(app.Scope, c.Service) {
		refused = errScope
	}
	if err := a.checkHash(ctx, c, box, true, user, stored, password, refused); err != nil {
		return proved{}, fmt.Errorf("app password %s: %w", id, err)
	}
	return proved{app: app}, nil
}
