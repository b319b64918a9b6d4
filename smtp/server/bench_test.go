package server

import (
	"bufio"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"pillarbox/mailstore/durable"
	"pillarbox/mailstore/track"
	"pillarbox/smtp"
)

// benchMessage has 4 KB, as an ordinary mail without attachment.
var benchMessage = "Subject: benchmark\r\n\r\n" + strings.Repeat(strings.Repeat("x", 76)+"\r\n", 52)

// BenchmarkAccept measures how many messages of 4 KB per second the server accepts, from MAIL to the
// 250 that means durable. Each goes to one of 50 mailboxes. For comparison:
//
//   - "dialogue" is the least that can answer the same client over the same connections. It commits
//     like "log".
//   - "log" has no network: a log with group commit, then the file without a sync of its own.
//   - "file" has no network: file, fsync, rename, fsync of the directory.
//
// The goal is the rate of "dialogue", because every server must do that much.
func BenchmarkAccept(b *testing.B) {
	for _, conns := range []int{1, 10, 50} {
		b.Run(fmt.Sprintf("connections=%d/pillarbox", conns), func(b *testing.B) { benchAccept(b, conns) })
		b.Run(fmt.Sprintf("connections=%d/dialogue", conns), func(b *testing.B) { benchDialogue(b, conns) })
		b.Run(fmt.Sprintf("connections=%d/log", conns), func(b *testing.B) { benchLog(b, conns) })
		b.Run(fmt.Sprintf("connections=%d/file", conns), func(b *testing.B) { benchFile(b, conns) })
	}
}

const benchMailboxes = 50

func benchAccept(b *testing.B, conns int) {
	a := newAccepting(b, conns, false)
	b.ReportAllocs()
	before := a.office.store.Flushes()
	measure(b, conns, a.send)
	b.ReportMetric(float64(a.office.store.Flushes()-before)/float64(b.N), "flushes/msg")
}

// accepting is a server and the clients that send to it.
type accepting struct {
	b       *testing.B
	office  *office
	clients []*benchClient
}

// newAccepting starts a server, with or without the events of mail.
func newAccepting(b *testing.B, conns int, events bool) *accepting {
	var log *track.Log
	if events {
		root, err := durable.Open(b.TempDir())
		if err != nil {
			b.Fatal(err)
		}
		log = track.Open(root, track.Options{}, slog.New(slog.DiscardHandler))
		b.Cleanup(func() {
			log.Close()
			root.Close()
			if n := log.Dropped(); n > 0 {
				b.Errorf("%d events were dropped", n)
			}
		})
	}
	o := newTrackedOffice(b, smtp.MTA, func(c *Config) {
		c.Wire.MaxErrors, c.Wire.CommandTimeout = 0, 0
	}, log)
	for i := range benchMailboxes {
		o.mailbox(b, fmt.Sprintf("user%d", i), "")
	}
	a := &accepting{b, o, make([]*benchClient, conns)}
	for i := range a.clients {
		a.clients[i] = dialBench(b, o.addr)
		a.clients[i].say(b, "EHLO bench\r\n", "250 ")
	}
	b.Cleanup(func() { // before the log is closed
		for _, c := range a.clients {
			c.say(b, "QUIT\r\n", "221 ")
		}
	})
	return a
}

func (a *accepting) send(conn, n int) { a.clients[conn].send(a.b, n) }

// BenchmarkEvents measures what the events of mail cost from MAIL to the 250. A server with events
// and one without take turns, so that what else the machine does is in both figures. "ratio" is the
// median, over the turns, of the rate with events divided by that without.
func BenchmarkEvents(b *testing.B) {
	const turn = 500 // messages
	for _, conns := range []int{1, 10, 50} {
		b.Run(fmt.Sprintf("connections=%d", conns), func(b *testing.B) {
			without, with := newAccepting(b, conns, false), newAccepting(b, conns, true)
			took := func(a *accepting) float64 {
				begun := time.Now()
				share(turn, conns, a.send)
				return time.Since(begun).Seconds()
			}
			took(without)
			took(with)
			var ratios []float64
			b.ResetTimer()
			for n := 0; n < b.N; n += 4 * turn {
				bare := took(without)
				full := took(with) + took(with)
				bare += took(without)
				ratios = append(ratios, bare/full)
			}
			slices.Sort(ratios)
			b.ReportMetric(ratios[len(ratios)/2], "ratio")
			b.ReportMetric(ratios[len(ratios)/4], "ratio-low")
			b.ReportMetric(ratios[len(ratios)*3/4], "ratio-high")
		})
	}
}

// measure divides b.N messages among the workers. It reports the rate, and the CPU time of the whole
// process with clients and kernel.
func measure(b *testing.B, workers int, work func(worker, n int)) {
	before := cpuTime(b)
	b.ResetTimer()
	share(b.N, workers, work)
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	b.ReportMetric((cpuTime(b)-before).Seconds()/float64(b.N)*1000, "cpu-s/1000")
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// share runs work n times, with a goroutine for each worker.
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

// send sends message n.
func (c *benchClient) send(b *testing.B, n int) {
	c.say(b, fmt.Sprintf("MAIL FROM:<a@b.example>\r\nRCPT TO:<user%d@office.example>\r\nDATA\r\n", n%benchMailboxes), "354 ")
	c.say(b, benchMessage+".\r\n", "250 ")
}

// say sends text and reads lines up to one that begins with want.
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

// BenchmarkIdle measures the memory of 1,000 connections that have greeted and wait, with both ends
// in this process.
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

// inUse returns the memory of heap and stacks in use.
func inUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}
