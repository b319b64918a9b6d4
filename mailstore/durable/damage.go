package durable

import (
	"sync"
	"time"
)

const (
	// reportInterval is how long a report of the same file and error is suppressed.
	reportInterval = time.Hour
	// maxReported is the number of files whose reports are remembered. If there are more, some are
	// reported more often.
	maxReported = 1000
)

// DamageReporter limits reports of files that cannot be read: one report for each file an hour, and
// one for each new error. Readers may meet such a file many times a second. A nil *DamageReporter
// reports no file. It is safe for concurrent use.
type DamageReporter struct {
	report func(name string, err error)

	mu       sync.Mutex
	reported map[string]damage
}

type damage struct {
	text string
	at   time.Time
}

// NewDamageReporter returns a DamageReporter that calls report with a file's error, and with nil
// when the file can be read again.
func NewDamageReporter(report func(name string, err error)) *DamageReporter {
	return &DamageReporter{report: report, reported: make(map[string]damage)}
}

// Report passes on the result of reading a file; err is nil on success.
func (d *DamageReporter) Report(name string, err error) {
	if d != nil && d.isNew(name, err) {
		d.report(name, err)
	}
}

// isNew reports whether the result must be reported.
func (d *DamageReporter) isNew(name string, err error) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	last, reported := d.reported[name]
	if err == nil {
		delete(d.reported, name)
		return reported
	}
	now := damage{err.Error(), time.Now()}
	if reported && last.text == now.text && now.at.Sub(last.at) < reportInterval {
		return false
	}
	if len(d.reported) >= maxReported {
		clear(d.reported)
	}
	d.reported[name] = now
	return true
}
