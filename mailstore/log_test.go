package mailstore

import "testing"

// TestCost checks that the records of each segment include the cost of their directories' blocks,
// whatever the other segment includes.
func TestCost(t *testing.T) {
	const id = "P3_20261122090047012300000042"
	l := &storeLog{}
	m := submission{id: id, dirs: []string{anna}, content: make([]byte, 100)}
	const first, next = diskBlock + costOfInode + costOfName + diskBlock, diskBlock + costOfInode + costOfName
	for n, step := range []struct {
		file, cut int // -1: none
		want      int64
	}{{0, -1, first}, {0, -1, next}, {1, -1, next}, {1, 0, next}, {0, -1, next}, {0, 1, next}, {0, 0, next}, {0, -1, first}} {
		if got := l.cost(m); got != step.want {
			t.Errorf("step %d: costs %d, want %d", n, got, step.want)
		}
		l.remember(step.file, recordInfo{id: id, dirs: m.linkDirs()})
		if step.cut >= 0 {
			l.emptied(step.cut)
		}
	}
	l.remember(1, recordInfo{id: id, dirs: []string{boss}})
	if got := l.cost(m); got != first {
		t.Errorf("charged in the other file only: costs %d, want %d", got, first)
	}
}
