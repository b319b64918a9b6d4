//go:build e2e

package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestPickupSIGKILL kills the server again and again while programs put files into the pickup
// folder. Every message must arrive, and none twice.
func TestPickupSIGKILL(t *testing.T) {
	o := newOffice(t)
	folder := o.path("data", "pickup")
	o.serve(t).stop(t) // makes the folder
	put := 0
	for round := range 5 {
		s := o.serve(t)
		var stopped atomic.Bool
		var programs sync.WaitGroup
		programs.Go(func() {
			for n := 0; !stopped.Load(); n++ {
				id := fmt.Sprintf("%d.%d.%d", round, n, rand.IntN(100))
				name := filepath.Join(folder, id)
				text := "From: " + anna + "\nTo: " + boss + "\n" + crashMessage(id)
				past := time.Now().Add(-time.Minute) // or the server waits for its age
				err := os.WriteFile(name+".tmp", []byte(text), 0o600)
				if err == nil {
					err = os.Chtimes(name+".tmp", past, past)
				}
				if err == nil {
					err = os.Rename(name+".tmp", name)
				}
				if err != nil {
					t.Error(err)
					return
				}
				put++
				time.Sleep(20 * time.Millisecond) // some hundred files in all
			}
		})
		time.Sleep(2*time.Second + rand.N(time.Second)) // the server looks every 2 seconds
		s.kill(t)
		stopped.Store(true)
		programs.Wait()
	}
	s := o.serve(t)
	eventually(t, "all files are sent", func() bool {
		left, _ := filepath.Glob(filepath.Join(folder, "[0-9]*"))
		taken, _ := filepath.Glob(filepath.Join(folder, ".taking", "*"))
		return len(left)+len(taken) == 0
	})
	s.stop(t)
	arrived := map[string]int{}
	for _, message := range o.stored(t, boss) {
		id, _ := subject(message)
		if arrived[id]++; arrived[id] > 1 {
			t.Errorf("message %s arrived %d times", id, arrived[id])
		}
	}
	if len(arrived) != put {
		t.Errorf("%d messages arrived of %d", len(arrived), put)
	}
	t.Logf("%d messages in 5 kills", put)
}
