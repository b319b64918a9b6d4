package mailtest

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// PowerMode selects how much unsynced data survives a power cut.
type PowerMode int

// The modes of PowerFS.Restart. "Any content" means one of: the synced content, the newest, its
// first sectors, zeros where the file has grown, or any mixture of old and new sectors.
const (
	Nothing    PowerMode = iota // only synced data
	Everything                  // all data
	// Ordered keeps the changes of names up to some point, as a file system's journal does, and any
	// content.
	Ordered
	Chaos // any changes of names; any content
)

// String returns the mode's name.
func (m PowerMode) String() string {
	return [...]string{"nothing", "everything", "ordered", "chaos"}[m]
}

// Restart returns the file system after the power is restored. It is a new PowerFS on which
// everything is certainly on the disk and no operation fails. rng makes the choices; Nothing and
// Everything need none. Files without a name are gone. Restart may be called repeatedly, also while
// the power is on; with Everything it then makes a copy.
func (p *PowerFS) Restart(mode PowerMode, rng *rand.Rand) *PowerFS {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := &restart{
		mode:  mode,
		rng:   rng,
		kept:  make(map[*change]bool),
		nodes: make(map[*node]*node),
	}
	switch mode {
	case Ordered:
		r.last = p.floor + rng.IntN(p.seq-p.floor+1)
	case Chaos:
		r.odds = []float64{0.1, 0.5, 0.9}[rng.IntN(3)]
	}
	found := &PowerFS{SyncNames: p.SyncNames, lastID: p.lastID, now: p.now}
	found.root = r.copy(p.root)
	found.limits.size = p.limits.size
	found.everyNode(found.charge)
	return found
}

// restart is one choice of the changes that survive.
type restart struct {
	mode PowerMode
	rng  *rand.Rand
	last int     // Ordered: the last change that survives
	odds float64 // Chaos: the chance of each change
	kept map[*change]bool
	// nodes are the copies so far; nil while a node is being copied.
	nodes map[*node]*node
}

// happened chooses whether one change survives.
func (r *restart) happened(seq int) bool {
	switch r.mode {
	case Everything:
		return true
	case Ordered:
		return seq <= r.last
	case Chaos:
		return r.rng.Float64() < r.odds
	}
	return false
}

// keeps reports whether a change of a name survives. The answer for one change never varies.
func (r *restart) keeps(c *change) bool {
	kept, asked := r.kept[c]
	switch {
	case c.done:
		return true
	case asked:
		return kept
	case c.comes != nil && c.comes.goes == c:
		kept = r.keeps(c.comes)
	case c.comes != nil:
		kept = r.keeps(c.comes) && r.happened(c.seq)
	default:
		kept = r.happened(c.seq)
	}
	r.kept[c] = kept
	return kept
}

// copy returns the surviving node.
func (r *restart) copy(n *node) *node {
	found := &node{id: n.id, mode: n.mode, mtime: n.mtime}
	r.nodes[n] = found
	if n.data != nil {
		b := n.data.found(r.mode, r.rng, n.data.before == nil || r.happened(n.data.truncSeq))
		found.data = &content{now: b, disk: b.clone()}
		return found
	}
	entries := make(map[string]*node, len(n.dir.synced))
	for name, child := range n.dir.synced {
		entries[name] = child
	}
	for _, c := range n.dir.pending {
		if r.keeps(c) {
			apply(entries, c)
		}
	}
	found.dir = &directory{
		entries: make(map[string]*node, len(entries)),
		synced:  make(map[string]*node, len(entries)),
	}
	for _, name := range inOrder(entries) {
		old := entries[name]
		child, copied := r.nodes[old]
		if copied && old.dir != nil {
			continue // a directory has one name, even after several half-lost moves
		}
		if !copied {
			child = r.copy(old)
		}
		child.links++
		found.dir.entries[name], found.dir.synced[name] = child, child
	}
	return found
}

// CutEverywhere cuts the power at every step of do in turn. Each run starts from a copy of disk. do
// works on that copy and returns check, which compares a surviving file system with the results
// that do got before the power cut. check is called once for Nothing and Everything, and rounds
// times for Ordered and Chaos, each time with another choice. The last run is not interrupted.
func CutEverywhere(
	t testing.TB, disk *PowerFS, rounds int,
	do func(*PowerFS) (check func(found *PowerFS) error),
) {
	t.Helper()
	for n := 1; ; n++ {
		fsys := disk.Restart(Everything, nil)
		fsys.Start(Nth(n, ErrPowerCut))
		check := do(fsys)
		ops, over := fsys.Ops(), !fsys.Off()
		fsys.Cut()
		at := "at the end"
		if !over {
			at = fmt.Sprintf("in step %d, %v", n, ops[n-1])
		}
		for seed := range 2 + 2*rounds {
			mode := Nothing + PowerMode(min(seed, 2+seed%2))
			rng := rand.New(rand.NewPCG(uint64(seed), uint64(n)))
			if err := check(fsys.Restart(mode, rng)); err != nil {
				t.Errorf("power cut %s; mode %v, choice %d: %v", at, mode, seed, err)
				break
			}
		}
		if over {
			return
		}
	}
}
