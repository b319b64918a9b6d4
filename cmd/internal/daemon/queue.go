package daemon

import (
	"context"
	"encoding/json"
	"net/http"

	"pillarbox/smtp/queue"
)

// QueueQuestion asks for messages in the queue.
type QueueQuestion struct {
	Filter queue.Filter `json:"filter"`
	Limit  int          `json:"limit,omitempty"` // of messages; 0: all
}

// QueueAnswer is what the running server knows of messages in its queue, and what they wait for.
type QueueAnswer struct {
	Messages     []QueuedItem        `json:"messages"`
	Count        int                 `json:"count"`        // of all that were asked for, beyond the limit too
	Newer        []string            `json:"newer"`        // IDs of the messages that stay untouched: see queue.NewerError
	Active       []queue.Active      `json:"active"`       // attempts for these messages that are under way
	Destinations []queue.Destination `json:"destinations"` // where mail waits for more than its turn
}

// QueuedItem is an item with its ID, which the state on disk has in its name.
type QueuedItem struct {
	ID string `json:"id"`
	*queue.Item
}

// QueueOrder is something to be done to messages in the queue.
type QueueOrder struct {
	Action queue.Action `json:"action"`
	Filter queue.Filter `json:"filter"`
}

// QueueActivity is what is being delivered now.
type QueueActivity struct {
	Messages int            `json:"messages"` // in the queue
	Active   []queue.Active `json:"active"`
	// Suppressed is how many reports and notices were not sent since the start: their sender had no standing, or they were
	// too many.
	Suppressed int64 `json:"suppressed_reports"`
}

// serveQueue puts the queue on the control socket.
func serveQueue(mux *http.ServeMux, q *queue.Queue, suppressed func() int64) {
	mux.HandleFunc("POST /queue/list", asked(func(in QueueQuestion) (QueueAnswer, error) { return lookIntoQueue(q, in) }))
	mux.HandleFunc("POST /queue/do", func(w http.ResponseWriter, r *http.Request) {
		asked(func(in QueueOrder) (int, error) {
			count, err := q.Do(in.Action, in.Filter)
			if count > 0 {
				record(r, "queue", map[string]any{"messages": count, "action": in.Action, "chosen": in.Filter})
			}
			return count, err
		})(w, r)
	})
	mux.HandleFunc("GET /queue/active", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, QueueActivity{q.Len(), q.Active(), suppressed()})
	})
}

// asked answers a question that comes as JSON.
func asked[In, Out any](look func(In) (Out, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in In
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			http.Error(w, "the question is not understood: "+err.Error(), http.StatusBadRequest)
			return
		}
		out, err := look(in)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		answer(w, out)
	}
}

func lookIntoQueue(q *queue.Queue, in QueueQuestion) (QueueAnswer, error) {
	items, count, err := q.List(in.Filter, in.Limit)
	if err != nil {
		return QueueAnswer{}, err
	}
	out := QueueAnswer{Messages: []QueuedItem{}, Count: count, Newer: q.Newer(), Active: []queue.Active{}, Destinations: []queue.Destination{}}
	listed := make(map[string]bool, len(items))
	for _, it := range items {
		out.Messages = append(out.Messages, QueuedItem{it.ID, it})
		listed[it.ID] = true
	}
	for _, a := range q.Active() {
		if listed[a.ID] {
			out.Active = append(out.Active, a)
		}
	}
	for _, d := range q.Destinations() {
		if d.ETRNHeld || d.Failures > 0 || !d.NotBefore.IsZero() {
			out.Destinations = append(out.Destinations, d)
		}
	}
	return out, nil
}

// AskQueue asks the server of a data directory for messages in its queue.
func AskQueue(ctx context.Context, data string, in QueueQuestion) (out QueueAnswer, err error) {
	err = ask(ctx, data, http.MethodPost, "/queue/list", in, &out)
	for i := range out.Messages {
		if m := &out.Messages[i]; m.Item != nil {
			m.Item.ID = m.ID
		}
	}
	return out, err
}

// AskQueueDo makes the server of a data directory do something to messages in its queue, and returns to how many it did.
func AskQueueDo(ctx context.Context, data string, order QueueOrder) (count int, err error) {
	err = ask(ctx, data, http.MethodPost, "/queue/do", order, &count)
	return count, err
}

// AskQueueActive asks the server of a data directory what it is delivering now.
func AskQueueActive(ctx context.Context, data string) (out QueueActivity, err error) {
	err = ask(ctx, data, http.MethodGet, "/queue/active", nil, &out)
	return out, err
}
