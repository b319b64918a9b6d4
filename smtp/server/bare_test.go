package server

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// bareLog is the simplest group commit: writers that come during a write share the next one.
type bareLog struct {
	file *os.File
	end  int64

	writing sync.Mutex

	mu   sync.Mutex
	next *bareGroup
}

type bareGroup struct {
	data []byte
	done chan struct{}
}

const bareLogSize = 64 << 20

func newBareLog(b *testing.B, dir string) *bareLog {
	f, err := os.Create(filepath.Join(dir, "log"))
	if err == nil {
		_, err = f.Write(make([]byte, bareLogSize))
	}
	if err = errors.Join(err, f.Sync()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	return &bareLog{file: f}
}

// write returns when data is on the disk.
func (l *bareLog) write(data string) error {
	l.mu.Lock()
	g := l.next
	first := g == nil
	if first {
		g = &bareGroup{done: make(chan struct{})}
		l.next = g
	}
	g.data = append(g.data, data...)
	l.mu.Unlock()
	if !first {
		<-g.done
		return nil
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	l.next = nil
	l.mu.Unlock()
	defer close(g.done)
	g.data = append(g.data, make([]byte, 4096-len(g.data)%4096)...)
	if l.end+int64(len(g.data)) > bareLogSize {
		l.end = 0
	}
	if _, err := l.file.WriteAt(g.data, l.end); err != nil {
		return err
	}
	l.end += int64(len(g.data))
	return syscall.Fdatasync(int(l.file.Fd()))
}

func bareMailboxes(b *testing.B) string {
	dir := b.TempDir()
	for i := range benchMailboxes {
		if err := os.Mkdir(filepath.Join(dir, strconv.Itoa(i)), 0o700); err != nil {
			b.Fatal(err)
		}
	}
	return dir
}

func bareName(dir string, n int) string {
	return filepath.Join(dir, strconv.Itoa(n%benchMailboxes), strconv.Itoa(n))
}

// store writes to the log, then to the file.
func (l *bareLog) store(dir string, n int, message string) error {
	if err := l.write(message); err != nil {
		return err
	}
	return os.WriteFile(bareName(dir, n), []byte(message), 0o600)
}

func benchLog(b *testing.B, writers int) {
	dir := bareMailboxes(b)
	log := newBareLog(b, dir)
	measure(b, writers, func(_, n int) {
		if err := log.store(dir, n, benchMessage); err != nil {
			b.Error(err)
		}
	})
}

func benchFile(b *testing.B, writers int) {
	dir := bareMailboxes(b)
	measure(b, writers, func(_, n int) {
		if err := writeSynced(dir, n); err != nil {
			b.Error(err)
		}
	})
}

func writeSynced(dir string, n int) error {
	temp := filepath.Join(dir, fmt.Sprintf("tmp%d", n))
	f, err := os.Create(temp)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString(benchMessage); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	name := bareName(dir, n)
	if err := os.Rename(temp, name); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// benchDialogue is a server for one client: it reads what the client sends, and gives the expected
// replies.
func benchDialogue(b *testing.B, conns int) {
	dir := bareMailboxes(b)
	log := newBareLog(b, dir)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go answer(c, func(n int, message string) error { return log.store(dir, n, message) })
		}
	}()
	clients := make([]*benchClient, conns)
	for i := range clients {
		clients[i] = dialBench(b, l.Addr().String())
	}
	measure(b, conns, func(conn, n int) { clients[conn].send(b, n) })
}

// answer serves MAIL, RCPT and DATA in that order. The number of the message consists of the
// connection's address and a count.
func answer(c net.Conn, store func(n int, message string) error) {
	defer c.Close()
	r, w := bufio.NewReader(c), bufio.NewWriter(c)
	_, port, _ := net.SplitHostPort(c.RemoteAddr().String())
	id, _ := strconv.Atoi(port)
	w.WriteString("220 ready\r\n")
	for n := id << 24; ; n++ {
		if r.Buffered() == 0 {
			w.Flush()
		}
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		if !strings.HasPrefix(line, "DATA") {
			n--
			w.WriteString("250 ok\r\n")
			continue
		}
		w.WriteString("354 go\r\n")
		w.Flush()
		var message strings.Builder
		for {
			line, err := r.ReadSlice('\n')
			if err != nil {
				return
			}
			if string(line) == ".\r\n" {
				break
			}
			message.Write(line)
		}
		if err := store(n, message.String()); err != nil {
			return
		}
		w.WriteString("250 stored\r\n")
	}
}
