package admin

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pillarbox/mailstore"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// putOld stores a message of one byte with this time of arrival.
func putOld(t *testing.T, o *Service, dir string, arrived time.Time, serial int) {
	t.Helper()
	name := fmt.Sprintf("P3_%s4711%08d_1.eml", arrived.UTC().Format("20060102150405"), serial)
	if err := os.WriteFile(filepath.Join(o.Root.Name(), dir, name), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func setDefaults(o *Service, after, fetched int) {
	cfg := *o.Config()
	cfg.Mailboxes.DeleteAfter, cfg.Mailboxes.DeleteFetchedAfter = after, fetched
	o.SetConfig(&cfg)
}

// The most specific setting counts, separately for each of the two limits.
func TestRuleOf(t *testing.T) {
	o := quotaOffice(t)
	for _, tt := range []struct {
		config, domain, box directory.Retention
		want                mailstore.Rule
		days                int
	}{
		{},
		{config: directory.Retention{DeleteAfter: 30}, want: mailstore.Rule{After: 30}, days: 30},
		{config: directory.Retention{DeleteAfter: 30, DeleteFetchedAfter: 7}, domain: directory.Retention{DeleteAfter: 60}, want: mailstore.Rule{After: 60, FetchedAfter: 7}, days: 7},
		{domain: directory.Retention{DeleteAfter: 60, DeleteFetchedAfter: -1}, box: directory.Retention{DeleteAfter: -5, DeleteFetchedAfter: 3}, want: mailstore.Rule{FetchedAfter: 3}, days: 3},
		{config: directory.Retention{DeleteAfter: 30, DeleteFetchedAfter: 7}, domain: directory.Retention{DeleteAfter: -1, DeleteFetchedAfter: -1}},
	} {
		setDefaults(o, tt.config.DeleteAfter, tt.config.DeleteFetchedAfter)
		anna := addr.Address{Local: "anna", Domain: "office.example"}
		if err := o.Dir.UpdateDomain(anna.Domain, func(f *directory.DomainFile) error { f.Retention = tt.domain; return nil }); err != nil {
			t.Fatal(err)
		}
		if err := o.Dir.UpdateAccount(anna, func(a *directory.Account) error { a.Retention = tt.box; return nil }); err != nil {
			t.Fatal(err)
		}
		box, err := o.mailbox("anna")
		if got := o.ruleOf(box); got != tt.want || err != nil {
			t.Errorf("%+v: %v, %v", tt, got, err)
		}
		if got := o.KeptDays(annaDir); got != tt.days {
			t.Errorf("%+v: %d days", tt, got)
		}
		if got := o.NotesFetched(annaDir); got != (tt.want.FetchedAfter > 0) {
			t.Errorf("%+v: notes what is fetched: %v", tt, got)
		}
	}
}

// round returns the result of a RetentionRound in short: "deleted 3", "waits 2", "late 1",
// "problem".
func round(t *testing.T, o *Service, now time.Time, act bool) string {
	t.Helper()
	var words []string
	err := o.RetentionRound(t.Context(), now, act, func(out RetentionOutcome) {
		if out.Messages > 0 {
			words = append(words, fmt.Sprintf("deleted %d", out.Messages))
		}
		kind := "waits"
		if out.Late {
			kind = "late"
		}
		if out.Due.Messages > 0 {
			words = append(words, fmt.Sprintf("%s %d", kind, out.Due.Messages))
		}
		if out.Problem != "" {
			words = append(words, "problem")
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(words, ", ")
}

// Each step is a day after the previous one, unless it sets another time.
func TestRetentionRounds(t *testing.T) {
	type step struct {
		do    func(o *Service, now time.Time)
		after time.Duration
		look  bool
		want  string
	}
	const day = 24 * time.Hour
	put := func(age, serial int) func(*Service, time.Time) {
		return func(o *Service, now time.Time) { putOld(t, o, annaDir, now.AddDate(0, 0, -age), serial) }
	}
	rule := func(after int) func(*Service, time.Time) {
		return func(o *Service, _ time.Time) { setDefaults(o, after, 0) }
	}
	quiet := func(n int) (steps []step) {
		for range n {
			steps = append(steps, step{})
		}
		return steps
	}
	late := func(n int) []step { return slices.Repeat([]step{{want: "late 1"}}, n) }
	for name, steps := range map[string][]step{
		"no rule": quiet(3),
		"a rule looks first, deletes what falls due after a day, and what was due after a week": append(append(
			[]step{{do: put(27, 1)}, {do: put(100, 2)}, {do: rule(30), look: true, want: "waits 1"}, {after: time.Hour, want: "waits 1"}},
			step{do: rule(31), after: time.Hour, want: "waits 1"}, step{want: "late 1"}, step{want: "deleted 1, late 1"}),
			append(late(5), step{want: "deleted 1"}, step{})...),
		"a stricter rule is a new one": {
			{do: rule(30)}, {do: put(10, 1)}, {do: rule(5), want: "waits 1"}, {want: "late 1"},
		},
		"mail that turns up old is kept for a week": append(append(
			[]step{{do: rule(30)}, {}, {do: put(29, 1)}, {want: "deleted 1"}, {do: put(5000, 2), want: "late 1"}}, late(3)...),
			append([]step{{do: put(5000, 3), want: "late 2"}}, append(slices.Repeat([]step{{want: "late 2"}}, 6), step{want: "deleted 2"}, step{})...)...),
		"after a long time away rules are new": {
			{do: rule(30)}, {}, {do: put(29, 1)}, {after: 5 * day, want: "waits 1"}, {want: "late 1"},
		},
		"a weekend is no long time": {
			{do: rule(30)}, {}, {do: put(29, 1)}, {after: 3 * day, want: "deleted 1"},
		},
		"the clock is years ahead for a while": {
			{do: rule(30)}, {}, {do: put(1, 1)}, {after: 3000 * day, want: "waits 1"}, {after: time.Hour, want: "waits 1"}, {after: -3000 * day}, {}, {},
		},
		"the clock was years behind": {
			{do: rule(30)}, {after: -3000 * day}, {do: put(0, 1)}, {after: 3000 * day, want: "waits 1"}, {want: "late 1"},
		},
		"nobody knows what was seen": {
			{do: rule(30)}, {}, {do: put(29, 1)},
			{do: func(o *Service, _ time.Time) {
				os.WriteFile(filepath.Join(o.Root.Name(), watchedFile), []byte("{"), 0o600)
			}, want: "waits 1"},
		},
		"in use": {
			{do: rule(30)}, {}, {do: put(29, 1)},
			{do: func(o *Service, _ time.Time) { mustOpen(t, o, annaDir) }, want: "problem"}, {do: func(*Service, time.Time) {}, want: "problem"},
		},
		"a damaged account": {
			{do: rule(30)}, {}, {do: put(29, 1)},
			{do: func(o *Service, _ time.Time) {
				os.WriteFile(filepath.Join(o.Root.Name(), annaDir, "account.json"), []byte("{"), 0o600)
			}, want: "problem"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			o, now := quotaOffice(t), noon
			for i, s := range steps {
				if s.after == 0 {
					s.after = day
				}
				now = now.Add(s.after)
				if s.do != nil {
					s.do(o, now)
				}
				if got := round(t, o, now, !s.look); got != s.want {
					t.Fatalf("step %d: %q, want %q", i+1, got, s.want)
				}
			}
		})
	}
}

func mustOpen(t *testing.T, o *Service, dir string) *mailstore.Maildrop {
	t.Helper()
	m, err := o.Store.OpenMaildrop(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// A round that is stopped deletes no more mail and keeps its records.
func TestRetentionRoundStops(t *testing.T) {
	o := quotaOffice(t)
	setDefaults(o, 30, 0)
	round(t, o, noon, true)
	round(t, o, noon.AddDate(0, 0, 1), true)
	putOld(t, o, bossDir, noon.AddDate(0, 0, -29).Add(time.Hour), 1)
	putOld(t, o, annaDir, noon.AddDate(0, 0, -29).Add(time.Hour), 2)
	ctx, stop := context.WithCancel(t.Context())
	err := o.RetentionRound(ctx, noon.AddDate(0, 0, 2), true, func(RetentionOutcome) { stop() })
	if err == nil {
		t.Error("no error")
	}
	if got := round(t, o, noon.AddDate(0, 0, 3), true); got != "deleted 1" {
		t.Errorf("next time: %q", got)
	}
}

// A run deletes all due mail at once, releases the quota, and continues after a mailbox in use.
func TestRunRetention(t *testing.T) {
	o := quotaOffice(t)
	setDefaults(o, 30, 0)
	for i, dir := range []string{annaDir, bossDir, bossDir} {
		putOld(t, o, dir, noon.AddDate(0, 0, -40), i)
	}
	if o.Store.Room(bossDir, 998) != nil || o.Store.Room(bossDir, 999) == nil {
		t.Fatal("the quota is not counted")
	}
	m := mustOpen(t, o, annaDir)
	all, err := o.RunRetention(t.Context(), "office.example", noon)
	if err != nil || len(all) != 2 || all[0].Problem == "" || all[0].Messages != 0 || all[1].Messages != 2 {
		t.Fatalf("%+v, %v", all, err)
	}
	if err := o.Store.Room(bossDir, 1000); err != nil {
		t.Errorf("the room is not free again: %v", err)
	}
	m.Close()
	all, err = o.RunRetention(t.Context(), "", noon)
	if err != nil || len(all) != 1 || all[0].Messages != 1 {
		t.Errorf("%+v, %v", all, err)
	}
}

// A panic in one mailbox is a problem of that mailbox only: the round continues, and its record
// stays.
func TestRetentionPanicIsContained(t *testing.T) {
	o := quotaOffice(t)
	setDefaults(o, 30, 0)
	boxes := 0
	if err := o.RetentionRound(t.Context(), noon, false, func(RetentionOutcome) {}); err != nil {
		t.Fatal(err)
	}
	before := o.readWatched(noon)
	o.Store = nil // whatever is asked of it brings the program to a panic
	err := o.RetentionRound(t.Context(), noon.Add(time.Hour), true, func(out RetentionOutcome) {
		if boxes++; !strings.Contains(out.Problem, "a mistake of the program") || out.Mailbox.IsZero() {
			t.Errorf("%+v", out)
		}
	})
	after := o.readWatched(noon.Add(time.Hour))
	if err != nil || boxes < 2 || boxes != len(before.Mailboxes) || !maps.Equal(before.Mailboxes, after.Mailboxes) {
		t.Errorf("%d problems, %v; remembered %v, then %v", boxes, err, before.Mailboxes, after.Mailboxes)
	}
}
