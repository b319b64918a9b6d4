package mailstore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// errLost says that the disk has lost a part of a message that the log still has. The next sync fails, and the recovery
// that follows writes the message again; so the error is temporary.
var errLost = errors.New("a part of the file never reached the disk; it is written again from the log")

// openContent opens the file of a message, whose name or id in the spool is id; "" is one that the log never had. Until the sync that cuts
// the log, a page that could not be written may have been dropped, and then reads as zeros. A message with such a part is
// not given away: a client could delete it after fetching it, and another server would take it for the whole.
func (s *Store) openContent(id, name string) (io.ReadCloser, fs.FileInfo, error) {
	f, fi, err := s.openRegular(name)
	j := s.journal.Load()
	if err != nil || fi.Size() > smallMax || j == nil || !j.holds(id) { // a large one was synced before it was acknowledged
		return f, fi, err
	}
	content := make([]byte, fi.Size())
	if _, err := io.ReadFull(f, content); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("%s: %w", name, err), f.Close())
	}
	var zeros ZeroCounter
	_, _ = zeros.Write(content) // never fails
	if zeros.Count() > 0 {
		return nil, nil, errors.Join(fmt.Errorf("%s: %w", name, errLost), f.Close())
	}
	return readCloser{bytes.NewReader(content), f}, fi, nil
}

type readCloser struct {
	io.Reader
	io.Closer
}
