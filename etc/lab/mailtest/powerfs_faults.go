package mailtest

import (
	"io/fs"
	"math/rand/v2"
	"syscall"

	"pillarbox/mailstore/durable"
)

// blockSize is the unit in which the disk gives room to a file.
const blockSize = 4096

// limits are what there is room for; 0 is no limit.
type limits struct {
	size int64 // octets of all files
	used int64
	open int // handles
	most int // handles that may be open
}

// SetSize limits how many octets all files together may take; 0 means no limit. Files that are larger already stay.
func (p *PowerFS) SetSize(size int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limits.size = size
}

// Used is how many octets all files take, whole blocks. A file that was removed takes room until its last handle is closed.
func (p *PowerFS) Used() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.limits.used
}

// SetMostOpen limits how many handles may be open; 0 means no limit. Calls that need a handle in passing count too. It
// returns the limit there was.
func (p *PowerFS) SetMostOpen(most int) (before int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before, p.limits.most = p.limits.most, most
	return before
}

// OpenFiles is how many handles are open.
func (p *PowerFS) OpenFiles() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.limits.open
}

// descriptor refuses a call that needs a handle, if only in passing, where there is none. Those of durable.Root that change
// a name open the directory that has it.
func (p *PowerFS) descriptor(kind, name string) error {
	if p.limits.most == 0 || p.limits.open < p.limits.most {
		return nil
	}
	switch kind {
	case "open", "opendir", "create", "readdir", "syncdir", "mkdir", "mkdirall", "link", "rename", "remove", "removeall":
		return &fs.PathError{Op: kind, Path: name, Err: syscall.EMFILE}
	}
	return nil
}

func (p *PowerFS) handle(n *node, name string, flag int) *powerFile {
	n.opens++
	p.limits.open++
	p.charge(n)
	return &powerFile{fs: p, node: n, name: name, flag: flag}
}

// closed is called when a handle was closed. Those of a process that has ended are not counted any more.
func (p *PowerFS) closed(f *powerFile) {
	p.limits.open--
	if p.off {
		return
	}
	f.node.opens--
	if f.node.locked == f {
		f.node.locked = nil
	}
	p.charge(f.node)
}

// Flock implements durable.Locker.
func (f *powerFile) Flock() error {
	return f.step("flock", func() error {
		switch {
		case f.closed:
			return fs.ErrClosed
		case f.node.locked != nil && f.node.locked != f:
			return syscall.EWOULDBLOCK
		}
		f.node.locked = f
		return nil
	})
}

var _ durable.Locker = (*powerFile)(nil)

// charge counts what a file takes now.
func (p *PowerFS) charge(n *node) {
	if n.data == nil {
		return
	}
	want := int64(0)
	if n.links > 0 || n.opens > 0 {
		want = wholeBlocks(n.data.now.size)
	}
	p.limits.used += want - n.charged
	n.charged = want
}

func wholeBlocks(size int64) int64 { return (size + blockSize - 1) / blockSize * blockSize }

// room is how many of so many octets the disk has room for.
func (p *PowerFS) room(n *node, off, count int64) int64 {
	if p.limits.size == 0 {
		return count
	}
	end := n.charged + max(0, p.limits.size-p.limits.used)/blockSize*blockSize
	return max(0, min(count, end-off))
}

// FailWriteback makes the disk refuse what the system writes in the background: of each file that holds something unsynced,
// with the given chance, all that is unsynced is not on the disk, and reads as written. The next Sync of the file says so,
// once, and the next SyncAll, once. It reports whether there was anything.
func (p *PowerFS) FailWriteback(chance float64, rng *rand.Rand) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.everyNode(func(n *node) {
		if n.data == nil || len(n.data.dirty) == 0 || rng.Float64() >= chance {
			return
		}
		n.data.lose()
		n.wbFailed, p.wbFailed = true, true
	})
	return p.wbFailed
}

// Untold reports whether a write in the background failed and no SyncAll has told it yet.
func (p *PowerFS) Untold() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wbFailed
}

// tellFailed tells once that a write in the background failed.
func (f *powerFile) tellFailed() error {
	if !f.node.wbFailed {
		return nil
	}
	f.node.wbFailed = false
	return f.check("sync", syscall.EIO)
}

// DropPages forgets, as a system that needs memory does, what reads as written and could not be written: it reads as it is
// on the disk now.
func (p *PowerFS) DropPages() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.everyNode(func(n *node) {
		if n.data == nil {
			return
		}
		for i := range n.data.lost {
			n.data.now.put(i, n.data.disk.get(i))
		}
		n.data.lost = nil
	})
}

// Kill ends the process that works on p, and returns what the next one finds: the system goes on, so that everything
// reads as it was written, and what was not synced is still not certain. Nothing can be done with p any more; it must not
// be in use.
func (p *PowerFS) Kill() *PowerFS {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.off = true
	next := &PowerFS{
		SyncNames: p.SyncNames, wbFailed: p.wbFailed, root: p.root, lastID: p.lastID, now: p.now, seq: p.seq, floor: p.floor,
	}
	next.limits = limits{size: p.limits.size, used: p.limits.used}
	next.everyNode(func(n *node) {
		n.opens, n.locked = 0, nil
		next.charge(n)
	})
	next.limits.used = 0
	next.everyNode(func(n *node) { next.limits.used += n.charged })
	return next
}

// Edit changes the content of a file beside all that the process knows, durably, as an accident does. A file that is not
// there is left alone.
func (p *PowerFS) Edit(name string, edit func(content []byte) []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, err := p.walk(name)
	if err != nil || n.data == nil {
		return
	}
	text := make([]byte, n.data.now.size)
	n.data.now.readAt(text, 0)
	text = edit(text)
	n.data = &content{}
	n.data.write(text, 0)
	p.syncContent(n.data, 0, len(n.data.now.sectors))
	p.charge(n)
	n.mtime = p.tick()
}
