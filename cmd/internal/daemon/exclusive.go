package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"pillarbox/cmd/internal/ops"
	"pillarbox/mailstore"
	"pillarbox/quota"
)

const (
	// exclusiveTimeout is how long a slow disk may take to sync everything.
	exclusiveTimeout = 2 * time.Minute
	// changeTimeout is how long a command may keep all others out of the store.
	changeTimeout = time.Minute
)

// serveExclusive gives commands the store for themselves.
func serveExclusive(mux *http.ServeMux, store *mailstore.Store, ledger *quota.Ledger) {
	mux.HandleFunc("POST /checkpoint", func(w http.ResponseWriter, _ *http.Request) {
		if err := store.Checkpoint(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		answer(w, struct{}{})
	})
	mux.HandleFunc("POST /exclusive", func(w http.ResponseWriter, r *http.Request) {
		began := false
		err := store.Exclusively(func() error {
			began = true
			defer ledger.Forget()
			return waitForEnd(w, r)
		})
		if err != nil && !began {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
}

// waitForEnd tells a command that it has the store for itself, and waits until it sends the end of its request.
func waitForEnd(w http.ResponseWriter, r *http.Request) error {
	rc := http.NewResponseController(w)
	if err := rc.EnableFullDuplex(); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	if err := rc.Flush(); err != nil {
		return err
	}
	_ = rc.SetReadDeadline(time.Now().Add(changeTimeout))
	_, err := io.Copy(io.Discard, r.Body)
	return err
}

// Checkpoint empties the log of a data directory: by asking its server, or, where none runs, by doing what the next one
// would do first.
func Checkpoint(o *ops.Office) error {
	ctx, cancel := context.WithTimeout(context.Background(), exclusiveTimeout)
	defer cancel()
	return AskOrHold(ctx, o.Root,
		func() error {
			return ask(ctx, o.Config().Data, http.MethodPost, "/checkpoint", nil, new(struct{}))
		},
		func() error { return replay(o.Store) })
}

// Exclusively makes a change of mailboxes' directories while no operation acts on the mail: its server keeps all out, or
// no server runs.
func Exclusively(o *ops.Office, change func() error) error {
	ctx, cancel := context.WithTimeout(context.Background(), exclusiveTimeout)
	defer cancel()
	return AskOrHold(ctx, o.Root,
		func() error { return askExclusive(ctx, o, change) },
		func() error {
			if err := replay(o.Store); err != nil {
				return err
			}
			return o.Store.WithReserve(change)
		})
}

// replay does what a server's start would do first.
func replay(store *mailstore.Store) error {
	return errors.Join(store.Recover(mailstore.RecoverOptions{Offline: true}), store.Close())
}

// askExclusive makes the change between the server's answer and the end of the request.
func askExclusive(ctx context.Context, o *ops.Office, change func() error) error {
	end, request := io.Pipe()
	defer request.Close()
	return requestWith(ctx, o.Config().Data, http.MethodPost, "/exclusive", end, func(answer io.Reader) error {
		err := o.Store.WithReserve(change)
		closed := request.Close()
		if _, ended := io.Copy(io.Discard, answer); ended != nil && err == nil {
			err = fmt.Errorf("the change is made, but the server went away meanwhile: %w", ended)
		}
		return errors.Join(err, closed)
	})
}
