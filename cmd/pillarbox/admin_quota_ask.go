package main

import (
	"context"

	"pillarbox/cmd/internal/daemon"
	"pillarbox/quota"
)

// askRecount makes the running server of a data directory count anew.
func askRecount(ctx context.Context, data string) ([]quota.Recount, error) {
	return daemon.AskRecount(ctx, data)
}
