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
	maxSources = 10_000 // entries of the table
	maxPending = 10     // different guesses of a source that wait, or are being judged
	maxWrong   = 8      // wrong passwords remembered per source; the longest delay is reached before
)

// A throttle counts distinct wrong passwords by account and remote network.
// Guessing gets slower with every guess; a forgotten device that offers one old
// password for ever stays where it is, and so do its neighbours.
type throttle struct {
	delay, maxDelay, forget time.Duration

	mu       sync.Mutex
	sources  map[source]*guesses        // guarded by mu
	networks map[netip.Prefix]time.Time // guarded by mu; when a wrong login came from each last
}

// A source is who guesses, and whose password.
type source struct {
	account string
	remote  netip.Prefix
}

type guesses struct {
	wrong   []guess // oldest first
	pending map[uint64]int
	ready   time.Time // when the one that waits longest is judged
}

type guess struct {
	fingerprint uint64
	at          time.Time // the last time
}

// forget drops the guesses from before a time.
func (g *guesses) forget(before time.Time) {
	g.wrong = slices.DeleteFunc(g.wrong, func(w guess) bool { return w.at.Before(before) })
}

// newSource folds the ways to write one account name into one. It looks at the
// name only, never at the account, so that accounts that do not exist are
// counted alike.
func newSource(user string, remote netip.Addr) source {
	local := user[strings.LastIndexByte(user, '\\')+1:]
	local, _, _ = strings.Cut(local, "@")
	// A directory elsewhere may take many spellings for one.
	local = addr.FoldName(norm.NFKC.String(strings.Trim(local, `" `)))
	_, network := networkOf(remote)
	return source{strings.Clone(local[:min(len(local), addr.MaxLocal)]), network}
}

// begin counts a guess as wrong before it is checked, so that guesses made at
// the same time slow each other down, and says how long to wait before the
// check: nothing for the first password, and nothing for a password that is
// known to be wrong. The others wait one after the other, and when too many different
// ones do, ok is false and the guess is not to be made. The same password any number
// of times is one guess: ten programs of one user may log in at once. A guess that
// turns out right is taken back; each that was ok is ended.
func (t *throttle) begin(s source, fingerprint uint64) (wait time.Duration, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	g := t.sources[s]
	if g == nil {
		t.makeRoom(now)
		g = &guesses{pending: make(map[uint64]int)}
		t.sources[s] = g
	}
	if g.pending[fingerprint] == 0 && len(g.pending) >= maxPending {
		return 0, false
	}
	g.pending[fingerprint]++
	g.forget(now.Add(-t.forget))
	if i := slices.IndexFunc(g.wrong, func(w guess) bool { return w.fingerprint == fingerprint }); i >= 0 {
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

// end ends a guess that begin permitted.
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
	t.drop(s, g)
}

// drop forgets a source of which there is nothing to know. The caller holds the
// lock.
func (t *throttle) drop(s source, g *guesses) {
	if len(g.wrong) == 0 && len(g.pending) == 0 {
		delete(t.sources, s)
	}
}

// clean reports whether no guess of a source is wrong, or not judged yet.
func (t *throttle) clean(s source) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	g := t.sources[s]
	if g != nil {
		g.forget(time.Now().Add(-t.forget))
	}
	return g == nil || len(g.wrong) == 0
}

// noteWrong remembers that a wrong login came from a network.
func (t *throttle) noteWrong(network netip.Prefix) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if len(t.networks) >= maxSources {
		maps.DeleteFunc(t.networks, func(_ netip.Prefix, at time.Time) bool { return now.Sub(at) >= t.forget })
	}
	for old := range t.networks {
		if len(t.networks) < maxSources {
			break
		}
		delete(t.networks, old)
	}
	t.networks[network] = now
}

// suspect reports whether a wrong login came from a network of late.
func (t *throttle) suspect(network netip.Prefix) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	at, ok := t.networks[network]
	return ok && time.Since(at) < t.forget
}

func (t *throttle) wait(wrong int) time.Duration {
	if wrong == 0 {
		return 0
	}
	return min(t.delay<<(wrong-1), t.maxDelay)
}

func (t *throttle) takeBack(s source, fingerprint uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	g := t.sources[s]
	if g == nil {
		return
	}
	g.wrong = slices.DeleteFunc(g.wrong, func(w guess) bool { return w.fingerprint == fingerprint })
	t.drop(s, g)
}

// makeRoom keeps the table bounded. When everything in it is fresh, some entry
// goes: a flood of names must not cost memory.
func (t *throttle) makeRoom(now time.Time) {
	if len(t.sources) < maxSources {
		return
	}
	for s, g := range t.sources {
		g.forget(now.Add(-t.forget))
		t.drop(s, g)
	}
	for s := range t.sources {
		if len(t.sources) < maxSources {
			return
		}
		delete(t.sources, s)
	}
}
