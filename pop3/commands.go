package pop3

import (
	"strings"

	"pillarbox/mailstore/auth"
)

// The states of a session (RFC 1939 §3) in which a command is permitted. There
// is no UPDATE state to send commands in.
const (
	authorization = 1 << iota
	transaction
)

type command struct {
	states int
	run    func(c *session, arg string)
}

var commands = map[string]command{
	"CAPA": {authorization | transaction, (*session).capa},
	"NOOP": {transaction, (*session).noop},
	"QUIT": {authorization | transaction, (*session).quit},

	"APOP": {authorization, (*session).apop},
	"AUTH": {authorization, (*session).authenticate},
	"PASS": {authorization, (*session).pass},
	"STLS": {authorization, (*session).stls},
	"USER": {authorization, (*session).userName},
	"UTF8": {authorization, (*session).utf8},

	"DELE": {transaction, (*session).dele},
	"LIST": {transaction, (*session).list},
	"RETR": {transaction, (*session).retr},
	"RSET": {transaction, (*session).rset},
	"STAT": {transaction, (*session).stat},
	"TOP":  {transaction, (*session).top},
	"UIDL": {transaction, (*session).uidl},
}

// execute answers one command line.
func (c *session) execute(line string) {
	verb, arg := parse(line)
	cmd, known := commands[verb]
	switch {
	case len(line) > maxCommand && verb != "AUTH":
		c.senseless("line too long")
	case !known:
		c.senseless("unknown command")
	case cmd.states&c.state() == 0 && c.drop == nil:
		c.senseless("log in first")
	case cmd.states&c.state() == 0:
		c.senseless("you are logged in already")
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

// parse splits a command line. The argument of PASS is all that follows one
// space, for passwords have spaces too; elsewhere spaces around do not count.
func parse(line string) (verb, arg string) {
	verb, arg, _ = strings.Cut(line, " ")
	verb = strings.ToUpper(verb)
	if verb != "PASS" {
		arg = strings.Trim(arg, " ")
	}
	return verb, arg
}

// capa lists the capabilities (RFC 2449 §5): those of both states, in both.
func (c *session) capa(string) {
	c.asked = true
	c.ok("what this server can do")
	c.line("TOP")
	c.line("UIDL")
	c.line("PIPELINING")
	c.line("RESP-CODES")
	c.line("AUTH-RESP-CODE")
	c.line("EXPIRE ", c.expire())
	c.line("UTF8")
	if c.offered(auth.PLAIN) {
		c.line("USER")
	}
	if offers := c.server.auth.Offers(c.client()); c.mayLogIn() && len(offers) > 0 {
		c.line("SASL ", strings.Join(offers, " "))
	}
	if c.mayStartTLS() {
		c.line("STLS")
	}
	c.line("IMPLEMENTATION Pillarbox")
	c.line(".")
}

func (c *session) noop(string) { c.ok("nothing done") }

// quit removes what is marked, when there is a maildrop, and unlocks it before
// the reply: a client that comes back at once must not find itself in its way.
func (c *session) quit(string) {
	c.over = "quit"
	if c.drop == nil {
		c.ok("good-bye")
		return
	}
	err := c.update()
	c.release()
	if err != nil {
		c.server.log.Error("pop3: deleted messages not removed", "user", c.principal.Address.String(), "error", err)
		c.err("[SYS/TEMP] some deleted messages not removed")
		return
	}
	c.ok("good-bye")
}
