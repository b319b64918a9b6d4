package config

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"
	"strings"

	"pillarbox/mailstore/durable"
	"pillarbox/mailstore/ldap"
	"pillarbox/mailstore/system"
)

// finishDirectories sets the keys of each [[directory]] that depend on its kind, and
// its name.
func (l *loader) finishDirectories() {
	c := &l.config
	for i := range c.Directories {
		d, section := &c.Directories[i], entry("directory", i)
		def := ldap.Defaults(cmp.Or(d.Kind, ldap.OpenLDAP))
		unset := func(name string) bool { return !c.set(section + "." + name) }
		for _, s := range []struct {
			key        string
			field, def *string
		}{
			{"user_filter", &d.UserFilter, &def.UserFilter},
			{"mailbox_attribute", &d.MailboxAttr, &def.MailboxAttr},
			{"group_filter", &d.GroupFilter, &def.GroupFilter},
			{"quota_attribute", &d.QuotaAttr, &def.QuotaAttr},
		} {
			if unset(s.key) {
				*s.field = *s.def
			}
		}
		if unset("quota_unit") {
			d.QuotaUnit = def.QuotaUnit
		}
		d.AliasAttrs = orEmpty(d.AliasAttrs, def.AliasAttrs, unset("alias_attributes"))
		d.MemberAttrs = orEmpty(d.MemberAttrs, def.MemberAttrs, unset("member_attributes"))
		if d.Name == "" {
			d.Name = nameOfServer(d.Servers, section)
		}
	}
}

// orEmpty returns a list that is set, never nil, or the default.
func orEmpty(list, def []string, unset bool) []string {
	if unset {
		return def
	}
	return append([]string{}, list...)
}

// nameOfServer returns the host of the first server, or the section if the host is
// not a valid name.
func nameOfServer(servers []string, section string) string {
	if len(servers) > 0 {
		u, err := ldap.ParseServer(servers[0])
		if err == nil && queueName.MatchString(u.Hostname()) {
			return u.Hostname()
		}
	}
	return strings.NewReplacer("[", "", "]", "").Replace(section)
}

// checkDirectories checks the keys of each [[directory]] together.
func (l *loader) checkDirectories() {
	c := &l.config
	names, domains := map[string]string{}, map[string]string{}
	for i := range c.Directories {
		d, section := &c.Directories[i], entry("directory", i)
		l.checkDirectory(section, d)
		l.checkDirectoryAccount(section, d)
		l.checkDirectoryTLS(section, d)
		l.checkName(section, d.Name, names)
		for _, name := range d.NetBIOS {
			if other, ok := domains[name]; ok && other != section {
				l.keyProblem(section+".netbios", fmt.Sprintf("%q is in %s already", name, other),
					"take it out of one of the two")
			}
			domains[name] = section
		}
	}
}

func (l *loader) checkDirectory(section string, d *Directory) {
	c := &l.config
	in := func(key string) string { return section + "." + key }
	missing := func(at, key, example string) {
		if l.sound(in(key)) {
			l.problem(c.origin[at], in(key), "is missing", "write "+key+" = "+example)
		}
	}
	if d.Kind == "" {
		missing(section, "kind", `"activedirectory" or "openldap"`)
	}
	if len(d.Servers) == 0 {
		missing(section, "servers", `["ldaps://dc1.office.example"]`)
	}
	if d.Base == "" && d.UserDN == "" && l.sound(in("user_dn")) {
		missing(section, "base",
			`"dc=office,dc=example" to search below it, or `+
				`user_dn = "%u@office.example" to log in directly`)
	}
	if d.Lookup && d.Base == "" && d.UserDN != "" {
		missing(in("lookup"), "base", `"dc=office,dc=example" to search below it`)
	}
	for _, key := range []string{"user_filter", "address_filter", "group_filter"} {
		if c.set(in(key)) && d.Base == "" && l.sound(in("base")) {
			l.keyWarning(in(key), "is never used: there is no search base")
		}
	}
	if c.set(in("create")) && d.Create != CreateNever && !d.Lookup {
		l.keyWarning(in("create"), "has no effect without lookup = true")
	}
	if d.Stale < max(d.Fresh, d.FreshPasswords) && l.sound(in("stale")) {
		l.keyWarning(in("stale"), "is shorter than fresh or fresh_passwords: these then count")
	}
}

// checkDirectoryAccount checks the account that searches.
func (l *loader) checkDirectoryAccount(section string, d *Directory) {
	account, file := section+".bind_dn", section+".password_file"
	if !l.sound(account) || !l.sound(file) {
		return
	}
	switch {
	case d.BindDN != "" && d.PasswordFile == "":
		l.keyProblem(account, "has no password",
			"write it into a file of its own and name that in password_file")
	case d.BindDN == "" && d.PasswordFile != "":
		l.keyProblem(file, "is set but "+account+" is not",
			"write the account that searches as bind_dn")
	case d.PasswordFile != "":
		l.checkSecret(file, d.PasswordFile)
	case d.Kind == ldap.ActiveDirectory && d.Base != "" && (d.UserDN == "" || d.Lookup):
		l.keyWarning(section,
			"Active Directory allows no search without a login: name an account in bind_dn")
	}
}

// checkDirectoryTLS checks the encryption to the servers.
func (l *loader) checkDirectoryTLS(section string, d *Directory) {
	servers, startTLS, ca := section+".servers", section+".start_tls", section+".ca_file"
	plain, encrypted, open := 0, 0, ""
	for _, server := range d.Servers {
		u, err := ldap.ParseServer(server)
		switch {
		case err != nil:
		case u.Scheme == "ldaps":
			encrypted++
		default:
			plain++
			if !isLoopback(u.Hostname()) {
				open = server
			}
		}
	}
	switch {
	case d.StartTLS && plain == 0 && encrypted > 0:
		l.keyProblem(startTLS, "every server uses TLS from the start",
			`take the line out, or write "ldap://"`)
	case !d.StartTLS && open != "":
		l.keyWarning(servers,
			"passwords cross the network to %s in the clear: write ldaps://, or start_tls = true",
			open)
	}
	if d.CAFile == "" || !l.sound(ca) {
		return
	}
	l.checkCA(ca, d.CAFile)
	if plain > 0 && encrypted == 0 && !d.StartTLS {
		l.keyWarning(ca, "is never used: no connection is encrypted")
	}
}

// checkCA reads the certificates of a CA. They are read again at each use, but a
// mistake must be reported now.
func (l *loader) checkCA(name, path string) {
	const hint = "name the PEM file of the CA that issued the servers' certificates"
	text, err := durable.ReadSmallFile(path, durable.MaxSmall)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		l.keyProblem(name, path+" does not exist", hint)
	case errors.Is(err, fs.ErrPermission): // the user of "config check" may not read it
		l.keyWarning(name, "%v", err)
	case err != nil:
		l.keyProblem(name, err.Error(), hint)
	case !x509.NewCertPool().AppendCertsFromPEM(text):
		l.keyProblem(name, path+" contains no certificate in PEM form",
			"name a file with -----BEGIN CERTIFICATE-----; 'openssl x509 -in FILE -out ca.pem' makes one of the other form")
	}
}

func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// checkSystem checks the program that checks passwords.
func (l *loader) checkSystem() {
	const name, check = "system.checkpassword", "system.check"
	c := &l.config
	s := &c.System
	if !l.sound(name) || !l.sound(check) {
		return
	}
	switch {
	case s.Check == Checkpassword && len(s.Checkpassword) == 0:
		l.problem(c.origin[check], name, "is missing",
			`name the program, as in checkpassword = ["/usr/local/bin/checkpassword-pam", "-s", "pillarbox"]`)
		return
	case len(s.Checkpassword) == 0:
		return
	case s.Check != Checkpassword:
		l.keyWarning(name, `is never run: check = "checkpassword" does that`)
	}
	program := s.Checkpassword[0]
	if !filepath.IsAbs(program) {
		l.keyProblem(name, fmt.Sprintf("%q is not an absolute path", program),
			`write one such as "/usr/local/bin/checkpassword"`)
		return
	}
	if err := system.CheckProgram(program); err != nil {
		l.keyProblem(name, err.Error(), "name a program that root or the server's own account owns")
	}
}
