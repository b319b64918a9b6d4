package mailstore

import (
	"container/list"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"pillarbox/mailstore/durable"
)

// viewsMax bounds what all views together take, in bytes as view.bytes counts them: about 1,000,000 messages.
const viewsMax = 64 << 20

// view is a mailbox as its sessions see it. They share it, so nothing in it is ever changed.
type view struct {
	messages []Message // in the order of arrival
	octets   int64     // the sum of their sizes
	odd      []oddity  // by index: the messages whose file name does not follow from the Message
	bad      bool      // some file could not be read: worth another try
}

type oddity struct {
	index int
	other
}

// newView makes a view of what list returned, and arranges that. All unique-ids share one string.
func newView(l *listing) *view {
	l.arrange()
	var arena strings.Builder
	arena.Grow(len(l.entries) * idLen)
	v := &view{messages: make([]Message, len(l.entries))}
	for _, e := range l.entries {
		if e.other != none {
			arena.WriteString(l.others[e.other].uid)
		} else {
			var id [idLen]byte
			arena.Write(appendID(id[:0], e.arrived, e.serial))
		}
	}
	uids := arena.String()
	for i, e := range l.entries {
		n := idLen
		if e.other != none {
			o := l.others[e.other]
			n = len(o.uid)
			v.odd = append(v.odd, oddity{index: i, other: o})
			v.bad = v.bad || o.foreign != nil && o.foreign.err != nil
		}
		v.messages[i] = Message{UID: uids[:n], Size: e.size, Dotted: e.dotted}
		v.octets += e.size
		uids = uids[n:]
	}
	return v
}

// file is the name of a message's file, if we gave it.
func (m Message) file() string {
	return Name{ID: m.UID, Size: m.Size, Dotted: m.Dotted}.String()
}

// file is the name of message i's file, and what is known of it if we did not name it.
func (v *view) file(i int) (name string, f *foreign) {
	at, found := slices.BinarySearchFunc(v.odd, i, func(o oddity, i int) int { return o.index - i })
	if found {
		return v.odd[at].name, v.odd[at].foreign
	}
	return v.messages[i].file(), nil
}

// bytes estimates the memory that the view takes while it is kept.
func (v *view) bytes() int {
	const (
		fixed  = 512     // the view itself, its place in the cache, the name of the directory
		each   = 32 + 29 // a Message and its UID
		eachOf = 256     // an oddity, with its names
	)
	return fixed + each*len(v.messages) + eachOf*len(v.odd)
}

// view returns what is in the mailbox now. As long as the directory has not changed, nothing is read.
func (s *Store) view(dir string) (*view, error) {
	v, _, err := s.viewAndHome(dir)
	return v, err
}

// viewAndHome is view, and describes the directory, by which it is known after another one has got its name.
func (s *Store) viewAndHome(dir string) (*view, fs.FileInfo, error) {
	if err := s.gate.enter(); err != nil {
		return nil, nil, err
	}
	defer s.gate.leave()
	if err := s.checkMailbox(dir); err != nil {
		return nil, nil, err
	}
	// In this order: whatever changes from here on either changes the stamp too, or finds it unsettled. Deliveries
	// that come while the directory is read need no more.
	now := s.views.time()
	fi, err := s.fsys.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, &NoMailboxError{Dir: dir}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", dir, err)
	}
	stamp, ok := durable.StampOf(fi)
	if v := s.views.get(dir, stamp); v != nil && s.unedited(dir, v) {
		return v, fi, nil
	}
	entries, err := s.list(dir)
	if err != nil {
		return nil, nil, err
	}
	v := newView(entries)
	if ok && stamp.Settled(now) && !v.bad {
		s.views.put(dir, stamp, v)
	}
	return v, fi, nil
}

// unedited reports whether the foreign files are as they were. To edit one in place leaves no trace in the directory.
func (s *Store) unedited(dir string, v *view) bool {
	for _, o := range v.odd {
		if o.foreign == nil {
			continue
		}
		fi, err := s.fsys.Lstat(path.Join(dir, o.name))
		if err != nil || identify(fi) != o.foreign.id {
			return false
		}
	}
	return true
}

// Stat counts a mailbox from its listing, without locking it.
func (s *Store) Stat(dir string) (Stat, error) {
	v, err := s.view(dir)
	if err != nil {
		return Stat{}, err
	}
	return Stat{Messages: len(v.messages), Bytes: v.octets}, nil
}

// viewCache keeps the views that were used last, for as many directories as there is room. The zero value is ready.
type viewCache struct {
	now func() time.Time // nil: time.Now
	max int              // bytes; 0: viewsMax

	mu    sync.Mutex
	kept  map[string]*list.Element // by directory
	order list.List                // of *keptView, the last used first
	bytes int                      // of all
}

type keptView struct {
	dir   string
	stamp durable.Stamp
	view  *view
	bytes int
}

func (c *viewCache) time() time.Time {
	if c.now == nil {
		return time.Now()
	}
	return c.now()
}

// get returns the view that was kept of the directory with this stamp, or nil. A view with another one is dropped:
// a directory does not return to an earlier stamp.
func (c *viewCache) get(dir string, st durable.Stamp) *view {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.kept[dir]
	if e == nil {
		return nil
	}
	k := e.Value.(*keptView)
	if k.stamp != st {
		c.drop(e)
		return nil
	}
	c.order.MoveToFront(e)
	return k.view
}

// put keeps a view, at the cost of those that were not used for longest.
func (c *viewCache) put(dir string, st durable.Stamp, v *view) {
	k := &keptView{dir: dir, stamp: st, view: v, bytes: v.bytes()}
	limit := c.max
	if limit == 0 {
		limit = viewsMax
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.kept[dir]; e != nil {
		c.drop(e)
	}
	if k.bytes > limit {
		return // not worth all the others
	}
	for c.bytes+k.bytes > limit {
		c.drop(c.order.Back())
	}
	if c.kept == nil {
		c.kept = make(map[string]*list.Element)
	}
	c.kept[dir] = c.order.PushFront(k)
	c.bytes += k.bytes
}

// drop needs mu held.
func (c *viewCache) drop(e *list.Element) {
	k := c.order.Remove(e).(*keptView)
	delete(c.kept, k.dir)
	c.bytes -= k.bytes
}
