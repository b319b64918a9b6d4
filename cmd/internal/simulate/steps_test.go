package simulate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"pillarbox/cmd/internal/admin"
	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
	"pillarbox/quota"
	"pillarbox/smtp/queue"
)

type net0 = net.Listener

// do takes a step, and returns how the life of the process ends with it; "" if it goes on.
func (w *world) do(s *Step) (how string) {
	if s.Pause > 0 {
		w.paused.Add(1)
		w.background.Go(func() {
			defer w.paused.Add(-1)
			w.session(s)
		})
		return ""
	}
	switch s.Do {
	case "send", "fetch":
		w.session(s)
	case "together":
		w.together(s)
	case "rename":
		w.rename(s)
	case "remove":
		w.remove(s)
	case "add":
		w.add(s)
	case "retention":
		w.retention(s)
	case "import":
		w.importMail(s)
	case "quota":
		w.setQuota(s)
	case "reload":
		w.reloaded = s.Count
		w.reload <- struct{}{}
	case "remote":
		w.sink.tell(s.How, s.Count)
	case "queue":
		_, err := w.daemon.Queue().Do(queue.Action(s.How), queue.Filter{})
		w.log("queue %s: %v", s.How, err)
	case "rules":
		w.setRules()
	case "undelete":
		w.undelete(s)
	case "look":
		time.Sleep(time.Second)
		w.look(false)
	case "check":
		w.check()
	case "restart":
		return "restart"
	case "heal":
		w.heal()
	case "fault":
		return w.fault(s)
	default:
		panic("no such step: " + s.Do)
	}
	return ""
}

func (w *world) session(s *Step) {
	if s.Do == "send" {
		w.send(s)
	} else {
		w.fetch(s, false)
	}
}

func (s *Step) pause() { time.Sleep(time.Duration(s.Pause) * time.Millisecond) }

// together takes steps at the same time.
func (w *world) together(s *Step) {
	var all sync.WaitGroup
	for i := range s.With {
		all.Go(func() { w.do(&s.With[i]) })
	}
	all.Wait()
}

func (w *world) rename(s *Step) {
	w.moves.Add(1)
	w.moving.Add(1)
	defer w.moving.Add(-1)
	from, to := s.Box, s.To[0]
	_, err := w.office.RenameMailbox(from, to)
	w.log("rename: %v", err)
	m := w.model
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.find(from)
	if refusedVerb(err) {
		return
	}
	m.uncertain(from, to)
	switch {
	case b == nil && err == nil:
		m.violation("%s was renamed, and did not exist", from)
	case b == nil:
	case err == nil:
		delete(m.boxes, b.name)
		m.call(b, to)
		m.certain(b, to)
	default:
		m.doubt(b, from, to)
		w.resolve()
	}
}

// refusedVerb reports whether a verb did nothing, because there is nothing to do or because it says so.
func refusedVerb(err error) bool {
	return err != nil && strings.HasPrefix(err.Error(), "mail that is on its way to the disk") || errors.Is(err, directory.ErrNotFound) || errors.Is(err, directory.ErrExists)
}

func (w *world) remove(s *Step) {
	w.moves.Add(1)
	w.moving.Add(1)
	defer w.moving.Add(-1)
	_, err := w.office.RemoveMailbox(s.Box)
	w.log("remove: %v", err)
	m := w.model
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.find(s.Box)
	if b == nil || refusedVerb(err) {
		return
	}
	m.uncertain(s.Box)
	if err == nil {
		delete(m.boxes, b.name)
		b.removed = true
		m.certain(b, s.Box)
		return
	}
	for _, c := range b.copies {
		if c.state == promised {
			c.state = leaving
		}
	}
	m.doubt(b, s.Box)
	w.resolve()
}

func (w *world) add(s *Step) {
	err := w.base.addMailbox(w.office, s.Box)
	w.log("add: %v", err)
	m := w.model
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.find(s.Box)
	switch {
	case refusedVerb(err):
	case err == nil && b != nil:
		m.violation("mailbox %s was added, and existed", s.Box)
	case err == nil:
		b = m.newBox(s.Box)
		m.certain(b, s.Box)
	case b == nil:
		m.doubt(&box{name: s.Box, removed: true, copies: make(map[string]*copied)}, s.Box)
		w.resolve()
	}
}

// addMailbox makes a mailbox whose password costs nothing to check.
func (b *base) addMailbox(o *admin.Service, name string) error {
	a, err := addr.Parse(name)
	if err != nil {
		return err
	}
	if err := o.Dir.CheckFree(a); err != nil {
		return err
	}
	_, err = o.Dir.AddMailbox(a, directory.Account{Verifier: cheapVerifier})
	return err
}

// resolve finds out what became of verbs that failed, now and as long as the system does not crash.
func (w *world) resolve() {
	m := w.model
	if w.disk.Off() {
		return // the next process will see
	}
	doubtful := slices.Clone(m.doubtful) // what holds mail first
	slices.SortFunc(doubtful, func(a, b *box) int {
		return cmp.Or(cmp.Compare(len(b.copies), len(a.copies)), cmp.Compare(a.name, b.name))
	})
	for _, b := range doubtful {
		if m.boxes[b.name] == b {
			delete(m.boxes, b.name)
		}
		b.removed = true
	}
	w.faults.bypass(w.disk, func() {
		for _, b := range doubtful {
			if name := w.whereIs(b); name != "" {
				m.call(b, name)
				w.givePassword(name)
			}
			w.log("%s is now %s, removed: %v", b.others, b.name, b.removed)
		}
	})
	for _, b := range doubtful {
		for token, c := range b.copies {
			if b.removed && c.state == promised {
				m.violation("message %s was in %s, which is not there any more", token, b.name)
			}
		}
	}
}

// givePassword is what an administrator does after "mailbox add" has failed and the mailbox is there:
// a crash may have lost its account, and a recovery makes a mailbox without one for its mail.
func (w *world) givePassword(name string) {
	a, err := addr.Parse(name)
	if err != nil {
		return
	}
	if box, err := w.office.Dir.Mailbox(a); err != nil || box.Account.Verifier != "" {
		return
	}
	err = w.office.Dir.UpdateAccount(a, func(account *directory.Account) error {
		account.Verifier = cheapVerifier
		return nil
	})
	w.log("%s gets a password: %v", name, err)
}

// holdsAnother reports whether a mailbox has the mail of another mailbox than b that may have its name.
func (w *world) holdsAnother(a addr.Address, b *box) bool {
	return slices.ContainsFunc(w.model.doubtful, func(other *box) bool {
		return other != b && slices.Contains(other.others, a.String()) && w.holds(a, other)
	})
}

// whereIs finds a mailbox that may have one of several names. A verb that failed moved it or did not, so that it is where it
// was the last time if that is there; or else where its mail is, or else anywhere.
func (w *world) whereIs(b *box) (found string) {
	for _, name := range append([]string{b.name}, b.others...) {
		a, _ := addr.Parse(name)
		if w.model.boxes[name] != nil || !slices.Contains(b.others, name) || !w.exists(a) {
			continue
		}
		if !w.holds(a, b) && w.holdsAnother(a, b) {
			continue
		}
		if found = cmp.Or(found, name); name == b.name || w.holds(a, b) {
			return name
		}
	}
	return found
}

// holds reports whether a directory has a message that was seen in a mailbox, and should be there.
func (w *world) holds(a addr.Address, b *box) bool {
	files, _ := w.disk.ReadNames(directory.MailboxDir(a))
	return slices.ContainsFunc(files, func(file string) bool {
		token, known := w.model.uids[file[:min(len(file), len(sampleID))]]
		c := b.copies[token]
		return known && c != nil && c.state != deleted && c.state != refused
	})
}

const sampleID = "P3_20261122090047012300000042"

func (w *world) exists(a addr.Address) bool {
	_, err := w.office.Dir.Mailbox(a)
	if err != nil && !errors.Is(err, directory.ErrNotFound) {
		w.model.violation("mailbox %s cannot be looked up: %v", a, err)
	}
	return err == nil
}

func (w *world) retention(s *Step) {
	m := w.model
	m.mu.Lock()
	b := m.find(s.Box)
	m.mu.Unlock()
	if b == nil {
		return
	}
	p, err := w.office.PreviewRetention(s.Box, admin.RetentionChange{After: "30"}, time.Now())
	if err == nil {
		_, err = w.office.ChangeRetention(p)
	}
	if err != nil {
		w.log("retention: %v", err)
		return
	}
	m.mu.Lock()
	m.uncertain(s.Box)
	var there []string
	b.sweeps++
	for token, c := range b.copies {
		c.swept = c.swept || c.state == flying
		if c.state == promised {
			c.state = leaving
			there = append(there, token)
		}
	}
	m.mu.Unlock()
	all, err := w.office.RunRetention(context.Background(), s.Box, time.Now().AddDate(0, 0, 31))
	w.log("retention: %v, %v", all, err)
	m.mu.Lock()
	defer m.mu.Unlock()
	b.sweeps--
	if err == nil && len(all) == 1 && all[0].Problem == "" && all[0].Messages >= len(there) {
		m.fetched(b, there, deleted)
	}
}

func (w *world) importMail(s *Step) {
	m := w.model
	m.mu.Lock()
	b := m.find(s.Box)
	there := make(map[string]bool) // which may be in it now
	if b != nil {
		for token, c := range b.copies {
			there[token] = c.state == promised || c.state == leaving
		}
	}
	m.mu.Unlock()
	if b == nil {
		return
	}
	t, err := w.office.ImportMail(context.Background(), s.Box, w.base.source, admin.TransferOptions{})
	w.log("import: %+v, %v", t, err)
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range imported {
		msg := importedMessage(i)
		m.messages[msg.token] = msg
		c := b.copies[msg.token]
		if c == nil {
			c = &copied{imported: true, state: refused}
			b.copies[msg.token] = c
		}
		switch {
		case c.state == promised:
		case err == nil && there[msg.token]:
			c.state, c.uid = leaving, "" // a reader deleted it before the import looked, or after
		case err == nil:
			c.state, c.uid = promised, "" // it may have another unique-id than the one that was deleted
		case t.Mailbox.Local != "": // it got as far as copying
			c.state, c.uid = maybe, ""
		}
	}
}

func (w *world) setQuota(s *Step) {
	w.model.mu.Lock()
	if b := w.model.find(s.Box); b != nil {
		b.limit = true
	}
	w.model.mu.Unlock()
	messages := "none"
	if s.Count > 0 {
		messages = fmt.Sprint(s.Count)
	}
	_, err := w.office.ChangeQuota(s.Box, admin.QuotaChange{Messages: messages})
	w.log("quota: %v", err)
}

// check asks the check of all mail, which must find nothing while nothing is wrong.
func (w *world) check() {
	time.Sleep(time.Second)
	calm := w.calm()
	report, err := w.office.CheckMail(context.Background(), "", admin.CheckOptions{Ledger: []quota.Recount{}})
	if !calm || w.faulty() || w.disk.Off() {
		return
	}
	if err != nil {
		w.fail("check: %v", err)
	}
	for _, f := range report.Findings {
		if f.Note || f.Problem == admin.ProblemLog && w.damaged || f.Problem == admin.ProblemLeftover && w.leaves {
			continue
		}
		w.fail("check found %+v", f)
	}
}

func (w *world) heal() {
	w.faults.clear()
	w.disk.SetSlow(nil)
	w.disk.SetSize(0)
	w.disk.SetMostOpen(0)
	w.faults.install(w)
}

// faults are what is wrong with the disk now.
type faults struct {
	mu         sync.Mutex
	errors     []*armed
	full, few  bool
	unwritten  time.Time // when the system could not write something; zero: not, or the server has had time to see it
	cutAt      int       // operations until the power goes, or the process is killed; 0: not
	kill       bool
	mode       mailtest.PowerMode
	seed       uint64
	afterwards func(*mailtest.PowerFS) // the next start
	given      time.Time               // when the last of the errors was
	passed     bool                    // everything is allowed for a moment
}

// armed is an error that operations will give.
type armed struct {
	after, count int
	sync         bool // only syncs
	err          error
}

func (f *faults) active() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.full || f.worseLocked()
}

// worseLocked reports whether anything but room is lacking.
func (f *faults) worseLocked() bool { return len(f.errors) > 0 || f.few || f.cutAt > 0 || f.doubtful() }

// noRoom reports whether the disk lacks room and nothing else.
func (f *faults) noRoom() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.full && !f.worseLocked()
}

// noticed is how long a server may take to find that the system could not write something.
const noticed = 15 * time.Second

func (f *faults) doubtful() bool { return !f.unwritten.IsZero() && time.Since(f.unwritten) < noticed }

func (f *faults) clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.errors, f.full, f.few, f.cutAt = nil, false, false, 0
}

// bypass lets do work without faults.
func (f *faults) bypass(disk *mailtest.PowerFS, do func()) {
	pass := func(passed bool) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.passed = passed
	}
	pass(true)
	defer pass(false)
	most := disk.SetMostOpen(0)
	defer disk.SetMostOpen(most)
	do()
}

func (f *faults) kind() string {
	if f.kill {
		return "the process is killed"
	}
	return fmt.Sprintf("the power is cut, mode %v", f.mode)
}

// leave returns the disk after a crash.
func (f *faults) leave(disk *mailtest.PowerFS) *mailtest.PowerFS {
	f.cutAt = 0
	if f.kill {
		return disk.Kill()
	}
	f.unwritten = time.Time{}
	return disk.Restart(f.mode, rand.New(rand.NewPCG(f.seed, 3)))
}

// install makes the disk of a world obey.
func (f *faults) install(w *world) {
	network := w.network
	w.disk.Start(func(_ int, op mailtest.Op) error {
		err := f.decide(op)
		if err == mailtest.ErrPowerCut {
			network.cut() // before anything more is said
		}
		return err
	})
}

func (f *faults) decide(op mailtest.Op) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.passed {
		return nil
	}
	if f.cutAt > 0 {
		if f.cutAt--; f.cutAt == 0 {
			return mailtest.ErrPowerCut
		}
	}
	var err error
	f.errors = slices.DeleteFunc(f.errors, func(a *armed) bool {
		if a.sync && op.Kind != "sync" && op.Kind != "syncall" && op.Kind != "syncdir" {
			return false
		}
		if a.after > 1 {
			a.after--
			return false
		}
		err = a.err
		a.count--
		return a.count <= 0
	})
	if err != nil {
		f.given = time.Now()
	}
	return err
}

// last is when the last of the armed errors was given.
func (f *faults) last() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.given
}

func (w *world) fault(s *Step) string {
	switch s.How {
	case "log-short":
		return w.cutLogShort(s)
	case "slow":
		w.slow(s)
		return ""
	}
	lost := w.disturb(s)
	f := w.faults
	f.mu.Lock()
	defer f.mu.Unlock()
	w.leaves = w.leaves || s.How == "eio" || s.How == "emfile"
	w.damaged = w.damaged || slices.Contains([]string{"cut", "eio", "log-header"}, s.How) // a header may be torn too
	switch s.How {
	case "cut", "kill":
		f.kill, f.mode, f.seed, f.cutAt = s.How == "kill", mailtest.PowerMode(s.Count), s.Seed, s.At
		if s.At == 0 {
			return "crash"
		}
	case "eio", "sync":
		f.errors = append(f.errors, &armed{after: s.At, count: s.Count, sync: s.How == "sync", err: syscall.EIO})
	case "enospc":
		f.full = true
	case "emfile":
		f.few = true
	case "writeback":
		if lost {
			f.unwritten = time.Now()
		}
	case "clock":
		w.clock = time.Now().Add(time.Duration(s.Count) * time.Hour)
		f.kill = true
		return "crash"
	case "log-header":
		f.kill, f.mode, f.seed = s.Seed%2 == 0, mailtest.PowerMode(s.Seed/2%4), s.Seed
		f.afterwards = func(disk *mailtest.PowerFS) { damageHeader(disk, s) }
		return "crash"
	}
	return ""
}

// disturb does what a fault does to the disk at once, without the lock of the faults: the disk asks them with its own lock
// held. It reports whether the disk has lost something that it has not told of yet.
func (w *world) disturb(s *Step) (lost bool) {
	switch s.How {
	case "enospc":
		w.disk.SetSize(w.disk.Used() + int64(s.Size))
	case "emfile":
		w.disk.SetMostOpen(w.disk.OpenFiles() + s.Count)
	case "writeback":
		return w.disk.FailWriteback([]float64{0.3, 1}[s.Seed%2], newRand(s.Seed))
	case "drop-pages":
		w.disk.DropPages()
	}
	return false
}

// damageHeader makes four octets of the header of a file of the log wrong, in the copy at the front, that at the back, or
// both.
func damageHeader(disk *mailtest.PowerFS, s *Step) {
	disk.Edit(fmt.Sprintf("log/log%d", s.Count), func(text []byte) []byte {
		for _, copyAt := range [][]int{{0}, {len(text) - 4096}, {0, len(text) - 4096}}[s.Size] {
			for i := copyAt + s.At; i >= 0 && i < min(copyAt+s.At+4, len(text)); i++ {
				text[i] ^= 0x5a
			}
		}
		return text
	})
}

// cutLogShort ends the process, and shortens a file of its log. While the disk is sound, and a moment after the last
// message, nothing is in the log alone.
func (w *world) cutLogShort(s *Step) string {
	time.Sleep(time.Second)
	if !w.calm() || w.disk.Slow() || w.paused.Load() > 0 {
		return ""
	}
	w.damaged = true
	w.faults.afterwards = func(disk *mailtest.PowerFS) {
		disk.Edit(fmt.Sprintf("log/log%d", s.Count), func(text []byte) []byte { return text[:min(s.At, len(text))] })
	}
	if s.Seed%2 == 0 {
		return "restart"
	}
	w.faults.kill, w.short = true, true
	return "crash"
}

// slow makes the log slow, and what is written beside it. Other files are written with locks that virtual time does not know.
func (w *world) slow(s *Step) {
	w.disk.SetSlow(func(op mailtest.Op) time.Duration {
		if op.Kind != "syncall" && !strings.HasPrefix(op.Name, "log/") && !strings.HasPrefix(op.Name, "incoming/") {
			return 0
		}
		return time.Duration(s.Count) * time.Millisecond
	})
}
