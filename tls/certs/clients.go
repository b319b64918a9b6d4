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

// Client is what the server knows of one client's TLS since its start.
type Client struct {
	Address    netip.Addr `json:"address"`
	Service    string     `json:"service"`
	Port       int        `json:"port"`                // of the server
	Protocol   string     `json:"protocol"`            // "TLS 1.3"; of one refused: the newest that it has
	Cipher     string     `json:"cipher,omitempty"`    // as in crypto/tls; "": refused
	Legacy     bool       `json:"legacy"`              // it is served by the legacy profile only
	WeakCipher bool       `json:"below_128,omitempty"` // by a cipher below 128 bits
	Refused    bool       `json:"refused,omitempty"`   // it is too old for what it is offered
	First      time.Time  `json:"first"`
	Last       time.Time  `json:"last"`
	Count      int        `json:"count"` // handshakes
}

// How many clients are remembered; of more the longest unseen are forgotten.
// Those who need the legacy profile are apart, so that nobody from the internet
// can push them out.
const (
	maxLegacyClients = 2000
	maxOtherClients  = 8000
)

// contact is one connection.
type contact struct {
	service string
	remote  netip.Addr
	port    int
}

// clientKey is what makes a row of the table.
type clientKey struct {
	contact
	version, suite uint16
}

// clients remembers who used which TLS. It is safe for concurrent use.
type clients struct {
	mu            sync.Mutex
	legacy, other recent
	old, tooOld   daily // whom the log has told of
}

func newClients() *clients {
	return &clients{legacy: newRecent(maxLegacyClients), other: newRecent(maxOtherClients)}
}

// agreed notes what a handshake came to. A client that needs the legacy profile
// is a line in the log, once a day.
func (c *clients) agreed(who contact, version, suite uint16, now time.Time, log *slog.Logger) {
	legacy := strength.Legacy(version, suite)
	c.mu.Lock()
	table := &c.other
	if legacy {
		table = &c.legacy
	}
	row := table.row(clientKey{who, version, suite}, now)
	row.Legacy, row.Cipher, row.WeakCipher = legacy, tls.CipherSuiteName(suite), strength.WeakCipher(suite)
	tell := legacy && c.old.first(who.remote, now)
	c.mu.Unlock()
	if tell {
		log.Warn("a client still needs old TLS", "remote", who.remote, "service", who.service, "port", who.port,
			"protocol", tls.VersionName(version), "cipher", tls.CipherSuiteName(suite))
	}
}

// refused notes a client that is too old for the modern profile and may not have
// the other. It is a line in the log, once a day.
func (c *clients) refused(who contact, hello *tls.ClientHelloInfo, now time.Time, log *slog.Logger) {
	newest := slices.Max(append([]uint16{0}, slices.DeleteFunc(slices.Clone(hello.SupportedVersions), func(v uint16) bool {
		return v > tls.VersionTLS13
	})...))
	c.mu.Lock()
	row := c.other.row(clientKey{who, newest, 0}, now)
	row.Refused = true
	tell := c.tooOld.first(who.remote, now)
	c.mu.Unlock()
	if tell {
		log.Warn("a client is too old for TLS as it is offered, and was refused", "remote", who.remote, "service", who.service, "port", who.port,
			"newest protocol", tls.VersionName(newest), "hint", "if it is one of your own, name its address in tls.legacy_networks")
	}
}

// daily is the addresses of one day.
type daily struct {
	day string
	all map[netip.Addr]bool
}

// first reports whether an address comes for the first time on this day. When
// there are too many, nobody does any more: the log has lines enough.
func (d *daily) first(ip netip.Addr, now time.Time) bool {
	if today := now.Format(time.DateOnly); d.day != today {
		d.day, d.all = today, make(map[netip.Addr]bool)
	}
	if d.all[ip] || len(d.all) >= maxOtherClients {
		return false
	}
	d.all[ip] = true
	return true
}

// Clients lists what clients used since the start, those who need old TLS first,
// then by address.
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
		return cmp.Or(cmp.Compare(rank(a), rank(b)), a.Address.Compare(b.Address), cmp.Compare(a.Port, b.Port), a.First.Compare(b.First))
	})
	return all
}

// recent is a table that forgets the row which was longest not touched.
type recent struct {
	limit int
	order *list.List // of clientRow, the latest first
	rows  map[clientKey]*list.Element
}

type clientRow struct {
	key clientKey
	Client
}

func newRecent(limit int) recent {
	return recent{limit, list.New(), make(map[clientKey]*list.Element)}
}

// row counts a handshake.
func (r *recent) row(key clientKey, now time.Time) *Client {
	e, ok := r.rows[key]
	if ok {
		r.order.MoveToFront(e)
	} else {
		e = r.order.PushFront(&clientRow{key, Client{
			Address: key.remote, Service: key.service, Port: key.port, Protocol: tls.VersionName(key.version), First: now,
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
