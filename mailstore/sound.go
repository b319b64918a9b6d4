package mailstore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// errLost means that the disk has lost a part of a message that the log still has. It is temporary:
// the next sync fails, and the recovery that follows writes the message again.
var errLost = errors.New("a part of the file never reached the disk; it is written again from the log")

// openContent opens the file of a message. id is its file name or its id in the spool; "" means that
// the log never had it. Until the next checkpoint, a page that could not be written may have been
// dropped and then reads as zeros. A message with such a page is not served: a client could fetch
// and delete it, and another server would accept it as complete.
func (s *Store) openContent(id, name string) (io.ReadCloser, fs.FileInfo, error) {
	f, fi, err := s.openRegular(name)
	l := s.log.Load()
	// A large message was synced before it was acknowledged.
	if err != nil || fi.Size() > smallMax || l == nil || !l.mayHold(id) {
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
