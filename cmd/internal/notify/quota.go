// Package notify writes the messages that the server itself sends: to the users of a mailbox that
// is too full ([Quota]), and to the postmaster when badmail grows ([Badmail]) or for another
// package ([Postmaster]).
//
// Quota and Badmail take events without blocking their source and write the messages in Run. The texts about
// quotas are in quota/quotamail; admin.Service decides their recipients.
package notify

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"pillarbox/cmd/internal/admin"
	"pillarbox/mailstore/caught"
	"pillarbox/quota"
	"pillarbox/smtp/delivery"
)

// maxPending is the number of notices that wait to be written. Further ones are dropped.
const maxPending = 100

// Quota writes the notices about mailboxes and domains that are too full.
type Quota struct {
	service  *admin.Service
	delivery *delivery.Dispatcher
	log      *slog.Logger
	pending  chan quota.Event
}

// NewQuota returns a Quota, which writes in Run.
func NewQuota(service *admin.Service, delivery *delivery.Dispatcher, log *slog.Logger) *Quota {
	return &Quota{service, delivery, log, make(chan quota.Event, maxPending)}
}

// Crossed logs an event of the ledger and queues its notice. It never blocks: its caller is in the
// middle of a delivery.
func (q *Quota) Crossed(e quota.Event) {
	q.log.Warn("quota", "event", e.Kind, "where", e.Dir, "resource", e.Resource,
		"bytes", e.Used.Bytes, "messages", e.Used.Messages)
	select {
	case q.pending <- e:
	default:
		q.log.Warn("too many notices at once; one is not written")
	}
}

// Run writes the queued notices until ctx ends.
func (q *Quota) Run(ctx context.Context) {
	for {
		select {
		case e := <-q.pending:
			err := caught.Do(func() error { return q.write(e) })
			if err != nil && !errors.Is(err, admin.ErrNoNotice) {
				q.log.Error("a notice could not be delivered", "error", err)
				caught.Log(q.log, err, "a program error at a notice", "where", e.Dir)
			}
		case <-ctx.Done():
			return
		}
	}
}

// write stores a notice, even in a mailbox that is full.
func (q *Quota) write(e quota.Event) error {
	in := q.service.Store.Create()
	defer in.Abort()
	dirs, text, err := q.service.QuotaNotice(e, in.ID(), time.Now())
	if err != nil {
		return err
	}
	if _, err := in.Write(text); err != nil {
		return err
	}
	if !q.delivery.MayNotify(strings.Join(dirs, " ")) {
		q.log.Info("notice not delivered: too many within the hour",
			"mailboxes", dirs, "suppressed", q.delivery.SuppressNotice())
		return nil
	}
	in.IgnoreQuota()
	_, err = in.Commit(dirs)
	if err == nil {
		q.log.Info("notice delivered", "message_id", in.ID(), "mailboxes", dirs)
	}
	return err
}
