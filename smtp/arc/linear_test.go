package arc

import (
	"crypto/ed25519"
	"strings"
	"testing"

	"pillarbox/etc/lab/mailtest"
)

func TestSealLinear(t *testing.T) {
	z := zone{}
	o := z.sealer(t, "first.example", ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	mailtest.Linear(t, func(text string) {
		Seal(t.Context(), strings.NewReader(text), o)
	}, append(mailtest.Messages(), mailtest.Headers("ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results")...)...)
}
