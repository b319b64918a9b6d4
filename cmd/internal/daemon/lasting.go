package daemon

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"sync"
	"time"
)

// lastingLook is the time between two looks at the file of a socket.
const lastingLook = 2 * time.Second

// lastingSocket is a listener on a unix socket whose file may be deleted while it is served, such
// as by a cleaner of old files. No client could connect any more; so the socket is made again.
type lastingSocket struct {
	path   string
	open   func() (net.Listener, error)
	lost   func(err error) // told of each loss: nil if the socket was made again
	closed chan struct{}

	mu   sync.Mutex
	l    net.Listener
	file os.FileInfo // of l; nil if it could not be read
}

// openLasting opens a socket with open, which makes the file path. Close ends the looks at the
// file.
func openLasting(
	path string, open func() (net.Listener, error), lost func(error),
) (net.Listener, error) {
	s := &lastingSocket{path: path, open: open, lost: lost, closed: make(chan struct{})}
	var err error
	if s.l, err = open(); err != nil {
		return nil, err
	}
	s.file, _ = os.Lstat(path)
	go s.watch()
	return s, nil
}

// watch looks at the file until Close. A failure is told once.
func (s *lastingSocket) watch() {
	ticker := time.NewTicker(lastingLook)
	defer ticker.Stop()
	failed := false
	for {
		select {
		case <-ticker.C:
		case <-s.closed:
			return
		}
		renewed, err := s.renew()
		if err != nil && !failed || renewed {
			s.lost(err)
		}
		failed = err != nil
	}
}

// renew makes the socket again if its file is gone. Another file in its place stays: it may be the
// socket of another server.
func (s *lastingSocket) renew() (renewed bool, err error) {
	if _, err := os.Lstat(s.path); !errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.closed:
		return false, nil
	default:
	}
	next, err := s.open()
	if err != nil {
		return false, err
	}
	old := s.l
	s.l = next
	s.file, _ = os.Lstat(s.path)
	keepFile(old) // its file has the path of the new one
	old.Close()
	return true, nil
}

// Accept implements net.Listener. It goes on with the new socket after a renewal.
func (s *lastingSocket) Accept() (net.Conn, error) {
	for {
		l := s.listener()
		c, err := l.Accept()
		if err != nil && errors.Is(err, net.ErrClosed) && s.listener() != l {
			continue
		}
		return c, err
	}
}

func (s *lastingSocket) listener() net.Listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.l
}

// Close implements net.Listener. It removes the file only if it is that of the socket.
func (s *lastingSocket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.closed:
		return net.ErrClosed
	default:
		close(s.closed)
	}
	if now, err := os.Lstat(s.path); err != nil || s.file == nil || !os.SameFile(now, s.file) {
		keepFile(s.l)
	}
	return s.l.Close()
}

// Addr implements net.Listener.
func (s *lastingSocket) Addr() net.Addr { return s.listener().Addr() }

// keepFile makes Close of a listener leave the file at its path.
func keepFile(l net.Listener) {
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
}
