package admin

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"time"

	"pillarbox/mailstore"
	"pillarbox/mailstore/caught"
	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/durable"
)

// The server deletes by itself only what nobody can be surprised by. It remembers, in a file, which rule it saw in which
// mailbox and when it last deleted there, and waits
//
//   - while a rule has not stood unchanged for a day: it says what it would delete, and there is time to look;
//   - a week for mail that was due already when the rule came, or when the mail itself turned up: from a backup, from
//     another server, or written while the clock was wrong;
//   - after a time without a server, or when the clock was set: the rules count as new then.
//
// Whatever cannot be read of the file makes it wait, too.
const (
	watchedFile = "retention.json"

	// ruleRest is how long a rule stands before it acts: a day, less what summer time and a slow start take off.
	ruleRest = 20 * time.Hour
	// lateRest is how long mail is kept that was due too early.
	lateRest = 7 * 24 * time.Hour
	// mostAway is how long the server may have been away: a long weekend.
	mostAway = 4 * 24 * time.Hour
)

// watched is what was seen of all mailboxes with a rule, by directory.
type watched struct {
	Seen      time.Time          `json:"seen"`
	Mailboxes map[string]standby `json:"mailboxes"`
}

// standby is what was seen of one.
type standby struct {
	mailstore.Rule
	Since time.Time `json:"since"` // the rule stands
	Done  time.Time `json:"done"`  // of the last deletion; what is still there and was due then is late

	Late         time.Time `json:"late,omitzero"` // mail was there that should have been gone, first or more of it
	LateMessages int       `json:"late_messages,omitempty"`
}

// under is the standby with the rule that holds now.
func (s standby) under(rule mailstore.Rule, now time.Time) standby {
	if s.Rule != rule || s.Since.IsZero() || s.Since.After(now) || s.Done.After(now) || s.Late.After(now) {
		return standby{Rule: rule, Since: now, Done: now}
	}
	return s
}

// waits is until when nothing may be deleted; zero if it may.
func (s standby) waits(now time.Time) time.Time {
	if until := s.Since.Add(ruleRest); now.Before(until) {
		return until
	}
	return time.Time{}
}

// decide says which messages may be deleted now: those that fell due after the time before. late is how many others are
// there that fell due earlier; if they are to be kept, it says until when.
func (s standby) decide(late int, now time.Time) (next standby, before, kept time.Time) {
	if late == 0 {
		s.Late, s.LateMessages = time.Time{}, 0
		return s, s.Done, time.Time{}
	}
	if s.Late.IsZero() || late > s.LateMessages {
		s.Late = now
	}
	s.LateMessages = late
	if until := s.Late.Add(lateRest); now.Before(until) {
		return s, s.Done, until
	}
	return s, time.Time{}, time.Time{}
}

// state puts into a word what was seen of a mailbox.
func (w watched) state(dir string, rule mailstore.Rule, now time.Time) (RetentionState, *time.Time) {
	s, ok := w.Mailboxes[dir]
	switch {
	case rule.None():
		return RetentionOff, nil
	case !ok || s.under(rule, now) != s:
		return RetentionNew, nil
	}
	if until := s.waits(now); !until.IsZero() {
		return RetentionWaiting, &until
	}
	if until := s.Late.Add(lateRest); !s.Late.IsZero() && now.Before(until) {
		return RetentionHeld, &until
	}
	return RetentionActive, nil
}

// readWatched begins anew where what was seen cannot be relied on.
func (o *Service) readWatched(now time.Time) watched {
	var w watched
	err := o.loadWatched(&w)
	o.damages.Report(watchedFile, err)
	if err != nil || w.Seen.After(now) || now.Sub(w.Seen) > mostAway || w.Mailboxes == nil {
		return watched{Mailboxes: make(map[string]standby)}
	}
	return w
}

// loadWatched reads what was seen; without a file it is nothing.
func (o *Service) loadWatched(w *watched) error {
	text, err := durable.ReadSmall(o.Root, watchedFile, durable.MaxSmall)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	return durable.DecodeStrict(text, w)
}

func (o *Service) writeWatched(w watched) error {
	_, err := o.Root.Lstat(watchedFile)
	if len(w.Mailboxes) == 0 && errors.Is(err, fs.ErrNotExist) {
		return nil // there are no rules, and never were
	}
	return durable.WriteJSON(o.Root, watchedFile, w)
}

// RetentionOutcome is what a round did in a mailbox.
type RetentionOutcome struct {
	RetentionResult                   // deleted
	Due             mailstore.Expired // would have been deleted, but has to wait
	Until           time.Time         // for how long; zero in a round that only looks, if nothing else keeps it
	Late            bool              // it waits because it was due already when the rule came, or when it turned up
}

// RetentionRound looks at every mailbox that has a rule and, if it is to act, deletes what is due and need not wait. It
// calls each for the mailboxes where anything is due, one after the other; a problem in one does not keep it from the
// next. One round at a time, in the process that serves the data directory. The error is of ctx, or of what could not
// be read or remembered.
func (o *Service) RetentionRound(ctx context.Context, now time.Time, act bool, each func(RetentionOutcome)) error {
	last := o.readWatched(now)
	next := watched{Seen: now, Mailboxes: make(map[string]standby)}
	err := o.everyBox(ctx, func(box directory.Mailbox) {
		if box.Damage != nil {
			each(RetentionOutcome{RetentionResult: RetentionResult{Mailbox: box.Address, Problem: box.Damage.Error()}})
			return
		}
		rule := o.ruleOf(box)
		if rule.None() {
			return
		}
		s := last.Mailboxes[box.Dir].under(rule, now)
		out := RetentionOutcome{RetentionResult: RetentionResult{Mailbox: box.Address, Rule: rule}}
		err := caught.Do(func() error { s, out = o.roundIn(ctx, box, s, now, act); return nil })
		if err != nil {
			out.Problem = err.Error()
			caught.Log(o.log, err, "retention: the program goes wrong in a mailbox; the others go on", "mailbox", box.Address.String())
		}
		next.Mailboxes[box.Dir] = s
		if out.Messages > 0 || out.Due.Messages > 0 || out.Problem != "" {
			each(out)
		}
	})
	if err != nil {
		// Those that were not reached stand as they stood.
		reached := next.Mailboxes
		next.Mailboxes = maps.Clone(last.Mailboxes)
		maps.Copy(next.Mailboxes, reached)
	}
	return errors.Join(err, o.writeWatched(next))
}

// everyBox goes on in the next domain after one that cannot be read.
func (o *Service) everyBox(ctx context.Context, fn func(directory.Mailbox)) error {
	domains, err := o.Dir.Domains()
	errs := []error{err}
	for _, d := range domains {
		if ctx.Err() != nil {
			break
		}
		errs = append(errs, o.boxes(ctx, string(d), func(box directory.Mailbox) error { fn(box); return nil }))
	}
	return errors.Join(append(errs, ctx.Err())...)
}

// roundIn is the round in one mailbox.
func (o *Service) roundIn(ctx context.Context, box directory.Mailbox, s standby, now time.Time, act bool) (standby, RetentionOutcome) {
	out := RetentionOutcome{RetentionResult: RetentionResult{Mailbox: box.Address, Rule: s.Rule}, Until: s.waits(now)}
	would := func(until time.Time) (mailstore.Expired, error) {
		return o.Store.WouldExpire(box.Dir, s.Rule, time.Time{}, until)
	}
	if !act || !out.Until.IsZero() {
		due, err := would(now)
		out.Due, out.Problem = due, retentionProblem(err)
		return s, out
	}
	late, err := would(s.Done)
	if err != nil {
		out.Problem = retentionProblem(err)
		return s, out
	}
	s, before, kept := s.decide(late.Messages, now)
	if !kept.IsZero() {
		out.Due, out.Until, out.Late = late, kept, true
	}
	out.Expired, err = o.Store.Expire(ctx, box.Dir, s.Rule, before, now)
	if out.Problem = retentionProblem(err); err == nil {
		s.Done = now
	}
	return s, out
}
