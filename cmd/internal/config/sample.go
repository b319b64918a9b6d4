package config

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp/policy"
)

// fileIntro begins the sample; %s is the list of the keys that need a restart.
const fileIntro = `Configuration of the Pillarbox mail server.

	This file contains every key. A line that begins with "# " shows the default of its key. Only
	hostname is required. After a change, "pillarbox config check" finds every mistake, and
	"pillarbox admin reload" applies the file. These need a restart: %s.

	A size has a unit ("25MiB"), and so has a time ("5m", "90s"). A relative path starts from the
	folder of this file. The environment overrides each key: PILLARBOX_SMTP_MAX_ERRORS=20 sets
	smtp.max_errors, and PILLARBOX_LISTEN_SMTP=":25,:2525" sets a list.

	The names in ("brackets") are former names of a setting: in the documents and the notes.ini of
	Lotus Domino, or on the property pages of the SMTP virtual server (IIS 6) and of Exchange 2003.
	"pillarbox admin reload" replaces "Tell SMTP update config".

	"pillarbox admin explain" shows what the rules decide about a message, and why.

	A host in a list is written as "192.168.1.7", as "192.168.1.0/24", with a mask as "192.168.1.0
	255.255.255.0", as in Domino "[192.168.1.10-19]" or "[192.168.*.*]", by its name in DNS as
	".office.example" or "mx.office.example", as "group:NAME" of [groups], or as "*" for all.

	A sender or recipient is written as "anna@office.example", as a domain with all below it
	"office.example", as the domain alone "@office.example", as the domains below it
	"*.office.example", as "<>" for the null sender, as "group:NAME", or as "*".`

// SampleValues are the values that a new file sets. Every other key is a comment with its default.
// An empty list in Listen turns that service off; Default().Listen has the usual ports.
type SampleValues struct {
	Hostname          addr.Domain
	Data              string // "" for the default
	DefaultDomain     addr.Domain
	Postmaster        addr.Address
	Listen            Listen
	PlaintextNetworks []netip.Prefix
	Like              Like
}

// Like is a mail server of former times whose defaults a new file sets.
type Like string

// LikeDomino relays for hosts of the own domain, and refuses in Domino's words.
const LikeDomino Like = "domino"

// apply sets the defaults in which the former server differs. It leaves out those that would let
// users send as each other: the sender checks stay as they are.
func (l Like) apply(c *Config) {
	if l == LikeDomino {
		c.Policy.Relay.Enforcement.Value = policy.EnforceExternal
		c.Policy.Relay.DominoReplies.Value = true
	}
}

// Render writes a commented configuration file that Load reads back to the same values.
func Render(v SampleValues) []byte {
	c := Default()
	if v.Data != "" {
		c.Data = v.Data
	}
	c.Hostname, c.DefaultDomain, c.Postmaster, c.Listen = v.Hostname, v.DefaultDomain, v.Postmaster, v.Listen
	for _, p := range v.PlaintextNetworks {
		const name = "auth.plaintext_networks"
		c.lines[name] = append(c.lines[name], policy.Line{Text: p.String()})
	}
	v.Like.apply(&c)
	var s sample
	for _, row := range sectionRows() {
		s.section(row, &c)
	}
	for _, t := range tables() {
		s.table(t, &c)
	}
	return s.Bytes()
}

// sample is a configuration file that is being written.
type sample struct{ bytes.Buffer }

// section writes the keys of a section. A key that only has its default is a comment.
func (s *sample) section(row sectionRow, c *Config) {
	standard := Default()
	if row.name == "" {
		s.comment(fmt.Sprintf(row.intro, restartList()))
		s.WriteByte('\n')
	} else {
		s.WriteByte('\n')
		s.comment(row.intro)
		fmt.Fprintf(s, "[%s]\n", row.name)
	}
	for n, k := range row.keys {
		if k.doc != above {
			if n > 0 {
				s.WriteByte('\n')
			}
			s.comment(k.doc)
		}
		if !k.setup && k.show(c) == k.show(&standard) {
			s.WriteString("# ")
		}
		fmt.Fprintf(s, "%s = %s\n", leaf(k.name), k.show(c))
	}
}

// table writes an entry as a comment.
func (s *sample) table(t table, c *Config) {
	s.WriteByte('\n')
	s.comment(t.intro)
	fmt.Fprintf(s, "# [[%s]]\n", t.name)
	_, keys := t.grow(c)
	for _, k := range keys {
		if k.doc != above {
			s.comment(k.doc)
		}
		value := k.sample
		if value == "" {
			value = k.show(c)
		}
		fmt.Fprintf(s, "#   %s = %s\n", leaf(k.name), value)
	}
}

// comment writes paragraphs as comments of at most 78 columns. A paragraph that is indented by
// blanks is an example and keeps its form.
func (s *sample) comment(text string) {
	const width = 78
	if text == "" {
		return
	}
	for n, paragraph := range strings.Split(text, "\n\n") {
		if n > 0 {
			s.WriteString("#\n")
		}
		if example := strings.TrimLeft(paragraph, "\t"); strings.HasPrefix(example, "  ") {
			fmt.Fprintf(s, "# %s\n", example)
			continue
		}
		line := "#"
		for _, word := range strings.Fields(paragraph) {
			if len([]rune(line+" "+word)) > width {
				s.WriteString(line + "\n")
				line = "#"
			}
			line += " " + word
		}
		s.WriteString(line + "\n")
	}
}

// restartList names the keys that need a restart, a whole section as [name].
func restartList() string {
	var names []string
	for _, row := range sectionRows() {
		var some []string
		for _, k := range row.keys {
			if k.restart {
				some = append(some, k.name)
			}
		}
		if len(some) > 0 && len(some) == len(row.keys) {
			some = []string{"[" + row.name + "]"}
		}
		names = append(names, some...)
	}
	return join(names, "and")
}
