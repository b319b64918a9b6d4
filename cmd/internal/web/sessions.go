package web

import (
	"crypto/rand"
	"crypto/sha256"
	"net/url"
	"slices"
	"sync"
	"time"

	"pillarbox/mailstore/addr"
)

// Times after which a session ends.
const (
	operatorIdle = 30 * time.Minute
	operatorAge  = 8 * time.Hour
	userIdle     = 12 * time.Hour
	userAge      = 24 * time.Hour
)

const (
	maxSessions     = 5000 // the one that was not used for the longest time makes room
	maxUserSessions = 20   // of one mailbox
)

// session is a user who has logged in. Its fields do not change, but for the last ones, which belong to
// the table.
type session struct {
	user  addr.Address
	token string   // that every form must bring back
	proof [32]byte // of the password's verifier: another password ends the session
	began time.Time

	idle, age time.Duration

	seen     time.Time // owner: table.mu
	notice   notice    // owner: table.mu
	proposed proposal  // owner: table.mu
	proved   time.Time // owner: table.mu; when the user last gave the password, and the code
	held     heldForm  // owner: table.mu
}

// notice is what the next page says about the act before it.
type notice struct {
	Text     string
	Warnings []string
	Secret   string   // a generated password, shown once
	Codes    []string // recovery codes, shown once
	Link     string   // to set a new password, shown once
}

// table holds the sessions by the hash of their cookies. The zero value is empty. It is safe for
// concurrent use.
type table struct {
	mu   sync.Mutex
	live map[[sha256.Size]byte]*session // owner: mu
}

// begin adds a session and returns its cookie.
func (t *table) begin(s *session, now time.Time) (cookie string) {
	cookie = rand.Text()
	s.token, s.began, s.seen, s.proved = rand.Text(), now, now, now
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.live == nil {
		t.live = make(map[[sha256.Size]byte]*session)
	}
	t.expireLocked(now)
	t.makeRoomLocked(s.user)
	t.live[sha256.Sum256([]byte(cookie))] = s
	return cookie
}

func (t *table) expireLocked(now time.Time) {
	for key, s := range t.live {
		if s.over(now) {
			delete(t.live, key)
		}
	}
}

func (s *session) over(now time.Time) bool {
	return now.Sub(s.seen) >= s.idle || now.Sub(s.began) >= s.age
}

// makeRoomLocked ends the session that was not used for the longest time: one of the user's if the
// user has too many, one of anybody's if there are too many in all.
func (t *table) makeRoomLocked(user addr.Address) {
	oldest := func(eligible func(*session) bool) (key [sha256.Size]byte, count int) {
		var seen time.Time
		for k, s := range t.live {
			if !eligible(s) {
				continue
			}
			if count++; count == 1 || s.seen.Before(seen) {
				key, seen = k, s.seen
			}
		}
		return key, count
	}
	if key, own := oldest(func(s *session) bool { return s.user == user }); own >= maxUserSessions {
		delete(t.live, key)
	}
	if key, all := oldest(func(*session) bool { return true }); all >= maxSessions {
		delete(t.live, key)
	}
}

// find returns the session of a cookie, and counts as its use; nil if there is none.
func (t *table) find(cookie string, now time.Time) *session {
	key := sha256.Sum256([]byte(cookie))
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.live[key]
	if s == nil {
		return nil
	}
	if s.over(now) {
		delete(t.live, key)
		return nil
	}
	s.seen = now
	return s
}

// end ends the sessions that a function chooses.
func (t *table) end(chosen func(*session) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key, s := range t.live {
		if chosen(s) {
			delete(t.live, key)
		}
	}
}

// leave keeps a notice for the next page of the session.
func (t *table) leave(s *session, n notice) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.notice = n
}

// take returns the notice and forgets it.
func (t *table) take(s *session) notice {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := s.notice
	s.notice = notice{}
	n.Warnings = slices.Clone(n.Warnings)
	return n
}

// propose keeps a second factor that is being set up.
func (t *table) propose(s *session, p proposal) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.proposed = p
}

// proposal returns the second factor that is being set up.
func (t *table) proposal(s *session, now time.Time) (p proposal, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return s.proposed, now.Before(s.proposed.until)
}

// heldForm is a form that waits for its user to give the password. It stays here because it may have
// passwords in it, which no page must repeat.
type heldForm struct {
	id, path string
	form     url.Values
	until    time.Time
}

// provedAt returns when the user of a session last gave the password, and the code.
func (t *table) provedAt(s *session) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return s.proved
}

// prove records that the user of a session has given the password, and the code, now.
func (t *table) prove(s *session, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.proved = now
}

// hold keeps a form and returns its ID. A session has one at most.
func (t *table) hold(s *session, f heldForm) (id string) {
	f.id = rand.Text()
	t.mu.Lock()
	defer t.mu.Unlock()
	s.held = f
	return f.id
}

// release returns the form of an ID, which was sent to a path, and forgets it if it is taken.
func (t *table) release(s *session, id, path string, take bool, now time.Time) (url.Values, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := s.held
	if f.id == "" || !same(f.id, id) || f.path != path || !now.Before(f.until) {
		return nil, false
	}
	if take {
		s.held = heldForm{}
	}
	return f.form, true
}
