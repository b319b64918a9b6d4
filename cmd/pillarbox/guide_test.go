package main

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pillarbox/cmd/internal/config"
)

var (
	codeSpan  = regexp.MustCompile("`([^`]+)`")
	dottedKey = regexp.MustCompile(`^([a-z0-9_]+(?:\.[a-z0-9_]+)+)(?: = (.+))?$`)
	tableKey  = regexp.MustCompile(`^\[\[(route|fetch|directory)\]\] ([a-z0-9_]+)$`)
)

// guideTest knows the keys and commands that a guide may name.
type guideTest struct {
	keys     []string // smtp.max_hops, route[1].hold
	sections []string // smtp
}

func newGuideTest(t *testing.T) *guideTest {
	g := new(guideTest)
	for _, line := range keysAndDefaults(t) {
		name := strings.Fields(line)[1]
		g.keys = append(g.keys, name)
		if section, _, ok := strings.Cut(name, "."); ok {
			g.sections = append(g.sections, section)
		}
	}
	return g
}

// checked reports whether the text is a key or a command, and what is wrong with it.
func (g *guideTest) checked(t *testing.T, text string) (bool, error) {
	if command, ok := strings.CutPrefix(text, "pillarbox "); ok {
		return true, checkCommand(command)
	}
	if found := tableKey.FindStringSubmatch(text); found != nil {
		return true, g.checkKey(found[1] + "[1]." + found[2])
	}
	found := dottedKey.FindStringSubmatch(text)
	switch {
	case found == nil:
		return slices.Contains(g.keys, text), nil
	case !slices.Contains(g.sections, strings.Split(text, ".")[0]), strings.HasSuffix(text, ".json"):
		return false, nil
	case found[2] == "":
		return true, g.checkKey(found[1])
	}
	return true, errors.Join(g.checkKey(found[1]), loadLine(t, text))
}

func (g *guideTest) checkKey(name string) error {
	if !slices.Contains(g.keys, name) {
		return errors.New("there is no such key")
	}
	return nil
}

// loadLine loads a file with this line.
func loadLine(t *testing.T, line string) error {
	file := filepath.Join(t.TempDir(), "pillarbox.toml")
	text := "hostname = \"mail.office.example\"\n" + line + "\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := config.Load(file, nil)
	return err
}

// checkCommand finds the command and its flags in the tree of commands.
func checkCommand(text string) error {
	cmd, rest, err := new(app).rootCommand().Find(strings.Fields(text))
	if err != nil {
		return err
	}
	for _, word := range rest {
		if name, ok := strings.CutPrefix(word, "--"); ok {
			name, _, _ = strings.Cut(name, "=")
			if name != "help" && cmd.Flag(name) == nil && cmd.InheritedFlags().Lookup(name) == nil {
				return errors.New("the command has no flag " + word)
			}
		} else if cmd.HasSubCommands() {
			return errors.New(cmd.CommandPath() + " has no command " + word)
		}
	}
	return nil
}

// Every key and every command that a guide names exists, and the values that it gives are right.
func TestGuides(t *testing.T) {
	g := newGuideTest(t)
	guides, err := filepath.Glob("../../etc/docs/*.md")
	if err != nil || len(guides) < 9 {
		t.Fatal(guides, err)
	}
	for _, guide := range append(guides, "../../README.md") {
		text, err := os.ReadFile(guide)
		if err != nil {
			t.Fatal(err)
		}
		for n, line := range strings.Split(string(text), "\n") {
			for _, span := range codeSpan.FindAllStringSubmatch(line, -1) {
				if _, err := g.checked(t, span[1]); err != nil {
					t.Errorf("%s:%d: %s: %v", filepath.Base(guide), n+1, span[1], err)
				}
			}
		}
	}
}

// withoutKey are the beginnings of a cell that names no key: the thing is always so, is the same, or
// is not here.
var withoutKey = []string{"always", "the same", "not here", "the journal", "the session", "needed to send",
	"accepted", "`badmail`"}

// Each row of coming-from.md names a key or a command that exists, or says that there is none. If
// there is none, the last column says why.
func TestComingFrom(t *testing.T) {
	g := newGuideTest(t)
	text, err := os.ReadFile("../../etc/docs/coming-from.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for n, line := range strings.Split(string(text), "\n") {
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		if !strings.HasPrefix(line, "| ") || len(cells) > 1 && cells[1] == "here" {
			continue
		}
		rows++
		here := cells[min(1, len(cells)-1)]
		if strings.HasPrefix(here, "not here") && (len(cells) < 3 || len(cells[2]) < 20) {
			t.Errorf("line %d: no reason why %s is not here", n+1, cells[0])
		}
		if slices.ContainsFunc(withoutKey, func(s string) bool { return strings.HasPrefix(here, s) }) {
			continue
		}
		known := false
		for _, span := range codeSpan.FindAllStringSubmatch(here, -1) {
			found, _ := g.checked(t, span[1])
			known = known || found
			if !found {
				t.Errorf("line %d: %s is neither a key nor a command", n+1, span[1])
			}
		}
		if !known {
			t.Errorf("line %d: %q names no key and no command", n+1, here)
		}
	}
	if rows < 100 {
		t.Errorf("%d rows", rows)
	}
}
