package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// namedCommand is a command of this program that a hint or a note tells a person to type.
var namedCommand = regexp.MustCompile(`'pillarbox ([a-z]+\b[^'\n]*)'`)

// typed changes the commands that a text names so that they work where this one did: with its
// --config, and with the program's path if the shell does not find the program.
func (a *app) typed(text string) string {
	if a.commandConfig() == "" && program() == "pillarbox" {
		return text
	}
	return namedCommand.ReplaceAllStringFunc(text, func(quoted string) string {
		command := strings.TrimSuffix(strings.TrimPrefix(quoted, "'pillarbox "), "'")
		if !strings.Contains(command, "--config") {
			command += a.commandConfig()
		}
		return "'" + program() + " " + command + "'"
	})
}

// commandConfig returns " --config FILE" if this command was given one.
func (a *app) commandConfig() string {
	switch {
	case a.config == a.usualConfig:
		return ""
	case strings.ContainsAny(a.config, " '\"$`\\"):
		return " --config " + strconv.Quote(a.config)
	}
	return " --config " + a.config
}

// program returns the name that starts this program: its path, if the shell does not find the name.
func program() string {
	const name = "pillarbox"
	called := os.Args[0]
	if _, err := exec.LookPath(name); err == nil || filepath.Base(called) != name {
		return name
	}
	return called
}
