// Package ntlm creates and checks the messages of NTLM ([MS-NLMP]). Windows programs use NTLM to
// log in without sending the password; mail programs call it "Secure Password Authentication".
//
// Start with [Server], the server side of one exchange; package auth calls it. [Client] is the
// other side, for tests and tools. The package is pure: nonces and times come from the caller, and
// it keeps no state beyond one exchange.
//
// All forms of NTLM are weak. An attacker who sees an exchange can try passwords against it at
// great speed, and one who has the hash needs no password. So the package must never log a hash or
// a response.
package ntlm

import (
	"crypto/des"
	"crypto/hmac"
	"crypto/md5"
	"encoding/binary"
	"errors"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	//lint:ignore SA1019 the protocol requires MD4
	"golang.org/x/crypto/md4"
	"golang.org/x/text/encoding/charmap"
)

// MaxMessage is the maximum length of a message, in octets. Real clients send a few hundred.
const MaxMessage = 8 << 10

// ErrMessage means that a message cannot be parsed.
var ErrMessage = errors.New("malformed NTLM message")

// The negotiate flags ([MS-NLMP] 2.2.2.5) that are used here.
const (
	flagUnicode      = 1 << 0
	flagOEM          = 1 << 1
	flagTarget       = 1 << 2 // the client asks for the target's name
	flagSign         = 1 << 4
	flagSeal         = 1 << 5
	flagNTLM         = 1 << 9
	flagAlwaysSign   = 1 << 15
	flagTargetDomain = 1 << 16
	flagTargetServer = 1 << 17
	flagSession      = 1 << 19 // NTLM2 session security, "extended session security"
	flagTargetInfo   = 1 << 23
	flag128          = 1 << 29
	flagKeyExchange  = 1 << 30
	flag56           = 1 << 31
)

// Version is the form of a response.
type Version int

// The versions of responses. An LM response, which is older than NTLM, never matches.
const (
	V1        Version = iota + 1 // NTLMv1: DES with the hash as key
	V1Session                    // NTLMv1 with NTLM2 session security, which adds a nonce of the client
	V2                           // NTLMv2, or LMv2 if the NT response is missing
)

// Hash is the NT hash of a password: MD4 over UTF-16LE, NTOWFv1 of [MS-NLMP] 3.3.1. An attacker who
// has it can log in by NTLM.
func Hash(password string) []byte {
	h := md4.New()
	h.Write(encodeUTF16(password))
	return h.Sum(nil)
}

// hashV2 is NTOWFv2 of [MS-NLMP] 3.3.2. The user name is upper-cased, the domain is not.
func hashV2(hash []byte, user, domain string) []byte {
	return hmacMD5(hash, encodeUTF16(strings.ToUpper(user)+domain))
}

// responseV1 is DESL of [MS-NLMP] 6: DES over the challenge with three keys, made of the hash and
// five zero octets after it.
func responseV1(hash, challenge []byte) []byte {
	var keys [21]byte
	copy(keys[:], hash)
	response := make([]byte, 24)
	for i := range 3 {
		block, _ := des.NewCipher(desKey(keys[7*i : 7*i+7])) // fails only for wrong key sizes
		block.Encrypt(response[8*i:], challenge)
	}
	return response
}

// desKey spreads 56 bits over 64. DES ignores the lowest bit of each octet.
func desKey(b []byte) []byte {
	bits := binary.BigEndian.Uint64(append([]byte{0}, b...))
	key := make([]byte, 8)
	for i := range key {
		key[i] = byte(bits>>(49-7*i)) << 1
	}
	return key
}

// responseV1Session is the NT response with NTLM2 session security.
func responseV1Session(hash, challenge, nonce []byte) []byte {
	sum := md5.Sum(append(append([]byte{}, challenge...), nonce...))
	return responseV1(hash, sum[:8])
}

func hmacMD5(key []byte, texts ...[]byte) []byte {
	mac := hmac.New(md5.New, key)
	for _, text := range texts {
		mac.Write(text)
	}
	return mac.Sum(nil)
}

func encodeUTF16(s string) []byte {
	var b []byte
	for _, unit := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, unit)
	}
	return b
}

func decodeUTF16(b []byte) (string, error) {
	if len(b)%2 != 0 {
		return "", ErrMessage
	}
	units := make([]uint16, len(b)/2)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	return string(utf16.Decode(units)), nil
}

// decodeOEM decodes UTF-8, or else Windows-1252: the server cannot know the client's code page.
func decodeOEM(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	s, _ := charmap.Windows1252.NewDecoder().String(string(b)) // it assigns every octet
	return s
}
