package mailtest_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/durable"
)

// notes is the smallest user of a durable.Log: each note is a file that is not synced.
type notes struct {
	fsys durable.FS
	log  *durable.Log
}

// openNotes opens the log and writes its notes again.
func openNotes(fsys durable.FS) (*notes, error) {
	n := &notes{fsys: fsys}
	l, err := durable.OpenLog(fsys, "log", durable.LogOptions{Segment: 6 * 4096})
	if err != nil {
		return nil, err
	}
	n.log = l
	if err := l.Replay(n.redo, fsys.SyncAll); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return n, nil
}

func (n *notes) redo(record []byte) error {
	name, text, _ := strings.Cut(string(record), " ")
	return durable.WriteFile(n.fsys, "d/"+name, []byte(text), 0o600)
}

func (n *notes) add(name, text string) error {
	n.log.Announce()
	_, applied, err := n.log.Append(0, []byte(name), []byte(" "), []byte(text))
	if err != nil {
		if errors.Is(err, durable.ErrLogFull) || errors.Is(err, durable.ErrRecordSize) {
			return durable.WriteFile(n.fsys, "d/"+name, []byte(text), 0o600)
		}
		return err
	}
	defer applied()
	f, err := n.fsys.OpenFile("d/"+name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte(text))
	return errors.Join(err, f.Close())
}

// TestCutAroundLog checks that an added note survives a power cut, and a second one during the
// replay.
func TestCutAroundLog(t *testing.T) {
	disk := mailtest.NewPowerFS()
	must(t, disk.MkdirAll("d", 0o700))
	n, err := openNotes(disk) // so that no cut falls into making the files
	must(t, err)
	must(t, n.log.Close())
	mailtest.CutEverywhere(t, disk, 20, func(fsys *mailtest.PowerFS) func(*mailtest.PowerFS) error {
		added := make(map[string]string)
		if n, err := openNotes(fsys); err == nil {
			for i := range 12 { // larger than the log
				name, text := fmt.Sprintf("n%d", i), strings.Repeat(fmt.Sprintf("text %d\n", i), 100*(1+i))
				if n.add(name, text) == nil {
					added[name] = text
				}
			}
			_ = n.log.Close()
		}
		round := 0
		return func(found *mailtest.PowerFS) error {
			round++
			found.Start(mailtest.Nth(1+round%20, mailtest.ErrPowerCut))
			if n, err := openNotes(found); err == nil {
				_ = n.log.Close()
			}
			found = found.Restart(mailtest.PowerMode(round%4), newRand(round))
			n, err := openNotes(found)
			if err != nil {
				return err
			}
			defer n.log.Close()
			for name, text := range added {
				got, err := durable.ReadFile(found, "d/"+name)
				if err != nil || string(got) != text {
					return fmt.Errorf("%s of %d: %v, %d bytes, want %d", name, len(added), err, len(got), len(text))
				}
			}
			return nil
		}
	})
}
