package admin

import (
	"testing"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/track"
)

// An operator of one domain gets the figures of this domain alone, and none of devices.
func TestStatisticsOfOperators(t *testing.T) {
	o := town(t)
	for _, to := range []string{"anna@ours.example", "boss@theirs.example", "carl@theirs.example"} {
		o.addEvent(track.Event{Kind: track.Delivered, ID: "M1", To: to, Size: 100})
	}
	for _, test := range []struct {
		domains    []addr.Domain
		by         string
		rows, mail int64 // rows, and the messages in them
	}{
		{[]addr.Domain{"ours.example"}, "mailbox", 3, 1},
		{[]addr.Domain{"ours.example"}, "domain", 1, 1},
		{[]addr.Domain{"ours.example"}, "day", 1, 1},
		{[]addr.Domain{"ours.example", "theirs.example"}, "domain", 2, 3},
		{nil, "mailbox", 0, 0},
		{nil, "day", 0, 0},
	} {
		s, err := o.As(scope(test.domains...)).statistics(t.Context(), StatisticsQuestion{By: test.by})
		messages := int64(0)
		for _, r := range s.Rows {
			messages += r.In.Messages
		}
		if err != nil || int64(len(s.Rows)) != test.rows || messages != test.mail {
			t.Errorf("%v by %s: %+v, %v", test.domains, test.by, s.Rows, err)
		}
	}
	if s, err := o.As(scope("ours.example")).statistics(t.Context(), StatisticsQuestion{By: "device"}); err == nil {
		t.Errorf("an operator of one domain sees devices: %+v", s)
	}
	if s, err := o.statistics(t.Context(), StatisticsQuestion{By: "day"}); err != nil || s.Rows[0].In.Messages != 3 {
		t.Errorf("root sees %+v, %v", s, err)
	}
}
