package auth

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/unicode/norm"
)

// MaxPassword is the maximum length of a password, in octets.
const MaxPassword = 256

// ErrPassword is the class of the errors of CheckPassword. Their text is for the person who chose
// the password.
var ErrPassword = errors.New("unsuitable password")

// GeneratePassword returns a new password of 80 random bits, in letters and digits that are not
// mistaken for each other: "abcd-efgh-2345-mnop".
func GeneratePassword() string {
	return inGroups(strings.ToLower(rand.Text()[:appLength]))
}

// CheckPassword reports whether every protocol can carry a password: not empty, at most MaxPassword
// octets, valid UTF-8, and no control characters, which POP3 and SASL PLAIN cannot carry. It does
// not judge the password's strength; see Rules.
func CheckPassword(password string) error {
	switch {
	case password == "":
		return fmt.Errorf("%w: it is empty", ErrPassword)
	case len(password) > MaxPassword:
		return fmt.Errorf("%w: it is longer than %d octets", ErrPassword, MaxPassword)
	case !utf8.ValidString(password):
		return fmt.Errorf("%w: it is not valid UTF-8", ErrPassword)
	case strings.ContainsFunc(password, unicode.IsControl):
		return fmt.Errorf("%w: it contains a control character", ErrPassword)
	}
	return nil
}

// The parameters of new verifiers: of the OWASP recommendations for argon2id, the one with the
// least memory per login.
const (
	newMemory  = 19456 // KiB
	newTime    = 2
	newThreads = 1
	saltSize   = 16
	keySize    = 32
)

// HashPassword returns the verifier of a password for the account file: argon2id in the PHC string
// format ($argon2id$v=19$m=…,t=…,p=…$salt$hash) over the password in Unicode normal form C. It
// fails only for passwords that CheckPassword refuses.
func HashPassword(password string) (string, error) {
	if err := CheckPassword(password); err != nil {
		return "", err
	}
	v := randomVerifier()
	v.key = v.derive(normalize(password))
	return v.String(), nil
}

// normalize converts a password to UTF-8 in normal form C. Programs older than Unicode, such as
// Outlook Express, send Windows-1252, and some systems send decomposed letters.
func normalize(password string) string {
	if !utf8.ValidString(password) {
		// Windows-1252 assigns every octet, so decoding cannot fail.
		password, _ = charmap.Windows1252.NewDecoder().String(password)
	}
	return norm.NFC.String(password)
}

// A verifier is the password hash of an account file, parsed.
type verifier struct {
	memory  uint32 // KiB
	time    uint32
	threads uint8
	salt    []byte
	key     []byte
}

// randomVerifier returns a verifier with the parameters of new ones, which no password matches.
func randomVerifier() verifier {
	v := verifier{newMemory, newTime, newThreads, make([]byte, saltSize), make([]byte, keySize)}
	rand.Read(v.salt)
	rand.Read(v.key)
	return v
}

func (v verifier) derive(password string) []byte {
	return argon2.IDKey([]byte(password), v.salt, v.time, v.memory, v.threads, uint32(len(v.key)))
}

func (v verifier) matches(password string) bool {
	return subtle.ConstantTimeCompare(v.derive(password), v.key) == 1
}

func (v verifier) String() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version,
		v.memory, v.time, v.threads,
		base64.RawStdEncoding.EncodeToString(v.salt), base64.RawStdEncoding.EncodeToString(v.key))
}

// errVerifier means that the account has no verifier, or none that this version supports.
var errVerifier = errors.New("no usable password is stored")

// parseVerifier accepts only parameters that are safe and affordable: an edited account file must
// not make every login cost a gigabyte.
func parseVerifier(s string) (verifier, error) {
	var v verifier
	parts := strings.Split(s, "$")
	if len(s) > 512 || len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" ||
		parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return v, errVerifier
	}
	_, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &v.memory, &v.time, &v.threads)
	if err != nil {
		return v, errVerifier
	}
	var err1, err2 error
	v.salt, err1 = base64.RawStdEncoding.Strict().DecodeString(parts[4])
	v.key, err2 = base64.RawStdEncoding.Strict().DecodeString(parts[5])
	switch {
	case err1 != nil, err2 != nil,
		len(v.salt) < 8, len(v.salt) > 64,
		len(v.key) < 16, len(v.key) > 64,
		v.threads < 1, v.threads > 16,
		v.time < 1, v.time > 16,
		v.memory < 8*uint32(v.threads), v.memory > 256<<10,
		v.String() != s: // Sscanf tolerates leading zeros, spaces and more
		return verifier{}, errVerifier
	}
	return v, nil
}
