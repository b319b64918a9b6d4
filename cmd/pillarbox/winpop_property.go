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

// winpopProperty is a property of the old server, in the terms of this one.
type winpopProperty struct {
	value string // in the form of the old server, or "-"
	key   string // the key of the configuration; "" if there is none
	why   string // a remark, or the reason why there is no key
}

// winpopLookup looks up a property, which must be in lower case.
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

// oldMethod returns the number of an authentication method in winpop.
func oldMethod(m directory.Method) string {
	switch m {
	case directory.BySystem:
		return "1"
	case directory.ByFile:
		return "3"
	}
	return "2"
}

// oldLogging returns the number of a log level in winpop.
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

// winpopGet prints "property: value", and the origin of the value as a note.
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

// winpopSet changes nothing; its error names the key to edit. A program that edits the file would
// lose the administrator's comments and order.
func (a *app) winpopSet(name, value string) error {
	p, _, err := a.winpopProperty(name)
	switch {
	case err != nil:
		return err
	case p.key == "":
		return fmt.Errorf("winpop set %s: this server has no such setting: %s", name, p.why)
	}
	apply := "'pillarbox admin reload'"
	if len(config.RestartKeys([]string{p.key})) > 0 {
		apply = "restart the server"
	}
	line := p.key
	if now := newValue(name, value); now != "" {
		line += " = " + now
	}
	return admin.Hint(fmt.Errorf("winpop set %s: the settings are only in the file %s", name, a.config), "edit '%s' in it, then %s", line, apply)
}

// newValue returns the value in the configuration for a number of winpop; "" if there is none.
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
