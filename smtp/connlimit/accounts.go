package connlimit

import (
	"log/slog"
	"sync"
)

// Accounts counts the sessions of each logged-in account. It is safe for concurrent use.
type Accounts struct {
	log *slog.Logger

	mu       sync.Mutex
	limit    int            // owner: mu; 0 means no limit
	sessions map[string]int // owner: mu; no entry is zero
	refusals refusals       // owner: mu
}

// NewAccounts returns Accounts with at most limit sessions for each account. 0 means no limit.
func NewAccounts(limit int, log *slog.Logger) *Accounts {
	return &Accounts{limit: limit, log: log, sessions: make(map[string]int)}
}

// SetLimit changes the limit for future sessions.
func (a *Accounts) SetLimit(limit int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.limit = limit
}

// Enter counts a session of the account and reports whether it may begin. name must be in one
// canonical spelling. After Enter returned true, the caller must call Leave once.
func (a *Accounts) Enter(name string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.limit > 0 && a.sessions[name] >= a.limit {
		a.refusals.log(a.log, "sessions refused by a limit", "limits.connections_per_account",
			"smtp", "mailbox", name)
		return false
	}
	a.sessions[name]++
	return true
}

// Leave ends a session that Enter admitted.
func (a *Accounts) Leave(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.sessions[name]--; a.sessions[name] <= 0 {
		delete(a.sessions, name)
	}
}
