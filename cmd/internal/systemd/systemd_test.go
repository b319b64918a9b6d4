package systemd

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestServes(t *testing.T) {
	for _, c := range []struct {
		socket, address string
		want            bool
	}{
		{"[::]:25", ":25", true},
		{"0.0.0.0:25", ":25", true},
		{"0.0.0.0:25", "[::]:25", true},
		{"[::]:25", "0.0.0.0:25", true},
		{"[::]:25", ":smtp", true},
		{"192.0.2.1:25", "192.0.2.1:25", true},
		{"[::ffff:192.0.2.1]:25", "192.0.2.1:25", true},
		{"[2001:db8::1]:25", "[2001:db8::1]:25", true},
		{"[::]:587", ":25", false},
		{"192.0.2.1:25", ":25", false},
		{"[::]:25", "192.0.2.1:25", false},
		{"127.0.0.1:25", "localhost:25", false},
		{"/run/socket", ":25", false},
		{"[::]:25", "25", false},
	} {
		if got := serves(c.socket, c.address); got != c.want {
			t.Errorf("%s for %s: %v", c.socket, c.address, got)
		}
	}
}

// A passed socket is returned once; what was not passed is opened.
func TestListen(t *testing.T) {
	passed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	unwanted, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer unwanted.Close()
	s := &Sockets{unused: []net.Listener{unwanted, passed}}
	l, err := s.Listen(passed.Addr().String())
	if err != nil || l != passed {
		t.Fatalf("%v, %v instead of the passed socket", l, err)
	}
	if got := s.Unused(); !slices.Equal(got, []string{unwanted.Addr().String()}) {
		t.Errorf("unused: %v", got)
	}
	if _, err := s.Listen(passed.Addr().String()); err == nil {
		t.Error("the passed socket was returned twice")
	}
	passed.Close()
	if l, err = s.Listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	l.Close()
}

// TestInherit starts this program again as systemd starts a service: with a socket, and with a socket for
// reports.
func TestInherit(t *testing.T) {
	if os.Getenv("SYSTEMD_TEST") != "" {
		inherited(t)
		return
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	reports, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer reports.Close()
	// The shell knows its own process ID, and exec keeps it.
	cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ WATCHDOG_PID=$$ exec "$0" -test.run='^TestInherit$' -test.v`, os.Args[0])
	cmd.Env = append(os.Environ(), "SYSTEMD_TEST="+l.Addr().String(), "LISTEN_FDS=1", "LISTEN_FDNAMES=smtp",
		"WATCHDOG_USEC=4000000", "NOTIFY_SOCKET="+reports.LocalAddr().String())
	cmd.ExtraFiles = []*os.File{file}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var got []string
	for range 3 {
		b := make([]byte, 1000)
		reports.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, err := reports.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(b[:n]))
	}
	if !slices.Equal(got, []string{"STATUS=starting", "READY=1", "STOPPING=1"}) {
		t.Errorf("reports: %q", got)
	}
}

func inherited(t *testing.T) {
	address := os.Getenv("SYSTEMD_TEST")
	s, err := Inherit()
	if err != nil || !slices.Equal(s.Unused(), []string{address}) {
		t.Fatalf("%v, %v", s.Unused(), err)
	}
	if _, err := s.Listen(address); err != nil {
		t.Errorf("the socket that this program already holds: %v", err)
	}
	if os.Getenv("LISTEN_FDS") != "" {
		t.Error("a child would take the sockets for its own")
	}
	r := NewReporter()
	if r == nil || r.Watchdog != 4*time.Second {
		t.Fatalf("%+v", r)
	}
	r.Ready()
	r.Stopping()
}

// Without systemd nothing is reported.
func TestWithoutSystemd(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	r := NewReporter()
	if r != nil {
		t.Fatalf("%+v", r)
	}
	r.Ready()
	r.Reloading()
	r.Stopping()
	r.Run(t.Context(), func() string { t.Error("the status is asked"); return "" })
}

// A service that hangs gives no sign of life.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []string
		hangs := make(chan struct{})
		r := &Reporter{Report: func(state string) { got = append(got, state) }, Watchdog: 20 * time.Second}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			r.Run(ctx, func() string {
				if len(got) == 3 {
					<-hangs
				}
				return "well"
			})
		}()
		time.Sleep(time.Minute)
		synctest.Wait()
		if want := strings.Repeat("WATCHDOG=1\nSTATUS=well;", 3); strings.Join(got, ";")+";" != want {
			t.Errorf("%q", got)
		}
		cancel()
		close(hangs)
		<-done
	})
}
