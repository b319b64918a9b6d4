package auth

import (
	"crypto/md5"
	"crypto/rand"
	"fmt"
	"time"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
)

// newStamp is a time stamp as the greeting of a POP3 server has it for APOP, and
// the challenge of CRAM-MD5: a message id that is used once (RFC 1939 §7,
// RFC 2195 §2). Nobody can foretell it.
func newStamp(hostname string, now time.Time) string {
	return fmt.Sprintf("<%s.%d@%s>", rand.Text(), now.Unix(), hostname)
}

// apopProof is an APOP command's digest over the stamp of the greeting, angle
// brackets included (RFC 1939 §7). It is ErrMalformed when it is no MD5 in
// hexadecimal digits.
func apopProof(stamp string, digest string) (proof, error) {
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

// octetForms are what clients may take for the octets of a password: UTF-8, and
// the Windows code page of those from before Unicode.
func octetForms(password string) [][]byte {
	password = normalize(password)
	forms := [][]byte{[]byte(password)}
	if old, err := charmap.Windows1252.NewEncoder().String(password); err == nil && !utf8.ValidString(old) {
		forms = append(forms, []byte(old))
	}
	return forms
}
