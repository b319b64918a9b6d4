package web

import (
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"time"

	"pillarbox/mailstore/addr"
)

const (
	codeCookie = "__Host-pillarbox-code"
	codeTime   = 5 * time.Minute // that a user has for the code
	codeTries  = 5               // wrong codes after which the login begins anew
	maxHalves  = 1000            // the one that ends first makes room
)

// half is a login whose password was right and whose code is missing. Its cookie opens the page that
// asks for the code, and nothing else: it is not in the table of sessions.
type half struct {
	user  addr.Address
	proof [sha256.Size]byte // see proofOf
	next  string            // where the user wants to go
	token string            // that the form must bring back

	until time.Time
	tries int
}

// halves holds half logins by the hash of their cookies. The zero value is empty. It is safe for
// concurrent use.
type halves struct {
	mu   sync.Mutex
	live map[[sha256.Size]byte]*half // owner: mu
}

// begin adds a half login and returns its cookie.
func (t *halves) begin(h half, now time.Time) (cookie string) {
	cookie = rand.Text()
	h.token, h.until, h.tries = rand.Text(), now.Add(codeTime), 0
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.live == nil {
		t.live = make(map[[sha256.Size]byte]*half)
	}
	t.makeRoomLocked(now)
	t.live[sha256.Sum256([]byte(cookie))] = &h
	return cookie
}

func (t *halves) makeRoomLocked(now time.Time) {
	var first [sha256.Size]byte
	var until time.Time
	for key, h := range t.live {
		if !now.Before(h.until) {
			delete(t.live, key)
		} else if until.IsZero() || h.until.Before(until) {
			first, until = key, h.until
		}
	}
	if len(t.live) >= maxHalves {
		delete(t.live, first)
	}
}

// find returns the half login of a cookie.
func (t *halves) find(cookie string, now time.Time) (half, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.live[sha256.Sum256([]byte(cookie))]
	if h == nil || !now.Before(h.until) {
		return half{}, false
	}
	return *h, true
}

// try counts a try before the code is checked, so that tries at the same time count too. It reports
// whether there was one left.
func (t *halves) try(cookie string, now time.Time) bool {
	key := sha256.Sum256([]byte(cookie))
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.live[key]
	if h == nil || !now.Before(h.until) || h.tries >= codeTries {
		delete(t.live, key)
		return false
	}
	h.tries++
	return true
}

// end ends a half login.
func (t *halves) end(cookie string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.live, sha256.Sum256([]byte(cookie)))
}
