package admin

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
	"pillarbox/smtp/queue"
	"pillarbox/smtp/route"
)

// stuckServer takes every connection and then waits until the test ends.
type stuckServer struct {
	began chan string
	over  chan struct{}
}

func (s stuckServer) Deliver(_ context.Context, a smtp.Attempt) smtp.Outcome {
	s.began <- a.ID
	<-s.over
	return a.SameForAll(smtp.Result{Reply: *smtp.NewReply(451, [3]int{4, 4, 2}, "interrupted")})
}

// runQueue gives a Service a running queue with two messages: one for stuck.example, which is being
// tried, and one for kept.example, which is kept for ETRN.
func runQueue(t *testing.T, o *Service, trying, kept string) {
	t.Helper()
	cfg := *o.Config()
	cfg.Routes = route.Table{Routes: []route.Route{{Name: "kept", Domains: []string{"kept.example"}, Hold: true}}}
	if err := o.SetConfig(&cfg); err != nil {
		t.Fatal(err)
	}
	for id, to := range map[string]addr.Domain{trying: "stuck.example", kept: "kept.example"} {
		it := queue.NewItem(id, &smtp.Envelope{From: addr.Address{Local: "anna", Domain: "office.example"}},
			[]smtp.Recipient{{Address: addr.Address{Local: "bob", Domain: to}}}, queue.Source{}, 12, time.Now())
		for suffix, text := range map[string][]byte{".env": it.Encode(), ".eml": []byte("Hello bob!\r\n")} {
			if err := os.WriteFile(filepath.Join(o.Root.Name(), "queue", id+suffix), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	server := stuckServer{make(chan string, 1), make(chan struct{})}
	q, err := queue.Open(queue.Config{Routes: &cfg.Routes}, queue.Parts{
		Spool: o.Store.Spool(), Deliver: server, Log: slog.New(slog.DiscardHandler),
		Report: func(queue.DSNRequest) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { q.Run(ctx); close(ended) }()
	t.Cleanup(func() { cancel(); close(server.over); <-ended })
	if id := <-server.began; id != trying {
		t.Fatalf("%s is being tried", id)
	}
	for q.Len() < 2 { // the second is being read
		time.Sleep(time.Millisecond)
	}
	o.Running = &Running{Queue: q, Suppressed: func() int64 { return 3 }}
}

// The running server tells what its messages wait for, and acts on them.
func TestRunningQueue(t *testing.T) {
	const trying, kept = "P3_20260101000000000100000001", "P3_20260101000000000100000002"
	o := office(t)
	runQueue(t, o, trying, kept)
	found, err := QueueList.Do(t.Context(), o, QueueQuestion{})
	all := found.Listing
	if err != nil || !all.Running || all.Count != 2 || len(all.Messages) != 2 || all.Messages[1].ID != kept ||
		all.Messages[1].Item.ID != kept || all.Messages[0].To[0].Address.Local != "bob" {
		t.Fatalf("%+v %v", all, err)
	}
	if all.Messages[0].State.Wait != WaitTrying || all.Messages[1].State.Wait != WaitKept {
		t.Errorf("states: %+v, %+v", all.Messages[0].State, all.Messages[1].State)
	}
	if len(all.Destinations) != 1 || !all.Destinations[0].ETRNHeld || all.Destinations[0].Waiting != 1 || found.Names[0] != "kept.example" {
		t.Errorf("destinations: %+v, %q", all.Destinations, found.Names)
	}
	for _, c := range []struct {
		name        string
		in          QueueQuestion
		count, some int
	}{
		{"a limit", QueueQuestion{Limit: 1}, 2, 1},
		{"a domain", QueueQuestion{Choice: QueueChoice{Domain: "kept.example"}}, 1, 1},
		{"a sender", QueueQuestion{Choice: QueueChoice{From: "ANNA@office.example"}}, 2, 2},
		{"a recipient", QueueQuestion{Choice: QueueChoice{To: "carl@kept.example"}}, 0, 0},
		{"an age", QueueQuestion{Choice: QueueChoice{Older: "1h"}}, 0, 0},
		{"an ID", QueueQuestion{Choice: QueueChoice{Words: []string{kept}}}, 1, 1},
	} {
		got, err := QueueList.Do(t.Context(), o, c.in)
		if err != nil || got.Listing.Count != c.count || len(got.Listing.Messages) != c.some {
			t.Errorf("%s: %d of %d, %v", c.name, len(got.Listing.Messages), got.Listing.Count, err)
		}
	}
	now, err := QueueActive.Do(t.Context(), o, struct{}{})
	active := now.Activity.Active
	if err != nil || now.Activity.Messages != 2 || now.Activity.Suppressed != 3 || len(active) != 1 || active[0].ID != trying ||
		active[0].Size != 12 || !slices.Equal(active[0].To, []string{"bob@stuck.example"}) || !slices.Equal(now.Names, []string{"stuck.example"}) {
		t.Errorf("%+v %v", now, err)
	}
	shown, err := QueueShow.Do(t.Context(), o, kept)
	if d := shown.Details; err != nil || !d.Running || d.ID != kept || len(d.GivenUp) != 1 || !strings.Contains(d.Hint, "queue flush "+kept) || shown.Routes[0].Name != "kept" {
		t.Errorf("%+v %v", shown, err)
	}
	if done, err := QueueRemove.Do(t.Context(), o, QueueOrder{Choice: QueueChoice{Words: []string{kept}}}); err != nil || done.Count != 1 || !slices.Equal(done.IDs, []string{kept}) {
		t.Errorf("%+v %v", done, err)
	}
	if left, err := QueueList.Do(t.Context(), o, QueueQuestion{}); err != nil || left.Listing.Count != 1 {
		t.Errorf("%+v %v", left, err)
	}
	events, _, err := o.Audit(AuditQuestion{Object: "queue"})
	if err != nil || len(events) != 1 || events[0].Act != "queue remove" || !strings.Contains(string(events[0].After), kept) {
		t.Errorf("%+v %v", events, err)
	}
}

// What cannot be undone is asked for, unless one message is named.
func TestQueueConfirm(t *testing.T) {
	const trying, kept = "P3_20260101000000000100000001", "P3_20260101000000000100000002"
	o := office(t)
	runQueue(t, o, trying, kept)
	for _, c := range []struct {
		name string
		v    Verb[QueueOrder, QueueDone]
		in   QueueOrder
		want string
	}{
		{"all", QueueRemove, QueueOrder{Choice: QueueChoice{All: true}}, "Remove 2 messages from the queue without a report?"},
		{"one that is not named", QueueBounce, QueueOrder{Choice: QueueChoice{Domain: "kept.example"}}, "Return 1 message to the senders?"},
	} {
		if _, err := c.v.Do(t.Context(), o, c.in); !errors.Is(err, ErrConfirm) || err.Error() != c.want {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if done, err := QueueHold.Do(t.Context(), o, QueueOrder{Choice: QueueChoice{Domain: "kept.example"}}); err != nil || done.Count != 1 {
		t.Errorf("hold: %+v %v", done, err)
	}
	if done, err := QueueRemove.Do(t.Context(), o, QueueOrder{Choice: QueueChoice{Domain: "kept.example"}, Sure: true}); err != nil || done.Count != 1 {
		t.Errorf("remove: %+v %v", done, err)
	}
}

// After a question, the verb acts on the messages that the question was about, and on no other that
// the choice has now.
func TestQueueConfirmedOnly(t *testing.T) {
	const trying, kept = "P3_20260101000000000100000001", "P3_20260101000000000100000002"
	o := office(t)
	runQueue(t, o, trying, kept)
	all := QueueOrder{Choice: QueueChoice{All: true}}
	asked, err := QueueRemove.Do(t.Context(), o, all)
	if !errors.Is(err, ErrConfirm) || !slices.Equal(asked.IDs, []string{trying, kept}) {
		t.Errorf("asked: %+v, %v", asked, err)
	}
	all.Sure, all.Confirmed = true, []string{kept, "P3_20250101000000000100000009"} // one has left
	if done, err := QueueRemove.Do(t.Context(), o, all); err != nil || done.Count != 1 {
		t.Errorf("%+v, %v", done, err)
	}
	left, err := QueueList.Do(t.Context(), o, QueueQuestion{})
	if err != nil || left.Listing.Count != 1 || left.Listing.Messages[0].ID != trying {
		t.Errorf("left: %+v, %v", left, err)
	}
}

func TestQueueVerbsNeedTheServer(t *testing.T) {
	o := office(t)
	_, errActive := QueueActive.Do(t.Context(), o, struct{}{})
	_, errRetry := QueueRetry.Do(t.Context(), o, QueueOrder{Choice: QueueChoice{All: true}})
	for _, err := range []error{errActive, errRetry} {
		if hint, ok := errors.AsType[*HintError](err); !errors.Is(err, ErrNotRunning) || !ok || !strings.Contains(hint.Hint, "only a running server can do this") {
			t.Error(err)
		}
	}
	if _, err := QueueRetry.Call(t.Context(), o, json.RawMessage(`"no order"`)); !errors.Is(err, ErrArguments) {
		t.Error(err)
	}
}

// TestNothingChosen checks that a choice of nothing is never all messages, even if it is sure.
func TestNothingChosen(t *testing.T) {
	o := mailOffice(t)
	for name, do := range map[string]func() error{
		"queue remove":   func() error { _, err := QueueRemove.Do(t.Context(), o, QueueOrder{Sure: true}); return err },
		"queue hold":     func() error { _, err := QueueHold.Do(t.Context(), o, QueueOrder{}); return err },
		"badmail send":   func() error { _, err := BadmailSend.Do(t.Context(), o, BadmailToSend{Sure: true}); return err },
		"badmail remove": func() error { _, err := BadmailRemove.Do(t.Context(), o, BadmailToRemove{Sure: true}); return err },
		"quarantine remove": func() error {
			_, err := QuarantineRemove.Do(t.Context(), o, QuarantineToRemove{Sure: true})
			return err
		},
		"quarantine retry": func() error { _, err := QuarantineRetry.Do(t.Context(), o, QuarantineOrder{}); return err },
	} {
		if err := do(); !errors.Is(err, ErrUsage) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
