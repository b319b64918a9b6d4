package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"pillarbox/cmd/internal/admin"
	"pillarbox/mailstore/caught"
)

// Call is a command line that an operator has handed to the server. What he may,
// the server has found out; the command must not go beyond it.
type Call struct {
	Args     []string // "admin", "mailbox", "list"
	Operator admin.Operator
	Actor    admin.Actor // without the Act
	Stdin    io.Reader
	Stdout   io.Writer
	Stderr   io.Writer
	// Ask asks the person a question; secret is what nobody may see while it is
	// typed. nil: nobody sits at a terminal.
	Ask func(prompt string, secret bool) (string, error)
	// Refused is to be told what the operator may not do.
	Refused func(act string, err error)
}

// Command does a Call and returns its exit code. It ends soon when ctx does.
type Command func(ctx context.Context, call Call) (exit int)

const (
	maxCalls      = 16 // at once
	maxOwnCalls   = 4  // of one user
	orderTimeout  = 10 * time.Second
	answerTimeout = 5 * time.Minute  // for a person to answer
	callTimeout   = 30 * time.Minute // for a whole command
	refusalRest   = time.Minute      // between refusals of a command to a user that are recorded

	maxStrangers   = 4               // who are no operators, at once
	strangerLimits = 2 * time.Second // for the order of one, and for the answer
)

// serveOperators opens the operators' socket and serves it until ctx ends. It is a
// convenience: without it the server runs all the same.
func (d *Daemon) serveOperators(ctx context.Context, running *sync.WaitGroup) {
	cfg := d.office.Config().Operators
	if d.command == nil || !cfg.Enabled {
		return
	}
	l, err := openLocal(cfg.Socket + ".old")
	if err != nil {
		d.log.Warn("operators cannot use 'pillarbox admin' unless they are root", "socket", cfg.Socket, "error", err)
		return
	}
	s := &operatorServer{office: d.office, command: d.command, fail: d.auditFailed, calls: make(map[uint32]int), refused: make(map[refusal]time.Time)}
	stop := context.AfterFunc(ctx, func() { l.Close() })
	running.Go(func() {
		defer stop()
		defer s.running.Wait()
		s.serve(ctx, l)
	})
}

// operatorServer does what operators ask for.
type operatorServer struct {
	office  *admin.Service
	command Command
	fail    func(error)
	running sync.WaitGroup

	mu        sync.Mutex
	all       int                   // calls under way; owner: mu
	calls     map[uint32]int        // the same by user; owner: mu
	strangers int                   // who are being turned away; owner: mu
	refused   map[refusal]time.Time // when such a one was recorded last; owner: mu
}

// refusal is who was refused which command.
type refusal struct{ who, act string }

func (s *operatorServer) serve(ctx context.Context, l net.Listener) {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		} else if err != nil {
			select {
			case <-time.After(time.Second): // no file to be had; somebody will close one
			case <-ctx.Done():
			}
			continue
		}
		p, err := peerOf(c)
		if err != nil {
			c.Close()
			continue
		}
		s.receive(ctx, c, p)
	}
}

// receive has one call done. Everybody on the machine can make one, so that who is
// no operator takes no operator's place.
func (s *operatorServer) receive(ctx context.Context, c net.Conn, p peer) {
	op, refused := s.operator(p)
	switch {
	case refused != nil && s.enterStranger():
		s.running.Go(func() {
			defer s.leaveStranger()
			s.turnAway(ctx, c, p, refused)
		})
	case refused == nil && s.enter(p):
		s.running.Go(func() {
			defer s.leave(p)
			s.attend(ctx, c, p, op)
		})
	default:
		c.Close()
	}
}

func (s *operatorServer) enterStranger() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.strangers >= maxStrangers {
		return false
	}
	s.strangers++
	return true
}

func (s *operatorServer) leaveStranger() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.strangers--
}

// enter counts a call, unless there are too many. Root has always a place.
func (s *operatorServer) enter(p peer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !p.isMaster() && (s.all >= maxCalls || s.calls[p.uid] >= maxOwnCalls) {
		return false
	}
	s.all++
	s.calls[p.uid]++
	return true
}

func (s *operatorServer) leave(p peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if s.calls[p.uid]--; s.calls[p.uid] == 0 {
		delete(s.calls, p.uid)
	}
}

// turnAway tells somebody why nothing is done for him.
func (s *operatorServer) turnAway(ctx context.Context, c net.Conn, p peer, why error) {
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Now()) })()
	s.refuse(admin.Actor{Who: p.name, From: "control socket"}, why)
	t := &talk{conn: c, lines: newLineReader(c, maxOrder), cancel: func() {}, patience: strangerLimits}
	c.SetReadDeadline(time.Now().Add(strangerLimits))
	if t.lines.read(new(order)) == nil { // who is not heard to the end does not listen
		t.fail(why)
	}
}

// attend does one call.
func (s *operatorServer) attend(ctx context.Context, c net.Conn, p peer, op admin.Operator) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Now()) })()
	t := &talk{conn: c, lines: newLineReader(c, maxOrder), cancel: cancel, patience: writeTimeout}
	var o order
	c.SetReadDeadline(time.Now().Add(orderTimeout))
	if err := t.lines.read(&o); err != nil {
		return
	}
	c.SetReadDeadline(time.Time{})
	actor := admin.Actor{Who: p.name, From: "control socket"}
	replies := t.listen(ctx)
	call := Call{
		Args: o.Args, Operator: op, Actor: actor,
		Stdin: &talkReader{talk: t, replies: replies}, Stdout: talkWriter{t, false}, Stderr: talkWriter{t, true},
		Refused: func(act string, err error) {
			actor.Act = act
			s.refuse(actor, err)
		},
	}
	if o.Terminal {
		call.Ask = func(prompt string, secret bool) (string, error) {
			r, err := t.exchange(ctx, replies, notice{Ask: &question{prompt, secret}})
			return r.Answer, err
		}
	}
	var exit int
	if err := caught.Do(func() error { exit = s.command(ctx, call); return nil }); err != nil {
		s.fail(fmt.Errorf("a command of %s ended in the middle: %w", p.name, err))
		t.fail(err)
		return
	}
	t.send(notice{Exit: &exit})
}

// operator finds out what a user may. ErrNotPermitted if that is nothing.
func (s *operatorServer) operator(p peer) (admin.Operator, error) {
	if p.isMaster() {
		return admin.Everything(p.name), nil
	}
	op, err := s.office.UnixOperator(p.name, p.groups)
	if err == nil && len(op.Grants) == 0 {
		err = admin.Hint(fmt.Errorf("%w: the user %s is no operator of this mail server", admin.ErrNotPermitted, p.name),
			"ask an administrator for 'pillarbox admin operator add unix:%s', with --domain for one domain", p.name)
	}
	return op, err
}

// refuse records that somebody was refused a command, at most once a minute each.
func (s *operatorServer) refuse(actor admin.Actor, err error) {
	if s.mayRecord(refusal{actor.Who, actor.Act}, time.Now()) {
		s.office.By(actor).RecordRefusal(err)
	}
}

func (s *operatorServer) mayRecord(what refusal, now time.Time) bool {
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

// talk is the server's end of a conversation.
type talk struct {
	conn     net.Conn
	lines    lineReader
	cancel   func()        // the command: nobody listens any more
	patience time.Duration // for each line that is sent

	sending sync.Mutex // one line at a time
	asking  sync.Mutex // one question at a time
}

func (t *talk) send(n notice) error {
	text, err := json.Marshal(n)
	if err != nil {
		return err
	}
	t.sending.Lock()
	defer t.sending.Unlock()
	t.conn.SetWriteDeadline(time.Now().Add(t.patience))
	_, err = t.conn.Write(append(text, '\n'))
	if err != nil {
		t.cancel()
	}
	return err
}

// fail ends a conversation with an error.
func (t *talk) fail(err error) {
	text := fmt.Sprintf("pillarbox: %v\n", err)
	if hint, ok := errors.AsType[*admin.HintError](err); ok {
		text += "  hint: " + hint.Hint + "\n"
	}
	exit := 1
	t.send(notice{Err: []byte(text)})
	t.send(notice{Exit: &exit})
}

// listen reads replies, and notices when the client goes away.
func (t *talk) listen(ctx context.Context) <-chan reply {
	replies := make(chan reply)
	go func() {
		defer close(replies)
		defer t.cancel()
		for {
			var r reply
			if t.lines.read(&r) != nil {
				return
			}
			select {
			case replies <- r:
			case <-ctx.Done():
				return
			}
		}
	}()
	return replies
}

// exchange sends a question and waits for the reply.
func (t *talk) exchange(ctx context.Context, replies <-chan reply, n notice) (reply, error) {
	t.asking.Lock()
	defer t.asking.Unlock()
	if err := t.send(n); err != nil {
		return reply{}, err
	}
	patience := time.NewTimer(answerTimeout)
	defer patience.Stop()
	select {
	case r, ok := <-replies:
		switch {
		case !ok:
			return r, io.ErrUnexpectedEOF
		case r.Failed != "":
			return r, errors.New(r.Failed)
		}
		return r, nil
	case <-patience.C:
		t.cancel()
		return reply{}, errors.New("no answer came")
	case <-ctx.Done():
		return reply{}, context.Cause(ctx)
	}
}

// talkWriter is standard output, or standard error, of the client.
type talkWriter struct {
	talk  *talk
	toErr bool
}

func (w talkWriter) Write(p []byte) (int, error) {
	for at := 0; at < len(p); at += maxChunk {
		part := p[at:min(at+maxChunk, len(p))]
		n := notice{Out: part}
		if w.toErr {
			n = notice{Err: part}
		}
		if err := w.talk.send(n); err != nil {
			return at, err
		}
	}
	return len(p), nil
}

// talkReader is standard input of the client, which sends it when it is asked for.
type talkReader struct {
	talk    *talk
	replies <-chan reply
	rest    []byte
	read    int
	ended   bool
}

// Read implements io.Reader.
func (r *talkReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 && !r.ended {
		got, err := r.talk.exchange(context.Background(), r.replies, notice{Read: true})
		if err != nil {
			return 0, err
		}
		if r.read += len(got.Data); r.read > maxInput {
			return 0, fmt.Errorf("standard input is longer than %d octets", maxInput)
		}
		r.rest, r.ended = got.Data, len(got.Data) == 0
	}
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}
