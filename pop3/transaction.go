package pop3

import (
	"bufio"
	"errors"
	"strconv"
	"strings"
	"syscall"
	"time"

	"pillarbox/mailstore"
)

// count says what is in the maildrop, without what is marked as deleted.
func (c *session) count() (messages int, octets int64) {
	return len(c.drop.Messages()) - c.deleted.count, c.drop.Octets() - c.deleted.octets
}

// marks are the messages marked by DELE. The zero value is none.
type marks struct {
	set    []bool // by index; nil while there are none
	count  int
	octets int64
}

func (m *marks) has(i int) bool { return m.set != nil && m.set[i] }

// add marks message i of all, which must not be marked.
func (m *marks) add(i int, all []mailstore.Message) {
	if m.set == nil {
		m.set = make([]bool, len(all))
	}
	m.set[i] = true
	m.count++
	m.octets += all[i].Size
}

// indexes are those of the messages, in their order.
func (m *marks) indexes() []int {
	all := make([]int, 0, m.count)
	for i, marked := range m.set {
		if marked {
			all = append(all, i)
		}
	}
	return all
}

// message finds the index that a message number means, or answers why not.
func (c *session) message(number string) (i int, ok bool) {
	n, ok := parseNumber(number)
	if !ok {
		c.senseless("a message number is needed")
		return 0, false
	}
	i = n - 1
	if i < 0 || i >= len(c.drop.Messages()) || c.deleted.has(i) {
		c.err("no such message")
		return 0, false
	}
	return i, true
}

// parseNumber takes digits only: no sign, and no more of them than an int holds.
func parseNumber(s string) (n int, ok bool) {
	if strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	return n, err == nil
}

func (c *session) stat(string) {
	n, octets := c.count()
	c.okf("%d %d", n, octets)
}

func (c *session) list(arg string) {
	c.listing(arg, func(line []byte, m mailstore.Message) []byte {
		return strconv.AppendInt(line, m.Size, 10)
	})
}

func (c *session) uidl(arg string) {
	c.listing(arg, func(line []byte, m mailstore.Message) []byte {
		return append(line, m.UID...)
	})
}

// listing answers LIST and UIDL, for the message with the given number or for
// all of them; the two differ in what follows the number.
func (c *session) listing(number string, appendTo func(line []byte, m mailstore.Message) []byte) {
	all := c.drop.Messages()
	format := func(line []byte, i int) []byte {
		return appendTo(append(strconv.AppendInt(line, int64(i+1), 10), ' '), all[i])
	}
	if number != "" {
		if i, ok := c.message(number); ok {
			c.ok(string(format(nil, i)))
		}
		return
	}
	n, octets := c.count()
	c.okf("%d messages (%d octets)", n, octets)
	w := c.out.buffer()
	for i := range all {
		if !c.deleted.has(i) {
			w.Write(append(format(w.AvailableBuffer(), i), '\r', '\n'))
		}
	}
	c.line(".")
}

func (c *session) retr(arg string) {
	if c.locked() {
		return
	}
	if i, ok := c.message(arg); ok && c.send(i, wholeMessage) {
		c.progress = time.Now()
		c.retrieved++
		c.fetched.sent = i + 1
	}
}

func (c *session) top(arg string) {
	number, lines, _ := strings.Cut(arg, " ")
	n, ok := parseNumber(strings.TrimLeft(lines, " "))
	if c.locked() {
		return
	}
	if !ok {
		c.senseless("TOP needs a message number and a number of lines")
		return
	}
	if i, ok := c.message(number); ok && c.send(i, n) {
		c.progress = time.Now()
	}
}

// locked answers for a mailbox that has been locked since the login: an
// administrator's lock counts at once.
func (c *session) locked() bool {
	if !c.server.auth.Locked(c.principal) {
		return false
	}
	c.err("[SYS/PERM] this mailbox is locked; ask your administrator")
	return true
}

// send answers with the message, or with its header and some lines of its body.
// Once the reply has begun, an error can only be told by breaking the
// connection off before the end of the message.
func (c *session) send(i, bodyLines int) bool {
	message, err := c.drop.Open(i)
	if err != nil {
		c.cannotRead(i, err)
		return false
	}
	defer message.Close()
	if bodyLines == wholeMessage {
		c.okf("%d octets", c.drop.Messages()[i].Size)
	} else {
		c.ok("the top of the message")
	}
	if err := c.write(message, c.drop.Messages()[i], bodyLines); err != nil {
		c.over = "broken off"
		if c.out.err == nil || brokenFile(c.out.err) {
			c.server.log.Error("pop3: message broken off", c.about(i, err)...)
		}
		return false
	}
	c.line(".")
	return true
}

// wholeMessage, as a number of body lines, stands for all of them.
const wholeMessage = -1

func (c *session) write(message *mailstore.Content, m mailstore.Message, bodyLines int) error {
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

// brokenFile tells a file that cannot be read from a client that is gone, when
// it was the kernel that copied.
func brokenFile(err error) bool {
	return errors.Is(err, syscall.EIO) || errors.Is(err, syscall.ESTALE)
}

func (c *session) cannotRead(i int, err error) {
	switch {
	case errors.Is(err, mailstore.ErrGone):
		c.err("[SYS/TEMP] this message was removed by somebody else")
	case errors.Is(err, mailstore.ErrDamaged):
		c.server.log.Error("pop3: message damaged", c.about(i, err)...)
		c.err("[SYS/PERM] this message is damaged; ask the administrator")
	default:
		c.server.log.Error("pop3: message cannot be read", c.about(i, err)...)
		c.err("[SYS/TEMP] this message cannot be read at the moment; try again later")
	}
}

// about names a message for the log.
func (c *session) about(i int, err error) []any {
	return []any{"user", c.principal.Address.String(), "uid", c.drop.Messages()[i].UID, "error", err}
}

func (c *session) dele(arg string) {
	i, ok := c.message(arg)
	if !ok {
		return
	}
	c.progress = time.Now()
	c.deleted.add(i, c.drop.Messages())
	c.okf("message %d deleted", i+1)
}

func (c *session) rset(string) {
	c.deleted = marks{}
	n, octets := c.count()
	c.okf("nothing is marked; %d messages (%d octets)", n, octets)
}

// update is the UPDATE state (RFC 1939 §6): the one time when messages go.
func (c *session) update() error {
	err := c.drop.Remove(c.deleted.indexes())
	if err == nil {
		c.removed = c.deleted.count
	}
	return err
}
