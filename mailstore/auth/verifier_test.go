package auth

import (
	"errors"
	"strings"
	"testing"
)

func TestHashPassword(t *testing.T) {
	for _, c := range []struct {
		name, set, given string
		want             bool
	}{
		{"same", "correct horse", "correct horse", true},
		{"other", "correct horse", "correct horsf", false},
		{"spaces count", "a b ", "a b", false},
		{"empty", "secret", "", false},
		{"decomposed", "caf\u00e9", "cafe\u0301", true},
		{"code page", "caf\u00e9\u20ac", "caf\xe9\x80", true},
		{"set decomposed", "cafe\u0301", "caf\u00e9", true},
		{"case counts", "Secret", "secret", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := HashPassword(c.set)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(s, "$argon2id$v=19$m=19456,t=2,p=1$") {
				t.Errorf("verifier %s", s)
			}
			v, err := parseVerifier(s)
			if err != nil {
				t.Fatal(err)
			}
			if got := v.matches(normalize(c.given)); got != c.want {
				t.Errorf("matches = %v, want %v", got, c.want)
			}
		})
	}
}

func TestHashPasswordSalts(t *testing.T) {
	a, _ := HashPassword("secret")
	b, _ := HashPassword("secret")
	if a == b {
		t.Error("two verifiers of one password are equal")
	}
}

func TestCheckPassword(t *testing.T) {
	for password, want := range map[string]bool{
		"x":                      true,
		"two words":              true,
		"pa\u00df":               true,
		"":                       false,
		"a\x00b":                 false,
		"a\r\n":                  false,
		"\u0085":                 false,
		"\xff":                   false,
		strings.Repeat("x", 256): true,
		strings.Repeat("x", 257): false,
	} {
		err := CheckPassword(password)
		if (err == nil) != want || err != nil && !errors.Is(err, ErrPassword) {
			t.Errorf("CheckPassword(%.20q) = %v", password, err)
		}
		if _, err := HashPassword(password); (err == nil) != want {
			t.Errorf("HashPassword(%.20q): %v", password, err)
		}
	}
}

// From the reference implementation of Argon2:
// echo -n password | argon2 somesalt -id -t 2 -m 16 -p 1 -l 32
const foreign = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"

func TestForeignVerifier(t *testing.T) {
	v, err := parseVerifier(foreign)
	if err != nil {
		t.Fatal(err)
	}
	if !v.matches("password") || v.matches("Password") {
		t.Error("the verifier of another implementation is not understood")
	}
}

const salt, key = "c29tZXNhbHQ", "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"

func TestParseVerifierRefuses(t *testing.T) {
	for _, s := range []string{
		"",
		"plaintext",
		"$1$salt$hash",
		"{SHA}abc",
		"$argon2i$v=19$m=65536,t=2,p=1$" + salt + "$" + key,
		"$argon2id$v=16$m=65536,t=2,p=1$" + salt + "$" + key,
		"$argon2id$m=65536,t=2,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=65536,t=2$" + salt + "$" + key,
		"$argon2id$v=19$m=0,t=2,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=7,t=2,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=65536,t=0,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=65536,t=2,p=0$" + salt + "$" + key,
		"$argon2id$v=19$m=65536,t=2,p=255$" + salt + "$" + key,
		"$argon2id$v=19$m=65536,t=2,p=257$" + salt + "$" + key,
		"$argon2id$v=19$m=1048576,t=2,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=4294967297,t=2,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=65536,t=1000000,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=-1,t=2,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=065536,t=2,p=1$" + salt + "$" + key,
		"$argon2id$v=19$ m=65536,t=2,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=65536,t=2,p=1,x$" + salt + "$" + key,
		"$argon2id$v=19$m=65536,t=2,p=1$" + salt + "==$" + key,
		"$argon2id$v=19$m=65536,t=2,p=1$" + salt + "$",
		"$argon2id$v=19$m=65536,t=2,p=1$$" + key,
		"$argon2id$v=19$m=65536,t=2,p=1$" + salt + "$" + key + "$",
		"$argon2id$v=19$m=65536,t=2,p=1$" + salt + "$" + strings.Repeat("A", 500),
	} {
		if v, err := parseVerifier(s); err == nil {
			t.Errorf("parseVerifier(%.80q) took it: %+v", s, v)
		}
	}
}

// A parsed verifier is affordable, and formats to the same text.
func FuzzParseVerifier(f *testing.F) {
	f.Add(foreign)
	f.Add("$argon2id$v=19$m=8,t=1,p=1$" + salt + "$" + key)
	f.Fuzz(func(t *testing.T, s string) {
		v, err := parseVerifier(s)
		if err != nil {
			return
		}
		if v.String() != s {
			t.Errorf("%q became %q", s, v.String())
		}
		if v.memory > 256<<10 || v.time > 16 || v.time < 1 || v.threads < 1 || len(v.key) > 64 {
			t.Errorf("%q is not affordable", s)
		}
	})
}
