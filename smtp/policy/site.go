package policy

import (
	"crypto/tls"

	"pillarbox/smtp"
)

// Site sets what one listener demands (Domino's Internet sites).
type Site struct {
	RequireTLS Setting[bool]

	// Require128Bit refuses TLS with a cipher below 128 bits. It is "Require 128-bit encryption"
	// of IIS, which kept out programs with the 40 and 56 bits of the export rules. Today it
	// keeps out 3DES and RC4. It does not demand TLS: RequireTLS does.
	Require128Bit Setting[bool]

	MinTLS      Setting[uint16] // as in crypto/tls; 0 means the server's own minimum
	RequireAuth Setting[bool]
	Anonymous   Setting[bool] // no login needed; false is RequireAuth with exceptions
	OfferAuth   Setting[bool] // clients may log in
}

// Anonymous sets which hosts may send without a login to a site that demands one.
type Anonymous struct {
	AllowExceptions Setting[bool] // Domino's SMTPAllowConnectionsAnonymous
	Exceptions      HostList
}

// site returns the settings of the listener, if it has any.
func (r *Rules) site(f *Facts) (Site, bool) {
	site, ok := r.Sites[f.Service.String()]
	return site, ok
}

func siteKey(f *Facts, key string) string { return "sites." + f.Service.String() + "." + key }

// offersLogin refuses a login on a site that does not offer it.
func (r *Rules) offersLogin(d *Decision, f *Facts) bool {
	site, ok := r.site(f)
	if !ok || site.OfferAuth.Value {
		return true
	}
	d.step(siteKey(f, "offer_auth"), site.OfferAuth.Origin, "", isOff)
	return d.refuse(smtp.NewReply(503, [3]int{5, 7, 0}, "Log-in is not offered on this port"),
		"set "+siteKey(f, "offer_auth")+" = true")
}

// siteTLS applies the encryption that the site demands, both for mail and for passwords.
func (r *Rules) siteTLS(d *Decision, f *Facts) bool {
	site, ok := r.site(f)
	switch {
	case !ok:
		return true
	case site.RequireTLS.Value && f.TLSVersion == 0:
		d.step(siteKey(f, "require_tls"), site.RequireTLS.Origin, "", isOn)
		return d.refuse(smtp.NewReply(530, [3]int{5, 7, 0}, "Must issue a STARTTLS command first"),
			"use TLS, or set "+siteKey(f, "require_tls")+" = false")
	case site.Require128Bit.Value && f.WeakCipher != "":
		d.step(siteKey(f, "require_128_bit"), site.Require128Bit.Origin, f.WeakCipher, "has fewer than 128 bits")
		return d.refuse(smtp.NewReply(530, [3]int{5, 7, 0}, "Encryption with at least 128 bits is required here"),
			"use a stronger cipher, or set "+siteKey(f, "require_128_bit")+" = false")
	case f.TLSVersion != 0 && f.TLSVersion < site.MinTLS.Value:
		version := tls.VersionName(site.MinTLS.Value)
		d.step(siteKey(f, "min_tls"), site.MinTLS.Origin, version, "is required")
		return d.refuse(smtp.NewReply(530, [3]int{5, 7, 0}, "%s or newer is required here", version),
			"use a newer TLS, or lower "+siteKey(f, "min_tls"))
	}
	return true
}

// anonymous refuses a client that has not logged in, if the site demands a login. Devices and
// the hosts in anonymous.exceptions are exempt, such as a report server that cannot log in.
func (r *Rules) anonymous(d *Decision, f *Facts) bool {
	site, ok := r.site(f)
	switch {
	case !ok:
		return true
	case f.User.ByPOP3:
		d.step("auth.pop_before_smtp_networks", "", f.User.Address.String(), "has logged in to POP3 from this address")
		return true
	case !f.User.IsZero():
		d.step("login", "", f.User.Address.String(), "is logged in")
		return true
	case !site.RequireAuth.Value && site.Anonymous.Value:
		d.step(siteKey(f, "anonymous"), site.Anonymous.Origin, "", isOn)
		return true
	case f.Device != nil:
		d.step("device", "devices.json", f.Device.Name, isExempt)
		return true
	case r.anonymousException(d, f):
		return true
	}
	key, origin := siteKey(f, "require_auth"), site.RequireAuth.Origin
	if !site.RequireAuth.Value {
		key, origin = siteKey(f, "anonymous"), site.Anonymous.Origin
	}
	d.step(key, origin, "", "demands a login, and the client has not logged in")
	if !site.OfferAuth.Value {
		d.step(siteKey(f, "offer_auth"), site.OfferAuth.Origin, "", isOff)
		return d.refuse(smtp.NewReply(550, [3]int{5, 7, 1},
			"This port takes mail only from hosts that the administrator has named"),
			"add \""+f.Remote.String()+"\" to anonymous.exceptions, or set "+
				siteKey(f, "offer_auth")+" = true and log in")
	}
	text := "Authentication required: turn on \"My server requires authentication\" in your mail program"
	if f.TLSVersion == 0 && r.LogIn(f).Verdict == Refuse {
		text = "Must issue a STARTTLS command first, then log in"
	}
	return d.refuse(smtp.NewReply(530, [3]int{5, 7, 0}, "%s", text),
		"log in, or add \""+f.Remote.String()+"\" to anonymous.exceptions, or make it a device (pillarbox admin device add)")
}

// anonymousException reports whether the host may send without a login.
func (r *Rules) anonymousException(d *Decision, f *Facts) bool {
	if !r.Anonymous.AllowExceptions.Value {
		d.step("anonymous.allow_exceptions", r.Anonymous.AllowExceptions.Origin, "", isOff)
		return false
	}
	line, ok := r.Anonymous.Exceptions.Match(f.Remote, f.name())
	if ok {
		d.step("anonymous.exceptions", line.Origin, line.Text, isExempt)
	} else {
		d.step("anonymous.exceptions", "", f.Remote.String(), notInList)
	}
	return ok
}
