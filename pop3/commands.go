package pop3

import (
	"strings"

	"pillarbox/mailstore/auth"
)

// The states of a session in which a command is allowed (RFC 1939 §3). The third, UPDATE, takes
// no commands.
const (
	authorization = 1 << iota
	transaction
)

// A command is one row of the command table.
type command struct {
	states int // in which it is allowed, or-ed
	run    func(c *session, arg string)
}

var commands = map[string]command{
	"CAPA": {authorization | transaction, (*session).capa},
	"NOOP": {transaction, (*session).noop},
	"QUIT": {authorization | transaction, (*session).quit},

	"APOP": {authorization, (*session).apop},
	"AUTH": {authorization, (*session).auth},
	"PASS": {authorization, (*session).pass},
	"STLS": {authorization, (*session).stls},
	"USER": {authorization, (*session).user},
	"UTF8": {authorization, (*session).utf8},

	"DELE": {transaction, (*session).dele},
	"LIST": {transaction, (*session).list},
	"RETR": {transaction, (*session).retr},
	"RSET": {transaction, (*session).rset},
	"STAT": {transaction, (*session).stat},
	"TOP":  {transaction, (*session).top},
	"UIDL": {transaction, (*session).uidl},
}

// execute checks one command line and runs its command.
func (c *session) execute(line string) {
	verb, arg := parse(line)
	cmd, known := commands[verb]
	switch {
	case len(line) > maxCommand && verb != "AUTH":
		c.protocolError("line too long")
	case !known:
		c.protocolError("unknown command")
	case cmd.states&c.state() == 0 && c.drop == nil:
		c.protocolError("log in first")
	case cmd.states&c.state() == 0:
		c.protocolError("you are logged in already")
	default:
		cmd.run(c, arg)
	}
}

func (c *session) state() int {
	if c.drop == nil {
		return authorization
	}
	return transaction
}

// parse splits a command line into the command, in upper case, and its argument. Passwords may
// contain spaces, so the argument of PASS is everything after one space. Other arguments lose the
// spaces around them.
func parse(line string) (verb, arg string) {
	verb, arg, _ = strings.Cut(line, " ")
	verb = strings.ToUpper(verb)
	if verb != "PASS" {
		arg = strings.Trim(arg, " ")
	}
	return verb, arg
}

// capa is CAPA (RFC 2449 §5). In each state it lists the capabilities of both. It leaves out UTF8:
// Evolution 3.36 to 3.48 would send that command without a line end, and wait for the reply.
func (c *session) capa(string) {
	c.sentCAPA = true
	c.ok("what this server can do")
	c.line("TOP")
	c.line("UIDL")
	c.line("PIPELINING")
	c.line("RESP-CODES")
	c.line("AUTH-RESP-CODE")
	c.line("EXPIRE ", c.expire())
	if c.offered(auth.PLAIN) {
		c.line("USER")
	}
	if offers := c.server.auth.Offers(c.client()); c.loginAllowed() && len(offers) > 0 {
		c.line("SASL ", strings.Join(offers, " "))
	}
	if c.offersTLS() {
		c.line("STLS")
	}
	c.line("IMPLEMENTATION Pillarbox")
	c.line(".")
}

// noop is NOOP (RFC 1939 §5).
func (c *session) noop(string) { c.ok("nothing done") }

// quit is QUIT (RFC 1939 §4 to §6). In the TRANSACTION state it removes the marked messages. It
// unlocks the maildrop before it replies, so that a client that reconnects at once does not find it
// in use.
func (c *session) quit(string) {
	c.endReason = "quit"
	if c.drop == nil {
		c.ok("good-bye")
		return
	}
	err := c.update()
	c.closeMaildrop()
	if err != nil {
		c.server.log.Error("pop3: deleted messages not removed",
			"user", c.principal.Address.String(), "error", err)
		c.err("[SYS/TEMP] some deleted messages not removed")
		return
	}
	c.ok("good-bye")
}
