// Package dkim signs messages for the domains that have a key (RFC 6376, RFC
// 8463), and keeps the keys: for each domain a directory with a file for each
// private key and a small file that says which one signs from when on.
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

// The classes of errors, for errors.Is.
var (
	ErrName     = errors.New("cannot be used as a name")
	ErrExists   = errors.New("exists already")
	ErrNotFound = errors.New("not found")
	ErrActive   = errors.New("is in use for signing")
	ErrDamaged  = errors.New("is damaged")
)

// Keys are the keys in a data directory, below "dkim". It is safe for concurrent
// use, and what another process changes works at once.
type Keys struct {
	fsys durable.FS

	mu     sync.Mutex
	parsed map[addr.Domain]parsed // guarded by mu; only of domains that have keys
}

// Open gives the keys in a data directory. Nothing is read or made yet.
func Open(fsys durable.FS) *Keys {
	return &Keys{fsys: fsys, parsed: make(map[addr.Domain]parsed)}
}

// Kind is an algorithm with a key size.
type Kind string

// The kinds. Many receivers do not verify Ed25519 yet, so RSA is the zero
// value's meaning.
const (
	RSA2048 Kind = "rsa2048"
	Ed25519 Kind = "ed25519"
)

// Key is what is known of a key without the key itself.
type Key struct {
	Selector string    `json:"selector"`
	Kind     Kind      `json:"kind"`
	Created  time.Time `json:"created"`
	From     time.Time `json:"from"`          // it signs from then on, until another key does
	Keep     time.Time `json:"keep,omitzero"` // its DNS record must stay until then; zero: no other key is to follow
	State    State     `json:"-"`             // at the time of the question
}

// State is where in its life a key is.
type State string

// The states.
const (
	Waiting State = "waiting" // for its time to sign
	Active  State = "active"  // it signs
	Retired State = "retired" // mail that it signed may be on its way still
	Over    State = "over"    // it, and its DNS record, may be removed
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

// Show lists the keys of a domain, in the order in which they sign; none when
// it has none. ErrName, ErrDamaged.
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

// Domains lists the domains that have a directory for keys.
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

// Create makes the first key of a domain, which signs from now on: the DNS
// record should follow at once. An empty selector stands for one with the month
// in it, an empty kind for RSA2048. ErrExists when the domain has a key: that is
// what Rotate is for.
func (k *Keys) Create(domain addr.Domain, selector string, kind Kind, now time.Time) (Key, error) {
	return k.add(domain, selector, kind, now, func(keys []Key, fresh *Key) error {
		if len(keys) > 0 {
			return fmt.Errorf("a DKIM key of %s %w; rotate replaces it", domain, ErrExists)
		}
		return nil
	})
}

// Rotate makes a further key, which signs after the time wait: so long the world
// has to learn of its DNS record. The record of the key before must stay for the
// time keep beyond that, for mail on its way. A domain may wait for one key
// only, else ErrExists; ErrNotFound when it has none to replace.
func (k *Keys) Rotate(domain addr.Domain, selector string, kind Kind, now time.Time, wait, keep time.Duration) (Key, error) {
	return k.add(domain, selector, kind, now, func(keys []Key, fresh *Key) error {
		switch active := activeAt(keys, now); {
		case len(keys) == 0:
			return fmt.Errorf("a DKIM key of %s: %w; create makes the first", domain, ErrNotFound)
		case active != len(keys)-1:
			return fmt.Errorf("a DKIM key of %s that waits for its time %w", domain, ErrExists)
		}
		fresh.From = now.Add(wait)
		keys[len(keys)-1].Keep = fresh.From.Add(keep)
		return nil
	})
}

// add makes a key when check, which may change the others and the new one, says
// yes.
func (k *Keys) add(domain addr.Domain, selector string, kind Kind, now time.Time, check func(keys []Key, fresh *Key) error) (Key, error) {
	var fresh Key
	err := k.change(domain, func(keys []Key) ([]Key, error) {
		fresh = Key{Selector: selector, Kind: kind, Created: now.UTC().Truncate(time.Second), From: now}
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
		// The key comes first: the list must not name one that is not there.
		if err := durable.WriteFile(k.fsys, keyFile(domain, fresh.Selector), secret, 0o600); err != nil {
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

// Remove deletes a key. That which signs can only go as the last one, ErrActive;
// then mail of the domain is no longer signed. ErrNotFound.
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
			keys[active].Keep = time.Time{} // nothing is to follow it any more
		}
		return slices.Delete(keys, i, i+1), nil
	})
	if err != nil {
		return err
	}
	if err := k.fsys.Remove(keyFile(domain, selector)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return k.fsys.SyncDir(path.Dir(listFile(domain)))
}

// change replaces the list of a domain, with the lock that every change takes,
// in this process and in others.
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

// activeAt is the index of the key that signs at a time, -1 without one: the
// last whose time has come.
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

// checkSelector wants labels of a host name in lower case (RFC 6376 §3.1), so
// that it is a file name, too.
func checkSelector(selector string) error {
	d, err := addr.ParseDomain(selector)
	if err != nil || string(d) != selector || d.IsLiteral() || len(selector) > 100 || strings.Contains(selector, "_") {
		return fmt.Errorf("DKIM selector %q %w: letters, digits and hyphens, in lower case, may be in it", selector, ErrName)
	}
	return nil
}

func checkDomain(domain addr.Domain) error {
	if d, err := addr.ParseDomain(string(domain)); err != nil || d != domain || addr.CheckDomainName(domain) != nil {
		return fmt.Errorf("domain %q %w", string(domain), ErrName)
	}
	return nil
}
