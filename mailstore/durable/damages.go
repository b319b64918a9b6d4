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

// Damages tells of files that cannot be read, which readers may meet any number of times a second: each once an hour,
// and when it is another error. A nil *Damages tells nothing. Safe for concurrent use.
type Damages struct {
	tell func(name string, err error)

	mu   sync.Mutex
	told map[string]damage
}

type damage struct {
	text string
	at   time.Time
}

// NewDamages calls tell with what cannot be read, and with a nil error once it can be again.
func NewDamages(tell func(name string, err error)) *Damages {
	return &Damages{tell: tell, told: make(map[string]damage)}
}

// Report says how reading a file went.
func (d *Damages) Report(name string, err error) {
	if d != nil && d.isNew(name, err) {
		d.tell(name, err)
	}
}

// isNew decides whether to tell.
func (d *Damages) isNew(name string, err error) bool {
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
