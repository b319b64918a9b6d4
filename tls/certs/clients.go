package certs

import (
	"cmp"
	"container/list"
	"crypto/tls"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"pillarbox/tls/strength"
)

// Client describes the TLS that one client has used since the server's start.
type Client struct {
	Address    netip.Addr `json:"address"`
	Service    string     `json:"service"`
	Port       int        `json:"port"`                // the server's
	Protocol   string     `json:"protocol"`            // "TLS 1.3"; if refused, the client's newest
	Cipher     string     `json:"cipher,omitempty"`    // as in crypto/tls; "" if refused
	Legacy     bool       `json:"legacy"`              // it needs the legacy profile
	WeakCipher bool       `json:"below_128,omitempty"` // the cipher has less than 128 bits
	Refused    bool       `json:"refused,omitempty"`   // it is too old for the TLS it was offered
	First      time.Time  `json:"first"`
	Last       time.Time  `json:"last"`
	Count      int        `json:"count"` // handshakes
}

// The largest numbers of clients in the table. Beyond them the client not seen for the longest time
// is forgotten. Clients of the legacy profile are counted separately, so that connections from the
// internet cannot displace them.
const (
	maxLegacyClients = 2000
	maxOtherClients  = 8000
)

// contact identifies a client by service, address and port.
type contact struct {
	service string
	remote  netip.Addr
	port    int
}

// clientKey is the key of a row in the table.
type clientKey struct {
	contact
	version, suite uint16
}

// clients records which client used which TLS. It is safe for concurrent use.
type clients struct {
	mu                          sync.Mutex
	legacy, other               recent
	warnedLegacy, warnedRefused logged // each day
	hintedDistrust              logged // each hour
}

func newClients() *clients {
	return &clients{
		legacy: newRecent(maxLegacyClients), other: newRecent(maxOtherClients),
		warnedLegacy: logged{period: time.DateOnly}, warnedRefused: logged{period: time.DateOnly},
		hintedDistrust: logged{period: "2006-01-02 15"},
	}
}

// recordHandshake records the result of a handshake. A client that needs the legacy profile is
// logged once a day.
func (c *clients) recordHandshake(
	who contact, version, suite uint16, now time.Time, log *slog.Logger,
) {
	legacy := strength.Legacy(version, suite)
	c.mu.Lock()
	table := &c.other
	if legacy {
		table = &c.legacy
	}
	row := table.row(clientKey{who, version, suite}, now)
	row.Legacy, row.Cipher = legacy, tls.CipherSuiteName(suite)
	row.WeakCipher = strength.WeakCipher(suite)
	warn := legacy && c.warnedLegacy.first(who.remote, now)
	c.mu.Unlock()
	if warn {
		log.Warn("a client still needs old TLS",
			"remote_ip", who.remote, "service", who.service, "port", who.port,
			"protocol", tls.VersionName(version), "cipher", tls.CipherSuiteName(suite))
	}
}

// recordRefusal records a client that is too old for the modern profile and may not use the legacy
// one. It is logged once a day.
func (c *clients) recordRefusal(
	who contact, hello *tls.ClientHelloInfo, now time.Time, log *slog.Logger,
) {
	var newest uint16
	for _, v := range hello.SupportedVersions {
		if v <= tls.VersionTLS13 { // higher values are meaningless (RFC 8701)
			newest = max(newest, v)
		}
	}
	c.mu.Lock()
	row := c.other.row(clientKey{who, newest, 0}, now)
	row.Refused = true
	warn := c.warnedRefused.first(who.remote, now)
	c.mu.Unlock()
	if warn {
		log.Warn("a client is too old for TLS as it is offered, and was refused",
			"remote_ip", who.remote, "service", who.service, "port", who.port,
			"newest_protocol", tls.VersionName(newest),
			"hint", "if it is one of your own, add its address to tls.legacy_networks")
	}
}

// logged is the set of addresses that were logged in one period.
type logged struct {
	period string // the layout of the time that is the same in a period
	now    string
	all    map[netip.Addr]bool
}

// first reports whether an address appears for the first time in this period. After maxOtherClients
// addresses it always returns false, since the log has lines enough.
func (d *logged) first(ip netip.Addr, now time.Time) bool {
	if text := now.Format(d.period); d.now != text {
		d.now, d.all = text, make(map[netip.Addr]bool)
	}
	if d.all[ip] || len(d.all) >= maxOtherClients {
		return false
	}
	d.all[ip] = true
	return true
}

// Clients lists the clients since the start: those that need old TLS first, then those refused,
// each by address.
func (m *Manager) Clients() []Client {
	m.clients.mu.Lock()
	all := append(m.clients.legacy.all(), m.clients.other.all()...)
	m.clients.mu.Unlock()
	rank := func(c Client) int {
		switch {
		case c.Legacy:
			return 0
		case c.Refused:
			return 1
		}
		return 2
	}
	slices.SortFunc(all, func(a, b Client) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), a.Address.Compare(b.Address),
			cmp.Compare(a.Port, b.Port), a.First.Compare(b.First))
	})
	return all
}

// recent is a table that forgets the row not used for the longest time.
type recent struct {
	limit int
	order *list.List // of *clientRow, the most recent first
	rows  map[clientKey]*list.Element
}

type clientRow struct {
	key clientKey
	Client
}

func newRecent(limit int) recent {
	return recent{limit, list.New(), make(map[clientKey]*list.Element)}
}

// row returns the row for key, making it if necessary, and counts a handshake.
func (r *recent) row(key clientKey, now time.Time) *Client {
	e, ok := r.rows[key]
	if ok {
		r.order.MoveToFront(e)
	} else {
		e = r.order.PushFront(&clientRow{key, Client{
			Address: key.remote, Service: key.service, Port: key.port,
			Protocol: tls.VersionName(key.version), First: now,
		}})
		r.rows[key] = e
		if len(r.rows) > r.limit {
			delete(r.rows, r.order.Remove(r.order.Back()).(*clientRow).key)
		}
	}
	c := &e.Value.(*clientRow).Client
	c.Last = now
	c.Count++
	return c
}

func (r *recent) all() (all []Client) {
	for e := r.order.Front(); e != nil; e = e.Next() {
		all = append(all, e.Value.(*clientRow).Client)
	}
	return all
}
