package admin

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pillarbox/cmd/internal/recentlog"
	"pillarbox/cmd/internal/sysinfo"
	"pillarbox/cmd/internal/traffic"
	"pillarbox/mailstore/sessions"
)

// runStatus makes a running server of an office with two messages in the queue.
func runStatus(t *testing.T, o *Service) *sessions.Table {
	runQueue(t, o, "P3_20260101000000000100000001", "P3_20260101000000000100000002")
	r, table := o.Running, new(sessions.Table)
	r.Version, r.Since, r.Sessions = "1.2.3", time.Now().Add(-time.Hour), table
	r.Listeners = func() map[string][]string { return map[string][]string{"smtp": {"127.0.0.1:25"}} }
	r.Today = func() traffic.Day { return traffic.Day{Complete: true, Refused: 7} }
	r.DiskSamples = func() []sysinfo.Sample {
		return []sysinfo.Sample{{At: time.Now().Add(-7 * time.Hour), Disk: sysinfo.Disk{Free: 1 << 62}}}
	}
	r.Hours = func() []traffic.Hour { return []traffic.Hour{{Known: true, Delivered: 2}} }
	r.Errors = func() []recentlog.Entry { return []recentlog.Entry{{Text: "cannot write"}} }
	return table
}

var statusClient = netip.MustParseAddrPort("192.0.2.7:40000")

// A running server tells what it knows, besides what the files tell.
func TestStatusRunning(t *testing.T) {
	o := office(t)
	table := runStatus(t, o)
	table.Begin("pop3", statusClient, nil)
	s, err := ServerStatus.Do(t.Context(), o, struct{}{})
	if err != nil {
		t.Fatal(err)
	}
	wantServices := []ServiceStatus{{"pop3", []string{}, 1}, {"smtp", []string{"127.0.0.1:25"}, 0}}
	if !s.Running || s.Version != "1.2.3" || s.Since.IsZero() || !reflect.DeepEqual(s.Services, wantServices) ||
		s.Today == nil || s.Today.Refused != 7 || len(s.Hours) != 1 || len(s.Errors) != 1 {
		t.Errorf("%+v", s)
	}
	wantReasons := []QueueReason{{WaitKept, 1}, {WaitTrying, 1}}
	if q := s.Queue; q.Messages != 2 || q.Counted != 2 || q.Active != 1 || !slices.Equal(q.Reasons, wantReasons) {
		t.Errorf("%+v", s.Queue)
	}
	if f := s.Disk.Forecast; f.Measured < 6.9 || f.Days == nil || *f.Days < 0 || s.Disk.Size == 0 {
		t.Errorf("%+v", s.Disk)
	}
	now, err := LiveTop.Do(t.Context(), o, struct{}{})
	if err != nil || now.Queue != 2 || now.Active != 1 || len(now.Sessions) != 1 || now.Today.Refused != 7 {
		t.Errorf("%+v, %v", now, err)
	}
}

// Without a server the files tell the rest. What cannot be read is a problem, and no error.
func TestStatusOffline(t *testing.T) {
	o := office(t)
	for name, size := range map[string]int{"badmail/x.eml": 100, "badmail/x.txt": 10, "badmail/y.eml": 1} {
		file := filepath.Join(o.Root.Name(), name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, make([]byte, size), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	s, err := ServerStatus.Do(t.Context(), o, struct{}{})
	if err != nil || s.Running || s.Today != nil || len(s.Services)+len(s.Errors) > 0 {
		t.Errorf("%+v, %v", s, err)
	}
	if s.Badmail.Messages != 2 || s.Badmail.Octets == 0 || s.Disk.Size == 0 || s.Disk.Forecast.Measured != 0 {
		t.Errorf("%+v", s)
	}
	if len(s.Problems) != 1 || !strings.HasPrefix(s.Problems[0], "the certificates cannot be read: ") {
		t.Errorf("an office without a certificate: %q", s.Problems)
	}
	for name, err := range map[string]error{
		"sessions": second(SessionList.Do(t.Context(), o, struct{}{})),
		"kill":     second(SessionKill.Do(t.Context(), o, 1)),
		"top":      second(LiveTop.Do(t.Context(), o, struct{}{})),
	} {
		if !errors.Is(err, ErrNotRunning) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// A session that is closed is in the audit log, with its user. One that does not end soon is said
// to be closing.
func TestKillSession(t *testing.T) {
	o := office(t)
	table := new(sessions.Table)
	o.Running = &Running{Sessions: table}
	var quick *sessions.Session
	quick = table.Begin("smtp", statusClient, func() { quick.End() })
	quick.SetUser("anna@office.example")
	slow := table.Begin("pop3", statusClient, func() {})
	if _, err := SessionKill.Do(t.Context(), o, 77); err == nil || !strings.Contains(err.Error(), "there is no session 77") {
		t.Error(err)
	}
	if c, err := SessionKill.Do(t.Context(), o, quick.ID()); err != nil || c.Text != "session 1 closed" {
		t.Errorf("%q, %v", c.Text, err)
	}
	if c, err := SessionKill.Do(t.Context(), o, slow.ID()); err != nil || !strings.HasPrefix(c.Text, "session 2 closes when ") {
		t.Errorf("%q, %v", c.Text, err)
	}
	events, _, err := o.Audit(AuditQuestion{Object: "session 1"})
	if err != nil || len(events) != 1 || events[0].Act != "sessions kill" ||
		!strings.Contains(string(events[0].After), "anna@office.example") {
		t.Errorf("%+v, %v", events, err)
	}
}

func TestReasonsOf(t *testing.T) {
	var all []QueuedMessage
	for _, wait := range []QueueWait{WaitNext, WaitHeld, WaitNext, WaitTurn, WaitNext, WaitHeld, WaitHours} {
		all = append(all, QueuedMessage{State: QueueState{Wait: wait}})
	}
	want := []QueueReason{{WaitNext, 3}, {WaitHeld, 2}, {WaitHours, 1}, {WaitTurn, 1}}
	if got := reasonsOf(all); !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
	if got := reasonsOf(nil); got == nil || len(got) > 0 {
		t.Errorf("%v of no message", got)
	}
}

func TestDaysUntil(t *testing.T) {
	now := time.Now()
	for left, want := range map[time.Duration]int{
		0: 0, time.Hour: 0, 24 * time.Hour: 1, 60 * time.Hour: 2, -time.Second: -1, -25 * time.Hour: -2,
	} {
		if got := daysUntil(now.Add(left), now); got != want {
			t.Errorf("%v: %d, want %d", left, got, want)
		}
	}
}
