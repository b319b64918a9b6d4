package daemon

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pillarbox/mailstore"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/durable"
	"pillarbox/smtp"
	"pillarbox/smtp/queue"
	"pillarbox/smtp/route"
)

// stuckServer takes every connection, and nothing more until the test ends.
type stuckServer struct {
	began chan string
	over  chan struct{}
}

func (s stuckServer) Deliver(_ context.Context, a smtp.Attempt) smtp.Outcome {
	s.began <- a.ID
	<-s.over
	return a.SameForAll(smtp.Result{Reply: *smtp.NewReply(451, [3]int{4, 4, 2}, "interrupted")})
}

// queueWith is a queue with messages for stuck.example, which is being tried, and kept.example, which is kept.
func queueWith(t *testing.T, trying, kept string) *queue.Queue {
	t.Helper()
	root, err := durable.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	store, err := mailstore.Open(root, mailstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for id, to := range map[string]addr.Domain{trying: "stuck.example", kept: "kept.example"} {
		it := queue.NewItem(id, &smtp.Envelope{From: addr.Address{Local: "anna", Domain: "office.example"}},
			[]smtp.Recipient{{Address: addr.Address{Local: "bob", Domain: to}}}, queue.Source{}, 12, time.Now())
		for suffix, text := range map[string][]byte{".env": it.Encode(), ".eml": []byte("Hello bob!\r\n")} {
			if err := os.WriteFile(filepath.Join(root.Name(), "queue", id+suffix), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	server := stuckServer{make(chan string, 1), make(chan struct{})}
	q, err := queue.Open(queue.Config{Routes: &route.Table{Routes: []route.Route{{Name: "kept", Domains: []string{"kept.example"}, Hold: true}}}}, queue.Parts{
		Spool: store.Spool(), Deliver: server, Log: slog.New(slog.DiscardHandler),
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
	return q
}

func TestAskQueue(t *testing.T) {
	const trying, kept = "P3_20260101000000000100000001", "P3_20260101000000000100000002"
	mux := http.NewServeMux()
	q := queueWith(t, trying, kept)
	serveQueue(mux, q, func() int64 { return 3 })
	data := serveTest(t, mux)

	for q.Len() < 2 { // the second is being read
		time.Sleep(time.Millisecond)
	}
	all, err := AskQueue(t.Context(), data, QueueQuestion{})
	if err != nil || all.Count != 2 || len(all.Messages) != 2 || all.Messages[1].ID != kept || all.Messages[1].Item.ID != kept || all.Messages[0].To[0].Address.Local != "bob" {
		t.Fatalf("%+v %v", all, err)
	}
	if len(all.Active) != 1 || all.Active[0].ID != trying || !slices.Equal(all.Active[0].To, []string{"bob@stuck.example"}) {
		t.Errorf("active: %+v", all.Active)
	}
	if len(all.Destinations) != 1 || !all.Destinations[0].ETRNHeld || all.Destinations[0].Waiting != 1 {
		t.Errorf("destinations: %+v", all.Destinations)
	}
	for _, c := range []struct {
		name        string
		in          QueueQuestion
		count, some int
	}{
		{"a limit", QueueQuestion{Limit: 1}, 2, 1},
		{"a domain", QueueQuestion{Filter: queue.Filter{Domain: "kept.example"}}, 1, 1},
		{"a sender", QueueQuestion{Filter: queue.Filter{From: addr.Address{Local: "ANNA", Domain: "office.example"}}}, 2, 2},
		{"a recipient", QueueQuestion{Filter: queue.Filter{To: addr.Address{Local: "carl", Domain: "kept.example"}}}, 0, 0},
		{"an age", QueueQuestion{Filter: queue.Filter{Older: time.Hour}}, 0, 0},
		{"an ID", QueueQuestion{Filter: queue.Filter{IDs: []string{kept}}}, 1, 1},
	} {
		got, err := AskQueue(t.Context(), data, c.in)
		if err != nil || got.Count != c.count || len(got.Messages) != c.some {
			t.Errorf("%s: %d of %d, %v", c.name, len(got.Messages), got.Count, err)
		}
	}
	if now, err := AskQueueActive(t.Context(), data); err != nil || now.Messages != 2 || len(now.Active) != 1 || now.Active[0].Size != 12 {
		t.Errorf("%+v %v", now, err)
	}
	if n, err := AskQueueDo(t.Context(), data, QueueOrder{queue.Remove, queue.Filter{IDs: []string{kept}}}); err != nil || n != 1 {
		t.Errorf("%d %v", n, err)
	}
	if _, err := AskQueueDo(t.Context(), data, QueueOrder{Action: "burn"}); err == nil || !strings.Contains(err.Error(), `the server answers: "burn"`) {
		t.Errorf("%v", err)
	}
	if err := ask(t.Context(), data, http.MethodPost, "/queue/do", "no order", new(int)); err == nil || !strings.Contains(err.Error(), "the question is not understood") {
		t.Errorf("%v", err)
	}
	if left, err := AskQueue(t.Context(), data, QueueQuestion{}); err != nil || left.Count != 1 {
		t.Errorf("%+v %v", left, err)
	}
}
