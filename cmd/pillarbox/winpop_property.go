package main

import (
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/config"
	"pillarbox/mailstore/directory"
)

// winpopProperty is what became of a property of the old server.
type winpopProperty struct {
	value string // as the old server would have said it, or "-"
	key   string // what stands for it in the configuration; "" for nothing
	why   string // said where there is no key, or besides it
}

// winpopLookup translates a property, in small letters, into the configuration.
func winpopLookup(cfg *config.Config, name string) (winpopProperty, bool) {
	switch name {
	case "auth", "authentication":
		return winpopProperty{oldMethod(cfg.LogIns.Method), "auth.method", "1 is system, 2 is directory, 3 is file; 'pillarbox admin domain method' chooses for one domain"}, true
	case "logging":
		return winpopProperty{oldLogging(cfg.Log.Level), "log.level", ""}, true
	case "mailroot":
		return winpopProperty{filepath.Join(cfg.Data, "mailbox"), "data", "the mail is in 'mailbox' below it"}, true
	case "port":
		return winpopProperty{ports(cfg.Listen.POP3), "listen.pop3", ""}, true
	case "sparequired":
		required := "0"
		if cfg.LogIns.RequireSPA {
			required = "1"
		}
		return winpopProperty{required, "auth.require_spa", ""}, true
	case "socketmax", "socket":
		return winpopProperty{fmt.Sprint(cfg.Limits.Connections), "limits.connections", "more are turned away"}, true
	case "threadcount", "socketmin", "socketthreshold", "socketbacklog":
		return winpopProperty{"-", "", "not needed: the server takes what it needs for each connection"}, true
	}
	return winpopProperty{}, false
}

// oldMethod is the number that winpop had for an authentication method.
func oldMethod(m directory.Method) string {
	switch m {
	case directory.BySystem:
		return "1"
	case directory.ByFile:
		return "3"
	}
	return "2"
}

// oldLogging turns a level into the number that winpop had for it.
func oldLogging(level slog.Level) string {
	switch {
	case level >= slog.LevelError:
		return "1"
	case level >= slog.LevelWarn:
		return "2"
	}
	return "3"
}

func ports(addresses []string) string {
	var all []string
	for _, one := range addresses {
		if _, port, err := net.SplitHostPort(one); err == nil {
			all = append(all, port)
		}
	}
	return wordList(all)
}

func (a *app) winpopProperty(name string) (winpopProperty, *config.Config, error) {
	cfg, err := a.load()
	if err != nil {
		return winpopProperty{}, nil, err
	}
	p, ok := winpopLookup(cfg, name)
	if !ok {
		err = admin.Hint(usageError{fmt.Errorf("winpop: %q is not a property", name)}, "'pillarbox winpop help' lists them")
	}
	return p, cfg, err
}

// winpopGet prints "property: value", and says on the side where it comes from.
func (a *app) winpopGet(name string) error {
	p, cfg, err := a.winpopProperty(name)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "%s: %s\n", name, p.value)
	var where []string
	for _, s := range cfg.Effective() {
		if s.Key == p.key {
			where = append(where, fmt.Sprintf("%s = %s (%s)", s.Key, s.Value, s.Source))
		}
	}
	if p.why != "" {
		where = append(where, p.why)
	}
	a.note("%s", strings.Join(where, "; "))
	return nil
}

// winpopSet changes nothing: the settings are in one commented file, and a
// program that edits it would lose the comments or the administrator's order.
func (a *app) winpopSet(name, value string) error {
	p, _, err := a.winpopProperty(name)
	switch {
	case err != nil:
		return err
	case p.key == "":
		return fmt.Errorf("winpop set %s: there is nothing to set: %s", name, p.why)
	}
	apply := "'pillarbox admin reload'"
	if len(config.RestartKeys([]string{p.key})) > 0 {
		apply = "restart the server"
	}
	line := p.key
	if now := newValue(name, value); now != "" {
		line += " = " + now
	}
	return admin.Hint(fmt.Errorf("winpop set %s: settings are kept in %s, and only there", name, a.config), "edit '%s' in it, then %s", line, apply)
}

// newValue is what stands in the configuration for the number that winpop had for
// a value; "" where it is not one of those.
func newValue(name, value string) string {
	switch name + " " + value {
	case "auth 1", "authentication 1":
		return `"system"`
	case "auth 2", "authentication 2":
		return `"directory"`
	case "auth 3", "authentication 3":
		return `"file"`
	case "sparequired 0":
		return "false"
	case "sparequired 1":
		return "true"
	}
	return ""
}
