package main

import (
	"context"

	"pillarbox/cmd/internal/daemon"
	"pillarbox/quota"
)

// askRecount makes the running server of a data directory count anew.
func askRecount(context.Context, string) ([]quota.Recount, error) {
	return nil, daemon.ErrNotRunning
}
