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

// ErrSecretKey means that stored secrets cannot be opened or sealed: the key file is missing,
// unreadable, or not the one that sealed them.
var ErrSecretKey = errors.New("the stored secrets cannot be decrypted")

// A SecretKey seals the secrets of mailboxes with the server's key (XChaCha20-Poly1305). An account
// file alone, in a backup or on a screen, then reveals no secret. The key is in a file of its own,
// with mode 0600, which is created when it is first needed. Both files together reveal the secrets:
// the server itself must be able to read them. A SecretKey is safe for concurrent use.
type SecretKey struct {
	file string

	mu  sync.Mutex
	key []byte // guarded by mu; nil until it is read
}

// NewSecretKey returns a SecretKey for a key file. Its directory must exist before the first Seal.
func NewSecretKey(file string) *SecretKey { return &SecretKey{file: file} }

// readKey returns the key. With create, it creates a missing key file.
func (k *SecretKey) readKey(create bool) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.key != nil {
		return k.key, nil
	}
	dir, err := durable.Open(filepath.Dir(k.file))
	if err != nil {
		return nil, fmt.Errorf("%w: key file: %w", ErrSecretKey, err)
	}
	defer dir.Close()
	name := filepath.Base(k.file)
	key, err := durable.ReadSmall(dir, name, durable.MaxSmall)
	if create && errors.Is(err, fs.ErrNotExist) {
		key, err = makeKey(dir, name)
	}
	info, statErr := dir.Lstat(name)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: key file: %w", ErrSecretKey, err)
	case statErr == nil && info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("%w: key file %s can be read by others; run chmod 600", ErrSecretKey,
			k.file)
	case len(key) != chacha20poly1305.KeySize:
		return nil, fmt.Errorf("%w: key file %s has %d octets, not %d", ErrSecretKey, k.file,
			len(key), chacha20poly1305.KeySize)
	}
	k.key = key
	return key, nil
}

// makeKey creates the key file. If two processes do so at once, one of them wins and both use its
// key. For that, makeKey links a finished file into place and reads it back.
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

// Seal encrypts secrets. The result lists only the kinds that are present.
func (k *SecretKey) Seal(s Secrets) (directory.Secrets, error) {
	kinds := s.kinds()
	if len(kinds) == 0 {
		return directory.Secrets{}, nil
	}
	plain, err := json.Marshal(s)
	if err != nil {
		return directory.Secrets{}, err
	}
	// The padding hides the length of a clear password.
	const block = 512
	plain = append(plain, bytes.Repeat([]byte(" "), block-len(plain)%block)...)
	sealed, err := k.seal(plain, "")
	if err != nil {
		return directory.Secrets{}, err
	}
	return directory.Secrets{Kinds: kinds, Sealed: sealed}, nil
}

// seal encrypts a secret for a purpose. It can be opened for that purpose only.
func (k *SecretKey) seal(plain []byte, purpose string) ([]byte, error) {
	key, err := k.readKey(true)
	if err != nil {
		return nil, err
	}
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, chacha20poly1305.NonceSizeX)
	rand.Read(nonce)
	return aead.Seal(nonce, nonce, plain, []byte(purpose)), nil
}

// Open decrypts what Seal returned. The error is an ErrSecretKey and reveals nothing of the
// contents.
func (k *SecretKey) Open(sealed directory.Secrets) (s Secrets, err error) {
	if len(sealed.Sealed) == 0 {
		return Secrets{}, nil
	}
	plain, err := k.open(sealed.Sealed, "")
	if err != nil {
		return Secrets{}, err
	}
	if json.Unmarshal(plain, &s) != nil {
		return Secrets{}, errSealed
	}
	return s, nil
}

var errSealed = fmt.Errorf("%w: they were encrypted with another key, or are damaged", ErrSecretKey)

// open decrypts what seal returned for the same purpose. The error is an ErrSecretKey.
func (k *SecretKey) open(sealed []byte, purpose string) ([]byte, error) {
	key, err := k.readKey(false)
	if err != nil {
		return nil, err
	}
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return nil, err
	}
	nonce, text, ok := cutAt(sealed, chacha20poly1305.NonceSizeX)
	if !ok {
		return nil, fmt.Errorf("%w: too short", ErrSecretKey)
	}
	plain, err := aead.Open(nil, nonce, text, []byte(purpose))
	if err != nil {
		return nil, errSealed
	}
	return plain, nil
}

func cutAt(b []byte, n int) (head, tail []byte, ok bool) {
	if len(b) < n {
		return nil, nil, false
	}
	return b[:n], b[n:], true
}

// kinds returns the kinds that are present.
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

// add makes the secrets of these kinds from a normalized password.
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

// keep deletes the secrets of all other kinds.
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
