package mailstore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"

	"pillarbox/mailstore/durable"
)

const (
	// smallMax is how long a message may be to go through the log, in bytes. From about here on it costs more to
	// write everything twice than to sync the message by itself.
	smallMax = 64 << 10
	// smallMost is how long most small messages are.
	smallMost = 8 << 10
)

// Incoming is a message that is being received. It belongs to one goroutine, which ends it with Commit or
// Abort. Until then it holds at most smallMax bytes in memory, and an open file if it is longer.
type Incoming struct {
	store   *Store
	journal *journal // that it goes through; nil: none
	id      string

	buf  []byte // what is not in the file yet
	file *content
	size int64
	dots dotScanner

	announced bool   // to the log
	beyond    bool   // it needs no room
	state     []byte // beside it in the spool; nil: it does not go there
	synced    bool   // the file's content is on the disk
	// err is why the content is lost: after a failed write or sync nothing can be told about the file any
	// more, even if the same call would succeed now.
	err   error
	ended bool
}

// Create begins a message.
func (s *Store) Create() *Incoming {
	in := &Incoming{store: s, id: s.ids.next(), buf: s.buffer()}
	if in.journal = s.journal.Load(); in.journal != nil {
		in.announced = true
		in.journal.log.Announce()
	}
	return in
}

// ID is the message's Name.ID, known before the message is.
func (in *Incoming) ID() string { return in.id }

// Size is the number of bytes written so far.
func (in *Incoming) Size() int64 { return in.size }

// Write appends p, text with CRLF at the end of each line, to the message as it is.
func (in *Incoming) Write(p []byte) (int, error) {
	if in.ended || in.synced {
		return 0, fs.ErrClosed
	}
	if in.err != nil {
		return 0, in.err
	}
	if len(in.buf)+len(p) > smallMax {
		if err := in.spill(p); err != nil {
			in.err = fmt.Errorf("mail store: %w", err)
			return 0, in.err
		}
	} else {
		in.buf = append(in.buf, p...)
	}
	in.size += int64(len(p))
	_, _ = in.dots.Write(p)
	return len(p), nil
}

// spill moves what is in memory, and p, into a file, or as much as makes room.
func (in *Incoming) spill(p []byte) error {
	if in.file == nil {
		in.retract()
		c, err := in.store.namedContent(in.id)
		if err != nil {
			return err
		}
		in.file = c
	}
	if _, err := in.file.Write(in.buf); err != nil {
		return err
	}
	if in.buf = in.buf[:0]; len(p) < smallMax {
		in.buf = append(in.buf, p...)
		return nil
	}
	_, err := in.file.Write(p)
	return err
}

// Reader gives what was written so far. It is good until the next Write, Commit or Abort; the caller closes it before.
func (in *Incoming) Reader() (io.ReadCloser, error) {
	if in.ended {
		return nil, fs.ErrClosed
	}
	if in.file == nil {
		return io.NopCloser(bytes.NewReader(in.buf)), nil
	}
	if err := in.spill(nil); err != nil {
		in.err = fmt.Errorf("mail store: %w", err)
		return nil, in.err
	}
	return in.store.fsys.OpenFile(in.file.temp, os.O_RDONLY, 0)
}

// retract tells the log not to wait for this message.
func (in *Incoming) retract() {
	if in.announced {
		in.announced = false
		in.journal.log.Retract()
	}
}

// BeyondQuota makes mailboxes take the message even if they are full: it tells them so.
func (in *Incoming) BeyondQuota() { in.beyond = true }

// Spool makes Commit put the message into the spool too, with this state beside it. It may be called again before
// another Commit; nil takes it back.
func (in *Incoming) Spool(state []byte) { in.state = state }

// Commit puts the message into each of the mailboxes dirs, once into each, and into the spool if Spool was called, and
// returns its ID when it is durable in all of them. Then the message is there to be fetched, and the Incoming has ended.
//
// On an error it is in none of them, as far as the disk obeys, and the Incoming has not ended: after an
// *OverQuotaError or *NoMailboxError, Commit may be called again without the mailboxes that the error names.
// Errors are also ErrCrossDevice and those of the file system. Without any place to go to, Commit fails.
func (in *Incoming) Commit(dirs []string) (id string, err error) {
	if in.ended {
		return "", fs.ErrClosed
	}
	dirs = slices.Compact(slices.Sorted(slices.Values(dirs)))
	if len(dirs) == 0 && in.state == nil {
		return "", fmt.Errorf("mail store: message %s has no mailbox to go to", in.id)
	}
	d := delivery{store: in.store, id: in.id, name: in.name().String(), size: in.size, beyond: in.beyond, state: in.state}
	defer d.settle()
	if err := d.reserve(dirs); err != nil {
		return "", err
	}
	err = durable.ErrLogFull // as it always is for what is too long for it
	if in.file == nil && in.journal != nil {
		err = in.commitLogged(&d, dirs)
	}
	if errors.Is(err, durable.ErrLogFull) {
		err = in.commitSynced(&d, dirs)
	}
	if err != nil {
		return "", err
	}
	in.end()
	return in.id, nil
}

// commitLogged lets the log make the message durable, together with those that others commit, and gives it its
// names when the log has it. The names and the file are synced behind. After durable.ErrLogFull nothing was done.
func (in *Incoming) commitLogged(d *delivery, dirs []string) error {
	j := in.journal
	if !in.announced {
		j.log.Announce()
	}
	in.announced = false
	if len(dirs) == 0 {
		return in.commitUnwritten(j)
	}
	newContent := in.store.unnamedContent
	if len(dirs) > 1 && in.state == nil { // in the spool it keeps a name for as long as this takes
		// Fetched and deleted in the first mailbox before it is in the second, a file without another name would be gone.
		newContent = in.store.namedContent
	}
	file, err := newContent(in.id)
	if err == nil {
		_, err = file.Write(in.buf)
	}
	if err != nil {
		j.log.Retract()
		return fmt.Errorf("mail store: %w", errors.Join(err, file.discard()))
	}
	defer file.discard()
	applied, err := j.message(in.id, d.name, dirs, in.state, in.buf)
	if err != nil {
		return err
	}
	defer applied()
	err = d.link(file, dirs)
	if err == nil && in.state != nil {
		err = d.writeState(durable.Create)
	}
	if err != nil {
		err = errors.Join(err, d.undo(), j.withdrawn(d.name, dirs))
		if in.state != nil {
			err = errors.Join(err, j.removed(spoolDir, spooledNames(in.id)))
		}
	}
	return err
}

// commitUnwritten lets the log have a message that goes into the spool only; files come later, or never.
func (in *Incoming) commitUnwritten(j *journal) error {
	applied, err := j.message(in.id, in.name().String(), nil, in.state, in.buf)
	if err != nil {
		return err
	}
	in.store.spool.keep(&unwritten{id: in.id, content: in.buf, state: in.state, applied: applied})
	in.buf = nil
	return nil
}

// commitSynced syncs the message's own file and the directory of each mailbox.
func (in *Incoming) commitSynced(d *delivery, dirs []string) error {
	if err := in.sync(); err != nil {
		return err
	}
	err := d.link(in.file, dirs)
	if err == nil {
		err = d.sync(dirs)
	}
	if err == nil && in.state != nil {
		err = d.writeState(durable.WriteFile) // from now on it is in the spool
	}
	if err != nil {
		return errors.Join(err, d.undo())
	}
	return nil
}

func (in *Incoming) name() Name {
	return Name{ID: in.id, Size: in.size, Dotted: in.dots.found}
}

// sync brings the content to the disk, once.
func (in *Incoming) sync() error {
	if in.err != nil || in.synced {
		return in.err
	}
	err := in.spill(nil)
	if err == nil {
		err = in.file.Sync()
	}
	if err != nil {
		in.err = fmt.Errorf("mail store: %w", err)
		return in.err
	}
	in.synced = true
	return nil
}

// Abort gives the message up. After Commit succeeded, or a second time, it does nothing, so it can be deferred.
func (in *Incoming) Abort() {
	if !in.ended {
		in.end()
	}
}

// end gives back what the Incoming holds. No error here loses mail: Recover takes away a file that stays.
func (in *Incoming) end() {
	in.ended = true
	in.retract()
	_ = in.file.discard()
	in.store.putBuffer(in.buf)
	in.buf = nil
}

// content is a file on its way into mailboxes. It has a name in the incoming directory, or none.
type content struct {
	durable.File
	fsys durable.FS
	temp string // "": none
}

// namedContent makes a file that can be linked again after it was taken out of a mailbox.
func (s *Store) namedContent(id string) (*content, error) {
	temp := path.Join(incomingDir, id)
	f, err := s.fsys.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, filePerm)
	if err != nil {
		return nil, fmt.Errorf("mail store: %w", err)
	}
	return &content{File: f, fsys: s.fsys, temp: temp}, nil
}

// unnamedContent makes a file without a name, which costs least, or one with a name where there is no such thing.
func (s *Store) unnamedContent(id string) (*content, error) {
	if s.named.Load() {
		return s.namedContent(id)
	}
	f, err := s.fsys.Unnamed(incomingDir, filePerm)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		s.named.Store(true)
		return s.namedContent(id)
	case err != nil:
		return nil, fmt.Errorf("mail store: %w", err)
	}
	return &content{File: f, fsys: s.fsys}, nil
}

// link gives the file a name.
func (c *content) link(name string) error {
	if c.temp == "" {
		return c.fsys.LinkFile(c.File, name)
	}
	return c.fsys.Link(c.temp, name)
}

// discard closes the file. What it was given in mailboxes stays. A nil content has nothing to discard.
func (c *content) discard() error {
	if c == nil {
		return nil
	}
	err := c.Close()
	if c.temp != "" {
		err = errors.Join(err, c.fsys.Remove(c.temp))
	}
	return err
}
