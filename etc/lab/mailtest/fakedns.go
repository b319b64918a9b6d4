package mailtest

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// DNSFailure is what a DNS server does instead of answering.
type DNSFailure int

// The failures.
const (
	DNSAnswers  DNSFailure = iota // it does answer
	DNSServFail                   // rcode 2
	DNSRefused                    // rcode 5
	DNSNXDomain                   // rcode 3, whatever records there are
	DNSSilent                     // nothing comes: a time-out
)

// DNS is a small DNS server on loopback, UDP and TCP. It knows the records that
// it was given; any other name does not exist. Names are written with or without
// the final dot, in any case. Safe for concurrent use.
type DNS struct {
	address string

	mu       sync.Mutex
	records  map[string][]dnsmessage.ResourceBody // by name; guarded by mu
	failures map[dnsQuestion]DNSFailure           // guarded by mu
	signed   map[string]bool                      // names whose answers are authentic; guarded by mu
	asked    map[dnsQuestion]int                  // guarded by mu
	streams  int                                  // questions that came by TCP; guarded by mu
}

// dnsQuestion is a name in normal form, "" for all names, and a type, 0 for all
// types.
type dnsQuestion struct {
	name string
	kind dnsmessage.Type
}

// maxDatagram is the size from which an answer has to come by TCP.
const maxDatagram = 512

// NewDNS starts a server that runs until the test ends.
func NewDNS(t testing.TB) *DNS {
	t.Helper()
	d := &DNS{
		records:  make(map[string][]dnsmessage.ResourceBody),
		failures: make(map[dnsQuestion]DNSFailure),
		signed:   make(map[string]bool),
		asked:    make(map[dnsQuestion]int),
	}
	packets, streams := listenBoth(t)
	d.address = packets.LocalAddr().String()
	var serving sync.WaitGroup
	serving.Go(func() { d.serveUDP(packets) })
	serving.Go(func() { d.serveTCP(streams) })
	t.Cleanup(func() {
		packets.Close()
		streams.Close()
		serving.Wait()
	})
	return d
}

// listenBoth finds a port that is free for UDP and TCP alike.
func listenBoth(t testing.TB) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 20 {
		streams, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		packets, err := net.ListenPacket("udp", streams.Addr().String())
		if err == nil {
			return packets, streams
		}
		streams.Close()
	}
	t.Fatal("no port is free for both UDP and TCP")
	return nil, nil
}

// Addr is the server's "ip:port".
func (d *DNS) Addr() string { return d.address }

// SetAddrs gives a name its addresses, A and AAAA; none takes them away, and
// leaves a name without addresses.
func (d *DNS) SetAddrs(name string, ips ...netip.Addr) {
	var bodies []dnsmessage.ResourceBody
	for _, ip := range ips {
		if ip.Is4() {
			bodies = append(bodies, &dnsmessage.AResource{A: ip.As4()})
		} else {
			bodies = append(bodies, &dnsmessage.AAAAResource{AAAA: ip.As16()})
		}
	}
	d.set(name, bodies, dnsmessage.TypeA, dnsmessage.TypeAAAA)
}

// SetMX gives a domain its mail exchangers, the preferred first; "." alone is
// the null MX.
func (d *DNS) SetMX(domain string, hosts ...string) {
	var bodies []dnsmessage.ResourceBody
	for i, host := range hosts {
		bodies = append(bodies, &dnsmessage.MXResource{Pref: uint16(10 * i), MX: absolute(host)})
	}
	d.set(domain, bodies, dnsmessage.TypeMX)
}

// SetEqualMX gives a domain mail exchangers that are all of one preference.
func (d *DNS) SetEqualMX(domain string, hosts ...string) {
	var bodies []dnsmessage.ResourceBody
	for _, host := range hosts {
		bodies = append(bodies, &dnsmessage.MXResource{Pref: 10, MX: absolute(host)})
	}
	d.set(domain, bodies, dnsmessage.TypeMX)
}

// SetPTR gives an address its names.
func (d *DNS) SetPTR(ip netip.Addr, names ...string) {
	var bodies []dnsmessage.ResourceBody
	for _, name := range names {
		bodies = append(bodies, &dnsmessage.PTRResource{PTR: absolute(name)})
	}
	d.set(ReverseName(ip), bodies, dnsmessage.TypePTR)
}

// SetHost gives a host its address and the address its name.
func (d *DNS) SetHost(name string, ip netip.Addr) {
	d.SetAddrs(name, ip)
	d.SetPTR(ip, name)
}

// SetTXT gives a name its texts, each at most 255 octets.
func (d *DNS) SetTXT(name string, texts ...string) {
	var bodies []dnsmessage.ResourceBody
	for _, text := range texts {
		bodies = append(bodies, &dnsmessage.TXTResource{TXT: []string{text}})
	}
	d.set(name, bodies, dnsmessage.TypeTXT)
}

// typeTLSA is RFC 6698; the library has no name for it.
const typeTLSA dnsmessage.Type = 52

// SetTLSA gives a name, such as "_25._tcp.mx.example", its TLSA records: three
// octets of usage, selector and matching type, then the data (RFC 6698 §2.1).
func (d *DNS) SetTLSA(name string, records ...[]byte) {
	var bodies []dnsmessage.ResourceBody
	for _, data := range records {
		bodies = append(bodies, &dnsmessage.UnknownResource{Type: typeTLSA, Data: data})
	}
	d.set(name, bodies, typeTLSA)
}

// Sign makes the answers for names authentic, as if this server had checked their
// signatures (RFC 4035 §3.2.3): the AD bit is set where the question wants it.
func (d *DNS) Sign(names ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, name := range names {
		d.signed[normal(name)] = true
	}
}

// Fail makes questions for a name fail, or answered again with DNSAnswers. The
// name "" is every name. Types are "A", "AAAA", "MX", "PTR", "TXT" and "TLSA"; none
// are all of them.
func (d *DNS) Fail(how DNSFailure, name string, types ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(types) == 0 {
		d.failures[dnsQuestion{normal(name), 0}] = how
	}
	for _, kind := range types {
		d.failures[dnsQuestion{normal(name), dnsType(kind)}] = how
	}
}

// Asked is how often a question came, by UDP or TCP.
func (d *DNS) Asked(name, kind string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked[dnsQuestion{normal(name), dnsType(kind)}]
}

// AskedTCP is how many questions came by TCP.
func (d *DNS) AskedTCP() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.streams
}

// ReverseName is the name in which the PTR records of an address stand (RFC 1035
// §3.5, RFC 3596 §2.5).
func ReverseName(ip netip.Addr) string {
	const hex = "0123456789abcdef"
	raw := ip.AsSlice()
	slices.Reverse(raw)
	if ip.Is4() {
		return netip.AddrFrom4([4]byte(raw)).String() + ".in-addr.arpa"
	}
	var b strings.Builder
	for _, octet := range raw {
		b.Write([]byte{hex[octet&15], '.', hex[octet>>4], '.'})
	}
	return b.String() + "ip6.arpa"
}

// set replaces the records of a name that are of the types.
func (d *DNS) set(name string, bodies []dnsmessage.ResourceBody, types ...dnsmessage.Type) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name = normal(name)
	kept := slices.DeleteFunc(slices.Clone(d.records[name]), func(b dnsmessage.ResourceBody) bool {
		return slices.Contains(types, bodyType(b))
	})
	d.records[name] = append(kept, bodies...)
}

func normal(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

func absolute(name string) dnsmessage.Name {
	return dnsmessage.MustNewName(strings.TrimSuffix(name, ".") + ".")
}

func dnsType(kind string) dnsmessage.Type {
	if kind == "TLSA" {
		return typeTLSA
	}
	for _, t := range []dnsmessage.Type{
		dnsmessage.TypeA, dnsmessage.TypeAAAA, dnsmessage.TypeMX, dnsmessage.TypePTR, dnsmessage.TypeTXT,
	} {
		if t.String() == "Type"+kind {
			return t
		}
	}
	panic("mailtest: unknown DNS type " + kind)
}

func bodyType(b dnsmessage.ResourceBody) dnsmessage.Type {
	switch b := b.(type) {
	case *dnsmessage.UnknownResource:
		return b.Type
	case *dnsmessage.AResource:
		return dnsmessage.TypeA
	case *dnsmessage.AAAAResource:
		return dnsmessage.TypeAAAA
	case *dnsmessage.MXResource:
		return dnsmessage.TypeMX
	case *dnsmessage.PTRResource:
		return dnsmessage.TypePTR
	}
	return dnsmessage.TypeTXT
}
