package pop3

import (
	"net/netip"
	"slices"
	"strings"

	"pillarbox/mailstore/dialogue"
)

// This file says what a log of the dialogue may show. A client whose login was refused may send
// passwords as commands, so only what looks like the right argument of a command is shown.

// listen begins to tell the readers of the dialogue, if there are any.
func (c *session) listen(port uint16) {
	if !c.config.Tap.Active() {
		return
	}
	local, _ := netip.ParseAddrPort(c.raw.LocalAddr().String()) // the zero value for other networks
	c.said = c.config.Tap.Begin(dialogue.Client{
		Service: c.service(), Session: c.live.ID(), Remote: netip.AddrPortFrom(c.remote, port),
		Local: local,
	})
}

// sayCommand tells a command line of the client.
func (c *session) sayCommand(line string) {
	if c.said == nil {
		return
	}
	shown, octets := shownLine(line), len(line)+len(crlf)
	if shown.Note != "" {
		octets = 0
	}
	c.said.Command(shown, octets)
}

// sayDone tells the outcome of the command: 200 for +OK, 500 for -ERR.
func (c *session) sayDone() {
	if c.said == nil {
		return
	}
	if c.drop != nil {
		c.said.SetName(c.principal.Address.String())
	}
	status := 200
	if c.refused {
		status = 500
	}
	c.said.Done(status)
}

// numbered are the commands whose arguments are numbers; withoutArg have none that is shown.
var (
	numbered   = []string{"DELE", "LIST", "RETR", "TOP", "UIDL"}
	withoutArg = []string{"CAPA", "NOOP", "PASS", "QUIT", "RSET", "STAT", "STLS", "UTF8"}
)

func shownLine(line string) dialogue.Shown {
	verb, arg := parse(line)
	switch {
	case verb == "AUTH":
		return dialogue.Auth(arg)
	case verb == "PASS":
		return dialogue.Shown{Verb: verb, Note: dialogue.Hidden}
	case verb == "APOP":
		user, _, _ := cutLast(arg, " ")
		if user == arg { // there is one word only: it may be the digest
			user = ""
		}
		return dialogue.Shown{Verb: verb, Arg: user, Note: dialogue.Hidden}
	case verb == "USER":
		return dialogue.Shown{Verb: verb, Arg: arg}
	case slices.Contains(numbered, verb) && strings.Trim(arg, "0123456789 ") == "":
		return dialogue.Shown{Verb: verb, Arg: arg}
	case slices.Contains(numbered, verb), slices.Contains(withoutArg, verb):
		return dialogue.WithoutArg(verb, arg)
	}
	return dialogue.Unknown()
}
