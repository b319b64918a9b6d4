package daemon

import (
	"context"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"pillarbox/cmd/internal/config"
	"pillarbox/cmd/internal/logging"
	"pillarbox/cmd/internal/wirelog"
	"pillarbox/mailstore/dialogue"
)

// dialogueLogs are the logs of what clients and server say to each other.
type dialogueLogs struct {
	settings config.Log
	writers  []*wirelog.Writer
}

// makeDialogueLogs makes the W3C log and the protocol log. A reload that changes their settings
// ends them and makes new ones. Connections that are open then are in neither.
func (d *Daemon) makeDialogueLogs(cfg *config.Config) (part, error) {
	var logs dialogueLogs
	closeAll := func() {
		d.tap.SetReaders()
		for _, w := range logs.writers {
			w.Close()
		}
	}
	open := func(cfg *config.Config) {
		readers, writers := d.openDialogueLogs(cfg)
		logs = dialogueLogs{cfg.Log, writers}
		d.tap.SetReaders(readers...)
	}
	open(cfg)
	return part{
		name: "dialogue logs",
		reload: reloads(func(next *config.Config) {
			if reflect.DeepEqual(next.Log.W3C, logs.settings.W3C) &&
				reflect.DeepEqual(next.Log.Protocol, logs.settings.Protocol) {
				return
			}
			closeAll()
			open(next)
		}),
		stop: func(context.Context) { closeAll() },
	}, nil
}

func (d *Daemon) openDialogueLogs(
	cfg *config.Config,
) (readers []dialogue.Reader, writers []*wirelog.Writer) {
	if w3c := &cfg.Log.W3C; w3c.Dir != "" {
		for _, site := range []struct {
			service, name string
		}{{"smtp", "SMTPSVC1"}, {"pop3", "POP3SVC1"}} {
			if !slices.Contains(w3c.Services, site.service) {
				continue
			}
			form := w3cForm(cfg, d.system.Version, site.name)
			w := wirelog.NewWriter(wirelog.Options{
				Name: "W3C log", Dir: filepath.Join(w3c.Dir, site.name), Keep: days(w3c.KeepDays),
				Log: d.logs[logging.Server],
			}, form.Format())
			writers = append(writers, w)
			readers = append(readers,
				wirelog.W3CReader{Form: form, To: w, POP3: site.service == "pop3"})
		}
	}
	if p := &cfg.Log.Protocol; p.Dir != "" {
		w := wirelog.NewWriter(wirelog.Options{
			Name: "protocol log", Dir: p.Dir, Keep: days(p.KeepDays), MaxAll: p.MaxSize,
			Log: d.logs[logging.Server],
		}, wirelog.ProtocolFormat())
		writers = append(writers, w)
		chosen := wirelog.Chosen{Services: p.Services, Networks: p.Clients}
		readers = append(readers, wirelog.ProtocolReader{Chosen: chosen, To: w})
	}
	return readers, writers
}

func w3cForm(cfg *config.Config, version, site string) wirelog.W3C {
	zone := time.UTC
	if cfg.Log.W3C.LocalTime {
		zone = time.Local
	}
	return wirelog.W3C{
		Version: version, Computer: string(cfg.Hostname), Site: site, Fields: cfg.Log.W3C.Fields,
		RollOver: cfg.Log.W3C.RollOver, MaxSize: cfg.Log.W3C.MaxSize, Zone: zone,
	}
}

func days(n int) time.Duration { return time.Duration(n) * 24 * time.Hour }
