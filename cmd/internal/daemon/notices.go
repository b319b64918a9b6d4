package daemon

import (
	"context"
	"errors"
	"strings"
	"time"

	"pillarbox/cmd/internal/admin"
	"pillarbox/mailstore/caught"
	"pillarbox/quota"
)

// maxNotices is how many notices wait to be written; more at once are not
// missed by anybody.
const maxNotices = 100

// notices are the events about mailboxes that have become too full, which somebody is to be told of. Whoever finds that
// out must not wait for it to be told.
type notices struct{ pending chan quota.Event }

// crossed is told by the ledger when a mailbox or a domain has become too full.
func (d *Daemon) crossed(e quota.Event) {
	d.log.Warn("quota", "event", e.Kind, "where", e.Dir, "resource", e.Resource, "bytes", e.Used.Bytes, "messages", e.Used.Messages)
	select {
	case d.notices.pending <- e:
	default:
		d.log.Warn("too many notices at once; one is not written")
	}
}

// writeNotices writes what is queued until ctx ends.
func (d *Daemon) writeNotices(ctx context.Context) {
	for {
		select {
		case e := <-d.notices.pending:
			if err := caught.Do(func() error { return d.writeNotice(e) }); err != nil && !errors.Is(err, admin.ErrNoNotice) {
				d.log.Error("a notice could not be delivered", "error", err)
				caught.Log(d.log, err, "where the program went wrong with a notice", "where", e.Dir)
			}
		case <-ctx.Done():
			return
		}
	}
}

// writeNotice stores a notice, even where there is no room for anything else.
func (d *Daemon) writeNotice(e quota.Event) error {
	in := d.office.Store.Create()
	defer in.Abort()
	dirs, text, err := d.office.QuotaNotice(e, in.ID(), time.Now())
	if err != nil {
		return err
	}
	if _, err := in.Write(text); err != nil {
		return err
	}
	if !d.desk.MayNotify(strings.Join(dirs, " ")) {
		d.log.Info("notice not delivered: too many within the hour", "mailboxes", dirs, "suppressed", d.desk.SuppressNotice())
		return nil
	}
	in.IgnoreQuota()
	_, err = in.Commit(dirs)
	if err == nil {
		d.log.Info("notice delivered", "id", in.ID(), "mailboxes", dirs)
	}
	return err
}
