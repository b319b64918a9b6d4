package mailstore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
)

// FaultKind is the kind of a Fault.
type FaultKind string

// The values of FaultKind.
const (
	FaultUnreadable FaultKind = "unreadable" // the file cannot be read
	FaultSize       FaultKind = "size"       // the file's size is not the one in its name
	FaultDots       FaultKind = "dots"       // a line begins with a dot, but the name has no "d"
	FaultLines      FaultKind = "lines"      // a CR or LF stands alone, but the name promises CRLF
	FaultDuplicate  FaultKind = "twice"      // another message has the same unique-id
	FaultZeros      FaultKind = "zeros"      // a part of the file never reached the disk
)

// Fault is a defect of one message.
type Fault struct {
	Kind  FaultKind
	File  string // name in the mailbox
	Err   error
	Zeros int64 // octets of the file, for FaultZeros
}

// Check reads every message of a mailbox and returns all its faults except FaultLines and
// FaultZeros, since a Store keeps what it receives. It reads the whole mailbox, so it is slow.
func (s *Store) Check(dir string) error {
	var errs []error
	_, err := s.Faults(dir, func(f Fault) {
		if f.Kind != FaultLines && f.Kind != FaultZeros {
			errs = append(errs, f.Err)
		}
	})
	return errors.Join(append(errs, err)...)
}

// Faults reads every message of a mailbox once and calls found for each fault. It repairs no fault.
// A message that is deleted meanwhile is no fault. Errors are ErrNoMailbox and those of listing the
// mailbox.
func (s *Store) Faults(dir string, found func(Fault)) (Stat, error) {
	l, err := s.listNow(dir)
	if err != nil {
		return Stat{}, err
	}
	names := make(map[string]string, len(l.entries)) // by UID
	for _, e := range l.entries {
		uid, name := l.uid(e), l.name(e)
		if other, twice := names[uid]; twice {
			first, second := min(other, name), max(other, name)
			err := fmt.Errorf("%s: %s and %s have the same unique-id", dir, first, second)
			found(Fault{Kind: FaultDuplicate, File: second, Err: err})
		}
		names[uid] = name
	}
	clear(names)
	m := Maildrop{store: s, dir: dir, view: newView(l)}
	for i := range m.Messages() {
		m.check(i, found)
	}
	return Stat{Messages: len(m.Messages()), Bytes: m.Octets()}, nil
}

// listNow is list for a mailbox that was not checked yet.
func (s *Store) listNow(dir string) (*listing, error) {
	if err := s.gate.enter(); err != nil {
		return nil, err
	}
	defer s.gate.leave()
	if err := s.checkMailbox(dir); err != nil {
		return nil, err
	}
	return s.list(dir)
}

// check reads message i.
func (m *Maildrop) check(i int, found func(Fault)) {
	file, foreign := m.view.file(i)
	name := path.Join(m.dir, file)
	wrong := func(kind FaultKind, why string) {
		err := fmt.Errorf("%s: %w: %s", name, ErrDamaged, why)
		found(Fault{Kind: kind, File: file, Err: err})
	}
	content, failed := m.Open(i)
	var r io.ReadCloser = content
	if errors.Is(failed, ErrGone) {
		return
	}
	kind := FaultUnreadable
	if failed != nil {
		if foreign == nil && m.otherSize(name, m.view.messages[i].Size) {
			kind = FaultSize
		}
		var err error
		if r, _, err = m.store.openRegular(name); err != nil {
			found(Fault{Kind: kind, File: file, Err: failed})
			return
		}
	}
	defer r.Close()
	var dots dotScanner
	var lines lineScanner
	var zeros ZeroCounter
	_, err := io.Copy(io.MultiWriter(&dots, &lines, &zeros), r)
	n := zeros.Count()
	if n > 0 {
		err := fmt.Errorf("%s: %w: %d octets are zeros", name, ErrDamaged, n)
		found(Fault{Kind: FaultZeros, File: file, Err: err, Zeros: n})
	}
	switch {
	case failed != nil && !errors.Is(failed, errLost): // the zeros are that fault
		found(Fault{Kind: kind, File: file, Err: failed})
	case err != nil:
		found(Fault{Kind: FaultUnreadable, File: file, Err: fmt.Errorf("%s: %w", name, err)})
	case n > 0: // the zeros may hide line ends and dots
	case lines.alone():
		wrong(FaultLines, "lines do not end in CRLF")
	case dots.found && !m.view.messages[i].Dotted:
		wrong(FaultDots, "a line begins with a dot, but its name has no \"d\" after the size")
	}
}

// otherSize reports whether the size of a file is not the one in its name.
func (m *Maildrop) otherSize(name string, size int64) bool {
	fi, err := m.store.fsys.Lstat(name)
	return err == nil && fi.Mode().IsRegular() && fi.Size() != size
}

// Rename corrects the name of a message that the store has named to match the content of its file,
// and returns the new name when it is durable. The unique-id stays. If some line does not end in
// CRLF, the new name has no size, so that the file is served as a foreign one. The error is
// fs.ErrExist, and the file is unchanged, if a file has the new name already.
func (s *Store) Rename(dir, file string) (renamed string, err error) {
	old, ok := ParseName(file)
	if !ok {
		return "", fmt.Errorf("%s/%s: %w: not the name of a message", dir, file, ErrDamaged)
	}
	if err := s.checkMailbox(dir); err != nil {
		return "", err
	}
	f, _, err := s.openRegular(path.Join(dir, file))
	if err != nil {
		return "", err
	}
	defer f.Close()
	var dots dotScanner
	var lines lineScanner
	size, err := io.Copy(io.MultiWriter(&dots, &lines), f)
	if err != nil {
		return "", fmt.Errorf("%s/%s: %w", dir, file, err)
	}
	renamed = Name{ID: old.ID, Size: size, Dotted: dots.found}.String()
	if !lines.whole() {
		renamed = old.ID + nameSuffix
	}
	if renamed == file {
		return file, nil
	}
	// Link and Remove: Rename would replace an existing file.
	if err := s.fsys.Link(path.Join(dir, file), path.Join(dir, renamed)); err != nil {
		return "", err
	}
	err = s.fsys.Remove(path.Join(dir, file))
	return renamed, errors.Join(err, s.fsys.SyncDir(dir))
}

// lineScanner is an io.Writer that detects lines that do not end in CRLF. The zero value is ready
// to use.
type lineScanner struct {
	bare bool // an LF or a CR without the other was seen
	open bool // the last line has no end yet
	last byte
}

// Write implements io.Writer and never fails.
func (l *lineScanner) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	last := len(p) - 1
	pairs := bytes.Count(p, []byte("\r\n"))
	if (l.last == '\r') != (p[0] == '\n') ||
		bytes.Count(p[1:], []byte{'\n'}) != pairs || bytes.Count(p[:last], []byte{'\r'}) != pairs {
		l.bare = true
	}
	l.last = p[last]
	l.open = l.last != '\n'
	return len(p), nil
}

// alone reports whether a CR or an LF stands alone.
func (l *lineScanner) alone() bool { return l.bare || l.last == '\r' }

// whole reports whether all lines end in CRLF, including the last. An empty text is whole.
func (l *lineScanner) whole() bool { return !l.bare && !l.open }

// dotScanner is an io.Writer that detects lines that begin with a dot. The zero value is ready to
// use.
type dotScanner struct {
	found  bool
	inLine bool // the last byte was not the end of a line
}

// Write implements io.Writer and never fails.
func (d *dotScanner) Write(p []byte) (int, error) {
	if len(p) > 0 {
		d.found = d.found || !d.inLine && p[0] == '.' || bytes.Contains(p, []byte("\n."))
		d.inLine = p[len(p)-1] != '\n'
	}
	return len(p), nil
}

// sector is the smallest unit that a disk can lose. Mail contains no run of NULs that fills a sector,
// so a sector of zeros was never written. If a sender does write one, openContent serves the message
// after the next checkpoint.
const sector = 512

// ZeroCounter is an io.Writer that counts the octets in sectors full of zeros. The zero value is
// ready to use.
type ZeroCounter struct {
	zeros int64
	seen  int  // octets of the current sector
	other bool // one of them is not 0
}

// Write implements io.Writer and never fails.
func (z *ZeroCounter) Write(p []byte) (int, error) {
	var empty [sector]byte
	for rest := p; len(rest) > 0; {
		part := rest[:min(len(rest), sector-z.seen)]
		rest = rest[len(part):]
		z.other = z.other || !bytes.Equal(part, empty[:len(part)])
		if z.seen += len(part); z.seen == sector {
			z.zeros, z.seen, z.other = z.Count(), 0, false
		}
	}
	return len(p), nil
}

// Count returns the count so far.
func (z *ZeroCounter) Count() int64 {
	if z.other {
		return z.zeros
	}
	return z.zeros + int64(z.seen)
}
