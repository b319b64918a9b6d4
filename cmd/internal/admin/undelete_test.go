package admin

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pillarbox/mailstore"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/durable"
)

// putDeleted puts deleted messages into a mailbox, each of 3 octets.
func putDeleted(t *testing.T, o *Service, dir string, at ...time.Time) {
	t.Helper()
	if err := o.Root.MkdirAll(dir+"/"+mailstore.DeletedDir, 0o700); err != nil {
		t.Fatal(err)
	}
	for i, when := range at {
		name := fmt.Sprintf("P3_%s1111%08d.P3_200501100900470265%08d_3.eml", when.UTC().Format("20060102150405"), i, i)
		if err := durable.WriteFile(o.Root, dir+"/"+mailstore.DeletedDir+"/"+name, []byte("x\r\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPurgeRound(t *testing.T) {
	const day = 24 * time.Hour
	now := time.Date(2026, 12, 1, 3, 30, 0, 0, time.UTC)
	for _, c := range []struct {
		name   string
		period time.Duration
		most   int64
		want   []int // the ages of those that stay, in days
	}{
		{"the period", 7 * day, 0, []int{6, 2, 1}},
		{"a longer one", 30 * day, 0, []int{8, 6, 2, 1}},
		{"off", 0, 0, nil},
		{"too much", 30 * day, 8, []int{2, 1}},
		{"just not too much", 30 * day, 9, []int{6, 2, 1}},
		{"too old and too much", 2 * day, 5, []int{1}},
	} {
		o := quotaOffice(t)
		cfg := *o.Config()
		cfg.Mailboxes.Undelete, cfg.Mailboxes.UndeleteSize = c.period, c.most
		if err := o.SetConfig(&cfg); err != nil {
			t.Fatal(err)
		}
		var at []time.Time
		for _, age := range []int{8, 6, 2, 1} {
			at = append(at, now.Add(-time.Duration(age)*day))
		}
		putDeleted(t, o, annaDir, at...)
		removed := 0
		err := o.PurgeRound(t.Context(), now, func(box addr.Address, gone mailstore.Stat) { removed += gone.Messages })
		deleted, failed := o.Store.Deleted(annaDir)
		var got []int
		for _, d := range deleted {
			got = append(got, int(now.Sub(d.Deleted)/day))
		}
		if !slices.Equal(got, c.want) || removed != 4-len(c.want) || errors.Join(err, failed) != nil {
			t.Errorf("%s: %v stay, want %v; %d removed; %v, %v", c.name, got, c.want, removed, err, failed)
		}
	}
}

// TestMakeRoom fills the disk: the oldest deleted mail goes first, no more of it than is needed, and
// deletions are final meanwhile.
func TestMakeRoom(t *testing.T) {
	const day = 24 * time.Hour
	now := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	for enough, want := range map[int]int{0: 4, 1: 3, 3: 1, 4: 0, 5: 0} { // messages that must go, and that stay
		o := quotaOffice(t)
		removed := 0
		o.space = func(string) (durable.DiskSpace, error) {
			free := int64(undeleteFloor)
			if removed < enough {
				free--
			}
			return durable.DiskSpace{Free: free}, nil
		}
		putDeleted(t, o, annaDir, now.Add(-6*day), now.Add(-3*day), now.Add(-2*day), now.Add(-time.Minute))
		err := o.MakeRoom(t.Context(), now, func(_ addr.Address, gone mailstore.Stat) { removed += gone.Messages })
		deleted, failed := o.Store.Deleted(annaDir)
		if len(deleted) != want || errors.Join(err, failed) != nil {
			t.Errorf("%d must go: %d stay, want %d; %v, %v", enough, len(deleted), want, err, failed)
		}
		putOld(t, o, annaDir, now, 1)
		m, err := o.Store.OpenMaildrop(annaDir)
		if err != nil || m.Remove([]int{0}) != nil {
			t.Fatal(err)
		}
		more, err := o.Store.Deleted(annaDir)
		if kept := len(more) > len(deleted); kept != (enough <= 4) || err != nil {
			t.Errorf("%d must go: the next deletion is kept: %v, %v", enough, kept, err)
		}
	}
}
