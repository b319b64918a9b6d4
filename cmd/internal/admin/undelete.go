package admin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"pillarbox/mailstore"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/track"
	"pillarbox/quota"
)

// undeleteFloor is the free space of the disk, in octets, below which deleted mail is removed for
// good and further deletions are final: room for new mail is worth more.
const undeleteFloor = 512 << 20

// DeletedMail is a deleted message that can be restored.
type DeletedMail struct {
	Mailbox addr.Address `json:"mailbox"`
	ID      string       `json:"id"`  // of the deletion; the message gets it when it is restored
	UID     string       `json:"uid"` // the ID that the message had; "": not known
	Size    int64        `json:"size"`
	Arrived time.Time    `json:"arrived"`
	Deleted time.Time    `json:"deleted"`
	Until   time.Time    `json:"until"` // afterwards it is removed for good
}

// DeletedQuestion is the input of UndeleteList: a mailbox, a domain or, for "", all there are.
type DeletedQuestion struct {
	Target string
	Since  time.Time // only messages that were deleted since
}

// listDeleted returns the deleted mail, the oldest deletion of each mailbox first.
func (o *Service) listDeleted(q DeletedQuestion) ([]DeletedMail, error) {
	all := []DeletedMail{}
	err := o.boxes(context.Background(), q.Target, func(box directory.Mailbox) error {
		deleted, err := o.Store.Deleted(box.Dir)
		if errors.Is(err, mailstore.ErrNoMailbox) {
			return nil // removed since the listing
		}
		for _, d := range deleted {
			if !d.Deleted.Before(q.Since.Truncate(time.Second)) {
				all = append(all, o.deletedMail(box.Address, d))
			}
		}
		return err
	})
	return all, err
}

func (o *Service) deletedMail(box addr.Address, d mailstore.DeletedMessage) DeletedMail {
	return DeletedMail{
		Mailbox: box, ID: d.ID, UID: d.UID, Size: d.Size, Arrived: d.Arrived.UTC(),
		Deleted: d.Deleted, Until: d.Deleted.Add(o.Config().Mailboxes.Undelete),
	}
}

// DeletedToRestore is the input of UndeleteRestore. Exactly one of Messages, All and Since is given.
type DeletedToRestore struct {
	User     string
	Messages []string // each by the ID that it had, or by that of its deletion
	All      bool
	Since    time.Time // all that were deleted since
}

// Undeleted is the answer of UndeleteRestore.
type Undeleted struct {
	Change
	Messages []DeletedMail `json:"messages"`
}

// restoreDeleted puts deleted messages back into their mailbox, as new messages.
func (o *Service) restoreDeleted(in DeletedToRestore) (Undeleted, error) {
	out := Undeleted{Messages: []DeletedMail{}}
	var err error
	out.Change, err = o.changeMailbox(in.User, "restored", func(a addr.Address) ([]string, error) {
		return nil, o.checkpointed(func() error { return o.restoreIn(a, in, &out) })
	})
	out.Text = fmt.Sprintf("%s restored", quota.FormatMessages(int64(len(out.Messages))))
	if len(out.Messages) > 0 {
		o.Record(out.Messages[0].Mailbox.String(), nil, map[string]any{"restored": len(out.Messages)})
	}
	return out, err
}

func (o *Service) restoreIn(a addr.Address, in DeletedToRestore, out *Undeleted) error {
	box, err := o.Dir.Mailbox(a)
	if err != nil {
		return err
	}
	deleted, err := o.Store.Deleted(box.Dir)
	if err != nil {
		return err
	}
	ids, err := in.choose(deleted)
	if err != nil {
		return Hint(err, "'pillarbox admin undelete list %s' shows what can be restored", a)
	}
	done, err := o.Store.Restore(box.Dir, ids)
	for _, d := range done {
		out.Messages = append(out.Messages, o.deletedMail(a, d))
		o.addEvent(track.Event{Kind: track.Restored, ID: d.ID, Parent: d.UID, To: a.String(), Size: d.Size})
	}
	if errors.Is(err, mailstore.ErrOverQuota) {
		err = Hint(fmt.Errorf("no message was restored: %s do not fit: %w", quota.FormatMessages(int64(len(ids))), err),
			"'pillarbox admin quota set %s' raises the limit; or restore fewer messages", a)
	}
	return err
}

// choose returns the IDs of the deletions that are meant.
func (in DeletedToRestore) choose(deleted []mailstore.DeletedMessage) (ids []string, err error) {
	if len(in.Messages) == 0 && !in.All && in.Since.IsZero() {
		return nil, usage(errors.New("no message is chosen"))
	}
	unknown := make(map[string]bool)
	for _, name := range in.Messages {
		unknown[name] = true
	}
	for _, d := range deleted {
		named := slices.Contains(in.Messages, d.ID) || d.UID != "" && slices.Contains(in.Messages, d.UID)
		since := !in.Since.IsZero() && !d.Deleted.Before(in.Since.Truncate(time.Second))
		if named || in.All || since {
			ids = append(ids, d.ID)
			delete(unknown, d.ID)
			delete(unknown, d.UID)
		}
	}
	if len(unknown) > 0 {
		return nil, fmt.Errorf("no deleted message has the ID %s", strings.Join(slices.Sorted(maps.Keys(unknown)), ", "))
	}
	return ids, nil
}

// DeletedToPurge is the input of UndeletePurge. Sure skips the question.
type DeletedToPurge struct {
	User string
	Sure bool
}

// purgeDeleted removes the deleted mail of a mailbox for good.
func (o *Service) purgeDeleted(in DeletedToPurge) (Change, error) {
	var gone mailstore.Stat
	done, err := o.changeMailbox(in.User, "purged", func(a addr.Address) ([]string, error) {
		box, err := o.Dir.Mailbox(a)
		if err != nil {
			return nil, err
		}
		if !in.Sure {
			deleted, err := o.Store.Deleted(box.Dir)
			if err != nil {
				return nil, err
			}
			return nil, confirm(false, "Remove the deleted mail of %s (%s) for good?", a, quota.FormatMessages(int64(len(deleted))))
		}
		err = o.checkpointed(func() error { // otherwise a crash could bring them back
			gone, err = o.Store.Purge(box.Dir, func(mailstore.DeletedMessage) bool { return true })
			return err
		})
		if gone.Messages > 0 {
			o.Record(a.String(), nil, map[string]any{"purged": gone.Messages, "bytes": gone.Bytes})
		}
		return nil, err
	})
	done.Text = fmt.Sprintf("%s removed for good (%s)", quota.FormatMessages(int64(gone.Messages)), quota.Approximate(gone.Bytes, 0))
	return done, err
}

// PurgeRound removes the deleted mail of all mailboxes whose time is over, and the oldest of those
// mailboxes that keep too much. It reports each mailbox that it removed mail from.
func (o *Service) PurgeRound(ctx context.Context, now time.Time, each func(box addr.Address, gone mailstore.Stat)) error {
	m := o.Config().Mailboxes
	return o.purgeOlder(ctx, now.Add(-m.Undelete), m.UndeleteSize, each)
}

func (o *Service) purgeOlder(ctx context.Context, limit time.Time, most int64, each func(addr.Address, mailstore.Stat)) error {
	var errs []error
	err := o.everyBox(ctx, func(box directory.Mailbox) {
		limit := limit
		if most > 0 {
			all, err := o.Store.Deleted(box.Dir)
			if err != nil {
				errs = append(errs, err)
				return
			}
			if full := ceiling(all, most); full.After(limit) {
				limit = full
			}
		}
		gone, err := o.Store.Purge(box.Dir, func(d mailstore.DeletedMessage) bool { return d.Deleted.Before(limit) })
		if err != nil && !errors.Is(err, mailstore.ErrNoMailbox) {
			errs = append(errs, err)
		}
		if gone.Messages > 0 {
			each(box.Address, gone)
		}
	})
	return errors.Join(append(errs, err)...)
}

// ceiling returns the time before which deletions must go so that at most this many octets stay. all
// is sorted, the oldest first.
func ceiling(all []mailstore.DeletedMessage, most int64) time.Time {
	var sum int64
	for _, d := range slices.Backward(all) {
		if sum += d.Size; sum > most {
			return d.Deleted.Add(time.Second) // IDs have whole seconds
		}
	}
	return time.Time{}
}

// MakeRoom is called again and again. While the disk is nearly full, deletions are final, and the
// deleted mail is removed: that of the older half of the period first.
func (o *Service) MakeRoom(ctx context.Context, now time.Time, each func(addr.Address, mailstore.Stat)) error {
	defer o.keepDeleted()
	period := o.Config().Mailboxes.Undelete
	for o.diskShort() && period > 0 && ctx.Err() == nil {
		period /= 2
		if period < time.Hour {
			period = 0
		}
		if err := o.purgeOlder(ctx, now.Add(-period), 0, each); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// keepDeleted tells the store what the configuration and the disk permit.
func (o *Service) keepDeleted() {
	if o.Store != nil {
		o.Store.KeepDeleted(o.Config().Mailboxes.Undelete > 0 && !o.diskShort())
	}
}

// diskShort reports whether the disk has less free space than deleted mail must leave.
func (o *Service) diskShort() bool {
	space, err := o.space(o.Root.Name())
	return err == nil && space.Free < undeleteFloor
}
