// Package dialogue passes on what clients and servers say to each other, line by line and command
// by command, for the logs that an administrator turns on. It is the one place where SMTP and POP3
// sessions can be listened to.
//
// Start with Tap. A server calls Tap.Begin for each connection and tells the Session what is said.
// A Session is nil if no Reader wants the connection; all its methods take a nil Session, and a
// server that is not listened to pays for a comparison only.
//
// The servers decide what may be shown. They pass neither a secret nor text of a message: Continue,
// Challenge and Left stand for those.
package dialogue

import (
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"
)

// Client is one connection of a client.
type Client struct {
	Service string // the key under [listen]
	Session uint64 // its number in package sessions
	Remote  netip.AddrPort
	Local   netip.AddrPort // the address of the server; the zero value if there is none
}

// Line is one line of the dialogue. Text in brackets stands for what is not shown. The rest of Text
// is as the client sent it, so it may have control characters.
type Line struct {
	Time   time.Time
	Client *Client
	From   Side
	Text   string
}

// Side is who says a line.
type Side byte

// The sides. A note is about the connection.
const (
	FromClient Side = 'C'
	FromServer Side = 'S'
	Note       Side = '-'
)

// Command is a command with its outcome.
type Command struct {
	Client    *Client
	Begun     time.Time
	Taken     time.Duration
	Name      string // of HELO by SMTP, of the mailbox by POP3; "" before
	Verb, Arg string // Verb is "" for a line that is no command
	Status    int    // the reply code by SMTP, 200 or 500 for +OK and -ERR; 0: no reply
	In, Out   int64  // octets; those of secrets are not counted
}

// Reader gets what is said. Its methods are called from the goroutines of the sessions, so they must
// not wait. It must not change the Client.
type Reader interface {
	Wants(*Client) bool
	Line(Line)
	Command(*Command)
}

// Tap is where the servers ask who listens. The zero value has no readers. It is safe for concurrent
// use.
type Tap struct{ readers atomic.Pointer[[]Reader] }

// SetReaders replaces the readers, for connections that begin later.
func (t *Tap) SetReaders(all ...Reader) { t.readers.Store(&all) }

// Active reports whether there are readers, so that a server need not collect what Begin wants.
func (t *Tap) Active() bool {
	if t == nil {
		return false
	}
	all := t.readers.Load()
	return all != nil && len(*all) > 0
}

// Begin begins the dialogue with a client. It returns nil if no reader wants it. A nil Tap has no
// readers.
func (t *Tap) Begin(c Client) *Session {
	if !t.Active() {
		return nil
	}
	s := &Session{client: c}
	for _, r := range *t.readers.Load() {
		if r.Wants(&s.client) {
			s.readers = append(s.readers, r)
		}
	}
	if s.readers == nil {
		return nil
	}
	s.Note("connected")
	return s
}

// Session is the dialogue with one client. Its methods are called from one goroutine at a time.
type Session struct {
	client  Client
	readers []Reader
	name    string
	command *Command // without an outcome so far; nil: none
}

// Shown is what a log may show of a line from a client.
type Shown struct {
	Verb, Arg string
	Note      string // for what is not shown: "[hidden]"; ""
}

// Hidden stands for a secret. It does not tell the length, which would help to guess it.
const Hidden = "[hidden]"

// text is the line as it is shown.
func (l Shown) text() string {
	text := l.Verb
	for _, part := range []string{l.Arg, l.Note} {
		if text != "" && part != "" {
			text += " "
		}
		text += part
	}
	return text
}

// Command tells a command. octets is its length with its line end; 0 takes the length of what is
// shown, so that the length of a secret is not told.
func (s *Session) Command(line Shown, octets int) {
	if s == nil {
		return
	}
	s.Done(0)
	if octets == 0 {
		octets = len(line.Verb) + len(line.Arg)
	}
	now := s.line(FromClient, line.text())
	s.command = &Command{
		Client: &s.client, Begun: now, Name: s.name, Verb: line.Verb, Arg: line.Arg, In: int64(octets),
	}
}

// Continue tells a response of the client in a login.
func (s *Session) Continue() {
	if s != nil {
		s.line(FromClient, Hidden)
	}
}

// Reply tells a line of the server.
func (s *Session) Reply(text string) {
	if s == nil {
		return
	}
	s.line(FromServer, text)
	s.count(FromServer, int64(len(text)+len("\r\n")))
}

// Challenge tells a line of the server in a login. begin is how it begins.
func (s *Session) Challenge(begin string) {
	if s != nil {
		s.line(FromServer, begin+Hidden)
	}
}

// Left tells that octets of a message or of a list were sent, which are not shown.
func (s *Session) Left(from Side, octets int64) {
	if s == nil {
		return
	}
	s.line(from, "["+strconv.FormatInt(octets, 10)+" octets]")
	s.count(from, octets)
}

// Done tells the outcome of the latest command: a reply code, or 0 if there was none.
func (s *Session) Done(status int) {
	if s == nil || s.command == nil {
		return
	}
	c := s.command
	s.command = nil
	c.Status, c.Taken = status, time.Since(c.Begun)
	if s.name != "" {
		c.Name = s.name
	}
	for _, r := range s.readers {
		r.Command(c)
	}
}

// SetName tells the name of the client: of HELO by SMTP, of its mailbox by POP3.
func (s *Session) SetName(name string) {
	if s != nil {
		s.name = name
	}
}

// Note tells something about the connection.
func (s *Session) Note(text string) {
	if s != nil {
		s.line(Note, text)
	}
}

// End ends the dialogue. A command in progress has no outcome.
func (s *Session) End() {
	if s == nil {
		return
	}
	s.Done(0)
	s.Note("closed")
}

func (s *Session) line(from Side, text string) time.Time {
	now := time.Now()
	for _, r := range s.readers {
		r.Line(Line{Time: now, Client: &s.client, From: from, Text: text})
	}
	return now
}

// count adds octets to the command in progress.
func (s *Session) count(from Side, octets int64) {
	switch {
	case s.command == nil:
	case from == FromClient:
		s.command.In += octets
	default:
		s.command.Out += octets
	}
}
