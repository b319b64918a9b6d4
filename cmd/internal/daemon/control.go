package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/config"
	"pillarbox/cmd/internal/control"
	"pillarbox/cmd/internal/logging"
	"pillarbox/mailstore/caught"
)

// running returns the parts of this server that the verbs of package admin use.
func (d *Daemon) running() *admin.Running {
	return &admin.Running{
		Reload: d.Reload, FileChanges: d.fileChanges,
		Queue:      d.queue,
		Delivery:   d.delivery,
		Bans:       d.bans,
		ACME:       d.acme,
		Fetch:      d.fetch,
		TLSClients: d.certs.Clients,
		Suppressed: d.delivery.Suppressed, StartBackup: d.startBackup,
		Probe: d.sender.Probe,

		Version: d.system.Version, Since: d.started, Listeners: d.Addresses, Sessions: &d.sessions,
		Today: d.traffic.Today, Hours: d.traffic.Hours, DiskSamples: d.diskSamples.list,
		Errors: d.recentLog.Entries, LogTail: &d.logTail,
		Levels: &d.levels,
	}
}

// makeControl makes the sockets over which administrators reach the server.
func (d *Daemon) makeControl(*config.Config) (part, error) {
	d.office.Running = d.running()
	var running sync.WaitGroup
	return part{
		name: "control sockets",
		start: func(ctx context.Context) error {
			sockets, err := d.openControl()
			if err != nil {
				return err
			}
			server := control.NewServer(d.office, d.auditFailed)
			running.Go(func() { server.Serve(ctx, sockets...) })
			return nil
		},
		stop: func(context.Context) { running.Wait() },
	}, nil
}

// openControl opens the sockets over which administrators reach the server: the one in the data
// directory and, for operators, operators.socket. The server runs without the second one too.
func (d *Daemon) openControl() ([]net.Listener, error) {
	listen := d.system.Control
	if listen == nil {
		listen = d.lastingControl
	}
	l, err := listen()
	if err != nil {
		return nil, err
	}
	cfg := d.office.Config().Operators
	if !cfg.Enabled {
		return []net.Listener{l}, nil
	}
	operators, err := openLasting(cfg.Socket, func() (net.Listener, error) {
		return openLocal(cfg.Socket, folderOwner(d.office.Root.Name()))
	}, d.socketLost(cfg.Socket))
	if err != nil {
		d.logs[logging.Admin].Warn("operators cannot use 'pillarbox admin' unless they are root",
			append(errorArgs(err), "socket", cfg.Socket)...)
		return []net.Listener{l}, nil
	}
	return []net.Listener{l, operators}, nil
}

// lastingControl is listenControl for a socket that is made again when its file was deleted.
func (d *Daemon) lastingControl() (net.Listener, error) {
	path := control.File(d.office.Root.Name())
	return openLasting(path, d.listenControl, d.socketLost(path))
}

// socketLost logs that the file of a socket was deleted, and whether it could be made again.
func (d *Daemon) socketLost(path string) func(error) {
	return func(err error) {
		if err != nil {
			d.logs[logging.Admin].Error("cannot make a deleted socket again: restart the server",
				"socket", path, "error", err)
			return
		}
		d.logs[logging.Admin].Warn("a deleted socket was made again", "socket", path)
	}
}

// listenControl opens the control socket in the data directory. An old one can only be a leftover:
// this process holds the lock of the data directory.
func (d *Daemon) listenControl() (net.Listener, error) {
	path, done, err := control.Path(d.office.Root.Name())
	if err != nil {
		return nil, err
	}
	defer done()
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// auditFailed logs a failure to write the audit log, and a panic in a verb.
func (d *Daemon) auditFailed(err error) {
	d.logs[logging.Admin].Error("administration", "error", err)
	caught.Log(d.logs[logging.Admin], err, "where the program went wrong with a command of an operator")
}
