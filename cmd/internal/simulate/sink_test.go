package simulate

import (
	"bufio"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// sink is every other server in the world. Steps tell it in advance how it will treat the next transactions.
type sink struct {
	world *world
	mu    sync.Mutex
	plan  []string // one word for each transaction, or connection, to come; without any: accept
	group sync.WaitGroup
}

func (s *sink) tell(how string, count int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range count {
		s.plan = append(s.plan, how)
	}
}

func (s *sink) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plan = nil
}

// next is how the next transaction is treated.
func (s *sink) next() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.plan) == 0 {
		return ""
	}
	how := s.plan[0]
	s.plan = s.plan[1:]
	return how
}

// turnsAway says whether the next connection is treated so, and takes the word from the plan.
func (s *sink) turnsAway(how string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.plan) == 0 || s.plan[0] != how {
		return false
	}
	s.plan = s.plan[1:]
	return true
}

// accept is a connection from the server.
func (s *sink) accept(address string) (net.Conn, error) {
	if s.turnsAway("refuse") {
		return nil, errRefused
	}
	client, server := s.world.network.pipe(tcpAddr("192.0.2.25:1025"), tcpAddr(address))
	s.group.Go(func() { s.serve(server) })
	return client, nil
}

var envidForm = regexp.MustCompile(`(?i) ENVID=(\S+)`)

var pathForm = regexp.MustCompile(`(?i)^(?:MAIL FROM|RCPT TO):<([^>]*)>`)

// serve is one SMTP session.
func (s *sink) serve(c *conn) {
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Hour))
	in := bufio.NewReader(c)
	say := func(line string) { fmt.Fprintf(c, "%s\r\n", line) }
	if s.turnsAway("greeting-421") {
		say("421 4.3.2 busy")
		return
	}
	say("220 sink.example ESMTP")
	var from, how, token string
	var to []string
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
		switch verb {
		case "EHLO", "HELO":
			say("250-sink.example")
			say("250-8BITMIME")
			say("250 DSN")
		case "MAIL":
			from, to, how, token = pathForm.FindStringSubmatch(line)[1], nil, s.next(), ""
			if id := envidForm.FindStringSubmatch(line); id != nil {
				token = id[1]
			}
			say("250 2.1.0 fine")
		case "RCPT":
			rcpt := pathForm.FindStringSubmatch(line)[1]
			switch how {
			case "rcpt-450":
				say("450 4.2.1 later")
			case "rcpt-550":
				s.world.refusedAway(token, from, rcpt)
				say("550 5.1.1 nobody of that name")
			default:
				to = append(to, rcpt)
				say("250 2.1.5 fine")
			}
		case "DATA":
			if !s.data(c, in, from, to, how) {
				return
			}
		case "RSET":
			say("250 2.0.0 fine")
		case "QUIT":
			say("221 2.0.0 bye")
			return
		default:
			say("250 2.0.0 fine")
		}
	}
}

// data takes a message; false ends the connection.
func (s *sink) data(c *conn, in *bufio.Reader, from string, to []string, how string) bool {
	if len(to) == 0 {
		fmt.Fprintf(c, "554 5.5.1 no recipients\r\n")
		return true
	}
	fmt.Fprintf(c, "354 go on\r\n")
	var text strings.Builder
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return false
		}
		if how == "drop-before-dot" && text.Len() > 100 {
			return false
		}
		if line == ".\r\n" {
			break
		}
		text.WriteString(strings.TrimPrefix(line, "."))
	}
	message := text.String()
	switch how {
	case "drop-at-dot":
		return false
	case "data-451":
		fmt.Fprintf(c, "451 4.3.0 later\r\n")
		return true
	case "data-554":
		s.world.model.mu.Lock()
		token, _ := s.world.model.recognise(message)
		s.world.model.mu.Unlock()
		s.world.refusedAway(token, from, to...)
		fmt.Fprintf(c, "554 5.6.0 not this\r\n")
		return true
	case "drop-after-250":
		s.world.arrivedAway(message, from, to, false)
		return false
	}
	s.world.arrivedAway(message, from, to, true)
	fmt.Fprintf(c, "250 2.0.0 taken\r\n")
	return true
}

// arrivedAway holds against the promises what another server has taken.
func (w *world) arrivedAway(text, from string, to []string, told bool) {
	w.model.mu.Lock()
	defer w.model.mu.Unlock()
	token, whole := w.model.recognise(text)
	if from == "" {
		w.model.reportAway(envelope(text, token), text, to)
		return
	}
	for _, rcpt := range to {
		w.log("the sink took %s for %s (told: %v)", token, rcpt, told)
		w.model.took(token, rcpt, told)
		if !whole {
			w.model.violation("message %s was sent to %s, and its text is another", token, rcpt)
		}
	}
}

func (w *world) refusedAway(token, from string, to ...string) {
	w.model.mu.Lock()
	defer w.model.mu.Unlock()
	if from == "" {
		w.model.refusedReport = true
		return
	}
	for _, rcpt := range to {
		w.log("the sink refused %s for %s", token, rcpt)
		w.model.turnedDown(token, rcpt)
	}
}

// reportAway is a report that goes to another server.
func (m *model) reportAway(token, text string, to []string) {
	for _, final := range finalForm.FindAllStringSubmatch(text, -1) {
		if r := m.owedNow(token, final[1], "failed"); r != nil && slices.Equal(to, []string{r.sender}) {
			return
		}
	}
	m.violation("a report on %s was sent to %s, and not owed", token, strings.Join(to, ", "))
}

const unknown = "unknown"

// recognise returns which message a text is, and whether it has all of it at its end.
func (m *model) recognise(text string) (token string, whole bool) {
	_, rest, found := strings.Cut(text, "\nX-Token: ")
	if !found {
		return unknown, false
	}
	token, _, _ = strings.Cut(rest, "\r\n")
	msg := m.messages[token]
	return token, msg != nil && strings.HasSuffix(text, msg.text)
}
