package durable

import (
	"sync"
	"time"
)

const (
	// tellAgain is how long a file that cannot be read is not told again.
	tellAgain = time.Hour
	// maxDamages is how many files are remembered as told. More than that are told more often.
	maxDamages = 1000
)

// DamageReporter tells of files that cannot be read, which readers may meet any number of times a second: each once an hour,
// and when it is another error. A nil *DamageReporter tells nothing. Safe for concurrent use.
type DamageReporter struct {
	tell func(name string, err error)

	mu   sync.Mutex
	told map[string]damage
}

type damage struct {
	text string
	at   time.Time
}

// NewDamageReporter calls tell with what cannot be read, and with a nil error once it can be again.
func NewDamageReporter(tell func(name string, err error)) *DamageReporter {
	return &DamageReporter{tell: tell, told: make(map[string]damage)}
}

// Report says how reading a file went.
func (d *DamageReporter) Report(name string, err error) {
	if d != nil && d.isNew(name, err) {
		d.tell(name, err)
	}
}

// isNew decides whether to tell.
func (d *DamageReporter) isNew(name string, err error) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	last, told := d.told[name]
	if err == nil {
		delete(d.told, name)
		return told
	}
	now := damage{err.Error(), time.Now()}
	if told && last.text == now.text && now.at.Sub(last.at) < tellAgain {
		return false
	}
	if len(d.told) >= maxDamages {
		clear(d.told)
	}
	d.told[name] = now
	return true
}
