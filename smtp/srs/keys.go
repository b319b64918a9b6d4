package srs

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/durable"
)

const (
	file     = "srs.json"
	lockFile = ".srs.lock"

	newKeyAfter  = 30 * day
	keepKeyFor   = newKeyAfter + (maxAge+2)*day
	keyLength    = 32
	maxKeys      = 100
	clockSpoiled = 2 * day // a key from further ahead was made while the clock was wrong
)

// errNoKey means that the file has no key yet.
var errNoKey = errors.New("there is no key")

// Keys are the secrets behind rewritten senders, in srs.json in the data directory. A new one is
// made once a month; older ones are kept until no rewritten sender of them is good any more. Keys is
// safe for concurrent use, also by several processes.
type Keys struct{ file *durable.JSONFile[[]secret] }

// secret is one key.
type secret struct {
	Made time.Time `json:"made"`
	Key  []byte    `json:"key"`
}

// content is the JSON of srs.json, the newest key first.
type content struct {
	Keys []secret `json:"keys"`
}

// Open returns the Keys of a data directory. The first rewritten sender makes the file.
func Open(fsys durable.FS) *Keys {
	return &Keys{durable.NewJSONFile(fsys, file, lockFile, parse)}
}

// Report makes the keys report to d when their file cannot be read, and returns k.
func (k *Keys) Report(d *durable.DamageReporter) *Keys {
	k.file.Report(d)
	return k
}

// Check returns why the file cannot be read, or nil.
func (k *Keys) Check() error {
	_, err := k.file.Load()
	return err
}

func parse(text []byte) ([]secret, error) {
	var c content
	if err := json.Unmarshal(text, &c); err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w", file, err)
	}
	for _, s := range c.Keys {
		if len(s.Key) < 16 || s.Made.IsZero() {
			return nil, errors.New(file + " has a key that is too short, or no date")
		}
	}
	return c.Keys, nil
}

// Forward rewrites a remote sender into an address of a domain here.
func (k *Keys) Forward(from addr.Address, domain addr.Domain, now time.Time) (addr.Address, error) {
	all, err := k.file.Load()
	if err != nil {
		return addr.Address{}, err
	}
	if _, due := rotate(all, now); due {
		err = k.renew(now) // without a new one, the old key will do
		if all, _ = k.file.Load(); len(all) == 0 {
			return addr.Address{}, errors.Join(errNoKey, err)
		}
	}
	return forward(all[0].Key, from, domain, now)
}

// Reverse returns the sender that an address was made for: ErrForged or ErrExpired for an address
// that this server did not make, or long ago. Other errors pass.
func (k *Keys) Reverse(to addr.Address, now time.Time) (addr.Address, error) {
	all, err := k.file.Load()
	if err != nil {
		return addr.Address{}, err
	}
	keys := make([][]byte, 0, len(all))
	for _, s := range all {
		keys = append(keys, s.Key)
	}
	return reverse(keys, to, now)
}

// renew makes a new key, if that is due. Another process may have made one meanwhile.
func (k *Keys) renew(now time.Time) error {
	return k.file.Change(func(all []secret) (any, error) {
		rotated, changed := rotate(all, now)
		if !changed {
			return nil, nil
		}
		return content{rotated}, nil
	})
}

// rotate returns the keys with a new one, if the newest is missing or too old, and without those
// that are no longer needed.
func rotate(all []secret, now time.Time) (rotated []secret, changed bool) {
	if len(all) > 0 {
		if age := now.Sub(all[0].Made); age < newKeyAfter && age > -clockSpoiled {
			return all, false
		}
	}
	key := make([]byte, keyLength)
	rand.Read(key)
	rotated = []secret{{now.UTC().Truncate(time.Second), key}}
	for _, s := range all {
		if now.Sub(s.Made) < keepKeyFor && len(rotated) < maxKeys {
			rotated = append(rotated, s)
		}
	}
	return rotated, true
}
