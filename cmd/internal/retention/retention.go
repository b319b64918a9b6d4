// Package retention decides when mail is deleted by the rules of retention, and when deleted mail is
// removed for good: once a day, at night.
//
// Start with [Clock]. admin.Service has the rules and deletes (RetentionRound, PurgeRound, MakeRoom);
// a Clock calls it and logs what it did. The command 'pillarbox admin retention run' does not come this way.
package retention

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/config"
	"pillarbox/mailstore"
	"pillarbox/mailstore/addr"
)

const (
	nightHour, nightMinute = 3, 30 // local time of the daily deletion

	// startDelay is the time from the start of the server to its first deletion. A server that is
	// off at night deletes then.
	startDelay = 10 * time.Minute
	// checkInterval is the time between checks of the configuration and of the clock, which may be
	// set meanwhile.
	checkInterval = time.Minute
)

// Clock deletes once a day.
type Clock struct {
	service *admin.Service
	log     *slog.Logger
}

// New returns a Clock for the mailboxes of a data directory.
func New(service *admin.Service, log *slog.Logger) *Clock { return &Clock{service, log} }

// Run works until ctx ends. At the start, and after each change of the configuration, it logs what
// the rules would delete.
func (c *Clock) Run(ctx context.Context) {
	ticks := time.NewTicker(checkInterval)
	defer ticks.Stop()
	var logged *config.Config
	due := time.Now().Add(startDelay)
	for ctx.Err() == nil {
		now := time.Now()
		switch cfg := c.service.Config(); {
		case !now.Before(due):
			c.round(ctx, now, true)
			c.logPurge(c.service.PurgeRound(ctx, now, c.logPurged("the period of undelete is over")))
			logged, due = cfg, nextNight(now)
		case cfg != logged:
			c.round(ctx, now, false)
			logged = cfg
		case nextNight(now).Before(due):
			due = nextNight(now) // the clock was set back
		}
		c.logPurge(c.service.MakeRoom(ctx, now, c.logPurged("the disk is nearly full")))
		select {
		case <-ticks.C:
		case <-ctx.Done():
		}
	}
}

// nextNight returns the time of the next daily deletion.
func nextNight(now time.Time) time.Time {
	year, month, day := now.Date()
	night := time.Date(year, month, day, nightHour, nightMinute, 0, 0, now.Location())
	if !night.After(now) {
		night = time.Date(year, month, day+1, nightHour, nightMinute, 0, 0, now.Location())
	}
	return night
}

// round goes through all mailboxes. It deletes only if act is set.
func (c *Clock) round(ctx context.Context, now time.Time, act bool) {
	var sum pending
	err := c.service.RetentionRound(ctx, now, act, func(out admin.RetentionOutcome) {
		c.logOutcome(out)
		if out.Due.Messages > 0 {
			sum.add(out)
		}
	})
	switch {
	case ctx.Err() != nil:
		return
	case err != nil:
		c.log.Error("retention: some mailboxes were not checked", "error", err)
	}
	if sum.mailboxes > 0 {
		c.log.Warn("retention: the rules would delete mail; 'pillarbox admin retention show' tells which",
			"messages", sum.messages, "bytes", sum.bytes, "mailboxes", sum.mailboxes,
			"oldest", sum.oldest.Format(time.DateOnly))
	}
}

// logOutcome logs what was done in a mailbox.
func (c *Clock) logOutcome(out admin.RetentionOutcome) {
	log := c.log.With("mailbox", out.Mailbox.String())
	if out.Messages > 0 {
		log.Info("retention: deleted", "messages", out.Messages, "bytes", out.Bytes,
			"oldest", out.Oldest.Format(time.DateOnly), "rule", out.Rule.String())
	}
	if out.Late {
		log.Warn("retention: mail that was already due when it arrived, or when the rule was set, "+
			"is kept for a week", "messages", out.Due.Messages, "bytes", out.Due.Bytes,
			"oldest", out.Due.Oldest.Format(time.DateOnly), "rule", out.Rule.String(),
			"until", out.Until.Format("2006-01-02 15:04:05 -0700"))
	}
	if out.Problem != "" {
		log.Warn("retention: some messages were not deleted", "problem", out.Problem)
	}
}

// logPurged logs what was removed for good from a mailbox.
func (c *Clock) logPurged(reason string) func(addr.Address, mailstore.Stat) {
	return func(box addr.Address, gone mailstore.Stat) {
		c.log.Info("deleted mail removed for good", "mailbox", box.String(),
			"messages", gone.Messages, "bytes", gone.Bytes, "reason", reason)
	}
}

func (c *Clock) logPurge(err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		c.log.Error("some deleted mail was not removed", "error", err)
	}
}

// pending adds up the mail that is due but not deleted yet.
type pending struct {
	messages, mailboxes int
	bytes               int64
	oldest              time.Time
}

func (p *pending) add(out admin.RetentionOutcome) {
	p.messages += out.Due.Messages
	p.bytes += out.Due.Bytes
	p.mailboxes++
	if p.oldest.IsZero() || out.Due.Oldest.Before(p.oldest) {
		p.oldest = out.Due.Oldest
	}
}
