package admin

import (
	"cmp"
	"context"

	"pillarbox/cmd/internal/fetch"
)

// Fetch collects mail from other servers. See package fetch.
type Fetch interface {
	List() []fetch.Status
	Now(ctx context.Context, name string) ([]fetch.Result, error)
}

// listFetch lists the [[fetch]] entries of the running server.
func (o *Service) listFetch() ([]fetch.Status, error) {
	r, err := o.server("answer")
	if err != nil {
		return nil, err
	}
	return r.Fetch.List(), nil
}

// fetchNow makes the running server ask a [[fetch]] at once, or every one for "". Results without
// an end belong to entries that are still running.
func (o *Service) fetchNow(ctx context.Context, name string) ([]fetch.Result, error) {
	r, err := o.server("answer")
	if err != nil {
		return nil, err
	}
	results, err := r.Fetch.Now(ctx, name)
	if len(results) > 0 {
		o.Record(cmp.Or(name, "all [[fetch]]"), nil, map[string]any{"fetch": "now"})
	}
	return results, err
}
