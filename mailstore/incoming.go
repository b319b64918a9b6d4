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
	// smallMax is the largest size in bytes of a message that is written into the log whole. Above
	// about this size, writing everything twice costs more than a sync of the message's own file.
	smallMax = 64 << 10
	// smallMost is the first size of a buffer; most small messages fit.
	smallMost = 8 << 10
)

// Incoming is a message that is being received. It belongs to one goroutine, which ends it with
// Commit or Abort. It uses at most smallMax bytes of memory, and an open file if the message is
// longer.
type Incoming struct {
	store *Store
	log   *durable.Log // where it was announced; nil: nowhere
	id    string

	buf  []byte // not yet in file
	file *content
	size int64
	dots dotScanner

	ignoreQuota bool     // deliver even to full mailboxes
	exempt      []string // mailboxes to which it is delivered even if they are full
	state       []byte   // its state in the spool; nil: not for the spool
	synced      bool     // the file's content is on the disk
	// err is set after a failed write or sync. The content counts as lost: a later sync may succeed
	// without having written it.
	err   error
	ended bool
}

// Create begins a message.
func (s *Store) Create() *Incoming {
	in := &Incoming{store: s, id: s.ids.next(), buf: s.buffer()}
	if l := s.log.Load(); l != nil {
		in.log = l.log
		in.log.Announce()
	}
	return in
}

// ID returns the message's Name.ID.
func (in *Incoming) ID() string { return in.id }

// Size returns the number of bytes written so far.
func (in *Incoming) Size() int64 { return in.size }

// Write appends p to the message unchanged. The text must have CRLF at the end of each line.
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

// spill moves the buffer and p into a file. Afterwards p may be in the buffer, if it is short.
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

// Reader returns the text written so far. It is valid until the next Write, Commit or Abort; the
// caller closes it before that.
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

// announced reports whether the message was announced to this log. The caller takes over the
// announcement.
func (in *Incoming) announced(l *storeLog) bool {
	if in.log != l.log {
		in.retract()
		return false
	}
	in.log = nil
	return true
}

// IgnoreQuota makes Commit deliver even to full mailboxes. The mailboxes still count the message.
func (in *Incoming) IgnoreQuota() { in.ignoreQuota = true }

// IgnoreQuotaOf makes Commit deliver to some mailboxes even if they are full.
func (in *Incoming) IgnoreQuotaOf(dirs []string) { in.exempt = dirs }

// Rewrite replaces the text of the message by what change writes. change reads the text so far. After
// an error the message is lost, and every later Write or Commit fails.
func (in *Incoming) Rewrite(change func(w io.Writer, r io.Reader) error) error {
	if in.ended || in.synced {
		return fs.ErrClosed
	}
	old, err := in.Reader()
	if err != nil {
		return err
	}
	file, buf := in.file, in.buf
	in.file, in.buf, in.size = nil, in.store.buffer(), 0
	in.dots = dotScanner{}
	// The reader keeps the content of a file that is removed; the new file takes its name.
	err = file.discard()
	if err == nil {
		err = change(in, old)
	}
	err = errors.Join(err, old.Close())
	in.store.putBuffer(buf)
	if err != nil && in.err == nil {
		in.err = fmt.Errorf("mail store: %w", err)
	}
	return in.err
}

// Spool makes Commit also put the message into the spool, with this state. It may be called again
// before a second Commit; nil keeps the message out of the spool.
func (in *Incoming) Spool(state []byte) { in.state = state }

// Commit delivers the message once to each of the mailboxes dirs, and to the spool if Spool was
// called. It returns the ID when the message is durable in all of them. Clients can then fetch the
// message, and the Incoming has ended.
//
// On an error the message is in none of them, and the Incoming has not ended. After an
// *OverQuotaError or *NoMailboxError the caller may call Commit again without the mailboxes that
// the error names. Other errors are ErrCrossDevice, ErrRecovering and those of the file system.
// Commit fails if there is neither a mailbox nor a spool state.
//
// The record in the log decides, see the package documentation.
func (in *Incoming) Commit(dirs []string) (id string, err error) {
	if in.ended {
		return "", fs.ErrClosed
	}
	defer in.store.observe(StepCommit)()
	dirs = slices.Compact(slices.Sorted(slices.Values(dirs)))
	if len(dirs) == 0 && in.state == nil {
		return "", fmt.Errorf("mail store: message %s has no mailbox and no queue state", in.id)
	}
	d := delivery{
		store: in.store, name: in.name().String(), size: in.size, ignoreQuota: in.ignoreQuota,
		exempt: in.exempt,
	}
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
	if s.maintainer == nil {
		return in.commitSynced(d, dirs)
	}
	l := s.log.Load()
	if err := s.checkAcceptsMail(l); err != nil {
		return err
	}
	err := durable.ErrRecordSize
	if in.file == nil {
		err = in.commitSmall(d, l, dirs)
	}
	if errors.Is(err, durable.ErrRecordSize) {
		err = in.commitLarge(d, l, dirs)
	}
	return err
}

func (in *Incoming) submission(d *delivery, dirs []string) submission {
	return submission{id: in.id, name: d.name, dirs: dirs, state: in.state}
}

// commitSmall writes the whole message into the log.
func (in *Incoming) commitSmall(d *delivery, l *storeLog, dirs []string) error {
	m := in.submission(d, dirs)
	m.content = in.buf
	if m.content == nil {
		m.content = []byte{}
	}
	if len(dirs) == 0 {
		return in.commitLogOnly(l, m)
	}
	newContent := in.store.unnamedContent
	if len(dirs) > 1 && m.state == nil {
		// A client may fetch and delete the message in the first mailbox before the second link. A
		// file without another name would then be gone. In the spool it has that other name.
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
	return in.commitFile(d, l, m, file)
}

// commitLogOnly writes a message for the spool only into the log. It gets files later, or never.
func (in *Incoming) commitLogOnly(l *storeLog, m submission) error {
	m.announced = in.announced(l)
	applied, err := l.message(m)
	if err != nil {
		return storeError(err)
	}
	in.store.spool.addLogOnly(&logOnly{
		id: in.id, content: in.buf, state: in.state, applied: applied,
	})
	in.buf = nil
	return nil
}

// commitLarge syncs the message in the incoming directory and writes its name into the log. The
// file stays there until the log no longer needs it.
func (in *Incoming) commitLarge(d *delivery, l *storeLog, dirs []string) error {
	if err := in.sync(); err != nil {
		return err
	}
	if err := in.commitFile(d, l, in.submission(d, dirs), in.file); err != nil {
		return err
	}
	in.file.temp = "" // now owned by the log
	return nil
}

// commitFile writes the record and then links the file. The link in the spool comes first: no
// client can delete the message there before its names in the mailboxes exist. The state comes
// last, because it makes the message part of the spool.
func (in *Incoming) commitFile(d *delivery, l *storeLog, m submission, file *content) error {
	defer d.close()
	if m.state != nil {
		if err := d.addSpoolTarget(in.id+messageSuffix, file); err != nil {
			return err
		}
	}
	if err := d.openTargets(m.dirs); err != nil {
		return err
	}
	if m.state != nil {
		state, err := in.addStateTarget(d)
		if err != nil {
			return err
		}
		defer state.discard()
	}
	m.announced = in.announced(l)
	applied, err := l.message(m)
	if err != nil {
		return storeError(err)
	}
	defer applied()
	if err := d.link(file); err != nil {
		in.store.requireRecovery(err)
	}
	return nil
}

// addStateTarget makes the state's file, without a name, and adds its target in the spool.
func (in *Incoming) addStateTarget(d *delivery) (state *content, err error) {
	state, err = in.store.unnamedContent(in.id + stateSuffix)
	if err != nil {
		return nil, err
	}
	_, err = state.Write(in.state)
	if err == nil {
		err = d.addSpoolTarget(in.id+stateSuffix, state)
	}
	if err != nil {
		return nil, errors.Join(err, state.discard())
	}
	return state, nil
}

// storeError adds the package to a failed append, except to ErrRecordSize, which Commit handles.
func storeError(err error) error {
	if errors.Is(err, durable.ErrRecordSize) {
		return err
	}
	return fmt.Errorf("mail store: %w", err)
}

// commitSynced syncs the message's file and the directory of each mailbox. It is used without a
// log.
func (in *Incoming) commitSynced(d *delivery, dirs []string) error {
	if err := in.sync(); err != nil {
		return err
	}
	d.synced = true
	defer d.close()
	if err := d.openTargets(dirs); err != nil {
		return err
	}
	if in.state != nil {
		if err := d.addSpoolTarget(in.id+messageSuffix, in.file); err != nil {
			return err
		}
	}
	if err := d.linkSynced(in.file); err != nil {
		return err
	}
	if in.state == nil {
		return nil
	}
	err := durable.WriteFile(in.store.fsys, spooledState(in.id), in.state, filePerm)
	if err != nil {
		gone := in.store.fsys.Remove(spooledState(in.id)) // it may exist without being durable
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

// sync syncs the content and its name in the incoming directory, once.
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

// syncFile syncs the file and its directory in parallel, so that the disk can do both with one
// flush.
func (in *Incoming) syncFile() error {
	if in.store.maintainer == nil {
		return in.file.Sync()
	}
	named := make(chan error, 1)
	go func() { named <- in.store.fsys.SyncDir(incomingDir) }()
	return errors.Join(in.file.Sync(), <-named)
}

// Abort discards the message. After a successful Commit or an earlier Abort it does nothing, so it
// can be deferred.
func (in *Incoming) Abort() {
	if !in.ended {
		in.end()
	}
}

// end releases what the Incoming holds. An error here loses no mail: Recover removes a file that is
// left.
func (in *Incoming) end() {
	in.ended = true
	in.retract()
	_ = in.file.discard()
	in.store.putBuffer(in.buf)
	in.buf = nil
}

// content is a file that is to be linked into mailboxes. It has a name in the incoming directory,
// or none.
type content struct {
	durable.File
	fsys durable.FS
	temp string // "": no name
}

// namedContent makes a file that can still be linked after a client has deleted its first link.
func (s *Store) namedContent(id string) (*content, error) {
	temp := path.Join(incomingDir, id)
	f, err := s.fsys.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, filePerm)
	if err != nil {
		return nil, fmt.Errorf("mail store: %w", err)
	}
	return &content{File: f, fsys: s.fsys, temp: temp}, nil
}

// unnamedContent makes a file without a name, which is cheapest, or a named one if the file system
// has no O_TMPFILE.
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

// discard closes the file and removes its name in the incoming directory. Its links in mailboxes
// stay. A nil content has nothing to discard.
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
