package arc

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"strconv"
	"strings"
)

// set is what one server added: its results, its signature of the message, and its seal.
type set struct{ results, signature, seal field }

// place returns where a field belongs in a set; nil for other fields.
func (s *set) place(f field) *field {
	switch strings.ToLower(f.name) {
	case "arc-authentication-results":
		return &s.results
	case "arc-message-signature":
		return &s.signature
	case "arc-seal":
		return &s.seal
	}
	return nil
}

// collect returns the sets of a message in order. broken means that one is incomplete or occurs
// twice: then there is no next number.
func collect(header []field) (sets []set, broken bool) {
	found := map[int]*set{}
	count := 0
	for _, f := range header {
		if new(set).place(f) == nil {
			continue
		}
		n, err := strconv.Atoi(f.tags()["i"])
		if err != nil || n < 1 || n > maxSets {
			return nil, true
		}
		if found[n] == nil {
			found[n] = &set{}
		}
		at := found[n].place(f)
		if at.name != "" {
			return nil, true
		}
		*at = f
		count++
	}
	for n := 1; n <= len(found); n++ {
		s := found[n]
		if s == nil {
			return nil, true
		}
		sets = append(sets, *s)
	}
	return sets, count != 3*len(sets)
}

// validate checks the chain (RFC 8617 §5.2). An error means that DNS did not answer.
func (m *parsed) validate(
	ctx context.Context, sets []set, lookup func(context.Context, string) ([]string, error),
) (Validation, error) {
	if len(sets) == 0 {
		return None, nil
	}
	for i, s := range sets {
		want := Pass
		if i == 0 {
			want = None
		}
		if Validation(s.seal.tags()["cv"]) != want {
			return Fail, nil
		}
	}
	keys := keyCache{lookup: lookup, known: map[string]crypto.PublicKey{}}
	newest := sets[len(sets)-1]
	if ok, err := m.signatureFits(ctx, newest.signature, &keys); !ok || err != nil {
		return Fail, err
	}
	for n := len(sets); n > 0; n-- {
		seal := sets[n-1].seal
		tags := seal.tags()
		if tags["h"] != "" { // RFC 8617 §4.1.3
			return Fail, nil
		}
		if ok, err := keys.fits(ctx, tags, sealData(sets[:n], seal)); !ok || err != nil {
			return Fail, err
		}
	}
	return Pass, nil
}

// signatureFits reports whether a message signature is that of the message.
func (m *parsed) signatureFits(ctx context.Context, f field, keys *keyCache) (bool, error) {
	tags := f.tags()
	headerForm, bodyForm, _ := strings.Cut(tags["c"], "/")
	hash := m.simpleBody
	if bodyForm == "relaxed" {
		hash = m.relaxedBody
	}
	want, err := base64.StdEncoding.DecodeString(tags["bh"])
	if err != nil || !bytes.Equal(want, hash) || tags["l"] != "" {
		return false, nil // a part of a body proves too little
	}
	names := strings.Split(strings.ToLower(tags["h"]), ":")
	from := false
	if len(names) > maxNames {
		return false, nil
	}
	for _, name := range names {
		if strings.HasPrefix(name, "arc-") {
			return false, nil
		}
		from = from || name == "from"
	}
	if !from {
		return false, nil
	}
	return keys.fits(ctx, tags, signedData(m.header, names, f, headerForm != "relaxed"))
}

// keyCache looks up public keys, each once.
type keyCache struct {
	lookup func(context.Context, string) ([]string, error)
	known  map[string]crypto.PublicKey // nil: no usable key
}

// fits reports whether the signature in tags is one of data.
func (k *keyCache) fits(ctx context.Context, tags map[string]string, data []byte) (bool, error) {
	signature, err := base64.StdEncoding.DecodeString(tags["b"])
	if err != nil || tags["d"] == "" || tags["s"] == "" {
		return false, nil
	}
	name := tags["s"] + "._domainkey." + tags["d"]
	key, ok := k.known[name]
	if !ok {
		records, err := k.lookup(ctx, name)
		if err != nil {
			return false, err
		}
		key = publicKey(records)
		k.known[name] = key
	}
	sum := sha256.Sum256(data)
	switch key := key.(type) {
	case *rsa.PublicKey:
		return tags["a"] == "rsa-sha256" && key.N.BitLen() >= 1024 &&
			rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature) == nil, nil
	case ed25519.PublicKey:
		return tags["a"] == "ed25519-sha256" && ed25519.Verify(key, sum[:], signature), nil
	}
	return false, nil
}

// publicKey parses the key records of DKIM (RFC 6376 §3.6.1). nil means no usable key.
func publicKey(records []string) crypto.PublicKey {
	for _, record := range records {
		tags := field{value: record}.tags()
		raw, err := base64.StdEncoding.DecodeString(tags["p"])
		if v := tags["v"]; err != nil || len(raw) == 0 || v != "" && v != "DKIM1" {
			continue
		}
		if tags["k"] == "ed25519" {
			if len(raw) == ed25519.PublicKeySize {
				return ed25519.PublicKey(raw)
			}
			continue
		}
		if key, err := x509.ParsePKIXPublicKey(raw); err == nil {
			return key
		}
		if key, err := x509.ParsePKCS1PublicKey(raw); err == nil {
			return key
		}
	}
	return nil
}
