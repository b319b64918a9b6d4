package mailstore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"
)

// This file serves export and import: ids that survive a transfer, ids for old messages, normalised
// text, and a Snapshot that many goroutines can read.

// IsMessageFile reports whether a file of this name in a mailbox is a message.
func IsMessageFile(file string) bool { return isMessage(file) }

// ParseID returns the Name.ID in the file name of a message. A name of the Windows service has no
// size; size is -1 then.
func ParseID(file string) (id string, size int64, ok bool) {
	if n, ok := ParseName(file); ok {
		return n.ID, n.Size, true
	}
	if isMessage(file) && isID(file[:len(file)-len(nameSuffix)]) {
		return file[:idLen], -1, true
	}
	return "", 0, false
}

// IsID reports whether s has the form of Name.ID.
func IsID(s string) bool { return isID(s) }

// IDTime returns the time of arrival in a Name.ID, in UTC and whole seconds. It is zero if id has
// another form or an impossible time.
func IDTime(id string) time.Time {
	if !isID(id) {
		return time.Time{}
	}
	t, err := time.Parse(stampLayout, id[len(namePrefix):][:stampLen])
	if err != nil {
		return time.Time{}
	}
	return t
}

// NewID makes an ID for a message that arrived at the given time, for CommitAs. Within one second,
// a later call returns a later ID. The present time replaces a year that does not fit into an ID.
func (s *Store) NewID(arrived time.Time) string {
	if year := arrived.UTC().Year(); year < 0 || year > 9999 {
		arrived = s.ids.now()
	}
	return s.ids.at(arrived)
}

// at is next for another time. It does not change the time of next.
func (s *idSource) at(t time.Time) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count(t.UTC().Format(stampLayout))
}

// CommitAs is Commit into one mailbox, with an ID that the message had before or that NewID made.
// It syncs the message itself. The error is fs.ErrExist if the mailbox has a file of this name. The
// caller must check for another message with this ID.
func (in *Incoming) CommitAs(id, dir string) error {
	if in.ended {
		return fs.ErrClosed
	}
	if !isID(id) {
		return fmt.Errorf("mail store: %q is not a message id", id)
	}
	in.retract()
	name := in.name()
	name.ID = id
	d := delivery{store: in.store, name: name.String(), size: in.size, ignoreQuota: in.ignoreQuota}
	defer d.settle()
	dirs := []string{dir}
	if err := d.reserve(dirs); err != nil {
		return err
	}
	if err := in.store.gate.enter(); err != nil {
		return err
	}
	defer in.store.gate.leave()
	if err := in.commitSynced(&d, dirs); err != nil {
		return err
	}
	d.stored = true
	in.end()
	return nil
}

// Snapshot is the content of a mailbox at one moment. Unlike a Maildrop it takes no lock, and it is
// safe for concurrent use.
type Snapshot struct{ drop Maildrop }

// Snapshot lists a mailbox. Errors are ErrNoMailbox, ErrRecovering and those of the file system.
func (s *Store) Snapshot(dir string) (*Snapshot, error) {
	v, err := s.view(dir)
	if err != nil {
		return nil, err
	}
	return &Snapshot{Maildrop{store: s, dir: dir, view: v}}, nil
}

// Messages returns the messages in order of arrival. The slice must not be changed.
func (s *Snapshot) Messages() []Message { return s.drop.Messages() }

// Octets returns the sum of all sizes.
func (s *Snapshot) Octets() int64 { return s.drop.Octets() }

// File returns the name of message i's file in the mailbox.
func (s *Snapshot) File(i int) string {
	file, _ := s.drop.view.file(i)
	return file
}

// Arrived returns when message i arrived: the time in its name, or the file's modification time if
// the name has none. It is zero if the name has an impossible time.
func (s *Snapshot) Arrived(i int) time.Time { return s.drop.view.arrived(i) }

// Open is Maildrop.Open.
func (s *Snapshot) Open(i int) (*Content, error) { return s.drop.Open(i) }

// ErrDiffers means that the two texts of a Comparer differ.
var ErrDiffers = errors.New("not the same text")

// Comparer is an io.Writer that compares the text written with that of a reader. It fails with
// ErrDiffers at the first difference.
type Comparer struct {
	r   io.Reader
	buf []byte
}

// NewComparer returns a Comparer with the text of r.
func NewComparer(r io.Reader) *Comparer { return &Comparer{r: r} }

// Write implements io.Writer.
func (c *Comparer) Write(p []byte) (int, error) {
	if cap(c.buf) < len(p) {
		c.buf = make([]byte, len(p))
	}
	switch n, err := io.ReadFull(c.r, c.buf[:len(p)]); {
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		return 0, ErrDiffers
	case err != nil:
		return 0, err
	case !bytes.Equal(p, c.buf[:n]):
		return 0, ErrDiffers
	}
	return len(p), nil
}

// Finish fails with ErrDiffers if the reader has more text.
func (c *Comparer) Finish() error {
	switch n, err := io.CopyN(io.Discard, c.r, 1); {
	case n > 0:
		return ErrDiffers
	case err != io.EOF:
		return err
	}
	return nil
}
