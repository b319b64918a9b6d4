package admin

import (
	"context"
	"fmt"
	"time"

	"pillarbox/mailstore/sessions"
)

// listSessions lists the clients that are connected to the running server.
func (o *Service) listSessions() ([]sessions.Info, error) {
	r, err := o.server("answer")
	if err != nil {
		return nil, err
	}
	return r.Sessions.List(), nil
}

// killWait is how long killSession waits for the end of a session.
const killWait = 3 * time.Second

// killSession closes a session. The audit log has whose it was.
func (o *Service) killSession(ctx context.Context, id uint64) (Change, error) {
	r, err := o.server("close a session")
	if err != nil {
		return Change{}, err
	}
	s := r.Sessions.Kill(id)
	if s == nil {
		return Change{}, Hint(fmt.Errorf("there is no session %d", id),
			"it may have ended; 'pillarbox admin sessions' lists those that there are")
	}
	info := s.Info()
	o.Record(fmt.Sprintf("session %d", id), nil, map[string]any{
		"killed": true, "service": info.Service, "remote_ip": info.Remote, "user": info.User,
	})
	late := time.NewTimer(killWait)
	defer late.Stop()
	select {
	case <-s.Ended():
		return changed(nil, nil, "session %d closed", id)
	case <-late.C:
	case <-ctx.Done():
	}
	return changed(nil, nil, "session %d closes when the command in progress has ended", id)
}
