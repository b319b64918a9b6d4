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
	batch    = 200 // messages fetched in one session: only its QUIT makes the deletions final
	maxInRow = 3   // messages in a row whose delivery here may fail before the session ends
)

// Collect fetches all new messages, in as many sessions as it takes. The result is valid even with
// an error. Most errors are an *Error, and errors.Is matches its class. Only one call at a time may
// collect from a mailbox.
func Collect(ctx context.Context, o Options) (Result, error) {
	o.setDefaults()
	st, err := loadState(o.Files, o.Name, o.account())
	if err != nil {
		return Result{}, err
	}
	st.clampTimes(o.Now())
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

func (o *Options) setDefaults() {
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
	deleted []string // keys of the messages that QUIT will delete; "" for one without a key
	failed  int      // messages in a row that could not be delivered here
	failure error    // the first failed delivery
	result  Result
}

// run does one session. more means that another one is needed.
func (s *session) run(ctx context.Context) (more bool, err error) {
	if s.conn, err = dial(ctx, s.opts); err != nil {
		return false, err
	}
	defer s.conn.close()
	caps, err := s.conn.authenticate(ctx)
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
		return false, &Error{
			Class: ErrNoUIDL,
			Text: s.opts.Host + " has no unique-ids (UIDL): " +
				"messages left there would be fetched again each time",
			Hint: "remove leave and leave_days from the entry; " +
				"messages are then deleted once fetched",
		}
	}
	limit := batch
	if caps.loginDelay {
		limit = len(all)
	}
	complete, err := s.fetchAll(all, limit)
	if err != nil {
		return false, errors.Join(err, s.state.writeAll(s.opts.account()))
	}
	if err := s.finish(all, complete); err != nil {
		return false, err
	}
	return !complete && s.failed < maxInRow, nil
}

// fetchAll handles the messages in order. complete is false if it stopped before the last one.
// After an error the connection is unusable.
func (s *session) fetchAll(all []listed, limit int) (complete bool, err error) {
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
		case skip:
			s.opts.Log.Warn("fetch: a message that had no end within the limit stays "+
				"at the server; the next attempt is in a day",
				"fetch", s.opts.Name, "number", m.number, "limit", s.opts.MaxSize)
		case tooLarge:
			s.opts.Log.Warn("fetch: a message is too large and stays at the server",
				"fetch", s.opts.Name, "size", m.size, "limit", s.opts.MaxSize)
		}
		if refused, ok := errors.AsType[*refusal](err); ok {
			s.opts.Log.Warn("fetch: the server refuses to send or delete a message",
				"fetch", s.opts.Name, "number", m.number, "of", len(all), "reply", refused.text)
		} else if err != nil {
			return false, err
		}
	}
	return true, nil
}

// fetch delivers a message. If comparing is set and the header shows that it was delivered before,
// fetch only records it.
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
	caught.Log(s.opts.Log, err, "fetch: a program error at a header; the message is fetched anyway",
		"fetch", s.opts.Name, "number", m.number)
	e := &entry{Size: m.size, Mark: mark, At: s.now}
	key := m.uid
	if key == "" && mark != "" {
		key = " " + mark
	}
	if comparing {
		if oldKey, old := s.state.byMark(mark); old != nil {
			e.At = old.At
			s.rename(m, oldKey)
			return s.finishMessage(m, key, e, message)
		}
	}
	count := &counter{r: io.MultiReader(bytes.NewReader(top), message), limit: s.opts.MaxSize}
	err = caught.Do(func() error { return s.opts.Deliver(count) })
	if err != nil {
		return s.notDelivered(m, message, err)
	}
	if err := message.broken(); err != nil {
		return err // Deliver did not notice that the message was cut short
	}
	s.failed = 0
	s.result.Fetched++
	s.result.Bytes += count.n
	return s.finishMessage(m, key, e, message)
}

// rename removes the entry under a message's former unique-id, if it has a new one now.
func (s *session) rename(m listed, oldKey string) {
	if m.uid != "" && oldKey != m.uid {
		s.state.remove(oldKey)
	}
}

// finishMessage records a message as delivered, and deletes it at the server unless it is to stay.
func (s *session) finishMessage(m listed, key string, e *entry, message *body) error {
	if key != "" {
		if err := s.state.record(s.opts.account(), key, e); err != nil {
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

// notDelivered reports a message whose delivery failed with err. It stays at the server.
func (s *session) notDelivered(m listed, message *body, err error) error {
	if broken := message.broken(); broken != nil {
		return broken
	}
	caught.Log(s.opts.Log, err, "fetch: a program error at a message; it stays at the server",
		"fetch", s.opts.Name, "number", m.number)
	if !caught.Is(err) {
		s.failed++ // a panic concerns only this message; later ones can still be delivered
	}
	if s.failure == nil {
		text := fmt.Sprintf("message %d cannot be delivered here and stays at the server", m.number)
		s.failure = &Error{Class: ErrDelivery, Text: text, Err: err}
	}
	s.opts.Log.Warn("fetch: a message cannot be delivered and stays at the server",
		"fetch", s.opts.Name, "size", m.size, "error", err)
	drained := drain(message)
	if drained != nil || errors.Is(err, errTooLarge) {
		s.state.skip(m.uid, s.now)
	}
	return drained
}

// maxDrain is how much of an undelivered message is read and discarded, in octets.
const maxDrain = 32 << 20

func drain(message *body) error {
	n, err := io.Copy(io.Discard, io.LimitReader(message, maxDrain))
	if err == nil && n == maxDrain && !message.ended() {
		err = &Error{
			Class: ErrProtocol, Text: "a message does not end",
			Hint: "the session was ended; the next one skips the message if the server has UIDL",
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

// finish sends QUIT, at which the server deletes the marked messages, and then writes the state.
func (s *session) finish(all []listed, complete bool) error {
	err := s.quit()
	if err == nil {
		for _, key := range s.deleted {
			s.state.remove(key)
		}
		s.result.Deleted = len(s.deleted)
		s.result.Left -= len(s.deleted)
	}
	if complete {
		s.state.prune(all, s.now)
	}
	return errors.Join(err, s.state.writeAll(s.opts.account()))
}

func (s *session) quit() error {
	_, err := s.conn.command("QUIT")
	if refused, ok := errors.AsType[*refusal](err); ok {
		text := "the server did not delete all messages: " + refused.text
		return &Error{Class: ErrBusy, Text: text}
	}
	return err
}

// counter counts the octets of a delivery and enforces the size limit. Beyond the limit it returns
// only the error and no data: bufio.Reader.WriteTo would ignore an error that comes with data.
type counter struct {
	r     io.Reader
	n     int64
	limit int64 // octets; 0 means no limit
}

func (c *counter) Read(p []byte) (int, error) {
	if c.limit > 0 && c.n <= c.limit {
		p = p[:min(int64(len(p)), c.limit-c.n+1)]
	}
	if !c.exceeded() {
		n, err := c.r.Read(p)
		if c.n += int64(n); !c.exceeded() {
			return n, err
		}
	}
	return 0, &Error{
		Class: ErrDelivery, Text: fmt.Sprintf("the message has more than %d octets", c.limit),
		Hint: "the server listed a smaller size", Err: errTooLarge,
	}
}

// exceeded reports whether more octets came than the limit allows.
func (c *counter) exceeded() bool { return c.limit > 0 && c.n > c.limit }

// errTooLarge is the cause in the error of a counter.
var errTooLarge = errors.New("smtp.max_message_size sets the limit")
