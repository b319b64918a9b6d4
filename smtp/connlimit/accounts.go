package connlimit

import (
	"log/slog"
	"sync"
)

// Accounts counts the sessions of each account that has logged in. Safe for
// concurrent use.
type Accounts struct {
	log *slog.Logger

	mu       sync.Mutex
	limit    int            // owner: mu; 0 is none
	in       map[string]int // owner: mu; no entry is zero
	refusals refusals       // owner: mu
}

// NewAccounts returns Accounts with at most limit sessions for each; 0 is no
// limit.
func NewAccounts(limit int, log *slog.Logger) *Accounts {
	return &Accounts{limit: limit, log: log, in: make(map[string]int)}
}

// SetLimit changes the limit for sessions to come.
func (a *Accounts) SetLimit(limit int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.limit = limit
}

// Enter counts a session of the account, by a name that is always written the
// same, and says whether it may begin. Each Enter that was true wants one Leave.
func (a *Accounts) Enter(name string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.limit > 0 && a.in[name] >= a.limit {
		a.refusals.log(a.log, "sessions refused by a limit", "limits.connections_per_account", "smtp", "mailbox", name)
		return false
	}
	a.in[name]++
	return true
}

// Leave ends a session that Enter let in.
func (a *Accounts) Leave(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.in[name]--; a.in[name] <= 0 {
		delete(a.in, name)
	}
}
