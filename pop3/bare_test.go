package pop3

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// bare is the reference for the benchmarks: a loop that answers their commands for one mailbox,
// without any check, limit, log or lock.
type bare struct {
	dir string

	mu   sync.Mutex
	at   time.Time // when the directory last changed
	view []bareMessage
}

type bareMessage struct {
	name string
	uid  string
	size int
}

func listenBare(t testing.TB, dir string, implicitTLS bool) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if implicitTLS {
		l = tls.NewListener(l, certificate())
	}
	s := &bare{dir: dir}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if err := s.serve(conn); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
					t.Error(err)
				}
			}()
		}
	}()
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

// list reads the names if the directory has changed.
func (s *bare) list() ([]bareMessage, error) {
	fi, err := os.Stat(s.dir)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if fi.ModTime().Equal(s.at) {
		return s.view, nil
	}
	dir, err := os.Open(s.dir)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var view []bareMessage
	for _, name := range names {
		uid, ok := strings.CutSuffix(name, ".eml")
		if !ok {
			continue
		}
		i := strings.LastIndexByte(uid, '_')
		size, err := strconv.Atoi(strings.TrimSuffix(uid[i+1:], "d"))
		if err != nil {
			return nil, err
		}
		view = append(view, bareMessage{name: name, uid: uid[:i], size: size})
	}
	s.at, s.view = fi.ModTime(), view
	return view, nil
}

func (s *bare) serve(conn net.Conn) error {
	in, out := bufio.NewReaderSize(conn, 1024), bufio.NewWriterSize(conn, 32<<10)
	fmt.Fprint(out, "+OK\r\n")
	var view []bareMessage
	var deleted []int
	for {
		if err := out.Flush(); err != nil {
			return err
		}
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		verb, arg, _ := bytes.Cut(bytes.TrimSpace(line), []byte(" "))
		switch string(verb) {
		case "PASS":
			if view, err = s.list(); err != nil {
				return err
			}
			out.WriteString("+OK\r\n")
		case "USER":
			out.WriteString("+OK\r\n")
		case "STAT":
			octets := 0
			for i := range view {
				octets += view[i].size
			}
			fmt.Fprintf(out, "+OK %d %d\r\n", len(view), octets)
		case "LIST", "UIDL":
			bareLines(out, view, string(verb) == "UIDL")
		case "RETR":
			n, _ := strconv.Atoi(string(arg))
			if err := bareRetr(out, filepath.Join(s.dir, view[n-1].name)); err != nil {
				return err
			}
		case "DELE":
			n, _ := strconv.Atoi(string(arg))
			deleted = append(deleted, n-1)
			out.WriteString("+OK\r\n")
		case "QUIT":
			if err := s.remove(view, deleted); err != nil {
				return err
			}
			out.WriteString("+OK\r\n")
			return out.Flush()
		}
	}
}

func bareLines(out *bufio.Writer, view []bareMessage, uidl bool) {
	out.WriteString("+OK\r\n")
	for i := range view {
		line := append(strconv.AppendInt(out.AvailableBuffer(), int64(i+1), 10), ' ')
		if uidl {
			line = append(line, view[i].uid...)
		} else {
			line = strconv.AppendInt(line, int64(view[i].size), 10)
		}
		out.Write(append(line, '\r', '\n'))
	}
	out.WriteString(".\r\n")
}

func bareRetr(out *bufio.Writer, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	out.WriteString("+OK\r\n")
	if _, err := out.ReadFrom(f); err != nil {
		return err
	}
	_, err = out.WriteString(".\r\n")
	return err
}

func (s *bare) remove(view []bareMessage, deleted []int) error {
	if len(deleted) == 0 {
		return nil
	}
	for _, i := range deleted {
		if err := os.Remove(filepath.Join(s.dir, view[i].name)); err != nil {
			return err
		}
	}
	dir, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
