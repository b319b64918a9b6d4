package queue

import (
	"testing"
	"testing/synctest"
	"time"

	"pillarbox/smtp/route"
)

// TestFixTimesLeavesCorrectTimes: a message waits as long as its destination, which failed more often.
func TestFixTimesLeavesCorrectTimes(t *testing.T) {
	bubble(t, func(w *world) {
		w.table.Default.Schedule = route.Schedule{Retries: []time.Duration{time.Minute, 10 * time.Hour}, Expire: 48 * time.Hour}
		w.set(unreachable)
		w.send("anna@office.example", "a@dead.example")
		synctest.Wait()
		time.Sleep(30 * time.Second)
		w.send("anna@office.example", "b@dead.example")
		time.Sleep(2 * time.Minute) // this one has failed once, the destination twice
		synctest.Wait()
		items, _, err := w.q.List(Filter{}, 0)
		must(t, err)
		for _, it := range items {
			if w.q.fixTimes(it) {
				t.Errorf("%+v is mended", it)
			}
		}
	})
}
