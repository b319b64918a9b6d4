package main

import (
	"testing"

	"pillarbox/mailstore/track"
)

// A story without its beginning does not say that the message is a report.
func TestStorySender(t *testing.T) {
	accepted := []track.Event{{Kind: track.Accepted}}
	for _, test := range []struct {
		story track.Story
		want  string
	}{
		{track.Story{From: "x@far.example"}, " from x@far.example"},
		{track.Story{Events: accepted}, " from <> (a report)"},
		{track.Story{Events: []track.Event{{Kind: track.Expired}}}, ", accepted before the first of these events"},
	} {
		if got := storySender(test.story); got != test.want {
			t.Errorf("%+v: %q, want %q", test.story, got, test.want)
		}
	}
}
