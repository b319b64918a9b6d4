package alert

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"
)

// Kind is what an alert is about.
type Kind string

// The values of Kind.
const (
	Disk        Kind = "disk"        // the disk of the data directory is almost full
	Storage     Kind = "storage"     // the disk does not answer, or the store recovers
	Certificate Kind = "certificate" // a certificate ends soon
	Queue       Kind = "queue"       // mail for other servers does not leave
	Account     Kind = "account"     // an account sent too much and is held
	Bans        Kind = "bans"        // many clients guess passwords
	Log         Kind = "log"         // a file of the store's log was damaged
	Backup      Kind = "backup"      // a backup failed, or is late
)

// Limits are the thresholds. 0 turns an alert off.
type Limits struct {
	DiskPercent int           // free room or free inodes below this
	Certificate time.Duration // left until a certificate ends
	QueueAge    time.Duration // of the oldest message that is not held
	Bans        int           // client networks that are banned at once
}

// Reading is the state of the server at one time.
type Reading struct {
	Time time.Time

	// Answers is false if the disk did not answer in time. The other values of the disk are unknown
	// then.
	Answers     bool
	DiskPercent int    // free room or free inodes, the smaller one
	DiskFree    int64  // octets
	DamagedLogs int    // files
	StoreFault  string // why the store takes no mail; "": it does
	BackupFault string // why the backups need a person; "": they do not

	CertificateStart, CertificateEnd time.Time // of the one that ends first; zero: none

	QueueOldest   time.Time // arrival; zero: no message waits
	QueueMessages int

	Held   []string // accounts
	HeldOK bool     // Held is known
	Banned int
}

// Facts are the values that a notice names.
type Facts struct {
	Percent int       `json:"percent,omitempty"`
	Octets  int64     `json:"octets,omitempty"`
	Count   int       `json:"count,omitempty"`
	When    time.Time `json:"when,omitzero"`
	Text    string    `json:"text,omitempty"`
}

// Notice tells that an alert began, got worse or ended.
type Notice struct {
	Kind  Kind      `json:"kind"`
	Event string    `json:"event"` // raised, worse or ended
	Time  time.Time `json:"time"`
	Since time.Time `json:"since"` // when the alert began
	Facts Facts     `json:"facts"`
}

// The values of Notice.Event.
const (
	Raised = "raised"
	Worse  = "worse"
	Ended  = "ended"
)

// Active is an alert that has begun, or is about to.
type Active struct {
	Since time.Time `json:"since"`         // when the condition was first seen
	Level int       `json:"level"`         // the worst so far; 0: not raised yet
	Calm  time.Time `json:"calm,omitzero"` // since when the condition is over; zero: it is not
	Facts Facts     `json:"facts"`
}

const (
	// calmTime is how long a condition must be over before the alert ends, so that a value that
	// swings does not begin and end an alert again and again.
	calmTime = 10 * time.Minute
	// storageTime is how long the storage must be at fault before that is an alert: a recovery takes
	// seconds.
	storageTime = 2 * time.Minute
)

// signal is what a reading says about one alert.
type signal struct {
	key   string // Kind, and the account
	level int    // 0: good, or within reach of the threshold
	near  bool   // not bad, but not good enough to end the alert
	after time.Duration
	facts Facts
}

// Decide compares a reading with the alerts that are active. It returns those that are active
// afterwards, and what must be told. An alert is told once when it begins, once for each step to a
// worse level, and once when it ends. What a reading does not know changes nothing.
func Decide(before map[string]Active, l Limits, r Reading) (map[string]Active, []Notice) {
	after := maps.Clone(before)
	if after == nil {
		after = map[string]Active{}
	}
	var notices []Notice
	for _, s := range signals(before, l, r) {
		a, active := after[s.key]
		switch {
		case s.level > 0:
			a, notices = s.bad(a, active, r.Time, notices)
			after[s.key] = a
		case !active:
		case a.Level == 0:
			delete(after, s.key) // it was over before it was told
		case s.near:
			a.Calm = time.Time{}
			after[s.key] = a
		case a.Calm.IsZero():
			a.Calm = r.Time
			after[s.key] = a
		case r.Time.Sub(a.Calm) >= calmTime:
			delete(after, s.key)
			notices = append(notices, s.notice(Ended, a, r.Time))
		}
	}
	return after, notices
}

// bad is Decide for a signal whose condition is met.
func (s signal) bad(a Active, active bool, now time.Time, notices []Notice) (Active, []Notice) {
	if !active {
		a.Since = now
	}
	a.Calm, a.Facts = time.Time{}, s.facts
	switch {
	case now.Sub(a.Since) < s.after:
	case a.Level == 0:
		notices = append(notices, s.notice(Raised, a, now))
		a.Level = s.level
	case s.level > a.Level:
		notices = append(notices, s.notice(Worse, a, now))
		a.Level = s.level
	}
	return a, notices
}

func (s signal) notice(event string, a Active, now time.Time) Notice {
	facts := s.facts
	if event == Ended {
		facts = cmp.Or(s.facts, a.Facts)
		facts.Text = cmp.Or(facts.Text, a.Facts.Text)
	}
	kind, _, _ := strings.Cut(s.key, " ")
	return Notice{Kind: Kind(kind), Event: event, Time: now, Since: a.Since, Facts: facts}
}

// signals evaluates every condition that the reading knows, in a fixed order.
func signals(before map[string]Active, l Limits, r Reading) []signal {
	all := []signal{r.storage()}
	if r.Answers {
		all = append(all, r.disk(l), r.log(), r.backup())
	}
	all = append(all, r.certificate(l), r.queue(l), r.bans(l))
	if r.HeldOK {
		all = append(all, r.accounts(before)...)
	}
	return all
}

func (r Reading) storage() signal {
	s := signal{key: string(Storage), after: storageTime, facts: Facts{Text: r.StoreFault}}
	if !r.Answers {
		s.facts.Text = cmp.Or(r.StoreFault, "the disk does not answer")
	}
	if s.facts.Text != "" {
		s.level = 1
	}
	return s
}

// disk has a second level at a third of the threshold. It is good from a fifth above it.
func (r Reading) disk(l Limits) signal {
	s := signal{key: string(Disk), facts: Facts{Percent: r.DiskPercent, Octets: r.DiskFree}}
	switch {
	case l.DiskPercent == 0:
	case 3*r.DiskPercent < l.DiskPercent:
		s.level = 2
	case r.DiskPercent < l.DiskPercent:
		s.level = 1
	case 5*r.DiskPercent < 6*l.DiskPercent:
		s.near = true
	}
	return s
}

// log has a level for each damaged file, so that each is told.
func (r Reading) log() signal {
	return signal{key: string(Log), level: r.DamagedLogs, facts: Facts{Count: r.DamagedLogs}}
}

func (r Reading) backup() signal {
	s := signal{key: string(Backup), facts: Facts{Text: r.BackupFault}}
	if r.BackupFault != "" {
		s.level = 1
	}
	return s
}

// certificate has further levels three days before the end and at the end. A certificate that is
// made for days only is late when a fifth of its time is left.
func (r Reading) certificate(l Limits) signal {
	s := signal{key: string(Certificate), facts: Facts{When: r.CertificateEnd}}
	if r.CertificateEnd.IsZero() || l.Certificate == 0 {
		return s
	}
	whole, left := r.CertificateEnd.Sub(r.CertificateStart), r.CertificateEnd.Sub(r.Time)
	switch {
	case left <= 0:
		s.level = 3
	case left < min(3*24*time.Hour, l.Certificate, whole/20):
		s.level = 2
	case left < min(l.Certificate, whole/5):
		s.level = 1
	}
	return s
}

// queue is good when the oldest message is younger than half the threshold.
func (r Reading) queue(l Limits) signal {
	s := signal{key: string(Queue), facts: Facts{Count: r.QueueMessages, When: r.QueueOldest}}
	if r.QueueOldest.IsZero() || l.QueueAge == 0 {
		return s
	}
	switch age := r.Time.Sub(r.QueueOldest); {
	case age > l.QueueAge:
		s.level = 1
	case age > l.QueueAge/2:
		s.near = true
	}
	return s
}

// bans is good when less than half of the threshold is banned.
func (r Reading) bans(l Limits) signal {
	s := signal{key: string(Bans), facts: Facts{Count: r.Banned}}
	switch {
	case l.Bans == 0:
	case r.Banned >= l.Bans:
		s.level = 1
	case 2*r.Banned >= l.Bans:
		s.near = true
	}
	return s
}

// accounts has one signal for each account that is held, or was.
func (r Reading) accounts(before map[string]Active) (all []signal) {
	held := map[string]signal{}
	for key := range before {
		if name, ok := strings.CutPrefix(key, string(Account)+" "); ok {
			held[key] = signal{key: key, facts: Facts{Text: name}}
		}
	}
	for _, name := range r.Held {
		key := string(Account) + " " + name
		held[key] = signal{key: key, level: 1, facts: Facts{Text: name}}
	}
	for _, key := range slices.Sorted(maps.Keys(held)) {
		all = append(all, held[key])
	}
	return all
}
