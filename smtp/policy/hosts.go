package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"pillarbox/mailstore/addr"
)

// HostList is a list of hosts: addresses, networks, ranges, names. A look-up takes the same time
// in a list of any length, and allocates no memory. Only ranges that are not a network are tried
// one by one.
type HostList struct {
	index
	prefixes map[netip.Prefix]int // masked
	bits4    []int                // prefix lengths in use, longest first
	bits6    []int
	ranges   []hostRange
	spans    []Span
	names    map[string]int // host.example.at
	below    map[string]int // .example.at, without the dot
}

// hostRange is a span of values for each octet of an IPv4 address, as in Domino's
// [192.168.1-10.*].
type hostRange struct {
	low, high [4]byte
	entry     int
}

// Span is the addresses that an entry matches: each octet is between those of Low and High. A
// name has no span.
type Span struct {
	Line      Line
	All       bool   // the entry "*"
	Low, High []byte // 4 or 16 octets
}

// Spans returns the addresses that the entries match. The check for open relays judges by them
// how wide an entry is.
func (l *HostList) Spans() []Span { return l.spans }

func spanOf(line Line, p netip.Prefix) Span {
	s := Span{Line: line, Low: p.Masked().Addr().AsSlice(), High: p.Masked().Addr().AsSlice()}
	for i := p.Bits(); i < 8*len(s.High); i++ {
		s.High[i/8] |= 0x80 >> (i % 8)
	}
	return s
}

// ParseHosts reads a list and reports every bad entry. Entries are
//
//	192.0.2.1, 2001:db8::1        an address
//	192.0.2.0/24, 2001:db8::/32   a network
//	192.0.2.0 255.255.255.0       a network with its mask (IIS)
//	[192.0.2.1]                   any of these in brackets (Domino)
//	[1.2.3.1-3], [1.2.3.*]        a range (Domino)
//	host.example.at               a name in DNS
//	.example.at                   every name below it
//	*                             every host
//	group:NAME                    the entries of the group
func ParseHosts(lines []Line, groups map[string][]Line) (HostList, []error) {
	l := HostList{prefixes: map[netip.Prefix]int{}, names: map[string]int{}, below: map[string]int{}}
	lines, errs := expand(lines, groups)
	for _, line := range lines {
		if err := l.parse(line); err != nil {
			errs = append(errs, err)
		}
	}
	byLength := func(a, b int) int { return b - a }
	slices.SortFunc(l.bits4, byLength)
	slices.SortFunc(l.bits6, byLength)
	return l, errs
}

const hostHint = "write an address, a network as 192.168.1.0/24, a range as [192.168.1.1-20], a name, .domain for the names below it, or *"

func (l *HostList) parse(line Line) error {
	text := strings.TrimSpace(line.Text)
	if text == "*" || text == "[*]" {
		l.all = l.add(line, "*") + 1
		l.spans = append(l.spans, Span{Line: line, All: true})
		return nil
	}
	inner, bracketed := strings.CutPrefix(text, "[")
	if bracketed {
		var closed bool
		if inner, closed = strings.CutSuffix(inner, "]"); !closed {
			return &EntryError{line, "the closing bracket is missing", hostHint}
		}
	}
	if prefix, ok, err := parsePrefix(inner); err != nil {
		return &EntryError{line, err.Error(), hostHint}
	} else if ok {
		l.addPrefix(line, prefix)
		return nil
	}
	if r, ok, err := parseRange(inner); err != nil {
		return &EntryError{line, err.Error(), hostHint}
	} else if ok {
		r.entry = l.add(line, fmt.Sprint(r.low, r.high))
		l.ranges = append(l.ranges, r)
		l.spans = append(l.spans, Span{Line: line, Low: r.low[:], High: r.high[:]})
		return nil
	}
	if bracketed {
		return &EntryError{line, "the text in brackets is not an address, a network or a range", hostHint}
	}
	return l.addName(line, text)
}

func (l *HostList) addPrefix(line Line, p netip.Prefix) {
	entry := l.add(line, p.String())
	l.spans = append(l.spans, spanOf(line, p))
	if _, twice := l.prefixes[p]; !twice {
		l.prefixes[p] = entry
	}
	bits := &l.bits6
	if p.Addr().Is4() {
		bits = &l.bits4
	}
	if !slices.Contains(*bits, p.Bits()) {
		*bits = append(*bits, p.Bits())
	}
}

func (l *HostList) addName(line Line, text string) error {
	name, below := strings.CutPrefix(strings.TrimPrefix(text, "*"), ".")
	domain, err := addr.ParseDomain(name)
	// No top-level domain begins with a digit. Such a "name" is a mistyped address.
	last := name[strings.LastIndexByte(name, '.')+1:]
	numeric := last != "" && '0' <= last[0] && last[0] <= '9'
	if err != nil || numeric || domain.IsLiteral() || strings.HasPrefix(text, "*") && !below {
		return &EntryError{line, "is neither an address nor a host name", hostHint}
	}
	table, canon := l.names, string(domain)
	if below {
		table, canon = l.below, "."+string(domain)
	}
	entry := l.add(line, canon)
	if _, twice := table[string(domain)]; !twice {
		table[string(domain)] = entry
	}
	return nil
}

// parsePrefix reads an address, a network, or an address and a mask. ok is false if s is none of
// these.
func parsePrefix(s string) (p netip.Prefix, ok bool, err error) {
	if ip, err := netip.ParseAddr(s); err == nil {
		if ip.Zone() != "" {
			return p, false, fmt.Errorf("an address in a list cannot name an interface (%%eth0)")
		}
		ip = ip.Unmap()
		return netip.PrefixFrom(ip, ip.BitLen()), true, nil
	}
	if host, mask, found := cutMask(s); found {
		ip, err1 := netip.ParseAddr(host)
		m, err2 := netip.ParseAddr(mask)
		if err1 != nil || err2 != nil || !ip.Is4() || !m.Is4() {
			return p, false, nil
		}
		bits, contiguous := maskBits(m)
		if !contiguous {
			return p, false, fmt.Errorf("%s is not a subnet mask", mask)
		}
		return masked(netip.PrefixFrom(ip, bits))
	}
	if p, err := netip.ParsePrefix(s); err == nil {
		return masked(p)
	}
	if host, bits, found := strings.Cut(s, "/"); found && strings.Contains(host, "*") && bits != "" {
		return p, false, fmt.Errorf("a range and a length do not go together")
	}
	return p, false, nil
}

// cutMask splits "192.168.1.0 255.255.255.0" and "192.168.1.0/255.255.255.0".
func cutMask(s string) (host, mask string, found bool) {
	if f := strings.Fields(s); len(f) == 2 {
		return f[0], f[1], true
	}
	host, mask, found = strings.Cut(s, "/")
	return host, mask, found && strings.Contains(mask, ".")
}

func maskBits(m netip.Addr) (bits int, contiguous bool) {
	b := m.As4()
	n := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	for bits < 32 && n&(1<<(31-bits)) != 0 {
		bits++
	}
	return bits, n == ^uint32(0)<<(32-bits) || bits == 0 && n == 0
}

func masked(p netip.Prefix) (netip.Prefix, bool, error) {
	if p.Addr().Is4In6() {
		return p, false, fmt.Errorf("write it as an IPv4 network")
	}
	if p != p.Masked() {
		return p, false, fmt.Errorf("the address has bits beyond the prefix; the network is %s", p.Masked())
	}
	return p, true, nil
}

// parseRange reads four octets, some of them spans such as 1-10, or *. ok is false if s has another
// form.
func parseRange(s string) (r hostRange, ok bool, err error) {
	parts := strings.Split(s, ".")
	if len(parts) != 4 || !strings.ContainsAny(s, "*-") || strings.Trim(s, "0123456789.*-") != "" {
		return r, false, nil
	}
	for i, part := range parts {
		low, high, span := strings.Cut(part, "-")
		if part == "*" {
			low, high, span = "0", "255", true
		}
		if !span {
			high = low
		}
		a, err1 := strconv.ParseUint(low, 10, 8)
		b, err2 := strconv.ParseUint(high, 10, 8)
		if err1 != nil || err2 != nil || a > b {
			return r, false, fmt.Errorf("%q is not a span of 0 to 255", part)
		}
		r.low[i], r.high[i] = byte(a), byte(b)
	}
	return r, true, nil
}

func (r *hostRange) holds(ip [4]byte) bool {
	for i := range ip {
		if ip[i] < r.low[i] || ip[i] > r.high[i] {
			return false
		}
	}
	return true
}

// Match looks up a host by its address and its verified name in DNS; "" means that it has none.
// The most specific entry decides.
func (l *HostList) Match(ip netip.Addr, name string) (Line, bool) { return l.match(ip, name, nil) }

// match is Match without the entries that except has too. except may be nil.
func (l *HostList) match(ip netip.Addr, name string, except *index) (Line, bool) {
	if len(l.lines) == 0 {
		return Line{}, false
	}
	if entry, ok := l.matchAddress(ip.Unmap().WithZone(""), except); ok {
		return l.lines[entry], true
	}
	if entry, ok := l.matchName(name, except); ok {
		return l.lines[entry], true
	}
	return l.wildcard(except)
}

func (l *HostList) matchAddress(ip netip.Addr, except *index) (int, bool) {
	if !ip.IsValid() {
		return 0, false
	}
	lengths := l.bits6
	if ip.Is4() {
		lengths = l.bits4
	}
	for _, bits := range lengths {
		p, _ := ip.Prefix(bits)
		if entry, ok := l.prefixes[p]; ok && l.counts(entry, except) {
			return entry, true
		}
	}
	if ip.Is4() {
		octets := ip.As4()
		for i := range l.ranges {
			if l.ranges[i].holds(octets) && l.counts(l.ranges[i].entry, except) {
				return l.ranges[i].entry, true
			}
		}
	}
	return 0, false
}

func (l *HostList) matchName(name string, except *index) (int, bool) {
	if name == "" {
		return 0, false
	}
	if entry, ok := l.names[name]; ok && l.counts(entry, except) {
		return entry, true
	}
	for parent := range parents(name) {
		if entry, ok := l.below[parent]; ok && l.counts(entry, except) {
			return entry, true
		}
	}
	return 0, false
}

// hasNames reports whether a look-up needs the host's name in DNS.
func (l *HostList) hasNames() bool { return len(l.names)+len(l.below) > 0 }

// parents yields the parent domains of a name: for a.b.c, b.c and c.
func parents(name string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for i := 0; i < len(name); i++ {
			if name[i] == '.' && !yield(name[i+1:]) {
				return
			}
		}
	}
}
