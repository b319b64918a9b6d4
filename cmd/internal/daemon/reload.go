package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"pillarbox/cmd/internal/config"
)

// ReloadResult is the result of a reload.
type ReloadResult struct {
	Changed  []string `json:"changed"`            // keys with another value
	Restart  []string `json:"restart"`            // changed keys that need a restart
	Warnings []string `json:"warnings,omitempty"` // see warnOfSettings
	Error    string   `json:"error,omitempty"`    // why the reload was refused
}

// Reload reads the configuration and the certificate's files again. New connections get the new
// configuration. A bad configuration is refused and changes nothing.
func (d *Daemon) Reload() ReloadResult {
	d.reloading.Lock()
	defer d.reloading.Unlock()
	result, err := d.reload()
	if err != nil {
		d.log.Error("reload: nothing changed", "error", err)
		return ReloadResult{Changed: []string{}, Restart: []string{}, Error: err.Error()}
	}
	d.log.Info("reloaded", "changed", result.Changed)
	result.Warnings = d.warnOfSettings()
	if err := d.adoptNames(); err != nil {
		d.log.Error("reload: some directories could not be renamed", "error", err)
	}
	if len(result.Restart) > 0 {
		d.log.Warn("reload: these settings wait for a restart", "keys", result.Restart)
	}
	return result
}

func (d *Daemon) reload() (ReloadResult, error) {
	next, err := d.system.Load()
	if err != nil {
		return ReloadResult{}, err
	}
	old := d.office.Config()
	changed := config.Diff(old, next)
	restart := config.RestartKeys(changed)
	// The server keeps the old values of keys that need a restart, so that the next reload reports
	// them again.
	next.KeepRestartKeys(old)
	for _, p := range d.parts {
		if p.reload == nil {
			continue
		}
		// Only the first part refuses (see makers), so no part has changed yet.
		if err := p.reload(next); err != nil {
			return ReloadResult{}, err
		}
	}
	return ReloadResult{
		Changed: append([]string{}, changed...),
		Restart: append([]string{}, restart...),
	}, nil
}

// controlSocket is where a running server takes orders from admin commands on
// the same machine. Who may open it is who may enter the data directory.
const controlSocket = "control.sock"

// socketPath names the control socket so that it fits into the 108 octets that
// the system has for it, however long the data directory's path is; done
// releases what that takes.
func socketPath(data string) (path string, done func(), err error) {
	path = filepath.Join(data, controlSocket)
	if len(path) < 100 {
		return path, func() {}, nil
	}
	dir, err := os.Open(data)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), controlSocket), func() { dir.Close() }, nil
}

// serveControl opens the control socket. An old one can only be a leftover: the
// data directory is locked by this process.
func (d *Daemon) serveControl() (*http.Server, error) {
	listen := d.system.Control
	if listen == nil {
		listen = d.listenControl
	}
	l, err := listen()
	if err != nil {
		return nil, err
	}
	mux := d.controlMux()
	srv := &http.Server{Handler: recorded(d.office, mux), ReadHeaderTimeout: 10 * time.Second, ConnContext: rememberPeer}
	go srv.Serve(l)
	return srv, nil
}

// listenControl opens the control socket in the data directory.
func (d *Daemon) listenControl() (net.Listener, error) {
	path, done, err := socketPath(d.office.Root.Name())
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

func (d *Daemon) controlMux() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /reload", func(w http.ResponseWriter, r *http.Request) {
		result := d.Reload()
		if result.Error == "" {
			record(r, "configuration", map[string]any{"changed": result.Changed})
		}
		answer(w, result)
	})
	serveBans(mux, d.bans)
	serveTLS(mux, d.certs, d.acme)
	serveQuota(mux, d.office.Quota)
	serveRetention(mux, d.office)
	serveExclusive(mux, d.office.Store, d.office.Quota)
	serveQueue(mux, d.queue, d.delivery.Suppressed)
	serveQuarantine(mux, d.queue, d.office)
	serveBadmail(mux, d.delivery, d.office)
	serveFetch(mux, d.fetch)
	serveRouteTest(mux, d.sender.Probe)
	return mux
}

// AskReload tells the server of a data directory to reload.
func AskReload(ctx context.Context, data string) (result ReloadResult, err error) {
	err = ask(ctx, data, http.MethodPost, "/reload", nil, &result)
	return result, err
}
