package queue

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
	"pillarbox/smtp/route"
)

// Each of these tests is for a fault that lost mail or sent it against the sender's or
// administrator's will.

func everyDomain(addr.Domain) bool { return true }

// keepDomains makes the mail of these domains ETRN-held.
func (w *world) keepDomains(connections int, domains ...string) {
	table := w.table
	table.Routes = []route.Route{{Name: "kept", Domains: domains, Hold: true, Schedule: route.DefaultSchedule()}}
	w.q.SetConfig(Config{Routes: &table, Connections: connections})
}

// block lets attempts for a domain wait until the gate opens. Other attempts succeed.
func (w *world) block(domain addr.Domain) (gate chan struct{}) {
	gate = make(chan struct{})
	w.set(func(a smtp.Attempt) smtp.Outcome {
		if a.Domain == domain {
			<-gate
		}
		return a.SameForAll(delivered)
	})
	return gate
}

// noPapers makes reports fail, or succeed again.
func (w *world) noPapers(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.noPaper = err
}

func many(n int, domain string) (to []string) {
	for i := range n {
		to = append(to, fmt.Sprintf("u%03d@%s", i, domain))
	}
	return to
}

// TestOwedForKept: a report that failed is made later, although no mail is sent to its destination.
func TestOwedForKept(t *testing.T) {
	bubble(t, func(w *world) {
		w.keepDomains(0, "kept.example")
		w.noPapers(errors.New("disk full"))
		w.send("anna@office.example", "a@kept.example")
		time.Sleep(49 * time.Hour)
		w.noPapers(nil)
		time.Sleep(time.Hour)
		w.wantLen(0)
	})
}

func TestHeldThoughOwed(t *testing.T) {
	bubble(t, func(w *world) {
		w.set(func(a smtp.Attempt) smtp.Outcome {
			o := a.SameForAll(later)
			o.Results[0] = refused
			return o
		})
		w.noPapers(errors.New("disk full"))
		w.send("anna@office.example", "bad@x.example", "good@x.example")
		synctest.Wait()
		if n, err := w.q.Do(Hold, Filter{}); n != 1 || err != nil {
			t.Error(n, err)
		}
		w.clear()
		w.set(nil)
		time.Sleep(2 * time.Hour)
		w.saw("attempts", &w.log)
	})
}

// TestReroutedWhileTried: an attempt under way on the old route does not delay the message on its
// new route.
func TestReroutedWhileTried(t *testing.T) {
	bubble(t, func(w *world) {
		gate := w.block("x.example")
		w.send("anna@office.example", "a@x.example")
		synctest.Wait()
		table := w.table
		table.Routes = []route.Route{{Name: "other", Domains: []string{"x.example"}, SmartHost: []route.Host{{Name: "smart.example"}}, Schedule: route.DefaultSchedule()}}
		w.q.SetConfig(Config{Routes: &table})
		synctest.Wait()
		before := len(w.disk.Ops())
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := len(w.disk.Ops()) - before; n > 0 {
			t.Errorf("%d operations of the disk", n)
		}
		close(gate)
		w.wantLen(0)
		w.saw("attempts", &w.log, "0 x.example a@x.example")
	})
}

// TestStarvedWithoutWork: a destination that waits for a worker gets one, although the destination
// before it has no work left.
func TestStarvedWithoutWork(t *testing.T) {
	bubble(t, func(w *world) {
		w.q.SetConfig(Config{Routes: &w.table, Connections: 1})
		gate := w.block("slow.example")
		w.send("anna@office.example", "x@slow.example")
		synctest.Wait()
		id := w.send("anna@office.example", "x@a.example")
		w.send("anna@office.example", "x@b.example")
		synctest.Wait()
		if n, err := w.q.Do(Hold, Filter{IDs: []string{id}}); n != 1 || err != nil {
			t.Error(n, err)
		}
		close(gate)
		w.wantLen(1)
		w.saw("attempts", &w.log, "0 slow.example x@slow.example", "0 b.example x@b.example")
	})
}

func TestFlushWhileBusy(t *testing.T) {
	bubble(t, func(w *world) {
		w.keepDomains(1, "kept.example")
		gate := w.block("slow.example")
		w.send("anna@office.example", "x@kept.example")
		w.send("anna@office.example", "x@slow.example")
		synctest.Wait()
		if n := w.q.FlushETRN(everyDomain); n != 1 {
			t.Error(n)
		}
		close(gate)
		w.wantLen(0)
	})
}

// TestFlushOfSeveralParts: saving one part of a message does not undo the flush of its other parts.
func TestFlushOfSeveralParts(t *testing.T) {
	bubble(t, func(w *world) {
		w.keepDomains(0, "kept.example", "kept2.example")
		for range 40 {
			w.send("anna@office.example", "x@kept.example", "x@kept2.example")
		}
		w.set(func(a smtp.Attempt) smtp.Outcome {
			if a.Domain == "kept2.example" {
				time.Sleep(10 * time.Second)
			}
			return a.SameForAll(delivered)
		})
		if n := w.q.FlushETRN(everyDomain); n != 80 {
			t.Error(n)
		}
		time.Sleep(time.Hour)
		w.wantLen(0)
	})
}

// TestSecondPart: an administrator's action while the first hundred recipients are tried applies to
// the others.
func TestSecondPart(t *testing.T) {
	for _, action := range []Action{Remove, Hold} {
		bubble(t, func(w *world) {
			gate := w.block("x.example")
			w.send("anna@office.example", many(150, "x.example")...)
			synctest.Wait()
			if n, err := w.q.Do(action, Filter{}); n != 1 || err != nil {
				t.Error(n, err)
			}
			close(gate)
			time.Sleep(time.Minute)
			if n := len(w.attempts()); n != 1 {
				t.Errorf("%s: %d attempts", action, n)
			}
		})
	}
}

func TestSecondPartRerouted(t *testing.T) {
	bubble(t, func(w *world) {
		var mu sync.Mutex
		got := map[string]int{}
		w.set(func(a smtp.Attempt) smtp.Outcome {
			mu.Lock()
			for _, r := range a.Envelope.To {
				got[r.Address.Local]++
			}
			mu.Unlock()
			time.Sleep(10 * time.Second)
			return a.SameForAll(delivered)
		})
		w.send("anna@office.example", many(150, "x.example")...)
		synctest.Wait()
		table := w.table
		table.Routes = []route.Route{{Name: "other", Domains: []string{"x.example"}, SmartHost: []route.Host{{Name: "smart.example"}}, Schedule: route.DefaultSchedule()}}
		w.q.SetConfig(Config{Routes: &table})
		time.Sleep(time.Minute)
		w.wantLen(0)
		for who, n := range got {
			if n != 1 {
				t.Errorf("%s got it %d times", who, n)
			}
		}
	})
}

// TestOneReport: recipients at many domains that fail together share few reports.
func TestOneReport(t *testing.T) {
	bubble(t, func(w *world) {
		w.set(func(a smtp.Attempt) smtp.Outcome { time.Sleep(time.Second); return a.SameForAll(refused) })
		var to []string
		for i := range 300 {
			to = append(to, fmt.Sprintf("u@d%d.example", i))
		}
		w.send("anna@office.example", to...)
		time.Sleep(time.Minute)
		w.wantLen(0)
		told := w.told()
		if len(told) > 3 || strings.Count(strings.Join(told, " "), "@d") != 300 {
			t.Errorf("%d reports", len(told))
		}
	})
}

// TestStateCannotBeRead: a message stays while its state cannot be read, for lack of descriptors or
// because of the disk. It is sent once the state can be read. Only states that were read and are
// invalid go into quarantine.
func TestStateCannotBeRead(t *testing.T) {
	for _, trouble := range []error{syscall.EMFILE, syscall.ENFILE, syscall.EIO, syscall.ENOSPC, syscall.EACCES, syscall.ENOMEM} {
		for _, kind := range []string{"lstat", "open", "stat", "read"} {
			t.Run(fmt.Sprint(trouble, " at ", kind), func(t *testing.T) { unreadable(t, kind, trouble) })
		}
	}
}

func unreadable(t *testing.T, kind string, trouble error) {
	bubble(t, func(w *world) {
		var broken atomic.Bool
		fail := func(_ int, op mailtest.Op) error {
			if broken.Load() && op.Kind == kind && strings.HasPrefix(op.Name, "queue/P3_") && strings.HasSuffix(op.Name, ".env") {
				return trouble
			}
			return nil
		}
		w.set(all(later))
		for i := range 3 {
			w.send("anna@office.example", fmt.Sprintf("a@d%d.example", i))
		}
		held := w.send("anna@office.example", "b@d.example")
		synctest.Wait()
		if n, err := w.q.Do(Hold, Filter{IDs: []string{held}}); n != 1 || err != nil {
			t.Error(n, err)
		}
		w.disk.Start(fail)
		broken.Store(true)
		time.Sleep(time.Hour) // attempts that cannot begin
		if _, err := w.q.Do(Remove, Filter{IDs: []string{held}}); !errors.Is(err, trouble) {
			t.Errorf("remove: %v, want %v", err, trouble)
		}
		w.stop()
		w.open() // a start that finds nothing readable
		w.disk.Start(fail)
		time.Sleep(time.Hour)
		if kept, _ := filepath.Glob(filepath.Join(w.dir, "queue/quarantine/*")); len(kept) > 0 {
			t.Errorf("in quarantine: %v", kept)
		}
		w.set(nil)
		broken.Store(false)
		time.Sleep(time.Hour)
		w.wantLen(1)
		if n, err := w.q.Do(Release, Filter{}); n != 1 || err != nil {
			t.Error("the one that is held:", n, err)
		}
		time.Sleep(time.Minute)
		w.wantLen(0)
	})
}

// TestQuarantineFails: a message that cannot be moved into quarantine is neither lost nor sent.
func TestQuarantineFails(t *testing.T) {
	bubble(t, func(w *world) {
		w.set(all(later))
		id := w.send("anna@office.example", "a@one.example")
		synctest.Wait()
		w.stop()
		must(t, os.WriteFile(filepath.Join(w.dir, "queue", id+".env"), []byte("{half"), 0o600))
		w.open()
		var broken atomic.Bool
		broken.Store(true)
		w.disk.Start(func(_ int, op mailtest.Op) error {
			if broken.Load() && op.Kind == "link" && strings.HasPrefix(op.Name, "queue/quarantine/") {
				return syscall.ENOSPC
			}
			return nil
		})
		time.Sleep(time.Hour)
		w.wantLen(1)
		broken.Store(false)
		time.Sleep(2 * time.Minute)
		w.wantLen(0)
		if kept, _ := filepath.Glob(filepath.Join(w.dir, "queue/quarantine/*")); len(kept) != 2 {
			t.Errorf("in quarantine: %v", kept)
		}
	})
}

// TestStandingOfOldStates: states of old versions, without a standing, still yield one.
func TestStandingOfOldStates(t *testing.T) {
	const head, tail = `{"version":1,"arrived":"2026-11-22T00:00:00Z","size":5,"source":{`, `},"from":"a@office.example","to":[{"address":"x@far.example"}]}`
	tests := []struct {
		source string
		hosted bool
		want   smtp.Standing
	}{
		{`"service":"submission","user":"anna@office.example","inside":true`, true, smtp.StandingLogin},
		{`"service":"submission","user":"anna@office.example","inside":true`, false, smtp.StandingLogin},
		{`"service":"smtp","remote":"192.0.2.1","inside":true`, true, smtp.StandingLocal},
		{`"service":"pickup","inside":true`, false, smtp.StandingNone},
		{`"service":"smtp","remote":"192.0.2.1"`, true, smtp.StandingNone},
		{`"service":"smtp","standing":"spf"`, false, smtp.StandingSPF},
	}
	for _, test := range tests {
		it, err := Decode("P3_1", []byte(head+test.source+tail))
		if err != nil {
			t.Fatal(err)
		}
		again, err := Decode("P3_1", it.Encode())
		if err != nil || again.Source != it.Source {
			t.Errorf("%+v, then %+v, %v", it.Source, again.Source, err)
		}
		if got := it.Source.StandingOf(test.hosted); got != test.want {
			t.Errorf("%s, hosted %v: %s, want %s", test.source, test.hosted, got, test.want)
		}
	}
}

// TestSlowReports: slow reports, as with a sender domain whose DNS is slow, delay no delivery.
func TestSlowReports(t *testing.T) {
	bubble(t, func(w *world) {
		w.slow = time.Minute
		w.keepDomains(0, "kept.example") // no attempt waits for the same messages
		const hostile = 300
		for range hostile {
			w.send("anna@office.example", "x@kept.example")
		}
		time.Sleep(48*time.Hour + time.Minute) // they are given up, all at once
		var tries atomic.Int32
		w.set(func(a smtp.Attempt) smtp.Outcome {
			if tries.Add(1) == 1 {
				return a.SameForAll(later)
			}
			return a.SameForAll(delivered)
		})
		w.send("anna@office.example", "b@good.example")
		sent := time.Now()
		for tries.Load() < 2 && time.Since(sent) < 2*time.Hour {
			time.Sleep(time.Second)
		}
		if took := time.Since(sent); took > 20*time.Minute {
			t.Errorf("the second try came after %v", took)
		}
		time.Sleep(2 * time.Hour)
		w.wantLen(0)
	})
}
