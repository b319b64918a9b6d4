package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"pillarbox/mailstore/auth/oauth"
	"pillarbox/smtp/route"
)

// set reports whether a key is set, by the file or the environment.
func (c *Config) set(name string) bool {
	_, ok := c.origin[name]
	return ok
}

// ownLogin reports whether a route takes no login from [outbound].
func (c *Config) ownLogin(section string) bool { return c.set(section + ".smart_host") }

// finishRoutes names each route by its first domain, and removes the login that a
// route with a smart host of its own has inherited from [outbound]: that server must
// not get the password of another.
func (l *loader) finishRoutes() {
	c := &l.config
	for i := range c.Routes.Routes {
		r, section := &c.Routes.Routes[i], entry("route", i)
		if len(r.Domains) > 0 {
			r.Name = c.routeName(i, r.Domains[0])
		}
		if c.ownLogin(section) && !c.set(section+".user") {
			r.User = ""
		}
		if c.ownLogin(section) && !c.set(section+".password_file") {
			r.PasswordFile = ""
		}
		if c.ownLogin(section) && !c.set(section+".mechanisms") {
			r.Mechanisms = nil
		}
		l.finishOAuth(section, r)
	}
}

// routeName returns a name that no route before the one with this index has. Routes of the same
// domains differ in cost.
func (c *Config) routeName(i int, name string) string {
	same := 1
	for _, r := range c.Routes.Routes[:i] {
		if len(r.Domains) > 0 && r.Domains[0] == name {
			same++
		}
	}
	if same > 1 {
		name += "#" + strconv.Itoa(same)
	}
	return name
}

// finishOAuth removes what a route with a login of its own has inherited from [outbound]: no server
// must get the password, token or secret of another.
func (l *loader) finishOAuth(section string, r *route.Route) {
	set := func(name string) bool { return l.config.set(section + "." + name) }
	o := &r.OAuth
	if set("oauth_token_url") && !set("password_file") {
		r.PasswordFile = ""
	}
	if !l.config.ownLogin(section) && !set("password_file") && !set("oauth_token_url") {
		return
	}
	for name, value := range map[string]*string{
		"oauth_token_url": &o.TokenURL, "oauth_client_id": &o.ClientID,
		"oauth_secret_file": &o.SecretFile, "oauth_scope": &o.Scope, "oauth_token_file": &o.TokenFile,
	} {
		if !set(name) {
			*value = ""
		}
	}
}

// finishFetches sets the keys of each [[fetch]] that depend on its other keys.
func (l *loader) finishFetches() {
	c := &l.config
	for i := range c.Fetch {
		f, section := &c.Fetch[i], entry("fetch", i)
		server := f.POP3
		if server == (route.Host{}) {
			server = f.ETRNServer
		}
		if f.Name == "" {
			f.Name = cmp.Or(server.Name, entry("fetch", i))
			if server.Addr.IsValid() {
				f.Name = server.Addr.String()
			}
		}
		if f.POP3 != (route.Host{}) && !c.set(section+".tls") {
			f.TLS = route.TLSRequired // every connection carries a password
		}
		if len(f.At) > 0 && !c.set(section+".every") {
			f.Every = 0
		}
		if c.set(section+".leave") && !f.Leave && f.LeaveDays > 0 {
			l.keyProblem(section+".leave", "does not go with leave_days", "keep one of the two")
		}
		f.Leave = f.Leave || f.LeaveDays > 0
		slices.Sort(f.At)
	}
}

// checkRoutes checks the keys of [outbound] and of each [[route]] together.
func (l *loader) checkRoutes() {
	c := &l.config
	l.checkNextHop("outbound", &c.Routes.Default)
	if l.sound("outbound.connections") && l.sound("outbound.connections_per_domain") {
		l.checkPerDomain()
	}
	type address struct {
		pattern string
		cost    int
	}
	first := map[address]string{} // the section of each domain
	for i := range c.Routes.Routes {
		r, section := &c.Routes.Routes[i], entry("route", i)
		if !c.set(section + ".domains") {
			l.problem(c.origin[section], section+".domains", "is missing",
				`write the domains of the route, as in domains = ["partner.example"]`)
		}
		for n, pattern := range r.Domains {
			at := address{pattern, r.Cost}
			if other, ok := first[at]; ok {
				l.problem(l.places[c.lines[section+".domains"][n].Origin], section+".domains",
					fmt.Sprintf("%q is in %s already", pattern, other),
					"take it out of one of the two, or give them a different cost")
				continue
			}
			first[at] = section
		}
		l.checkNextHop(section, r)
		l.checkRoute(section, r, &c.Relayed[i])
	}
}

// checkPerDomain lowers the limit for one destination to the limit for all, and
// reports one that is set to more.
func (l *loader) checkPerDomain() {
	c := &l.config
	const name = "outbound.connections_per_domain"
	lower := func(r *route.Route) { r.Connections = min(r.Connections, c.Outbound.Connections) }
	if c.set(name) && c.Routes.Default.Connections > c.Outbound.Connections {
		l.keyProblem(name,
			fmt.Sprintf("one domain may have %d connections, but all together only %d",
				c.Routes.Default.Connections, c.Outbound.Connections),
			"write at most outbound.connections")
	}
	lower(&c.Routes.Default)
	for i := range c.Routes.Routes {
		lower(&c.Routes.Routes[i])
	}
}

// checkNextHop checks the smart host, the login and the TLS of one route.
func (l *loader) checkNextHop(section string, r *route.Route) {
	c := &l.config
	smartHost, user := section+".smart_host", section+".user"
	if c.set(section+".direct_first") && r.DirectFirst && len(r.SmartHost) == 0 &&
		l.sound(smartHost) {
		l.keyProblem(section+".direct_first", "there is no smart host as the second choice",
			"name one in "+smartHost+", or take the line out")
	}
	if c.set(user) && r.User != "" && len(r.SmartHost) == 0 && l.sound(smartHost) {
		l.keyProblem(user, "the server logs in only to a smart host",
			"name the server in "+smartHost+", or take the line out")
	}
	socket := slices.ContainsFunc(r.SmartHost, func(h route.Host) bool { return h.Socket != "" })
	if c.set(smartHost) && socket && !r.LMTP {
		l.keyProblem(smartHost, "a socket speaks LMTP, not SMTP",
			"name it in a [[route]] with lmtp = true")
	}
	l.checkLogin(section, r.User, r.PasswordFile, r.OAuth)
	l.checkMechanisms(section, r)
	l.checkUseless(section, r)
	own := c.set(user) || c.set(section+".tls") || c.set(smartHost)
	open := len(r.SmartHost) > 0 && r.TLS == route.TLSOff && !protected(r.TLS, r.SmartHost)
	if own && r.User != "" && open {
		l.keyWarning(user, "the password crosses the network in the clear: tls = %q encrypts it",
			"required")
	}
}

// checkUseless warns of settings without an effect.
func (l *loader) checkUseless(section string, r *route.Route) {
	c := &l.config
	warn := func(key, what string, args ...any) { l.keyWarning(section+"."+key, what, args...) }
	implicit := slices.ContainsFunc(r.SmartHost, func(h route.Host) bool { return h.ImplicitTLS })
	switch s := r.Schedule; {
	case c.set(section+".tls") && r.TLS == route.TLSOff && implicit:
		warn("tls", "is off, but a smart host uses TLS from the start")
	case c.set(section+".helo") && r.Helo && !implicit &&
		(r.TLS == route.TLSRequired || r.TLS == route.TLSVerified):
		warn("helo", "TLS needs EHLO, and the key tls requires TLS: no mail can be sent")
	case c.set(section+".delay_notice") && s.DelayNotice >= s.Expire:
		warn("delay_notice", "is never sent: mail expires after %s", formatDuration(s.Expire))
	case c.set(section+".retries") && len(s.Retries) > 0 && s.Retries[0] >= s.Expire:
		warn("retries", "there is no second attempt: mail expires after %s",
			formatDuration(s.Expire))
	case c.set(section+".hold") && r.Hold && len(c.lines[section+".etrn_hosts"]) == 0 &&
		!c.set(section+".etrn_accounts"):
		warn("hold",
			"no client may request the mail: list hosts in etrn_hosts or users in etrn_accounts; now only 'pillarbox admin queue flush' sends it")
	}
}

// protected reports whether a password is never sent in the clear.
func protected(mode route.TLSMode, hosts []route.Host) bool {
	if mode == route.TLSRequired || mode == route.TLSVerified {
		return true
	}
	return !slices.ContainsFunc(hosts,
		func(h route.Host) bool { return !h.ImplicitTLS && h.Socket == "" })
}

// checkRoute checks the keys that only a [[route]] has.
func (l *loader) checkRoute(section string, r *route.Route, more *Relayed) {
	c := &l.config
	switch {
	case r.LMTP && len(r.SmartHost) == 0 && l.sound(section+".smart_host"):
		l.keyProblem(section+".lmtp", "there is no server for it",
			"name it in "+section+".smart_host")
	case r.LMTP && r.DirectFirst && l.sound(section+".direct_first"):
		l.keyProblem(section+".lmtp", "does not go with direct_first",
			"set direct_first = false in the route")
	}
	if r.Hold && len(r.SmartHost) > 0 && !c.set(section+".smart_host") {
		l.keyWarning(section+".hold",
			"requested mail goes to outbound.smart_host: write the server that requests it into smart_host, or [] for its MX")
	}
	if r.Unresolved && (len(r.SmartHost) == 0 || r.DirectFirst) && l.sound(section+".smart_host") {
		l.keyProblem(section+".unresolved", "the mail exchangers of a hosted domain are this server",
			"name the other server in smart_host, without direct_first")
	}
	hosts, accounts := section+".etrn_hosts", section+".etrn_accounts"
	if len(c.lines[hosts]) > 0 && !r.Hold {
		l.keyWarning(hosts, "has no effect without hold = true")
	}
	if len(more.ETRNAccounts) > 0 && !r.Hold {
		l.keyWarning(accounts, "has no effect without hold = true")
	}
}

// checkMechanisms checks that a login can use the mechanisms of a route.
func (l *loader) checkMechanisms(section string, r *route.Route) {
	key := section + ".mechanisms"
	if !l.config.set(key) || len(r.Mechanisms) == 0 {
		return
	}
	usable := func(m string) bool {
		return slices.Contains(oauth.Mechanisms(), m) == r.OAuth.Enabled()
	}
	switch {
	case r.User == "":
		l.keyWarning(key, "has no effect without user")
	case slices.ContainsFunc(r.Mechanisms, usable):
	case r.OAuth.Enabled():
		l.keyProblem(key, "names no mechanism for an access token",
			"write XOAUTH2 or OAUTHBEARER, or take the line out")
	default:
		l.keyProblem(key, "names no mechanism for a password",
			"set oauth_token_url, or write PLAIN or LOGIN")
	}
}

// checkOAuth checks the keys of a login with an access token.
func (l *loader) checkOAuth(section, user, path string, o oauth.Config) {
	c, in := &l.config, func(name string) string { return section + "." + name }
	for name, value := range map[string]string{"oauth_client_id": o.ClientID,
		"oauth_secret_file": o.SecretFile, "oauth_scope": o.Scope, "oauth_token_file": o.TokenFile} {
		if value != "" && c.set(in(name)) && !o.Enabled() && l.sound(in("oauth_token_url")) {
			l.keyProblem(in(name), "is set but oauth_token_url is not",
				"name the address of the token server")
		}
	}
	if !o.Enabled() || !c.set(in("oauth_token_url")) {
		return
	}
	switch {
	case user == "" && l.sound(in("user")):
		l.keyProblem(in("oauth_token_url"), "has no user", "write the mailbox to log in to as user")
	case path != "":
		l.keyProblem(in("password_file"), "does not go with oauth_token_url", "keep one of the two")
	case o.ClientID == "" && l.sound(in("oauth_client_id")):
		l.keyProblem(in("oauth_token_url"), "has no oauth_client_id",
			"write the name of the client (application) that the token server knows")
	case o.SecretFile == "" && o.TokenFile == "":
		l.keyProblem(in("oauth_token_url"), "has neither oauth_secret_file nor oauth_token_file",
			"write the client's secret or a refresh token into a file of its own and name that")
	}
	if o.SecretFile != "" {
		l.checkSecret(in("oauth_secret_file"), o.SecretFile)
	}
	if o.TokenFile != "" {
		l.checkSecret(in("oauth_token_file"), o.TokenFile)
		below, err := filepath.Rel(c.Data, o.TokenFile)
		if err == nil && c.Data != "" && !filepath.IsLocal(below) {
			l.keyWarning(in("oauth_token_file"), "%s is not below data (%s): the supplied systemd unit "+
				"lets the server write only there, so a new refresh token would be lost at a restart",
				o.TokenFile, c.Data)
		}
	}
}

// checkLogin checks a user name and the file of its password, or its access token.
func (l *loader) checkLogin(section, user, path string, o oauth.Config) {
	c, userKey, fileKey := &l.config, section+".user", section+".password_file"
	l.checkOAuth(section, user, path, o)
	if o.Enabled() {
		return
	}
	if !l.sound(userKey) || !l.sound(fileKey) || !c.set(userKey) && !c.set(fileKey) {
		return
	}
	switch {
	case user != "" && path == "":
		l.keyProblem(userKey, "has no password",
			"write it into a file of its own and name that in "+fileKey)
	case user == "" && path != "":
		l.keyProblem(fileKey, "is set but "+userKey+" is not",
			"write the name to log in with as "+userKey)
	case path != "":
		l.checkSecret(fileKey, path)
	}
}

// checkSecret checks the file of a password. Its text is read at each use.
func (l *loader) checkSecret(name, path string) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		l.keyProblem(name, path+" does not exist",
			"write the password into it and make it the server's own: chmod 600")
	case err != nil: // the user of "config check" may not read the folder
		l.keyWarning(name, "%v", err)
	case !info.Mode().IsRegular():
		l.keyProblem(name, path+" is not a file", "name the file with the password")
	case info.Size() == 0:
		l.keyProblem(name, path+" is empty", "write the password into it")
	case info.Mode().Perm()&0o007 != 0:
		l.keyProblem(name,
			fmt.Sprintf("every user of this machine can read the password: %s has mode %04o", path,
				info.Mode().Perm()), "chmod 600 "+path)
	case info.Mode().Perm()&0o070 != 0:
		l.keyWarning(name, "the group of %s can read the password (mode %04o)", path,
			info.Mode().Perm())
	}
}

// checkFetches checks the keys of each [[fetch]] together.
func (l *loader) checkFetches() {
	c := &l.config
	names := map[string]string{}
	for i := range c.Fetch {
		f, section := &c.Fetch[i], entry("fetch", i)
		l.checkFetch(section, f)
		l.checkLogin(section, f.User, f.PasswordFile, f.OAuth)
		l.checkName(section, f.Name, names)
	}
}

// checkName reports a name that another entry of a table has. names has the sections of
// the names so far.
func (l *loader) checkName(section, name string, names map[string]string) {
	key, place := section+".name", l.config.origin[section]
	if l.config.set(key) {
		place = l.config.origin[key]
	}
	if other, ok := names[name]; ok && l.sound(key) {
		l.problem(place, key, fmt.Sprintf("%q is the name of %s already", name, other),
			"give each a name of its own")
	}
	names[name] = section
}

func (l *loader) checkFetch(section string, f *Fetch) {
	c := &l.config
	need := func(with, name string, missing bool, example string) {
		if missing && l.sound(section+"."+name) && l.sound(section+"."+with) {
			l.problem(c.origin[section+"."+with], section+"."+name, "is missing",
				"write "+name+" = "+example)
		}
	}
	etrn, pop3 := f.ETRNServer != (route.Host{}), f.POP3 != (route.Host{})
	if !etrn && !pop3 && l.sound(section+".etrn_server") && l.sound(section+".pop3") {
		l.keyProblem(section, "names no server",
			`write pop3 = "pop.isp.net:995" or etrn_server = "mail.isp.net"`)
	}
	if etrn {
		need("etrn_server", "etrn_domains", len(f.ETRNDomains) == 0, `["office.example"]`)
	}
	if pop3 {
		need("pop3", "user", f.User == "", `the name that the server knows you by`)
		need("pop3", "deliver_to", f.DeliverTo.IsZero(),
			`"anna@office.example", whose mailbox gets the mail`)
		if f.TLS == route.TLSOff && f.POP3.ImplicitTLS {
			l.keyProblem(section+".tls", "the server speaks only TLS on this port",
				"take the line out, or name port 110")
		}
	}
	if (!pop3 || !f.POP3.ImplicitTLS) && f.User != "" && !protected(f.TLS, []route.Host{{}}) {
		l.keyWarning(section+".user",
			"the password is encrypted only if the server offers TLS: tls = %q requires it",
			"required")
	}
	if c.set(section+".every") && f.Every > 0 && len(f.At) > 0 {
		l.keyProblem(section+".every", "does not go with at", "keep one of the two")
	}
	never := f.Every == 0 && len(f.At) == 0 && !f.WithEachDelivery
	if never && l.sound(section+".every") && l.sound(section+".at") {
		l.keyProblem(section+".every", "there is no time at which to ask",
			`write "15m", or at = ["08:00"]`)
	}
}

// checkDNSBL warns of a filter without a list.
func (l *loader) checkDNSBL() {
	c := &l.config
	b := &c.Policy.DNSBL
	empty := len(b.Sites) == 0 && b.Deny.Len() == 0
	if c.set("dnsbl.action") && empty && l.sound("dnsbl.sites") && l.sound("dnsbl.private_deny") {
		l.keyWarning("dnsbl.action", "has no effect: dnsbl.sites and dnsbl.private_deny are empty")
	}
}
