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
	maxPairs     = 50_000 // wrong log-ins remembered in all
	maxBanAfter  = 1000   // more from one network are not counted
	maxNameShown = 80     // octets of what a client called itself
)

// BanOptions says when an address is banned; the zero value bans nobody.
type BanOptions struct {
	After    int                   // distinct wrong log-ins within Window; 0: nobody is banned; at most 1000
	Duration time.Duration         // of a ban; 0 means an hour
	Window   time.Duration         // how long a wrong log-in counts; 0 means 15 min
	Trusted  func(netip.Addr) bool // who is never banned; nil: nobody is trusted
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

// Bans counts the distinct wrong log-ins, pairs of account and password, of each
// client address (the /64 of an IPv6 address), and bans an address with too many
// for a while. One wrong password for one account counts once however often it
// is repeated: a phone with last year's password bans nobody. Bans are kept in
// memory: a restart lifts them. Safe for concurrent use; a nil *Bans bans nobody.
type Bans struct {
	log *slog.Logger

	mu      sync.Mutex
	options BanOptions                // guarded by mu
	records map[netip.Prefix]*suspect // guarded by mu
	pairs   int                       // guarded by mu: len of all suspects' wrong
}

// suspect is a network from which wrong log-ins came.
type suspect struct {
	last  netip.Addr // that guessed
	wrong []wrongLogin
	since time.Time // of the ban; zero: not banned
	until time.Time
	end   *time.Timer // of the ban
}

type wrongLogin struct {
	account     string // folded
	fingerprint uint64 // of the password
	name        string // of the account as the client wrote it first
	last        time.Time
}

// A Record is what is known of a network's wrong log-ins.
type Record struct {
	Address  string    `json:"address"` // "192.0.2.7", or "2001:db8::/64"
	Trusted  bool      `json:"trusted"` // never banned, and not counted
	Since    time.Time `json:"since,omitzero"`
	Until    time.Time `json:"until,omitzero"` // of the ban; zero: not banned
	Distinct int       `json:"distinct"`       // wrong log-ins that count
	Limit    int       `json:"limit"`          // that bans; 0: none does
	Accounts []Tried   `json:"accounts"`       // the most tried first
}

// Banned reports that the network is banned.
func (r Record) Banned() bool { return !r.Until.IsZero() }

// Tried is one account that wrong passwords were tried for.
type Tried struct {
	Name      string    `json:"name"` // as the client wrote it; quoted when it is not plain text
	Passwords int       `json:"passwords"`
	Last      time.Time `json:"last"`
}

// NewBans returns Bans that know of nobody.
func NewBans(options BanOptions, log *slog.Logger) *Bans {
	return &Bans{log: log, options: options.withDefaults(), records: make(map[netip.Prefix]*suspect)}
}

// SetOptions puts other options in force. Who is trusted now, and everybody when
// nobody is to be banned, is no longer banned; other bans last as long as they
// were meant to.
func (b *Bans) SetOptions(options BanOptions) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.options = options.withDefaults()
	for network, s := range b.records {
		if b.options.After <= 0 || b.options.Trusted(s.last) {
			b.drop(network, s, "ban lifted by a changed configuration")
		}
	}
}

// Until says until when an address is banned, if it is.
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

// List returns the networks that are banned, those banned last first.
func (b *Bans) List() []Record {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	banned := []Record{}
	for network, s := range b.records {
		if now.Before(s.until) {
			banned = append(banned, b.record(network, s, now))
		}
	}
	slices.SortFunc(banned, func(x, y Record) int {
		return cmp.Or(y.Since.Compare(x.Since), cmp.Compare(x.Address, y.Address))
	})
	return banned
}

// Why returns what is known of an address, banned or not.
func (b *Bans) Why(remote netip.Addr) Record {
	remote, network := networkOf(remote)
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.records[network]
	if s == nil {
		s = new(suspect)
	}
	r := b.record(network, s, time.Now())
	if b.options.Trusted(remote) {
		r.Trusted, r.Since, r.Until = true, time.Time{}, time.Time{}
	}
	return r
}

// Lift ends the ban of an address and forgets its wrong log-ins. It reports
// whether there was one.
func (b *Bans) Lift(remote netip.Addr) bool {
	_, network := networkOf(remote)
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.records[network]
	if s == nil {
		return false
	}
	banned := time.Now().Before(s.until)
	b.drop(network, s, "ban lifted")
	return banned
}

// wrong counts a wrong log-in.
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
		b.ban(network, s, now)
	}
	b.makeRoom(network)
}

func (s *suspect) forget(before time.Time) {
	if s.until.IsZero() { // what led to a ban stays for those who ask why
		s.wrong = slices.DeleteFunc(s.wrong, func(w wrongLogin) bool { return !w.last.After(before) })
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

// ban begins a ban. The caller holds the lock.
func (b *Bans) ban(network netip.Prefix, s *suspect, now time.Time) {
	s.since, s.until = now, now.Add(b.options.Duration)
	s.end = time.AfterFunc(b.options.Duration, func() { b.expire(network, s) })
	b.log.Warn("address banned", "address", shown(network), "until", s.until.Format(time.RFC3339),
		"distinct", len(s.wrong), "accounts", strings.Join(s.names(), ", "))
}

// names are those of the accounts that were tried, as many as a log line may hold.
func (s *suspect) names() []string {
	const enough = 5
	var names []string
	for _, w := range s.wrong {
		names = append(names, w.name)
	}
	slices.Sort(names)
	if names = slices.Compact(names); len(names) > enough {
		names = append(names[:enough], "…")
	}
	return names
}

// expire ends a ban whose time has come, unless it has been lifted.
func (b *Bans) expire(network netip.Prefix, s *suspect) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.records[network] == s {
		b.drop(network, s, "ban ended")
	}
}

// drop forgets a network, and says so when it was banned. The caller holds the
// lock.
func (b *Bans) drop(network netip.Prefix, s *suspect, why string) {
	delete(b.records, network)
	b.pairs -= len(s.wrong)
	if s.end != nil {
		s.end.Stop()
		b.log.Info(why, "address", shown(network))
	}
}

// makeRoom keeps the table bounded, sparing the network that came last: first
// those go that are not banned, then others. A flood of addresses must not cost
// memory. The caller holds the lock.
func (b *Bans) makeRoom(spare netip.Prefix) {
	for _, bannedToo := range []bool{false, true} {
		for network, s := range b.records {
			if b.pairs <= maxPairs {
				return
			}
			if network != spare && (bannedToo || s.until.IsZero()) {
				b.drop(network, s, "ban ended early: too many addresses")
			}
		}
	}
}

// record is what there is to tell. The caller holds the lock.
func (b *Bans) record(network netip.Prefix, s *suspect, now time.Time) Record {
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

// networkOf is an address in its plain form, and the network that answers for
// it: an IPv6 host usually has a whole /64 to itself. The zero Addr gives the
// zero Prefix: connections that have no address are one network.
func networkOf(remote netip.Addr) (netip.Addr, netip.Prefix) {
	remote = remote.Unmap().WithZone("")
	bits := 32
	if remote.Is6() {
		bits = 64
	}
	network, _ := remote.Prefix(bits)
	return remote, network
}

// shown writes a network as people do: one IPv4 address as such.
func shown(network netip.Prefix) string {
	if network.IsSingleIP() {
		return network.Addr().String()
	}
	return network.String()
}

// shownName makes what a client sent fit for people to read.
func shownName(name string) string {
	name = strings.Clone(name[:min(len(name), maxNameShown)])
	if name == "" || !addr.IsText(name) {
		return strconv.Quote(name)
	}
	return name
}
