package auth

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"testing"
)

// secretsOf returns all secrets of a password.
func secretsOf(password string) *Secrets {
	return &Secrets{NT: ntHash(password), CRAM: cramState(password), Clear: password, SCRAM: newSCRAM(password)}
}

func TestCRAMState(t *testing.T) {
	for _, password := range []string{"", "secret", "Grüße", string(bytes.Repeat([]byte("x"), 64)), string(bytes.Repeat([]byte("x"), 65)), string(bytes.Repeat([]byte("long"), 64))} {
		for _, text := range []string{"", "<1.2@host>", string(bytes.Repeat([]byte("y"), 300))} {
			mac := hmac.New(md5.New, []byte(password))
			mac.Write([]byte(text))
			if got := cramDigest(cramState(password), []byte(text)); !hmac.Equal(got, mac.Sum(nil)) {
				t.Errorf("%q %q: %x", password, text, got)
			}
		}
	}
}

// RFC 7677 §3: the keys follow from password, salt and iterations.
func TestDeriveSCRAM(t *testing.T) {
	salt, _ := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	k := deriveSCRAM("pencil", salt, 4096)
	if base64.StdEncoding.EncodeToString(k.StoredKey) != "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=" ||
		base64.StdEncoding.EncodeToString(k.ServerKey) != "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=" {
		t.Errorf("%+v", k)
	}
	if a, b := newSCRAM("pencil"), newSCRAM("pencil"); bytes.Equal(a.Salt, b.Salt) || bytes.Equal(a.StoredKey, b.StoredKey) || a.Iterations != 10_000 || len(a.Salt) != 16 {
		t.Errorf("%+v %+v", a, b)
	}
}

func TestSASLPrep(t *testing.T) {
	for in, want := range map[string]string{ // RFC 4013 §3, and what else clients do
		"I\u00adX":         "IX",
		"user":             "user",
		"USER":             "USER",
		"\u00aa":           "a",
		"\u2168":           "IX",
		"a\u00a0b\u2003":   "a b ",
		"Gru\u0308\xdfe":   "Gru\u00cc\u02c6\u00dfe", // not UTF-8 as a whole, so Windows-1252
		"Gru\u0308ße":      "Grüße",
		"\u200bzero\ufeff": "zero",
	} {
		if got := saslPrep(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestNTHashForms(t *testing.T) {
	want := hex.EncodeToString(ntHash("Grüße"))
	for _, form := range []string{"Gru\u0308ße", "Gr\xfc\xdfe"} {
		if got := hex.EncodeToString(ntHash(form)); got != want {
			t.Errorf("%q: %s", form, got)
		}
	}
}

func TestSecretsJSON(t *testing.T) {
	text, err := json.Marshal(&Secrets{})
	if err != nil || string(text) != "{}" {
		t.Errorf("%s, %v", text, err)
	}
	in := secretsOf("secret")
	text, _ = json.Marshal(in)
	var out Secrets
	if err := json.Unmarshal(text, &out); err != nil || !bytes.Equal(out.NT, in.NT) || !bytes.Equal(out.CRAM, in.CRAM) || out.Clear != in.Clear ||
		!bytes.Equal(out.SCRAM.StoredKey, in.SCRAM.StoredKey) || out.SCRAM.Iterations != in.SCRAM.Iterations {
		t.Errorf("%s became %+v, %v", text, out, err)
	}
}
