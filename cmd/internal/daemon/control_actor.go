package daemon

import (
	"context"
	"net"
	"net/http"
	"net/url"

	"pillarbox/cmd/internal/admin"
)

// Who asks for something over the control socket, he says himself: only root and
// the server's own account can open it, and these could write the audit log
// themselves.

type actorKey struct{}

// WithActor says on whose behalf the server is asked with this context, for the
// audit log.
func WithActor(ctx context.Context, actor admin.Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, actor)
}

// The fields of a request that name the actor.
const (
	whoField  = "Pillarbox-Who"
	fromField = "Pillarbox-From"
	actField  = "Pillarbox-Act"
)

// signRequest says in the request on whose behalf it is.
func signRequest(req *http.Request) {
	actor, ok := req.Context().Value(actorKey{}).(admin.Actor)
	if !ok {
		return
	}
	for field, text := range map[string]string{whoField: actor.Who, fromField: actor.From, actField: actor.Act} {
		req.Header.Set(field, url.QueryEscape(text))
	}
}

// requestActor is on whose behalf a request is; without a word, it is the user at
// the other end.
func requestActor(r *http.Request) admin.Actor {
	read := func(field string) string {
		const enough = 200
		text, _ := url.QueryUnescape(r.Header.Get(field))
		return text[:min(len(text), enough)]
	}
	actor := admin.Actor{Who: read(whoField), From: read(fromField), Act: read(actField)}
	if actor.Who == "" {
		actor = admin.Actor{Who: "unknown", From: "control socket", Act: r.Method + " " + r.URL.Path}
		if peer, ok := r.Context().Value(peerKey{}).(peer); ok {
			actor.Who = peer.name
		}
	}
	return actor
}

type (
	peerKey   struct{}
	officeKey struct{}
)

// rememberPeer is an http.Server's ConnContext that knows who is at the other end.
func rememberPeer(ctx context.Context, c net.Conn) context.Context {
	p, err := peerOf(c)
	if err != nil {
		return ctx
	}
	return context.WithValue(ctx, peerKey{}, p)
}

// recorded lets the handlers of mux record what they do.
func recorded(office *admin.Service, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), officeKey{}, office)))
	})
}

// record writes in the audit log what a request has done; after is what goes into
// JSON.
func record(r *http.Request, object string, after any) {
	if office, ok := r.Context().Value(officeKey{}).(*admin.Service); ok {
		office.By(requestActor(r)).Record(object, nil, after)
	}
}
