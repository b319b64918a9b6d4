package daemon

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"pillarbox/cmd/internal/config"
)

// makeReporter makes the part that tells systemd how the server is.
func (d *Daemon) makeReporter(*config.Config) (part, error) {
	var running sync.WaitGroup
	return part{
		name: "reporter",
		start: func(ctx context.Context) error {
			if d.system.UnusedSockets != nil {
				for _, address := range d.system.UnusedSockets() {
					d.log.Warn("a socket from systemd is not used", "address", address,
						"hint", "remove it from pillarbox.socket, or name the address in [listen]")
				}
			}
			d.system.Reporter.Ready()
			running.Go(func() { d.system.Reporter.Run(ctx, d.serviceStatus) })
			return nil
		},
		stop: func(context.Context) {
			d.system.Reporter.Stopping()
			running.Wait()
		},
	}, nil
}

// serviceStatus is the line that 'systemctl status' shows. It takes the locks that sessions and the queue work
// with, and never waits for the disk: it is the sign of life for the watchdog.
func (d *Daemon) serviceStatus() string {
	m := d.readMemory()
	if reasons := d.unready(); len(reasons) > 0 {
		return "takes no mail: " + strings.Join(reasons, "; ")
	}
	sessions := 0
	for _, open := range m.Sessions {
		sessions += open
	}
	return fmt.Sprintf("serves; sessions: %d, messages in the queue: %d", sessions, m.Queue.Messages)
}
