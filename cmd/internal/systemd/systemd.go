// Package systemd speaks the protocols of systemd for a service: sockets that it passes at the start
// (sd_listen_fds(3)) and states that the service reports (sd_notify(3)). Without systemd there are no sockets,
// and reports go nowhere.
package systemd

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"

	"pillarbox/cmd/internal/netinfo"
)

// Sockets are the listening sockets that systemd has passed. systemd holds them too, so a connection that comes
// during a restart waits for the new process. The methods may be called at the same time.
type Sockets struct {
	mu     sync.Mutex
	unused []net.Listener
}

// Inherit returns the TCP sockets that systemd has passed to this process. It must be called once: it removes
// the environment variables that name them, so that no child takes them for its own.
func Inherit() (*Sockets, error) {
	passed, err := activation.Listeners()
	passed = slices.DeleteFunc(passed, func(l net.Listener) bool { return l == nil }) // not a stream socket
	return &Sockets{unused: passed}, err
}

// Listen returns the passed socket for the address, for example ":25". It opens a new socket if none was passed;
// the errors are those of netinfo.Listen.
func (s *Sockets) Listen(address string) (net.Listener, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, l := range s.unused {
		if serves(l.Addr().String(), address) {
			s.unused = slices.Delete(s.unused, i, i+1)
			return l, nil
		}
	}
	return netinfo.Listen(address)
}

// Unused returns the addresses of the passed sockets that Listen has not returned.
func (s *Sockets) Unused() (addresses []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.unused {
		addresses = append(addresses, l.Addr().String())
	}
	return addresses
}

// serves reports whether a socket with this local address serves an address of the configuration. "0.0.0.0" and
// "::" both mean every address of the machine, as an empty host does.
func serves(socket, address string) bool {
	have, err := netip.ParseAddrPort(socket)
	if err != nil {
		return false
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	number, err := net.LookupPort("tcp", port)
	if err != nil || number != int(have.Port()) {
		return false
	}
	if host == "" {
		return have.Addr().IsUnspecified()
	}
	want, err := netip.ParseAddr(host)
	return err == nil && (want.Unmap() == have.Addr().Unmap() || want.IsUnspecified() && have.Addr().IsUnspecified())
}

// Reporter reports states to systemd. Report is replaced in tests.
type Reporter struct {
	Report func(state string)
	// Watchdog is the time after which systemd restarts a service that has not called Alive; 0 means never.
	Watchdog time.Duration
}

// NewReporter returns the Reporter of this process; nil if systemd wants no reports.
func NewReporter() *Reporter {
	if sent, err := daemon.SdNotify(false, "STATUS=starting"); !sent || err != nil {
		return nil
	}
	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		watchdog = 0 // the variables are not for this process
	}
	// systemd.exec(5): a report that is lost is only a state that is told late.
	report := func(state string) { _, _ = daemon.SdNotify(false, state) }
	return &Reporter{Report: report, Watchdog: watchdog}
}

// Ready reports that the service serves, or has ended a reload.
func (r *Reporter) Ready() {
	if r != nil {
		r.Report(daemon.SdNotifyReady)
	}
}

// Reloading reports that a reload begins. Ready must follow.
func (r *Reporter) Reloading() {
	if r != nil {
		r.Report(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
	}
}

// Stopping reports that the service ends.
func (r *Reporter) Stopping() {
	if r != nil {
		r.Report(daemon.SdNotifyStopping)
	}
}

// statusInterval is how often the status is reported, if the watchdog does not want a sign of life more often.
const statusInterval = 30 * time.Second

// Run reports a sign of life and the status until ctx ends. status must take the locks that the service works
// with: if it does not return, no sign of life follows, and systemd restarts the service. status must not
// wait for the disk, because a restart does not make a slow disk faster.
func (r *Reporter) Run(ctx context.Context, status func() string) {
	if r == nil {
		return
	}
	interval := statusInterval
	if r.Watchdog > 0 {
		interval = min(interval, r.Watchdog/2) // sd_watchdog_enabled(3)
	}
	ticks := time.NewTicker(interval)
	defer ticks.Stop()
	for {
		r.Report(daemon.SdNotifyWatchdog + "\nSTATUS=" + status())
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return
		}
	}
}
