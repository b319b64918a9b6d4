package simulate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// state is what was promised of a message in one place.
type state int

const (
	flying   state = iota // it was sent, and no answer has come
	maybe                 // no answer will come: both is right
	promised              // acknowledged
	refused               // it was refused, or its end was never sent
	leaving               // its deletion was asked for, and no answer came: both is right
	deleted
)

func (s state) String() string {
	return [...]string{"on its way", "perhaps accepted", "acknowledged", "refused", "perhaps deleted", "deleted"}[s]
}

// model knows what was promised.
type model struct {
	mu            sync.Mutex
	boxes         map[string]*box     // by address now
	former        map[string]*box     // by each address that it ever had, the last to have it
	uids          map[string]string   // to which message each unique-id belongs, for ever
	messages      map[string]*message // by token
	names         map[string]bool     // token and the name of a mailbox that it was accepted for
	away          map[string]*away    // by token and recipient
	owed          map[string]*report  // by reportKey
	lists         map[string][]*box   // by address
	unlisted      bool                // a verb has failed that changes lists too: who is in them is not known
	doubtful      []*box              // with others
	latest        time.Time           // by the clock of the server, which may have been set back
	moved         map[string]bool     // addresses whose mailbox was renamed or removed, or perhaps was
	refusedReport bool                // another server took a report not
	vault         *box                // the archive of office.example; nil: it has none
	wrong         []string            // what was found against the promises
}

type message struct {
	token, from, text string
	local             bool // from is one of ours, logged in
	sent              time.Time
}

// box is a mailbox, whatever it is called.
type box struct {
	name    string
	copies  map[string]*copied // by token
	removed bool
	limit   bool     // it has, or had, a quota
	ruled   bool     // it has the rules of "rules"
	sweeps  int      // retention runs that are at work
	had     []string // all names that it ever had
	others  []string // a verb on it has failed: after a crash it may have one of these names, or none
}

type copied struct {
	state    state
	uid      string
	seen     bool // by a reader
	orReport bool // a full mailbox was one of several recipients
	imported bool
	perhaps  bool // whether it was accepted is not known: a retention run may have deleted it before a reader came
	renewed  bool // it may have been restored after a deletion, under another unique-id
	deleted  time.Time
	swept    bool // a retention run was at work between its sending and its answer
}

// away is a message for one recipient on another server.
type away struct {
	state           state
	token, to       string
	accepted, spare int // how often the other server took it; how many more than once were allowed
	last            time.Time
	settled         bool // since the last time that it was taken, or refused for good, the server had a whole disk and time
	failed          bool // the other server refused it for good
	forgotten       bool // it did so, and the server ended before that was settled
}

// report is a delivery report that is owed.
type report struct {
	sender string
	uids   map[string]bool
	spare  int
	unsure bool // it need not come
}

func newModel() *model {
	return &model{
		boxes: make(map[string]*box), former: make(map[string]*box), uids: make(map[string]string), messages: make(map[string]*message),
		names: make(map[string]bool), away: make(map[string]*away), owed: make(map[string]*report),
		lists: make(map[string][]*box), moved: make(map[string]bool),
	}
}

// violation notes what is wrong.
func (m *model) violation(format string, args ...any) {
	if len(m.wrong) < 20 {
		m.wrong = append(m.wrong, fmt.Sprintf(format, args...))
	}
}

func awayKey(token, to string) string           { return token + " to " + to }
func reportKey(token, to, action string) string { return action + " " + token + " to " + to }

// meant notes that a message was accepted for the mailbox that has this name now.
func (m *model) meant(token, name string) { m.names[awayKey(token, name)] = true }

func (m *model) newBox(name string) *box {
	b := &box{copies: make(map[string]*copied)}
	m.call(b, name)
	return b
}

// call gives a mailbox its name.
func (m *model) call(b *box, name string) {
	b.name, b.removed = name, false
	b.had = append(b.had, name)
	m.boxes[name], m.former[name] = b, b
}

// certain notes that a verb has succeeded: a name belongs to a mailbox, and to no other.
func (m *model) certain(b *box, name string) {
	m.doubtful = slices.DeleteFunc(m.doubtful, func(other *box) bool {
		other.others = slices.DeleteFunc(other.others, func(n string) bool { return n == name })
		if other == b {
			other.others = nil
		}
		return len(other.others) == 0
	})
}

// doubt notes that a verb has failed.
func (m *model) doubt(b *box, names ...string) {
	m.unlisted = true
	if len(b.others) == 0 {
		m.doubtful = append(m.doubtful, b)
	}
	for _, name := range names {
		if !slices.Contains(b.others, name) {
			b.others = append(b.others, name)
		}
	}
}

// expand returns the mailboxes that get mail for an address.
func (m *model) expand(to string) (all []*box) {
	if _, list := m.lists[to]; list {
		return slices.DeleteFunc(slices.Clone(m.lists[to]), func(b *box) bool { return b.removed })
	}
	// The server may have looked before another one renamed it.
	if b := cmp.Or(m.find(to), m.former[to]); b != nil {
		all = append(all, b)
	}
	return all
}

// uncertain notes that nothing can be said of reports that go to a mailbox now.
func (m *model) uncertain(names ...string) {
	for _, name := range names {
		m.moved[name] = true
	}
}

// answered notes what became of a message in a mailbox.
func (m *model) answered(b *box, token string, now state, orReport bool) {
	c := b.copies[token]
	if c == nil {
		c = new(copied)
		b.copies[token] = c
	}
	if now == refused && c.seen {
		m.violation("message %s was shown in %s and then refused", token, b.name)
	}
	if now == refused && c.state == promised {
		return // another recipient leads to the same mailbox
	}
	if c.state == deleted || c.state == leaving { // a reader was faster than the answer
		return
	}
	c.swept = c.swept || b.sweeps > 0
	c.state, c.orReport = now, orReport
	if now == promised && (c.swept || b.removed) { // by a removal that failed and was done all the same
		c.state = leaving
	}
	if now == maybe && c.seen {
		c.state = promised
	}
}

// snapshot is what a mailbox must show, and must not show, to a reader who comes now.
type snapshot struct {
	must    []string
	mustNot map[string]state
}

func (m *model) snapshot(b *box) snapshot {
	s := snapshot{mustNot: make(map[string]state)}
	for token, c := range b.copies {
		switch {
		case c.state == promised && !c.orReport:
			s.must = append(s.must, token)
		case c.state == refused, c.state == deleted:
			s.mustNot[token] = c.state
		}
	}
	slices.Sort(s.must)
	return s
}

// listed is a message in a listing.
type listed struct {
	uid   string
	token string // of a report: "report " and its key and its uid
}

// shown holds a listing against the promises, as they were before it.
func (m *model) shown(b *box, before snapshot, found []listed, settledNow bool) {
	here := make(map[string]string)
	unread := false
	for _, f := range found {
		if f.token == "" {
			unread = true
			continue
		}
		if other, twice := here[f.token]; twice {
			m.violation("message %s is in %s twice: %s and %s", f.token, b.name, other, f.uid)
		}
		here[f.token] = f.uid
		m.showOne(b, f, before)
	}
	for _, token := range before.must {
		c := b.copies[token]
		if here[token] == "" && c.state == promised && !(unread && c.uid == "") {
			m.violation("message %s (uid %s) is missing in %s: it was acknowledged", token, c.uid, b.name)
			c.state = deleted
		}
	}
	if !settledNow {
		return
	}
	for token, c := range b.copies {
		_, there := here[token]
		switch {
		case c.state == maybe && !there:
			c.state, c.perhaps = refused, true
		case c.state == leaving && !there:
			c.state = deleted
		case c.state == leaving:
			c.state = promised
		case c.orReport && !there && c.state == promised:
			c.state = refused
		case c.orReport && there:
			c.orReport = false
		}
	}
}

func (m *model) showOne(b *box, f listed, before snapshot) {
	if owner, known := m.uids[f.uid]; known && owner != f.token {
		m.violation("unique-id %s in %s was that of %s and is now that of %s", f.uid, b.name, owner, f.token)
	}
	m.uids[f.uid] = f.token
	c := b.copies[f.token]
	if c == nil {
		// A mailbox that was added while the message was on its way, under a name that it was accepted for, may have it.
		meant := func(name string) bool { return m.names[awayKey(f.token, name)] }
		if !strings.HasPrefix(f.token, "report ") && !slices.ContainsFunc(b.had, meant) {
			m.violation("message %s is in %s and was never sent there", f.token, b.name)
		}
		c = &copied{state: b.found()}
		b.copies[f.token] = c
	}
	if c.uid != "" && c.uid != f.uid && !c.imported && !c.renewed {
		m.violation("message %s in %s had the unique-id %s and has now %s", f.token, b.name, c.uid, f.uid)
	}
	c.uid, c.seen = f.uid, true
	if was, wrong := before.mustNot[f.token]; wrong && !c.renewed {
		m.violation("message %s (uid %s) is in %s: it was %v", f.token, f.uid, b.name, was)
		c.state = promised
	}
	if c.state == maybe {
		c.state = b.found()
	}
}

// found is the state of a message that a reader finds for the first time: a retention run that is at work may delete it.
func (b *box) found() state {
	if b.sweeps > 0 {
		return leaving
	}
	return promised
}

// fetched notes that a reader asked for a deletion and what came of it.
func (m *model) fetched(b *box, tokens []string, now state) {
	for _, token := range tokens {
		if c := b.copies[token]; c != nil {
			c.state, c.deleted = now, time.Now()
		}
	}
}

// forgets notes that the log of the last seconds is damaged: a deletion in it, or the note that a message was sent, is gone,
// while the message may be in the rest of it.
func (m *model) forgets(seconds time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range m.former {
		for _, c := range b.copies {
			if c.state == deleted && time.Since(c.deleted) < seconds {
				c.state = leaving
			}
		}
	}
	for _, a := range m.away {
		if time.Since(a.last) < seconds {
			a.settled = false
		}
	}
}

// crashed notes that the server ended without an order: what it did last may not be known to the next.
func (m *model) crashed() {
	for _, a := range m.away {
		if a.accepted > 0 && !a.settled {
			a.spare++
		}
		a.forgotten = a.forgotten || a.failed && !a.settled
	}
	for _, r := range m.owed {
		r.spare++
	}
}

// noted is longer than a server with a whole disk needs to note that a message was taken, even if the log is full.
const noted = 15 * time.Second

// settle notes that the server had a whole disk and time, or has nothing in the queue any more: what was taken after the
// last fault will not be sent again, nor, after a while, anything else.
func (m *model) settle(lastFault time.Time, calm, empty bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, a := range m.away {
		if (a.accepted > 0 || a.failed) && !a.forgotten && (calm || a.last.After(lastFault)) && (empty || time.Since(a.last) > noted) {
			a.settled = true
		}
	}
}

// took is the other server's acceptance of a message.
func (m *model) took(token, to string, told bool) {
	a := m.away[awayKey(token, to)]
	if a == nil {
		m.violation("message %s was sent to %s, which nobody asked for", token, to)
		return
	}
	a.accepted++
	a.last = time.Now()
	switch {
	case a.state == refused:
		m.violation("message %s was sent to %s, and it was refused", token, to)
	case a.accepted > 1+a.spare:
		m.violation("message %s was sent to %s %d times", token, to, a.accepted)
	case a.failed && a.settled:
		m.violation("message %s was sent to %s, which had refused it for good", token, to)
	case a.failed: // the server could not note the refusal, tried again, and has nothing to report now
		if r := m.owed[reportKey(token, to, "failed")]; r != nil {
			r.unsure = true
		}
	}
	a.settled, a.failed, a.forgotten = false, false, false
	if !told {
		a.spare++ // it will come again: nobody told the server that it was taken
	}
	if a.state == maybe {
		a.state = promised
	}
}

// turnedDown is the other server's refusal for good.
func (m *model) turnedDown(token, to string) {
	a := m.away[awayKey(token, to)]
	if a == nil {
		return
	}
	a.failed, a.settled, a.forgotten, a.last = true, false, false, time.Now()
	if msg := m.messages[token]; msg != nil && msg.local {
		m.owe(token, to, "failed", msg.from)
	}
}

func (m *model) owe(token, to, action, sender string) *report {
	key := reportKey(token, to, action)
	r := m.owed[key]
	if r == nil {
		r = &report{sender: sender, uids: make(map[string]bool)}
		m.owed[key] = r
	}
	return r
}

// owedNow is the report that is owed. One may be on its way before the answer that says so has reached the client.
func (m *model) owedNow(token, to, action string) *report {
	r, msg := m.owed[reportKey(token, to, action)], m.messages[token]
	if r == nil && action == "failed" && msg != nil && (msg.local || vouched(msg.from)) && m.flies(token) {
		r = m.owe(token, to, action, msg.from)
		r.unsure = true
	}
	return r
}

// flies reports whether a message is on its way.
func (m *model) flies(token string) bool {
	for _, b := range m.former {
		if c := b.copies[token]; c != nil && c.state == flying {
			return true
		}
	}
	return false
}

// reported is a report in a mailbox.
func (m *model) reported(b *box, uid, token, to, action string) (name string) {
	key := reportKey(token, to, action)
	r := m.owedNow(token, to, action)
	if msg := m.messages[token]; r == nil && action == "delayed" && msg != nil && m.latest.Sub(msg.sent) > 11*time.Hour {
		r = m.owe(token, to, action, msg.from)
	}
	switch {
	case r == nil:
		m.violation("a report (%s) is in %s, and was not owed", key, b.name)
	case r.uids[uid]:
	case len(r.uids) > r.spare:
		m.violation("a report (%s) came %d times to %s", key, len(r.uids)+1, b.name)
		fallthrough
	default:
		r.uids[uid] = true
	}
	return "report " + key + " " + uid
}
