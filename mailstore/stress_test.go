package mailstore

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"pillarbox/etc/lab/mailtest"
)

// TestTrouble runs clients, a queue and an administrator at once while one operation in some dozens
// fails, and sometimes cuts the power at the end. After the next start, everything is as each of
// them was told.
func TestTrouble(t *testing.T) {
	rounds := 10
	if n, err := strconv.Atoi(os.Getenv("PILLARBOX_TEST_TROUBLE")); err == nil {
		rounds = n
	}
	for range rounds {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { newTrouble(t, seed).run(t) })
		})
	}
}

// trouble holds what each client was told.
type trouble struct {
	*Store
	disk *mailtest.PowerFS
	book *book
	seed uint64
	rng  *rand.Rand // for the disk's choices

	mu   sync.Mutex
	mail map[string]*told // by body
}

// told is what is known of one message.
type told struct {
	id     string
	refuse bool
	open   bool            // not answered before the power cut
	in     map[string]bool // by mailbox: false: possibly there; missing: not there
	state  []string        // states that the queue may have; "": not in the queue
}

func newTrouble(t *testing.T, seed uint64) *trouble {
	tr := &trouble{
		disk: mailtest.NewPowerFS(), book: &book{bytes: make(map[string]int64)}, mail: make(map[string]*told),
		seed: seed, rng: rand.New(rand.NewPCG(seed, 0)),
	}
	for _, box := range everybody {
		must(t, tr.disk.MkdirAll(box, dirPerm))
	}
	s, err := Open(tr.disk, Options{Reserver: tr.book})
	must(t, err)
	must(t, s.Recover(RecoverOptions{LogSize: 128 << 10, SyncDelay: time.Duration(20+seed%2000) * time.Millisecond}))
	tr.Store = s
	return tr
}

func (tr *trouble) run(t *testing.T) {
	kinds := []string{"link", "create", "remove", "opendir", "syncdir", "syncall", "rename", "open", "lstat", "sync", "write", "readdir"}
	odds := 0.002 + 0.04*tr.rng.Float64()
	rng, last := rand.New(rand.NewPCG(tr.seed, 100)), 1+tr.rng.IntN(6000)
	tr.disk.Start(func(n int, op mailtest.Op) error {
		if n == last {
			return mailtest.ErrPowerCut
		}
		// After two failed writes, a record may remain. No promise covers that.
		log := op.Kind == "write" && strings.HasPrefix(op.Name, logDir+"/log")
		if slices.Contains(kinds, op.Kind) && !log && rng.Float64() < odds {
			return []error{syscall.EIO, syscall.ENOSPC, syscall.EMFILE}[rng.IntN(3)]
		}
		return nil
	})
	var all sync.WaitGroup
	for n, do := range []func(*rand.Rand){tr.deliver, tr.deliver, tr.deliver, tr.fetch, tr.queue, tr.administer} {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(tr.seed, uint64(n+1)))
			for range 40 {
				do(rng)
				time.Sleep(time.Duration(rng.IntN(30)) * time.Millisecond)
			}
		})
	}
	all.Wait()
	if tr.seed%4 < 2 && !tr.disk.Off() {
		tr.settle(t)
	}
	if tr.seed%2 == 0 {
		tr.disk.Cut()
	}
	_ = tr.Close()
	tr.verify(t, tr.disk.Restart(mailtest.PowerMode(tr.rng.IntN(4)), tr.rng))
}

// settle waits for a recovery that is due, and compares the quota.
func (tr *trouble) settle(t *testing.T) {
	tr.disk.Start(nil)
	time.Sleep(time.Minute)
	for _, box := range everybody {
		if st, err := tr.Stat(box); err != nil || st.Bytes != tr.book.bytes[box] {
			t.Errorf("%s holds %d bytes, but %d are booked; %v", box, st.Bytes, tr.book.bytes[box], err)
		}
	}
}

func (tr *trouble) deliver(rng *rand.Rand) {
	m := &told{in: make(map[string]bool)}
	var dirs []string
	for _, box := range everybody {
		if rng.IntN(2) == 0 {
			dirs = append(dirs, box)
			m.in[box] = true
		}
	}
	in := tr.Create()
	defer in.Abort()
	if m.id = in.ID(); len(dirs) == 0 || rng.IntN(2) == 0 {
		in.Spool([]byte("new"))
		m.state = []string{"new"}
	}
	size := []int{0, 2000, smallMax, smallMax + 16}[rng.IntN(4)]
	body := m.id + "\r\n" + strings.Repeat("a line of text\r\n", size/16)
	_, err := io.WriteString(in, body)
	if err == nil {
		tr.mu.Lock()
		tr.mail[body] = m
		tr.mu.Unlock()
		_, err = in.Commit(dirs)
	}
	tr.mu.Lock()
	m.refuse, m.open = err != nil, tr.disk.Off()
	tr.mu.Unlock()
}

func (tr *trouble) fetch(rng *rand.Rand) {
	box := everybody[rng.IntN(3)]
	m, err := tr.OpenMaildrop(box)
	if err != nil {
		return
	}
	defer m.Close()
	if len(m.Messages()) == 0 {
		return
	}
	i := rng.IntN(len(m.Messages()))
	r, err := m.Open(i)
	if err != nil {
		return
	}
	body, err := io.ReadAll(r)
	if r.Close(); err != nil {
		return
	}
	err = m.Remove([]int{i})
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if in := tr.mail[string(body)].in; err == nil {
		delete(in, box)
	} else {
		in[box] = false
	}
}

func (tr *trouble) queue(rng *rand.Rand) {
	ids, _, err := tr.Spool().List(false)
	if err != nil || len(ids) == 0 {
		return
	}
	id, next := ids[rng.IntN(len(ids))], fmt.Sprint(rng.Uint64())
	if rng.IntN(2) == 0 {
		next = ""
		err = tr.Spool().Remove(id)
	} else {
		err = tr.Spool().Update(id, []byte(next))
	}
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for _, m := range tr.mail {
		if m.id != id {
			continue
		}
		if err != nil {
			m.state = append(m.state, next)
		} else {
			m.state = []string{next}
		}
	}
}

// administer renames a mailbox for a while.
func (tr *trouble) administer(rng *rand.Rand) {
	if rng.IntN(4) > 0 {
		return
	}
	box := everybody[rng.IntN(3)]
	_ = tr.Exclusively(func() error {
		if err := tr.disk.Rename(box, box+".away"); err != nil {
			return err
		}
		for tr.disk.Rename(box+".away", box) != nil && !tr.disk.Off() {
		}
		for tr.disk.SyncDir(path.Dir(box)) != nil && !tr.disk.Off() {
		}
		return nil
	})
}

func (tr *trouble) verify(t *testing.T, found *mailtest.PowerFS) {
	for _, box := range everybody {
		_ = found.Rename(box+".away", box) // the power was cut meanwhile
	}
	next, err := Open(found, Options{})
	must(t, err)
	must(t, next.Recover(RecoverOptions{LogSize: 128 << 10}))
	defer next.Close()
	for _, box := range everybody {
		there := make(map[string]int)
		for _, body := range bodies(t, next, box) {
			there[body]++
		}
		for body, m := range tr.mail {
			sure, may := m.in[box]
			switch n := there[body]; {
			case n > 1, n == 1 && (m.refuse && !m.open || !may), n == 0 && !m.refuse && sure:
				t.Errorf("%s is in %s %d times; refused %v, there %v %v", m.id, box, n, m.refuse, sure, may)
			}
		}
	}
	ids, strays, err := next.Spool().List(true)
	must(t, err)
	if len(strays) > 0 {
		t.Errorf("strays: %q", strays)
	}
	for body, m := range tr.mail {
		state := ""
		if slices.Contains(ids, m.id) {
			var content string
			if state, content = spooled(t, next, m.id); content != body {
				t.Errorf("%s in the queue has other content", m.id)
			}
		}
		want := m.state
		switch {
		case want == nil || m.refuse && !m.open:
			want = []string{""}
		case m.open && m.refuse:
			want = append(want, "")
		}
		if !slices.Contains(want, state) {
			t.Errorf("%s has the state %q in the queue, want one of %q; refused %v", m.id, state, want, m.refuse)
		}
	}
	names, err := found.ReadNames(incomingDir)
	must(t, err)
	if len(names) > 0 {
		t.Errorf("left in incoming: %q", names)
	}
	for _, dir := range append(slices.Clone(everybody), spoolDir) {
		names, err := found.ReadNames(dir)
		must(t, err)
		for _, name := range names {
			if strings.HasPrefix(name, ".") {
				t.Errorf("left in %s: %s", dir, name)
			}
		}
	}
}
