package mailstore

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// newRand returns a random source and logs its seed for a failing test.
func newRand(t testing.TB) *rand.Rand {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// randomBody returns size bytes, or a few more, with all that is awkward in a message often in it.
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
