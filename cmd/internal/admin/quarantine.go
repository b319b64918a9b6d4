package admin

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/durable"
	"pillarbox/smtp"
	"pillarbox/smtp/queue"
)

// NewState is the new state of a message in quarantine whose own state cannot be understood. The
// zero value keeps the old state.
type NewState struct {
	From addr.Address   `json:"from,omitzero"`
	Null bool           `json:"null,omitempty"` // From is the null reverse-path, on purpose
	To   []addr.Address `json:"to,omitempty"`
}

// ListQuarantine lists the messages that were taken out of the queue because they could not be
// understood, oldest first.
func (o *Service) ListQuarantine() ([]Spooled, error) {
	ids, err := o.spooledIDs(quarantineDir)
	all := make([]Spooled, 0, len(ids))
	for _, id := range ids {
		all = append(all, o.examine(quarantineDir, id))
	}
	return all, err
}

// QuarantineIDs finds the messages in quarantine that words name, as QueueIDs does for the queue.
func (o *Service) QuarantineIDs(words []string) ([]string, error) {
	all, err := o.spooledIDs(quarantineDir)
	if err != nil {
		return nil, err
	}
	return chooseIDs(words, all, "in quarantine", "queue quarantine list")
}

// ShowQuarantined looks at one message in quarantine.
func (o *Service) ShowQuarantined(word string) (Spooled, error) {
	ids, err := o.QuarantineIDs([]string{word})
	if err != nil {
		return Spooled{}, err
	}
	return o.examine(quarantineDir, ids[0]), nil
}

// RemoveQuarantined deletes messages in quarantine. It stops at the first that cannot be deleted.
func (o *Service) RemoveQuarantined(ids []string) error {
	var removed []string
	defer func() {
		if len(removed) > 0 {
			o.Record("queue", nil, map[string]any{"quarantine": "remove", "ids": removed})
		}
	}()
	for _, id := range ids {
		for _, suffix := range []string{".env", ".eml"} {
			if err := o.Root.Remove(path.Join(quarantineDir, id+suffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		removed = append(removed, id)
	}
	return o.Root.SyncDir(quarantineDir)
}

// RestoreQuarantined puts messages back into the queue's directory, durably, with their own states
// or a new one. Their time begins anew. It returns the messages that went back, after an error too;
// the caller tells a running server.
func (o *Service) RestoreQuarantined(
	ids []string, with NewState, now time.Time,
) (restored []string, err error) {
	items := make([]*queue.Item, len(ids))
	for i, id := range ids {
		if items[i], err = o.restorable(id, with, now); err != nil {
			return nil, err
		}
	}
	// The log may still know that the messages have left the queue, and would take them out again
	// after a crash.
	err = o.checkpointed(func() error {
		for _, it := range items {
			if err := o.restore(it); err != nil {
				return fmt.Errorf("%s: %w", it.ID, err)
			}
			restored = append(restored, it.ID)
		}
		return nil
	})
	if len(restored) > 0 {
		o.Record("queue", nil, map[string]any{"quarantine": "retry", "ids": restored})
	}
	return restored, err
}

// restorable is the state with which a message can go back.
func (o *Service) restorable(id string, with NewState, now time.Time) (*queue.Item, error) {
	s := o.examine(quarantineDir, id)
	if s.Damaged || s.Unread {
		return nil, Hint(fmt.Errorf("%s cannot be sent: %s", id, s.Problem), "restore it from a backup, or 'pillarbox admin queue quarantine remove %s'", id)
	}
	if _, err := o.Root.Lstat(path.Join(queueDir, id+".eml")); err == nil {
		return nil, Hint(fmt.Errorf("%s is in the queue too", id), "'pillarbox admin queue show %s' shows that one", id)
	}
	it := s.State
	if len(with.To) > 0 {
		it = o.newState(id, with, &s, now)
	}
	if it == nil {
		return nil, Hint(fmt.Errorf("%s: %s", id, s.Problem), "say who sent it, and who is to get it: --from anna@office.example --to x@partner.example")
	}
	it.Release(now)
	it.Held = false
	for i := range it.To {
		it.To[i].Next = time.Time{}
	}
	return it, nil
}

// newState makes a state. The sender is who the administrator says, or who the old state does.
func (o *Service) newState(id string, with NewState, s *Spooled, now time.Time) *queue.Item {
	env := smtp.Envelope{From: with.From}
	if s.State != nil && with.From.IsZero() && !with.Null {
		env.From = s.State.From
	}
	for _, to := range with.To {
		env.To = append(env.To, smtp.Recipient{Address: to})
		env.UTF8 = env.UTF8 || !to.IsASCII()
	}
	env.UTF8, env.Body8 = env.UTF8 || !env.From.IsASCII(), true
	source := queue.Source{Service: "quarantine", Standing: smtp.StandingLocal} // an administrator vouches for it
	return queue.NewItem(id, &env, env.To, source, s.Size, now)
}

// restore moves a message back. Its state comes last, for it makes it a message of the queue. If a
// crash comes before that, the next start moves the message into quarantine again, to its old
// state.
func (o *Service) restore(it *queue.Item) error {
	message := it.ID + ".eml"
	if err := o.Root.Rename(path.Join(quarantineDir, message), path.Join(queueDir, message)); err != nil {
		return err
	}
	if err := o.Root.SyncDir(queueDir); err != nil {
		return err
	}
	if err := durable.WriteFile(o.Root, path.Join(queueDir, it.ID+".env"), it.Encode(), 0o600); err != nil {
		return err
	}
	for _, suffix := range []string{".env", ".eml"} {
		if err := o.Root.Remove(path.Join(quarantineDir, it.ID+suffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return o.Root.SyncDir(quarantineDir)
}

// chooseIDs finds those of all that words name: each by its ID, the beginning of it, with or
// without "P3_", or at least its last 8 characters.
func chooseIDs(words, all []string, where, list string) ([]string, error) {
	var ids []string
	for _, word := range words {
		found := slices.DeleteFunc(slices.Clone(all), func(id string) bool {
			return !strings.HasPrefix(strings.ToLower(id), strings.ToLower(word)) && !namesID(word, id)
		})
		exact := slices.Contains(found, word)
		switch {
		case word == "" || len(found) == 0:
			return nil, Hint(fmt.Errorf("there is no message %.60q %s", word, where), "'pillarbox admin %s' shows what there is", list)
		case len(found) > 1 && !exact:
			return nil, Hint(fmt.Errorf("%.60q is the ID of %d messages", word, len(found)), "write more of it: %s, %s, ...", found[0], found[1])
		case exact:
			ids = append(ids, word)
		default:
			ids = append(ids, found[0])
		}
	}
	slices.SortFunc(ids, cmp.Compare)
	return slices.Compact(ids), nil
}
