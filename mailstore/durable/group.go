package durable

import (
	"encoding/binary"
	"hash/crc32"
	"sync"
)

// group is a set of records that one write appends.
type group struct {
	data     []byte // space for the header, then the records
	records  int
	cost     int64 // sum over the records
	expected int   // the leader waits for no more records; 0: not set yet

	ready     chan struct{} // closed when the leader need not wait
	readyOnce sync.Once
	closed    chan struct{}   // closed when the group takes no more records
	done      chan struct{}   // closed when the group was written or has failed
	segment   *segment        // set before done is closed
	pending   *pendingChanges // of segment, set before done is closed
	err       error           // set before done is closed
}

// newGroup makes a group that reuses the memory of an earlier one.
func newGroup(memory []byte) *group {
	if memory == nil {
		memory = make([]byte, 0, 16<<10)
	}
	return &group{
		data:  append(memory[:0], make([]byte, groupHeader)...),
		ready: make(chan struct{}), closed: make(chan struct{}), done: make(chan struct{}),
	}
}

func recordSize(parts [][]byte) int {
	size := 4
	for _, p := range parts {
		size += len(p)
	}
	return size
}

// add appends a record of this size. It returns false if the group would exceed limit.
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

func (g *group) setReady() { g.readyOnce.Do(func() { close(g.ready) }) }

// blocks returns the length of the sealed group in bytes.
func (g *group) blocks() int { return int(roundUp(len(g.data))) }

// seal writes the header and pads the last block.
func (g *group) seal(salt, number uint64) []byte {
	h := g.data[:groupHeader]
	copy(h, groupMagic)
	binary.BigEndian.PutUint64(h[8:], salt)
	binary.BigEndian.PutUint64(h[16:], number)
	binary.BigEndian.PutUint32(h[24:], uint32(len(g.data)-groupHeader))
	binary.BigEndian.PutUint32(h[4:], crc32.Checksum(g.data[8:], castagnoli))
	g.data = append(g.data, make([]byte, g.blocks()-len(g.data))...)
	return g.data
}

// pendingChanges counts the records of a segment, since its last reset, whose change is not made
// yet.
type pendingChanges struct {
	mu     sync.Mutex
	idle   *sync.Cond // signalled when n becomes 0
	n      int
	onIdle func() // called when n becomes 0; may be nil
}

func newPendingChanges() *pendingChanges {
	p := &pendingChanges{}
	p.idle = sync.NewCond(&p.mu)
	return p
}

func (p *pendingChanges) add(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n += n
}

// done ends one change.
func (p *pendingChanges) done() {
	p.mu.Lock()
	p.n--
	last := p.onIdle
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

// wait returns when all changes are made.
func (p *pendingChanges) wait() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.n > 0 {
		p.idle.Wait()
	}
}

// idleOrNotify reports whether all changes are made. If not, last is called when they are.
func (p *pendingChanges) idleOrNotify(last func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.onIdle = last
	return p.n == 0
}
