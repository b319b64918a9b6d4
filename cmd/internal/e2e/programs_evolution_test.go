//go:build e2e

package e2e

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pillarbox/etc/lab/mailtest"
)

// evolutionSettings let Evolution be used by its accessibility interface, and without a route to the
// internet.
const evolutionSettings = `[org/gnome/desktop/interface]
toolkit-accessibility=true
[org/gnome/evolution-data-server]
network-monitor-gio-name='always-online'
`

// evolution is a running Evolution.
type evolution struct {
	home string
	env  []string
}

// newEvolution starts Evolution in an empty home. The machine, which must have a network of its own,
// trusts the CA in the file.
func newEvolution(t *testing.T, ca string) *evolution {
	t.Helper()
	mustRun(t, exec.Command("mount", "--bind", ca, "/etc/ssl/certs/ca-certificates.crt"))
	e := &evolution{home: t.TempDir()}
	settings, runtime := filepath.Join(e.home, ".config", "glib-2.0", "settings"), filepath.Join(e.home, "run")
	noError(t, os.MkdirAll(settings, 0o700))
	noError(t, os.Mkdir(runtime, 0o700))
	noError(t, os.WriteFile(filepath.Join(settings, "keyfile"), []byte(evolutionSettings), 0o600))
	e.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + e.home, "XDG_RUNTIME_DIR=" + runtime,
		"LC_ALL=C.UTF-8", "GSETTINGS_BACKEND=keyfile", "DISPLAY=" + newDisplay(t)}
	address, chosen, err := os.Pipe()
	noError(t, err)
	defer address.Close()
	bus := exec.Command("dbus-daemon", "--session", "--nofork", "--print-address=3")
	bus.Env, bus.ExtraFiles = e.env, []*os.File{chosen}
	start(t, bus)
	chosen.Close()
	line, err := bufio.NewReader(address).ReadString('\n')
	noError(t, err)
	e.env = append(e.env, "DBUS_SESSION_BUS_ADDRESS="+strings.TrimSpace(line))
	cmd := exec.Command("evolution")
	cmd.Env = e.env
	start(t, cmd)
	return e
}

// do uses the program; testdata/evolution.py says how.
func (e *evolution) do(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command("/usr/bin/python3", append([]string{"testdata/evolution.py"}, args...)...)
	cmd.Env = e.env
	mustRun(t, cmd)
}

// files returns the texts of files in the home.
func (e *evolution) files(t *testing.T, pattern string) (texts []string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(e.home, pattern))
	noError(t, err)
	for _, name := range names {
		texts = append(texts, read(t, name))
	}
	return texts
}

// needsEvolution skips the test without Evolution and what it needs.
func needsEvolution(t *testing.T) {
	t.Helper()
	needs(t, "evolution", "dbus-daemon", "Xvfb")
	if _, code := run(t, exec.Command("/usr/bin/python3", "-c", "from gi.repository import Atspi")); code != 0 {
		unavailable(t, "Python has no Atspi; .ci/packages.txt lists what these tests need")
	}
}

// TestEvolution: Evolution sets itself up from name and address alone, fetches a message and sends
// one.
func TestEvolution(t *testing.T) {
	needsEvolution(t)
	if !inOwnNetwork(t, officeAddress, hostname, "autoconfig."+domain) {
		return
	}
	o := newOffice(t)
	o.usualPorts(t, "smtp", "submission", "smtps", "pop3", "pop3s")
	o.worksWithEvolution(t, "LOGIN")
}

// TestEvolutionSRV: the same, where the page does not tell the settings, from the SRV records that
// "pillarbox admin dns" lists. Evolution asks for IMAP too, which they say is not there.
func TestEvolutionSRV(t *testing.T) {
	needsEvolution(t)
	if !inOwnNetwork(t, officeAddress, hostname) {
		return
	}
	o := newOffice(t)
	o.usualPorts(t, "smtp", "submission", "smtps", "pop3", "pop3s")
	dns := mailtest.NewDNSAt(t, "127.0.0.1:53")
	zone := o.pillarbox(t, "", "admin", "dns", domain)
	records := regexp.MustCompile(`(?m)^(\S+)\. IN SRV \d+ \d+ (\d+) (\S*)\.$`).FindAllStringSubmatch(zone, -1)
	for _, record := range records {
		port, err := strconv.ParseUint(record[2], 10, 16)
		noError(t, err)
		dns.SetSRV(record[1], record[3], uint16(port))
	}
	resolver := o.path("resolv.conf")
	noError(t, os.WriteFile(resolver, []byte("nameserver 127.0.0.1\n"), 0o644))
	mustRun(t, exec.Command("mount", "--bind", resolver, "/etc/resolv.conf"))
	o.worksWithEvolution(t, "PLAIN", "Receiving Email", "Receiving Options", "Sending Email")
	for _, service := range []string{"_pop3s", "_submissions", "_imaps"} {
		if dns.Asked(service+"._tcp."+domain, "SRV") == 0 {
			t.Errorf("Evolution does not ask for %s", service)
		}
	}
}

// worksWithEvolution checks that Evolution finds the account of anna and uses it. It shows the pages
// with what it has found, and sends with a login by the mechanism.
func (o *office) worksWithEvolution(t *testing.T, mechanism string, pages ...string) {
	t.Helper()
	s := o.serve(t)
	s.wantLog(t, "certificate renewed with new names")
	e := newEvolution(t, o.ca)
	e.do(t, append([]string{"setup", "Anna Müller", anna}, pages...)...)
	for _, want := range [][]string{
		{"BackendName=pop", "Host=" + hostname, "Port=995", "User=" + anna, "Method=ssl-on-alternate-port"},
		{"BackendName=smtp", "Host=" + hostname, "Port=465", "User=" + anna, "Method=ssl-on-alternate-port", "Method=" + mechanism},
		{"Address=" + anna, "Name=Anna Müller"},
	} {
		eventually(t, "an account with "+strings.Join(want, ", "), func() bool {
			return slices.ContainsFunc(e.files(t, ".config/evolution/sources/*"), func(source string) bool {
				lines := strings.Split(source, "\n")
				return !slices.ContainsFunc(want, func(line string) bool { return !slices.Contains(lines, line) })
			})
		})
	}

	o.deliver(t, letter("for Evolution"), anna)
	e.do(t, "fetch", annaPassword)
	eventually(t, "the message is in Evolution", func() bool {
		inbox := e.files(t, ".local/share/evolution/mail/local/cur/*")
		return len(inbox) == 1 && strings.Contains(inbox[0], "the end of for Evolution")
	})
	s.wantLog(t, `msg="pop3 session ended" user=`+anna+` remote_ip=`+officeAddress+` tls=true reason=quit retrieved=1 deleted=1`)

	e.do(t, "send", boss, "from Evolution", annaPassword)
	eventually(t, "the message has arrived", func() bool { return len(o.files(t, boss)) == 1 })
	for _, part := range []string{"Subject: from Evolution", "(authenticated as " + anna + ")", "(TLS 1.3 "} {
		if sent := o.stored(t, boss)[0]; !strings.Contains(sent, part) {
			t.Errorf("no %q in the message\n%s", part, sent)
		}
	}
}
