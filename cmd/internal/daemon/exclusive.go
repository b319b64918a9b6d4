package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"pillarbox/cmd/internal/admin"
	"pillarbox/mailstore"
	"pillarbox/quota"
)

const (
	// exclusiveTimeout is how long a slow disk may take to sync everything.
	exclusiveTimeout = 2 * time.Minute
	// changeTimeout is how long a command may keep all others out of the store.
	changeTimeout = time.Minute
	// keptOut ends the answer if all others were kept out until the command had done its change.
	keptOut = "kept out"
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
			return waitForEnd(w, r, changeTimeout)
		})
		if err != nil && !began {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
}

// waitForEnd tells a command that it has the store for itself, waits until it sends the end of its request, and tells it
// whether that came in time.
func waitForEnd(w http.ResponseWriter, r *http.Request, most time.Duration) error {
	rc := http.NewResponseController(w)
	if err := rc.EnableFullDuplex(); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	if err := rc.Flush(); err != nil {
		return err
	}
	_ = rc.SetReadDeadline(time.Now().Add(most))
	_, err := io.Copy(io.Discard, r.Body)
	if err == nil {
		_, err = io.WriteString(w, keptOut)
	}
	return err
}

// Checkpoint empties the log of a data directory: by asking its server, or, where none runs, by doing what the next one
// would do first.
func Checkpoint(o *admin.Service) error {
	ctx, cancel := context.WithTimeout(context.Background(), exclusiveTimeout)
	defer cancel()
	return AskOrHold(ctx, o.Root,
		func() error { return askCheckpoint(ctx, o.Config().Data) },
		func() error { return replay(o) })
}

func askCheckpoint(ctx context.Context, data string) error {
	return ask(ctx, data, http.MethodPost, "/checkpoint", nil, new(struct{}))
}

// Exclusively makes a change of mailboxes' directories while no operation acts on the mail: its server keeps all out, or
// no server runs.
func Exclusively(o *admin.Service, change func() error) error {
	ctx, cancel := context.WithTimeout(context.Background(), exclusiveTimeout)
	defer cancel()
	return AskOrHold(ctx, o.Root,
		func() error {
			return askExclusive(ctx, o.Config().Data, func() error { return o.Store.WithReserve(change) })
		},
		func() error {
			if err := replay(o); err != nil {
				return err
			}
			return o.Store.WithReserve(change)
		})
}

// replay does what a server's start would do first.
func replay(o *admin.Service) error {
	opts, err := recoverOptions(o.Root)
	if err != nil {
		return err
	}
	opts.Offline = true
	return errors.Join(o.Store.Recover(opts), o.Store.Close())
}

// recoverOptions are those that follow from the file system.
func recoverOptions(root admin.Files) (mailstore.RecoverOptions, error) {
	_, trusted, err := root.Filesystem()
	return mailstore.RecoverOptions{SyncEach: !trusted}, err
}

// askExclusive makes the change between the server's answer and the end of the request. If the change took so long that
// the server let others in, the log may know mail by names that have changed; so it is emptied once more.
func askExclusive(ctx context.Context, data string, change func() error) error {
	end, request := io.Pipe()
	defer request.Close()
	return requestWith(ctx, data, http.MethodPost, "/exclusive", end, func(answer io.Reader) error {
		err := errors.Join(change(), request.Close())
		if text, _ := io.ReadAll(answer); string(text) == keptOut {
			return err
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), exclusiveTimeout)
		defer cancel()
		if late := askCheckpoint(ctx, data); late != nil {
			err = errors.Join(err, fmt.Errorf("the change took so long that the server went on meanwhile, and its log cannot be emptied: %v", late))
		}
		return err
	})
}
