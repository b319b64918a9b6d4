package pop3

import (
	"bufio"
	"errors"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"pillarbox/mailstore"
)

// count says what is in the maildrop, without what is marked as deleted.
func (c *session) count() (messages int, octets int64) {
	all := c.drop.Messages()
	for _, m := range all {
		octets += m.Size
	}
	for i := range c.deleted {
		octets -= all[i].Size
	}
	return len(all) - len(c.deleted), octets
}

// message finds the index that a message number means, or answers why not.
func (c *session) message(number string) (i int, ok bool) {
	n, ok := parseNumber(number)
	if !ok {
		c.senseless("a message number is needed")
		return 0, false
	}
	i = n - 1
	if _, deleted := c.deleted[i]; deleted || i < 0 || i >= len(c.drop.Messages()) {
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
	line := make([]byte, 0, 128)
	format := func(i int) []byte {
		line = append(strconv.AppendInt(line[:0], int64(i+1), 10), ' ')
		return appendTo(line, all[i])
	}
	if number != "" {
		if i, ok := c.message(number); ok {
			c.ok(string(format(i)))
		}
		return
	}
	n, octets := c.count()
	c.okf("%d messages (%d octets)", n, octets)
	w := c.out.buffer()
	for i := range all {
		if _, deleted := c.deleted[i]; !deleted {
			w.Write(append(format(i), '\r', '\n'))
		}
	}
	c.line(".")
}

func (c *session) retr(arg string) {
	if c.locked() {
		return
	}
	if i, ok := c.message(arg); ok && c.send(i, wholeMessage) {
		c.retrieved++
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
	if i, ok := c.message(number); ok {
		c.send(i, n)
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
	r := c.server.readers.Get().(*bufio.Reader)
	defer c.server.readers.Put(r)
	r.Reset(message)
	defer r.Reset(nil)

	if bodyLines == wholeMessage {
		c.okf("%d octets", c.drop.Messages()[i].Size)
	} else {
		c.ok("the top of the message")
	}
	if err := writeContent(c.out.buffer(), r, bodyLines); err != nil {
		c.over = "broken off"
		if c.out.err == nil {
			c.server.log.Error("pop3: message broken off", c.about(i, err)...)
		}
		return false
	}
	c.line(".")
	return true
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

// wholeMessage, as a number of body lines, stands for all of them.
const wholeMessage = -1

// writeContent writes a message as a multi-line reply has it (RFC 1939 §3),
// without the final dot: lines that begin with a dot get another, and the last
// line ends in CRLF. It stops after the header, the empty line and bodyLines
// lines (§7, TOP). Lines may be of any length.
func writeContent(w *bufio.Writer, r *bufio.Reader, bodyLines int) error {
	end := [2]byte{'\r', '\n'} // the last octets written
	for inBody := false; !inBody || bodyLines != 0; {
		atStart := end[1] == '\n'
		part, err := r.ReadSlice('\n') // a line, or what of it the buffer holds
		if atStart && len(part) > 0 && part[0] == '.' {
			w.WriteByte('.')
		}
		if _, err := w.Write(part); err != nil {
			return err
		}
		for _, b := range part[max(0, len(part)-2):] {
			end = [2]byte{end[1], b}
		}
		switch {
		case err == io.EOF:
			bodyLines, inBody = 0, true
		case err == bufio.ErrBufferFull:
		case err != nil:
			return err
		case inBody:
			bodyLines-- // from wholeMessage it never comes to 0
		case atStart:
			inBody = string(part) == "\r\n" || string(part) == "\n"
		}
	}
	if end != [2]byte{'\r', '\n'} {
		w.WriteString("\r\n")
	}
	return nil
}

func (c *session) dele(arg string) {
	i, ok := c.message(arg)
	if !ok {
		return
	}
	if c.deleted == nil {
		c.deleted = make(map[int]struct{})
	}
	c.deleted[i] = struct{}{}
	c.okf("message %d deleted", i+1)
}

func (c *session) rset(string) {
	c.deleted = nil
	n, octets := c.count()
	c.okf("nothing is marked; %d messages (%d octets)", n, octets)
}

// update is the UPDATE state (RFC 1939 §6): the one time when messages go.
func (c *session) update() error {
	err := c.drop.Remove(slices.Sorted(maps.Keys(c.deleted)))
	if err == nil {
		c.removed = len(c.deleted)
	}
	return err
}
