package daemon

import (
	"slices"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/config"
)

// Reload reads the configuration and the certificate's files again. New connections get the new
// configuration. A bad configuration is refused and changes nothing.
func (d *Daemon) Reload() admin.ReloadResult { return d.reloadFrom(d.system.Load) }

// reloadFrom is Reload with the configuration that load returns.
func (d *Daemon) reloadFrom(load func() (*config.Config, error)) admin.ReloadResult {
	d.reloading.Lock()
	defer d.reloading.Unlock()
	d.system.Reporter.Reloading()
	defer d.system.Reporter.Ready()
	result, err := d.reload(load)
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

func (d *Daemon) reload(load func() (*config.Config, error)) (admin.ReloadResult, error) {
	next, err := load()
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

// fileChanges returns the keys that a reload would change now. Keys that wait for a restart are left
// out.
func (d *Daemon) fileChanges() ([]string, error) {
	next, err := d.system.Load()
	if err != nil {
		return nil, err
	}
	changed := config.Diff(d.office.Config(), next)
	restart := config.RestartKeys(changed)
	return slices.DeleteFunc(changed, func(key string) bool { return slices.Contains(restart, key) }), nil
}

// reloadFor reloads for an actor who does not get the result, and records it in the audit log. load
// returns the configuration.
func (d *Daemon) reloadFor(
	actor admin.Actor, load func() (*config.Config, error),
) admin.ReloadResult {
	result := d.reloadFrom(load)
	if result.Error == "" {
		d.office.By(actor).Record("configuration", nil, map[string]any{"changed": result.Changed})
	}
	return result
}
