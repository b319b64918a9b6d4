package daemon

import (
	"context"
	"net/http"

	"pillarbox/quota"
)

// serveQuota answers the questions about quotas on the control socket.
func serveQuota(mux *http.ServeMux, ledger *quota.Ledger) {
	mux.HandleFunc("POST /quota/recount", func(w http.ResponseWriter, _ *http.Request) {
		all, err := ledger.Recount()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		answer(w, all)
	})
}

// AskRecount makes the server of a data directory count anew every mailbox and
// domain that it has counted, and returns what it believed and what it found.
func AskRecount(ctx context.Context, data string) (all []quota.Recount, err error) {
	err = ask(ctx, data, http.MethodPost, "/quota/recount", nil, &all)
	return all, err
}
