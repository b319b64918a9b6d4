package daemon

import (
	"context"
	"log/slog"
	"time"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/config"
	"pillarbox/pop3"
)

var _ pop3.Retention = (*admin.Service)(nil)

const (
	retentionHour, retentionMinute = 3, 30 // local time of the daily deletion

	// retentionStart is how long a server that has just started waits before it deletes: one that is off at night
	// deletes then.
	retentionStart = 10 * time.Minute
	// retentionLook is how often it is looked whether the configuration, or the clock, has been changed.
	retentionLook = time.Minute
)

// keepRetention deletes once a day what the rules of retention say, until ctx ends.
func (d *Daemon) keepRetention(ctx context.Context) {
	retention{office: d.office, log: d.log}.run(ctx)
}

// retention is the daily deletion.
type retention struct {
	office *admin.Service
	log    *slog.Logger
}

// run says at start, and whenever the configuration is another one, what would be deleted.
func (r retention) run(ctx context.Context) {
	ticks := time.NewTicker(retentionLook)
	defer ticks.Stop()
	var told *config.Config
	due := time.Now().Add(retentionStart)
	for ctx.Err() == nil {
		now := time.Now()
		switch cfg := r.office.Config(); {
		case !now.Before(due):
			r.round(ctx, now, true)
			told, due = cfg, nextNight(now)
		case cfg != told:
			r.round(ctx, now, false)
			told = cfg
		case nextNight(now).Before(due):
			due = nextNight(now) // the clock was set back
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
		}
	}
}

// nextNight is the time of the next daily deletion.
func nextNight(now time.Time) time.Time {
	year, month, day := now.Date()
	night := time.Date(year, month, day, retentionHour, retentionMinute, 0, 0, now.Location())
	if !night.After(now) {
		night = time.Date(year, month, day+1, retentionHour, retentionMinute, 0, 0, now.Location())
	}
	return night
}

// round goes through all mailboxes, and deletes if it is to act.
func (r retention) round(ctx context.Context, now time.Time, act bool) {
	var sum waiting
	err := r.office.RetentionRound(ctx, now, act, func(out admin.RetentionOutcome) {
		r.tell(out)
		if out.Due.Messages > 0 {
			sum.add(out)
		}
	})
	switch {
	case ctx.Err() != nil:
		return
	case err != nil:
		r.log.Error("retention: not every mailbox was looked at", "error", err)
	}
	if sum.mailboxes > 0 {
		r.log.Warn("retention: the rules would delete mail; 'pillarbox admin retention show' tells which",
			"messages", sum.messages, "bytes", sum.bytes, "mailboxes", sum.mailboxes, "oldest", sum.oldest.Format(time.DateOnly))
	}
}

// tell says what was done in a mailbox.
func (r retention) tell(out admin.RetentionOutcome) {
	box := out.Mailbox.String()
	if out.Messages > 0 {
		r.log.Info("retention: deleted", "mailbox", box, "messages", out.Messages, "bytes", out.Bytes,
			"oldest", out.Oldest.Format(time.DateOnly), "rule", out.Rule.String())
	}
	if out.Late {
		r.log.Warn("retention: mail that was due already when it, or the rule, came is kept for a week", "mailbox", box,
			"messages", out.Due.Messages, "bytes", out.Due.Bytes, "oldest", out.Due.Oldest.Format(time.DateOnly),
			"rule", out.Rule.String(), "until", shortTime(out.Until))
	}
	if out.Problem != "" {
		r.log.Warn("retention: not everything was deleted", "mailbox", box, "problem", out.Problem)
	}
}

// waiting adds up what is due and has to wait.
type waiting struct {
	messages, mailboxes int
	bytes               int64
	oldest              time.Time
}

func (w *waiting) add(out admin.RetentionOutcome) {
	w.messages += out.Due.Messages
	w.bytes += out.Due.Bytes
	w.mailboxes++
	if w.oldest.IsZero() || out.Due.Oldest.Before(w.oldest) {
		w.oldest = out.Due.Oldest
	}
}
