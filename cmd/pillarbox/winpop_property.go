package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/config"
	"pillarbox/cmd/internal/logging"
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
		return winpopProperty{oldLogging(cfg), "log.levels.pop3", ""}, true
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
		return winpopProperty{fmt.Sprint(socketMax(&cfg.Limits)), "limits.pop3_connections", "more are turned away; limits.connections is for all services together"}, true
	case "threadcount", "socketmin", "socketthreshold", "socketbacklog":
		return winpopProperty{"-", "", "not needed: the server takes what it needs for each connection"}, true
	}
	return winpopProperty{}, false
}

// socketMax returns the largest number of connections of the POP3 service.
func socketMax(limits *config.Limits) int {
	if limits.POP3 > 0 {
		return min(limits.POP3, limits.Connections)
	}
	return limits.Connections
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

// oldLogging returns the number of the log level of POP3 in winpop.
func oldLogging(cfg *config.Config) string {
	level := cfg.Log.Levels[logging.POP3].Level(cfg.Log.Level)
	switch {
	case level > slog.LevelError:
		return "0"
	case level == slog.LevelError:
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

// winpopSet writes the key of a property into the configuration, says how a running server takes it,
// and prints the notes of 'config check', such as that a reload would lock out mailboxes.
func (a *app) winpopSet(ctx context.Context, name string, values []string) error {
	p, cfg, err := a.winpopProperty(name)
	switch {
	case err != nil:
		return err
	case p.key == "":
		return fmt.Errorf("winpop set %s: this server has no such setting: %s", name, p.why)
	}
	value, err := newValue(cfg, name, values)
	if err != nil {
		return admin.Hint(usageError{fmt.Errorf("winpop set %s: %w", name, err)}, "'pillarbox winpop help' shows the syntax")
	}
	in := admin.SettingToWrite{File: a.config, Environ: os.Environ(), Key: p.key, Value: value}
	done, err := callOnFiles(ctx, a, admin.SettingWrite, in, a.tell)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "%s: %s = %s (it was %s)\n", done.File, done.Key, value, done.Before)
	switch {
	case done.Overridden != "":
		a.note("the variable %s overrides it: the value in use is still %s", done.Overridden, done.After)
	case done.Restart:
		a.note("a running server takes it when it is restarted: 'systemctl restart pillarbox'")
	default:
		a.note("a running server takes it at 'pillarbox admin reload'")
	}
	next, err := a.load()
	if err != nil {
		return err
	}
	for _, warning := range a.configWarnings(next) {
		a.note("%s", warning)
	}
	return nil
}

// newValue returns the value in the configuration, in TOML, for the values of a property.
func newValue(cfg *config.Config, name string, values []string) (string, error) {
	value := values[0]
	if name == "socket" && len(values) > 1 {
		value = values[1] // after the backlog comes the maximum
	}
	words := map[string]map[string]string{
		"auth":           {"1": `"system"`, "2": `"directory"`, "3": `"file"`},
		"authentication": {"1": `"system"`, "2": `"directory"`, "3": `"file"`},
		"logging":        {"0": `"none"`, "1": `"minimum"`, "2": `"medium"`, "3": `"maximum"`},
		"sparequired":    {"0": "false", "1": "true"},
	}[name]
	number, err := strconv.ParseUint(value, 10, 31)
	switch {
	case words != nil && words[value] != "":
		return words[value], nil
	case name == "mailroot":
		return newMailroot(value)
	case words != nil || err != nil:
		return "", fmt.Errorf("%q is not one of its values", value)
	case name == "port":
		return newPorts(cfg.Listen.POP3, number)
	}
	return fmt.Sprint(number), nil
}

// newPorts returns the addresses with another port. Several of one host become one.
func newPorts(addresses []string, port uint64) (string, error) {
	if port == 0 || port > 65535 {
		return "", fmt.Errorf("%d is not a port", port)
	}
	var all []string
	for _, one := range addresses {
		host, _, err := net.SplitHostPort(one)
		if next := strconv.Quote(net.JoinHostPort(host, fmt.Sprint(port))); err == nil && !slices.Contains(all, next) {
			all = append(all, next)
		}
	}
	if len(all) == 0 {
		all = []string{strconv.Quote(":" + fmt.Sprint(port))}
	}
	return "[" + strings.Join(all, ", ") + "]", nil
}

// newMailroot returns the data directory for a mail root. The mail must be there already: with an
// empty directory the server would begin anew.
func newMailroot(root string) (string, error) {
	data := filepath.Clean(root)
	if filepath.Base(data) == "mailbox" {
		data = filepath.Dir(data)
	}
	if fi, err := os.Stat(filepath.Join(data, "mailbox")); err != nil || !fi.IsDir() {
		return "", fmt.Errorf("there is no mail in %s: stop the server, move the whole data directory there, then repeat the command", data)
	}
	if !filepath.IsAbs(data) {
		return "", fmt.Errorf("%s is not a whole path", root)
	}
	return strconv.Quote(data), nil
}
