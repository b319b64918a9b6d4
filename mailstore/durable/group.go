package durable

import (
	"encoding/binary"
	"hash/crc32"
	"sync"
)

// group is the records that are written together.
type group struct {
	data    []byte // room for the header, then the records
	records int
	cost    int64 // of them all
	enough  int   // records that there is no need to wait beyond; 0: not known yet

	ahead     chan struct{} // closed when there is nothing to wait for
	aheadOnce sync.Once
	closed    chan struct{} // closed when no more records are taken
	done      chan struct{} // closed when it is written, or not
	segment   *segment      // set before done is closed
	users     *pending      // of the segment's life, set before done is closed
	err       error         // set before done is closed
}

// newGroup makes a group that gathers in the memory of an earlier one.
func newGroup(memory []byte) *group {
	if memory == nil {
		memory = make([]byte, 0, 16<<10)
	}
	return &group{
		data:  append(memory[:0], make([]byte, groupHeader)...),
		ahead: make(chan struct{}), closed: make(chan struct{}), done: make(chan struct{}),
	}
}

func recordSize(parts [][]byte) int {
	size := 4
	for _, p := range parts {
		size += len(p)
	}
	return size
}

// add appends a record of this size unless the group becomes larger than limit.
func (g *group) add(cost int64, parts [][]byte, size, limit int) bool {
	if g.records > 0 && len(g.data)+size > limit {
		return false
	}
	g.data = binary.BigEndian.AppendUint32(g.data, uint32(size-4))
	for _, p := range parts {
		g.data = append(g.data, p...)
	}
	g.records++
	g.cost += cost
	return true
}

func (g *group) goAhead() { g.aheadOnce.Do(func() { close(g.ahead) }) }

// blocks is the length of the sealed group.
func (g *group) blocks() int { return int(roundUp(len(g.data))) }

// seal fills the header in and the last block up.
func (g *group) seal(life, number uint64) []byte {
	h := g.data[:groupHeader]
	copy(h, groupMagic)
	binary.BigEndian.PutUint64(h[8:], life)
	binary.BigEndian.PutUint64(h[16:], number)
	binary.BigEndian.PutUint32(h[24:], uint32(len(g.data)-groupHeader))
	binary.BigEndian.PutUint32(h[4:], crc32.Checksum(g.data[8:], castagnoli))
	g.data = append(g.data, make([]byte, g.blocks()-len(g.data))...)
	return g.data
}

// pending counts the records of one life of a segment whose change is still being made.
type pending struct {
	mu   sync.Mutex
	idle *sync.Cond // the count has become 0
	n    int
	last func() // called when it has; nil: no caller needs to know
}

func newPending() *pending {
	p := &pending{}
	p.idle = sync.NewCond(&p.mu)
	return p
}

func (p *pending) add(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n += n
}

// done ends one.
func (p *pending) done() {
	p.mu.Lock()
	p.n--
	last := p.last
	if p.n > 0 {
		last = nil
	} else {
		p.idle.Broadcast()
	}
	p.mu.Unlock()
	if last != nil {
		last()
	}
}

// wait returns when there is none.
func (p *pending) wait() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.n > 0 {
		p.idle.Wait()
	}
}

// orTell reports whether there is none; if there are some, last is called when there is none any more.
func (p *pending) orTell(last func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = last
	return p.n == 0
}
