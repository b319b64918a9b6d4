package auth

import (
	"crypto/md5"
	"crypto/rand"
	"fmt"
	"time"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
)

// newStamp returns the time stamp for APOP in the greeting of a POP3 server, or the challenge of
// CRAM-MD5. It is a message-id that is used once (RFC 1939 §7, RFC 2195 §2) and cannot be
// predicted.
func newStamp(hostname string, now time.Time) string {
	return fmt.Sprintf("<%s.%d@%s>", rand.Text(), now.Unix(), hostname)
}

// apopProof is the proof of an APOP command: an MD5 over the greeting's stamp, angle brackets
// included, and the password (RFC 1939 §7). The error is ErrMalformed unless digest is an MD5 in
// hexadecimal digits.
func apopProof(stamp, digest string) (proof, error) {
	sum, err := hexMD5(digest)
	if err != nil {
		return nil, err
	}
	return func(s *Secrets) (had, right bool) {
		if s == nil || s.Clear == "" {
			return false, false
		}
		for _, password := range octetForms(s.Clear) {
			want := md5.Sum(append([]byte(stamp), password...))
			right = sameKey(want[:], sum) || right
		}
		return true, right
	}, nil
}

// octetForms returns the octets that clients may use for a password: UTF-8, and Windows-1252 for
// programs older than Unicode.
func octetForms(password string) [][]byte {
	password = normalize(password)
	forms := [][]byte{[]byte(password)}
	old, err := charmap.Windows1252.NewEncoder().String(password)
	if err == nil && !utf8.ValidString(old) {
		forms = append(forms, []byte(old))
	}
	return forms
}
