package mailstore

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"syscall"

	"golang.org/x/sync/errgroup"

	"pillarbox/mailstore/durable"
)

// syncDirs is how many directories one Commit syncs at once.
const syncDirs = 16

// delivery is one attempt to put a message into mailboxes.
type delivery struct {
	store  *Store
	id     string
	name   string // its name in the mailboxes
	size   int64
	beyond bool   // nobody asks for room
	state  []byte // in the spool; nil: it does not go there

	linked  []string  // mailboxes in which the name stands
	spooled bool      // it may stand in the spool
	settles []settler // to tell the Reserver
}

// settler is a reservation that is to be settled.
type settler struct {
	dir    string
	settle func(bytes int64, messages int)
}

// reserve sets room aside in every mailbox. If some have none, the error names them all.
func (d *delivery) reserve(dirs []string) error {
	if d.store.quota == nil {
		return nil
	}
	var over *OverQuotaError
	for _, dir := range dirs {
		if d.beyond {
			d.settles = append(d.settles, settler{dir, d.store.quota.Release(dir)})
			continue
		}
		settle, err := d.store.quota.Reserve(dir, d.size)
		if err == nil {
			d.settles = append(d.settles, settler{dir, settle})
			continue
		}
		full, isFull := errors.AsType[*OverQuotaError](d.store.quotaError(dir, err))
		switch {
		case !isFull:
			return d.store.quotaError(dir, err)
		case over == nil:
			over = full
		default:
			over.Dirs = append(over.Dirs, dir)
		}
	}
	if over != nil {
		return over
	}
	return nil
}

// settle tells the Reserver where the message stands.
func (d *delivery) settle() {
	for _, s := range d.settles {
		if slices.Contains(d.linked, s.dir) {
			s.settle(d.size, 1)
		} else {
			s.settle(0, 0)
		}
	}
}

// link gives the file its name in the spool, and in each mailbox.
func (d *delivery) link(file *content, dirs []string) error {
	if d.state != nil {
		d.spooled = true
		if err := file.link(spooledMessage(d.id)); err != nil {
			return d.store.linkError(spoolDir, err)
		}
	}
	for _, dir := range dirs {
		if err := d.store.checkTarget(file, dir); err != nil {
			return err
		}
		if err := file.link(path.Join(dir, d.name)); err != nil {
			return d.store.linkError(dir, err)
		}
		d.linked = append(d.linked, dir)
	}
	return nil
}

// checkTarget looks at a mailbox as closely as linking the file into it will not.
func (s *Store) checkTarget(file *content, dir string) error {
	if file.temp != "" {
		return s.checkMailbox(dir)
	}
	if !fs.ValidPath(dir) || dir == "." {
		return &NoMailboxError{Dir: dir}
	}
	return nil
}

// writeState puts the state beside the message in the spool.
func (d *delivery) writeState(write func(durable.FS, string, []byte, fs.FileMode) error) error {
	return write(d.store.fsys, spooledState(d.id), d.state, filePerm)
}

// sync brings the names in the mailboxes to the disk; the spool's follow with the state.
func (d *delivery) sync(dirs []string) error {
	if len(dirs) == 1 {
		return d.store.syncMailbox(dirs[0])
	}
	var group errgroup.Group
	group.SetLimit(syncDirs)
	for _, dir := range dirs {
		group.Go(func() error { return d.store.syncMailbox(dir) })
	}
	return group.Wait()
}

// undo takes the message out of the mailboxes again. It goes on after an error: every mailbox it can be taken
// out of is one copy less when the sender tries again.
func (d *delivery) undo() error {
	var errs []error
	kept := d.linked[:0]
	for _, dir := range d.linked {
		err := d.store.fsys.Remove(path.Join(dir, d.name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			kept = append(kept, dir)
			errs = append(errs, err)
			continue
		}
		errs = append(errs, d.store.fsys.SyncDir(dir))
	}
	d.linked = kept
	if d.spooled {
		errs = append(errs, d.store.spool.unlink(d.id), d.store.fsys.SyncDir(spoolDir))
	}
	return errors.Join(errs...)
}

func (s *Store) syncMailbox(dir string) error {
	err := s.fsys.SyncDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return &NoMailboxError{Dir: dir}
	}
	return err
}

// linkError says what a failed link means.
func (s *Store) linkError(dir string, err error) error {
	if errors.Is(err, syscall.EXDEV) {
		return fmt.Errorf("%s: %w: keep the data directory on one file system (%w)", dir, ErrCrossDevice, err)
	}
	if errors.Is(err, fs.ErrNotExist) {
		// Either end of the link may be the missing one.
		if gone := s.checkMailbox(dir); gone != nil {
			return gone
		}
	}
	return fmt.Errorf("%s: %w", dir, err)
}
