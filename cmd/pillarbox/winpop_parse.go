package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// winpopCall is one parsed call of winpop.
type winpopCall struct {
	verb     string   // in lower case, without abbreviation
	target   string   // a domain, a mailbox, or a property in lower case
	password string   // from /createuser or changepwd
	user     string   // from /user: of createquotafile
	values   []string // the new values of a property, from set
	size     string   // from /size: of createquotafile
}

// isMailbox reports whether the target is User@Domain, not Domain.
func (c winpopCall) isMailbox() bool { return strings.Contains(c.target, "@") }

// takeConfig removes --config FILE from the beginning or the end of the arguments. In the middle,
// the text may be a password.
func takeConfig(args []string) (path string, rest []string) {
	for len(args) > 0 {
		first, last := args[0], args[len(args)-1]
		if value, ok := strings.CutPrefix(first, "--config="); ok {
			path, args = value, args[1:]
		} else if first == "--config" && len(args) > 1 {
			path, args = args[1], args[2:]
		} else if value, ok := strings.CutPrefix(last, "--config="); ok {
			path, args = value, args[:len(args)-1]
		} else if len(args) > 1 && args[len(args)-2] == "--config" {
			path, args = last, args[:len(args)-2]
		} else {
			break
		}
	}
	return path, args
}

// parseWinpop parses the arguments of winpop. Keywords and options ignore case.
func parseWinpop(args []string) (winpopCall, error) {
	if len(args) == 0 {
		return winpopCall{}, errors.New("a command is missing")
	}
	call, rest := winpopCall{verb: strings.ToLower(args[0])}, args[1:]
	switch call.verb {
	case "help", "-h", "--help", "/?", "/help":
		return winpopCall{verb: "help"}, nil
	case "add":
		return call.parseAdd(rest)
	case "del":
		call.verb = "delete"
		return call.parseOptional(rest, "/deleteuser")
	case "delete":
		return call.parseOptional(rest, "/deleteuser")
	case "createquotafile":
		return call.parseQuotaFile(rest)
	case "list", "stat":
		return call.parseNames(rest, 0, 1)
	case "lock", "unlock", "migratetoad":
		return call.parseNames(rest, 1, 1)
	case "changepwd":
		return call.parsePassword(rest)
	case "get":
		return call.parseProperty(rest, 1, 1)
	case "set":
		return call.parseProperty(rest, 2, 5)
	}
	return winpopCall{}, fmt.Errorf("%q is not a command", args[0])
}

// parseNames parses a target without options.
func (c winpopCall) parseNames(args []string, low, high int) (winpopCall, error) {
	switch {
	case len(args) < low:
		return c, fmt.Errorf("%s: an argument is missing", c.verb)
	case len(args) > high:
		return c, fmt.Errorf("%s: %q is one argument too many", c.verb, args[high])
	case len(args) > 0 && (strings.HasPrefix(args[0], "/") || strings.HasPrefix(args[0], "--")):
		return c, fmt.Errorf("%s: %q is not an option of it", c.verb, args[0])
	case len(args) > 0:
		c.target = args[0]
	}
	if (c.verb == "createquotafile" || c.verb == "changepwd" || c.verb == "migratetoad") && !c.isMailbox() {
		return c, fmt.Errorf("%s: %q is not User@Domain", c.verb, c.target)
	}
	return c, nil
}

// parseAdd parses the target and, before or after it, /createuser Password.
func (c winpopCall) parseAdd(args []string) (winpopCall, error) {
	var names []string
	for i := 0; i < len(args); i++ {
		if !strings.EqualFold(args[i], "/createuser") {
			names = append(names, args[i])
			continue
		}
		if i++; i == len(args) || args[i] == "" {
			return c, errors.New("add: /createuser lacks the password")
		}
		c.password = args[i]
	}
	c, err := c.parseNames(names, 1, 1)
	if err == nil && c.password != "" && !c.isMailbox() {
		err = fmt.Errorf("add: /createuser is for User@Domain, and %q is a domain", c.target)
	}
	return c, err
}

// parseOptional parses the target and an option. The option has no effect, because a mailbox is its
// own account here.
func (c winpopCall) parseOptional(args []string, option string) (winpopCall, error) {
	names := slices.DeleteFunc(slices.Clone(args), func(arg string) bool { return strings.EqualFold(arg, option) })
	return c.parseNames(names, 1, 1)
}

// parseQuotaFile parses the target, /user:UserName, and /size:Size, which is an addition of this
// server.
func (c winpopCall) parseQuotaFile(args []string) (winpopCall, error) {
	var names []string
	for _, arg := range args {
		option, value, _ := strings.Cut(arg, ":")
		switch strings.ToLower(option) {
		case "/user":
			c.user = value
		case "/size":
			c.size = value
		default:
			names = append(names, arg)
		}
	}
	return c.parseNames(names, 1, 1)
}

func (c winpopCall) parsePassword(args []string) (winpopCall, error) {
	if len(args) > 2 {
		return c, errors.New("changepwd: too many arguments; a password with blanks belongs in quotes")
	}
	if len(args) < 2 || args[1] == "" {
		return c, errors.New("changepwd: it takes User@Domain and the new password")
	}
	c.password = args[1]
	return c.parseNames(args[:1], 1, 1)
}

// parseProperty parses a property and its new values.
func (c winpopCall) parseProperty(args []string, low, high int) (winpopCall, error) {
	if len(args) < low || len(args) > high {
		return c, fmt.Errorf("%s: it takes a property%s", c.verb, map[string]string{"set": " and its value"}[c.verb])
	}
	c.target = strings.ToLower(args[0])
	if len(args) > 1 {
		c.values = args[1:]
	}
	return c, nil
}
