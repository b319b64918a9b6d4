package admin

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"pillarbox/cmd/internal/doctor"
	"pillarbox/cmd/internal/recentlog"
	"pillarbox/cmd/internal/sysinfo"
	"pillarbox/cmd/internal/traffic"
	"pillarbox/smtp/badmail"
	"pillarbox/smtp/queue"
)

// Status is the state of the server at one moment. Without a running server it has what the files
// tell.
type Status struct {
	Running bool      `json:"running"`
	Version string    `json:"version"`
	Since   time.Time `json:"since,omitzero"` // the start of the server
	Now     time.Time `json:"now"`
	Data    string    `json:"data"` // the data directory

	Services []ServiceStatus `json:"services"` // none without a server
	Today    *traffic.Day    `json:"today,omitempty"`
	Hours    []traffic.Hour  `json:"hours,omitempty"` // the last 24

	Queue        QueueStatus         `json:"queue"`
	Badmail      BadmailStatus       `json:"badmail"`
	Quarantine   int                 `json:"quarantine"` // messages
	Disk         DiskStatus          `json:"disk"`
	Certificates []CertificateStatus `json:"certificates"`
	Errors       []recentlog.Entry   `json:"errors"` // the latest lines of the log; none without a server
	Clock        sysinfo.Clock       `json:"clock"`
	Backup       BackupStatus        `json:"backup"`
	// Doctor is the last result of 'pillarbox doctor'; null if it never ran.
	Doctor *DoctorStatus `json:"doctor"`
	// Problems say what could not be found out, and why.
	Problems []string `json:"problems"`
}

// ServiceStatus is a key under [listen], or "local".
type ServiceStatus struct {
	Service   string   `json:"service"`
	Addresses []string `json:"addresses"`
	Sessions  int      `json:"sessions"`
}

// QueueStatus counts the messages for other servers.
type QueueStatus struct {
	Messages int           `json:"messages"`
	Active   int           `json:"active"`  // deliveries in progress
	Reasons  []QueueReason `json:"reasons"` // the largest first
	Counted  int           `json:"counted"` // messages that Reasons count: the oldest of a long queue
}

// QueueReason counts the messages that wait for one reason.
type QueueReason struct {
	Wait     QueueWait `json:"wait"`
	Messages int       `json:"messages"`
}

// BadmailStatus is how much lies in badmail.
type BadmailStatus struct {
	Messages int   `json:"messages"`
	Octets   int64 `json:"octets"`
}

// DiskStatus is the file system of the data directory.
type DiskStatus struct {
	sysinfo.Disk
	sysinfo.Forecast
}

// DoctorStatus is what 'pillarbox doctor' found.
type DoctorStatus struct {
	Time time.Time `json:"time"` // of the run
	doctor.Counts
	Problems []doctor.Problem `json:"problems"` // at most 50
}

// CertificateStatus is a certificate that clients see.
type CertificateStatus struct {
	Names    []string  `json:"names"`
	Source   string    `json:"source"`
	Key      string    `json:"key"` // "RSA", "ECDSA" or another algorithm
	NotAfter time.Time `json:"not_after"`
	Days     int       `json:"days"` // until NotAfter; below 0 after it
}

// status gathers the state. A fact that cannot be found out does not hinder the others.
func (o *Service) status() (Status, error) {
	s := Status{
		Now: time.Now(), Data: o.Root.Name(), Clock: sysinfo.ReadClock(),
		Services: []ServiceStatus{}, Certificates: []CertificateStatus{},
		Errors: []recentlog.Entry{}, Problems: []string{},
	}
	if r := o.Running; r != nil {
		s.Running, s.Version, s.Since = true, r.Version, r.Since
		s.Services = servicesOf(r.Listeners(), r.Sessions.Count())
		today := r.Today()
		s.Today, s.Hours = &today, r.Hours()
		s.Errors = append(s.Errors, r.Errors()...)
	}
	for _, fact := range []struct {
		what string
		find func(*Service, *Status) error
	}{
		{"the queue", (*Service).findQueue},
		{"badmail", (*Service).findBadmail},
		{"the quarantine of the queue", (*Service).findQuarantine},
		{"the disk", (*Service).findDisk},
		{"the certificates", (*Service).findCertificates},
		{"the last result of 'pillarbox doctor'", (*Service).findDoctor},
		{"the record of backups", (*Service).findBackup},
	} {
		if err := fact.find(o, &s); err != nil {
			s.Problems = append(s.Problems, fmt.Sprintf("%s cannot be read: %v", fact.what, err))
		}
	}
	return s, nil
}

// servicesOf joins the listeners and the numbers of sessions, by service. A service whose listener
// has gone may still have sessions.
func servicesOf(listeners map[string][]string, count map[string]int) []ServiceStatus {
	names := maps.Clone(count)
	for name := range listeners {
		names[name] = count[name]
	}
	all := make([]ServiceStatus, 0, len(names))
	for _, name := range slices.Sorted(maps.Keys(names)) {
		all = append(all, ServiceStatus{name, orEmpty(listeners[name]), count[name]})
	}
	return all
}

// maxCounted is the number of queued messages whose state is read for a status.
const maxCounted = 2000

func (o *Service) findQueue(s *Status) error {
	found, err := o.quietly().lookIntoQueue(queue.Filter{}, maxCounted)
	if err != nil {
		return err
	}
	s.Queue = QueueStatus{
		Messages: found.Count, Counted: len(found.Messages), Reasons: reasonsOf(found.Messages),
	}
	if r := o.Running; r != nil {
		s.Queue.Active = len(r.Queue.Active())
	}
	return nil
}

// quietly returns the service without a person to tell notes to.
func (o *Service) quietly() *Service {
	view := *o
	view.tell = nil
	return &view
}

// reasonsOf counts messages by what they wait for.
func reasonsOf(messages []QueuedMessage) []QueueReason {
	count := make(map[QueueWait]int)
	for i := range messages {
		count[messages[i].State.Wait]++
	}
	all := make([]QueueReason, 0, len(count))
	for wait, n := range count {
		all = append(all, QueueReason{wait, n})
	}
	slices.SortFunc(all, func(a, b QueueReason) int {
		return cmp.Or(cmp.Compare(b.Messages, a.Messages), cmp.Compare(a.Wait, b.Wait))
	})
	return all
}

func (o *Service) findBadmail(s *Status) error {
	all, err := badmail.List(o.Root)
	s.Badmail.Messages = len(all)
	for _, e := range all {
		s.Badmail.Octets += e.Size
	}
	return err
}

func (o *Service) findQuarantine(s *Status) error {
	quarantined, err := o.spooledIDs(quarantineDir)
	s.Quarantine = len(quarantined)
	return err
}

func (o *Service) findDoctor(s *Status) error {
	last, err := doctor.LastOn(o.Root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err == nil {
		s.Doctor = &DoctorStatus{last.Time, last.Counts, orEmpty(last.Problems)}
	}
	return err
}

func (o *Service) findBackup(s *Status) (err error) {
	s.Backup, err = o.BackupStatus(s.Now)
	return err
}

func (o *Service) findDisk(s *Status) (err error) {
	if s.Disk.Disk, err = sysinfo.DiskOf(o.Root.Name()); err != nil || o.Running == nil {
		return err
	}
	samples := sysinfo.Add(o.Running.DiskSamples(), sysinfo.Sample{At: s.Now, Disk: s.Disk.Disk})
	s.Disk.Forecast, err = sysinfo.ForecastOf(samples)
	if errors.Is(err, sysinfo.ErrTooEarly) {
		err = nil // Forecast.Measured says so
	}
	return err
}

func (o *Service) findCertificates(s *Status) error {
	found, err := o.showCertificates()
	for _, c := range found.All {
		s.Certificates = append(s.Certificates, CertificateStatus{
			Names: orEmpty(c.Names), Source: string(c.Source), Key: c.Key,
			NotAfter: c.NotAfter, Days: daysUntil(c.NotAfter, s.Now),
		})
	}
	return err
}

// daysUntil returns the number of whole days until a time, below 0 after it.
func daysUntil(end, now time.Time) int {
	left := end.Sub(now)
	if left < 0 {
		return int(left/(24*time.Hour)) - 1
	}
	return int(left / (24 * time.Hour))
}
