package mailstore

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"syscall"

	"golang.org/x/sync/errgroup"

	"pillarbox/mailstore/durable"
)

// syncDirs is how many directories one Commit syncs at once.
const syncDirs = 16

// Incoming is a message that is being received. It belongs to one goroutine, which ends it with Commit or
// Abort; until then it holds an open file.
type Incoming struct {
	store *Store
	id    string
	temp  string
	file  durable.File // nil once synced and closed, or ended
	buf   *bufio.Writer

	size int64
	dots dotScanner

	// err is why the content is lost: after a failed write or sync nothing can be told about the file any
	// more, even if the same call would succeed now.
	err   error
	ended bool
}

// Create begins a message.
func (s *Store) Create() (*Incoming, error) {
	id := s.ids.next()
	temp := path.Join(incomingDir, id)
	f, err := s.fsys.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, filePerm)
	if err != nil {
		return nil, fmt.Errorf("mail store: %w", err)
	}
	buf := s.buffers.Get().(*bufio.Writer)
	buf.Reset(f)
	return &Incoming{store: s, id: id, temp: temp, file: f, buf: buf}, nil
}

// ID is the message's Name.ID, known before the message is.
func (in *Incoming) ID() string { return in.id }

// Size is the number of bytes written so far.
func (in *Incoming) Size() int64 { return in.size }

// Write appends p, text with CRLF at the end of each line, to the message as it is.
func (in *Incoming) Write(p []byte) (int, error) {
	if in.ended || in.file == nil {
		return 0, fs.ErrClosed
	}
	n, err := in.buf.Write(p)
	in.size += int64(n)
	_, _ = in.dots.Write(p[:n])
	if err != nil {
		in.err = fmt.Errorf("mail store: %w", err)
		return n, in.err
	}
	return n, nil
}

// Commit puts the message into each of the mailboxes dirs, once into each, and returns its ID when it is durable
// in all of them. Then the message is there to be fetched, and the Incoming has ended.
//
// On an error it is in none of them, as far as the disk obeys, and the Incoming has not ended: after an
// *OverQuotaError or *NoMailboxError, Commit may be called again without the mailbox that the error names.
// Errors are also ErrCrossDevice and those of the file system. Without any mailbox, Commit fails.
func (in *Incoming) Commit(dirs []string) (id string, err error) {
	if in.ended {
		return "", fs.ErrClosed
	}
	dirs = slices.Compact(slices.Sorted(slices.Values(dirs)))
	if len(dirs) == 0 {
		return "", fmt.Errorf("mail store: message %s has no mailbox to go to", in.id)
	}
	for _, dir := range dirs {
		if err := in.store.checkMailbox(dir); err != nil {
			return "", err
		}
	}
	d := delivery{store: in.store, temp: in.temp, name: in.name().String(), size: in.size}
	defer func() { d.settle() }()
	if err := d.reserve(dirs); err != nil {
		return "", err
	}
	if err := in.sync(); err != nil {
		return "", err
	}
	if err := d.publish(dirs); err != nil {
		return "", errors.Join(err, d.undo())
	}
	// The message has arrived. If its first name stays behind, Recover takes it away.
	in.ended = true
	_ = in.store.fsys.Remove(in.temp)
	return in.id, nil
}

func (in *Incoming) name() Name {
	return Name{ID: in.id, Size: in.size, Dotted: in.dots.found}
}

// sync brings the content to the disk and closes the file, once.
func (in *Incoming) sync() error {
	if in.err != nil || in.file == nil {
		return in.err
	}
	err := in.buf.Flush()
	if err == nil {
		err = in.file.Sync()
	}
	if err = errors.Join(err, in.close()); err != nil {
		in.err = fmt.Errorf("mail store: %w", err)
	}
	return in.err
}

func (in *Incoming) close() error {
	if in.file == nil {
		return nil
	}
	err := in.file.Close()
	in.file = nil
	in.buf.Reset(nil)
	in.store.buffers.Put(in.buf)
	in.buf = nil
	return err
}

// Abort gives the message up. After Commit succeeded, or a second time, it does nothing, so it can be deferred.
func (in *Incoming) Abort() {
	if in.ended {
		return
	}
	in.ended = true
	// Neither error loses mail; Recover takes away a file that stays.
	_ = in.close()
	_ = in.store.fsys.Remove(in.temp)
}

// delivery is one attempt to put a synced file into mailboxes.
type delivery struct {
	store *Store
	temp  string // the file
	name  string // its name in the mailboxes
	size  int64

	linked  []string                                   // mailboxes in which the name stands
	settles map[string]func(bytes int64, messages int) // by mailbox: to tell the Reserver
}

func (d *delivery) reserve(dirs []string) error {
	if d.store.quota == nil {
		return nil
	}
	d.settles = make(map[string]func(int64, int), len(dirs))
	for _, dir := range dirs {
		settle, err := d.store.quota.Reserve(dir, d.size)
		if err != nil {
			return quotaError(dir, err)
		}
		d.settles[dir] = settle
	}
	return nil
}

// settle tells the Reserver where the message stands.
func (d *delivery) settle() {
	for dir, settle := range d.settles {
		if slices.Contains(d.linked, dir) {
			settle(d.size, 1)
		} else {
			settle(0, 0)
		}
	}
}

// publish links the file into each mailbox, then syncs these directories.
func (d *delivery) publish(dirs []string) error {
	for _, dir := range dirs {
		if err := d.store.fsys.Link(d.temp, path.Join(dir, d.name)); err != nil {
			return d.store.linkError(dir, err)
		}
		d.linked = append(d.linked, dir)
	}
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
