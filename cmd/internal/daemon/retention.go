package daemon

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"pillarbox/cmd/internal/admin"
)

// serveRetention deletes at once when the control socket is asked to.
func serveRetention(mux *http.ServeMux, office *admin.Service) {
	mux.HandleFunc("POST /retention/run", func(w http.ResponseWriter, r *http.Request) {
		all, err := office.By(requestActor(r)).RunRetention(r.Context(), r.FormValue("target"), time.Now())
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		answer(w, all)
	})
}

// AskRetention makes the server of a data directory delete the due mail of a mailbox or of a domain
// at once, or all due mail for "". It returns what the server did.
func AskRetention(ctx context.Context, data, target string) (all []admin.RetentionResult, err error) {
	err = ask(ctx, data, http.MethodPost, "/retention/run?target="+url.QueryEscape(target), nil, &all)
	return all, err
}
