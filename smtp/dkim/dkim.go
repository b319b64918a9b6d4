// Package dkim signs messages for the domains that have a key (RFC 6376, RFC 8463), and manages the
// keys.
//
// Keys is the type to start with. The daemon calls Signature for mail of local senders; admin
// commands create, rotate, show and remove keys. Each domain has a directory with one file per
// private key and a small file, keys.json, with the time from which each key signs. A private key
// never leaves its file: lists and DNS records hold only public data.
package dkim

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/durable"
)

// Classes of errors, for errors.Is.
var (
	ErrName     = errors.New("cannot be used as a name")
	ErrExists   = errors.New("exists already")
	ErrNotFound = errors.New("not found")
	ErrActive   = errors.New("is in use for signing")
	ErrDamaged  = errors.New("is damaged")
)

// Keys are the keys in a data directory, below "dkim". It is safe for concurrent use. Changes by
// another process take effect at once.
type Keys struct {
	fsys durable.FS

	mu     sync.Mutex
	parsed map[addr.Domain]parsed // guarded by mu; only domains that have keys
}

// Open returns the keys in a data directory. It does no I/O.
func Open(fsys durable.FS) *Keys {
	return &Keys{fsys: fsys, parsed: make(map[addr.Domain]parsed)}
}

// Kind is an algorithm with a key size.
type Kind string

// The kinds. The default is RSA, because many receivers cannot verify Ed25519.
const (
	RSA2048 Kind = "rsa2048"
	Ed25519 Kind = "ed25519"
)

// Key describes a key, without the private key.
type Key struct {
	Selector string    `json:"selector"`
	Kind     Kind      `json:"kind"`
	Created  time.Time `json:"created"`
	From     time.Time `json:"from"`          // start of signing, until the next key's From
	Keep     time.Time `json:"keep,omitzero"` // DNS record needed until then; zero: no successor
	State    State     `json:"-"`             // at the time of the call
}

// State is the stage of a key's life.
type State string

// The states.
const (
	Waiting State = "waiting" // for its start of signing
	Active  State = "active"  // it signs
	Retired State = "retired" // signed mail may still be in transit
	Over    State = "over"    // it and its DNS record may be removed
)

const (
	rootDir  = "dkim"
	lockFile = "dkim/lock"
	lockWait = 10 * time.Second
)

func listFile(domain addr.Domain) string { return path.Join(rootDir, string(domain), "keys.json") }

func keyFile(domain addr.Domain, selector string) string {
	return path.Join(rootDir, string(domain), selector+".pem")
}

// Show returns the keys of a domain in the order in which they sign. The list may be empty. Errors:
// ErrName, ErrDamaged.
func (k *Keys) Show(domain addr.Domain, now time.Time) ([]Key, error) {
	if err := checkDomain(domain); err != nil {
		return nil, err
	}
	keys, err := k.read(domain)
	active := activeAt(keys, now)
	for i := range keys {
		keys[i].State = stateOf(keys, i, active, now)
	}
	return keys, err
}

// Domains returns the domains that have a directory for keys.
func (k *Keys) Domains() ([]addr.Domain, error) {
	entries, err := k.fsys.ReadDir(rootDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var domains []addr.Domain
	for _, entry := range entries {
		if d := addr.Domain(entry.Name()); entry.IsDir() && checkDomain(d) == nil {
			domains = append(domains, d)
		}
	}
	slices.Sort(domains)
	return domains, err
}

// Create makes the first key of a domain. It signs from now on, so the DNS record must follow at
// once. An empty selector means a generated one that contains the month; an empty kind means
// RSA2048. If the domain has a key, the error is ErrExists; use Rotate.
func (k *Keys) Create(domain addr.Domain, selector string, kind Kind, now time.Time) (Key, error) {
	return k.add(domain, selector, kind, now, func(keys []Key, fresh *Key) error {
		if len(keys) > 0 {
			return fmt.Errorf("a DKIM key of %s %w; use rotate to replace it", domain, ErrExists)
		}
		return nil
	})
}

// Rotate makes an additional key, which starts to sign after wait, so that its DNS record can
// spread first. The record of the previous key must stay for the time keep after that, for mail in
// transit. If one key already waits to sign, the error is ErrExists; if there is no key to replace,
// ErrNotFound.
func (k *Keys) Rotate(domain addr.Domain, selector string, kind Kind, now time.Time,
	wait, keep time.Duration) (Key, error) {
	return k.add(domain, selector, kind, now, func(keys []Key, fresh *Key) error {
		switch active := activeAt(keys, now); {
		case len(keys) == 0:
			return fmt.Errorf("a DKIM key of %s: %w; use create for the first key",
				domain, ErrNotFound)
		case active != len(keys)-1:
			return fmt.Errorf("a DKIM key of %s that waits to sign %w", domain, ErrExists)
		}
		fresh.From = now.Add(wait)
		keys[len(keys)-1].Keep = fresh.From.Add(keep)
		return nil
	})
}

// add makes a key if check allows it. check may change the existing keys and the new one.
func (k *Keys) add(domain addr.Domain, selector string, kind Kind, now time.Time,
	check func(keys []Key, fresh *Key) error) (Key, error) {
	var fresh Key
	err := k.change(domain, func(keys []Key) ([]Key, error) {
		fresh = Key{Selector: selector, Kind: kind, Created: now.UTC().Truncate(time.Second),
			From: now}
		if fresh.Kind == "" {
			fresh.Kind = RSA2048
		}
		if selector == "" {
			fresh.Selector = freeSelector(keys, now)
		}
		if err := checkSelector(fresh.Selector); err != nil {
			return nil, err
		}
		if find(keys, fresh.Selector) >= 0 {
			return nil, fmt.Errorf("DKIM key %s of %s %w", fresh.Selector, domain, ErrExists)
		}
		if err := check(keys, &fresh); err != nil {
			return nil, err
		}
		fresh.From = fresh.From.UTC().Truncate(time.Second)
		secret, err := generate(fresh.Kind)
		if err != nil {
			return nil, err
		}
		// The key file comes first: the list must never name a missing file.
		file := keyFile(domain, fresh.Selector)
		if err := durable.WriteFile(k.fsys, file, secret, 0o600); err != nil {
			return nil, err
		}
		return append(keys, fresh), nil
	})
	fresh.State = Waiting
	if !fresh.From.After(now) {
		fresh.State = Active
	}
	return fresh, err
}

// Remove deletes a key. The signing key can be removed only if it is the domain's last key; then
// the domain's mail is no longer signed. Errors: ErrNotFound, and ErrActive if the key signs and
// others exist.
func (k *Keys) Remove(domain addr.Domain, selector string, now time.Time) error {
	err := k.change(domain, func(keys []Key) ([]Key, error) {
		i := find(keys, selector)
		if i < 0 {
			return nil, fmt.Errorf("DKIM key %s of %s: %w", selector, domain, ErrNotFound)
		}
		active := activeAt(keys, now)
		if i == active && len(keys) > 1 {
			return nil, fmt.Errorf("DKIM key %s of %s %w", selector, domain, ErrActive)
		}
		if i > active && active >= 0 {
			keys[active].Keep = time.Time{} // it has no successor any more
		}
		return slices.Delete(keys, i, i+1), nil
	})
	if err != nil {
		return err
	}
	if err := k.fsys.Remove(keyFile(domain, selector)); err != nil &&
		!errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return k.fsys.SyncDir(path.Dir(listFile(domain)))
}

// change replaces the list of a domain under the lock that all changes take, in this and other
// processes.
func (k *Keys) change(domain addr.Domain, edit func([]Key) ([]Key, error)) error {
	if err := checkDomain(domain); err != nil {
		return err
	}
	if err := k.fsys.MkdirAll(path.Dir(listFile(domain)), 0o700); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), lockWait)
	defer cancel()
	unlock, err := durable.Lock(ctx, k.fsys, lockFile)
	if err != nil {
		return err
	}
	defer unlock()
	keys, err := k.read(domain)
	if err != nil {
		return err
	}
	if keys, err = edit(keys); err != nil {
		return err
	}
	return k.write(domain, keys)
}

// activeAt returns the index of the key that signs at now: the last one whose From has passed, or
// -1.
func activeAt(keys []Key, now time.Time) int {
	active := -1
	for i, key := range keys {
		if !key.From.After(now) {
			active = i
		}
	}
	return active
}

func stateOf(keys []Key, i, active int, now time.Time) State {
	switch {
	case i == active:
		return Active
	case i > active:
		return Waiting
	case now.Before(keys[i].Keep):
		return Retired
	}
	return Over
}

func find(keys []Key, selector string) int {
	return slices.IndexFunc(keys, func(key Key) bool { return key.Selector == selector })
}

func freeSelector(keys []Key, now time.Time) string {
	month := "pillarbox" + now.UTC().Format("200601")
	selector := month
	for n := 2; find(keys, selector) >= 0; n++ {
		selector = fmt.Sprintf("%s-%d", month, n)
	}
	return selector
}

// checkSelector accepts host name labels in lower case (RFC 6376 §3.1), since the selector is also
// a file name.
func checkSelector(selector string) error {
	d, err := addr.ParseDomain(selector)
	if err != nil || string(d) != selector || d.IsLiteral() || len(selector) > 100 ||
		strings.Contains(selector, "_") {
		return fmt.Errorf("DKIM selector %q %w: it may contain lower-case letters, digits and hyphens",
			selector, ErrName)
	}
	return nil
}

func checkDomain(domain addr.Domain) error {
	if d, err := addr.ParseDomain(string(domain)); err != nil || d != domain ||
		addr.CheckDomainName(domain) != nil {
		return fmt.Errorf("domain %q %w", string(domain), ErrName)
	}
	return nil
}
