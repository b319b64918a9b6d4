package mailstore

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"syscall"

	"pillarbox/mailstore/durable"
)

// openDirs is how many mailboxes one Commit keeps open. Those beyond are opened when the message gets its name there.
const openDirs = 64

// delivery is one attempt to put a message into mailboxes.
type delivery struct {
	store  *Store
	name   string // its name in the mailboxes
	size   int64
	beyond bool // no room is asked for
	synced bool // there is no log to make up for a failure: all directories are kept open

	targets []target
	stored  bool      // in all targets that are there
	stays   []string  // mailboxes that the message could not be taken out of again
	settles []settler // to tell the Reserver
}

// target is a name that a delivery makes.
type target struct {
	dir, base string
	open      durable.Dir // nil: it is opened when it is needed
	file      *content
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

// settle tells the Reserver where the message is.
func (d *delivery) settle() {
	for _, s := range d.settles {
		if d.stored || slices.Contains(d.stays, s.dir) {
			s.settle(d.size, 1)
		} else {
			s.settle(0, 0)
		}
	}
}

// aim opens the directories that the message goes to. What can fail for want of a mailbox or of a descriptor fails here,
// before the log has the message. The caller calls close.
func (d *delivery) aim(dirs []string) error {
	for i, dir := range dirs {
		open, err := d.store.openMailbox(dir)
		if err != nil {
			return err
		}
		if i >= openDirs && !d.synced {
			if err := open.Close(); err != nil {
				return err
			}
			open = nil
		}
		d.targets = append(d.targets, target{dir: dir, base: d.name, open: open})
	}
	return nil
}

// aimSpool is aim for a file in the spool.
func (d *delivery) aimSpool(base string, file *content) error {
	open, err := d.store.fsys.OpenDir(spoolDir)
	if err != nil {
		return fmt.Errorf("queue: %w", err)
	}
	d.targets = append(d.targets, target{dir: spoolDir, base: base, open: open, file: file})
	return nil
}

func (d *delivery) close() {
	for _, t := range d.targets {
		if t.open != nil {
			_ = t.open.Close()
		}
	}
	d.targets = nil
}

// openMailbox opens a mailbox's directory for a file that is in the incoming directory.
func (s *Store) openMailbox(dir string) (durable.Dir, error) {
	if !fs.ValidPath(dir) || dir == "." {
		return nil, &NoMailboxError{Dir: dir}
	}
	open, err := s.fsys.OpenDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &NoMailboxError{Dir: dir}
	} else if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	device, err := open.Device()
	if err == nil && device != s.device {
		err = fmt.Errorf("%s: %w: keep the data directory on one file system", dir, ErrCrossDevice)
	}
	if err != nil {
		return nil, errors.Join(err, open.Close())
	}
	return open, nil
}

// link gives the file its names in all targets, or those that it can. A mailbox that is gone by now was removed together
// with the message.
func (d *delivery) link(file *content) error {
	var errs []error
	for _, t := range d.targets {
		from := file
		if t.file != nil {
			from = t.file
		}
		err := d.linkOne(from, t)
		removed := t.file == nil && errors.Is(err, fs.ErrNotExist)
		if err != nil && !removed {
			errs = append(errs, fmt.Errorf("%s: %w", t.dir, err))
		}
	}
	return errors.Join(errs...)
}

func (d *delivery) linkOne(file *content, t target) error {
	if t.open != nil {
		return t.open.Link(file.File, t.base)
	}
	return d.store.fsys.LinkFile(file.File, t.dir+"/"+t.base)
}

// linkSynced gives the file its names, durably, or none of them. It is the way without a log.
func (d *delivery) linkSynced(file *content) error {
	for i, t := range d.targets {
		err := d.linkOne(file, t)
		if err == nil {
			err = t.open.Sync()
			i++
		}
		if err != nil {
			return errors.Join(d.store.linkError(t.dir, err), d.unlink(d.targets[:i]))
		}
	}
	return nil
}

// unlink takes the names away again. It goes on after an error. It needs no descriptor, and the directories are the same
// after a rename.
func (d *delivery) unlink(targets []target) error {
	var errs []error
	for _, t := range slices.Backward(targets) {
		if err := t.open.Remove(t.base); err != nil && !errors.Is(err, fs.ErrNotExist) {
			d.stays = append(d.stays, t.dir)
			errs = append(errs, err)
			continue
		}
		errs = append(errs, t.open.Sync())
	}
	return errors.Join(errs...)
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
