package directory

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// AppPassword lets one program or device of a user log in, beside the password of the mailbox. Its
// verifier is in Account.AppVerifiers, so that lists and the audit log can show all the rest.
type AppPassword struct {
	// ID is the beginning of the password. It says which verifier to check, and is no secret.
	ID      string    `json:"id"`
	Name    string    `json:"name"`            // of the program or device, for its user
	Scope   Access    `json:"scope,omitempty"` // the services that it is for; never AccessNone
	Created time.Time `json:"created"`
}

// AppPassword returns the app password with an ID, and its verifier. ok is false if there is none.
func (a *Account) AppPassword(id string) (p AppPassword, verifier string, ok bool) {
	i := slices.IndexFunc(a.AppPasswords, func(p AppPassword) bool { return p.ID == id })
	if i < 0 {
		return AppPassword{}, "", false
	}
	return a.AppPasswords[i], a.AppVerifiers[id], true
}

// AddAppPassword adds an app password. Error: ErrExists if the ID is taken.
func (a *Account) AddAppPassword(p AppPassword, verifier string) error {
	if _, _, taken := a.AppPassword(p.ID); taken {
		return fmt.Errorf("app password %s: %w", p.ID, ErrExists)
	}
	a.AppPasswords = append(slices.Clip(a.AppPasswords), p)
	a.AppVerifiers = maps.Clone(a.AppVerifiers) // readers of the old account share the map
	if a.AppVerifiers == nil {
		a.AppVerifiers = make(map[string]string)
	}
	a.AppVerifiers[p.ID] = verifier
	return nil
}

// RemoveAppPassword removes an app password. Error: ErrNotFound.
func (a *Account) RemoveAppPassword(id string) error {
	if _, _, found := a.AppPassword(id); !found {
		return fmt.Errorf("app password %s: %w", id, ErrNotFound)
	}
	a.AppPasswords = slices.DeleteFunc(slices.Clone(a.AppPasswords),
		func(p AppPassword) bool { return p.ID == id })
	a.AppVerifiers = maps.Clone(a.AppVerifiers)
	delete(a.AppVerifiers, id)
	return nil
}

// SecondFactor is a device of a user that shows codes for a login at the page (RFC 6238). Its
// secret is in Account.FactorSecrets.
type SecondFactor struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"` // of the telephone or program, for its user
	Created time.Time `json:"created"`
	// Used is the time step of the last code that was accepted: no code is accepted twice.
	Used int64 `json:"used,omitempty"`
}

// KnownNetwork is where a code of a second factor was right: an IPv4 address or an IPv6 /64.
type KnownNetwork struct {
	Network netip.Prefix `json:"network"`
	Last    time.Time    `json:"last"`
}

// HasSecondFactor reports whether the password alone opens no page.
func (a *Account) HasSecondFactor() bool { return len(a.SecondFactors) > 0 }

// Reset is an open link for a user who has forgotten the password.
type Reset struct {
	Hash    string    `json:"hash"` // SHA-256 of the key in the link, in hexadecimal
	Expires time.Time `json:"expires"`
}
