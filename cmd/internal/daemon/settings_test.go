package daemon

import "testing"

func TestMostConnections(t *testing.T) {
	for files, want := range map[uint64]int{64: 13, 1024: 333, 65536: 21837, 0: 1} {
		if got := MostConnections(files); got != want {
			t.Errorf("%d files: %d connections, want %d", files, got, want)
		}
		// Each connection and each attempt may have a file open, beside what the server needs.
		if files >= 64 && 2*MostConnections(files)+2*mostAttempts(files)+24 > int(files) {
			t.Errorf("%d files are too few for %d connections and %d attempts", files, MostConnections(files), mostAttempts(files))
		}
	}
}
