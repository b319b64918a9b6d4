package setup

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"pillarbox/cmd/internal/clientsetup"
	"pillarbox/cmd/internal/config"
	"pillarbox/cmd/internal/netinfo"
)

// Web says who can reach the page for browsers.
type Web string

// The values of Web.
const (
	WebLAN   Web = "lan"   // all who reach this machine
	WebLocal Web = "local" // this machine only
	WebOff   Web = "off"
)

// ParseWeb parses a Web; "" is "".
func ParseWeb(text string) (Web, error) {
	switch w := Web(text); w {
	case WebLAN, WebLocal, WebOff, "":
		return w, nil
	}
	return "", fmt.Errorf("%q is not lan, local or off", text)
}

// The ports of the page, before an offset. The second is for a machine whose first is in use, and for
// this machine only.
const (
	webPort      = 443
	otherWebPort = 8443
)

// webOf is the Web of a configuration.
func webOf(addresses []string) Web {
	web := WebOff
	for _, address := range addresses {
		host, _, _ := net.SplitHostPort(address)
		if ip, err := netip.ParseAddr(host); err != nil || !ip.IsLoopback() {
			return WebLAN
		}
		web = WebLocal
	}
	return web
}

// webAddresses returns the addresses of the page in a new configuration. free reports whether no other
// process has an address.
func webAddresses(web Web, offset int, free func(address string) bool) []string {
	port := func(n int) string { return strconv.Itoa(n + offset) }
	switch web {
	case WebLAN:
		if first := ":" + port(webPort); free(first) {
			return []string{first}
		}
		return []string{":" + port(otherWebPort)}
	case WebLocal:
		return []string{"127.0.0.1:" + port(otherWebPort)}
	}
	return nil
}

// isFree reports whether no other process has an address. A port that only this user may not use is
// free, because the server has another account.
func isFree(address string) bool {
	l, err := netinfo.Listen(address)
	if err == nil {
		l.Close()
	}
	_, busy := errors.AsType[*netinfo.PortError](err)
	return !busy
}

// noteWeb tells who can reach the page of a new configuration.
func (r *run) noteWeb(addresses []string) {
	if webOf(addresses) == WebLAN {
		r.note("the page for browsers listens on port %d of all addresses of this machine; "+
			"let the firewall permit it from your networks only", clientsetup.Port(addresses[0]))
	}
}

// compareWeb notes a request that the kept configuration does not fulfil.
func (r *run) compareWeb(cfg *config.Config) {
	if r.Web != "" && r.Web != webOf(cfg.Listen.Web) {
		r.note("the configuration says web = %q; --web %s was not used; change [listen] in that file "+
			"and restart the server", cfg.Listen.Web, r.Web)
	}
}

// PageURL returns the address of the page for a browser; "" if it is off.
func PageURL(cfg *config.Config) string {
	if len(cfg.Listen.Web) == 0 {
		return ""
	}
	host := string(cfg.Hostname)
	if webOf(cfg.Listen.Web) == WebLocal {
		host = "localhost"
	}
	if port := clientsetup.Port(cfg.Listen.Web[0]); port != webPort {
		host = net.JoinHostPort(host, strconv.Itoa(port))
	}
	return "https://" + host + "/"
}
