package daemon

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"

	"pillarbox/cmd/internal/config"
	"pillarbox/cmd/internal/httpserve"
	"pillarbox/cmd/internal/web"
)

// makeWeb serves the page. Mail does not depend on it: a port that is in use is logged.
func (d *Daemon) makeWeb(cfg *config.Config) (part, error) {
	var sites []httpSite
	for _, address := range cfg.Listen.Web {
		l, err := d.system.Listen(address)
		if err != nil {
			d.log.Warn("the page is not served at this address; mail is not affected",
				"address", address, "error", err,
				"hint", "stop the program that holds the port, or change listen.web")
			continue
		}
		sites = append(sites, httpSite{Listener: l})
	}
	if len(sites) == 0 {
		return part{name: "page"}, nil
	}
	site := web.New(web.Parts{Service: d.office, Logins: d.logins, Log: d.log})
	encrypted := d.certs.TLSConfig("web", d.log)
	for i := range sites {
		sites[i].encrypted, sites[i].handler = encrypted, site
	}
	return d.serveHTTP("web", "the page is no longer served", web.Limits(), sites), nil
}

// httpSite is what is served at one address. Without encrypted it is HTTP, otherwise HTTPS.
type httpSite struct {
	net.Listener
	encrypted *tls.Config
	handler   http.Handler
}

// serveHTTP returns the part that serves sites. service is their key under [listen], lost the log line
// about a site that is served no more.
func (d *Daemon) serveHTTP(
	service, lost string, limits httpserve.Limits, sites []httpSite,
) part {
	var running sync.WaitGroup
	return part{
		name: service,
		start: func(ctx context.Context) error {
			for _, s := range sites {
				d.log.Info("listening", "service", service, "address", s.Addr())
				running.Go(func() {
					err := httpserve.Serve(ctx, s.Listener, s.encrypted, s.handler, limits, d.log)
					if err != nil {
						d.log.Error(lost, "error", err)
					}
				})
			}
			return nil
		},
		stop: func(context.Context) {
			for _, s := range sites {
				s.Close() // also one that was never served
			}
			running.Wait()
		},
	}
}
