package auth

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"pillarbox/mailstore/auth/ntlm"
)

// Secrets are the secrets of one mailbox in the clear, for the mechanisms that an argon2id hash
// cannot serve. An attacker who has one of the first three needs no password for that mechanism.
type Secrets struct {
	NT []byte `json:"nt,omitempty"` // 16 octets: MD4 of the password in UTF-16LE
	// CRAM, 32 octets, is the MD5 states after the inner and the outer key block of HMAC-MD5.
	CRAM []byte `json:"cram,omitempty"`
	// Clear is the password itself, for APOP; also for CRAM-MD5 if CRAM is missing.
	Clear string `json:"clear,omitempty"`
	SCRAM *SCRAM `json:"scram,omitempty"`
}

// SCRAM is what a server stores for SCRAM-SHA-256 (RFC 5802 §3, RFC 7677). An attacker who has it
// can try passwords against it, and can impersonate the server.
type SCRAM struct {
	Salt       []byte `json:"salt"`
	Iterations int    `json:"iterations"`
	StoredKey  []byte `json:"stored"` // 32 octets
	ServerKey  []byte `json:"server"` // 32 octets
}

// A proof checks the client's answer against the secrets of a mailbox. had is false if secrets is
// nil or lacks the kind that the mechanism needs. A proof must not change the secrets; it may
// remember the result for later.
type proof func(*Secrets) (had, right bool)

// ntHash is the NT hash, the key of all forms of NTLM.
func ntHash(password string) []byte {
	return ntlm.Hash(normalize(password))
}

// cramState returns all that HMAC-MD5 needs of its key: the two MD5 states after their first block,
// the inner one first.
func cramState(password string) []byte {
	key := []byte(normalize(password))
	if len(key) > md5.BlockSize {
		sum := md5.Sum(key)
		key = sum[:]
	}
	key = append(key, make([]byte, md5.BlockSize-len(key))...)
	state := make([]byte, 0, 2*md5.Size)
	for _, pad := range []byte{0x36, 0x5c} { // RFC 2104 §2
		block := make([]byte, md5.BlockSize)
		for i := range block {
			block[i] = key[i] ^ pad
		}
		state = append(state, md5State(block)...)
	}
	return state
}

// The binary form of the standard library's MD5: four octets of magic, the state, the unfinished
// block, and the length so far.
const md5Saved = "md5\x01"

func md5State(block []byte) []byte {
	h := md5.New()
	h.Write(block)
	// The error is always nil.
	saved, _ := h.(interface{ AppendBinary([]byte) ([]byte, error) }).AppendBinary(nil)
	return saved[len(md5Saved):][:md5.Size]
}

// md5From continues an MD5 from its state after one block.
func md5From(state, text []byte) []byte {
	saved := append([]byte(md5Saved), state...)
	saved = append(saved, make([]byte, md5.BlockSize)...)
	saved = append(saved, 0, 0, 0, 0, 0, 0, 0, md5.BlockSize)
	h := md5.New()
	if err := h.(interface{ UnmarshalBinary([]byte) error }).UnmarshalBinary(saved); err != nil {
		return nil // matches no digest
	}
	h.Write(text)
	return h.Sum(nil)
}

const scramIterations = 10_000 // RFC 7677 §4 requires at least 4096

// newSCRAM derives the SCRAM keys of a password with a new salt.
func newSCRAM(password string) *SCRAM {
	salt := make([]byte, saltSize)
	rand.Read(salt)
	return deriveSCRAM(password, salt, scramIterations)
}

// deriveSCRAM derives the keys of RFC 5802 §3.
func deriveSCRAM(password string, salt []byte, iterations int) *SCRAM {
	salted, err := pbkdf2.Key(sha256.New, saslPrep(password), salt, iterations, sha256.Size)
	if err != nil { // only if a FIPS mode forbids the salt; then no password matches
		salted = make([]byte, sha256.Size)
		rand.Read(salted)
	}
	stored := sha256.Sum256(hmacSHA256(salted, "Client Key"))
	return &SCRAM{Salt: salt, Iterations: iterations, StoredKey: stored[:],
		ServerKey: hmacSHA256(salted, "Server Key")}
}

func hmacSHA256(key []byte, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

// saslPrep is the mapping of RFC 4013 §2.1 and §2.2. It lets the characters pass that §2.3
// prohibits: CheckPassword refuses most of them, and a client that refuses the rest sends nothing.
func saslPrep(s string) string {
	return norm.NFKC.String(strings.Map(func(r rune) rune {
		switch {
		case r == '\u00ad', r == '\u034f', r == '\u1806', // RFC 3454 B.1
			r >= '\u180b' && r <= '\u180d', r >= '\u200b' && r <= '\u200d', r == '\u2060',
			r >= '\ufe00' && r <= '\ufe0f', r == '\ufeff':
			return -1
		case unicode.Is(unicode.Zs, r): // RFC 3454 C.1.2
			return ' '
		}
		return r
	}, normalize(s)))
}

// sameKey compares in constant time. An empty key equals no key, not even an empty one.
func sameKey(a, b []byte) bool {
	return len(a) > 0 && hmac.Equal(a, b)
}
