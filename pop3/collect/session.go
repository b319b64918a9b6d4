package collect

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"pillarbox/mailstore/caught"
)

const (
	batch    = 200 // messages that are fetched before what was deleted is confirmed, in a new session
	maxInRow = 3   // messages one after the other that cannot be delivered here
)

// Collect fetches what is new, until nothing is. The result counts also where there is an error, which is an *Error
// mostly: for one of these classes errors.Is holds. One mailbox is collected by one call at a time.
func Collect(ctx context.Context, o Options) (Result, error) {
	o.complete()
	st, err := loadState(o.Files, o.Name, o.account())
	if err != nil {
		return Result{}, err
	}
	st.mend(o.Now())
	var sum Result
	var failure error
	for {
		s := &session{opts: &o, state: st, now: o.Now()}
		more, err := s.run(ctx)
		sum.Fetched += s.result.Fetched
		sum.Deleted += s.result.Deleted
		sum.Bytes += s.result.Bytes
		sum.Left = s.result.Left
		if cause := context.Cause(ctx); err != nil && cause != nil {
			err = cause
		}
		if failure == nil {
			failure = s.failure
		}
		if err != nil || !more {
			return sum, cmp.Or(err, failure)
		}
	}
}

func (o *Options) complete() {
	if o.Port == 0 {
		o.Port = 110
		if o.ImplicitTLS {
			o.Port = 995
		}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Name == "" {
		o.Name = o.account()
	}
}

func (o *Options) account() string { return o.User + "@" + strings.ToLower(o.Host) }

func (o *Options) address() string { return net.JoinHostPort(o.Host, strconv.Itoa(o.Port)) }

// session is one connection, from the greeting to QUIT.
type session struct {
	opts    *Options
	state   *state
	now     time.Time
	conn    *conn
	deleted []string // keys of messages that will be gone after QUIT; "" for those without
	failed  int      // to be delivered, in a row
	failure error    // the first of these
	result  Result
}

// run does a session. more says that there is more to fetch.
func (s *session) run(ctx context.Context) (more bool, err error) {
	if s.conn, err = dial(ctx, s.opts); err != nil {
		return false, err
	}
	defer s.conn.close()
	caps, err := s.conn.enter(ctx)
	if err != nil {
		return false, err
	}
	all, tracked, err := s.conn.list()
	if err != nil {
		return false, err
	}
	s.result.Left = len(all)
	if !tracked && s.opts.Leave && len(all) > 0 {
		s.quit()
		return false, &Error{Class: ErrNoUIDL, Text: s.opts.Host + " has no unique-ids (UIDL): messages that are left there would be fetched again and again", Hint: "take leave and leave_days out of the entry: then they are deleted once they are here"}
	}
	limit := batch
	if caps.loginDelay {
		limit = len(all)
	}
	through, err := s.work(all, limit)
	if err != nil {
		return false, errors.Join(err, s.state.fold(s.opts.account()))
	}
	if err := s.finish(all, through); err != nil {
		return false, err
	}
	return !through && s.failed < maxInRow, nil
}

// work goes through the messages. through is false where it stopped before the last. An error means that the connection is
// of no use any more.
func (s *session) work(all []listed, limit int) (through bool, err error) {
	missing := s.state.missing(all)
	for _, m := range all {
		if s.result.Fetched >= limit || s.failed >= maxInRow {
			return false, nil
		}
		do := s.state.next(m, s.opts, missing, s.now)
		switch do {
		case fetch, compare:
			err = s.fetch(m, do == compare)
		case drop:
			err = s.delete(m, m.uid)
		case pass:
			s.opts.Log.Warn("fetch: a message that had no end within the limit stays at the server, and is tried again tomorrow", "fetch", s.opts.Name, "number", m.number, "limit", s.opts.MaxSize)
		case refuse:
			s.opts.Log.Warn("fetch: a message is too large and stays at the server", "fetch", s.opts.Name, "size", m.size, "limit", s.opts.MaxSize)
		}
		if refused, ok := errors.AsType[*refusal](err); ok {
			s.opts.Log.Warn("fetch: the server does not give a message", "fetch", s.opts.Name, "number", m.number, "of", len(all), "reply", refused.text)
		} else if err != nil {
			return false, err
		}
	}
	return true, nil
}

// fetch delivers a message, unless comparing shows that it was delivered before.
func (s *session) fetch(m listed, comparing bool) error {
	if _, err := s.conn.command("RETR " + strconv.Itoa(m.number)); err != nil {
		return err
	}
	message := s.conn.body()
	top, err := readTop(message)
	if err != nil {
		return err
	}
	mark := ""
	err = caught.Do(func() error { mark = markOf(fieldsOf(top)); return nil })
	caught.Log(s.opts.Log, err, "fetch: the program goes wrong with a header; the message is taken all the same", "fetch", s.opts.Name, "number", m.number)
	e := &entry{Size: m.size, Mark: mark, At: s.now}
	key := m.uid
	if key == "" && mark != "" {
		key = " " + mark
	}
	if comparing {
		if oldKey, old := s.state.byMark(mark); old != nil {
			e.At = old.At
			s.rename(m, oldKey)
			return s.settle(m, key, e, message)
		}
	}
	count := &counter{r: io.MultiReader(bytes.NewReader(top), message), limit: s.opts.MaxSize}
	err = caught.Do(func() error { return s.opts.Deliver(count) })
	if err != nil {
		return s.notDelivered(m, message, err)
	}
	if err := message.broken(); err != nil {
		return err // Deliver took half a message for a whole one
	}
	s.failed = 0
	s.result.Fetched++
	s.result.Bytes += count.n
	return s.settle(m, key, e, message)
}

// rename forgets a message under the unique-id that it had, where it has another one now.
func (s *session) rename(m listed, oldKey string) {
	if m.uid != "" && oldKey != m.uid {
		s.state.remove(oldKey)
	}
}

// settle notes that a message is delivered, and deletes it where that is wanted.
func (s *session) settle(m listed, key string, e *entry, message *body) error {
	if key != "" {
		if err := s.state.note(s.opts.account(), key, e); err != nil {
			return err
		}
	}
	if err := drain(message); err != nil {
		return err
	}
	if s.opts.after(e, s.now) == drop {
		return s.delete(m, key)
	}
	return nil
}

// notDelivered passes over a message. It stays at the server.
func (s *session) notDelivered(m listed, message *body, err error) error {
	if broken := message.broken(); broken != nil {
		return broken
	}
	if caught.Log(s.opts.Log, err, "fetch: the program goes wrong with a message; it stays at the server", "fetch", s.opts.Name, "number", m.number); !caught.Is(err) {
		s.failed++ // not for a panic: the later messages can be delivered
	}
	e := &Error{Class: ErrDelivery, Text: "message " + strconv.Itoa(m.number) + " cannot be delivered here and stays at the server", Err: err}
	if s.failure == nil {
		s.failure = e
	}
	s.opts.Log.Warn("fetch: a message cannot be delivered and stays at the server", "fetch", s.opts.Name, "size", m.size, "error", err)
	drained := drain(message)
	if drained != nil || errors.Is(err, errTooLarge) {
		s.state.leave(m.uid, s.now)
	}
	return drained
}

// maxDrain is how much of a message is read that nobody wants.
const maxDrain = 32 << 20

func drain(message *body) error {
	n, err := io.Copy(io.Discard, io.LimitReader(message, maxDrain))
	if err == nil && n == maxDrain && !message.ended() {
		err = &Error{
			Class: ErrProtocol, Text: "a message does not end",
			Hint: "the session was ended; the next one passes over the message if the server tells messages apart (UIDL)",
		}
	}
	return err
}

func (s *session) delete(m listed, key string) error {
	if _, err := s.conn.command("DELE " + strconv.Itoa(m.number)); err != nil {
		return err
	}
	s.deleted = append(s.deleted, key)
	return nil
}

// finish says QUIT, with which the server deletes, and writes down what is known then.
func (s *session) finish(all []listed, through bool) error {
	err := s.quit()
	if err == nil {
		for _, key := range s.deleted {
			s.state.remove(key)
		}
		s.result.Deleted = len(s.deleted)
		s.result.Left -= len(s.deleted)
	}
	if through {
		s.state.prune(all, s.now)
	}
	return errors.Join(err, s.state.fold(s.opts.account()))
}

func (s *session) quit() error {
	_, err := s.conn.command("QUIT")
	if refused, ok := errors.AsType[*refusal](err); ok {
		return &Error{Class: ErrBusy, Text: fmt.Sprintf("the server did not delete everything: %s", refused.text)}
	}
	return err
}

// counter counts what is delivered, and ends what is too large. From the octet above the limit on it gives nothing but the
// error: a reader that gives something with it is no limit, since bufio.Reader.WriteTo goes on as long as something comes.
type counter struct {
	r     io.Reader
	n     int64
	limit int64 // 0: none
}

func (c *counter) Read(p []byte) (int, error) {
	if c.limit > 0 && c.n <= c.limit {
		p = p[:min(int64(len(p)), c.limit-c.n+1)]
	}
	if !c.over() {
		n, err := c.r.Read(p)
		if c.n += int64(n); !c.over() {
			return n, err
		}
	}
	return 0, &Error{
		Class: ErrDelivery, Text: fmt.Sprintf("the message has more than %d octets", c.limit),
		Hint: "it is larger than the server said", Err: errTooLarge,
	}
}

// over reports whether more came than may.
func (c *counter) over() bool { return c.limit > 0 && c.n > c.limit }

// errTooLarge is behind the error of a counter.
var errTooLarge = errors.New("smtp.max_message_size sets the limit")
