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

// ErrPowerCut, returned by the fail function of PowerFS.Start, cuts the power during that
// operation.
var ErrPowerCut = errors.New("power cut")

// PowerFS is a durable.FS in memory that models what a disk holds after a power cut. It accepts and
// refuses the same calls as durable.Root, with two exceptions: SyscallConn of its files fails with
// errors.ErrUnsupported, and permissions are stored but not enforced.
//
// Only synced data is certain to be on the disk. File.Sync syncs a file's content; a write with
// O_DSYNC syncs the sectors that it touches; SyncDir syncs the names in a directory; SyncAll syncs
// everything. Restart chooses what has become of the rest.
//
// Every operation is a step with a kind as in FailFS. A step can fail with an error or be
// interrupted by a power cut. After a power cut the step may or may not have happened, and all
// later operations fail with syscall.EIO. A failed File.Sync loses the unsynced content: it reads
// back as written, but a later Sync does not write it to the disk, as with the page cache of Linux.
//
// It is safe for concurrent use; all operations are serialised.
type PowerFS struct {
	// SyncNames means that File.Sync also syncs the names of the file, as ext4, xfs and btrfs do
	// although POSIX does not promise it. Set it before the first operation.
	SyncNames bool

	mu   sync.Mutex
	ops  []Op
	fail func(n int, op Op) error  // nil: no operation fails
	slow func(op Op) time.Duration // nil: operations take no time
	off  bool                      // the power is off

	limits        // disk space and descriptors
	wbFailed bool // a writeback has failed, and SyncAll has not reported it

	root   *node
	lastID uint64
	now    time.Time // of the last change; increases unless the clock is set back
	seq    int       // of the last change of a name or truncation
	floor  int       // the last of these that is certainly on the disk
}

var _ durable.FS = (*PowerFS)(nil)

// NewPowerFS returns an empty PowerFS on which no operation fails yet.
func NewPowerFS() *PowerFS {
	p := &PowerFS{}
	p.root = p.newDir(0o700)
	return p
}

// Start clears the recorded operations and the count. From then on operation n, from 1, fails with
// the error that fail returns for it. A failed operation is not done, with two exceptions: a write
// does half its work, and a close closes the file. ErrPowerCut cuts the power. With a nil fail all
// operations pass.
func (p *PowerFS) Start(fail func(n int, op Op) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ops, p.fail = nil, fail
}

// Ops returns the operations since Start in order, including failed ones but not those without
// power.
func (p *PowerFS) Ops() []Op {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Op(nil), p.ops...)
}

// Cut cuts the power.
func (p *PowerFS) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.off = true
}

// Off reports whether the power is off.
func (p *PowerFS) Off() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.off
}

// step does one operation unless it must fail. The operation during which the power is cut is done
// too, but it is not durable: Restart may choose that it has not happened.
func (p *PowerFS) step(kind, name string, do func() error) error {
	return p.held(kind, name, func() error {
		if err := p.descriptor(kind, name); err != nil {
			return err
		}
		return do()
	})
}

// delay lets time pass before an operation, without a lock.
func (p *PowerFS) delay(kind, name string) {
	p.mu.Lock()
	slow := p.slow
	p.mu.Unlock()
	if slow != nil {
		time.Sleep(slow(Op{Kind: kind, Name: name}))
	}
}

// SetSlow sets how long each write, Sync and SyncAll takes; nil means no time.
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

// held is step for an operation on an open handle.
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

// verdict records an operation and returns its error if it must fail.
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

// tick returns the time of a change.
func (p *PowerFS) tick() time.Time {
	const setBack = time.Second // a larger difference means that the clock was set back
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

// place finds the directory for a name; the name itself need not exist.
func (p *PowerFS) place(name string) (dir *node, base string, err error) {
	dir, err = p.walkDir(path.Dir(name))
	return dir, path.Base(name), err
}

// child returns the node that a result of place refers to, or nil.
func (p *PowerFS) child(dir *node, base string) *node {
	if base == "." {
		return p.root
	}
	return dir.dir.entries[base]
}

// onPath does an operation on a valid name and wraps its error.
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

// onPair is onPath with two names.
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
			return syscall.EEXIST // as package os, even if it is empty
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

// SyncAll implements durable.FS. One that is made to fail loses all that it should have written, as
// File.Sync does.
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

// loseAll drops all unsynced content. Each file reports that at its next Sync.
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

// list calls add for each name in a directory, in reverse order: no caller may rely on an order.
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
