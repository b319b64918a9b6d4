package remote

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// pump holds the buffers for sending a message.
type pump struct {
	in  []byte
	out stuffer
}

const pumpSize = 32 << 10

func newPump() *pump {
	return &pump{in: make([]byte, pumpSize), out: stuffer{buf: make([]byte, 0, pumpSize)}}
}

// stuffer doubles dots at the beginning of lines (RFC 5321 §4.5.2) and passes the text on in large
// blocks.
type stuffer struct {
	flush func([]byte) error
	buf   []byte
	last  [2]byte // the last octets written
}

func (s *stuffer) reset(flush func([]byte) error) {
	s.flush, s.buf, s.last = flush, s.buf[:0], [2]byte{'\r', '\n'}
}

var lineDot = []byte("\n.")

// Write takes the next piece of the message, split anywhere.
func (s *stuffer) Write(p []byte) (int, error) {
	n := len(p)
	if n == 0 {
		return 0, nil
	}
	last := s.last
	if n > 1 {
		last[0] = p[n-2]
	} else {
		last[0] = last[1]
	}
	last[1] = p[n-1]
	if s.last[1] == '\n' && p[0] == '.' {
		if err := s.put(lineDot[1:]); err != nil {
			return 0, err
		}
	}
	for {
		i := bytes.Index(p, lineDot)
		if i < 0 {
			break
		}
		if err := s.put(p[:i+2]); err != nil {
			return 0, err
		}
		p = p[i+1:] // repeat its dot
	}
	s.last = last
	return n, s.put(p)
}

// end writes the final dot on a line of its own.
func (s *stuffer) end() error {
	end := "\r\n.\r\n"
	if s.last == [2]byte{'\r', '\n'} {
		end = end[2:]
	}
	if err := s.put([]byte(end)); err != nil {
		return err
	}
	return s.send()
}

func (s *stuffer) put(p []byte) error {
	for len(p) > cap(s.buf)-len(s.buf) {
		room := cap(s.buf) - len(s.buf)
		s.buf = append(s.buf, p[:room]...)
		p = p[room:]
		if err := s.send(); err != nil {
			return err
		}
	}
	s.buf = append(s.buf, p...)
	return nil
}

func (s *stuffer) send() error {
	err := s.flush(s.buf)
	s.buf = s.buf[:0]
	return err
}

// errSource is the class of errors of our own storage.
var errSource = errors.New("the message cannot be read")

// body sends the message and reads the replies to it. An error means that the connection is
// unusable. The results are set in any case.
func (t *transaction) body(src io.Reader) error {
	p := t.remote.pumps.Get().(*pump)
	defer t.remote.pumps.Put(p)
	p.out.reset(func(block []byte) error {
		t.deadline(blockTimeout)
		_, err := t.net.Write(block)
		return err
	})
	switch err := t.write(p, src); {
	case errors.Is(err, errSource):
		t.to = t.accepted
		t.unreadable(err)
		return errGone
	case err != nil:
		t.brokenBody(err)
		return errGone
	}
	return t.confirm()
}

func (t *transaction) write(p *pump, src io.Reader) error {
	if _, err := p.out.Write(t.text.signature); err != nil {
		return err
	}
	if t.text.convert {
		if err := t.d.content.convert(&p.out, src, t.text.sevenBit); err != nil {
			return err
		}
	} else if err := p.copy(src, t.text.size-int64(len(t.text.signature))); err != nil {
		return err
	}
	t.sent.Store(true)
	return p.out.end()
}

// copy sends src to its end, which must not come before size octets.
func (p *pump) copy(src io.Reader, size int64) error {
	for {
		n, err := src.Read(p.in)
		if _, err := p.out.Write(p.in[:n]); err != nil {
			return err
		}
		size -= int64(n)
		switch {
		case errors.Is(err, io.EOF) && size > 0:
			return fmt.Errorf("%w: %d octets are missing", errSource, size)
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return errors.Join(errSource, err)
		}
	}
}

// brokenBody handles a server that stopped reading the message. It may have sent a reason, for
// example that the message is too large.
func (t *transaction) brokenBody(err error) {
	result := t.connectionLost("sent the message", err).result()
	if t.lastWords() && t.reply.read(t.in, nil) == nil && t.reply.code >= 400 {
		result = t.result()
	}
	t.settle(t.accepted, result)
}

// confirm reads the reply to the message, with LMTP one per recipient (RFC 2033 §4.2). Without a
// reply the message is deferred. It may then arrive twice, which is better than losing it (RFC 5321
// §6.1, RFC 1047).
func (t *transaction) confirm() error {
	replies := 1
	if t.route.LMTP {
		replies = len(t.accepted)
	}
	for i := range replies {
		t.deadline(finalTimeout)
		if err := t.reply.read(t.in, nil); err != nil {
			lost := t.connectionLost("waited for its reply to the message, which may now come twice", err)
			t.settle(t.accepted[i:], lost.result())
			return errGone
		}
		result := t.result()
		if t.reply.code == 421 || t.reply.code/100 == 3 {
			t.settle(t.accepted[i:], result)
			return errGone
		}
		if replies == 1 {
			t.settle(t.accepted, result)
		} else {
			t.d.results[t.accepted[i]] = result
		}
	}
	return nil
}
