package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/durable"
	"pillarbox/smtp"
	"pillarbox/smtp/dsn"
	"pillarbox/smtp/route"
)

// world has the other servers, the senders, and the queue between them.
type world struct {
	t       *testing.T
	dir     string
	disk    *mailtest.FailFS
	store   *mailstore.Store
	q       *Queue
	stop    func()
	table   route.Table
	ahead   atomic.Int64 // by how much the wall clock is
	mu      sync.Mutex
	answer  func(a smtp.Attempt) smtp.Outcome // nil: all is delivered
	log     []string                          // attempts: minutes since the start, destination, recipients
	reports []string
	noPaper error         // of the reports
	slow    time.Duration // that a report takes
	began   time.Time
	now     int // attempts at this moment
	most    int
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, dir: t.TempDir(), began: time.Now()}
	w.table.Default = route.Route{Name: "default", Schedule: route.DefaultSchedule()}
	w.open()
	return w
}

func (w *world) open() {
	root, err := durable.Open(w.dir)
	must(w.t, err)
	w.disk = mailtest.NewFailFS(root)
	w.store, err = mailstore.Open(w.disk, mailstore.Options{})
	must(w.t, err)
	w.q, err = Open(Config{Routes: &w.table}, Parts{
		Spool: w.store.Spool(), Deliver: w, Report: w.report, Log: slog.New(slog.NewTextHandler(testWriter{w.t}, nil)),
		Now: func() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) },
	})
	must(w.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { w.q.Run(ctx) })
	w.stop = func() { cancel(); running.Wait(); root.Close() }
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) { w.t.Logf("%s", p); return len(p), nil }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Deliver implements Deliverer.
func (w *world) Deliver(ctx context.Context, a smtp.Attempt) smtp.Outcome {
	w.mu.Lock()
	var to []string
	for _, r := range a.Envelope.To {
		to = append(to, r.Address.String())
	}
	w.log = append(w.log, fmt.Sprintf("%d %s %s", int(time.Since(w.began).Minutes()+0.5), a.Destination, strings.Join(to, ",")))
	answer := w.answer
	w.now++
	w.most = max(w.most, w.now)
	w.mu.Unlock()
	defer func() { w.mu.Lock(); w.now--; w.mu.Unlock() }()
	if answer != nil {
		return answer(a)
	}
	return a.SameForAll(delivered)
}

func (w *world) report(n DSNRequest) error {
	time.Sleep(w.slow)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.noPaper != nil {
		return w.noPaper
	}
	var to []string
	for _, r := range n.Recipients {
		to = append(to, r.Address.String()+" "+r.Last.Reply.Error())
	}
	w.reports = append(w.reports, fmt.Sprintf("%d %s %s", int(time.Since(w.began).Minutes()+0.5), n.Action, strings.Join(to, ", ")))
	return nil
}

var (
	delivered = smtp.Result{Status: smtp.Delivered, Reply: *smtp.NewReply(250, [3]int{2, 0, 0}, "ok"), MTA: "mx.example"}
	later     = smtp.Result{Status: smtp.Deferred, Reply: *smtp.NewReply(451, [3]int{4, 7, 1}, "greylisted"), MTA: "mx.example"}
	refused   = smtp.Result{Status: smtp.Failed, Reply: *smtp.NewReply(550, [3]int{5, 1, 1}, "nobody"), MTA: "mx.example"}
	noAnswer  = smtp.Result{Status: smtp.Deferred, Reply: *smtp.NewReply(451, [3]int{4, 4, 1}, "no answer")}
)

func unreachable(a smtp.Attempt) smtp.Outcome {
	o := a.SameForAll(noAnswer)
	o.Unreachable = true
	return o
}

func (w *world) set(answer func(a smtp.Attempt) smtp.Outcome) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = answer
}

func all(r smtp.Result) func(smtp.Attempt) smtp.Outcome {
	return func(a smtp.Attempt) smtp.Outcome { return a.SameForAll(r) }
}

// send puts a message into the queue.
func (w *world) send(from string, to ...string) (id string) {
	return w.sendWith(nil, from, to...)
}

func (w *world) sendWith(notify []string, from string, to ...string) (id string) {
	env := smtp.Envelope{From: address(from)}
	for _, a := range to {
		env.To = append(env.To, smtp.Recipient{Address: address(a), Notify: notify})
	}
	in := w.store.Create()
	defer in.Abort()
	_, err := io.WriteString(in, "Subject: x\r\n\r\ntext\r\n")
	must(w.t, err)
	item := NewItem(in.ID(), &env, env.To, Source{}, in.Size(), w.q.Now())
	in.Spool(item.Encode())
	_, err = in.Commit(nil)
	must(w.t, err)
	w.q.Add(item)
	return item.ID
}

func address(s string) addr.Address {
	if s == "" {
		return addr.Address{}
	}
	a, err := addr.Parse(s)
	if err != nil {
		panic(err)
	}
	return a
}

// saw compares the events with those wanted, and forgets them. Times in want may differ by a tenth.
func (w *world) saw(what string, got *[]string, want ...string) {
	w.t.Helper()
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	ok := len(*got) == len(want)
	for i := 0; ok && i < len(want); i++ {
		var at, wantAt int
		var rest, wantRest string
		fmt.Sscan((*got)[i], &at)
		fmt.Sscan(want[i], &wantAt)
		_, rest, _ = strings.Cut((*got)[i], " ")
		_, wantRest, _ = strings.Cut(want[i], " ")
		ok = rest == wantRest && 10*max(at-wantAt, wantAt-at) <= wantAt+5
	}
	if !ok {
		w.t.Errorf("%s:\n%s\nwant:\n%s", what, strings.Join(*got, "\n"), strings.Join(want, "\n"))
	}
	*got = nil
}

func (w *world) wantLen(n int) {
	w.t.Helper()
	synctest.Wait()
	ids, strays, err := w.store.Spool().List(false)
	if w.q.Len() != n || len(ids) != n || len(strays) > 0 || err != nil {
		w.t.Errorf("%d in the index, %d on disk, want %d (%v, %v)", w.q.Len(), len(ids), n, strays, err)
	}
}

// attempts and told return the events so far.
func (w *world) attempts() []string { return w.snapshot(&w.log) }
func (w *world) told() []string     { return w.snapshot(&w.reports) }

func (w *world) snapshot(of *[]string) []string {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(*of)
}

// clear forgets the attempts so far.
func (w *world) clear() {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log = nil
}

func (w *world) busiest() int {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.most
}

// sort sorts events that happen at the same time.
func (w *world) sort() {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	slices.Sort(w.log)
	slices.Sort(w.reports)
}

// countETRN counts the ETRN-held messages that wait for the domains that match.
func (w *world) countETRN(match func(addr.Domain) bool) (count int) {
	w.q.mu.Lock()
	defer w.q.mu.Unlock()
	for _, d := range w.q.destinations {
		if d.route.Hold && match(d.domain) {
			count += len(d.waiting)
		}
	}
	return count
}

// bubble runs a test in virtual time.
func bubble(t *testing.T, test func(*world)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		test(w)
		w.stop()
	})
}

func TestSentAtOnce(t *testing.T) {
	bubble(t, func(w *world) {
		w.send("anna@office.example", "a@one.example", "b@two.example", "c@one.example")
		w.wantLen(0)
		w.sort()
		w.saw("attempts", &w.log, "0 one.example a@one.example,c@one.example", "0 two.example b@two.example")
		w.saw("reports", &w.reports)
	})
}

func TestScheduleDelayAndExpiry(t *testing.T) {
	bubble(t, func(w *world) {
		w.set(all(later))
		w.send("anna@office.example", "a@one.example")
		time.Sleep(11 * time.Hour)
		w.saw("reports", &w.reports)
		time.Sleep(38 * time.Hour)
		w.wantLen(0)
		const to = " one.example a@one.example"
		want := []string{"0" + to, "15" + to, "45" + to, "105" + to}
		for at := 345; at < 2880; at += 240 {
			want = append(want, fmt.Sprint(at, to))
		}
		if n := len(w.attempts()); n < len(want)-1 || n > len(want)+1 {
			t.Errorf("%d attempts, want about %d", n, len(want))
		}
		w.mu.Lock()
		w.log = w.log[:5]
		w.mu.Unlock()
		w.saw("attempts", &w.log, want[:5]...)
		w.saw("reports", &w.reports, "720 delayed a@one.example 451 4.7.1 greylisted",
			"2880 failed a@one.example 451 4.7.1 greylisted")
	})
}

func TestGreylisting(t *testing.T) {
	bubble(t, func(w *world) {
		w.set(all(later))
		w.sendWith([]string{"SUCCESS"}, "anna@office.example", "a@one.example")
		time.Sleep(time.Minute)
		w.set(nil)
		time.Sleep(time.Hour)
		w.wantLen(0)
		w.saw("attempts", &w.log, "0 one.example a@one.example", "15 one.example a@one.example")
		w.saw("reports", &w.reports, "15 relayed a@one.example 250 2.0.0 ok")
	})
}

func TestSomeRecipientsFail(t *testing.T) {
	bubble(t, func(w *world) {
		w.set(func(a smtp.Attempt) smtp.Outcome {
			o := a.SameForAll(delivered)
			for i, r := range a.Envelope.To {
				switch r.Address.Local {
				case "nobody":
					o.Results[i] = refused
				case "busy":
					o.Results[i] = later
				}
			}
			return o
		})
		w.send("anna@office.example", "a@one.example", "nobody@one.example", "busy@one.example")
		time.Sleep(time.Minute)
		w.wantLen(1)
		w.saw("reports", &w.reports, "0 failed nobody@one.example 550 5.1.1 nobody")
		w.set(nil)
		time.Sleep(time.Hour)
		w.wantLen(0)
		w.saw("attempts", &w.log, "0 one.example a@one.example,nobody@one.example,busy@one.example", "15 one.example busy@one.example")
	})
}

func TestNoReports(t *testing.T) {
	bubble(t, func(w *world) {
		w.set(all(refused))
		w.sendWith([]string{"NEVER"}, "anna@office.example", "a@one.example")
		w.wantLen(0)
		w.saw("reports", &w.reports)
		w.send("", "a@one.example") // kept aside, by who makes the reports
		w.wantLen(0)
		w.saw("reports", &w.reports, "0 failed a@one.example 550 5.1.1 nobody")
	})
}

// TestBackOffAsAWhole: one message finds out whether a destination is reachable, and all others for
// it wait. Other destinations do not.
func TestBackOffAsAWhole(t *testing.T) {
	bubble(t, func(w *world) {
		w.set(func(a smtp.Attempt) smtp.Outcome {
			if a.Domain == "dead.example" {
				return unreachable(a)
			}
			return a.SameForAll(delivered)
		})
		w.send("anna@office.example", "first@dead.example")
		synctest.Wait()
		for i := range 50 {
			w.send("anna@office.example", fmt.Sprintf("n%d@dead.example", i))
		}
		w.send("anna@office.example", "a@one.example")
		synctest.Wait()
		w.sort()
		w.saw("attempts", &w.log, "0 dead.example first@dead.example", "0 one.example a@one.example")
		time.Sleep(90 * time.Minute)
		if n := len(w.attempts()); n != 2 { // at 15 and 45 minutes
			t.Errorf("%d attempts: %v", n, w.attempts())
		}
		w.clear()
		w.set(nil)
		time.Sleep(30 * time.Minute)
		w.wantLen(0)
		if len(w.attempts()) != 51 {
			t.Errorf("%d attempts", len(w.attempts()))
		}
		w.saw("reports", &w.reports)
	})
}

// TestUnreachableExpires: messages that were never tried are reported too, with the reason.
func TestUnreachableExpires(t *testing.T) {
	bubble(t, func(w *world) {
		w.set(unreachable)
		w.send("anna@office.example", "a@dead.example")
		synctest.Wait()
		w.send("anna@office.example", "b@dead.example")
		time.Sleep(13 * time.Hour)
		w.sort()
		w.saw("reports", &w.reports, "720 delayed a@dead.example 451 4.4.1 no answer", "720 delayed b@dead.example 451 4.4.1 no answer")
		time.Sleep(36 * time.Hour)
		w.wantLen(0)
		if len(w.told()) != 2 || !strings.Contains(w.told()[1], "no answer") {
			t.Error(w.told())
		}
		time.Sleep(5 * time.Hour)
		synctest.Wait()
		if len(w.q.destinations) != 0 {
			t.Error("the destination is not forgotten")
		}
	})
}

func TestSlowDestination(t *testing.T) {
	bubble(t, func(w *world) {
		w.set(func(a smtp.Attempt) smtp.Outcome {
			if a.Domain == "slow.example" {
				time.Sleep(5 * time.Minute)
			}
			return a.SameForAll(delivered)
		})
		for i := range 20 {
			w.send("anna@office.example", fmt.Sprintf("n%d@slow.example", i))
		}
		w.send("anna@office.example", "a@slow.example", "a@one.example")
		synctest.Wait()
		if !slices.Contains(w.attempts(), "0 one.example a@one.example") {
			t.Error(w.attempts())
		}
		if w.busiest() > firstWindow+1 {
			t.Errorf("%d connections at once", w.busiest())
		}
		time.Sleep(time.Hour)
		w.wantLen(0)
	})
}

func TestLimits(t *testing.T) {
	bubble(t, func(w *world) {
		table := w.table
		table.Default.Connections, table.Default.Recipients = 2, 3
		w.q.SetConfig(Config{Routes: &table, Connections: 3})
		w.set(func(a smtp.Attempt) smtp.Outcome {
			if len(a.Envelope.To) > 3 {
				t.Errorf("%d recipients at once", len(a.Envelope.To))
			}
			time.Sleep(time.Second)
			return a.SameForAll(delivered)
		})
		for i := range 60 {
			w.send("anna@office.example", fmt.Sprintf("n%d@d%d.example", i, i%6))
		}
		w.send("anna@office.example", "1@many.example", "2@many.example", "3@many.example", "4@many.example")
		time.Sleep(time.Minute)
		w.wantLen(0)
		if w.busiest() > 3 {
			t.Errorf("%d connections at once", w.busiest())
		}
		if len(w.attempts()) != 62 {
			t.Errorf("%d attempts", len(w.attempts()))
		}
	})
}

func TestWindows(t *testing.T) {
	bubble(t, func(w *world) {
		// The bubble's clock begins at midnight UTC, a Saturday.
		windows, err := route.ParseWindows([]string{"Mon-Fri 08:00-18:00"})
		must(t, err)
		opensAt := int(time.Until(windows.Next(time.Now())).Minutes())
		table := w.table
		table.Default.Windows = windows
		table.Default.Schedule.Expire = 96 * time.Hour
		w.q.SetConfig(Config{Routes: &table})
		w.send("anna@office.example", "a@one.example")
		time.Sleep(30 * time.Hour)
		w.wantLen(1)
		w.send("anna@office.example", "b@one.example")
		if n, err := w.q.Do(Flush, Filter{To: address("b@one.example")}); n != 1 || err != nil {
			t.Error(n, err)
		}
		w.wantLen(1)
		w.saw("attempts", &w.log, "1800 one.example b@one.example")
		time.Sleep(45 * time.Hour)
		w.wantLen(0)
		w.saw("attempts", &w.log, fmt.Sprint(opensAt, " one.example a@one.example"))
	})
}

func TestKeptForTrigger(t *testing.T) {
	bubble(t, func(w *world) {
		kept := w.table
		kept.Routes = []route.Route{{Name: "branch", Domains: []string{"branch.example", "*.branch.example"}, Hold: true,
			SmartHost: []route.Host{{Name: "mx.branch.example"}}, Schedule: route.DefaultSchedule()}}
		w.q.SetConfig(Config{Routes: &kept})
		w.send("anna@office.example", "a@branch.example")
		w.send("anna@office.example", "b@sub.branch.example")
		w.send("anna@office.example", "c@branch.example")
		time.Sleep(time.Hour)
		w.wantLen(3)
		match := func(d addr.Domain) bool { return d == "branch.example" }
		if n := w.countETRN(match); n != 2 {
			t.Error(n)
		}
		if n := w.q.FlushETRN(match); n != 2 {
			t.Error(n)
		}
		w.wantLen(1)
		w.sort()
		w.saw("attempts", &w.log, "60 route:branch for branch.example a@branch.example", "60 route:branch for branch.example c@branch.example")
		// The route no longer holds mail: the held messages are sent.
		table := route.Table{Default: w.table.Default}
		w.q.SetConfig(Config{Routes: &table})
		w.wantLen(0)
		w.saw("attempts", &w.log, "60 sub.branch.example b@sub.branch.example")
	})
}

func TestByHand(t *testing.T) {
	bubble(t, func(w *world) {
		w.set(all(later))
		id := w.send("anna@office.example", "a@one.example")
		other := w.send("boss@office.example", "b@two.example")
		time.Sleep(time.Minute)
		w.clear()
		if n, err := w.q.Do(Retry, Filter{Domain: "one.example"}); n != 1 || err != nil {
			t.Error(n, err)
		}
		synctest.Wait()
		w.saw("attempts", &w.log, "1 one.example a@one.example")
		for _, step := range []struct {
			do   Action
			want int
		}{{Hold, 1}, {Hold, 0}, {Retry, 0}} {
			if n, err := w.q.Do(step.do, Filter{IDs: []string{id}}); n != step.want || err != nil {
				t.Error(step, n, err)
			}
		}
		time.Sleep(72 * time.Hour) // it is not given up while it is held
		w.saw("reports", &w.reports, "720 delayed b@two.example 451 4.7.1 greylisted",
			"2880 failed b@two.example 451 4.7.1 greylisted")
		w.wantLen(1)
		if items, n, err := w.q.List(Filter{Held: true}, 0); len(items) != 1 || n != 1 || err != nil || items[0].To[0].Attempts != 1 {
			t.Error(items, n, err)
		}
		w.clear()
		w.set(nil)
		if n, err := w.q.Do(Release, Filter{Held: true}); n != 1 || err != nil {
			t.Error(n, err)
		}
		w.wantLen(0)
		w.set(all(later))
		w.send("anna@office.example", "c@one.example")
		gone := w.send("anna@office.example", "d@one.example")
		synctest.Wait()
		if n, err := w.q.Do(Bounce, Filter{To: address("c@one.example")}); n != 1 || err != nil {
			t.Error(n, err)
		}
		if n, err := w.q.Do(Remove, Filter{IDs: []string{gone, other}}); n != 1 || err != nil {
			t.Error(n, err)
		}
		w.wantLen(0)
		if len(w.told()) != 1 || !strings.Contains(w.told()[0], "failed c@one.example 554 5.0.0") {
			t.Error(w.told())
		}
	})
}

// TestRemovedWhileTried: a message that an administrator removes during an attempt does not come
// back.
func TestRemovedWhileTried(t *testing.T) {
	bubble(t, func(w *world) {
		w.set(func(a smtp.Attempt) smtp.Outcome { time.Sleep(time.Minute); return a.SameForAll(later) })
		w.send("anna@office.example", "a@one.example")
		time.Sleep(time.Second)
		if active := w.q.Active(); len(active) != 1 || active[0].To[0] != "a@one.example" {
			t.Error(active)
		}
		if n, err := w.q.Do(Remove, Filter{}); n != 1 || err != nil {
			t.Error(n, err)
		}
		time.Sleep(time.Hour)
		w.wantLen(0)
	})
}

func TestRestart(t *testing.T) {
	bubble(t, func(w *world) {
		w.set(all(later))
		w.send("anna@office.example", "a@one.example")
		held := w.send("anna@office.example", "b@one.example")
		time.Sleep(40 * time.Minute) // two attempts
		if n, err := w.q.Do(Hold, Filter{IDs: []string{held}}); n != 1 || err != nil {
			t.Error(n, err)
		}
		w.stop()
		w.clear()
		w.open()
		time.Sleep(time.Minute)
		w.wantLen(2)
		w.saw("attempts", &w.log)
		w.set(nil)
		time.Sleep(time.Hour)
		w.wantLen(1)
		w.saw("attempts", &w.log, "45 one.example a@one.example")
	})
}

// TestStopInTheMiddle: an attempt that the server's stop interrupts does not count.
func TestStopInTheMiddle(t *testing.T) {
	bubble(t, func(w *world) {
		w.set(func(a smtp.Attempt) smtp.Outcome { time.Sleep(time.Hour); return a.SameForAll(noAnswer) })
		w.send("anna@office.example", "a@one.example")
		time.Sleep(time.Second)
		w.stop()
		w.set(nil)
		w.clear()
		w.open()
		w.wantLen(0)
		w.saw("attempts", &w.log, "60 one.example a@one.example")
	})
}

func TestCorruptFiles(t *testing.T) {
	bubble(t, func(w *world) {
		w.set(all(later))
		var ids []string
		for i := range 5 {
			ids = append(ids, w.send("anna@office.example", fmt.Sprintf("n%d@one.example", i)))
		}
		synctest.Wait()
		w.stop()
		file := func(id, suffix string) string { return filepath.Join(w.dir, "queue", id+suffix) }
		must(t, os.WriteFile(file(ids[0], ".env"), []byte("{half"), 0o600))
		must(t, os.WriteFile(file(ids[1], ".env"), []byte(`{"version":1,"arrived":"2000-01-01T00:00:00Z","to":[{}]}`), 0o600))
		must(t, os.Remove(file(ids[2], ".env")))
		must(t, os.Remove(file(ids[3], ".eml")))
		w.open()
		w.set(func(a smtp.Attempt) smtp.Outcome {
			if r, err := a.Open(); err != nil {
				return a.SameForAll(noAnswer)
			} else {
				r.Close()
			}
			return a.SameForAll(delivered)
		})
		time.Sleep(time.Hour)
		w.wantLen(0)
		kept, err := filepath.Glob(filepath.Join(w.dir, "queue/quarantine/*"))
		if err != nil || len(kept) != 6 {
			t.Error(kept, err)
		}
	})
}

// TestDiskFails: while states cannot be written, no message is sent twice in the same run, and none
// is forgotten.
func TestDiskFails(t *testing.T) {
	bubble(t, func(w *world) {
		var broken atomic.Bool
		w.set(func(a smtp.Attempt) smtp.Outcome {
			w.disk.Start(func(int, mailtest.Op) error {
				if broken.Load() {
					return syscall.ENOSPC
				}
				return nil
			})
			broken.Store(true)
			return a.SameForAll(delivered)
		})
		w.send("anna@office.example", "a@one.example")
		time.Sleep(5*time.Minute + time.Second)
		if len(w.attempts()) != 1 {
			t.Error(w.attempts())
		}
		broken.Store(false)
		time.Sleep(2 * time.Minute)
		w.wantLen(0)
		if len(w.attempts()) != 1 {
			t.Error(w.attempts())
		}
	})
}

func TestReportsAreOwed(t *testing.T) {
	bubble(t, func(w *world) {
		w.set(all(refused))
		w.mu.Lock()
		w.noPaper = errors.New("no room")
		w.mu.Unlock()
		w.send("anna@office.example", "a@one.example")
		time.Sleep(10 * time.Minute)
		w.wantLen(1)
		w.mu.Lock()
		w.noPaper = nil
		w.mu.Unlock()
		time.Sleep(10 * time.Minute)
		w.wantLen(0)
		if len(w.told()) != 1 || len(w.attempts()) != 1 {
			t.Error(w.told(), w.attempts())
		}
	})
}

// TestManyRandomly: whatever the servers answer and the administrator does, each recipient ends
// once, as delivered or failed.
func TestManyRandomly(t *testing.T) {
	bubble(t, func(w *world) {
		rng := rand.New(rand.NewPCG(1, 2))
		var mu sync.Mutex
		ended := map[string]int{}
		draw := func(n int) int { mu.Lock(); defer mu.Unlock(); return rng.IntN(n) }
		w.set(func(a smtp.Attempt) smtp.Outcome {
			time.Sleep(time.Duration(draw(60)) * time.Second)
			if draw(4) == 0 {
				return unreachable(a)
			}
			o := a.SameForAll(later)
			for i, r := range a.Envelope.To {
				o.Results[i] = []smtp.Result{later, delivered, refused}[draw(3)]
				if o.Results[i].Status != smtp.Deferred {
					mu.Lock()
					ended[r.Address.String()]++
					mu.Unlock()
				}
			}
			return o
		})
		for i := range 300 {
			var to []string
			for n := range 1 + draw(4) {
				to = append(to, fmt.Sprintf("m%d.%d@d%d.example", i, n, draw(12)))
			}
			w.send("anna@office.example", to...)
			switch draw(20) {
			case 0:
				_, err := w.q.Do(Flush, Filter{})
				must(t, err)
			case 1:
				_, err := w.q.Do(Hold, Filter{Domain: "d1.example"})
				must(t, err)
				_, err = w.q.Do(Release, Filter{})
				must(t, err)
			case 2:
				w.q.SetConfig(Config{Routes: &w.table, Connections: 1 + draw(20)})
			case 3:
				time.Sleep(time.Duration(draw(100)) * time.Minute)
			}
		}
		time.Sleep(60 * time.Hour)
		w.wantLen(0)
		for to, n := range ended {
			if n != 1 {
				t.Errorf("%s ended %d times", to, n)
			}
		}
		synctest.Wait()
		if len(w.q.live) != 0 || w.q.trying != 0 || len(w.q.active) != 0 || len(w.q.deadlines) != 0 {
			t.Error("something is left in memory:", len(w.q.live), w.q.trying, len(w.q.active), len(w.q.deadlines))
		}
	})
}

func TestDecode(t *testing.T) {
	env := smtp.Envelope{From: address("a@b.example"), EnvID: "x", Ret: "FULL", Body8: true, UTF8: true}
	it := NewItem("P3_2", &env, []smtp.Recipient{{Address: address("c@d.example"), Notify: []string{"SUCCESS"}, ORcptType: "RFC822", ORcpt: "e@f.example"}},
		Source{Service: "submission", Helo: "pc", User: address("a@b.example")}, 100, time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC))
	it.To[0].PendingDSN, it.To[0].Last = dsn.Failed, &Last{Reply: *smtp.NewReply(550, [3]int{5, 0, 0}, "no")}
	got, err := Decode(it.ID, it.Encode())
	must(t, err)
	if string(got.Encode()) != string(it.Encode()) || got.To[0].Last.Reply != it.To[0].Last.Reply {
		t.Errorf("%s", got.Encode())
	}
	for _, bad := range []string{"", "{}", `{"version":0}`, `{"version":"2"}`, "null", `{"version":1,"arrived":"2000-01-01T00:00:00Z"}`} {
		if _, err := Decode("x", []byte(bad)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"version":1,"arrived":"2000-01-01T00:00:00Z","to":[{"address":"a@b.example"}]}`))
	f.Add([]byte(`{"version":1,"x":[],"arrived":"2000-01-01T00:00:00Z","to":[{"address":"a@b.example","x":1,"last":{"x":2}}]}`))
	f.Fuzz(func(t *testing.T, state []byte) {
		it, err := Decode("x", state)
		if err != nil {
			return
		}
		again, err := Decode("x", it.Encode())
		if err != nil || cmp.Compare(string(again.Encode()), string(it.Encode())) != 0 {
			t.Fatalf("%s: %v", it.Encode(), err)
		}
	})
}

// TestRetryByHand: a retry by an administrator lengthens no wait, and is counted.
func TestRetryByHand(t *testing.T) {
	bubble(t, func(w *world) {
		w.set(unreachable)
		w.send("anna@office.example", "a@dead.example")
		for range 5 {
			time.Sleep(time.Minute)
			if n, err := w.q.Do(Retry, Filter{}); n != 1 || err != nil {
				t.Error(n, err)
			}
		}
		synctest.Wait()
		items, _, err := w.q.List(Filter{}, 1)
		if err != nil || len(items) != 1 || items[0].To[0].Tries() != 6 || items[0].To[0].ByHand != 5 {
			t.Errorf("%+v, %v: want 6 tries, 5 of them by hand", items, err)
		}
		w.clear()
		w.set(nil)
		time.Sleep(20 * time.Minute) // the first wait
		w.wantLen(0)
		w.saw("attempts", &w.log, "20 dead.example a@dead.example")
	})
}

// TestClosed: while the queue is closed, its messages stay.
func TestClosed(t *testing.T) {
	bubble(t, func(w *world) {
		w.q.SetConfig(Config{Routes: &w.table, Closed: true})
		w.send("anna@office.example", "a@one.example")
		time.Sleep(time.Hour)
		if n, err := w.q.Do(Flush, Filter{}); n != 1 || err != nil {
			t.Error(n, err)
		}
		w.wantLen(1)
		w.saw("attempts", &w.log)
		w.q.SetConfig(Config{Routes: &w.table})
		w.wantLen(0)
	})
}

// TestMendedRoute: after a reload, an unreachable destination is tried at once.
func TestMendedRoute(t *testing.T) {
	bubble(t, func(w *world) {
		w.set(unreachable)
		w.send("anna@office.example", "a@dead.example")
		w.send("anna@office.example", "b@dead.example")
		time.Sleep(time.Minute)
		w.set(nil)
		mended := w.table
		mended.Default.TLS = route.TLSOff
		w.q.SetConfig(Config{Routes: &mended})
		w.wantLen(0)
	})
}

// TestSameRoutes: a reload that changes no route reads no states.
func TestSameRoutes(t *testing.T) {
	bubble(t, func(w *world) {
		w.set(all(later))
		w.send("anna@office.example", "a@one.example")
		synctest.Wait()
		before := len(w.disk.Ops())
		same := w.table
		w.q.SetConfig(Config{Routes: &same, Connections: 7})
		synctest.Wait()
		if n := len(w.disk.Ops()) - before; n > 0 {
			t.Errorf("%d operations of the disk", n)
		}
		other := w.table
		other.Default.Port = 26
		w.q.SetConfig(Config{Routes: &other})
		synctest.Wait()
		if n := len(w.disk.Ops()) - before; n == 0 {
			t.Error("another route, and no state was read")
		}
	})
}
