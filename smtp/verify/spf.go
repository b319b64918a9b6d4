package verify

import (
	"net"
	"strings"

	"blitiri.com.ar/go/spf"

	"pillarbox/mailstore/addr"
)

// checkFrom checks the MAIL FROM identity (RFC 7208 §2.4).
func checkFrom(dns *lookups, f Facts) SPF {
	result := SPF{Value: None, Identity: "mailfrom", Address: f.From.String(),
		Domain: f.From.Domain}
	if !f.From.IsASCII() {
		result.Address = string(f.From.Domain) // Authentication-Results must be ASCII
	}
	if f.From.Domain.IsLiteral() {
		return result
	}
	result.Value = dns.spf(f, plainLocal(f.From.Local)+"@"+string(f.From.Domain))
	return result
}

// checkHelo checks the HELO identity (RFC 7208 §2.3). It skips names that cannot have a record:
// many office clients send a short name.
func checkHelo(dns *lookups, f Facts) SPF {
	result := SPF{Value: None, Identity: "helo"}
	domain, err := addr.ParseDomain(f.Helo)
	if err != nil {
		return result
	}
	result.Domain, result.Address = domain, string(domain)
	if domain.IsLiteral() || !strings.Contains(f.Helo, ".") {
		return result
	}
	result.Value = dns.spf(f, "postmaster@"+string(domain))
	return result
}

// plainLocal replaces the characters that a library could misread, such as @ in a quoted local
// part. The local part matters only if a record uses it in a macro.
func plainLocal(local string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f || r == '@' {
			return '_'
		}
		return r
	}, local)
}

func (l *lookups) spf(f Facts, sender string) Value {
	ip := f.IP.Unmap()
	if !ip.IsValid() {
		return None
	}
	helo := "unknown"
	if d, err := addr.ParseDomain(f.Helo); err == nil {
		helo = string(d)
	}
	result, _ := spf.CheckHostWithSender(net.IP(ip.AsSlice()), helo, sender,
		spf.WithContext(l.ctx), spf.WithResolver(l))
	switch value := Value(result); value {
	case None, Neutral, Pass, Fail, SoftFail, TempError, PermError:
		if value != Pass && l.exhausted() {
			return PermError
		}
		return value
	}
	return PermError
}
