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

// The automatic deletion must not surprise an administrator. watchedFile records the rule of each
// mailbox and the time of its last deletion. The server waits in these cases:
//
//   - A new or changed rule acts after a day. Until then the server only logs what it would delete.
//   - Mail that was due before the rule came, or before the mail itself appeared, is kept for a
//     week. Such mail comes from a backup or another server, or its date is from a wrong clock.
//   - After a long time without a server, and after the clock was set back, all rules count as new.
//     The same is true if the file cannot be read.
const (
	watchedFile = "retention.json"

	// ruleRest is the time for which a new rule waits: a day, less some hours for summer time and a
	// late start of the server.
	ruleRest = 20 * time.Hour
	// lateRest is the time for which mail is kept that was due too early.
	lateRest = 7 * 24 * time.Hour
	// mostAway is the longest pause of the server after which the rules still count as known: a
	// long weekend.
	mostAway = 4 * 24 * time.Hour
)

// watched is the content of watchedFile: the mailboxes with a rule, by directory.
type watched struct {
	Seen      time.Time          `json:"seen"`
	Mailboxes map[string]standby `json:"mailboxes"`
}

// standby is the entry of one mailbox.
type standby struct {
	mailstore.Rule
	Since time.Time `json:"since"` // since when the rule is unchanged
	Done  time.Time `json:"done"`  // time of the last deletion; mail that was due before it is late

	// Late is the time when late mail was found, or more of it than before. LateMessages is its
	// number.
	Late         time.Time `json:"late,omitzero"`
	LateMessages int       `json:"late_messages,omitempty"`
}

// under returns the entry for the effective rule: a new entry if the rule has changed, or if a time
// in s is in the future.
func (s standby) under(rule mailstore.Rule, now time.Time) standby {
	if s.Rule != rule || s.Since.IsZero() || s.Since.After(now) || s.Done.After(now) || s.Late.After(now) {
		return standby{Rule: rule, Since: now, Done: now}
	}
	return s
}

// waits returns the end of the wait for a new rule, zero if it is over.
func (s standby) waits(now time.Time) time.Time {
	if until := s.Since.Add(ruleRest); now.Before(until) {
		return until
	}
	return time.Time{}
}

// decide permits the deletion of messages that became due after the time before. late is the number
// of messages that were due earlier; if they must wait, kept is the end of the wait. next is the
// new entry.
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

// state returns the state of a mailbox, and the end of its wait if it waits.
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

// readWatched reads watchedFile. It returns an empty record if the file is damaged, too old, or
// from the future.
func (o *Service) readWatched(now time.Time) watched {
	var w watched
	err := o.loadWatched(&w)
	o.damages.Report(watchedFile, err)
	if err != nil || w.Seen.After(now) || now.Sub(w.Seen) > mostAway || w.Mailboxes == nil {
		return watched{Mailboxes: make(map[string]standby)}
	}
	return w
}

// loadWatched reads watchedFile into w. Without a file it leaves w unchanged.
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
		return nil // no mailbox has ever had a rule
	}
	return durable.WriteJSON(o.Root, watchedFile, w)
}

// RetentionOutcome is the result of a round for one mailbox.
type RetentionOutcome struct {
	RetentionResult                   // the deleted mail
	Due             mailstore.Expired // mail that is due but must wait
	Until           time.Time         // the end of the wait; zero if only act = false kept the mail
	Late            bool              // Due was already due before the rule, or the mail itself, came
}

// RetentionRound examines every mailbox that has a rule. With act it deletes the mail that is due
// and need not wait. It calls each for every mailbox with due mail or a problem, one after the
// other; a problem does not stop the round.
//
// Only the process that serves the data directory may call it, one call at a time. The error is
// that of ctx, of a domain that could not be read, or of watchedFile.
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
			caught.Log(o.log, err, "retention: the round panicked in a mailbox; it continues with the next", "mailbox", box.Address.String())
		}
		next.Mailboxes[box.Dir] = s
		if out.Messages > 0 || out.Due.Messages > 0 || out.Problem != "" {
			each(out)
		}
	})
	if err != nil {
		// Mailboxes that the round did not reach keep their entries.
		reached := next.Mailboxes
		next.Mailboxes = maps.Clone(last.Mailboxes)
		maps.Copy(next.Mailboxes, reached)
	}
	return errors.Join(err, o.writeWatched(next))
}

// everyBox calls fn for every mailbox. A domain that cannot be read does not stop it.
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

// roundIn runs the round in one mailbox.
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
	out.Expired, err = o.Store.Expire(ctx, box.Dir, s.Rule, before, now, o.expired(box))
	if out.Problem = retentionProblem(err); err == nil {
		s.Done = now
	}
	return s, out
}
