package mailstore

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// newRand returns a random source and logs its seed if the test fails.
func newRand(t testing.TB) *rand.Rand {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// randomBody returns about size bytes with many awkward sequences.
func randomBody(rng *rand.Rand, size int) string {
	awkward := []string{"\r\n", "\r\n", "\r\n.", "\r\n..\r\n", ".", "\n", "\r", "\x00", "\xff\xfe", "ä", " ", "From "}
	var b strings.Builder
	for b.Len() < size {
		if rng.IntN(4) > 0 {
			b.WriteString("plain text"[rng.IntN(10):])
		} else {
			b.WriteString(awkward[rng.IntN(len(awkward))])
		}
	}
	return b.String()
}
