// Package logging is how a log line gets from a part of the server to the output: the level of each
// part (levels.go), and the form of a line (output.go).
//
// Levels hold one level for each Part. Configure sets all of them, at the start and at a reload. Set
// changes one until then.
package logging

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
)

// Part is a part of the server with a level of its own.
type Part int

// The parts.
const (
	SMTP     Part = iota // sessions of clients that send mail
	POP3                 // sessions of clients that fetch mail
	Auth                 // logins, bans, directories of accounts
	Policy               // SPF, DKIM, DMARC and other look-ups
	Delivery             // mailboxes, badmail, pickup, notices, deletion by age
	Queue                // mail that waits for other servers
	Outbound             // connections to other servers
	Fetch                // mail that is collected from other servers
	TLS                  // certificates, ACME, handshakes
	Store                // files of mail, recovery
	Admin                // commands of administrators
	Server               // start, reload, stop, and the rest
	NumParts int  = iota
)

var partNames = [NumParts]string{
	SMTP: "smtp", POP3: "pop3", Auth: "auth", Policy: "policy", Delivery: "delivery", Queue: "queue",
	Outbound: "outbound", Fetch: "fetch", TLS: "tls", Store: "store", Admin: "admin",
	Server: "server",
}

// String returns the name of the part, as in the configuration.
func (p Part) String() string { return partNames[p] }

// PartNames returns the names of all parts.
func PartNames() []string { return slices.Clone(partNames[:]) }

// ParsePart finds a part by its name.
func ParsePart(name string) (Part, bool) {
	i := slices.Index(partNames[:], name)
	return Part(i), i >= 0
}

// Word is a level as an administrator writes it; "" is the level of the whole server.
type Word string

// Words are one Word for each part.
type Words [NumParts]Word

// off is above every level.
const off = slog.Level(1 << 20)

// levels are the words and their levels, those of every part first. The others are the logging
// levels of the POP3 service of Windows Server 2003.
var levels = []struct {
	word  Word
	level slog.Level
	pop3  bool // only for POP3
}{
	{"debug", slog.LevelDebug, false},
	{"info", slog.LevelInfo, false},
	{"warn", slog.LevelWarn, false},
	{"error", slog.LevelError, false},
	{"none", off, true},
	{"minimum", slog.LevelError, true},
	{"medium", slog.LevelWarn, true},
	{"maximum", slog.LevelInfo, true},
}

// WordsOf returns the levels that a part may have.
func WordsOf(p Part) []Word {
	var all []Word
	for _, l := range levels {
		if !l.pop3 || p == POP3 {
			all = append(all, l.word)
		}
	}
	return all
}

// wordOf is the word for a level of the whole server.
func wordOf(level slog.Level) Word { return Word(strings.ToLower(level.String())) }

// Level returns the level that a word stands for; base if it is "".
func (w Word) Level(base slog.Level) slog.Level {
	for _, l := range levels {
		if l.word == w {
			return l.level
		}
	}
	return base
}

// Levels are the levels of all parts. They are safe for concurrent use.
type Levels struct {
	now [NumParts]slog.LevelVar // what the handlers read

	mu         sync.Mutex
	words      Words // owner: mu
	configured Words // owner: mu
}

// Configure sets all levels. base is that of parts whose word is "".
func (l *Levels) Configure(base slog.Level, words Words) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p, word := range words {
		if word == "" {
			word = wordOf(base)
		}
		l.words[p], l.configured[p] = word, word
		l.now[p].Set(word.Level(base))
	}
}

// Set sets the level of one part until Configure is called. It returns the level before. An error
// means that the part cannot have the level.
func (l *Levels) Set(p Part, word Word) (before Word, err error) {
	if !slices.Contains(WordsOf(p), word) {
		return "", fmt.Errorf("%q is not a level of %s", word, p)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	before, l.words[p] = l.words[p], word
	l.now[p].Set(word.Level(slog.LevelInfo))
	return before, nil
}

// PartLevel is the level of one part.
type PartLevel struct {
	Part       string `json:"part"`
	Level      Word   `json:"level"`
	Configured Word   `json:"configured"` // the level after a reload or a start
}

// List returns the levels of all parts.
func (l *Levels) List() []PartLevel {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]PartLevel, NumParts)
	for p := range all {
		all[p] = PartLevel{Part(p).String(), l.words[p], l.configured[p]}
	}
	return all
}

// Handler returns a handler for the lines of a part. It passes those of its level on.
func (l *Levels) Handler(p Part, to slog.Handler) slog.Handler {
	return filter{to, &l.now[p]}
}

// filter drops lines below a level.
type filter struct {
	slog.Handler
	level *slog.LevelVar
}

func (f filter) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= f.level.Level() && f.Handler.Enabled(ctx, level)
}

func (f filter) WithAttrs(attrs []slog.Attr) slog.Handler {
	return filter{f.Handler.WithAttrs(attrs), f.level}
}

func (f filter) WithGroup(name string) slog.Handler {
	return filter{f.Handler.WithGroup(name), f.level}
}
