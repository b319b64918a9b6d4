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

// Secrets are the verifiers of one mailbox that argon2id cannot stand in for,
// opened. The first three are as good as the password to whoever has them.
type Secrets struct {
	NT    []byte `json:"nt,omitempty"`    // 16 octets: MD4 of the password in UTF-16LE
	CRAM  []byte `json:"cram,omitempty"`  // 32 octets: the MD5 states after the inner and the outer key block of HMAC-MD5
	Clear string `json:"clear,omitempty"` // the password itself, for APOP, and for CRAM-MD5 where CRAM is missing
	SCRAM *SCRAM `json:"scram,omitempty"`
}

// SCRAM is what a server keeps for SCRAM-SHA-256 (RFC 5802 §3, RFC 7677). Who
// has it can try passwords against it, and pass for the server.
type SCRAM struct {
	Salt       []byte `json:"salt"`
	Iterations int    `json:"iterations"`
	StoredKey  []byte `json:"stored"` // 32 octets
	ServerKey  []byte `json:"server"` // 32 octets
}

// A proof is what a client sent that only one who knows the password could,
// held against the secrets of the mailbox it names. had is false when they are
// not of the kind that is needed, or nil. A proof changes nothing, but may
// remember that it was right.
type proof func(*Secrets) (had, right bool)

// ntHash is the key of all forms of NTLM.
func ntHash(password string) []byte {
	return ntlm.Hash(normalize(password))
}

// cramState is all that HMAC-MD5 needs to know of its key: the states of the
// two MD5s, the inner first, after their first block.
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

// The standard library's saved MD5: four octets of a name, the state, the
// unfinished block, and the length so far.
const md5Saved = "md5\x01"

func md5State(block []byte) []byte {
	h := md5.New()
	h.Write(block)
	saved, _ := h.(interface{ AppendBinary([]byte) ([]byte, error) }).AppendBinary(nil) // cannot fail
	return saved[len(md5Saved):][:md5.Size]
}

// md5From continues an MD5 of which one block is done.
func md5From(state, text []byte) []byte {
	saved := append([]byte(md5Saved), state...)
	saved = append(saved, make([]byte, md5.BlockSize)...)
	saved = append(saved, 0, 0, 0, 0, 0, 0, 0, md5.BlockSize)
	h := md5.New()
	if err := h.(interface{ UnmarshalBinary([]byte) error }).UnmarshalBinary(saved); err != nil {
		return nil // a hash that fits nothing
	}
	h.Write(text)
	return h.Sum(nil)
}

const scramIterations = 10_000 // RFC 7677 §4 asks for 4096 at least

// newSCRAM makes the verifier of a password, with a new salt.
func newSCRAM(password string) *SCRAM {
	salt := make([]byte, saltSize)
	rand.Read(salt)
	return deriveSCRAM(password, salt, scramIterations)
}

// deriveSCRAM is RFC 5802 §3.
func deriveSCRAM(password string, salt []byte, iterations int) *SCRAM {
	salted, err := pbkdf2.Key(sha256.New, saslPrep(password), salt, iterations, sha256.Size)
	if err != nil { // only where a FIPS mode forbids the salt: then no password fits
		salted = make([]byte, sha256.Size)
		rand.Read(salted)
	}
	stored := sha256.Sum256(hmacSHA256(salted, "Client Key"))
	return &SCRAM{Salt: salt, Iterations: iterations, StoredKey: stored[:], ServerKey: hmacSHA256(salted, "Server Key")}
}

func hmacSHA256(key []byte, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

// saslPrep is the mapping of RFC 4013 §2.1 and §2.2. What §2.3 prohibits passes:
// CheckPassword has refused the most of it, and a client that refuses the rest
// never gets here.
func saslPrep(s string) string {
	return norm.NFKC.String(strings.Map(func(r rune) rune {
		switch {
		case r == '\u00ad', r == '\u034f', r == '\u1806', r >= '\u180b' && r <= '\u180d', // RFC 3454 B.1
			r >= '\u200b' && r <= '\u200d', r == '\u2060', r >= '\ufe00' && r <= '\ufe0f', r == '\ufeff':
			return -1
		case unicode.Is(unicode.Zs, r): // RFC 3454 C.1.2
			return ' '
		}
		return r
	}, normalize(s)))
}

// sameKey compares in constant time; an empty key is the same as none.
func sameKey(a, b []byte) bool {
	return len(a) > 0 && hmac.Equal(a, b)
}
