package mailstore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"
)

// What copies of mail need that come from elsewhere, or go there: messages that keep their ID, an ID for a
// message that arrived long ago, text with whole lines, and a mailbox to read by many at once.

// IsMessageFile reports whether a file of this name in a mailbox is a message.
func IsMessageFile(file string) bool { return isMessage(file) }

// ParseID takes the Name.ID out of the name of a message's file: one of ours, or one as the Windows service wrote
// it, which has no size. Then size is -1.
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

// IDTime is the time of arrival that a Name.ID tells, in UTC and whole seconds. It is zero if that is no time.
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

// NewID makes up an ID for a message that arrived at the given time, for CommitAs. Of two with the same second the one
// made later is the later. A year that does not fit into an ID is replaced by this one.
func (s *Store) NewID(arrived time.Time) string {
	if year := arrived.UTC().Year(); year < 0 || year > 9999 {
		arrived = s.ids.now()
	}
	return s.ids.at(arrived)
}

// at is next for another time. It leaves the stamp of next alone.
func (s *idSource) at(t time.Time) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count(t.UTC().Format(stampLayout))
}

// CommitAs is Commit into one mailbox under an ID that the message had elsewhere, or that NewID made up. The message is
// synced by itself. The error is fs.ErrExist when the mailbox has a message of this name; whether it has
// another one with this ID is the caller's to know.
func (in *Incoming) CommitAs(id, dir string) error {
	if in.ended {
		return fs.ErrClosed
	}
	if !isID(id) {
		return fmt.Errorf("mail store: %q is no message id", id)
	}
	in.retract()
	name := in.name()
	name.ID = id
	d := delivery{store: in.store, name: name.String(), size: in.size, beyond: in.beyond}
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

// Snapshot is a mailbox as it was at one moment. Unlike a Maildrop it locks nothing, and many may use it at once.
type Snapshot struct{ drop Maildrop }

// Snapshot lists a mailbox. Errors are ErrNoMailbox and those of the file system.
func (s *Store) Snapshot(dir string) (*Snapshot, error) {
	v, err := s.view(dir)
	if err != nil {
		return nil, err
	}
	return &Snapshot{Maildrop{store: s, dir: dir, view: v}}, nil
}

// Messages returns the messages in the order of their arrival. The slice must not be changed.
func (s *Snapshot) Messages() []Message { return s.drop.Messages() }

// Octets is the sum of all sizes.
func (s *Snapshot) Octets() int64 { return s.drop.Octets() }

// File is the name of message i's file in the mailbox.
func (s *Snapshot) File(i int) string {
	file, _ := s.drop.view.file(i)
	return file
}

// Arrived is when message i arrived, as its name tells, or else when its file was changed last. It is zero if its name
// tells a time that does not exist.
func (s *Snapshot) Arrived(i int) time.Time { return s.drop.view.arrived(i) }

// Open is Maildrop.Open.
func (s *Snapshot) Open(i int) (*Content, error) { return s.drop.Open(i) }

// Normaliser is an io.Writer that makes whole lines of text: every CR and every LF that stands alone becomes a CRLF, as
// the SMTP service does it where it is set to mend rather than refuse, and Finish ends the last line. Text that is
// so already passes as it is.
type Normaliser struct {
	w    io.Writer
	out  []byte
	cr   bool // a CR that waits for what follows
	open bool // the last line has no end yet
}

// NewNormaliser returns a Normaliser that writes to w.
func NewNormaliser(w io.Writer) *Normaliser { return &Normaliser{w: w} }

// Write implements io.Writer.
func (n *Normaliser) Write(p []byte) (int, error) {
	for written := 0; written < len(p); {
		part := p[written:min(len(p), written+bufferSize)]
		if err := n.write(part); err != nil {
			return written, err
		}
		written += len(part)
	}
	return len(p), nil
}

func (n *Normaliser) write(p []byte) error {
	n.out = n.out[:0]
	for len(p) > 0 {
		if n.cr {
			n.endLine()
			p = bytes.TrimPrefix(p, []byte{'\n'})
			continue
		}
		end := bytes.IndexAny(p, "\r\n")
		if end < 0 {
			n.out, n.open = append(n.out, p...), true
			break
		}
		n.out = append(n.out, p[:end]...)
		if p[end] == '\r' {
			n.cr = true
		} else {
			n.endLine()
		}
		p = p[end+1:]
	}
	_, err := n.w.Write(n.out)
	return err
}

func (n *Normaliser) endLine() {
	n.out = append(n.out, '\r', '\n')
	n.cr, n.open = false, false
}

// Finish ends the last line if it has no end. Nothing may be written after it.
func (n *Normaliser) Finish() error {
	if !n.cr && !n.open {
		return nil
	}
	n.out = n.out[:0]
	n.endLine()
	_, err := n.w.Write(n.out)
	return err
}

// ErrDiffers says that a text is not the same as another one.
var ErrDiffers = errors.New("not the same text")

// Comparer is an io.Writer that compares what is written with what a reader gives. It fails with ErrDiffers at the
// first difference.
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

// Finish fails with ErrDiffers if the reader has more to give.
func (c *Comparer) Finish() error {
	switch n, err := io.CopyN(io.Discard, c.r, 1); {
	case n > 0:
		return ErrDiffers
	case err != io.EOF:
		return err
	}
	return nil
}
