package pop3

import (
	"bufio"
	"errors"
	"strconv"
	"strings"
	"syscall"
	"time"

	"pillarbox/mailstore"
	"pillarbox/mailstore/auth"
	"pillarbox/mailstore/dialogue"
	"pillarbox/mailstore/sessions"
	"pillarbox/mailstore/track"
)

// count returns the number and size of the messages in the maildrop that are not marked as deleted.
func (c *session) count() (messages int, octets int64) {
	return len(c.drop.Messages()) - c.deleted.count, c.drop.Octets() - c.deleted.octets
}

// marks are the messages marked by DELE. The zero value is an empty set.
type marks struct {
	set    []bool // by index; nil while no message is marked
	count  int
	octets int64
}

func (m *marks) has(i int) bool { return m.set != nil && m.set[i] }

// add marks message i of all. The message must not be marked yet.
func (m *marks) add(i int, all []mailstore.Message) {
	if m.set == nil {
		m.set = make([]bool, len(all))
	}
	m.set[i] = true
	m.count++
	m.octets += all[i].Size
}

// indexes returns the indexes of the marked messages, in ascending order.
func (m *marks) indexes() []int { return indexesOf(m.set) }

func indexesOf(set []bool) (all []int) {
	for i, in := range set {
		if in {
			all = append(all, i)
		}
	}
	return all
}

// messageIndex returns the index of the message with the given number. If there is none it sends
// the error reply and returns false.
func (c *session) messageIndex(number string) (i int, ok bool) {
	n, ok := parseNumber(number)
	if !ok {
		c.protocolError("a message number is needed")
		return 0, false
	}
	i = n - 1
	if i < 0 || i >= len(c.drop.Messages()) || c.deleted.has(i) {
		c.err("no such message")
		return 0, false
	}
	return i, true
}

// parseNumber accepts only digits, without a sign, whose value fits an int.
func parseNumber(s string) (n int, ok bool) {
	if strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	return n, err == nil
}

// stat is STAT (RFC 1939 §5).
func (c *session) stat(string) {
	n, octets := c.count()
	c.okf("%d %d", n, octets)
}

// list is LIST (RFC 1939 §5).
func (c *session) list(arg string) {
	c.listing(arg, func(line []byte, m mailstore.Message) []byte {
		return strconv.AppendInt(line, m.Size, 10)
	})
}

// uidl is UIDL (RFC 1939 §7).
func (c *session) uidl(arg string) {
	c.listing(arg, func(line []byte, m mailstore.Message) []byte {
		return append(line, m.UID...)
	})
}

// listing answers LIST and UIDL, for one message or for all if number is "". appendTo appends what
// follows the number.
func (c *session) listing(number string, appendTo func(line []byte, m mailstore.Message) []byte) {
	all := c.drop.Messages()
	format := func(line []byte, i int) []byte {
		return appendTo(append(strconv.AppendInt(line, int64(i+1), 10), ' '), all[i])
	}
	if number != "" {
		if i, ok := c.messageIndex(number); ok {
			c.ok(string(format(nil, i)))
		}
		return
	}
	n, octets := c.count()
	c.okf("%d messages (%d octets)", n, octets)
	before := c.out.total()
	w := c.out.buffer()
	for i := range all {
		if !c.deleted.has(i) {
			w.Write(append(format(w.AvailableBuffer(), i), '\r', '\n'))
		}
	}
	c.said.Left(dialogue.FromServer, c.out.total()-before)
	c.line(".")
}

// retr is RETR (RFC 1939 §5).
func (c *session) retr(arg string) {
	if c.locked() {
		return
	}
	if i, ok := c.messageIndex(arg); ok && c.send(i, wholeMessage) {
		c.progress = time.Now()
		c.retrieved++
		c.live.AddMessage()
		c.fetched.sent = i + 1
		c.config.Track.Add(c.messageEvent(track.Fetched, i))
	}
}

// top is TOP (RFC 1939 §7).
func (c *session) top(arg string) {
	number, lines, _ := strings.Cut(arg, " ")
	n, ok := parseNumber(strings.TrimLeft(lines, " "))
	if c.locked() {
		return
	}
	if !ok {
		c.protocolError("TOP needs a message number and a number of lines")
		return
	}
	if i, ok := c.messageIndex(number); ok && c.send(i, n) {
		c.progress = time.Now()
	}
}

// locked reports whether the mailbox has been locked since the login, or may not be read by POP3 any
// more, and if so sends the error reply. An administrator's change takes effect at once.
func (c *session) locked() bool {
	err := c.server.auth.StillPermits(c.principal, auth.ServicePOP3)
	if err != nil {
		c.refuseLogin("", err)
	}
	return err != nil
}

// send sends message i, or its header and bodyLines lines of its body. Once the reply has begun,
// the only way to report an error is to close the connection before the end of the message.
func (c *session) send(i, bodyLines int) bool {
	message, err := c.drop.Open(i)
	if err != nil {
		c.replyUnreadable(i, err)
		return false
	}
	defer message.Close()
	c.live.SetState(sessions.Sending)
	if bodyLines == wholeMessage {
		c.okf("%d octets", c.drop.Messages()[i].Size)
	} else {
		c.ok("the top of the message")
	}
	before := c.out.total()
	err = c.writeMessage(message, c.drop.Messages()[i], bodyLines)
	c.said.Left(dialogue.FromServer, c.out.total()-before)
	if err != nil {
		c.endReason = "cut short"
		if c.out.err == nil || isDiskError(c.out.err) {
			c.server.log.Error("pop3: message cut short", c.logAttrs(i, err)...)
		}
		return false
	}
	c.line(".")
	return true
}

// wholeMessage as the number of body lines means all of them.
const wholeMessage = -1

func (c *session) writeMessage(message *mailstore.Content, m mailstore.Message, bodyLines int) error {
	if bodyLines == wholeMessage && !m.Dotted {
		return writeAsIs(c.out.buffer(), message, m.Size)
	}
	r := c.server.readers.Get().(*bufio.Reader)
	defer c.server.readers.Put(r)
	r.Reset(message)
	defer r.Reset(nil)
	if bodyLines == wholeMessage {
		return writeStuffed(c.out.buffer(), r)
	}
	return writeTop(c.out.buffer(), r, bodyLines)
}

// isDiskError distinguishes an unreadable file from a lost client. Both errors come from one call
// when the kernel copies from the file to the connection.
func isDiskError(err error) bool {
	return errors.Is(err, syscall.EIO) || errors.Is(err, syscall.ESTALE)
}

func (c *session) replyUnreadable(i int, err error) {
	switch {
	case errors.Is(err, mailstore.ErrGone):
		c.err("[SYS/TEMP] this message was removed by somebody else")
	case errors.Is(err, mailstore.ErrDamaged):
		c.server.log.Error("pop3: message damaged", c.logAttrs(i, err)...)
		c.err("[SYS/PERM] this message is damaged; ask the administrator")
	default:
		c.server.log.Error("pop3: message cannot be read", c.logAttrs(i, err)...)
		c.err("[SYS/TEMP] this message cannot be read at the moment; try again later")
	}
}

// logAttrs describes message i in the log.
func (c *session) logAttrs(i int, err error) []any {
	uid := c.drop.Messages()[i].UID
	return []any{"user", c.principal.Address.String(), "uid", uid, "error", err}
}

// dele is DELE (RFC 1939 §5). It only marks the message; QUIT removes it.
func (c *session) dele(arg string) {
	i, ok := c.messageIndex(arg)
	if !ok {
		return
	}
	c.progress = time.Now()
	c.deleted.add(i, c.drop.Messages())
	c.okf("message %d deleted", i+1)
}

// rset is RSET (RFC 1939 §5).
func (c *session) rset(string) {
	c.deleted = marks{}
	n, octets := c.count()
	c.okf("nothing is marked; %d messages (%d octets)", n, octets)
}

// update is the UPDATE state (RFC 1939 §6). It is the only place where a session removes messages.
func (c *session) update() error {
	err := c.drop.Remove(c.deleted.indexes())
	if err != nil {
		return err
	}
	c.removed = c.deleted.count
	for _, i := range c.deleted.indexes() {
		c.config.Track.Add(c.messageEvent(track.Deleted, i))
	}
	return nil
}
