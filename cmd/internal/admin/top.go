package admin

import (
	"time"

	"pillarbox/cmd/internal/traffic"
	"pillarbox/mailstore/sessions"
)

// Top is what a live view shows. It is quick to gather.
type Top struct {
	Now      time.Time       `json:"now"`
	Since    time.Time       `json:"since"` // the start of the server
	Today    traffic.Day     `json:"today"`
	Queue    int             `json:"queue"`  // messages
	Active   int             `json:"active"` // deliveries in progress
	Sessions []sessions.Info `json:"sessions"`
}

// top looks at the running server.
func (o *Service) top() (Top, error) {
	r, err := o.server("answer")
	if err != nil {
		return Top{}, err
	}
	return Top{
		Now: time.Now(), Since: r.Since, Today: r.Today(), Queue: r.Queue.Len(),
		Active: len(r.Queue.Active()), Sessions: r.Sessions.List(),
	}, nil
}
