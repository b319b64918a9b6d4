package mailstore

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"syscall"

	"pillarbox/mailstore/durable"
)

// openDirs is the number of mailbox directories that one Commit keeps open. Further ones are opened
// for the link only.
const openDirs = 64

// delivery is one attempt to put a message into mailboxes.
type delivery struct {
	store       *Store
	name        string // file name in the mailboxes
	size        int64
	ignoreQuota bool     // deliver even to full mailboxes
	exempt      []string // mailboxes to which it is delivered even if they are full
	synced      bool     // without a log: all directories stay open, so that links can be undone

	targets      []target
	stored       bool     // in all targets that still exist
	leftIn       []string // mailboxes where undoing the link failed
	reservations []reservation
}

// target is one name that a delivery creates.
type target struct {
	dir, base string
	open      durable.Dir // nil: opened for the link only
	file      *content
}

// reservation is quota that is reserved in one mailbox until settle is called.
type reservation struct {
	dir    string
	settle func(bytes int64, messages int)
}

// reserve reserves quota in every mailbox. If some are full, the error names them all.
func (d *delivery) reserve(dirs []string) error {
	if d.store.quota == nil {
		return nil
	}
	var over *OverQuotaError
	for _, dir := range dirs {
		if d.ignoreQuota || slices.Contains(d.exempt, dir) {
			d.reservations = append(d.reservations, reservation{dir, d.store.quota.Release(dir)})
			continue
		}
		settle, err := d.store.quota.Reserve(dir, d.size)
		if err == nil {
			d.reservations = append(d.reservations, reservation{dir, settle})
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

// settle tells the Reserver which mailboxes received the message.
func (d *delivery) settle() {
	for _, s := range d.reservations {
		if d.stored || slices.Contains(d.leftIn, s.dir) {
			s.settle(d.size, 1)
		} else {
			s.settle(0, 0)
		}
	}
}

// openTargets opens the target directories. A missing mailbox or descriptor is found here, before
// the record is written. The caller calls close.
func (d *delivery) openTargets(dirs []string) error {
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

// addSpoolTarget is openTargets for a file in the spool.
func (d *delivery) addSpoolTarget(base string, file *content) error {
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

// openMailbox opens a mailbox's directory. The mailbox must be on the file system of the incoming
// directory.
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

// link creates the file's name in all targets, and goes on after an error. A missing mailbox is no
// error: it was removed after openTargets, and the message with it.
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

// linkSynced creates and syncs the file's names, or none of them. It is used without a log.
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

// unlink removes the names again, and goes on after an error. It uses the open directories, so it
// needs no descriptor and works after a rename.
func (d *delivery) unlink(targets []target) error {
	var errs []error
	for _, t := range slices.Backward(targets) {
		if err := t.open.Remove(t.base); err != nil && !errors.Is(err, fs.ErrNotExist) {
			d.leftIn = append(d.leftIn, t.dir)
			errs = append(errs, err)
			continue
		}
		errs = append(errs, t.open.Sync())
	}
	return errors.Join(errs...)
}

// linkError explains a failed link.
func (s *Store) linkError(dir string, err error) error {
	if errors.Is(err, syscall.EXDEV) {
		return fmt.Errorf("%s: %w: keep the data directory on one file system (%w)",
			dir, ErrCrossDevice, err)
	}
	if errors.Is(err, fs.ErrNotExist) {
		// The file or the mailbox may be missing.
		if gone := s.checkMailbox(dir); gone != nil {
			return gone
		}
	}
	return fmt.Errorf("%s: %w", dir, err)
}
