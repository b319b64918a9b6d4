package dkim

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/durable"
)

// maxFile is the maximum size of a list or key file, in octets.
const maxFile = 1 << 20

type list struct {
	Keys []Key `json:"keys"`
}

// read returns the keys of a domain sorted by From, without their states.
func (k *Keys) read(domain addr.Domain) ([]Key, error) {
	data, err := readSmall(k.fsys, listFile(domain))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var l list
	if err := durable.DecodeStrict(data, &l); err != nil {
		return nil, fmt.Errorf("%s %w: %v", listFile(domain), ErrDamaged, err)
	}
	for _, key := range l.Keys {
		if err := checkSelector(key.Selector); err != nil {
			return nil, fmt.Errorf("%s %w: %v", listFile(domain), ErrDamaged, err)
		}
	}
	slices.SortStableFunc(l.Keys, func(a, b Key) int { return a.From.Compare(b.From) })
	return l.Keys, nil
}

func (k *Keys) write(domain addr.Domain, keys []Key) error {
	return durable.WriteJSON(k.fsys, listFile(domain), list{keys})
}

// readSmall reads a list or a key. For anything but a regular file the error is ErrDamaged.
func readSmall(fsys durable.FS, name string) ([]byte, error) {
	data, err := durable.ReadSmall(fsys, name, maxFile)
	if odd, ok := errors.AsType[*durable.FileError](err); ok {
		return nil, fmt.Errorf("%s %w: %s", name, ErrDamaged, odd.Why)
	}
	return data, err
}

// Damaged reads all lists and keys and returns an error for each that cannot be read.
func (k *Keys) Damaged() (damaged []error) {
	domains, err := k.Domains()
	if err != nil {
		return []error{err}
	}
	for _, domain := range domains {
		keys, err := k.read(domain)
		if err != nil {
			damaged = append(damaged, err)
		}
		for _, key := range keys {
			if _, err := k.load(domain, key.Selector); err != nil {
				damaged = append(damaged, err)
			}
		}
	}
	return damaged
}

// generate returns a new private key as PKCS #8 in PEM.
func generate(kind Kind) ([]byte, error) {
	var key any
	var err error
	switch kind {
	case RSA2048:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case Ed25519:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		err = fmt.Errorf("kind of DKIM key %q %w; the kinds are %s and %s", kind, ErrName, RSA2048,
			Ed25519)
	}
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// load reads a private key. It accepts PKCS #1 too, which other software writes.
func (k *Keys) load(domain addr.Domain, selector string) (crypto.Signer, error) {
	name := keyFile(domain, selector)
	data, err := readSmall(k.fsys, name)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s %w: it is not PEM", name, ErrDamaged)
	}
	var key any
	if block.Type == "RSA PRIVATE KEY" {
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	} else {
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	if err != nil {
		return nil, fmt.Errorf("%s %w: %v", name, ErrDamaged, err)
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		return key, nil
	case ed25519.PrivateKey:
		return key, nil
	}
	return nil, fmt.Errorf("%s %w: a DKIM key must be RSA or Ed25519", name, ErrDamaged)
}

// parsed caches the files of a domain, with their state when they were read.
type parsed struct {
	list fs.FileInfo
	keys []Key

	file   fs.FileInfo // of the key that signed last
	signer crypto.Signer
}

// active returns the key that signs at now. Without one, selector is "".
func (k *Keys) active(domain addr.Domain, now time.Time) (
	selector string, signer crypto.Signer, err error,
) {
	// The file states are taken before the files are read: a file replaced in between is read again
	// next time, and never taken for current.
	info, err := k.fsys.Lstat(listFile(domain))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil, nil
	} else if err != nil {
		return "", nil, err
	}
	k.mu.Lock()
	p := k.parsed[domain]
	k.mu.Unlock()
	if p.list == nil || !durable.Unchanged(p.list, info) {
		keys, err := k.read(domain)
		if err != nil {
			return "", nil, err
		}
		p = parsed{list: info, keys: keys}
	}
	i := activeAt(p.keys, now)
	if i < 0 {
		return "", nil, nil
	}
	selector = p.keys[i].Selector
	file, err := k.fsys.Lstat(keyFile(domain, selector))
	if err != nil {
		return "", nil, err
	}
	if p.signer == nil || !durable.Unchanged(p.file, file) {
		if p.signer, err = k.load(domain, selector); err != nil {
			return "", nil, err
		}
		p.file = file
		k.mu.Lock()
		k.parsed[domain] = p
		k.mu.Unlock()
	}
	return selector, p.signer, nil
}
