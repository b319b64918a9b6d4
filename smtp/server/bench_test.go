package server

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"pillarbox/smtp"
)

// benchMessage is 4 KB, the size of an ordinary mail without attachment.
var benchMessage = "Subject: benchmark\r\n\r\n" + strings.Repeat(strings.Repeat("x", 76)+"\r\n", 52)

// BenchmarkAccept is the time from MAIL to the 250 behind the message, which
// means durable: one message each time, to one of 50 mailboxes, on 1, 16 and 128
// connections. "bare" is the same disk without a server: file, fsync, link,
// fsync of the directory.
func BenchmarkAccept(b *testing.B) {
	for _, conns := range []int{1, 16, 128} {
		b.Run(fmt.Sprintf("pillarbox/connections=%d", conns), func(b *testing.B) { benchAccept(b, conns) })
		b.Run(fmt.Sprintf("bare/writers=%d", conns), func(b *testing.B) { benchBare(b, conns) })
	}
}

const benchMailboxes = 50

func benchAccept(b *testing.B, conns int) {
	o := newOffice(b, smtp.MTA, func(c *Config) { c.Wire.MaxErrors = 0 })
	for i := range benchMailboxes {
		o.mailbox(b, fmt.Sprintf("user%d", i), "")
	}
	clients := make([]*benchClient, conns)
	for i := range clients {
		clients[i] = dialBench(b, o.addr)
		clients[i].say(b, "EHLO bench\r\n", "250 ")
	}
	b.ReportAllocs()
	b.ResetTimer()
	share(b.N, conns, func(conn, n int) {
		to := fmt.Sprintf("MAIL FROM:<a@b.example>\r\nRCPT TO:<user%d@office.example>\r\nDATA\r\n", n%benchMailboxes)
		clients[conn].say(b, to, "354 ")
		clients[conn].say(b, benchMessage+".\r\n", "250 ")
	})
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

// share runs work n times on as many goroutines as there are workers.
func share(n, workers int, work func(worker, n int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				work(w, i)
			}
		})
	}
	wg.Wait()
}

type benchClient struct {
	net.Conn
	r *bufio.Reader
}

func dialBench(b *testing.B, address string) *benchClient {
	c, err := net.Dial("tcp", address)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	bc := &benchClient{c, bufio.NewReaderSize(c, 512)}
	bc.say(b, "", "220 ")
	return bc
}

// say sends text and reads lines until one begins with want.
func (c *benchClient) say(b *testing.B, text, want string) {
	if _, err := c.Write([]byte(text)); err != nil {
		b.Error(err)
		return
	}
	for {
		line, err := c.r.ReadString('\n')
		if err != nil || line[0] > '3' {
			b.Errorf("%q, %v", line, err)
			return
		}
		if strings.HasPrefix(line, want) {
			return
		}
	}
}

func benchBare(b *testing.B, writers int) {
	dir := b.TempDir()
	for i := range benchMailboxes {
		if err := os.Mkdir(filepath.Join(dir, fmt.Sprint(i)), 0o700); err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	share(b.N, writers, func(_, n int) {
		temp := filepath.Join(dir, fmt.Sprintf("tmp%d", n))
		box := filepath.Join(dir, fmt.Sprint(n%benchMailboxes))
		if err := writeSynced(temp, box, n); err != nil {
			b.Error(err)
		}
	})
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

func writeSynced(temp, box string, n int) error {
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
	if err := os.Link(temp, filepath.Join(box, fmt.Sprint(n))); err != nil {
		return err
	}
	d, err := os.Open(box)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return err
	}
	return os.Remove(temp)
}

// BenchmarkIdle is what 1,000 connections that have greeted and wait cost, this
// process's ends of both sides counted.
func BenchmarkIdle(b *testing.B) {
	const conns = 1000
	o := newOffice(b, smtp.MTA, func(c *Config) { c.Wire.CommandTimeout = 0 })
	for b.Loop() {
		before := inUse()
		clients := make([]*benchClient, conns)
		for i := range clients {
			clients[i] = dialBench(b, o.addr)
			clients[i].say(b, "EHLO bench\r\n", "250 ")
		}
		b.ReportMetric(float64(inUse()-before)/conns, "B/conn")
		for _, c := range clients {
			c.Close()
		}
	}
}

// inUse is the memory of heap and stacks that is in use.
func inUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}
