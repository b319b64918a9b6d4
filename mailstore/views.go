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

// viewsMax is the memory of all cached views in bytes, as view.bytes estimates it: about 1,000,000
// messages.
const viewsMax = 64 << 20

// view is the sorted list of a mailbox's messages. Sessions share it, so it never changes.
type view struct {
	messages []Message // in order of arrival
	octets   int64     // the sum of their sizes
	odd      []oddity  // by index: messages whose file name is not in the Message
	bad      bool      // some file could not be read; do not cache
}

type oddity struct {
	index int
	other
}

// newView makes a view of a listing, and sorts the listing. All unique-ids share one string.
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

// file returns the name of a message's file, if the store named it.
func (m Message) file() string {
	return Name{ID: m.UID, Size: m.Size, Dotted: m.Dotted}.String()
}

// file returns the name of message i's file; f is nil if the store named it.
func (v *view) file(i int) (name string, f *foreign) {
	at, found := slices.BinarySearchFunc(v.odd, i, func(o oddity, i int) int { return o.index - i })
	if found {
		return v.odd[at].name, v.odd[at].foreign
	}
	return v.messages[i].file(), nil
}

// bytes estimates the memory of the view in the cache.
func (v *view) bytes() int {
	const (
		fixed  = 512     // the view, its cache entry, the directory's name
		each   = 32 + 29 // a Message and its UID
		eachOf = 256     // an oddity with its names
	)
	return fixed + each*len(v.messages) + eachOf*len(v.odd)
}

// view returns the messages of a mailbox. If the directory has not changed, they come from the
// cache.
func (s *Store) view(dir string) (*view, error) {
	v, _, err := s.viewAndInfo(dir)
	return v, err
}

// viewAndInfo is view, and also describes the directory, so that a later caller can detect that
// another directory has its name.
func (s *Store) viewAndInfo(dir string) (*view, fs.FileInfo, error) {
	if err := s.gate.enter(); err != nil {
		return nil, nil, err
	}
	defer s.gate.leave()
	if err := s.checkMailbox(dir); err != nil {
		return nil, nil, err
	}
	// The order matters. Any change after this point either changes the stamp or finds it
	// unsettled. Deliveries during the reading are covered by that.
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

// unedited reports whether the foreign files are unchanged. Editing a file in place does not change
// its directory.
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

// Stat counts the messages of a mailbox, without locking it.
func (s *Store) Stat(dir string) (Stat, error) {
	v, err := s.view(dir)
	if err != nil {
		return Stat{}, err
	}
	return Stat{Messages: len(v.messages), Bytes: v.octets}, nil
}

// viewCache keeps the most recently used views. The zero value is ready to use.
type viewCache struct {
	now func() time.Time // nil: time.Now
	max int              // bytes; 0: viewsMax

	mu    sync.Mutex
	kept  map[string]*list.Element // by directory
	order list.List                // of *keptView, the most recently used first
	bytes int                      // of all views
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

// get returns the cached view of the directory with this stamp, or nil. It drops a view with
// another stamp: a directory never returns to an earlier one.
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

// put adds a view, and drops the least recently used ones if there is no space.
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
		return // larger than the whole cache
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
