package ldap

import (
	"crypto/hmac"
	"crypto/sha256"
	"sync"
	"time"
)

// maxKept bounds each of the caches; an office has fewer people.
const maxKept = 10_000

// kept remembers answers by question, no more than maxKept.
type kept[T any] struct {
	mu  sync.Mutex
	all map[string]T // guarded by mu
}

func (k *kept[T]) get(question string) (T, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	v, ok := k.all[question]
	return v, ok
}

func (k *kept[T]) put(question string, v T) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.all == nil {
		k.all = make(map[string]T)
	}
	for old := range k.all {
		if _, there := k.all[question]; there || len(k.all) < maxKept {
			break
		}
		delete(k.all, old)
	}
	k.all[question] = v
}

// dropIf forgets an answer that is as the caller thinks.
func (k *kept[T]) dropIf(question string, is func(T) bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if v, ok := k.all[question]; ok && is(v) {
		delete(k.all, question)
	}
}

// found is the answer to "who is it": a person, nobody, or an entry that cannot be used.
type found struct {
	person Person
	nobody bool
	bad    error // an ErrUnusable; nil: none
	at     time.Time
}

// forNobody is how long the answer "nobody" holds, and that of an unusable entry: long enough for one who knocks
// at every door, too short for a new colleague to notice.
const forNobody = 10 * time.Second

// proven is a password that was right. There is one for each login, so that the
// new one drives out the old.
type proven struct {
	digest [sha256.Size]byte
	person Person
	at     time.Time
}

func (p proven) by(digest [sha256.Size]byte) bool { return hmac.Equal(p.digest[:], digest[:]) }

// recent reports whether at is less than d ago, and not in the future: a clock that
// was set back must not keep an answer for ever.
func recent(at time.Time, d time.Duration) bool {
	age := time.Since(at)
	return age >= 0 && age < d
}
