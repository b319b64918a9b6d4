package route

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"pillarbox/mailstore/addr"
)

// Default ports (RFC 5321 §2.3.4, RFC 8314 §7.3, RFC 2033 §5).
const (
	PortSMTP  = 25
	PortSMTPS = 465
	PortLMTP  = 24
)

// Host is a server that receives mail from us. Exactly one of Socket, Addr and Name says where it
// is.
type Host struct {
	Name        string     // looked up by A and AAAA, never by MX
	Addr        netip.Addr // a given address; no lookup
	Port        int        // 0: the default, see DialPort
	ImplicitTLS bool       // TLS from the first octet (RFC 8314 §3.3)
	Socket      string     // path of a unix socket
}

// ParseHost parses a smart host: "mail.isp.net", "mail.isp.net:587", "[192.0.2.1]" and
// "[192.0.2.1]:25", "[2001:db8::1]:25", a bare address, "smtps://mail.isp.net" for TLS from the
// first octet, "smtp://" and "lmtp://", or the path of a unix socket, "/run/dovecot/lmtp" or
// "unix:/run/dovecot/lmtp".
func ParseHost(s string) (Host, error) {
	host, err := parseHost(strings.TrimSpace(s))
	if err != nil {
		return Host{}, fmt.Errorf("%q is not a mail server: %w", s, err)
	}
	return host, nil
}

func parseHost(s string) (h Host, err error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok || strings.HasPrefix(s, "/") {
		if !ok {
			path = s
		}
		return parseSocket(path)
	}
	if scheme, rest, ok := strings.Cut(s, "://"); ok {
		switch strings.ToLower(scheme) {
		case "smtp", "lmtp":
		case "smtps":
			h.ImplicitTLS = true
		default:
			return Host{}, fmt.Errorf("%s:// is unknown; use smtp://, smtps:// or lmtp://",
				scheme)
		}
		s = strings.TrimSuffix(rest, "/")
	}
	if ip, err := netip.ParseAddr(s); err == nil {
		return h.withAddr(ip)
	}
	if inner, ok := strings.CutPrefix(s, "["); ok {
		return h.parseLiteral(inner)
	}
	name, port, found := strings.Cut(s, ":")
	if found {
		if h.Port, err = parsePort(port); err != nil {
			return Host{}, err
		}
	}
	if ip, err := netip.ParseAddr(name); err == nil {
		return h.withAddr(ip)
	}
	domain, err := addr.ParseDomain(name)
	if err != nil {
		return Host{}, err
	}
	h.Name = string(domain)
	return h, nil
}

func parseSocket(path string) (Host, error) {
	switch {
	case !strings.HasPrefix(path, "/"):
		return Host{}, errors.New("the path of a socket must begin with a slash")
	case strings.ContainsRune(path, 0), len(path) > 107:
		return Host{}, errors.New("the path of a socket must have at most 107 octets and no NUL")
	}
	return Host{Socket: path}, nil
}

// parseLiteral parses the text after the opening bracket.
func (h Host) parseLiteral(s string) (Host, error) {
	inner, rest, ok := strings.Cut(s, "]")
	if !ok {
		return Host{}, errors.New("the closing bracket is missing")
	}
	if rest != "" {
		port, ok := strings.CutPrefix(rest, ":")
		if !ok {
			return Host{}, errors.New("only :port may follow the closing bracket")
		}
		var err error
		if h.Port, err = parsePort(port); err != nil {
			return Host{}, err
		}
	}
	if len(inner) > 5 && strings.EqualFold(inner[:5], "IPv6:") {
		inner = inner[5:]
	}
	ip, err := netip.ParseAddr(inner)
	if err != nil {
		return Host{}, errors.New("brackets must contain an address, such as [192.0.2.1]")
	}
	return h.withAddr(ip)
}

func (h Host) withAddr(ip netip.Addr) (Host, error) {
	if !ip.IsValid() || ip.IsUnspecified() || ip.IsMulticast() {
		return Host{}, errors.New("mail cannot be sent to this address")
	}
	h.Addr = ip.Unmap()
	return h, nil
}

func parsePort(s string) (int, error) {
	port, err := strconv.ParseUint(s, 10, 16)
	if err != nil || port == 0 || s[0] == '+' {
		return 0, fmt.Errorf("%q is not a port (1 to 65535)", s)
	}
	return int(port), nil
}

// DialPort returns the port to connect to.
func (h Host) DialPort(lmtp bool) int {
	switch {
	case h.Port != 0:
		return h.Port
	case h.ImplicitTLS:
		return PortSMTPS
	case lmtp:
		return PortLMTP
	}
	return PortSMTP
}

// String returns the host in a form that ParseHost accepts.
func (h Host) String() string {
	if h.Socket != "" {
		if !strings.HasPrefix(h.Socket, "/") {
			return "unix:" + h.Socket
		}
		return h.Socket
	}
	s := h.Name
	if h.Addr.IsValid() {
		s = "[" + h.Addr.String() + "]"
	}
	if h.Port != 0 {
		s += ":" + strconv.Itoa(h.Port)
	}
	if h.ImplicitTLS {
		s = "smtps://" + s
	}
	return s
}

// MarshalText returns the text of String.
func (h Host) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText parses text as ParseHost does.
func (h *Host) UnmarshalText(text []byte) (err error) {
	*h, err = ParseHost(string(text))
	return err
}
