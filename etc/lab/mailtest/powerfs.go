package mailtest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"pillarbox/mailstore/durable"
)

// ErrPowerCut, returned by the fail function given to PowerFS.Start, takes the power away in the middle of that operation.
var ErrPowerCut = errors.New("power cut")

// PowerFS is a durable.FS in memory that knows what a disk holds after a power cut. It does and refuses what
// durable.Root does and refuses, except that SyscallConn of its files is errors.ErrUnsupported and that permissions are
// kept and not enforced.
//
// What is on the disk for certain is only what was synced: a file's content by File.Sync or by a write with O_DSYNC
// (which covers the sectors it touches), a name by SyncDir of its directory, all by SyncAll. Restart chooses what
// became of the rest.
//
// Every operation is a step with the kinds of FailFS. A step can fail by an error or by the power going off under
// it; then the step may have happened or not, and all operations after it fail with syscall.EIO. A failed File.Sync
// loses what it should have written: the content reads back as written, but a later Sync does not bring it to the disk,
// as with the page cache of Linux.
//
// It is safe for concurrent use; every operation is one step for all.
type PowerFS struct {
	// SyncNames says that File.Sync brings to the disk the names of the file too, as ext4, xfs and btrfs do and
	// POSIX does not promise. To be set before the first operation.
	SyncNames bool

	mu   sync.Mutex
	ops  []Op
	fail func(n int, op Op) error  // nil: nothing fails
	slow func(op Op) time.Duration // nil: nothing takes time
	off  bool                      // the power is

	limits        // what the disk and the process have room for
	wbFailed bool // content could not be written, and SyncAll has not told it

	root   *node
	lastID uint64
	now    time.Time // of the last change: no two have the same, unless the clock is set back
	seq    int       // of the last change of a name, and of the last truncation
	floor  int       // the last of these that is on the disk for certain
}

var _ durable.FS = (*PowerFS)(nil)

// NewPowerFS returns an empty PowerFS on which nothing fails yet.
func NewPowerFS() *PowerFS {
	p := &PowerFS{}
	p.root = p.newDir(0o700)
	return p
}

// Start forgets the operations recorded so far and begins to count anew: operation n, from 1, fails with the error
// that fail returns for it. An operation that fails is not done, but a write does half its work first, and a close
// closes the file. With ErrPowerCut, the power goes off. A nil fail lets everything pass.
func (p *PowerFS) Start(fail func(n int, op Op) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ops, p.fail = nil, fail
}

// Ops returns the operations since Start, in the order in which they were done, failed ones included, those
// without power not.
func (p *PowerFS) Ops() []Op {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Op(nil), p.ops...)
}

// Cut takes the power away.
func (p *PowerFS) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.off = true
}

// Off says whether the power is off.
func (p *PowerFS) Off() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.off
}

// step does one operation, unless it has to fail. The one during which the power goes off is done too, but without
// power nothing becomes durable: Restart may choose that it has not happened.
func (p *PowerFS) step(kind, name string, do func() error) error {
	return p.held(kind, name, func() error {
		if err := p.descriptor(kind, name); err != nil {
			return err
		}
		return do()
	})
}

// delay lets time pass before an operation, with no lock held.
func (p *PowerFS) delay(kind, name string) {
	p.mu.Lock()
	slow := p.slow
	p.mu.Unlock()
	if slow != nil {
		time.Sleep(slow(Op{Kind: kind, Name: name}))
	}
}

// SetSlow says how long each write, Sync and SyncAll takes from now on; nil: no time.
func (p *PowerFS) SetSlow(slow func(op Op) time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slow = slow
}

// Slow reports whether operations take time.
func (p *PowerFS) Slow() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.slow != nil
}

// held is a step that needs no handle but what it has.
func (p *PowerFS) held(kind, name string, do func() error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	wasOff := p.off
	if err := p.verdict(kind, name); err != nil {
		if p.off && !wasOff {
			_ = do()
		}
		return err
	}
	return do()
}

// verdict records an operation and returns its error, if it has to fail.
func (p *PowerFS) verdict(kind, name string) error {
	op := Op{Kind: kind, Name: name}
	if p.off {
		return &fs.PathError{Op: kind, Path: name, Err: syscall.EIO}
	}
	p.ops = append(p.ops, op)
	if p.fail == nil {
		return nil
	}
	err := p.fail(len(p.ops), op)
	if errors.Is(err, ErrPowerCut) {
		p.off = true
		return &fs.PathError{Op: kind, Path: name, Err: syscall.EIO}
	}
	if err != nil {
		return fmt.Errorf("%v: made to fail: %w", op, err)
	}
	return nil
}

// tick is the time of a change.
func (p *PowerFS) tick() time.Time {
	const setBack = time.Second // the clock was, if it is so far behind
	if now := time.Now().Round(0); now.After(p.now) || p.now.Sub(now) > setBack {
		p.now = now
	} else {
		p.now = p.now.Add(1)
	}
	return p.now
}

// walk finds a file or directory.
func (p *PowerFS) walk(name string) (*node, error) {
	n := p.root
	if name == "." {
		return n, nil
	}
	for part := range strings.SplitSeq(name, "/") {
		if n.dir == nil {
			return nil, syscall.ENOTDIR
		}
		if n = n.dir.entries[part]; n == nil {
			return nil, syscall.ENOENT
		}
	}
	return n, nil
}

func (p *PowerFS) walkDir(name string) (*node, error) {
	n, err := p.walk(name)
	if err == nil && n.dir == nil {
		err = syscall.ENOTDIR
	}
	return n, err
}

// place finds the directory that holds, or could hold, a name.
func (p *PowerFS) place(name string) (dir *node, base string, err error) {
	dir, err = p.walkDir(path.Dir(name))
	return dir, path.Base(name), err
}

// child is what a name that place took apart stands for, nil if nothing.
func (p *PowerFS) child(dir *node, base string) *node {
	if base == "." {
		return p.root
	}
	return dir.dir.entries[base]
}

// onPath does an operation on a valid name and gives its errors their form.
func (p *PowerFS) onPath(kind, op, name string, do func() error) error {
	return p.step(kind, name, func() error {
		if !durable.ValidName(name) {
			return &fs.PathError{Op: op, Path: fmt.Sprintf("%q", name), Err: fs.ErrInvalid}
		}
		if err := do(); err != nil {
			return &fs.PathError{Op: op, Path: name, Err: err}
		}
		return nil
	})
}

// onPair does the same with two names.
func (p *PowerFS) onPair(op, oldname, newname string, do func() error) error {
	return p.step(op, newname, func() error {
		if !durable.ValidName(oldname) || !durable.ValidName(newname) {
			return &os.LinkError{Op: op, Old: oldname, New: newname, Err: fs.ErrInvalid}
		}
		if err := do(); err != nil {
			return &os.LinkError{Op: op, Old: oldname, New: newname, Err: err}
		}
		return nil
	})
}

// Mkdir implements durable.FS.
func (p *PowerFS) Mkdir(name string, perm fs.FileMode) error {
	return p.onPath("mkdir", "mkdirat", name, func() error {
		dir, base, err := p.place(name)
		if err != nil {
			return err
		}
		return p.mkdir(dir, base, perm)
	})
}

func (p *PowerFS) mkdir(dir *node, base string, perm fs.FileMode) error {
	if p.child(dir, base) != nil {
		return syscall.EEXIST
	}
	p.set(dir, base, p.newDir(perm))
	return nil
}

// MkdirAll implements durable.FS.
func (p *PowerFS) MkdirAll(name string, perm fs.FileMode) error {
	return p.onPath("mkdirall", "mkdir", name, func() error {
		if name == "." {
			return nil
		}
		dir := p.root
		for part := range strings.SplitSeq(name, "/") {
			switch err := p.mkdir(dir, part, perm); err {
			case nil:
				p.syncNames(dir)
			case syscall.EEXIST:
			default:
				return err
			}
			if dir = dir.dir.entries[part]; dir.dir == nil {
				return syscall.ENOTDIR
			}
		}
		return nil
	})
}

// Link implements durable.FS.
func (p *PowerFS) Link(oldname, newname string) error {
	return p.onPair("link", oldname, newname, func() error {
		if _, _, err := p.place(oldname); err != nil {
			return err
		}
		dir, base, err := p.place(newname)
		if err != nil {
			return err
		}
		n, err := p.walk(oldname)
		if err != nil {
			return err
		}
		if p.child(dir, base) != nil {
			return syscall.EEXIST
		}
		if n.dir != nil {
			return syscall.EPERM
		}
		p.set(dir, base, n)
		return nil
	})
}

// Rename implements durable.FS.
func (p *PowerFS) Rename(oldname, newname string) error {
	return p.onPair("rename", oldname, newname, func() error {
		from, oldbase, err := p.place(oldname)
		if err != nil {
			return err
		}
		to, newbase, err := p.place(newname)
		if err != nil {
			return err
		}
		n, replaced := p.child(from, oldbase), p.child(to, newbase)
		switch {
		case n == nil:
			return syscall.ENOENT
		case replaced != nil && replaced.dir != nil:
			return syscall.EEXIST // package os goes no further, even if it is empty
		case n == p.root:
			return syscall.EBUSY
		case n.dir != nil && strings.HasPrefix(newname, oldname+"/"):
			return syscall.EINVAL
		case n == replaced:
			return nil
		case replaced != nil && n.dir != nil:
			return syscall.ENOTDIR
		}
		p.move(from, oldbase, to, newbase)
		return nil
	})
}

// Remove implements durable.FS.
func (p *PowerFS) Remove(name string) error {
	return p.onPath("remove", "unlinkat", name, func() error {
		dir, base, err := p.place(name)
		if err != nil {
			return err
		}
		n := dir.dir.entries[base]
		switch {
		case base == ".":
			return syscall.EINVAL
		case n == nil:
			return syscall.ENOENT
		case n.dir != nil && len(n.dir.entries) > 0:
			return syscall.ENOTEMPTY
		}
		p.set(dir, base, nil)
		return nil
	})
}

// RemoveAll implements durable.FS.
func (p *PowerFS) RemoveAll(name string) error {
	return p.onPath("removeall", "RemoveAll", name, func() error {
		dir, base, err := p.place(name)
		switch {
		case err == syscall.ENOENT:
			return nil
		case err != nil:
			return err
		case base == ".":
			return syscall.EINVAL
		case dir.dir.entries[base] != nil:
			p.removeAll(dir, base)
		}
		return nil
	})
}

func (p *PowerFS) removeAll(dir *node, base string) {
	n := dir.dir.entries[base]
	if n.dir != nil {
		for _, name := range inOrder(n.dir.entries) {
			p.removeAll(n, name)
		}
	}
	p.set(dir, base, nil)
}

// Lstat implements durable.FS.
func (p *PowerFS) Lstat(name string) (info fs.FileInfo, err error) {
	err = p.onPath("lstat", "statat", name, func() error {
		n, err := p.walk(name)
		if err == nil {
			info = n.info(path.Base(name))
		}
		return err
	})
	return info, err
}

// SyncDir implements durable.FS.
func (p *PowerFS) SyncDir(name string) error {
	return p.onPath("syncdir", "openat", name, func() error {
		n, err := p.walkDir(name)
		if err == nil {
			p.syncNames(n)
		}
		return err
	})
}

// SyncAll implements durable.FS. One that is made to fail loses all that it should have written, as File.Sync does.
func (p *PowerFS) SyncAll() error {
	p.delay("syncall", ".")
	done := false
	err := p.step("syncall", ".", func() error {
		done = true
		p.everyNode(func(n *node) {
			if n.dir != nil {
				p.syncNames(n)
			} else {
				p.syncContent(n.data, 0, len(n.data.now.sectors))
			}
		})
		if p.wbFailed && !p.off {
			p.wbFailed = false
			return &fs.PathError{Op: "syncfs", Path: ".", Err: syscall.EIO}
		}
		return nil
	})
	if !done {
		p.loseAll()
	}
	return err
}

// loseAll gives up what is not on the disk. Each file tells so at its next Sync.
func (p *PowerFS) loseAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.off {
		return
	}
	p.everyNode(func(n *node) {
		if n.data != nil && len(n.data.dirty) > 0 {
			n.data.lose()
			n.wbFailed = true
		}
	})
}

// ReadDir implements durable.FS.
func (p *PowerFS) ReadDir(name string) (entries []fs.DirEntry, err error) {
	err = p.list(name, func(base string, n *node) {
		entries = append(entries, fs.FileInfoToDirEntry(n.info(base)))
	})
	return entries, err
}

// ReadNames implements durable.FS.
func (p *PowerFS) ReadNames(name string) (names []string, err error) {
	err = p.list(name, func(base string, _ *node) { names = append(names, base) })
	return names, err
}

// list calls add for each name in a directory, backwards: nobody shall take the order for given.
func (p *PowerFS) list(name string, add func(base string, n *node)) error {
	return p.onPath("readdir", "openat", name, func() error {
		dir, err := p.walkDir(name)
		if err != nil {
			return err
		}
		for _, base := range slices.Backward(inOrder(dir.dir.entries)) {
			add(base, dir.dir.entries[base])
		}
		return nil
	})
}
