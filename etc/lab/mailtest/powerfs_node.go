package mailtest

import (
	"cmp"
	"io/fs"
	"maps"
	"slices"
	"syscall"
	"time"
)

// node is a file or a directory, whatever its names.
type node struct {
	id    uint64
	mode  fs.FileMode
	mtime time.Time
	links int  // names that a process sees
	fresh bool // never had a name, so that LinkFile may give it one

	opens    int        // handles of it
	charged  int64      // octets of the disk that it takes
	locked   *powerFile // the handle that holds its lock; nil: none
	wbFailed bool       // content could not be written, and Sync has not told it

	data *content   // of a file
	dir  *directory // of a directory
}

// directory holds names.
type directory struct {
	entries map[string]*node // as processes see them
	synced  map[string]*node // on the disk for certain
	pending []*change        // what lies between, in order
}

// change is one name that was made or taken away.
type change struct {
	seq  int
	dir  *node
	name string
	node *node // nil: the name is gone
	done bool  // on the disk for certain, or replaced by one that is

	// A rename is two changes. The old name does not go without the new one coming, on any file system. Within a
	// directory, and of a directory, they come and go together (tied).
	comes *change // of the old name's change: that of the new name
	goes  *change // of the new name's change, if they are tied: that of the old name
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

// set makes a name or, with a nil node, takes it away.
func (p *PowerFS) set(dir *node, name string, n *node) {
	p.seq++
	p.change(dir, name, n)
}

// move renames.
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

// syncNames brings the names in a directory to the disk.
func (p *PowerFS) syncNames(dir *node) {
	if p.off {
		return
	}
	for len(dir.dir.pending) > 0 {
		p.settle(dir.dir.pending[0])
	}
}

// settle brings a change to the disk, with those that cannot be apart from it.
func (p *PowerFS) settle(c *change) {
	if c.done {
		return
	}
	if c.comes != nil {
		p.settle(c.comes)
	}
	apply(c.dir.dir.synced, c)
	p.floor = max(p.floor, c.seq)
	// What happened to this name before is past.
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

// syncFile is what File.Sync does.
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

// everyNode calls visit for all that has a name.
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

// inOrder returns names in the order in which their files were made. It makes the same seed do the same thing where names
// are drawn at random.
func inOrder(entries map[string]*node) []string {
	return slices.SortedFunc(maps.Keys(entries), func(a, b string) int {
		return cmp.Or(cmp.Compare(entries[a].id, entries[b].id), cmp.Compare(a, b))
	})
}

// gone reports whether a directory was removed. A process that has it open can give no names in it.
func (n *node) gone() bool { return n.links == 0 && !n.fresh }

func (n *node) info(name string) fs.FileInfo {
	info := fileInfo{name: name, mode: n.mode, mtime: n.mtime, id: n.id, links: n.links}
	if n.data != nil {
		info.size = n.data.now.size
	}
	return info
}

// fileInfo describes a node. Sys is a *syscall.Stat_t, by which files can be told apart; os.SameFile cannot.
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
