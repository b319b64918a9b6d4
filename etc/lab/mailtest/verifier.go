package mailtest

import (
	"encoding/base64"
	"fmt"

	"golang.org/x/crypto/argon2"
)

// CheapVerifier returns a verifier of the password that costs as little as the server accepts. The parameters of
// new passwords cost 19 MiB for each login, which the race detector makes many times as slow.
func CheapVerifier(password string) string {
	salt := []byte("somesalt")
	key := argon2.IDKey([]byte(password), salt, 1, 8, 1, 32)
	enc := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=19$m=8,t=1,p=1$%s$%s", enc(salt), enc(key))
}
