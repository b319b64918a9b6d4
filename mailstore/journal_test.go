package mailstore

import "testing"

// TestCost: the records in each file of the log pay for the blocks of the directories that they need, whatever is in the
// other file.
func TestCost(t *testing.T) {
	const id = "P3_20261122090047012300000042"
	j := &journal{}
	m := submission{id: id, dirs: []string{anna}, content: make([]byte, 100)}
	const first, next = diskBlock + costOfInode + costOfName + diskBlock, diskBlock + costOfInode + costOfName
	for n, step := range []struct {
		file, cut int // -1: none
		want      int64
	}{{0, -1, first}, {0, -1, next}, {1, -1, next}, {1, 0, next}, {0, -1, next}, {0, 1, next}, {0, 0, next}, {0, -1, first}} {
		if got := j.cost(m); got != step.want {
			t.Errorf("step %d: costs %d, want %d", n, got, step.want)
		}
		j.note(step.file, noted{id: id, dirs: m.places()})
		if step.cut >= 0 {
			j.cut(step.cut)
		}
	}
	j.note(1, noted{id: id, dirs: []string{boss}})
	if got := j.cost(m); got != first {
		t.Errorf("paid in the other file only: costs %d, want %d", got, first)
	}
}
