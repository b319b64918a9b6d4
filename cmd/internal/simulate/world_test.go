package simulate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/config"
	"pillarbox/cmd/internal/daemon"
	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/durable"
	"pillarbox/quota"
)

// The ports of the server.
const (
	portMTA        = "192.0.2.1:25"
	portSubmission = "192.0.2.1:587"
	portPOP3       = "192.0.2.1:110"
)

// world is one history being lived through.
type world struct {
	t       *testing.T
	base    *base
	history History
	model   *model
	disk    *mailtest.PowerFS
	sink    *sink
	clock   time.Time // that of the next life
	verbose io.Writer // nil: quiet
	at      int       // the step that is next
	traced  sync.Mutex
	trace   []string // what happened

	// Of the life that is lived.
	network       *network
	background    sync.WaitGroup // sessions of earlier steps
	moving, moves atomic.Int32   // verbs that move mailboxes: at work, and all
	paused        atomic.Int32   // how many of them
	daemon        *daemon.Daemon
	office        *admin.Service
	stop          context.CancelFunc
	over          chan error
	reload        chan struct{}
	faults        *faults
	crashes       int
	damaged       bool // the log may be
	short         bool // the log will be
	unlogged      bool // the server may have worked without a log, because one could not be made or read
	leaves        bool // a temporary file may be left: its removal could fail, or the process ended before it
	faultTimes    sync.Mutex
	lastWorse     time.Time // owner: faultTimes; when more than room was lacking, or nothing was, the last time
	lastFault     time.Time // owner: faultTimes; when the disk refused something, or could have, the last time
	reloaded      int       // which configuration is in force
}

// run lives through a history and returns what was wrong.
func (b *base) run(t *testing.T, h History, verbose io.Writer) verdict {
	w := &world{
		t: t, base: b, history: h, model: newModel(), disk: mailtest.NewPowerFS(), verbose: verbose,
		clock: beginning, faults: new(faults),
	}
	w.sink = &sink{world: w}
	w.furnish()
	for !w.ended() {
		w.inBubble(w.live)
	}
	w.inBubble(w.epilogue)
	w.inBubble(w.lastLook)
	return w.verdict()
}

func (w *world) verdict() verdict {
	if len(w.model.wrong) == 0 {
		return verdict{}
	}
	return verdict{w.model.wrong, w.trace}
}

func (w *world) ended() bool { return w.at >= len(w.history.Steps) || len(w.model.wrong) > 0 }

// inBubble runs one life of the server in virtual time that begins where the last one ended, or where a step has set the clock.
func (w *world) inBubble(life func()) {
	if len(w.model.wrong) > 0 {
		return
	}
	synctest.Test(w.t, func(t *testing.T) {
		time.Sleep(time.Until(w.clock))
		w.network = newNetwork()
		life()
		if w.clock.Before(time.Now()) {
			w.clock = time.Now()
		}
		w.clock = w.clock.Add(1100 * time.Millisecond)
	})
}

// log notes what happened, for a reader of a replay.
func (w *world) log(format string, args ...any) {
	line := fmt.Sprintf("%s  %s", time.Now().UTC().Format("01-02 15:04:05.000"), fmt.Sprintf(format, args...))
	w.traced.Lock()
	w.trace = append(w.trace, line)
	w.traced.Unlock()
	if w.verbose != nil {
		fmt.Fprintln(w.verbose, line)
	}
}

func (w *world) fail(format string, args ...any) {
	w.model.mu.Lock()
	defer w.model.mu.Unlock()
	w.model.violation(format, args...)
}

// furnish makes the office: domains and mailboxes. It happens once for all histories, on a disk that they copy.
func (w *world) furnish() {
	w.disk = w.base.disk.Restart(mailtest.Everything, nil)
	for _, name := range boxNames {
		w.model.newBox(name)
	}
	m := w.model
	m.lists["sales@office.example"] = []*box{m.boxes["boss@office.example"]}
	m.lists["all@office.example"] = []*box{m.boxes["boss@office.example"], m.boxes["dora@branch.example"]}
}

// files is a PowerFS as a data directory.
type files struct {
	*mailtest.PowerFS
	name string
}

func (f files) Name() string                      { return f.name }
func (f files) Filesystem() (string, bool, error) { return "simulated", true, nil }
func (f files) Close() error                      { return nil }

// start starts a server. With a fault in force it may refuse; then the fault is taken away and it must not.
func (w *world) start() bool {
	faulty := w.faulty()
	// SyncAll may have told of a failed writeback, and the file has yet to: its first sync is in the
	// recovery of this start.
	tells := faulty || w.disk.UntoldFile()
	w.unlogged = w.unlogged || faulty
	w.noRoom()
	err := w.tryStart()
	if err != nil && !w.disk.Off() && faulty {
		w.log("the server does not start: %v; the disk is mended", err)
		w.discard()
		w.heal()
		err = w.tryStart()
	}
	if tells {
		w.noteFault()
	}
	if err != nil && w.disk.Off() {
		w.discard()
		w.crash()
		return false
	}
	if err != nil {
		w.fail("the server does not start: %v", err)
		w.discard()
		return false
	}
	w.office = w.daemon.Office()
	ctx, stop := context.WithCancel(context.Background())
	w.stop, w.over, w.reload = stop, make(chan error, 1), make(chan struct{})
	go func() { w.over <- w.daemon.Run(ctx, w.reload) }()
	synctest.Wait()
	if w.disk.Off() {
		return true
	}
	w.faults.unwritten = time.Time{} // a start trusts nothing that was not synced
	w.model.mu.Lock()
	defer w.model.mu.Unlock()
	w.resolve()
	return true
}

func (w *world) tryStart() (err error) {
	w.faults.install(w)
	w.daemon, err = daemon.StartWith(daemon.System{
		Load: func() (*config.Config, error) { return w.base.config(w.reloaded), nil },
		Out:  w.serverLog(),
		Open: func(cfg *config.Config, log *slog.Logger) (*admin.Service, error) {
			return admin.OpenOn(files{w.disk, cfg.Data}, cfg, log)
		},
		Listen:  w.network.listen,
		Control: func() (net0, error) { return w.network.listen("192.0.2.1:1") },
		Dial:    w.dialOut,
		DNS:     dns{},
		LogSize: w.history.LogSize,

		FreeMemory: func() {}, // its collections of garbage took most of the time of a history
	})
	return err
}

// discard lets a server that did not start be forgotten: its locks are gone with it.
func (w *world) discard() {
	w.network.cut()
	w.network = newNetwork()
	synctest.Wait()
	if !w.disk.Off() {
		w.disk = w.disk.Kill()
	}
}

func (w *world) serverLog() io.Writer {
	if w.verbose == nil {
		return io.Discard
	}
	return w.verbose
}

// live is the life of one process of the server.
func (w *world) live() {
	goroutines := runtime.NumGoroutine()
	if !w.start() {
		return
	}
	how := ""
	if w.look(false); w.disk.Off() {
		how = "crash"
	}
	for how == "" && !w.ended() {
		s := &w.history.Steps[w.at]
		w.at++
		time.Sleep(time.Duration(s.Wait) * time.Millisecond)
		w.log("step %d: %s", w.at, s.line())
		faulty := w.faulty()
		how = w.do(s)
		synctest.Wait()
		if w.disk.Off() && how == "" {
			how = "crash"
		}
		w.settle(faulty || w.faulty())
		select {
		case err := <-w.over:
			w.over <- err
			if how == "" {
				w.fail("the server has ended by itself: %v", err)
				return
			}
		default:
		}
	}
	w.end(how, goroutines)
}

// grace is how long a server may need, after the disk is sound again, to be what it was.
const grace = 20 * time.Second

// calm says whether the disk has been sound for long enough.
func (w *world) calm() bool { return !w.faulty() && w.sinceFault() > grace }

// noRoom reports whether the disk has lacked room, and nothing else, for so long that a recovery must have succeeded.
func (w *world) noRoom() bool {
	w.faultTimes.Lock()
	defer w.faultTimes.Unlock()
	if !w.faults.noRoom() || w.disk.Untold() || w.disk.Slow() {
		w.lastWorse = time.Now()
		return false
	}
	return time.Since(w.lastWorse) > grace && time.Since(w.faults.last()) > grace
}

// sinceFault is how long the disk has been sound.
func (w *world) sinceFault() time.Duration { return time.Since(w.latestFault()) }

func (w *world) latestFault() time.Time {
	w.faultTimes.Lock()
	defer w.faultTimes.Unlock()
	if given := w.faults.last(); given.After(w.lastFault) {
		w.lastFault = given
	}
	return w.lastFault
}

func (w *world) noteFault() {
	w.faultTimes.Lock()
	defer w.faultTimes.Unlock()
	w.lastFault = time.Now()
}

// retryTime is longer than the server waits before it writes again what it could not write.
const retryTime = 150 * time.Second

// settle notes what cannot be in doubt any more after a step.
func (w *world) settle(faulty bool) {
	w.noRoom()
	if faulty {
		w.noteFault()
	}
	if w.disk.Off() || faulty {
		return
	}
	quiet := w.sinceFault() > retryTime
	w.model.settle(w.latestFault(), quiet, w.daemon.Queue().Len() == 0)
}

// end ends the process: "crash" with what the fault that is under way leaves, anything else in order.
func (w *world) end(how string, goroutines int) {
	if how == "crash" {
		w.disk.Cut()
		w.network.cut()
		if w.short {
			w.short = false
			w.model.forgets(noted)
		}
		w.model.crashed()
	}
	w.stop()
	err := <-w.over
	if w.disk.Off() && how != "crash" { // while it ended
		how = "crash"
		w.network.cut()
		w.model.crashed()
	}
	if err != nil && how != "crash" {
		w.fail("the server ended with %v", err)
	}
	w.background.Wait()
	w.sink.group.Wait()
	synctest.Wait()
	if n := w.network.open(); n > 0 {
		w.fail("%d ends of connections are left open", n)
	}
	w.network.cut()
	if w.disk.Slow() {
		time.Sleep(10 * time.Second) // a session that was cut off may wait for its last write yet
	}
	synctest.Wait()
	if runtime.NumGoroutine() > goroutines {
		w.goroutines()
	}
	if n := w.disk.OpenFiles(); n > 0 && how != "crash" {
		w.fail("%d files are left open", n)
	}
	if how == "crash" {
		w.crash()
		return
	}
	w.log("the server has ended")
	if w.faulty() || w.sinceFault() < retryTime {
		w.model.crashed() // what it could not write, the next does again
	}
	w.disk = w.disk.Kill()
	w.happenAfterwards()
}

var bubbleForm = regexp.MustCompile(`(?m)^goroutine \d+ \[running, (synctest bubble \d+)\]`)

// goroutines looks whether any are left of the life that has ended, beside those of the test itself.
func (w *world) goroutines() {
	stack := make([]byte, 1<<20)
	stack = stack[:runtime.Stack(stack, true)]
	own := bubbleForm.FindSubmatch(stack)
	const ofTest = 3
	if n := bytes.Count(stack, append(own[1], ']')); n > ofTest {
		w.fail("%d goroutines are left:\n%s", n-ofTest, stack)
		w.base.giveUp(w)
	}
}

// crash makes of the disk what the next process finds.
func (w *world) crash() {
	w.crashes++
	w.leaves = true
	w.log("crash: %s", w.faults.kind())
	w.disk = w.faults.leave(w.disk)
	w.happenAfterwards()
}

// happenAfterwards is what happens to the disk while no server runs.
func (w *world) happenAfterwards() {
	if w.faults.afterwards != nil {
		w.faults.afterwards(w.disk)
		w.faults.afterwards = nil
	}
}

// epilogue is a life with a sound disk and willing servers, in which everything comes to its end.
func (w *world) epilogue() {
	w.heal()
	w.faults.afterwards = nil
	w.sink.forget()
	goroutines := runtime.NumGoroutine()
	w.log("epilogue")
	if !w.start() {
		return
	}
	w.look(true)
	if w.disk.Off() {
		panic("a fault in the epilogue")
	}
	w.do(&Step{Do: "queue", How: "release"})
	for range 60 {
		if w.daemon.Queue().Len() == 0 {
			break
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
	}
	w.settle(false)
	if n := w.daemon.Queue().Len(); n > 0 {
		w.fail("%d messages do not leave the queue", n)
	}
	w.receives()
	w.look(true)
	w.end("restart", goroutines)
}

// receives makes sure that each mailbox works.
func (w *world) receives() {
	for name := range w.model.boxes {
		if b := w.model.boxes[name]; b.limit {
			continue
		}
		token := "last-" + strings.ReplaceAll(name, "@", "-at-")
		w.send(&Step{Do: "send", Token: token, From: "friend@else.example", To: []string{name}, Size: 300})
		if c := w.model.boxes[name].copies[token]; c == nil || c.state != promised {
			w.fail("%s takes no mail, with all in order", name)
		}
	}
}

// lastLook is a life after a power cut that takes all that is not certain.
func (w *world) lastLook() {
	w.disk = w.disk.Restart(mailtest.Nothing, nil)
	w.log("last look")
	goroutines := runtime.NumGoroutine()
	if !w.start() {
		return
	}
	time.Sleep(10 * time.Second)
	w.look(true)
	w.accounts()
	w.leftovers()
	w.end("restart", goroutines)
}

// accounts holds the sums against each other: all mail for other servers is there, or reported.
func (w *world) accounts() {
	m := w.model
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, a := range m.away {
		if a.state == promised && a.accepted == 0 && !a.failed {
			m.violation("message %s was acknowledged and never sent", key)
		}
	}
	for key, r := range m.owed {
		if len(r.uids) == 0 && !r.unsure && !m.moved[r.sender] {
			m.violation("a report (%s) was owed to %s and never came", key, r.sender)
		}
	}
}

// leftovers looks for what nobody will take away.
func (w *world) leftovers() {
	if w.leaves { // the check of all mail must find all temporary files, when they are old enough, and remove them
		time.Sleep(2 * time.Hour)
		report, err := w.office.CheckMail(context.Background(), "", admin.CheckOptions{Repair: true, Ledger: []quota.Recount{}})
		w.log("check: %+v, %v", report, err)
		if err != nil {
			w.fail("check: %v", err)
		}
	}
	for _, name := range w.base.names(w.disk) {
		switch {
		case w.sentUnnoted(name), w.removalLost(name):
		case strings.HasPrefix(name, "incoming/"), strings.HasSuffix(name, ".tmp"), strings.HasPrefix(name, "queue/"):
			w.fail("%s is left", name)
		case strings.HasPrefix(name, "badmail/") && len(w.model.moved) == 0 && !w.model.refusedReport:
			// With all senders there, no report is kept.
			w.fail("%s is left", name)
		}
	}
}

// removalLost reports whether a file is the state, in quarantine, of a message whose removal was in
// the damaged part of the log, while an earlier state of it was in the rest. The server has only the
// state, and tells of it. That the message was sent is checked elsewhere.
func (w *world) removalLost(name string) bool {
	message, ok := strings.CutSuffix(name, ".env")
	if !w.damaged || !ok || !strings.HasPrefix(name, "queue/quarantine/") {
		return false
	}
	_, err := w.disk.Lstat(message + ".eml")
	return errors.Is(err, fs.ErrNotExist)
}

// sentUnnoted reports whether a file is that of a message that was sent, or refused for good, while the server had no log:
// it was leaving the queue when the server ended. Without its state the server cannot know that, and keeps it aside.
func (w *world) sentUnnoted(name string) bool {
	text, err := durable.ReadFile(w.disk, name)
	if !w.unlogged || !strings.HasPrefix(name, "queue/quarantine/") || !strings.HasSuffix(name, ".eml") || err != nil {
		return false
	}
	if _, err := w.disk.Lstat(strings.TrimSuffix(name, ".eml") + ".env"); err == nil {
		return false
	}
	token, _ := w.model.recognise(string(text))
	sent := false
	for _, a := range w.model.away {
		if a.token == token {
			if sent = a.accepted > 0 || a.failed; !sent {
				return false
			}
		}
	}
	return sent
}

// faulty says whether the disk may refuse something now.
func (w *world) faulty() bool { return w.faults.active() || w.disk.Untold() || w.disk.Slow() }

// look reads all mailboxes, and holds the quota against what is there.
func (w *world) look(quiet bool) {
	if w.faulty() {
		w.noteFault()
	}
	if quiet {
		time.Sleep(grace - w.sinceFault())
	}
	quiet = quiet || w.calm()
	if now := time.Now(); now.After(w.model.latest) {
		w.model.latest = now
	}
	noRoom := w.noRoom()
	for _, name := range w.names() {
		seen := w.fetch(&Step{Do: "fetch", Box: name}, quiet)
		if w.disk.Off() {
			return
		}
		if !seen && quiet && w.paused.Load() == 0 { // a session that pauses has the mailbox for itself
			w.fail("%s cannot be read, with all in order", name)
		}
		if !seen && noRoom && !w.damaged && w.paused.Load() == 0 { // a damaged log that is kept needs more room
			w.fail("%s cannot be read, and nothing is wrong but that the disk is full", name)
		}
	}
	if quiet {
		w.recount()
	}
}

func (w *world) names() (all []string) {
	for _, names := range [][]string{boxNames, otherNames, {vaultName}} {
		for _, name := range names {
			if w.model.boxes[name] != nil {
				all = append(all, name)
			}
		}
	}
	return all
}

// recount holds what the ledger believes against what is there.
func (w *world) recount() {
	all, err := w.office.Quota.Recount()
	if err != nil && !w.disk.Off() {
		w.fail("quota: %v", err)
	}
	for _, r := range all {
		if _, gone := w.disk.Lstat(r.Dir); gone == nil && r.Before != r.After {
			w.fail("quota: %s was thought to hold %v and holds %v", r.Dir, r.Before, r.After)
		}
	}
}

// base is what all histories have in common.
type base struct {
	dir     string
	configs []*config.Config
	disk    *mailtest.PowerFS
	source  string // a folder with mail to import
	failed  func(w *world)
}

// giveUp ends the process: goroutines are left, and virtual time cannot end with them.
func (b *base) giveUp(w *world) {
	if b.failed != nil {
		b.failed(w)
	}
	os.Exit(3)
}

// config is one of the configurations, to be changed by who has it.
func (b *base) config(n int) *config.Config {
	c := *b.configs[n]
	// Events hold no mail. Their operations on the disk would move the faults of the recorded
	// histories, which count operations. Package track has tests of its own on a disk that fails.
	c.Events.Enabled = false
	return &c
}

// names are all files on a disk.
func (b *base) names(disk *mailtest.PowerFS) (all []string) {
	var walk func(dir string)
	walk = func(dir string) {
		entries, _ := disk.ReadDir(dir)
		for _, e := range entries {
			name := strings.TrimPrefix(dir+"/"+e.Name(), "./")
			if e.IsDir() {
				walk(name)
			} else {
				all = append(all, name)
			}
		}
	}
	walk(".")
	return all
}

func (s *Step) line() string {
	var b bytes.Buffer
	fmt.Fprint(&b, History{Steps: []Step{*s}}.String())
	_, line, _ := strings.Cut(b.String(), "\n")
	return strings.TrimSpace(line)
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 7)) }

// dns vouches for one of the strangers' domains, and for no other.
type dns struct{}

func (dns) LookupTXT(_ context.Context, name string) ([]string, error) {
	if strings.TrimSuffix(name, ".") == "else.example" {
		return []string{"v=spf1 ip4:" + strangersAddress + " -all"}, nil
	}
	return nil, noSuchName(name)
}

func (dns) LookupMX(_ context.Context, name string) ([]*net.MX, error) { return nil, noSuchName(name) }
func (dns) LookupIPAddr(_ context.Context, host string) ([]net.IPAddr, error) {
	return nil, noSuchName(host)
}
func (dns) LookupAddr(_ context.Context, addr string) ([]string, error) { return nil, noSuchName(addr) }

func noSuchName(name string) error {
	return &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}
