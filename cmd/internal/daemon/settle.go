package daemon

import (
	"context"
	"errors"
	"net/http"
	"time"

	"pillarbox/cmd/internal/ops"
	"pillarbox/mailstore"
)

// settleTimeout is how long a slow disk may take to sync everything.
const settleTimeout = 2 * time.Minute

// serveSettle empties the store's log when the control socket is asked to.
func serveSettle(mux *http.ServeMux, store *mailstore.Store) {
	mux.HandleFunc("POST /settle", func(w http.ResponseWriter, _ *http.Request) {
		if err := store.Settle(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		answer(w, struct{}{})
	})
}

// SettleLog empties the log of a data directory: by asking its server, or, where none runs, by doing what the next one
// would do first.
func SettleLog(o *ops.Office) error {
	ctx, cancel := context.WithTimeout(context.Background(), settleTimeout)
	defer cancel()
	return AskOrHold(ctx, o.Root,
		func() error {
			return ask(ctx, o.Config().Data, http.MethodPost, "/settle", nil, new(struct{}))
		},
		func() error {
			return errors.Join(o.Store.Recover(mailstore.Behind{NoLog: true}), o.Store.Close())
		})
}
