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

// window is the maximum size of pipelined commands without a reply, in octets. It fits the buffers
// of any peer (RFC 2920 §3.1).
const window = 4096

// errGone means that the connection is unusable. The results hold what is known about the message.
var errGone = errors.New("connection gone")

// transaction is one message on one connection.
type transaction struct {
	*conn
	d        *delivery
	to       []int // recipients, as indexes of results
	params   string
	utf8     bool // SMTPUTF8 is requested
	sevenBit bool // convert to seven bits
	text     *text
	accepted []int
	pending  []step // commands without a reply; its array is reused
	began    bool   // MAIL was accepted
	data     bool   // DATA was answered with 354
	refused  bool   // MAIL was not accepted
}

// step is a pipelined command: RSET, MAIL, DATA, or the index of a recipient.
type step int

const (
	stepReset step = -1 - iota
	stepMail
	stepData
)

// transact sends a message to some recipients and sets their results. A failure means that the
// server did not answer about any of them; the connection is then unusable. It is also unusable if
// it broke later.
func (c *conn) transact(ctx context.Context, d *delivery, some []int) *failure {
	done := c.begin(ctx, time.Now().Add(maxAttempt(d.attempt.Size)))
	defer func() {
		if !done() && !c.gone {
			c.abandon() // a late interruption would hit the next message
		}
	}()
	t := &transaction{conn: c, d: d}
	if !t.prepare(some) {
		return nil
	}
	src, err := d.open()
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

// prepare sets the parameters of MAIL. It reports whether any recipient is left.
func (t *transaction) prepare(some []int) bool {
	e := &t.d.attempt.Envelope
	t.to = some
	t.settle(some, smtp.Result{})
	if t.maxSize > 0 && t.d.attempt.Size > t.maxSize {
		return t.fail(localReply([3]int{5, 3, 4},
			"the message has %d octets; %s accepts at most %d",
			t.d.attempt.Size, t.name, t.maxSize))
	}
	if !t.prepareUTF8() || !t.prepare8Bit() {
		return false
	}
	var err error
	if t.text, err = t.d.text(t.sevenBit); err != nil {
		return t.unreadable(err)
	}
	var p strings.Builder
	if t.sizes && t.text.size > 0 {
		p.WriteString(" SIZE=" + strconv.FormatInt(t.text.size, 10))
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

// fail gives all recipients of the transaction one permanent result with our own reply.
func (t *transaction) fail(reply smtp.Reply) bool {
	for _, i := range t.to {
		t.d.results[i] = smtp.Result{Status: smtp.Failed, Reply: reply}
	}
	return false
}

// prepareUTF8 decides whether the message needs SMTPUTF8 (RFC 6531). Without support, only
// recipients with ASCII addresses remain, and only if the rest of the message is ASCII too.
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
	reply := localReply([3]int{5, 6, 7},
		"%s does not support international addresses or headers (SMTPUTF8)", t.name)
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

// prepare8Bit decides whether the message must be converted to seven bits (RFC 6152 §3). Octets above
// 127 in a header stay: their character set is unknown, and servers take them.
func (t *transaction) prepare8Bit() bool {
	if t.eightBit {
		return true
	}
	content, err := t.d.scan()
	switch {
	case err != nil:
		return t.unreadable(err)
	case !content.body8:
		return true
	}
	if content.convertible == nil {
		t.sevenBit = true
		return true
	}
	return t.fail(localReply([3]int{5, 6, 3},
		"%s accepts only seven-bit text (no 8BITMIME), and the message cannot be converted: %v",
		t.name, content.convertible))
}

// unreadable defers all recipients, since the error is on our own disk.
func (t *transaction) unreadable(err error) bool {
	t.remote.log.Error("cannot read a message to send", "message_id", t.d.attempt.ID, "error", err)
	for _, i := range t.to {
		t.d.results[i] = smtp.Result{Reply: localReply([3]int{4, 3, 0},
			"the message could not be read here")}
	}
	return false
}

// envelope sends MAIL, RCPT and DATA, pipelined if the server supports it.
func (t *transaction) envelope() (*failure, error) {
	e := &t.d.attempt.Envelope
	var room [8]step
	t.pending = room[:0]
	if t.dirty {
		if f, err := t.pipeline(stepReset, "RSET", "", "", ""); f != nil || err != nil {
			return f, err
		}
		t.dirty = false
	}
	f, err := t.pipeline(stepMail, "MAIL FROM:<", e.From.String(), ">", t.params)
	if f != nil || err != nil {
		return f, err
	}
	for _, i := range t.to {
		if t.refused {
			break
		}
		to := &e.To[i]
		f, err := t.pipeline(step(i), "RCPT TO:<", to.Address.String(), ">", t.rcptParams(to))
		if f != nil || err != nil {
			return f, err
		}
	}
	if !t.refused && (len(t.pending) > 0 || len(t.accepted) > 0) {
		if f, err := t.pipeline(stepData, "DATA", "", "", ""); f != nil || err != nil {
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

// rcptParams returns the DSN parameters of RCPT (RFC 3461 §4).
func (t *transaction) rcptParams(to *smtp.Recipient) string {
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

// pipeline appends a command to those to be sent. Without PIPELINING, or with a full window, it
// sends them and reads the replies.
func (t *transaction) pipeline(s step, verb, arg, end, params string) (*failure, error) {
	t.out = append(append(append(append(append(t.out, verb...), arg...), end...), params...),
		"\r\n"...)
	t.pending = append(t.pending, s)
	if t.pipelining && len(t.out) < window {
		return nil, nil
	}
	return t.drain()
}

// drain sends the collected commands and reads their replies.
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

// lastWords reports whether a reply can still be read after a write failed.
func (t *transaction) lastWords() bool {
	if t.ctx.Err() != nil {
		return false
	}
	t.deadline(quitTimeout)
	_, err := t.in.Peek(1)
	return err == nil
}

// answered handles the reply to one command.
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
	case t.refused: // the reply only repeats the refusal
	case code/100 == 2:
		t.accepted = append(t.accepted, int(s))
	default:
		t.d.results[s] = t.result()
		if t.tooMany() {
			t.d.results[s].Status = smtp.Deferred
		}
		if code == 421 {
			return nil, t.closing()
		}
	}
	return nil, nil
}

// tooMany reports whether the reply to RCPT refuses the recipient only because the message has too
// many. Old servers say that with 552, which then means 452 (RFC 5321 §4.5.3.1.10). A later
// transaction has fewer recipients, because at least one was accepted. The 552 of a full mailbox has
// other words.
func (t *transaction) tooMany() bool {
	if t.reply.code != 552 || len(t.accepted) == 0 {
		return false
	}
	words := t.reply.words()
	text := strings.ToLower(words.Text)
	return words.Enhanced == [3]int{5, 5, 3} ||
		strings.Contains(text, "too many") && strings.Contains(text, "recipient")
}

func (t *transaction) answeredData() error {
	switch {
	case t.reply.code == 354:
		t.data = true
		return nil
	case t.refused || len(t.accepted) == 0:
		return nil
	case t.reply.code/100 < 4:
		// The two sides could no longer agree what the following octets are.
		t.settle(t.accepted, smtp.Result{Reply: t.conn.refusal().reply})
		return errGone
	}
	t.settle(t.accepted, t.result())
	t.accepted = nil
	return nil
}

// closing ends a transaction after a 421: recipients without a result get this one.
func (t *transaction) closing() error {
	result := t.result()
	for _, i := range t.to {
		if t.d.results[i].Reply.Code == 0 {
			t.d.results[i] = result
		}
	}
	return errGone
}

// result returns the server's reply as a result. The code sets its class.
func (t *transaction) result() smtp.Result {
	r := smtp.Result{Reply: t.reply.words(), MTA: t.name}
	switch t.reply.code / 100 {
	case 2:
		r.Status, r.KnowsDSN = smtp.Delivered, t.dsn
	case 5:
		r.Status = smtp.Failed
	case 3:
		r.MTA, r.Reply = "", localReply([3]int{4, 5, 0}, "%s sent an unexpected reply: %d %s",
			t.name, r.Reply.Code, r.Reply.Text)
	}
	return r
}

func (t *transaction) settle(some []int, r smtp.Result) {
	for _, i := range some {
		t.d.results[i] = r
	}
}

// broken handles a connection that ended before the message. Before a reply to MAIL the message may
// be tried over another connection. Later, recipients without a reply of their own are deferred.
func (t *transaction) broken(err error) (*failure, error) {
	if !t.began && !t.refused {
		return t.connectionLost("sent MAIL", err), nil
	}
	if t.refused {
		return nil, errGone
	}
	f := t.connectionLost("sent the recipients", err)
	for _, i := range t.to {
		if t.d.results[i].Reply.Code == 0 {
			t.d.results[i] = f.result()
		}
	}
	return nil, errGone
}

// cancelData sends an empty body without a recipient: the server replied 354 although it had
// refused every recipient (RFC 2920 §3.1).
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
