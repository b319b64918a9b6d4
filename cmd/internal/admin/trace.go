package admin

import (
	"cmp"
	"context"

	"pillarbox/mailstore/track"
)

// TraceQuestion asks what happened to mail.
type TraceQuestion struct {
	track.Query      // Limit does not count
	Messages    int  // at most, the newest; 0: 20
	Events      bool // only the events that match, as Others, without the stories of their messages
}

// Limits of an answer.
const (
	tracedMessages = 20
	tracedEvents   = 1000
)

// trace answers a TraceQuestion.
func (o *Service) trace(q TraceQuestion) (track.Stories, error) {
	if !o.Config().Events.Enabled {
		return track.Stories{}, errNoEvents()
	}
	o.Events.Flush()
	if q.Events {
		q.Limit = tracedEvents
		found, err := track.Search(context.Background(), o.Root, q.Query)
		return track.Stories{Others: found.Events, More: found.More, Damaged: found.Damaged}, err
	}
	return track.FindStories(context.Background(), o.Root, q.Query,
		cmp.Or(q.Messages, tracedMessages))
}
