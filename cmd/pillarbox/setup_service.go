package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/config"
)

// unitName is the service that the package and 'make install' bring.
const unitName = "pillarbox.service"

// startService starts the installed service, now and at each start of the machine, if systemd runs here. It reports
// whether the service runs. systemctl returns when the server is ready.
func (a *app) startService(f setupFlags) (started bool, err error) {
	if f.noStart || a.config != config.DefaultPath || !hasUnit() {
		return false, nil
	}
	if exec.Command("systemctl", "--quiet", "is-active", unitName).Run() == nil {
		return true, nil
	}
	out, err := exec.Command("systemctl", "enable", "--now", unitName).CombinedOutput()
	if err != nil {
		return false, admin.Hint(fmt.Errorf("the service does not start: %s", lastLine(string(out))),
			"'journalctl -u pillarbox' says why; after mending it: systemctl enable --now pillarbox")
	}
	fmt.Fprintln(a.stdout, "\nThe server runs, and starts with the machine.")
	return true, nil
}

// hasUnit reports whether systemd runs and knows the service.
func hasUnit() bool {
	if _, err := os.Stat("/run/systemd/system"); err != nil || os.Geteuid() != 0 {
		return false
	}
	return exec.Command("systemctl", "cat", unitName).Run() == nil
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}
