package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/quota"
)

type (
	domain   = addr.Domain
	address  = addr.Address
	network  = netip.Prefix
	server   = netip.AddrPort
	duration = time.Duration
)

// codec parses the text of a value into its type and formats it back. A parse error
// is a mistake if there is a hint.
type codec[T any] struct {
	parse  func(string) (T, error)
	format func(T) string
}

// plain is a codec for texts in the form that parse returns.
func plain(parse func(string) (string, error)) codec[string] {
	return codec[string]{parse: parse, format: func(s string) string { return s }}
}

// optional lets "" stand for the zero value.
func optional[T any](as codec[T]) codec[T] {
	return codec[T]{
		parse: func(s string) (v T, err error) {
			if s == "" {
				return v, nil
			}
			return as.parse(s)
		},
		format: as.format,
	}
}

var hostName = codec[domain]{
	parse: func(s string) (domain, error) {
		const hint = `write the server's name, such as "mail.office.example"`
		d, err := addr.ParseDomain(s)
		if err != nil {
			return "", wrong(fmt.Sprintf("%q is not a domain name", s), hint)
		}
		if _, err := netip.ParseAddr(s); err == nil || d.IsLiteral() {
			return "", wrong(fmt.Sprintf("%q is an address, not a name", s), hint)
		}
		return d, nil
	},
	format: func(d domain) string { return string(d) },
}

var hostedDomain = codec[domain]{
	parse: func(s string) (domain, error) {
		const hint = `write a domain, such as "office.example", or "" for none`
		d, err := addr.ParseDomain(s)
		if err != nil || addr.CheckDomainName(d) != nil {
			return "", wrong(fmt.Sprintf("%q is not a domain that can be hosted", s), hint)
		}
		return d, nil
	},
	format: func(d domain) string { return string(d) },
}

var mailAddress = codec[address]{
	parse: func(s string) (address, error) {
		a, err := addr.Parse(s)
		if err != nil {
			return a, wrong(fmt.Sprintf("%q is not a mail address", s), `write one such as "anna@office.example", or "" for none`)
		}
		return a, nil
	},
	format: address.String,
}

var filePath = plain(func(s string) (string, error) {
	if s == "" || strings.ContainsRune(s, 0) {
		return "", wrong(fmt.Sprintf("%q is not a path", s), "write a path, absolute or relative to the folder of this file")
	}
	return s, nil
})

// listenAddress parses an address for net.Listen with a number as its port. The
// given port is for the hints.
func listenAddress(port int) codec[string] {
	hint := fmt.Sprintf(`write ":%d", "192.0.2.1:%d" or "[2001:db8::1]:%d"`, port, port, port)
	return plain(func(s string) (string, error) {
		host, number, err := net.SplitHostPort(s)
		if err != nil {
			return "", wrong(fmt.Sprintf("%q is not an address with a port", s), hint)
		}
		if _, err := strconv.ParseUint(number, 10, 16); err != nil {
			return "", wrong(fmt.Sprintf("%q is not a port from 0 to 65535", number), hint)
		}
		if !isHost(host) {
			return "", wrong(fmt.Sprintf("%q is neither an IP address nor a host name", host), hint)
		}
		return s, nil
	})
}

func isHost(host string) bool {
	if host == "" {
		return true
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	d, err := addr.ParseDomain(host)
	// A name of digits only is a mistyped IP address.
	return err == nil && !d.IsLiteral() && strings.ContainsFunc(host, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
}

var trustedNetwork = codec[network]{
	parse: func(s string) (network, error) {
		const hint = `write a network or an address of your own, such as "192.168.1.0/24"`
		p, err := parseNetwork(s, hint)
		if err == nil && isInternet(p) {
			return p, wrong(fmt.Sprintf("%q contains the internet, where passwords without TLS are stolen", s), hint)
		}
		return p, err
	},
	format: network.String,
}

// parseNetwork reads a network, or a single address.
func parseNetwork(s, hint string) (network, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return p, wrong(fmt.Sprintf("%q is not a network", s), hint)
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	switch a := p.Addr(); {
	case a.Is4In6():
		return p, wrong(fmt.Sprintf("%q writes IPv4 addresses as IPv6", s), "write them as IPv4")
	case p.Masked() != p:
		return p, wrong(fmt.Sprintf("%q is an address within a network", s),
			fmt.Sprintf("write %q for the network or %q for the one address", p.Masked(), a))
	}
	return p, nil
}

// size parses a number of octets with a unit, such as 25MiB.
func size[T int | int64](low, high int64) codec[T] {
	hint := fmt.Sprintf("write a size from %q to %q", quota.FormatSize(low), quota.FormatSize(high))
	return codec[T]{
		parse: func(s string) (T, error) {
			n, err := quota.ParseSize(s)
			if bad, ok := errors.AsType[*quota.SizeError](err); ok {
				return 0, wrong(fmt.Sprintf("%q is not a size: %s", s, bad.Why), hint)
			}
			if err != nil {
				return 0, err
			}
			if n < low || n > high {
				return 0, wrong(fmt.Sprintf("%q is out of range", s), hint)
			}
			return T(n), nil
		},
		format: func(n T) string { return quota.FormatSize(int64(n)) },
	}
}

// withUnit refuses a size without a unit, except 0: "500" would be 500 octets, and few people mean
// that. none says what "0" means.
func withUnit(as codec[int64], none string) codec[int64] {
	return codec[int64]{
		parse: func(s string) (int64, error) {
			number := strings.TrimSpace(s)
			if n, err := strconv.ParseUint(number, 10, 64); err == nil && n > 0 {
				return 0, wrong(fmt.Sprintf("%q has no unit", s),
					fmt.Sprintf(`write "%[1]sMB" for megabytes, "%[1]sB" for bytes, or "0" for %[2]s`, number, none))
			}
			return as.parse(s)
		},
		format: as.format,
	}
}

// days is a number of days from 1, such as "7d"; off means 0.
func days(off string, most int) codec[duration] {
	hint := fmt.Sprintf(`write a number of days from "1d" to "%dd", or %q`, most, off)
	const day = 24 * time.Hour
	return codec[duration]{
		parse: func(s string) (duration, error) {
			if s == off || s == "0" {
				return 0, nil
			}
			number, ok := strings.CutSuffix(s, "d")
			n, err := strconv.Atoi(number)
			if !ok || err != nil {
				return 0, wrong(fmt.Sprintf("%q is not a number of days", s), hint)
			}
			if n < 1 || n > most {
				return 0, wrong(fmt.Sprintf("%q is out of range", s), hint)
			}
			return duration(n) * day, nil
		},
		format: func(d duration) string {
			if d == 0 {
				return off
			}
			return fmt.Sprintf("%dd", d/day)
		},
	}
}

// numbered is words whose hint names a setting of another product: it has the words' numbers, from 0.
func numbered[T ~string](setting string, values ...T) codec[T] {
	as := words(values...)
	hints := []string{fmt.Sprintf("%q for %s=0", values[0], setting)}
	for i, v := range values[1:] {
		hints = append(hints, fmt.Sprintf("%q for %d", v, i+1))
	}
	hint := "write " + join(hints, "or")
	return codec[T]{
		parse: func(s string) (T, error) {
			v, err := as.parse(s)
			if err != nil {
				err = wrong(asMistake(err).what, hint)
			}
			return v, err
		},
		format: as.format,
	}
}

// limit parses a size within bounds, which are in the same form, or "0" for no
// limit.
func limit(low, high string) codec[int64] {
	as := size[int64](mustSize(low), mustSize(high))
	return codec[int64]{
		parse: func(s string) (int64, error) {
			n, err := as.parse(s)
			if m, ok := errors.AsType[mistake](err); ok {
				if zero, err := quota.ParseSize(s); err == nil && zero == 0 {
					return 0, nil
				}
				return 0, wrong(m.what, m.hint+`, or "0" for no limit`)
			}
			return n, err
		},
		format: as.format,
	}
}

// percentage parses 1% to 99%, or "none".
var percentage = codec[int]{
	parse: func(s string) (int, error) {
		if s == "none" {
			return 0, nil
		}
		digits, found := strings.CutSuffix(s, "%")
		n, err := strconv.ParseUint(digits, 10, 16)
		if !found || err != nil || n == 0 || n >= 100 {
			return 0, wrong(fmt.Sprintf("%q is not a percentage of a limit", s), `write "1%" to "99%", or "none"`)
		}
		return int(n), nil
	},
	format: func(n int) string {
		if n == 0 {
			return "none"
		}
		return strconv.Itoa(n) + "%"
	},
}

func mustSize(s string) int64 {
	n, err := quota.ParseSize(s)
	if err != nil {
		panic(err) // a bound of a row is wrong
	}
	return n
}

// dnsServer parses an address, with a port if it is not 53.
var dnsServer = codec[server]{
	parse: func(s string) (server, error) {
		if a, err := netip.ParseAddr(s); err == nil {
			return netip.AddrPortFrom(a, 53), nil
		}
		a, err := netip.ParseAddrPort(s)
		if err != nil || a.Port() == 0 {
			return a, wrong(fmt.Sprintf("%q is not the address of a name server", s), `write "192.168.1.1" or "[2001:db8::1]:53"`)
		}
		return a, nil
	},
	format: server.String,
}

// span parses a duration within bounds, which are in the same form.
func span(low, high string) codec[duration] {
	hint := fmt.Sprintf("write a time from %q to %q", low, high)
	return codec[duration]{
		parse: func(s string) (duration, error) {
			d, err := time.ParseDuration(s)
			if err != nil {
				return 0, wrong(fmt.Sprintf("%q is not a time", s), hint)
			}
			if d < mustDuration(low) || d > mustDuration(high) {
				return 0, wrong(fmt.Sprintf("%q is out of range", s), hint)
			}
			return d, nil
		},
		format: formatDuration,
	}
}

func mustDuration(s string) duration {
	d, err := time.ParseDuration(s)
	if err != nil {
		panic(err) // a bound of a row is wrong
	}
	return d
}

// formatDuration writes 5m0s as 5m.
func formatDuration(d duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// greeting parses the text of a greeting. RFC 5321 §4.2 restricts the characters of a
// reply. The length keeps the line below 512 octets with a long host name.
func greeting(forbidden string) codec[string] {
	const longest = 200
	return plain(func(s string) (string, error) {
		switch {
		case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }):
			return "", wrong("contains a character that is not printable ASCII", "write printable ASCII only")
		case forbidden != "" && strings.ContainsAny(s, forbidden):
			return "", wrong("contains an angle bracket", "write it without < and >")
		case len(s) > longest:
			return "", wrong(fmt.Sprintf("is %d octets long", len(s)), fmt.Sprintf("write at most %d", longest))
		case strings.Contains(strings.NewReplacer("%h", "", "%d", "").Replace(s), "%"):
			return "", wrong("contains an unknown % sequence", "%h is the host name and %d the date")
		}
		return s, nil
	})
}

var separator = plain(func(s string) (string, error) {
	if len(s) != 1 || !strings.Contains("+-_=#~!%&*/?^|", s) {
		return "", wrong(fmt.Sprintf("%q cannot separate a mailbox from its detail", s), `write one character such as "+" or "-", or "" for off`)
	}
	return s, nil
})

// choice is one word of a fixed set and its value.
type choice[T comparable] struct {
	word  string
	value T
}

// words is oneOf for values that are the words themselves.
func words[T ~string](values ...T) codec[T] {
	var choices []choice[T]
	for _, v := range values {
		choices = append(choices, choice[T]{string(v), v})
	}
	return oneOf(choices...)
}

func oneOf[T comparable](choices ...choice[T]) codec[T] {
	var words []string
	for _, c := range choices {
		words = append(words, strconv.Quote(c.word))
	}
	return codec[T]{
		parse: func(s string) (v T, err error) {
			for _, c := range choices {
				if c.word == s {
					return c.value, nil
				}
			}
			return v, wrong(fmt.Sprintf("%q is not a choice", s), "write "+join(words, "or"))
		},
		format: func(v T) string {
			for _, c := range choices {
				if c.value == v {
					return c.word
				}
			}
			return fmt.Sprint(v)
		},
	}
}

// tlsVersion is oneOf with a hint for older versions.
func tlsVersion(choices ...choice[uint16]) codec[uint16] {
	as := oneOf(choices...)
	return codec[uint16]{
		parse: func(s string) (uint16, error) {
			switch s {
			case "1.0", "1.1":
				return 0, wrong(fmt.Sprintf("TLS %s is broken and is not offered to all clients", s),
					`write "1.2", and name the addresses of old programs in tls.legacy_networks`)
			}
			return as.parse(s)
		},
		format: as.format,
	}
}

// quote writes s as a TOML basic string.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func quoteList(items []string) string {
	quoted := make([]string, len(items))
	for i, s := range items {
		quoted[i] = quote(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// join writes a list as a sentence does: a, b or c.
func join(words []string, last string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	n := len(words) - 1
	return strings.Join(words[:n], ", ") + " " + last + " " + words[n]
}
