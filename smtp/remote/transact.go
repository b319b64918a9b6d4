package remote

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"pillarbox/smtp"
)

// window is how many octets of commands may be under way before their replies
// are read: small enough for any peer's buffers (RFC 2920 §3.1).
const window = 4096

// errGone says that nothing more can be done over a connection; what is known of
// the message is in the results.
var errGone = errors.New("connection gone")

// transaction is one message on one connection.
type transaction struct {
	*conn
	d        *delivery
	to       []int // recipients, as indexes of results
	params   string
	utf8     bool // SMTPUTF8 was given
	convert  bool // to seven bits
	accepted []int
	pending  []step // commands without replies; its array serves again
	began    bool   // MAIL was accepted
	data     bool   // DATA was answered by 354
	refused  bool   // MAIL was not accepted
}

// step is a command under way: RSET, MAIL, DATA, or a recipient.
type step int

const (
	stepReset step = -1 - iota
	stepMail
	stepData
)

// transact hands a message over for some recipients and notes what became of
// it for each. A failure says that it had no chance to be heard of; the
// connection is of no use then. It is also gone where it broke later.
func (c *conn) transact(ctx context.Context, d *delivery, some []int) *failure {
	done := c.begin(ctx, time.Now().Add(maxAttempt(d.attempt.Size)))
	defer func() {
		if !done() && !c.gone {
			c.abandon() // an interruption that comes late would hit the next message
		}
	}()
	t := &transaction{conn: c, d: d}
	if !t.prepare(some) {
		return nil
	}
	src, err := d.attempt.Open()
	if err != nil {
		t.unreadable(err)
		return nil
	}
	defer src.Close()
	c.messages++
	c.sent.Store(false)
	f, err := t.envelope()
	if f != nil {
		return f
	}
	if err == nil && t.data && len(t.accepted) > 0 {
		err = t.body(src)
	}
	if err == nil {
		c.dirty = t.began && !t.data || t.refused
		return nil
	}
	c.abandon()
	return nil
}

// prepare decides what has to be said. It reports whether anybody is left to
// send to.
func (t *transaction) prepare(some []int) bool {
	e := &t.d.attempt.Envelope
	t.to = some
	t.settle(some, smtp.Result{})
	if t.maxSize > 0 && t.d.attempt.Size > t.maxSize {
		return t.fail(ours([3]int{5, 3, 4}, "the message has %d octets; %s takes %d at most", t.d.attempt.Size, t.name, t.maxSize))
	}
	if !t.prepareUTF8() || !t.prepare8Bit() {
		return false
	}
	var p strings.Builder
	if t.sizes && t.d.attempt.Size > 0 && !t.convert {
		p.WriteString(" SIZE=" + strconv.FormatInt(t.d.attempt.Size, 10))
	}
	if t.eightBit && (e.Body8 || t.utf8) {
		p.WriteString(" BODY=8BITMIME")
	}
	if t.utf8 {
		p.WriteString(" SMTPUTF8")
	}
	if t.dsn {
		if e.Ret != "" {
			p.WriteString(" RET=" + e.Ret)
		}
		if e.EnvID != "" {
			p.WriteString(" ENVID=" + xtext(e.EnvID))
		}
	}
	t.params = p.String()
	return true
}

// fail gives all recipients of the transaction one final result in our words.
func (t *transaction) fail(reply smtp.Reply) bool {
	for _, i := range t.to {
		t.d.results[i] = smtp.Result{Status: smtp.Failed, Reply: reply}
	}
	return false
}

// prepareUTF8 decides whether the message needs SMTPUTF8 (RFC 6531). Where the
// server has none, only recipients with ASCII addresses remain, and only if the
// rest of the message is ASCII too.
func (t *transaction) prepareUTF8() bool {
	e := &t.d.attempt.Envelope
	foreign := func(i int) bool { return !e.To[i].Address.IsASCII() }
	whole := !e.From.IsASCII()
	if !whole && e.UTF8 {
		content, err := t.d.scan()
		if err != nil {
			return t.unreadable(err)
		}
		whole = content.header8
	}
	if !whole && !slices.ContainsFunc(t.to, foreign) {
		return true
	}
	if t.smtpUTF8 {
		t.utf8 = true
		return true
	}
	reply := ours([3]int{5, 6, 7}, "%s takes no international addresses or headers (SMTPUTF8)", t.name)
	if whole {
		return t.fail(reply)
	}
	var rest []int
	for _, i := range t.to {
		if foreign(i) {
			t.d.results[i] = smtp.Result{Status: smtp.Failed, Reply: reply}
		} else {
			rest = append(rest, i)
		}
	}
	t.to = rest
	return len(rest) > 0
}

// prepare8Bit decides whether the message must be converted to seven bits (RFC
// 6152 §3).
func (t *transaction) prepare8Bit() bool {
	if t.eightBit {
		return true
	}
	content, err := t.d.scan()
	switch {
	case err != nil:
		return t.unreadable(err)
	case !content.header8 && !content.body8:
		return true
	}
	if content.convertible == nil {
		t.convert = true
		return true
	}
	return t.fail(ours([3]int{5, 6, 3}, "%s takes only seven-bit text (no 8BITMIME), and the message cannot be converted without damage: %v",
		t.name, content.convertible))
}

// unreadable defers: our own disk is the trouble.
func (t *transaction) unreadable(err error) bool {
	t.remote.log.Error("cannot read a message that is to be sent", "id", t.d.attempt.ID, "error", err)
	for _, i := range t.to {
		t.d.results[i] = smtp.Result{Reply: ours([3]int{4, 3, 0}, "the message could not be read here")}
	}
	return false
}

// envelope says MAIL, RCPT and DATA, all at once where the server lets us.
func (t *transaction) envelope() (*failure, error) {
	e := &t.d.attempt.Envelope
	var room [8]step
	t.pending = room[:0]
	if t.dirty {
		if f, err := t.say(stepReset, "RSET", "", "", ""); f != nil || err != nil {
			return f, err
		}
		t.dirty = false
	}
	if f, err := t.say(stepMail, "MAIL FROM:<", e.From.String(), ">", t.params); f != nil || err != nil {
		return f, err
	}
	for _, i := range t.to {
		if t.refused {
			break
		}
		to := &e.To[i]
		if f, err := t.say(step(i), "RCPT TO:<", to.Address.String(), ">", t.wishes(to)); f != nil || err != nil {
			return f, err
		}
	}
	if !t.refused && (len(t.pending) > 0 || len(t.accepted) > 0) {
		if f, err := t.say(stepData, "DATA", "", "", ""); f != nil || err != nil {
			return f, err
		}
	}
	if f, err := t.drain(); f != nil || err != nil {
		return f, err
	}
	if t.data && len(t.accepted) == 0 {
		return nil, t.cancelData()
	}
	return nil, nil
}

// wishes are the parameters of RCPT (RFC 3461 §4).
func (t *transaction) wishes(to *smtp.Recipient) string {
	if !t.dsn || len(to.Notify) == 0 && to.ORcptType == "" {
		return ""
	}
	var p strings.Builder
	if len(to.Notify) > 0 {
		p.WriteString(" NOTIFY=" + strings.Join(to.Notify, ","))
	}
	switch {
	case strings.EqualFold(to.ORcptType, "UTF-8"):
		p.WriteString(" ORCPT=utf-8;" + utf8xtext(to.ORcpt))
	case to.ORcptType != "":
		p.WriteString(" ORCPT=" + strings.ToLower(to.ORcptType) + ";" + xtext(to.ORcpt))
	}
	return p.String()
}

// say puts a command behind those that wait to be sent. Without PIPELINING, or
// when the window is full, they are sent and answered first.
func (t *transaction) say(s step, verb, arg, end, params string) (*failure, error) {
	t.out = append(append(append(append(append(t.out, verb...), arg...), end...), params...), "\r\n"...)
	t.pending = append(t.pending, s)
	if t.pipelining && len(t.out) < window {
		return nil, nil
	}
	return t.drain()
}

// drain sends what waits and reads the replies to it.
func (t *transaction) drain() (*failure, error) {
	t.deadline(commandTimeout)
	if err := t.flush(); err != nil {
		if late := t.lastWords(); !late {
			return t.broken(err)
		}
	}
	for i, s := range t.pending {
		t.deadline(commandTimeout)
		if err := t.reply.read(t.in, nil); err != nil {
			t.pending = t.pending[i:]
			return t.broken(err)
		}
		if f, err := t.answered(s); f != nil || err != nil {
			return f, err
		}
	}
	t.pending = t.pending[:0]
	return nil, nil
}

// lastWords reports whether there may still be a reply to read on a connection
// that takes nothing more.
func (t *transaction) lastWords() bool {
	if t.ctx.Err() != nil {
		return false
	}
	t.deadline(quitTimeout)
	_, err := t.in.Peek(1)
	return err == nil
}

// answered takes the reply to one command.
func (t *transaction) answered(s step) (*failure, error) {
	code := t.reply.code
	switch {
	case s == stepReset:
		if code/100 != 2 {
			return t.refusal(), nil
		}
	case s == stepMail:
		switch {
		case code == 421, code/100 == 3:
			return t.refusal(), nil
		case code/100 != 2:
			t.refused = true
			t.settle(t.to, t.result())
		default:
			t.began = true
		}
	case s == stepData:
		return nil, t.answeredData()
	case t.refused: // the reply only repeats that
	case code/100 == 2:
		t.accepted = append(t.accepted, int(s))
	default:
		t.d.results[s] = t.result()
		if code == 421 {
			return nil, t.closing()
		}
	}
	return nil, nil
}

func (t *transaction) answeredData() error {
	switch {
	case t.reply.code == 354:
		t.data = true
		return nil
	case t.refused || len(t.accepted) == 0:
		return nil
	case t.reply.code/100 < 4:
		// Neither side could know now what the octets that follow are.
		t.settle(t.accepted, smtp.Result{Reply: t.conn.refusal().reply})
		return errGone
	}
	t.settle(t.accepted, t.result())
	t.accepted = nil
	return nil
}

// closing ends a transaction that the server ends by 421: nobody without a
// result will get one.
func (t *transaction) closing() error {
	result := t.result()
	for _, i := range t.to {
		if t.d.results[i].Reply.Code == 0 {
			t.d.results[i] = result
		}
	}
	return errGone
}

// result is the server's reply as a result, of a class by its code.
func (t *transaction) result() smtp.Result {
	r := smtp.Result{Reply: t.reply.words(), MTA: t.name}
	switch t.reply.code / 100 {
	case 2:
		r.Status, r.KnowsDSN = smtp.Delivered, t.dsn
	case 5:
		r.Status = smtp.Failed
	case 3:
		r.MTA, r.Reply = "", ours([3]int{4, 5, 0}, "%s gave an answer that makes no sense here: %d %s", t.name, r.Reply.Code, r.Reply.Text)
	}
	return r
}

func (t *transaction) settle(some []int, r smtp.Result) {
	for _, i := range some {
		t.d.results[i] = r
	}
}

// broken is the end of the connection before the message. Before an answer to
// MAIL nobody knows of it, and another connection may do; afterwards those
// without a reply of their own are deferred.
func (t *transaction) broken(err error) (*failure, error) {
	if !t.began && !t.refused {
		return t.lost("said MAIL", err), nil
	}
	if t.refused {
		return nil, errGone
	}
	f := t.lost("named the recipients", err)
	for _, i := range t.to {
		if t.d.results[i].Reply.Code == 0 {
			t.d.results[i] = f.result()
		}
	}
	return nil, errGone
}

// cancelData ends a body that nobody is to get: the server said 354 though it
// had refused every recipient (RFC 2920 §3.1).
func (t *transaction) cancelData() error {
	return t.command(finalTimeout, ".", nil)
}

// xtext encodes a parameter (RFC 3461 §4).
func xtext(s string) string {
	plain := func(c byte) bool { return c >= '!' && c <= '~' && c != '+' && c != '=' }
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; plain(c) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "+%02X", c)
		}
	}
	return b.String()
}

// utf8xtext encodes an international address in ASCII (RFC 6533 §3).
func utf8xtext(s string) string {
	var b strings.Builder
	for _, c := range s {
		if c >= '!' && c <= '~' && c != '+' && c != '=' && c != '\\' {
			b.WriteRune(c)
		} else if c != utf8.RuneError {
			fmt.Fprintf(&b, `\x{%02X}`, c)
		}
	}
	return b.String()
}
