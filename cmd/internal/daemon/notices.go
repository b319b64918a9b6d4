package daemon

import (
	"context"
	"errors"
	"sync"
	"time"

	"pillarbox/cmd/internal/ops"
	"pillarbox/quota"
)

// maxNotices is how many notices wait to be written; more at once are not
// missed by anybody.
const maxNotices = 100

// maxTold is how many of them are remembered.
const maxTold = 10_000

// notices are the messages that the server writes itself: about mailboxes that
// have become too full. Whoever finds that out must not wait for it to be told.
type notices struct {
	pending chan func(id string) (dirs []string, text []byte, err error)

	mu   sync.Mutex
	told map[string]time.Time // when a sender was told of full mailboxes
}

// again reports whether somebody was told the same within a day: these notices go into mailboxes that are full.
func (n *notices) again(what string, now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if last, ok := n.told[what]; ok && now.Sub(last) < 24*time.Hour && !now.Before(last) {
		return true
	}
	if n.told == nil || len(n.told) >= maxTold {
		n.told = make(map[string]time.Time)
	}
	n.told[what] = now
	return false
}

// tell queues a notice. It is composed when its turn comes.
func (d *Daemon) tell(compose func(id string) (dirs []string, text []byte, err error)) {
	select {
	case d.notices.pending <- compose:
	default:
		d.log.Warn("too many notices at once; one is not written")
	}
}

// crossed is told by the ledger when a mailbox or a domain has become too full.
func (d *Daemon) crossed(e quota.Event) {
	d.log.Warn("quota", "event", e.Kind, "where", e.Dir, "resource", e.Resource, "bytes", e.Used.Bytes, "messages", e.Used.Messages)
	d.tell(func(id string) ([]string, []byte, error) { return d.office.QuotaNotice(e, id, time.Now()) })
}

// writeNotices writes what is queued until ctx ends.
func (d *Daemon) writeNotices(ctx context.Context) {
	for {
		select {
		case compose := <-d.notices.pending:
			if err := d.writeNotice(compose); err != nil && !errors.Is(err, ops.ErrNoNotice) {
				d.log.Error("a notice could not be delivered", "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// writeNotice stores a notice, even where there is no room for anything else.
func (d *Daemon) writeNotice(compose func(id string) (dirs []string, text []byte, err error)) error {
	in := d.office.Store.Create()
	defer in.Abort()
	dirs, text, err := compose(in.ID())
	if err != nil {
		return err
	}
	if _, err := in.Write(text); err != nil {
		return err
	}
	in.BeyondQuota()
	_, err = in.Commit(dirs)
	if err == nil {
		d.log.Info("notice delivered", "id", in.ID(), "mailboxes", dirs)
	}
	return err
}
