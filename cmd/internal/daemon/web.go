package daemon

import (
	"context"
	"net"
	"sync"

	"pillarbox/cmd/internal/config"
	"pillarbox/cmd/internal/httpserve"
	"pillarbox/cmd/internal/web"
)

// makeWeb serves the page. Mail does not depend on it: a port that is in use is logged.
func (d *Daemon) makeWeb(cfg *config.Config) (part, error) {
	var listeners []net.Listener
	for _, address := range cfg.Listen.Web {
		l, err := d.system.Listen(address)
		if err != nil {
			d.log.Warn("the page is not served at this address; mail is not affected",
				"address", address, "error", err,
				"hint", "stop the program that holds the port, or change listen.web")
			continue
		}
		listeners = append(listeners, l)
	}
	if len(listeners) == 0 {
		return part{name: "page"}, nil
	}
	site := web.New(web.Parts{Service: d.office, Logins: d.logins, Log: d.log})
	encrypted := d.certs.TLSConfig("web", d.log)
	var running sync.WaitGroup
	return part{
		name: "page",
		start: func(ctx context.Context) error {
			for _, l := range listeners {
				d.log.Info("listening", "service", "web", "address", l.Addr())
				running.Go(func() {
					err := httpserve.Serve(ctx, l, encrypted, site, web.Limits(), d.log)
					if err != nil {
						d.log.Error("the page is no longer served", "error", err)
					}
				})
			}
			return nil
		},
		stop: func(context.Context) {
			for _, l := range listeners {
				l.Close() // also one that was never served
			}
			running.Wait()
		},
	}, nil
}
