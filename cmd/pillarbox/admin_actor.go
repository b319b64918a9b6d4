package main

import (
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/control"
)

// localActor is who runs this process, for the audit log; what he does is added
// to it when that is known.
func localActor(environ []string) admin.Actor {
	env := make(map[string]string)
	for _, line := range environ {
		name, value, _ := strings.Cut(line, "=")
		env[name] = value
	}
	return admin.Actor{Who: localUser(os.Getuid(), env["SUDO_USER"]), From: localPlace(env["SSH_CONNECTION"], terminalName())}
}

// localUser names a user; for root, whoever has become that by sudo too, which
// root could have invented.
func localUser(uid int, sudoUser string) string {
	name := "#" + strconv.Itoa(uid)
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		name = u.Username
	}
	if uid != 0 || sudoUser == "" || sudoUser == name {
		return name
	}
	if _, err := user.Lookup(sudoUser); err != nil {
		return name
	}
	return name + " (sudo by " + sudoUser + ")"
}

// localPlace describes the caller's terminal: "command line, pts/1, 192.0.2.7".
func localPlace(ssh, terminal string) string {
	place := control.CommandLine
	if terminal != "" {
		place += ", " + terminal
	}
	client, _, _ := strings.Cut(ssh, " ")
	if ip, err := netip.ParseAddr(client); err == nil {
		place += ", " + ip.String()
	}
	return place
}

// terminalName is the terminal of this process: "pts/1", or "".
func terminalName() string {
	for _, fd := range []string{"0", "2", "1"} {
		name, err := os.Readlink("/proc/self/fd/" + fd)
		if short, ok := strings.CutPrefix(name, "/dev/"); err == nil && ok && (strings.HasPrefix(short, "pts/") || strings.HasPrefix(short, "tty")) {
			return filepath.Clean(short)
		}
	}
	return ""
}
