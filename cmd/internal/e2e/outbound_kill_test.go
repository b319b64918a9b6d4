//go:build e2e

package e2e

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// receipt is one arrival of a message at the counting sink.
type receipt struct {
	conn int       // the connection
	at   time.Time // when the sink began to send its 250
}

// counter is an SMTP server that counts messages.
type counter struct {
	mu     sync.Mutex
	conns  int
	open   int
	widest int // largest number of open connections
	got    map[string][]receipt
	broken []string // messages that differ from what was sent
}

func (k *counter) serve(c net.Conn) {
	k.mu.Lock()
	k.conns++
	k.open++
	k.widest = max(k.widest, k.open)
	number := k.conns
	k.mu.Unlock()
	defer func() { k.mu.Lock(); k.open--; k.mu.Unlock() }()
	in, out := bufio.NewReader(c), bufio.NewWriter(c)
	io.WriteString(c, "220 sink.example ESMTP\r\n")
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		switch strings.ToUpper(line[:min(4, len(line))]) {
		case "EHLO":
			out.WriteString("250-sink.example\r\n250-8BITMIME\r\n250 PIPELINING\r\n")
		case "DATA":
			io.WriteString(out, "354 go\r\n")
			out.Flush()
			if !k.take(number, in) {
				return
			}
			out.WriteString("250 2.0.0 counted\r\n")
		case "QUIT":
			io.WriteString(c, "221 bye\r\n")
			return
		default:
			out.WriteString("250 2.0.0 fine\r\n")
		}
		if in.Buffered() == 0 {
			out.Flush()
		}
	}
}

// take reads one message.
func (k *counter) take(conn int, in *bufio.Reader) bool {
	var text strings.Builder
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return false // the message was never sent completely
		}
		if line == ".\r\n" {
			break
		}
		text.WriteString(strings.TrimPrefix(line, "."))
	}
	id, ok := subject(text.String())
	k.mu.Lock()
	defer k.mu.Unlock()
	if !ok || !strings.HasSuffix(text.String(), "\r\n"+crashMessage(id)) {
		k.broken = append(k.broken, fmt.Sprintf("%.300q", text.String()))
	}
	k.got[id] = append(k.got[id], receipt{conn, time.Now()})
	return true
}

// arrived returns the number of different messages that have arrived.
func (k *counter) arrived() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.got)
}

// outbox records the messages that got a 250.
type outbox struct {
	mu    sync.Mutex
	acked map[string]bool
}

// send submits messages in one session until the server is killed.
func (b *outbox) send(t *testing.T, o *office, name string) {
	s, err := o.dial("smtp")
	if err != nil {
		return
	}
	defer s.Close()
	_, err = s.say("EHLO other.example")
	for n := 0; err == nil; n++ {
		id := fmt.Sprintf("%s.%d.%d", name, n, rand.IntN(200))
		var reply string
		reply, err = s.transact("someone@other.example", crashMessage(id), "bob@sink.example")
		switch {
		case err != nil: // it may be in the queue
		case strings.HasPrefix(reply, "250 2.6.0 "):
			b.mu.Lock()
			b.acked[id] = true
			b.mu.Unlock()
		default:
			t.Errorf("message %s was refused: %s", id, reply)
			return
		}
	}
}

// TestOutboundSIGKILL kills the server again and again while its queue delivers to a server that
// counts. Every message with a 250 must arrive complete. It may arrive twice only if the kill came
// at about the time of the sink's 250, so that the server could not record the delivery (RFC 1047),
// and at most once more for each connection and kill.
func TestOutboundSIGKILL(t *testing.T) {
	k := &counter{got: make(map[string][]receipt)}
	port := hostile(t, k.serve)
	o, _ := sendingOffice(t)
	o.route(t, `domains = ["sink.example"]`, `smart_host = ["[127.0.0.1]:`+port+`"]`, "allow_relay = true", `retries = ["1s"]`, "connections = 20")
	rounds, _ := strconv.Atoi(cmp.Or(os.Getenv("PILLARBOX_E2E_KILL_ROUNDS"), "4"))
	b := &outbox{acked: make(map[string]bool)}
	var lives []life
	waiting := 0 // total number of messages in the queue after kills
	for round := range rounds {
		began := time.Now()
		s := o.serve(t)
		var clients sync.WaitGroup
		for w := range 20 {
			clients.Go(func() { b.send(t, o, fmt.Sprintf("%d.%d", round, w)) })
		}
		time.Sleep(downAfter + rand.N(downUntil-downAfter))
		lives = append(lives, life{began, time.Now()})
		s.kill(t)
		clients.Wait()
		waiting += s.found()
	}
	s := o.serve(t)
	o.wantQueueEmpty(t)
	waiting += s.found()
	s.stop(t)
	for id := range b.acked {
		if len(k.got[id]) == 0 {
			t.Errorf("message %s got its 250 and never arrived", id)
		}
	}
	for _, text := range k.broken {
		t.Errorf("a message is not whole: %s", text)
	}
	twice := k.explain(t, lives)
	t.Logf("%d messages got a 250, %d arrived, %d of them twice, in %d kills; %d were in the queue after them; %d connections at a time",
		len(b.acked), k.arrived(), twice, len(lives), waiting, k.widest)
	if len(b.acked) < 10*rounds || waiting == 0 {
		t.Error("there was too little traffic to prove anything")
	}
}

// life holds the times of a server's start and kill.
type life struct{ began, killed time.Time }

var foundLine = regexp.MustCompile(`msg="the queue of an earlier run is read" messages=(\d+)`)

// found returns the number of messages that the server found in its queue at its start.
func (s *server) found() int {
	m := foundLine.FindStringSubmatch(s.log.String() + `msg="the queue of an earlier run is read" messages=0`)
	n, _ := strconv.Atoi(m[1])
	return n
}

// explain counts the messages that arrived more than once. Every arrival but the last must be close
// to a kill.
func (k *counter) explain(t *testing.T, lives []life) (twice int) {
	t.Helper()
	const window = time.Second // on a busy machine
	perLife := make([]int, len(lives))
	for id, receipts := range k.got {
		for _, r := range receipts[:len(receipts)-1] {
			twice++
			in := len(lives) - 1
			for in > 0 && r.at.Before(lives[in].began) {
				in--
			}
			if early := lives[in].killed.Sub(r.at); early > window || early < -window {
				t.Errorf("message %s arrived %d times, first %v before the kill", id, len(receipts), early)
			}
			perLife[in]++
		}
	}
	for i, n := range perLife {
		if n > k.widest {
			t.Errorf("kill %d made %d messages arrive twice; there were %d connections", i, n, k.widest)
		}
	}
	return twice
}
