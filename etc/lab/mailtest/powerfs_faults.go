package mailtest

import (
	"io/fs"
	"math/rand/v2"
	"syscall"

	"pillarbox/mailstore/durable"
)

// blockSize is the unit in which the disk allocates space.
const blockSize = 4096

// limits are the limits and their use; 0 means no limit.
type limits struct {
	size int64 // octets of all files
	used int64
	open int // open handles
	most int // the largest permitted number of open handles
}

// SetSize limits the octets of all files together; 0 means no limit. Existing files stay.
func (p *PowerFS) SetSize(size int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limits.size = size
}

// Used returns the octets of all files, in whole blocks. A removed file uses space until its last
// handle is closed.
func (p *PowerFS) Used() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.limits.used
}

// SetMostOpen limits the number of open handles; 0 means no limit. Calls that need a handle only
// temporarily count too. It returns the previous limit.
func (p *PowerFS) SetMostOpen(most int) (before int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before, p.limits.most = p.limits.most, most
	return before
}

// OpenFiles returns the number of open handles.
func (p *PowerFS) OpenFiles() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.limits.open
}

// descriptor refuses a call that needs a handle, even temporarily, if there is none. Calls of
// durable.Root that change a name open its directory.
func (p *PowerFS) descriptor(kind, name string) error {
	if p.limits.most == 0 || p.limits.open < p.limits.most {
		return nil
	}
	switch kind {
	case "open", "opendir", "create", "readdir", "syncdir",
		"mkdir", "mkdirall", "link", "rename", "remove", "removeall":
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

// closed is called when a handle was closed. Handles of a process that has ended do not count.
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

// charge updates the space that a file uses.
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

// room returns how many of count octets at off the disk has space for.
func (p *PowerFS) room(n *node, off, count int64) int64 {
	if p.limits.size == 0 {
		return count
	}
	end := n.charged + max(0, p.limits.size-p.limits.used)/blockSize*blockSize
	return max(0, min(count, end-off))
}

// FailWriteback makes the disk refuse background writes. Each file with unsynced content loses it
// with the given chance; the content still reads as written. The next Sync of the file and the next
// SyncAll each report that once. The result says whether any file was affected.
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

// Untold reports whether a background write has failed without a SyncAll reporting it.
func (p *PowerFS) Untold() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wbFailed
}

// UntoldFile reports whether a background write of some file has failed without a Sync of that file
// reporting it.
func (p *PowerFS) UntoldFile() (untold bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.everyNode(func(n *node) { untold = untold || n.wbFailed })
	return untold
}

// tellFailed reports once that a background write has failed.
func (f *powerFile) tellFailed() error {
	if !f.node.wbFailed {
		return nil
	}
	f.node.wbFailed = false
	return f.check("sync", syscall.EIO)
}

// DropPages drops pages that could not be written, as a system short of memory does. From then on
// they read as they are on the disk.
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

// Kill ends the process that uses p, and returns the file system for the next process. The system
// keeps running: everything reads as written, and unsynced data is still not certain. p must not be
// in use, and fails from then on.
func (p *PowerFS) Kill() *PowerFS {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.off = true
	next := &PowerFS{
		SyncNames: p.SyncNames, wbFailed: p.wbFailed,
		root: p.root, lastID: p.lastID, now: p.now, seq: p.seq, floor: p.floor,
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

// Edit changes the content of a file durably, as an accident outside the process would. It ignores
// a missing file.
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
