package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pillarbox/cmd/internal/config"
	"pillarbox/cmd/internal/logging"
	"pillarbox/cmd/internal/systemd"
	"pillarbox/etc/lab/mailtest"
	"pillarbox/tls/certs"
)

// recordedParts are parts that write down their verbs. The start of the part "fails" fails.
func recordedParts(names ...string) (parts []part, verbs *[]string) {
	verbs = new([]string)
	for _, name := range names {
		did := func(verb string) { *verbs = append(*verbs, verb+" "+name) }
		p := loop(name, func(ctx context.Context) { <-ctx.Done() })
		start, stop := p.start, p.stop
		p.start = func(ctx context.Context) error {
			did("start")
			if name == "fails" {
				return errors.New("no socket")
			}
			return start(ctx)
		}
		p.stop = func(ctx context.Context) { stop(ctx); did("stop") }
		parts = append(parts, p, part{name: "without verbs"})
	}
	return parts, verbs
}

// A part that cannot start ends the server: what is started stops, the last part first.
func TestStartFails(t *testing.T) {
	var log mailtest.Log
	d := &Daemon{log: log.Logger(), failed: make(chan error, 1)}
	var verbs *[]string
	d.parts, verbs = recordedParts("one", "fails", "three")
	if err := d.Run(t.Context(), nil); err == nil || err.Error() != "no socket" {
		t.Error(err)
	}
	want := []string{"start one", "start fails", "stop three", "stop fails", "stop one"}
	if !slices.Equal(*verbs, want) {
		t.Errorf("%q, want %q", *verbs, want)
	}
}

// serverForParts starts a server whose configuration is the file that is returned.
func serverForParts(t *testing.T, log io.Writer) (d *Daemon, file, text string) {
	t.Helper()
	dir := t.TempDir()
	file = filepath.Join(dir, "pillarbox.toml")
	text = "hostname = \"mail.office.example\"\nlisten.smtp = [\"127.0.0.1:0\"]\nlog.level = \"debug\"\n"
	for _, service := range []string{"submission", "smtps", "pop3", "pop3s"} {
		text += fmt.Sprintf("listen.%s = []\n", service)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	load := func() (*config.Config, error) { return config.Load(file, nil) }
	cfg, err := load()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := certs.Ensure(cfg.Certs().Dir, []string{"mail.office.example"}, nil, time.Now()); err != nil {
		t.Fatal(err)
	}
	d, err = Start(load, log)
	if err != nil {
		t.Fatal(err)
	}
	return d, file, text
}

// A refused configuration changes no part. That holds because only certificates refuse, and they
// reload first.
func TestRefusedReloadChangesNothing(t *testing.T) {
	var log mailtest.Log
	d, file, text := serverForParts(t, &log)
	defer d.stop()
	first := slices.IndexFunc(d.parts, func(p part) bool { return p.reload != nil })
	if d.parts[first].name != "certificates" {
		t.Errorf("%s reloads first", d.parts[first].name)
	}
	reloaded := 0
	for i, p := range d.parts[first+1:] {
		if p.reload != nil {
			d.parts[first+1+i].reload = func(next *config.Config) error { reloaded++; return p.reload(next) }
		}
	}
	bad := "tls.cert = \"missing.pem\"\ntls.key = \"missing.pem\"\n"
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	before := d.office.Config()
	write(strings.Replace(text, "debug", "error", 1) + bad)
	if result := d.Reload(); !strings.Contains(result.Error, "missing.pem") || len(result.Changed) != 0 {
		t.Errorf("%+v", result)
	}
	if d.office.Config() != before || reloaded != 0 || levelOf(d, "queue") != "debug" {
		t.Errorf("changed: %d parts reloaded", reloaded)
	}
	if _, err := d.levels.Set(logging.POP3, "none"); err != nil {
		t.Fatal(err)
	}
	write(strings.Replace(text, "debug", "error", 1))
	if result := d.Reload(); result.Error != "" || !slices.Equal(result.Changed, []string{"log.level"}) {
		t.Errorf("%+v", result)
	}
	if levelOf(d, "queue") != "error" || levelOf(d, "pop3") != "error" || d.office.Config() == before || reloaded < 10 {
		t.Errorf("not changed: %d parts reloaded", reloaded)
	}
}

// levelOf returns the level of a part of the server.
func levelOf(d *Daemon, part string) logging.Word {
	for _, l := range d.levels.List() {
		if l.Part == part {
			return l.Level
		}
	}
	return ""
}

// The server stops its parts from the last to the first, and leaves the data directory free.
func TestStopsBackwards(t *testing.T) {
	var log mailtest.Log
	d, file, _ := serverForParts(t, &log)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.Run(ctx, nil); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, p := range slices.Backward(d.parts) {
		if p.stop != nil {
			want = append(want, p.name)
		}
	}
	var got []string
	for line := range strings.SplitSeq(log.Take(), "\n") {
		if _, name, ok := strings.Cut(line, `msg="part stopped" part=`); ok {
			got = append(got, strings.Trim(name, `"`))
		}
	}
	if !slices.Equal(got, want) || want[0] != "reporter" {
		t.Errorf("%q, want %q", got, want)
	}
	again, err := Start(func() (*config.Config, error) { return config.Load(file, nil) }, nil)
	if err != nil {
		t.Fatal(err)
	}
	again.stop()
}

// A port that is taken is an error of Start, which releases all that it took.
func TestStartReleases(t *testing.T) {
	d, file, text := serverForParts(t, nil)
	d.stop()
	other, _, _ := serverForParts(t, nil)
	defer other.stop()
	taken := other.Addresses()["smtp"][0]
	load := func() (*config.Config, error) { return config.Load(file, nil) }
	if err := os.WriteFile(file, []byte(strings.Replace(text, "127.0.0.1:0", taken, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(load, nil); err == nil || !strings.Contains(err.Error(), "listen.smtp") {
		t.Error(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := Start(load, nil)
	if err != nil {
		t.Fatal(err)
	}
	d.stop()
}

// systemd hears of readiness, of a reload and of the end, in this order, and of sockets that have no use.
func TestReports(t *testing.T) {
	var log mailtest.Log
	d, _, _ := serverForParts(t, &log)
	var mu sync.Mutex
	var got []string
	d.system.Reporter = &systemd.Reporter{Report: func(state string) {
		mu.Lock()
		defer mu.Unlock()
		state, _, _ = strings.Cut(state, "\nMONOTONIC_USEC=")
		got = append(got, state)
	}}
	d.system.UnusedSockets = func() []string { return []string{"[::]:2525"} }
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	reload := make(chan struct{})
	go func() { done <- d.Run(ctx, reload) }()
	reload <- struct{}{}
	reload <- struct{}{} // the first reload has ended
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	all := strings.Join(got, ";")
	for _, want := range []string{
		`^READY=1;`, `WATCHDOG=1\nSTATUS=serves; sessions: 0, messages in the queue: 0`,
		`RELOADING=1;READY=1`, `STOPPING=1`,
	} {
		if !regexp.MustCompile(want).MatchString(all) {
			t.Errorf("%q lacks %q", all, want)
		}
	}
	if text := log.Take(); !strings.Contains(text, `a socket from systemd is not used`) || !strings.Contains(text, "[::]:2525") {
		t.Error(text)
	}
}
