package auth

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"pillarbox/mailstore/addr"
)

const (
	recentFor       = 30 * time.Minute
	recentClients   = 1000 // addresses that are remembered
	recentPerClient = 16   // users of one address, such as a terminal server
)

// Recent remembers who has logged in to POP3 from which address, for programs that send mail without
// a login after they have read mail ("POP before SMTP"). It remembers only clients in the networks
// that SetNetworks names, for half an hour. It is safe for concurrent use.
type Recent struct {
	mu       sync.Mutex
	networks []netip.Prefix               // owner: mu
	logins   map[netip.Addr][]recentLogin // owner: mu; the latest login last
}

type recentLogin struct {
	user addr.Address
	at   time.Time
}

// NewRecent returns a Recent that remembers nothing before SetNetworks.
func NewRecent() *Recent { return &Recent{logins: make(map[netip.Addr][]recentLogin)} }

// SetNetworks sets the clients that are remembered. Others are forgotten.
func (r *Recent) SetNetworks(networks []netip.Prefix) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.networks = networks
	for client := range r.logins {
		if !r.coversLocked(client) {
			delete(r.logins, client)
		}
	}
}

func (r *Recent) coversLocked(client netip.Addr) bool {
	return slices.ContainsFunc(r.networks, func(p netip.Prefix) bool { return p.Contains(client) })
}

// Add remembers a login of a client.
func (r *Recent) Add(client netip.Addr, user addr.Address) {
	client = client.Unmap().WithZone("")
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.coversLocked(client) {
		return
	}
	logins := slices.DeleteFunc(r.freshLocked(client), func(l recentLogin) bool { return l.user == user })
	if logins = append(logins, recentLogin{user, time.Now()}); len(logins) > recentPerClient {
		logins = logins[1:]
	}
	if _, known := r.logins[client]; known || r.makeRoomLocked() {
		r.logins[client] = logins
	}
}

// Find returns the user who has logged in from a client. If several have, it is the one with the
// address of the sender or, without such a user, the latest. ok is false if there is none.
func (r *Recent) Find(client netip.Addr, sender addr.Address) (user addr.Address, ok bool) {
	client = client.Unmap().WithZone("")
	r.mu.Lock()
	defer r.mu.Unlock()
	logins := r.freshLocked(client)
	if len(logins) == 0 {
		delete(r.logins, client)
		return addr.Address{}, false
	}
	for _, l := range logins {
		if l.user == sender.Fold() {
			return l.user, true
		}
	}
	return logins[len(logins)-1].user, true
}

// freshLocked returns the logins of a client that still count, and forgets the others.
func (r *Recent) freshLocked(client netip.Addr) []recentLogin {
	logins, known := r.logins[client]
	if known {
		logins = slices.DeleteFunc(logins, func(l recentLogin) bool { return time.Since(l.at) >= recentFor })
		r.logins[client] = logins
	}
	return logins
}

// makeRoomLocked reports whether another client can be remembered.
func (r *Recent) makeRoomLocked() bool {
	if len(r.logins) < recentClients {
		return true
	}
	for client := range r.logins {
		if len(r.freshLocked(client)) == 0 {
			delete(r.logins, client)
		}
	}
	return len(r.logins) < recentClients
}
