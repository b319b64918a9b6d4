//go:build crash

package crash

import (
	"cmp"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	diskSize = 1 << 30
	// killAfter is the longest time that the writers run.
	killAfter = 3 * time.Second
)

// fate is what is known of one message in one mailbox.
type fate struct {
	acknowledged bool
	trying       bool // a deletion was begun
	deleted      bool // and was confirmed
	held         int
	damaged      bool
}

// record is the guest's output, by "<id> <box>".
type record map[string]*fate

func (r record) of(id, box string) *fate {
	key := id + " " + box
	if r[key] == nil {
		r[key] = new(fate)
	}
	return r[key]
}

// TestPowerCut checks that all acknowledged messages survive a power cut.
func TestPowerCut(t *testing.T) {
	m := newMachine(t)
	rounds, err := strconv.Atoi(cmp.Or(os.Getenv("PILLARBOX_CRASH_ROUNDS"), "5"))
	must(t, err)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	disk, copied, log := filepath.Join(dir, "disk"), filepath.Join(dir, "copy"), filepath.Join(dir, "log")
	must(t, os.WriteFile(disk, nil, 0o600))
	must(t, os.Truncate(disk, diskSize))
	if out, err := exec.Command("mkfs."+m.fsType, "-q", disk).CombinedOutput(); err != nil {
		t.Fatalf("mkfs: %v: %s", err, out)
	}
	known := make(record)
	for round := range rounds {
		start := time.Now()
		// The machine works on a copy: cutPower makes the disk itself from the recorded writes.
		copySparse(t, disk, copied)
		must(t, os.WriteFile(log, nil, 0o600))
		said := known.hear(t, m.boot(t, "write", copied, log, 1+time.Duration(rng.Int64N(int64(killAfter)))))
		flushed, kept, lost := cutPower(t, disk, log, rng)
		must(t, os.WriteFile(log, nil, 0o600))
		held := known.hear(t, m.boot(t, "check", disk, log, 0))
		t.Logf("round %d, %.1f s: %d acknowledged, %d deleted; %d requests up to the last flush, then %d sectors kept, "+
			"%d lost; %d held",
			round+1, time.Since(start).Seconds(), said["A"], said["D"], flushed, kept, lost, held["H"])
		if held["done"] != 1 {
			t.Fatal("the machine did not end its report")
		}
		known.compare(t)
	}
}

// hear parses the guest's output and counts its kinds of lines.
func (r record) hear(t *testing.T, lines []string) (count map[string]int) {
	t.Helper()
	count = make(map[string]int)
	for _, line := range lines {
		word := strings.Fields(line)
		if len(word) == 0 {
			continue
		}
		count[word[0]]++
		switch {
		case word[0] == "A" && len(word) == 3:
			for box := range strings.SplitSeq(word[2], ",") {
				r.of(word[1], box).acknowledged = true
			}
		case word[0] == "T" && len(word) == 3:
			r.of(word[1], word[2]).trying = true
		case word[0] == "D" && len(word) == 3:
			r.of(word[1], word[2]).deleted = true
		case word[0] == "H" && len(word) == 4:
			f := r.of(word[1], word[2])
			f.held++
			f.damaged = f.damaged || word[3] != "whole"
		case line != "ready" && line != "done":
			t.Errorf("the guest says: %s", line)
		}
	}
	return count
}

// compare checks the messages found against what was promised, and records them for the next round.
func (r record) compare(t *testing.T) {
	t.Helper()
	wrong := make(map[string][]string)
	for key, f := range r {
		switch {
		case f.damaged:
			wrong["damaged"] = append(wrong["damaged"], key)
		case f.held > 1:
			wrong["there more than once"] = append(wrong["there more than once"], key)
		case f.deleted && f.held > 0:
			wrong["deleted and back"] = append(wrong["deleted and back"], key)
		case f.acknowledged && !f.trying && f.held == 0:
			wrong["acknowledged and gone"] = append(wrong["acknowledged and gone"], key)
		}
		// The messages found must stay, and missing ones must stay away, acknowledged or not.
		*f = fate{acknowledged: f.held > 0, deleted: f.held == 0}
	}
	for what, keys := range wrong {
		t.Errorf("%s: %d messages, such as %q", what, len(keys), keys[:min(3, len(keys))])
	}
}

// copySparse copies a file and keeps its holes.
func copySparse(t *testing.T, from, to string) {
	t.Helper()
	_ = os.Remove(to)
	src, err := os.Open(from)
	must(t, err)
	defer src.Close()
	dst, err := os.Create(to)
	must(t, err)
	defer dst.Close()
	buf, zeros := make([]byte, 1<<20), make([]byte, 1<<20)
	for at := int64(0); ; at += int64(len(buf)) {
		n, err := io.ReadFull(src, buf)
		if n > 0 && string(buf[:n]) != string(zeros[:n]) {
			_, err := dst.WriteAt(buf[:n], at)
			must(t, err)
		}
		if err != nil {
			break
		}
	}
	must(t, dst.Truncate(diskSize))
	must(t, dst.Close())
	if fi, err := os.Stat(to); err != nil || fi.Size() != diskSize {
		t.Fatal(fmt.Errorf("copy: %v, %w", fi, err))
	}
}
