package admin

import (
	"errors"
	"time"
)

// QuarantineOrder chooses messages in quarantine that go back into the queue.
type QuarantineOrder struct {
	Words []string // IDs, or parts of them
	From  string   // with To, the new sender of the only message; "<>": none; "": as its state says
	To    []string // the new recipients of the only message; none: as its state says
}

// QuarantineRetried is the messages that went back into the queue.
type QuarantineRetried struct {
	Running bool     `json:"running"` // the server, which tries them at once
	Retried []string `json:"retried"`
}

// retryQuarantined puts messages back into the queue. A running server tries them at once.
func (o *Service) retryQuarantined(in QuarantineOrder) (done QuarantineRetried, err error) {
	with, err := o.parseNewState(in)
	if err != nil {
		return done, err
	}
	ids, err := o.QuarantineIDs(in.Words)
	switch {
	case err != nil:
		return done, err
	case len(ids) == 0:
		return done, errNoChoice()
	case len(in.To) > 0 && len(ids) > 1:
		return done, usage(errors.New("new recipients go with one message"))
	}
	restored, err := o.RestoreQuarantined(ids, with, time.Now())
	done = QuarantineRetried{Running: o.Running != nil, Retried: restored}
	if done.Running {
		for _, id := range restored {
			o.Running.Queue.Readmit(id)
		}
	}
	return done, err
}

// parseNewState reads the state that an order gives to a message.
func (o *Service) parseNewState(in QuarantineOrder) (with NewState, err error) {
	if with.To, err = o.parseRecipients(in.To); err != nil {
		return with, err
	}
	if with.Null = in.From == "<>"; !with.Null {
		with.From, err = o.parseFlag("from", in.From)
	}
	return with, err
}

// QuarantineShown is a message in quarantine, and what to do about it.
type QuarantineShown struct {
	Message Spooled
	Hint    string
}

func (o *Service) showQuarantined(word string) (QuarantineShown, error) {
	s, err := o.ShowQuarantined(word)
	if err != nil {
		return QuarantineShown{}, err
	}
	return QuarantineShown{s, s.QuarantineHint()}, nil
}

// QuarantineToRemove chooses messages in quarantine that are deleted.
type QuarantineToRemove struct {
	Words []string // IDs, or parts of them
	All   bool     // all messages, without Words
	Sure  bool
	// Confirmed are the IDs that a question was about: see QueueOrder.
	Confirmed []string
}

func (o *Service) removeQuarantined(in QuarantineToRemove) (Removed, error) {
	if len(in.Words) == 0 && !in.All {
		return Removed{}, errNoChoice()
	}
	ids, err := o.QuarantineIDs(in.Words)
	if err == nil && len(in.Words) == 0 {
		ids, err = o.spooledIDs(quarantineDir)
	}
	if err != nil {
		return Removed{}, err
	}
	ids = confirmedOf(ids, in.Confirmed)
	return removeChosen(ids, in.Words, in.Sure, "quarantine", o.RemoveQuarantined)
}
