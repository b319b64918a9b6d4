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
	conn int       // the connection that it came on
	at   time.Time // when the sink began to say 250
}

// counter is an SMTP server that counts what arrives.
type counter struct {
	mu     sync.Mutex
	conns  int
	open   int
	widest int // most connections open at a time
	got    map[string][]receipt
	broken []string // messages that are not what was sent
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

// take reads a message to its end.
func (k *counter) take(conn int, in *bufio.Reader) bool {
	var text strings.Builder
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return false // it was never sent as a whole
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

// arrived is how many different messages have.
func (k *counter) arrived() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.got)
}

// outbox is what the senders know: the messages that got a 250.
type outbox struct {
	mu    sync.Mutex
	acked map[string]bool
}

// send submits messages in one session until the server is gone.
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
		case err != nil: // it is in the queue, or not
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

// TestOutboundSIGKILL kills the server again and again while mail goes through
// its queue to a server that counts. Every message that got a 250 arrives, whole.
// It arrives twice only where the sink's 250 and the kill were at about the same
// time, so that the server could not have noted it (RFC 1047), and then at most
// once more for each connection and kill.
func TestOutboundSIGKILL(t *testing.T) {
	k := &counter{got: make(map[string][]receipt)}
	port := hostile(t, k.serve)
	o, _ := sendingOffice(t)
	o.route(t, `domains = ["sink.example"]`, `smart_host = ["[127.0.0.1]:`+port+`"]`, "allow_relay = true", `retries = ["1s"]`, "connections = 20")
	rounds, _ := strconv.Atoi(cmp.Or(os.Getenv("PILLARBOX_E2E_KILL_ROUNDS"), "4"))
	b := &outbox{acked: make(map[string]bool)}
	var lives []life
	waiting := 0 // in the queue after kills, all together
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

// life is when a server was started and killed.
type life struct{ began, killed time.Time }

var foundLine = regexp.MustCompile(`msg="the queue of an earlier run is read" messages=(\d+)`)

// found is how many messages the server found in its queue when it started.
func (s *server) found() int {
	m := foundLine.FindStringSubmatch(s.log.String() + `msg="the queue of an earlier run is read" messages=0`)
	n, _ := strconv.Atoi(m[1])
	return n
}

// explain counts the messages that arrived more than once, and wants a kill to be
// the reason for each: the arrival before was the end of a server's life.
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
