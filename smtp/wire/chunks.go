package wire

import (
	"bufio"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"

	"pillarbox/mailstore/dialogue"
	"pillarbox/mailstore/sessions"
)

// chunks reads the data of the BDAT commands of one message (RFC 3030 §2) as one stream. Between
// chunks it reads the commands of the client. Its Read returns io.EOF only after the whole chunk with
// LAST: a connection that breaks never makes a shorter message.
type chunks struct {
	body  *Body
	size  int64 // octets of the current chunk
	left  int64 // octets of it that were not read
	last  bool  // the message ends with it
	after error // returned once the current chunk is read; nil: the next command is read
}

// newChunkedBody begins a message with its first chunk.
func newChunkedBody(c *Conn, bare BareEndings, size int64, last bool) *Body {
	b := newBody(c, bare)
	b.chunks = &chunks{body: b, size: size, left: size, last: last}
	b.in, b.atCRLF, b.atLF = bufio.NewReader(b.chunks), false, false // no dot is special
	return b
}

func (k *chunks) Read(p []byte) (int, error) {
	for k.left == 0 {
		switch {
		case k.last:
			return 0, io.EOF
		case k.after != nil:
			return 0, k.after
		}
		if err := k.next(); err != nil {
			return 0, notYet(err)
		}
	}
	n, err := k.body.c.in.Read(p[:min(int64(len(p)), k.left)])
	k.left -= int64(n)
	return n, notYet(err)
}

// notYet returns the error of a connection that ended before the message did.
func notYet(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// next acknowledges a chunk and reads commands up to the next BDAT. Other commands of a transaction
// are out of sequence. RSET and those that imply it end the message.
func (k *chunks) next() error {
	c := k.body.c
	defer func(verb string) { c.verb = verb }(c.verb) // it is still BDAT that is answered
	c.progress = time.Now()
	c.said.Left(dialogue.FromClient, k.size)
	if err := c.reply(250, "2.0.0 "+strconv.FormatInt(k.size, 10)+" octets received"); err != nil {
		return err
	}
	for {
		line, err := c.readCommand()
		switch {
		case err != nil:
			return err
		case line == nil:
			continue
		}
		switch cmd := parseCommand(string(line)); cmd.verb {
		case "BDAT":
			size, last, ok := parseChunk(cmd.arg)
			if !ok {
				err = c.refuseChunk()
				break
			}
			k.size, k.left, k.last = size, size, last
			c.live.SetState(sessions.Receiving)
			return k.body.setDeadline()
		case "NOOP", "HELP", "VRFY":
			err = c.command(string(line))
		case "RSET", "QUIT", "EHLO", "HELO":
			c.pending = string(line)
			k.after = ErrAborted
			return ErrAborted
		default:
			err = c.refuse(503, "5.5.1 A message is under way; end it with BDAT LAST or RSET")
		}
		if err != nil {
			return err
		}
	}
}

// bdat begins a message with its first chunk. The data of a chunk that cannot be taken is dropped:
// a client that sends ahead must not have it taken for commands.
func (c *Conn) bdat(arg string) error {
	size, last, ok := parseChunk(arg)
	if !ok {
		return c.refuseChunk()
	}
	if c.state.mail && c.state.rcpts > 0 {
		c.chunked = newChunkedBody(c, c.session.BareEndings(), size, last)
		return c.forward("DATA")
	}
	b := newChunkedBody(c, RefuseBare, size, last)
	if err := b.drain(); err != nil {
		return err
	}
	c.said.Left(dialogue.FromClient, b.raw)
	switch {
	case c.state.dropping:
		return c.reply(503, "5.5.1 The message was refused already")
	case !c.state.mail:
		return c.refuse(503, "5.5.1 Need MAIL and RCPT before BDAT")
	}
	return c.refuse(554, "5.5.1 No valid recipients")
}

func (c *Conn) refuseChunk() error { return c.refuse(501, "5.5.4 Syntax: BDAT octets [LAST]") }

// parseChunk parses the argument of BDAT.
func parseChunk(arg string) (size int64, last, ok bool) {
	words := strings.Fields(arg)
	if len(words) == 0 || len(words) > 2 {
		return 0, false, false
	}
	for _, digit := range words[0] {
		if digit < '0' || digit > '9' {
			return 0, false, false
		}
	}
	size, err := strconv.ParseInt(words[0], 10, 64)
	last = len(words) == 2
	return size, last, err == nil && (!last || strings.EqualFold(words[1], "LAST"))
}
