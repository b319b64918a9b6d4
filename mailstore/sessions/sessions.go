// Package sessions keeps the table of the clients that are connected now, for an administrator who
// looks at them or ends one.
//
// Start with Table. A server calls Table.Begin for each connection, tells the Session what happens,
// and calls Session.End when the connection ends. Table.List returns what all sessions do now.
// Table.Kill asks the server to end one. The numbers of sessions are those in package track.
package sessions

import (
	"cmp"
	"crypto/tls"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// State says what a session does now.
type State uint8

// The states.
const (
	Greeting   State = iota // connected; the client has not got the greeting yet
	Securing                // in the TLS handshake
	Idle                    // waits for a command of the client
	Answering               // executes a command
	LoggingIn               // in the exchange of a login
	Receiving               // receives a message
	Processing              // has received a message, which gets checked and stored
	Sending                 // sends a message
	lastState
)

var stateNames = [lastState]string{
	Greeting: "greeting", Securing: "TLS handshake", Idle: "idle", Answering: "answering",
	LoggingIn: "logging in", Receiving: "receiving", Processing: "processing", Sending: "sending",
}

// String returns the state as words. A state of a newer release is "unknown".
func (s State) String() string {
	if s < lastState {
		return stateNames[s]
	}
	return "unknown"
}

// MarshalText implements encoding.TextMarshaler.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *State) UnmarshalText(text []byte) error {
	*s = lastState
	if i := slices.Index(stateNames[:], string(text)); i >= 0 {
		*s = State(i)
	}
	return nil
}

// Table holds the sessions. The zero value is an empty table. It is safe for concurrent use.
type Table struct {
	mu   sync.Mutex
	last uint64              // owner: mu; the number of the latest session
	live map[uint64]*Session // owner: mu
}

// Begin adds a session. service is the key under [listen]. kill must make the session end soon; it
// is called at most once, from any goroutine, after Session.Killed has become true. A nil Table
// returns a Session with the number 0 that is in no table. The caller must call End.
func (t *Table) Begin(service string, remote netip.AddrPort, kill func()) *Session {
	s := &Session{
		table: t, service: service, remote: remote, begun: time.Now(), kill: kill,
		ended: make(chan struct{}),
	}
	if t == nil {
		return s
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.live == nil {
		t.live = make(map[uint64]*Session)
	}
	t.last++
	s.id = t.last
	t.live[s.id] = s
	return s
}

// List returns what the sessions do now, the oldest first.
func (t *Table) List() []Info {
	t.mu.Lock()
	all := make([]*Session, 0, len(t.live))
	for _, s := range t.live {
		all = append(all, s)
	}
	t.mu.Unlock()
	slices.SortFunc(all, func(a, b *Session) int { return cmp.Compare(a.id, b.id) })
	infos := make([]Info, len(all))
	for i, s := range all {
		infos[i] = s.Info()
	}
	return infos
}

// Count returns the number of sessions of each service.
func (t *Table) Count() map[string]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	count := make(map[string]int)
	for _, s := range t.live {
		count[s.service]++
	}
	return count
}

// Kill makes a session end, and returns it; nil if there is none with the number. It does not wait
// for the end.
func (t *Table) Kill(id uint64) *Session {
	t.mu.Lock()
	s := t.live[id]
	t.mu.Unlock()
	if s != nil && s.killed.CompareAndSwap(false, true) {
		s.kill()
	}
	return s
}

func (t *Table) remove(id uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.live, id)
}

// Session is one connection of a client. Its methods are safe for concurrent use, and take no lock
// that other sessions use, except End.
type Session struct {
	table   *Table // may be nil
	id      uint64
	service string
	remote  netip.AddrPort
	begun   time.Time
	kill    func()
	killed  atomic.Bool
	ended   chan struct{} // closed by End

	now               atomic.Uint64 // the state and since when: see SetState
	in, out, messages atomic.Int64
	mu                sync.Mutex
	user, helo, tls   string // owner: mu
}

// stateBits is the number of low bits of Session.now that hold the state. The others hold the time
// of its begin, in microseconds after that of the session.
const stateBits = 8

// ID returns the number of the session. Numbers grow from 1 on with each start of the server.
func (s *Session) ID() uint64 { return s.id }

// SetState tells what the session does from now on.
func (s *Session) SetState(state State) {
	since := uint64(max(0, time.Since(s.begun).Microseconds()))
	s.now.Store(since<<stateBits | uint64(state))
}

// SetUser tells who has logged in, or which device or program the client is.
func (s *Session) SetUser(user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.user = user
}

// SetHelo tells the name that the client gives itself.
func (s *Session) SetHelo(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.helo = name
}

// SetTLS tells that TLS has begun.
func (s *Session) SetTLS(state *tls.ConnectionState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tls = TLSName(state)
}

// TLSName returns the version and the cipher suite of a connection, such as
// "TLS 1.3 TLS_AES_128_GCM_SHA256".
func TLSName(state *tls.ConnectionState) string {
	return tls.VersionName(state.Version) + " " + tls.CipherSuiteName(state.CipherSuite)
}

// AddIn counts octets from the client, without those of TLS.
func (s *Session) AddIn(octets int) { s.in.Add(int64(octets)) }

// AddOut counts octets to the client, without those of TLS.
func (s *Session) AddOut(octets int64) { s.out.Add(octets) }

// AddMessage counts a message that the session has received or sent.
func (s *Session) AddMessage() { s.messages.Add(1) }

// Killed reports whether an administrator has ended the session.
func (s *Session) Killed() bool { return s.killed.Load() }

// End removes the session from the table. It must be called once.
func (s *Session) End() {
	if s.table != nil {
		s.table.remove(s.id)
	}
	close(s.ended) // whoever waits for the end finds the session in no list
}

// Ended returns a channel that is closed when the session has ended.
func (s *Session) Ended() <-chan struct{} { return s.ended }

// Info is a session at one moment. Helo is as the client sent it, so it may be any text.
type Info struct {
	ID      uint64     `json:"id"`
	Service string     `json:"service"` // the key under [listen]
	Remote  netip.Addr `json:"remote_ip"`
	Port    uint16     `json:"remote_port"`
	User    string     `json:"user"` // "" before a login
	Helo    string     `json:"helo"`
	TLS     string     `json:"tls"` // version and cipher suite; "" without TLS
	State   State      `json:"state"`
	// StateSince is when the state began, Since when the client connected.
	StateSince time.Time `json:"state_since"`
	Since      time.Time `json:"since"`
	In         int64     `json:"octets_in"` // from the client
	Out        int64     `json:"octets_out"`
	Messages   int64     `json:"messages"` // received or sent
	Killed     bool      `json:"killed"`   // by an administrator; it ends soon
}

// Info returns what the session does now.
func (s *Session) Info() Info {
	now := s.now.Load()
	begun := s.begun.Round(0)
	s.mu.Lock()
	defer s.mu.Unlock()
	return Info{
		ID: s.id, Service: s.service, Remote: s.remote.Addr(), Port: s.remote.Port(),
		User: s.user, Helo: s.helo, TLS: s.tls, State: State(now & (1<<stateBits - 1)),
		StateSince: begun.Add(time.Duration(now>>stateBits) * time.Microsecond), Since: begun,
		In: s.in.Load(), Out: s.out.Load(), Messages: s.messages.Load(), Killed: s.Killed(),
	}
}
