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

// DNSFailure is the way in which a DNS server fails.
type DNSFailure int

// The values of DNSFailure.
const (
	DNSAnswers  DNSFailure = iota // no failure
	DNSServFail                   // rcode 2
	DNSRefused                    // rcode 5
	DNSNXDomain                   // rcode 3, whatever records exist
	DNSSilent                     // no answer: a timeout
)

// DNS is a small DNS server on loopback, over UDP and TCP. It has the records that the test sets;
// any other name does not exist. Names may end with a dot and are case-insensitive. It is safe for
// concurrent use.
type DNS struct {
	address string

	mu       sync.Mutex
	records  map[string][]dnsmessage.ResourceBody // by name; guarded by mu
	failures map[dnsQuestion]DNSFailure           // guarded by mu
	signed   map[string]bool                      // names with authenticated answers; guarded by mu
	asked    map[dnsQuestion]int                  // guarded by mu
	streams  int                                  // questions over TCP; guarded by mu
}

// dnsQuestion is a question: a normalised name, "" for all names, and a type, 0 for all types.
type dnsQuestion struct {
	name string
	kind dnsmessage.Type
}

// maxDatagram is the size in octets above which an answer needs TCP.
const maxDatagram = 512

// NewDNS starts a server that runs until the test ends.
func NewDNS(t testing.TB) *DNS {
	t.Helper()
	return NewDNSAt(t, "127.0.0.1:0")
}

// NewDNSAt is NewDNS for the "ip:port" at which a program asks.
func NewDNSAt(t testing.TB, address string) *DNS {
	t.Helper()
	d := &DNS{
		records:  make(map[string][]dnsmessage.ResourceBody),
		failures: make(map[dnsQuestion]DNSFailure),
		signed:   make(map[string]bool),
		asked:    make(map[dnsQuestion]int),
	}
	packets, streams := listenBoth(t, address)
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

// listenBoth listens at an "ip:port" that is free for both UDP and TCP; port 0 means any.
func listenBoth(t testing.TB, address string) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 20 {
		streams, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		packets, err := net.ListenPacket("udp", streams.Addr().String())
		if err == nil {
			return packets, streams
		}
		streams.Close()
	}
	t.Fatal(address + " is not free for both UDP and TCP")
	return nil, nil
}

// Addr returns the server's "ip:port".
func (d *DNS) Addr() string { return d.address }

// SetAddrs sets the A and AAAA records of a name. Without ips the name exists but has no address.
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

// SetMX sets the mail exchangers of a domain, the preferred one first. "." alone is the null MX
// (RFC 7505).
func (d *DNS) SetMX(domain string, hosts ...string) {
	var bodies []dnsmessage.ResourceBody
	for i, host := range hosts {
		bodies = append(bodies, &dnsmessage.MXResource{Pref: uint16(10 * i), MX: absolute(host)})
	}
	d.set(domain, bodies, dnsmessage.TypeMX)
}

// SetEqualMX sets mail exchangers of a domain that all have the same preference.
func (d *DNS) SetEqualMX(domain string, hosts ...string) {
	var bodies []dnsmessage.ResourceBody
	for _, host := range hosts {
		bodies = append(bodies, &dnsmessage.MXResource{Pref: 10, MX: absolute(host)})
	}
	d.set(domain, bodies, dnsmessage.TypeMX)
}

// SetSRV sets the one SRV record of a name such as "_pop3s._tcp.office.example".
func (d *DNS) SetSRV(name, target string, port uint16) {
	d.set(name, []dnsmessage.ResourceBody{
		&dnsmessage.SRVResource{Priority: 0, Weight: 1, Port: port, Target: absolute(target)},
	}, dnsmessage.TypeSRV)
}

// SetPTR sets the names of an address.
func (d *DNS) SetPTR(ip netip.Addr, names ...string) {
	var bodies []dnsmessage.ResourceBody
	for _, name := range names {
		bodies = append(bodies, &dnsmessage.PTRResource{PTR: absolute(name)})
	}
	d.set(ReverseName(ip), bodies, dnsmessage.TypePTR)
}

// SetHost sets the address of a host and the name of that address.
func (d *DNS) SetHost(name string, ip netip.Addr) {
	d.SetAddrs(name, ip)
	d.SetPTR(ip, name)
}

// SetTXT sets the texts of a name, each at most 255 octets.
func (d *DNS) SetTXT(name string, texts ...string) {
	var bodies []dnsmessage.ResourceBody
	for _, text := range texts {
		bodies = append(bodies, &dnsmessage.TXTResource{TXT: []string{text}})
	}
	d.set(name, bodies, dnsmessage.TypeTXT)
}

// typeTLSA is TLSA (RFC 6698), which the library lacks.
const typeTLSA dnsmessage.Type = 52

// SetTLSA sets the TLSA records of a name such as "_25._tcp.mx.example". A record is three octets,
// usage, selector and matching type, followed by the data (RFC 6698 §2.1).
func (d *DNS) SetTLSA(name string, records ...[]byte) {
	var bodies []dnsmessage.ResourceBody
	for _, data := range records {
		bodies = append(bodies, &dnsmessage.UnknownResource{Type: typeTLSA, Data: data})
	}
	d.set(name, bodies, typeTLSA)
}

// Sign makes the answers for names authenticated, as if this server had validated their signatures
// (RFC 4035 §3.2.3): it sets the AD bit if the question asks for it.
func (d *DNS) Sign(names ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, name := range names {
		d.signed[normal(name)] = true
	}
}

// Fail makes questions for a name fail; DNSAnswers ends that. The name "" means every name. Types
// are "A", "AAAA", "MX", "PTR", "TXT" and "TLSA"; without types it applies to all.
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

// Asked returns how often a question came, over UDP or TCP.
func (d *DNS) Asked(name, kind string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked[dnsQuestion{normal(name), dnsType(kind)}]
}

// AskedTCP returns the number of questions over TCP.
func (d *DNS) AskedTCP() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.streams
}

// ReverseName returns the name of an address's PTR records (RFC 1035 §3.5, RFC 3596 §2.5).
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

// set replaces the records of a name that have these types.
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
		dnsmessage.TypeA, dnsmessage.TypeAAAA, dnsmessage.TypeMX, dnsmessage.TypeSRV, dnsmessage.TypePTR,
		dnsmessage.TypeTXT,
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
	case *dnsmessage.SRVResource:
		return dnsmessage.TypeSRV
	case *dnsmessage.PTRResource:
		return dnsmessage.TypePTR
	}
	return dnsmessage.TypeTXT
}
