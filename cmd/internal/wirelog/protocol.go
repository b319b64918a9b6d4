package wirelog

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"pillarbox/mailstore/dialogue"
)

// ProtocolFormat returns how the files of the protocol log are named and begun: one for each day.
func ProtocolFormat() Format {
	return Format{
		Name: func(at time.Time) string { return at.Local().Format("protocol-2006-01-02.log") },
		Ours: protocolFile.MatchString,
		Header: func(at time.Time) string {
			return "# " + stamp(at) + " what clients (C) and server (S) say; secrets and messages are left out\n"
		},
		Remark: func(at time.Time, n int64) string {
			return fmt.Sprintf("# %s %d lines are missing here\n", stamp(at), n)
		},
	}
}

var protocolFile = regexp.MustCompile(`^protocol-[0-9]{4}-[0-9]{2}-[0-9]{2}\.log$`)

func stamp(at time.Time) string { return at.Format("2006-01-02T15:04:05.000Z07:00") }

// ProtocolLine returns a line of the protocol log, with its line end: time, service, number of the
// session, side, text. The first line of a session has the addresses.
func ProtocolLine(l dialogue.Line) string {
	text := shorten(printable(l.Text, '?'))
	if l.From == dialogue.Note {
		text = fmt.Sprintf("%s, client %s, server %s", text, l.Client.Remote, l.Client.Local)
	}
	return fmt.Sprintf("%s %s %d %c: %s\n",
		stamp(l.Time), l.Client.Service, l.Client.Session, l.From, text)
}

func shorten(text string) string {
	if len(text) <= maxText {
		return text
	}
	return strings.ToValidUTF8(text[:maxText], "") + "…"
}

// printable replaces each character that does not print, and each octet that is no UTF-8. A text of
// a client must not steer a terminal or begin a line.
func printable(text string, with rune) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return with
		}
		return r
	}, text)
}

// Chosen says which clients the protocol log is about. An empty list chooses all.
type Chosen struct {
	Services []string
	Networks []netip.Prefix
}

// Match reports whether a client is chosen by both lists.
func (c Chosen) Match(client *dialogue.Client) bool {
	if len(c.Services) > 0 && !slices.Contains(c.Services, client.Service) {
		return false
	}
	return len(c.Networks) == 0 || slices.ContainsFunc(c.Networks, func(n netip.Prefix) bool {
		return n.Contains(client.Remote.Addr())
	})
}
