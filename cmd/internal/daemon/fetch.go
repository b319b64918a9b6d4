package daemon

import (
	"cmp"
	"context"
	"net/http"
	"net/url"

	"pillarbox/cmd/internal/fetch"
)

// serveFetch puts the collecting of mail on the control socket.
func serveFetch(mux *http.ServeMux, f *fetch.Scheduler) {
	mux.HandleFunc("GET /fetch", func(w http.ResponseWriter, _ *http.Request) { answer(w, f.List()) })
	mux.HandleFunc("POST /fetch/now", func(w http.ResponseWriter, r *http.Request) {
		name := r.FormValue("name")
		record(r, cmp.Or(name, "all [[fetch]]"), map[string]any{"fetch": "now"})
		results, err := f.Now(r.Context(), name)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		answer(w, results)
	})
}

// AskFetchList asks the server of a data directory for the status of every [[fetch]].
func AskFetchList(ctx context.Context, data string) (all []fetch.Status, err error) {
	err = ask(ctx, data, http.MethodGet, "/fetch", nil, &all)
	return all, err
}

// AskFetchNow makes the server of a data directory ask a [[fetch]] at once, or every one for "".
// Results without an end belong to entries that are still running.
func AskFetchNow(ctx context.Context, data, name string) (all []fetch.Result, err error) {
	err = ask(ctx, data, http.MethodPost, "/fetch/now?name="+url.QueryEscape(name), nil, &all)
	return all, err
}
