//go:build e2e

package e2e

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// officeAddress is where programs find the server in a network of its own.
const officeAddress = "203.0.113.25"

// usualPorts lets the server listen on the ports that programs expect. Only a test in a network of
// its own may do that.
func (o *office) usualPorts(t *testing.T, services ...string) {
	t.Helper()
	ports := map[string]string{"smtp": "25", "submission": "587", "smtps": "465", "pop3": "110", "pop3s": "995"}
	for service := range o.listen {
		o.set(t, "listen", service, "[]")
	}
	for _, service := range services {
		o.listen[service] = "127.0.0.1:" + ports[service]
		o.set(t, "listen", service, `[":`+ports[service]+`"]`)
	}
	o.set(t, "listen", "web", `[":443"]`)
}

// newDisplay starts an X server without a screen, and returns its name.
func newDisplay(t *testing.T) string {
	t.Helper()
	needs(t, "Xvfb")
	number, chosen, err := os.Pipe()
	noError(t, err)
	defer number.Close()
	cmd := exec.Command("Xvfb", "-displayfd", "3", "-screen", "0", "1280x1024x24", "-nolisten", "tcp")
	cmd.ExtraFiles = []*os.File{chosen}
	start(t, cmd)
	chosen.Close()
	line, err := bufio.NewReader(number).ReadString('\n')
	noError(t, err)
	return ":" + strings.TrimSpace(line)
}

// start starts a program, and ends it with all that it has started at the end of the test. It logs
// what they say if the test fails.
func start(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	said, err := os.CreateTemp(t.TempDir(), "said")
	noError(t, err)
	cmd.Stdout, cmd.Stderr = said, said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	noError(t, cmd.Start())
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) // an X server removes its lock then
		over := time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() })
		cmd.Wait()
		over.Stop()
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		said.Close()
		if t.Failed() {
			t.Logf("%s says:\n%s", cmd.Args[0], tail(read(t, said.Name()), 40))
		}
	})
}
