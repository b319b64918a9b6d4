package server

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"pillarbox/mailstore/directory"
	"pillarbox/smtp/wire"
)

// An entry that an administrator must correct is refused with a permanent error. Other failed
// look-ups get a temporary one.
func TestFailedLookUp(t *testing.T) {
	s := &session{log: slog.New(slog.DiscardHandler)}
	bad := fmt.Errorf("group: %w: more than 1000 members", directory.ErrUnusable)
	for err, want := range map[error]string{
		bad:                 "550 5.3.5 The recipient cannot be used: its entry in the directory has to be changed; tell the postmaster",
		errors.New("no DC"): "451 4.3.0 Cannot look up the recipient now, try again later",
	} {
		if got := s.failed("the recipient", err).Error(); got != want {
			t.Errorf("%v: %s", err, got)
		}
	}
	if got := dataReply(bad, new(wire.Config)).Error(); got != "550 5.3.5 The sender in the header cannot be used: its entry in the directory has to be changed; tell the postmaster" {
		t.Error(got)
	}
}
