package auth

import (
	"cmp"
	"log/slog"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"pillarbox/mailstore/addr"
)

const (
	maxPairs     = 50_000 // wrong logins remembered for all networks together
	maxBanAfter  = 1000   // wrong logins remembered for one network
	maxNameShown = 80     // octets of a user name, as the client sent it
)

// BanOptions decide when an address is banned. The zero value bans no address.
type BanOptions struct {
	// After is the number of distinct wrong logins within Window; 0 means no bans; at most 1000.
	After    int
	Duration time.Duration         // length of a ban; 0 means 1 h
	Window   time.Duration         // how long a wrong login counts; 0 means 15 min
	Trusted  func(netip.Addr) bool // addresses that are never banned; nil means none
}

func (o BanOptions) withDefaults() BanOptions {
	o.After = min(o.After, maxBanAfter)
	o.Duration = cmp.Or(o.Duration, time.Hour)
	o.Window = cmp.Or(o.Window, 15*time.Minute)
	if o.Trusted == nil {
		o.Trusted = func(netip.Addr) bool { return false }
	}
	return o
}

// Bans counts the distinct wrong logins of each client address (the /64 of an IPv6 address), and
// bans an address with too many for a while. A wrong login is a pair of account and password. It
// counts once, however often it is repeated: a phone with last year's password causes no ban. Bans
// are kept in memory, and a restart lifts them. Bans is safe for concurrent use; a nil *Bans bans
// no address.
type Bans struct {
	log *slog.Logger

	mu      sync.Mutex
	options BanOptions                // guarded by mu
	records map[netip.Prefix]*suspect // guarded by mu
	pairs   int                       // guarded by mu: total length of wrong in all records
}

// suspect is a network that sent wrong logins.
type suspect struct {
	last  netip.Addr // the latest address of the network to guess
	wrong []wrongLogin
	since time.Time // start of the ban; zero means not banned
	until time.Time
	end   *time.Timer // fires when the ban ends
}

type wrongLogin struct {
	account     string // folded
	fingerprint uint64 // of the password
	name        string // of the account, as the client first wrote it
	last        time.Time
}

// A Record lists the wrong logins of a network.
type Record struct {
	Address  string    `json:"address"` // "192.0.2.7", or "2001:db8::/64"
	Trusted  bool      `json:"trusted"` // never banned, and not counted
	Since    time.Time `json:"since,omitzero"`
	Until    time.Time `json:"until,omitzero"` // end of the ban; zero means not banned
	Distinct int       `json:"distinct"`       // wrong logins that count now
	Limit    int       `json:"limit"`          // wrong logins that cause a ban; 0 means none do
	Accounts []Tried   `json:"accounts"`       // the account with the most passwords first
}

// Banned reports whether the network is banned.
func (r Record) Banned() bool { return !r.Until.IsZero() }

// Tried is one account for which wrong passwords were sent.
type Tried struct {
	Name      string    `json:"name"` // as the client wrote it; quoted unless it is plain text
	Passwords int       `json:"passwords"`
	Last      time.Time `json:"last"`
}

// NewBans returns Bans without any record.
func NewBans(options BanOptions, log *slog.Logger) *Bans {
	return &Bans{log: log, options: options.withDefaults(),
		records: make(map[netip.Prefix]*suspect)}
}

// SetOptions replaces the options. It lifts the bans of addresses that are trusted now, and all
// bans if After is 0. Other bans keep their end.
func (b *Bans) SetOptions(options BanOptions) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.options = options.withDefaults()
	for network, s := range b.records {
		if b.options.After <= 0 || b.options.Trusted(s.last) {
			b.dropLocked(network, s, "ban lifted by a changed configuration")
		}
	}
}

// Until returns the end of the ban of an address, and whether it is banned.
func (b *Bans) Until(remote netip.Addr) (until time.Time, banned bool) {
	if b == nil {
		return time.Time{}, false
	}
	remote, network := networkOf(remote)
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.records[network]
	if s == nil || !time.Now().Before(s.until) || b.options.Trusted(remote) {
		return time.Time{}, false
	}
	return s.until, true
}

// List returns the banned networks, the latest ban first.
func (b *Bans) List() []Record {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	banned := []Record{}
	for network, s := range b.records {
		if now.Before(s.until) {
			banned = append(banned, b.recordLocked(network, s, now))
		}
	}
	slices.SortFunc(banned, func(x, y Record) int {
		return cmp.Or(y.Since.Compare(x.Since), cmp.Compare(x.Address, y.Address))
	})
	return banned
}

// Why returns the record of an address, banned or not.
func (b *Bans) Why(remote netip.Addr) Record {
	remote, network := networkOf(remote)
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.records[network]
	if s == nil {
		s = new(suspect)
	}
	r := b.recordLocked(network, s, time.Now())
	if b.options.Trusted(remote) {
		r.Trusted, r.Since, r.Until = true, time.Time{}, time.Time{}
	}
	return r
}

// Lift ends the ban of an address and forgets its wrong logins. It reports whether the address was
// banned.
func (b *Bans) Lift(remote netip.Addr) bool {
	_, network := networkOf(remote)
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.records[network]
	if s == nil {
		return false
	}
	banned := time.Now().Before(s.until)
	b.dropLocked(network, s, "ban lifted")
	return banned
}

// wrong counts a wrong login.
func (b *Bans) wrong(remote netip.Addr, account, name string, fingerprint uint64) {
	if b == nil {
		return
	}
	remote, network := networkOf(remote)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.options.After <= 0 || !remote.IsValid() || b.options.Trusted(remote) {
		return
	}
	now := time.Now()
	s := b.records[network]
	if s == nil {
		s = new(suspect)
		b.records[network] = s
	}
	s.last = remote
	b.pairs -= len(s.wrong)
	s.forget(now.Add(-b.options.Window))
	s.add(wrongLogin{account, fingerprint, shownName(name), now})
	b.pairs += len(s.wrong)
	if len(s.wrong) >= b.options.After && s.until.IsZero() {
		b.banLocked(network, s, now)
	}
	b.evictLocked(network)
}

func (s *suspect) forget(before time.Time) {
	if s.until.IsZero() { // the reasons for a ban stay, for Why
		s.wrong = slices.DeleteFunc(s.wrong,
			func(w wrongLogin) bool { return !w.last.After(before) })
	}
}

func (s *suspect) add(w wrongLogin) {
	i := slices.IndexFunc(s.wrong, func(old wrongLogin) bool {
		return old.account == w.account && old.fingerprint == w.fingerprint
	})
	switch {
	case i >= 0:
		s.wrong[i].last = w.last
	case len(s.wrong) < maxBanAfter:
		s.wrong = append(s.wrong, w)
	}
}

func (b *Bans) banLocked(network netip.Prefix, s *suspect, now time.Time) {
	s.since, s.until = now, now.Add(b.options.Duration)
	s.end = time.AfterFunc(b.options.Duration, func() { b.expire(network, s) })
	b.log.Warn("address banned", "address", shown(network), "until", s.until.Format(time.RFC3339),
		"distinct", len(s.wrong), "accounts", strings.Join(s.names(), ", "))
}

// names returns the accounts that were tried, at most five and then "…".
func (s *suspect) names() []string {
	const maxNames = 5
	var names []string
	for _, w := range s.wrong {
		names = append(names, w.name)
	}
	slices.Sort(names)
	if names = slices.Compact(names); len(names) > maxNames {
		names = append(names[:maxNames], "…")
	}
	return names
}

// expire ends a ban at its time, unless it has been lifted.
func (b *Bans) expire(network netip.Prefix, s *suspect) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.records[network] == s {
		b.dropLocked(network, s, "ban ended")
	}
}

// dropLocked forgets a network, and logs the reason if it was banned.
func (b *Bans) dropLocked(network netip.Prefix, s *suspect, why string) {
	delete(b.records, network)
	b.pairs -= len(s.wrong)
	if s.end != nil {
		s.end.Stop()
		b.log.Info(why, "address", shown(network))
	}
}

// evictLocked keeps the table bounded, so that a flood of addresses cannot use up the memory. It
// drops networks that are not banned before banned ones, and never the one in keep.
func (b *Bans) evictLocked(keep netip.Prefix) {
	for _, evictBanned := range []bool{false, true} {
		for network, s := range b.records {
			if b.pairs <= maxPairs {
				return
			}
			if network != keep && (evictBanned || s.until.IsZero()) {
				b.dropLocked(network, s, "ban ended early: too many addresses")
			}
		}
	}
}

// recordLocked builds the Record of a network.
func (b *Bans) recordLocked(network netip.Prefix, s *suspect, now time.Time) Record {
	r := Record{Address: shown(network), Limit: b.options.After, Accounts: []Tried{}}
	if now.Before(s.until) {
		r.Since, r.Until = s.since, s.until
	}
	tried := make(map[string]*Tried) // by the folded name
	for _, w := range s.wrong {
		if !r.Banned() && !w.last.After(now.Add(-b.options.Window)) {
			continue
		}
		r.Distinct++
		t := tried[w.account]
		if t == nil {
			t = &Tried{Name: w.name}
			tried[w.account] = t
		}
		t.Passwords++
		if w.last.After(t.Last) {
			t.Last = w.last
		}
	}
	for _, t := range tried {
		r.Accounts = append(r.Accounts, *t)
	}
	slices.SortFunc(r.Accounts, func(x, y Tried) int {
		return cmp.Or(cmp.Compare(y.Passwords, x.Passwords), cmp.Compare(x.Name, y.Name))
	})
	return r
}

// networkOf returns an address in plain form, and the network that is counted for it: the /64 of an
// IPv6 address, since an IPv6 host usually has a whole /64 to itself, else the address alone. The
// zero Addr gives the zero Prefix, so all connections without an address count as one network.
func networkOf(remote netip.Addr) (netip.Addr, netip.Prefix) {
	remote = remote.Unmap().WithZone("")
	bits := 32
	if remote.Is6() {
		bits = 64
	}
	network, _ := remote.Prefix(bits)
	return remote, network
}

// shown formats a network: a single address without its prefix length.
func shown(network netip.Prefix) string {
	if network.IsSingleIP() {
		return network.Addr().String()
	}
	return network.String()
}

// shownName makes a name from a client safe to print: shortened, and quoted unless it is plain
// text.
func shownName(name string) string {
	name = strings.Clone(name[:min(len(name), maxNameShown)])
	if name == "" || !addr.IsText(name) {
		return strconv.Quote(name)
	}
	return name
}
