package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
	"unicode"

	"pillarbox/cmd/internal/admin"
	"pillarbox/mailstore/caught"
)

const (
	maxCalls       = 16               // at once
	maxOwnCalls    = 4                // of one user
	requestTimeout = 10 * time.Second // for the client to send its request
	writeTimeout   = time.Minute      // for the client to take a chunk of an answer
	writeChunk     = 64 << 10         // octets
	callTimeout    = 30 * time.Minute // for a whole call of an operator
	refusalRest    = time.Minute      // between two recorded refusals of a verb to a user
	closeTimeout   = 5 * time.Second  // for the client to take the rest of an answer at the end
	busyTimeout    = time.Second      // for the client to take a refusal of its connection

	maxNonOperators    = 4               // at once
	nonOperatorTimeout = 2 * time.Second // for the request of a non-operator, and for the answer
)

// Server does the verbs of a Service for its clients. Safe for concurrent use.
type Server struct {
	service *admin.Service
	verbs   map[string]admin.Command
	failed  func(error)
	running sync.WaitGroup

	mu           sync.Mutex
	all          int                   // calls under way; owner: mu
	calls        map[uint32]int        // the same by user; owner: mu
	lookups      map[uint32]int        // of users whose names and groups are being read; owner: mu
	nonOperators int                   // that are being rejected; owner: mu
	refused      map[refusal]time.Time // when such a refusal was recorded last; owner: mu
}

// refusal is a verb that was refused to a user.
type refusal struct{ who, act string }

// NewServer makes a Server. failed is told of verbs that ended in a panic.
func NewServer(service *admin.Service, failed func(error)) *Server {
	s := &Server{
		service: service, failed: failed,
		verbs: make(map[string]admin.Command), calls: make(map[uint32]int),
		lookups: make(map[uint32]int), refused: make(map[refusal]time.Time),
	}
	for _, v := range admin.Verbs() {
		s.verbs[v.Name()] = v
	}
	return s
}

// Serve serves listeners until ctx ends, which cancels the calls. It closes the listeners and
// returns when all calls have ended. Serve is called once.
func (s *Server) Serve(ctx context.Context, listeners ...net.Listener) {
	var accepting sync.WaitGroup
	for _, l := range listeners {
		stop := context.AfterFunc(ctx, func() { l.Close() })
		accepting.Go(func() {
			defer stop()
			s.accept(ctx, l)
		})
	}
	accepting.Wait()
	s.running.Wait()
}

func (s *Server) accept(ctx context.Context, l net.Listener) {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		} else if err != nil {
			select {
			case <-time.After(time.Second): // such as no file descriptor left
			case <-ctx.Done():
				return
			}
			continue
		}
		uid, err := peerUID(c)
		if err != nil || !s.enterLookup(uid) {
			c.Close()
			continue
		}
		// Reading names and groups takes time, which other users must not wait for.
		s.running.Go(func() {
			p := lookUp(uid)
			s.leaveLookup(uid)
			s.receive(ctx, c, p)
		})
	}
}

// enterLookup counts a connection of a user whose name is not known yet, unless there are too many.
func (s *Server) enterLookup(uid uint32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lookups[uid] >= maxOwnCalls && !(peer{uid: uid}).isMaster() {
		return false
	}
	s.lookups[uid]++
	return true
}

func (s *Server) leaveLookup(uid uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lookups[uid]--; s.lookups[uid] == 0 {
		delete(s.lookups, uid)
	}
}

// receive starts one call. Every user of the machine can make one, so a non-operator must not take
// the place of an operator.
func (s *Server) receive(ctx context.Context, c net.Conn, p peer) {
	op, refused := s.operator(p)
	switch {
	case refused != nil && s.enterNonOperator():
		s.running.Go(func() {
			defer s.leaveNonOperator()
			s.reject(ctx, c, p, refused)
		})
	case refused == nil && s.enter(p):
		s.running.Go(func() {
			defer s.leave(p)
			s.attend(ctx, c, p, op)
		})
	case refused == nil:
		s.turnAway(c)
	default:
		c.Close()
	}
}

// turnAway tells an operator that there are too many calls.
func (s *Server) turnAway(c net.Conn) {
	defer c.Close()
	t := &talk{conn: c, timeout: busyTimeout}
	t.send(answer{Error: failureOf(errBusy)})
}

func (s *Server) enterNonOperator() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.nonOperators >= maxNonOperators {
		return false
	}
	s.nonOperators++
	return true
}

func (s *Server) leaveNonOperator() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nonOperators--
}

// enter counts a call, unless there are too many. Root always has a place.
func (s *Server) enter(p peer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !p.isMaster() && (s.all >= maxCalls || s.calls[p.uid] >= maxOwnCalls) {
		return false
	}
	s.all++
	s.calls[p.uid]++
	return true
}

func (s *Server) leave(p peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if s.calls[p.uid]--; s.calls[p.uid] == 0 {
		delete(s.calls, p.uid)
	}
}

// operator finds out what a user may do; nil: everything. ErrNotPermitted for a non-operator.
func (s *Server) operator(p peer) (*admin.Operator, error) {
	if p.isMaster() {
		return nil, nil
	}
	op, err := s.service.UnixOperator(p.name, p.groups)
	if err == nil && len(op.Grants) == 0 {
		const why = "%w: the user %s is no operator of this mail server"
		err = admin.Hint(fmt.Errorf(why, admin.ErrNotPermitted, p.name),
			"run it with sudo, or ask an administrator for 'pillarbox admin operator add unix:%s', "+
				"with --domain for one domain", p.name)
	}
	return &op, err
}

// reject tells a non-operator why nothing is done.
func (s *Server) reject(ctx context.Context, c net.Conn, p peer, why error) {
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Now()) })()
	s.recordRefusal(admin.Actor{Who: p.name, From: controlSocket}, why)
	c.SetReadDeadline(time.Now().Add(nonOperatorTimeout))
	if newLineReader(c, maxForeignRequest).read(new(request)) == nil {
		t := &talk{conn: c, timeout: nonOperatorTimeout}
		t.send(answer{Error: failureOf(why)})
	}
}

// attend does one call.
func (s *Server) attend(ctx context.Context, c net.Conn, p peer, op *admin.Operator) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if op != nil {
		defer time.AfterFunc(callTimeout, cancel).Stop()
	}
	defer c.Close()
	t := &talk{conn: c, timeout: writeTimeout, cancel: cancel}
	defer context.AfterFunc(ctx, t.end)()
	lines := newLineReader(c, maxRequest)
	var r request
	c.SetReadDeadline(time.Now().Add(requestTimeout))
	switch err := lines.read(&r); {
	case errors.Is(err, errNotUnderstood), errors.Is(err, bufio.ErrTooLong):
		t.timeout = busyTimeout
		t.send(answer{Error: failureOf(fmt.Errorf("the request cannot be understood: %w", err))})
		return
	case err != nil:
		return
	}
	c.SetReadDeadline(time.Time{})
	if op != nil { // it may have lost its rights since it connected
		var err error
		if op, err = s.operator(p); err != nil {
			s.recordRefusal(admin.Actor{Who: p.name, From: controlSocket, Act: r.Verb}, err)
			t.send(answer{Error: failureOf(err)})
			return
		}
	}
	go func() { // a client sends one line; after that its end is all that can come
		defer cancel()
		lines.Scan()
	}()
	last := s.do(ctx, r, admin.Caller{
		Actor: actorOf(p, r.Origin), Operator: op,
		Tell: func(part admin.Part) { t.send(answer{Part: &part}) },
	})
	t.send(last)
}

// do does the verb of a request. A panic ends the call only.
func (s *Server) do(ctx context.Context, r request, by admin.Caller) answer {
	verb, ok := s.verbs[r.Verb]
	if !ok {
		return answer{Error: failureOf(unknownVerb())}
	}
	var result json.RawMessage
	err := caught.Do(func() (err error) {
		result, err = verb.Call(ctx, s.service.For(by), r.Arguments)
		return err
	})
	switch {
	case caught.Is(err):
		s.failed(fmt.Errorf("a command of %s ended in the middle: %w", by.Actor.Who, err))
	case errors.Is(err, admin.ErrArguments):
		err = unknownVerb()
	case errors.Is(err, admin.ErrNotPermitted):
		by.Actor.Act = r.Verb
		s.recordRefusal(by.Actor, err)
	}
	return answer{Result: result, Error: failureOf(err)}
}

const controlSocket = "control socket"

// actorOf names a caller for the audit log. Only root and the server's own user describe
// themselves: they could write the log on the disk as well.
func actorOf(p peer, o Origin) admin.Actor {
	who, from := printable(o.Who), printable(o.From)
	if p.isMaster() && who != "" && from != "" {
		return admin.Actor{Who: who, From: from}
	}
	place := controlSocket
	if said := strings.TrimPrefix(strings.TrimPrefix(from, CommandLine), ", "); said != "" {
		place += ", " + said
	}
	return admin.Actor{Who: p.name, From: place}
}

// printable limits a client's description.
func printable(text string) string {
	const most = 200
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, text[:min(len(text), most)])
}

// recordRefusal records that a verb was refused, at most once a minute for each user and verb.
func (s *Server) recordRefusal(actor admin.Actor, err error) {
	if s.mayRecord(refusal{actor.Who, actor.Act}, time.Now()) {
		s.service.By(actor).RecordRefusal(err)
	}
}

func (s *Server) mayRecord(what refusal, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if last, ok := s.refused[what]; ok && now.Sub(last) < refusalRest {
		return false
	}
	const enough = 1000
	if len(s.refused) >= enough {
		clear(s.refused)
	}
	s.refused[what] = now
	return true
}

// talk sends the lines of one call.
type talk struct {
	conn    net.Conn
	timeout time.Duration // for each chunk
	cancel  func()        // ends the call when the client has gone; nil: nothing to end

	sending sync.Mutex // one line at a time

	mu    sync.Mutex
	until time.Time // the client must take everything by then; zero: no limit; owner: mu
}

// end is called when the call must end: the server stops, or the client takes too long. A client
// that reads slowly must not hold up the server.
func (t *talk) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.until = time.Now().Add(closeTimeout)
	t.conn.SetWriteDeadline(t.until)
	t.conn.SetReadDeadline(time.Now())
}

// setDeadline sets the deadline of the next chunk.
func (t *talk) setDeadline() {
	t.mu.Lock()
	defer t.mu.Unlock()
	next := time.Now().Add(t.timeout)
	if !t.until.IsZero() && t.until.Before(next) {
		next = t.until
	}
	t.conn.SetWriteDeadline(next)
}

func (t *talk) send(a answer) {
	text, err := json.Marshal(a)
	if err != nil {
		text, _ = json.Marshal(answer{Error: failureOf(err)})
	}
	t.sending.Lock()
	defer t.sending.Unlock()
	for text = append(text, '\n'); len(text) > 0; {
		n := min(len(text), writeChunk)
		t.setDeadline()
		if _, err := t.conn.Write(text[:n]); err != nil {
			if t.cancel != nil {
				t.cancel()
			}
			return
		}
		text = text[n:]
	}
}
