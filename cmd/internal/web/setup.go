package web

import (
	"html/template"
	"net"
	"net/netip"
	"strconv"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/clientsetup"
)

// setupPage is what the page "setup" shows: how to set up a mail program for the own mailbox, on a
// screen or to be printed. It has no password.
type setupPage struct {
	Client clientsetup.Settings
	Name   string // of the person
	Print  bool
	// AppPassword: programs need one, because the user has a second factor.
	AppPassword bool

	Page, CA     string // the addresses of this page and of the CA's certificate
	PageQR, CAQR template.HTML
}

func showSetup(r *request) (view, error)      { return setupView(r, false) }
func showSetupPrint(r *request) (view, error) { return setupView(r, true) }

func setupView(r *request, print bool) (view, error) {
	user := r.session.user.String()
	p := setupPage{Print: print}
	box, err := admin.MailboxShow.Do(r.Context(), r.own, user)
	if err != nil {
		return view{}, err
	}
	p.Name, p.AppPassword = box.Name, len(box.SecondFactor.Factors) > 0
	if p.Client, err = admin.ClientSettings.Do(r.Context(), r.own, user); err != nil {
		return view{}, err
	}
	base := "https://" + r.reachable()
	p.Page, p.CA = base+"/me/setup", base+"/ca.crt"
	if p.PageQR, err = qrCode(p.Page); err != nil {
		return view{}, err
	}
	if p.Client.CA != "" {
		p.CAQR, err = qrCode(p.CA)
	}
	return view{"setup", "Set up a mail program", p}, err
}

// reachable returns the host and the port of the page for another device of the user: those that the
// browser has used, unless they are of this machine only.
func (r *request) reachable() string {
	name := hostName(r.Host)
	ip, err := netip.ParseAddr(name)
	if name != "localhost" && (err != nil || !ip.IsLoopback()) {
		return r.Host
	}
	cfg := r.site.Service.Config()
	for _, address := range cfg.Listen.Web {
		host, err := netip.ParseAddrPort(address)
		if port := clientsetup.Port(address); port != 443 && (err != nil || !host.Addr().IsLoopback()) {
			return net.JoinHostPort(string(cfg.Hostname), strconv.Itoa(port))
		}
	}
	return string(cfg.Hostname)
}
