package wire

import (
	"net/netip"
	"slices"
	"strings"

	"pillarbox/mailstore/dialogue"
)

// This file says what a log of the dialogue may show. Lines are shown as the server reads them. A
// client whose login or message was refused may send passwords and text of the message as commands,
// so only what looks like the right argument of a command is shown.

// listen begins to tell the readers of the dialogue, if there are any.
func (c *Conn) listen() {
	if !c.cfg.Tap.Active() {
		return
	}
	local, _ := netip.ParseAddrPort(c.LocalAddr().String()) // the zero value for other networks
	c.said = c.cfg.Tap.Begin(dialogue.Client{
		Service: c.cfg.Service, Session: c.live.ID(), Remote: c.Remote(), Local: local,
	})
}

// sayCommand tells a command line of the client. octets is its length with its line end.
func (c *Conn) sayCommand(line []byte, octets int) {
	if c.said == nil {
		return
	}
	shown := shownLine(string(line))
	if shown.Note != "" {
		octets = 0
	}
	c.said.Command(shown, octets)
}

// bare are commands whose argument is never shown: they have none, or any text.
var bare = []string{
	"DATA", "RSET", "QUIT", "NOOP", "HELP", "STARTTLS", "TURN", "SEND", "SOML", "SAML",
}

func shownLine(line string) dialogue.Shown {
	cmd := parseCommand(line)
	one := cmd.arg != "" && !strings.ContainsAny(cmd.arg, " \t")
	switch cmd.verb {
	case "AUTH":
		return dialogue.Auth(cmd.arg)
	case "HELO", "EHLO":
		name, _, _ := strings.Cut(cmd.arg, " ")
		return dialogue.Shown{Verb: cmd.verb, Arg: printable(name)}
	case "MAIL", "RCPT":
		prefix := map[string]string{"MAIL": "FROM:", "RCPT": "TO:"}[cmd.verb]
		if len(cmd.arg) >= len(prefix) && strings.EqualFold(cmd.arg[:len(prefix)], prefix) {
			return dialogue.Shown{Verb: cmd.verb, Arg: cmd.arg}
		}
		return dialogue.WithoutArg(cmd.verb, cmd.arg)
	case "BDAT":
		if _, _, ok := parseChunk(cmd.arg); ok {
			return dialogue.Shown{Verb: cmd.verb, Arg: cmd.arg}
		}
		return dialogue.WithoutArg(cmd.verb, cmd.arg)
	case "VRFY", "EXPN", "ETRN", "ATRN":
		if one {
			return dialogue.Shown{Verb: cmd.verb, Arg: cmd.arg}
		}
		return dialogue.WithoutArg(cmd.verb, cmd.arg)
	}
	if slices.Contains(bare, cmd.verb) {
		return dialogue.WithoutArg(cmd.verb, cmd.arg)
	}
	return dialogue.Unknown()
}

// sayReply tells a line of a reply. The challenges of a login are not shown.
func (c *Conn) sayReply(code int, separator rune, line string) {
	if c.said == nil {
		return
	}
	prefix := string([]rune{rune('0' + code/100), rune('0' + code/10%10), rune('0' + code%10), separator})
	if code == 334 {
		c.said.Challenge(prefix)
		return
	}
	c.said.Reply(prefix + line)
}

// sayBody tells how much of a body came, before the reply to it.
func (c *Conn) sayBody() {
	if c.said == nil || c.body == nil {
		return
	}
	octets := c.body.raw
	if k := c.body.chunks; k != nil {
		octets = k.size - k.left
	}
	c.said.Left(dialogue.FromClient, octets)
}
