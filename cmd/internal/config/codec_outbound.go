package config

import (
	"cmp"
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp/route"
)

type ipAddress = netip.Addr

const hostHint = `write "mail.isp.net", "mail.isp.net:587", "[192.0.2.1]", "smtps://mail.isp.net" or the path of a socket`

// smartHost parses a server that takes mail for others.
var smartHost = codec[route.Host]{
	parse: func(s string) (route.Host, error) {
		h, err := route.ParseHost(s)
		if err != nil {
			return h, wrong(err.Error(), hostHint)
		}
		return h, nil
	},
	format: hostText,
}

// hostText is "" for none.
func hostText(h route.Host) string {
	if h == (route.Host{}) {
		return ""
	}
	return h.String()
}

// etrnHost parses a server on the network.
var etrnHost = codec[route.Host]{
	parse: func(s string) (route.Host, error) {
		h, err := smartHost.parse(s)
		if err == nil && h.Socket != "" {
			return h, wrong(fmt.Sprintf("%q is not a server on the network", s), `write "mail.isp.net" or "[192.0.2.1]:25"`)
		}
		return h, err
	},
	format: hostText,
}

// The ports of POP3 (RFC 1939 §3, RFC 8314 §7.2).
const (
	portPOP3  = 110
	portPOP3S = 995
)

// pop3Host parses a POP3 server. TLS from the start is the default on port 995.
var pop3Host = codec[route.Host]{
	parse: func(s string) (route.Host, error) {
		const hint = `write "pop.isp.net", "pop.isp.net:995" or "pop3s://pop.isp.net"`
		rest, implicit := strings.CutPrefix(s, "pop3s://")
		rest = strings.TrimPrefix(rest, "pop3://")
		h, err := route.ParseHost(rest)
		if err != nil || h.Socket != "" || strings.Contains(rest, "://") {
			return h, wrong(fmt.Sprintf("%q is not a POP3 server", s), hint)
		}
		if implicit {
			h.Port = cmp.Or(h.Port, portPOP3S)
		}
		h.Port = cmp.Or(h.Port, portPOP3)
		h.ImplicitTLS = implicit || h.Port == portPOP3S
		return h, nil
	},
	format: func(h route.Host) string {
		if h == (route.Host{}) {
			return ""
		}
		scheme := ""
		if h.ImplicitTLS && h.Port != portPOP3S {
			scheme = "pop3s://"
		}
		h.ImplicitTLS = false
		return scheme + h.String()
	},
}

var tlsMode = oneOf(
	choice[route.TLSMode]{"off", route.TLSOff}, choice[route.TLSMode]{"opportunistic", route.TLSOpportunistic},
	choice[route.TLSMode]{"required", route.TLSRequired}, choice[route.TLSMode]{"verified", route.TLSVerified})

// routePattern parses a domain of a route.
var routePattern = plain(func(s string) (string, error) {
	pattern, err := route.ParsePattern(s)
	if err != nil {
		return "", wrong(err.Error(), `write "partner.example", "*.partner.example" for all below it, or "*"`)
	}
	return pattern, nil
})

// foldedAddress parses an address and folds it for comparisons.
var foldedAddress = codec[address]{
	parse: func(s string) (address, error) {
		a, err := addr.Parse(s)
		if err != nil {
			return a, wrong(fmt.Sprintf("%q is not a mail address", s), `write the full one of a mailbox here, such as "branch@office.example"`)
		}
		return a.Fold(), nil
	},
	format: address.String,
}

// credential parses a user name for another server.
var credential = plain(func(s string) (string, error) {
	if len(s) > 255 || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", wrong("is too long or contains a control character", "write the name that the other server knows you by")
	}
	return s, nil
})

// heloName parses the server's name in EHLO.
var heloName = plain(func(s string) (string, error) {
	d, err := hostName.parse(s)
	return string(d), err
})

// localAddress parses an address of this machine.
var localAddress = codec[ipAddress]{
	parse: func(s string) (ipAddress, error) {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Is4In6() || a.IsUnspecified() || a.IsMulticast() {
			return a, wrong(fmt.Sprintf("%q is not an address of this machine", s), `write one such as "192.0.2.1", or "" for any`)
		}
		return a, nil
	},
	format: func(a ipAddress) string {
		if !a.IsValid() {
			return ""
		}
		return a.String()
	},
}

// orZero lets "0" stand for the zero value, whose meaning is for the hint.
func orZero(meaning string, as codec[duration]) codec[duration] {
	return codec[duration]{
		parse: func(s string) (duration, error) {
			if s == "0" || s == "0s" {
				return 0, nil
			}
			d, err := as.parse(s)
			if err != nil {
				m := asMistake(err)
				return 0, wrong(m.what, m.hint+`, or "0" for `+meaning)
			}
			return d, nil
		},
		format: func(d duration) string {
			if d == 0 {
				return "0"
			}
			return as.format(d)
		},
	}
}

var clock = regexp.MustCompile(`^([01]?[0-9]|2[0-3]):([0-5][0-9])$`)

// timeOfDay parses a time of day as the time since midnight.
var timeOfDay = codec[duration]{
	parse: func(s string) (duration, error) {
		found := clock.FindStringSubmatch(s)
		if found == nil {
			return 0, wrong(fmt.Sprintf("%q is not a time of day", s), `write one such as "08:00" or "17:30"`)
		}
		hours, _ := strconv.Atoi(found[1])
		minutes, _ := strconv.Atoi(found[2])
		return time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute, nil
	},
	format: func(d duration) string {
		return fmt.Sprintf("%02d:%02d", int(d.Hours()), int(d.Minutes())%60)
	},
}

// etrnDomain parses an argument of ETRN (RFC 1985 §5.2).
var etrnDomain = plain(func(s string) (string, error) {
	bare, at := strings.CutPrefix(s, "@")
	if queue, ok := strings.CutPrefix(s, "#"); ok {
		if queueName.MatchString(queue) {
			return s, nil
		}
	} else if d, err := addr.ParseDomain(bare); err == nil && !d.IsLiteral() {
		if at {
			return "@" + string(d), nil
		}
		return string(d), nil
	}
	return "", wrong(fmt.Sprintf("%q is not an argument of ETRN", s),
		`write "office.example", "@office.example" with all below it, or "#name" of a queue`)
})

// tokenURL parses the address of a token endpoint. Secrets are sent there, so it needs TLS, except
// on this machine.
var tokenURL = plain(func(s string) (string, error) {
	const hint = `write "https://login.microsoftonline.com/TENANT/oauth2/v2.0/token", or as your provider says`
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return "", wrong(fmt.Sprintf("%q is not the address of a token server", s), hint)
	}
	ip, _ := netip.ParseAddr(u.Hostname())
	if u.Scheme != "https" && (u.Scheme != "http" || !ip.IsLoopback()) {
		return "", wrong(fmt.Sprintf("%q has no https", s), hint)
	}
	return s, nil
})

var queueName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// label parses the name of an entry in logs and commands.
var label = plain(func(s string) (string, error) {
	if !queueName.MatchString(s) {
		return "", wrong(fmt.Sprintf("%q is not a name", s), "write letters, digits, ., - and _")
	}
	return s, nil
})

// socketPath parses the path of a unix socket, at most 107 octets.
var socketPath = plain(func(s string) (string, error) {
	if _, err := filePath.parse(s); err != nil {
		return "", err
	}
	if filepath.IsAbs(s) && len(s) > 107 {
		return "", wrong(fmt.Sprintf("is %d octets long", len(s)), "the system takes a socket's path of at most 107 octets; write a shorter one")
	}
	return s, nil
})

// listedText parses the text of a refusal, one line of a reply.
var listedText = plain(func(s string) (string, error) {
	switch {
	case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }):
		return "", wrong("contains a character that is not printable ASCII", "write printable ASCII only")
	case len(s) > 200:
		return "", wrong(fmt.Sprintf("is %d octets long", len(s)), "write at most 200")
	case strings.Contains(strings.NewReplacer("%i", "", "%s", "").Replace(s), "%"):
		return "", wrong("contains an unknown % sequence", "%i is the client's address and %s the site that lists it")
	}
	return s, nil
})
