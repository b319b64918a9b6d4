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
	store *Store
	log   *durable.Log // that it is announced to; nil: none
	id    string

	buf  []byte // what is not in the file yet
	file *content
	size int64
	dots dotScanner

	beyond bool   // it needs no room
	state  []byte // beside it in the spool; nil: it does not go there
	synced bool   // the file's content is on the disk
	// err is why the content is lost: after a failed write or sync nothing can be told about the file any
	// more, even if the same call would succeed now.
	err   error
	ended bool
}

// Create begins a message.
func (s *Store) Create() *Incoming {
	in := &Incoming{store: s, id: s.ids.next(), buf: s.buffer()}
	if j := s.journal.Load(); j != nil {
		in.log = j.log
		in.log.Announce()
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
	if in.log != nil {
		in.log.Retract()
		in.log = nil
	}
}

// announced hands the announcement over to the caller, if there is one to this log.
func (in *Incoming) announced(j *journal) bool {
	if in.log != j.log {
		in.retract()
		return false
	}
	in.log = nil
	return true
}

// IgnoreQuota makes mailboxes take the message even if they are full: it tells them so.
func (in *Incoming) IgnoreQuota() { in.beyond = true }

// Spool makes Commit put the message into the spool too, with this state beside it. It may be called again before
// another Commit; nil takes it back.
func (in *Incoming) Spool(state []byte) { in.state = state }

// Commit puts the message into each of the mailboxes dirs, once into each, and into the spool if Spool was called, and
// returns its ID when it is durable in all of them. Then the message is there to be fetched, and the Incoming has ended.
//
// On an error it is in none of them, and the Incoming has not ended: after an *OverQuotaError or *NoMailboxError, Commit
// may be called again without the mailboxes that the error names. Errors are also ErrCrossDevice, ErrRecovering and
// those of the file system. Without any place to go to, Commit fails.
//
// The record in the log decides. Before it, the message is nowhere; after it, the message is accepted, and what cannot
// be done at once is done by a recovery before another operation can see the store.
func (in *Incoming) Commit(dirs []string) (id string, err error) {
	if in.ended {
		return "", fs.ErrClosed
	}
	dirs = slices.Compact(slices.Sorted(slices.Values(dirs)))
	if len(dirs) == 0 && in.state == nil {
		return "", fmt.Errorf("mail store: message %s has no mailbox to go to", in.id)
	}
	d := delivery{store: in.store, name: in.name().String(), size: in.size, beyond: in.beyond}
	defer d.settle()
	if err := d.reserve(dirs); err != nil {
		return "", err
	}
	if err := in.commit(&d, dirs); err != nil {
		return "", err
	}
	d.stored = true
	in.end()
	return in.id, nil
}

func (in *Incoming) commit(d *delivery, dirs []string) error {
	s := in.store
	if err := s.gate.enter(); err != nil {
		return err
	}
	defer s.gate.leave()
	if s.keeper == nil {
		return in.commitSynced(d, dirs)
	}
	j := s.journal.Load()
	if err := s.mayTake(j); err != nil {
		return err
	}
	err := durable.ErrRecordSize
	if in.file == nil {
		err = in.commitSmall(d, j, dirs)
	}
	if errors.Is(err, durable.ErrRecordSize) {
		err = in.commitLarge(d, j, dirs)
	}
	return err
}

func (in *Incoming) submission(d *delivery, dirs []string) submission {
	return submission{id: in.id, name: d.name, dirs: dirs, state: in.state}
}

// commitSmall lets the log have the whole message, together with those that others commit.
func (in *Incoming) commitSmall(d *delivery, j *journal, dirs []string) error {
	m := in.submission(d, dirs)
	m.content = in.buf
	if m.content == nil {
		m.content = []byte{}
	}
	if len(dirs) == 0 {
		return in.commitLogOnly(j, m)
	}
	newContent := in.store.unnamedContent
	if len(dirs) > 1 && m.state == nil {
		// A client may fetch and delete it in the first mailbox before it is in the second; a file without another name
		// would be gone. One in the spool has that name first.
		newContent = in.store.namedContent
	}
	file, err := newContent(in.id)
	if err != nil {
		return err
	}
	defer file.discard()
	if _, err := file.Write(in.buf); err != nil {
		return fmt.Errorf("mail store: %w", err)
	}
	return in.commitFile(d, j, m, file)
}

// commitLogOnly lets the log have a message that goes into the spool only; files come later, or never.
func (in *Incoming) commitLogOnly(j *journal, m submission) error {
	m.announced = in.announced(j)
	applied, err := j.message(m)
	if err != nil {
		return storeError(err)
	}
	in.store.spool.keep(&logOnly{id: in.id, content: in.buf, state: in.state, applied: applied})
	in.buf = nil
	return nil
}

// commitLarge lets the log have the name of the message, whose content is synced in the incoming directory, and stays
// there until the log does not need it any more.
func (in *Incoming) commitLarge(d *delivery, j *journal, dirs []string) error {
	if err := in.sync(); err != nil {
		return err
	}
	if err := in.commitFile(d, j, in.submission(d, dirs), in.file); err != nil {
		return err
	}
	in.file.temp = "" // the log's now
	return nil
}

// commitFile lets the log have the message, and gives its file the names. That in the spool comes first: there no client
// deletes it before it has its names in the mailboxes. The state comes last, because the message is in the spool as soon
// as its state is.
func (in *Incoming) commitFile(d *delivery, j *journal, m submission, file *content) error {
	defer d.close()
	if m.state != nil {
		if err := d.aimSpool(in.id+messageSuffix, file); err != nil {
			return err
		}
	}
	if err := d.aim(m.dirs); err != nil {
		return err
	}
	if m.state != nil {
		state, err := in.aimState(d)
		if err != nil {
			return err
		}
		defer state.discard()
	}
	m.announced = in.announced(j)
	applied, err := j.message(m)
	if err != nil {
		return storeError(err)
	}
	defer applied()
	if err := d.link(file); err != nil {
		in.store.fall(err)
	}
	return nil
}

// aimState makes the state's file, without a name, and aims at the spool.
func (in *Incoming) aimState(d *delivery) (state *content, err error) {
	state, err = in.store.unnamedContent(in.id + stateSuffix)
	if err != nil {
		return nil, err
	}
	_, err = state.Write(in.state)
	if err == nil {
		err = d.aimSpool(in.id+stateSuffix, state)
	}
	if err != nil {
		return nil, errors.Join(err, state.discard())
	}
	return state, nil
}

// storeError says what a failed append means for a message.
func storeError(err error) error {
	if errors.Is(err, durable.ErrRecordSize) {
		return err
	}
	return fmt.Errorf("mail store: %w", err)
}

// commitSynced syncs the message's own file and the directory of each mailbox. It is the way of a process that has no log.
func (in *Incoming) commitSynced(d *delivery, dirs []string) error {
	if err := in.sync(); err != nil {
		return err
	}
	d.synced = true
	defer d.close()
	if err := d.aim(dirs); err != nil {
		return err
	}
	if in.state != nil {
		if err := d.aimSpool(in.id+messageSuffix, in.file); err != nil {
			return err
		}
	}
	if err := d.linkSynced(in.file); err != nil {
		return err
	}
	if in.state == nil {
		return nil
	}
	if err := durable.WriteFile(in.store.fsys, spooledState(in.id), in.state, filePerm); err != nil {
		gone := in.store.fsys.Remove(spooledState(in.id)) // it may be there, and not durable
		if errors.Is(gone, fs.ErrNotExist) {
			gone = nil
		}
		return errors.Join(fmt.Errorf("queue: %w", err), gone, d.unlink(d.targets))
	}
	return nil
}

func (in *Incoming) name() Name {
	return Name{ID: in.id, Size: in.size, Dotted: in.dots.found}
}

// sync brings the content and its name in the incoming directory to the disk, once.
func (in *Incoming) sync() error {
	if in.err != nil || in.synced {
		return in.err
	}
	err := in.spill(nil)
	if err == nil {
		err = in.syncFile()
	}
	if err != nil {
		in.err = fmt.Errorf("mail store: %w", err)
		return in.err
	}
	in.synced = true
	return nil
}

// syncFile syncs the file and its directory at once: the disk can do both with one flush.
func (in *Incoming) syncFile() error {
	if in.store.keeper == nil {
		return in.file.Sync()
	}
	named := make(chan error, 1)
	go func() { named <- in.store.fsys.SyncDir(incomingDir) }()
	return errors.Join(in.file.Sync(), <-named)
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
