package daemon

import "testing"

func TestMostConnections(t *testing.T) {
	for files, want := range map[uint64]int{64: 26, 1024: 666, 65536: 43674, 0: 1, ^uint64(0): 1 << 30} {
		if got := mostConnections(files); got != want {
			t.Errorf("%d files: %d connections, want %d", files, got, want)
		}
	}
}
