package auth

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/text/unicode/norm"

	"pillarbox/mailstore/addr"
)

const (
	maxSources = 10_000 // entries of each table
	maxPending = 10     // different guesses of one source that wait or are being judged
	// maxWrong is how many wrong passwords are remembered for one source. The delay reaches its
	// maximum earlier.
	maxWrong = 8
)

// A throttle counts distinct wrong passwords by account and remote network. Each further guess
// waits longer. A forgotten device that repeats one old password counts once, so it slows down
// neither itself nor its neighbours.
type throttle struct {
	delay, maxDelay, forget time.Duration

	mu       sync.Mutex
	sources  map[source]*guesses        // guarded by mu
	networks map[netip.Prefix]time.Time // guarded by mu; time of the latest wrong login from each
}

// A source is an account and the network that guesses its password.
type source struct {
	account string
	remote  netip.Prefix
}

type guesses struct {
	wrong   []guess // oldest first
	pending map[uint64]int
	ready   time.Time // when the last waiting guess will be judged
}

type guess struct {
	fingerprint uint64
	at          time.Time // when it was last made
}

// forget drops guesses older than before.
func (g *guesses) forget(before time.Time) {
	g.wrong = slices.DeleteFunc(g.wrong, func(w guess) bool { return w.at.Before(before) })
}

// newSource maps the spellings of one account name to one source. It uses only the name and never
// the account, so that unknown accounts are counted in the same way.
func newSource(user string, remote netip.Addr) source {
	local := user[strings.LastIndexByte(user, '\\')+1:]
	local, _, _ = strings.Cut(local, "@")
	// An external directory may accept many spellings of one name.
	local = addr.FoldName(norm.NFKC.String(strings.Trim(local, `" `)))
	_, network := networkOf(remote)
	return source{strings.Clone(local[:min(len(local), addr.MaxLocal)]), network}
}

// begin registers a guess, and returns how long it must wait before it is judged. It counts the
// guess as wrong until retract, so that guesses made at the same time delay each other.
//
// The first guess and a repeat of a known wrong one do not wait. The others wait one after the
// other. If too many different guesses wait already, ok is false and the guess must not be judged.
// Equal guesses are one guess: ten programs of one user may log in at once. For a guess with ok,
// the caller must call end, and before that retract unless the guess was judged wrong.
func (t *throttle) begin(s source, fingerprint uint64) (wait time.Duration, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	g := t.sources[s]
	if g == nil {
		t.evictLocked(now)
		g = &guesses{pending: make(map[uint64]int)}
		t.sources[s] = g
	}
	if g.pending[fingerprint] == 0 && len(g.pending) >= maxPending {
		return 0, false
	}
	g.pending[fingerprint]++
	g.forget(now.Add(-t.forget))
	if i := slices.IndexFunc(g.wrong,
		func(w guess) bool { return w.fingerprint == fingerprint }); i >= 0 {
		g.wrong[i].at = now
		return 0, true
	}
	if g.ready.Before(now) {
		g.ready = now
	}
	g.ready = g.ready.Add(t.wait(len(g.wrong)))
	if len(g.wrong) == maxWrong {
		g.wrong = slices.Delete(g.wrong, 0, 1)
	}
	g.wrong = append(g.wrong, guess{fingerprint, now})
	return g.ready.Sub(now), true
}

// end ends a guess that begin accepted.
func (t *throttle) end(s source, fingerprint uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	g := t.sources[s]
	if g == nil {
		return
	}
	if g.pending[fingerprint]--; g.pending[fingerprint] <= 0 {
		delete(g.pending, fingerprint)
	}
	t.dropLocked(s, g)
}

// dropLocked forgets a source without any guess.
func (t *throttle) dropLocked(s source, g *guesses) {
	if len(g.wrong) == 0 && len(g.pending) == 0 {
		delete(t.sources, s)
	}
}

// noneWrong reports whether a source has no guess that is wrong or not yet judged.
func (t *throttle) noneWrong(s source) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	g := t.sources[s]
	if g != nil {
		g.forget(time.Now().Add(-t.forget))
	}
	return g == nil || len(g.wrong) == 0
}

// markNetwork records that a wrong login came from a network.
func (t *throttle) markNetwork(network netip.Prefix) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if len(t.networks) >= maxSources {
		maps.DeleteFunc(t.networks,
			func(_ netip.Prefix, at time.Time) bool { return now.Sub(at) >= t.forget })
	}
	for old := range t.networks {
		if len(t.networks) < maxSources {
			break
		}
		delete(t.networks, old)
	}
	t.networks[network] = now
}

// suspect reports whether a wrong login came from a network recently.
func (t *throttle) suspect(network netip.Prefix) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	at, ok := t.networks[network]
	return ok && time.Since(at) < t.forget
}

// wait returns the delay after a number of wrong guesses.
func (t *throttle) wait(wrong int) time.Duration {
	if wrong == 0 {
		return 0
	}
	return min(t.delay<<(wrong-1), t.maxDelay)
}

// retract forgets a guess that was right or was not judged.
func (t *throttle) retract(s source, fingerprint uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	g := t.sources[s]
	if g == nil {
		return
	}
	g.wrong = slices.DeleteFunc(g.wrong, func(w guess) bool { return w.fingerprint == fingerprint })
	t.dropLocked(s, g)
}

// evictLocked keeps the table bounded, so that a flood of names cannot use up the memory. If no
// entry is old, it drops arbitrary ones.
func (t *throttle) evictLocked(now time.Time) {
	if len(t.sources) < maxSources {
		return
	}
	for s, g := range t.sources {
		g.forget(now.Add(-t.forget))
		t.dropLocked(s, g)
	}
	for s := range t.sources {
		if len(t.sources) < maxSources {
			return
		}
		delete(t.sources, s)
	}
}
