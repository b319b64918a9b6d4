package auth

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/crypto/chacha20poly1305"

	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/durable"
)

// ErrVault says that stored secrets cannot be opened or sealed: the key file is
// missing, unreadable or another one than they were sealed with.
var ErrVault = errors.New("the stored secrets cannot be opened")

// A Vault seals the secrets of mailboxes with the server's key
// (XChaCha20-Poly1305), so that an account file alone, in a backup or on a
// screen, gives nothing away. The key is a file of its own, mode 0600, made when
// it is needed first. Whoever has both files has the secrets: they are what the
// server itself must read. Safe for concurrent use.
type Vault struct {
	file string

	mu  sync.Mutex
	key []byte // owner: mu; nil: not read yet
}

// NewVault makes a Vault whose key is in a file, in a directory that is there by
// the time that something is sealed.
func NewVault(file string) *Vault { return &Vault{file: file} }

// readKey returns the key; with create it makes one where there is none.
func (v *Vault) readKey(create bool) ([]byte, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.key != nil {
		return v.key, nil
	}
	dir, err := durable.Open(filepath.Dir(v.file))
	if err != nil {
		return nil, fmt.Errorf("%w: key file: %w", ErrVault, err)
	}
	defer dir.Close()
	name := filepath.Base(v.file)
	key, err := durable.ReadSmall(dir, name, durable.MaxSmall)
	if create && errors.Is(err, fs.ErrNotExist) {
		key, err = makeKey(dir, name)
	}
	info, statErr := dir.Lstat(name)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: key file: %w", ErrVault, err)
	case statErr == nil && info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("%w: key file %s can be read by others; chmod 600", ErrVault, v.file)
	case len(key) != chacha20poly1305.KeySize:
		return nil, fmt.Errorf("%w: key file %s has %d octets, not %d", ErrVault, v.file, len(key), chacha20poly1305.KeySize)
	}
	v.key = key
	return key, nil
}

// makeKey makes the key file. Of two processes that do, one wins, and both use
// its key: hence the hard link of a finished file, and the reading back.
func makeKey(dir durable.FS, name string) ([]byte, error) {
	draft := name + ".new-" + rand.Text()
	key := make([]byte, chacha20poly1305.KeySize)
	rand.Read(key)
	if err := durable.WriteFile(dir, draft, key, 0o600); err != nil {
		return nil, err
	}
	err := dir.Link(draft, name)
	if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	if err := errors.Join(err, dir.Remove(draft), dir.SyncDir(".")); err != nil {
		return nil, err
	}
	return durable.ReadSmall(dir, name, durable.MaxSmall)
}

// Seal closes secrets. What is not there is not said to be.
func (v *Vault) Seal(s Secrets) (directory.Secrets, error) {
	kinds := s.kinds()
	if len(kinds) == 0 {
		return directory.Secrets{}, nil
	}
	key, err := v.readKey(true)
	if err != nil {
		return directory.Secrets{}, err
	}
	plain, err := json.Marshal(s)
	if err != nil {
		return directory.Secrets{}, err
	}
	// The length of what is sealed shows, and must not be that of a password.
	const block = 512
	plain = append(plain, bytes.Repeat([]byte(" "), block-len(plain)%block)...)
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return directory.Secrets{}, err
	}
	nonce := make([]byte, chacha20poly1305.NonceSizeX)
	rand.Read(nonce)
	return directory.Secrets{Kinds: kinds, Sealed: aead.Seal(nonce, nonce, plain, nil)}, nil
}

// Open opens what Seal closed. The error is an ErrVault; it says nothing of
// what is inside.
func (v *Vault) Open(sealed directory.Secrets) (s Secrets, err error) {
	if len(sealed.Sealed) == 0 {
		return Secrets{}, nil
	}
	key, err := v.readKey(false)
	if err != nil {
		return Secrets{}, err
	}
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return Secrets{}, err
	}
	nonce, text, ok := cutAt(sealed.Sealed, chacha20poly1305.NonceSizeX)
	if !ok {
		return Secrets{}, fmt.Errorf("%w: too short", ErrVault)
	}
	plain, err := aead.Open(nil, nonce, text, nil)
	if err != nil || json.Unmarshal(plain, &s) != nil {
		return Secrets{}, fmt.Errorf("%w: they were sealed with another key, or are damaged", ErrVault)
	}
	return s, nil
}

func cutAt(b []byte, n int) (head, tail []byte, ok bool) {
	if len(b) < n {
		return nil, nil, false
	}
	return b[:n], b[n:], true
}

// kinds are the secrets that are there.
func (s *Secrets) kinds() (all []directory.SecretKind) {
	for _, k := range directory.SecretKinds() {
		if s.has(k) {
			all = append(all, k)
		}
	}
	return all
}

func (s *Secrets) has(k directory.SecretKind) bool {
	switch k {
	case directory.SecretSPA:
		return len(s.NT) > 0
	case directory.SecretCRAM:
		return len(s.CRAM) > 0
	case directory.SecretAPOP:
		return s.Clear != ""
	case directory.SecretSCRAM:
		return s.SCRAM != nil
	}
	return false
}

// add makes the secrets of these kinds from a password that is normal.
func (s *Secrets) add(password string, kinds []directory.SecretKind) {
	for _, k := range kinds {
		switch k {
		case directory.SecretSPA:
			s.NT = ntHash(password)
		case directory.SecretCRAM:
			s.CRAM = cramState(password)
		case directory.SecretAPOP:
			s.Clear = password
		case directory.SecretSCRAM:
			s.SCRAM = newSCRAM(password)
		}
	}
}

// keep leaves only the secrets of these kinds.
func (s *Secrets) keep(kinds []directory.SecretKind) {
	var kept Secrets
	for _, k := range directory.SecretKinds() {
		if !slices.Contains(kinds, k) {
			continue
		}
		switch k {
		case directory.SecretSPA:
			kept.NT = s.NT
		case directory.SecretCRAM:
			kept.CRAM = s.CRAM
		case directory.SecretAPOP:
			kept.Clear = s.Clear
		case directory.SecretSCRAM:
			kept.SCRAM = s.SCRAM
		}
	}
	*s = kept
}
