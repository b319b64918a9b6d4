package mailtest

import (
	"cmp"
	"io/fs"
	"maps"
	"slices"
	"syscall"
	"time"
)

// node is a file or a directory, independent of its names.
type node struct {
	id    uint64
	mode  fs.FileMode
	mtime time.Time
	links int  // number of names that a process sees
	fresh bool // never had a name, so LinkFile may give it one

	opens    int        // number of open handles
	charged  int64      // octets of disk space that it uses
	locked   *powerFile // the handle that holds its lock; nil: unlocked
	wbFailed bool       // a writeback has failed, and Sync has not reported it

	data *content   // of a file
	dir  *directory // of a directory
}

// directory holds names.
type directory struct {
	entries map[string]*node // as processes see them
	synced  map[string]*node // certainly on the disk
	pending []*change        // the changes between the two, in order
}

// change is the creation or removal of one name.
type change struct {
	seq  int
	dir  *node
	name string
	node *node // nil: the name was removed
	done bool  // certainly on the disk, or replaced by such a change

	// A rename is two changes. On any file system the old name does not disappear before the new
	// one exists. Within a directory, or if a directory is moved, both happen together (tied).
	comes *change // in the old name's change: that of the new name
	goes  *change // in the new name's change, if tied: that of the old name
}

func (p *PowerFS) newNode(mode fs.FileMode) *node {
	p.lastID++
	return &node{id: p.lastID, mode: mode, mtime: p.tick(), fresh: true}
}

func (p *PowerFS) newDir(perm fs.FileMode) *node {
	n := p.newNode(fs.ModeDir | perm)
	n.dir = &directory{entries: make(map[string]*node), synced: make(map[string]*node)}
	return n
}

func (p *PowerFS) newFile(perm fs.FileMode) *node {
	n := p.newNode(perm)
	n.data = &content{}
	return n
}

// set creates a name or, with a nil node, removes it.
func (p *PowerFS) set(dir *node, name string, n *node) {
	p.seq++
	p.change(dir, name, n)
}

// move renames a node.
func (p *PowerFS) move(from *node, oldname string, to *node, newname string) {
	p.seq++
	n := from.dir.entries[oldname]
	comes := p.change(to, newname, n)
	goes := p.change(from, oldname, nil)
	goes.comes = comes
	if from == to || n.dir != nil {
		comes.goes = goes
	}
}

func (p *PowerFS) change(dir *node, name string, n *node) *change {
	if old := dir.dir.entries[name]; old != nil {
		old.links--
		p.charge(old)
	}
	if n == nil {
		delete(dir.dir.entries, name)
	} else {
		n.links++
		n.fresh = false
		dir.dir.entries[name] = n
		p.charge(n)
	}
	dir.mtime = p.tick()
	c := &change{seq: p.seq, dir: dir, name: name, node: n}
	dir.dir.pending = append(dir.dir.pending, c)
	return c
}

// syncNames makes the names in a directory durable.
func (p *PowerFS) syncNames(dir *node) {
	if p.off {
		return
	}
	for len(dir.dir.pending) > 0 {
		p.settle(dir.dir.pending[0])
	}
}

// settle makes a change durable, with those that are tied to it.
func (p *PowerFS) settle(c *change) {
	if c.done {
		return
	}
	if c.comes != nil {
		p.settle(c.comes)
	}
	apply(c.dir.dir.synced, c)
	p.floor = max(p.floor, c.seq)
	// Earlier changes of this name no longer matter.
	c.dir.dir.pending = slices.DeleteFunc(c.dir.dir.pending, func(other *change) bool {
		past := other.name == c.name && other.seq <= c.seq
		other.done = other.done || past
		return past
	})
	if c.goes != nil {
		p.settle(c.goes)
	}
}

func apply(entries map[string]*node, c *change) {
	if c.node == nil {
		delete(entries, c.name)
	} else {
		entries[c.name] = c.node
	}
}

// syncFile is the effect of File.Sync.
func (p *PowerFS) syncFile(n *node) {
	if p.off {
		return
	}
	if n.dir != nil {
		p.syncNames(n)
		return
	}
	p.syncContent(n.data, 0, len(n.data.now.sectors))
	if !p.SyncNames {
		return
	}
	p.everyNode(func(dir *node) {
		if dir.dir == nil {
			return
		}
		for _, c := range slices.Clone(dir.dir.pending) {
			if c.node == n {
				p.settle(c)
			}
		}
	})
}

// everyNode calls visit for all nodes that have a name.
func (p *PowerFS) everyNode(visit func(*node)) {
	seen := make(map[*node]bool)
	var walk func(*node)
	walk = func(n *node) {
		if seen[n] {
			return
		}
		seen[n] = true
		visit(n)
		if n.dir == nil {
			return
		}
		for _, name := range inOrder(n.dir.entries) {
			walk(n.dir.entries[name])
		}
	}
	walk(p.root)
}

// inOrder returns names in the order in which their files were created, so that a seed repeats a
// run even if names are random.
func inOrder(entries map[string]*node) []string {
	return slices.SortedFunc(maps.Keys(entries), func(a, b string) int {
		return cmp.Or(cmp.Compare(entries[a].id, entries[b].id), cmp.Compare(a, b))
	})
}

// gone reports whether a directory was removed. A process that has it open cannot create names in
// it.
func (n *node) gone() bool { return n.links == 0 && !n.fresh }

func (n *node) info(name string) fs.FileInfo {
	info := fileInfo{name: name, mode: n.mode, mtime: n.mtime, id: n.id, links: n.links}
	if n.data != nil {
		info.size = n.data.now.size
	}
	return info
}

// fileInfo describes a node. Sys returns a *syscall.Stat_t, which durable.SameFile compares;
// os.SameFile does not work.
type fileInfo struct {
	name  string
	size  int64
	mode  fs.FileMode
	mtime time.Time
	id    uint64
	links int
}

func (i fileInfo) Name() string       { return i.name }
func (i fileInfo) Size() int64        { return i.size }
func (i fileInfo) Mode() fs.FileMode  { return i.mode }
func (i fileInfo) ModTime() time.Time { return i.mtime }
func (i fileInfo) IsDir() bool        { return i.mode.IsDir() }

func (i fileInfo) Sys() any {
	st := &syscall.Stat_t{Dev: 1, Ino: i.id, Size: i.size}
	st.Mode = uint32(i.mode.Perm()) | syscall.S_IFREG
	if i.IsDir() {
		st.Mode = uint32(i.mode.Perm()) | syscall.S_IFDIR
	}
	st.Mtim = syscall.NsecToTimespec(i.mtime.UnixNano())
	st.Ctim = st.Mtim
	setLinks(st, i.links)
	return st
}
