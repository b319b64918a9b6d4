package daemon

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

// A socket whose file was deleted is made again, and its listener goes on. The file of another
// server stays.
func TestLastingSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	open := func() (net.Listener, error) { return net.Listen("unix", path) }
	l, err := openLasting(path, open, func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	s := l.(*lastingSocket)
	accepted := make(chan error)
	go func() {
		for {
			c, err := l.Accept()
			if accepted <- err; err != nil {
				return
			}
			c.Close()
		}
	}()
	connect := func() {
		t.Helper()
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := <-accepted; err != nil {
			t.Fatal(err)
		}
	}
	connect()
	if renewed, err := s.renew(); renewed || err != nil {
		t.Errorf("a file that is there: %v, %v", renewed, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	// The watch may be faster than this call.
	if _, err := s.renew(); err != nil {
		t.Errorf("a deleted file: %v", err)
	}
	connect()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	other, err := net.Listen("unix", path)
	if err != nil {
		t.Skip("the watch has made the socket again") // it looks every 2 seconds
	}
	defer other.Close()
	if renewed, err := s.renew(); renewed || err != nil {
		t.Errorf("the file of another server: %v, %v", renewed, err)
	}
	l.Close()
	if err := <-accepted; err == nil {
		t.Error("a closed listener accepts")
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("Close took the file of another server: %v", err)
	}
}
