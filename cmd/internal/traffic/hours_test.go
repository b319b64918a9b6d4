package traffic

import (
	"testing"
	"testing/synctest"
	"time"

	"pillarbox/mailstore/track"
)

func TestHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(40 * time.Minute)
		c := New()
		for n := range 30 {
			for range n + 1 {
				c.Read(&track.Event{Kind: track.Delivered, Time: time.Now()})
			}
			c.Read(&track.Event{Kind: track.Refused, Time: time.Now()})
			c.Read(&track.Event{Kind: track.Fetched, Time: time.Now()})
			if n == 2 {
				all := c.Hours()
				if len(all) != 24 || all[20].Known || !all[21].Known || all[23].Delivered != 3 || all[21].Delivered != 1 {
					t.Errorf("after three hours: %+v", all)
				}
			}
			time.Sleep(time.Hour)
		}
		all := c.Hours()
		if len(all) != 24 || all[23].Delivered != 0 || all[22].Delivered != 30 || all[0].Delivered != 8 || all[0].Refused != 1 || !all[0].Known {
			t.Errorf("%+v", all)
		}
		if n := len(c.hours); n > 24 {
			t.Errorf("%d hours are kept", n)
		}
		// A clock that jumps back and forth fills no memory.
		for n := range 1000 {
			c.Read(&track.Event{Kind: track.Refused, Time: time.Now().Add(time.Duration(n*37) * time.Hour)})
		}
		if n := len(c.hours); n > 2*hoursShown+1 {
			t.Errorf("%d hours are kept after jumps", n)
		}
	})
}
