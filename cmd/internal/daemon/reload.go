package daemon

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/config"
)

// Reload reads the configuration and the certificate's files again. New connections get the new
// configuration. A bad configuration is refused and changes nothing.
func (d *Daemon) Reload() admin.ReloadResult {
	d.reloading.Lock()
	defer d.reloading.Unlock()
	result, err := d.reload()
	if err != nil {
		d.log.Error("reload: nothing changed", "error", err)
		return admin.ReloadResult{Changed: []string{}, Restart: []string{}, Error: err.Error()}
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

func (d *Daemon) reload() (admin.ReloadResult, error) {
	next, err := d.system.Load()
	if err != nil {
		return admin.ReloadResult{}, err
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
			return admin.ReloadResult{}, err
		}
	}
	return admin.ReloadResult{
		Changed: append([]string{}, changed...),
		Restart: append([]string{}, restart...),
	}, nil
}

// oldSocket is where a running server takes orders from admin commands on
// the same machine. Who may open it is who may enter the data directory.
const oldSocket = "control-http.sock"

// socketPath names the control socket so that it fits into the 108 octets that
// the system has for it, however long the data directory's path is; done
// releases what that takes.
func socketPath(data string) (path string, done func(), err error) {
	path = filepath.Join(data, oldSocket)
	if len(path) < 100 {
		return path, func() {}, nil
	}
	dir, err := os.Open(data)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), oldSocket), func() { dir.Close() }, nil
}

// serveOld opens the control socket for the verbs that speak HTTP.
func (d *Daemon) serveOld() (*http.Server, error) {
	path, done, err := socketPath(d.office.Root.Name())
	if err != nil {
		return nil, err
	}
	defer done()
	os.Remove(path)
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	srv := &http.Server{Handler: recorded(d.office, d.controlMux()), ReadHeaderTimeout: 10 * time.Second, ConnContext: rememberPeer}
	go srv.Serve(l)
	return srv, nil
}

func (d *Daemon) controlMux() *http.ServeMux {
	mux := http.NewServeMux()
	serveQuota(mux, d.office.Quota)
	serveExclusive(mux, d.office.Store, d.office.Quota)
	return mux
}
