package mailtest

import (
	"maps"
	"math/rand/v2"
	"slices"
	"syscall"
)

const sectorSize = 512

// sector is the unit that a disk writes atomically. It is replaced and never changed, so that
// copies of a content share it. A nil *sector is a sector of zeros.
type sector [sectorSize]byte

// blocks is a sequence of bytes.
type blocks struct {
	size    int64
	sectors []*sector // up to size or fewer; missing ones are zeros
}

func (b *blocks) clone() blocks { return blocks{b.size, slices.Clone(b.sectors)} }

func (b *blocks) get(i int) *sector {
	if i < len(b.sectors) {
		return b.sectors[i]
	}
	return nil
}

func (b *blocks) put(i int, s *sector) {
	if missing := i + 1 - len(b.sectors); missing > 0 {
		b.sectors = append(b.sectors, make([]*sector, missing)...)
	}
	b.sectors[i] = s
}

// readAt returns the number of bytes read.
func (b *blocks) readAt(p []byte, off int64) int {
	n := 0
	p = p[:max(0, min(int64(len(p)), b.size-off))]
	for n < len(p) {
		i, start := int((off+int64(n))/sectorSize), int((off+int64(n))%sectorSize)
		piece := p[n:min(len(p), n+sectorSize-start)]
		if s := b.get(i); s != nil {
			copy(piece, s[start:])
		} else {
			clear(piece)
		}
		n += len(piece)
	}
	return n
}

// cut shortens it.
func (b *blocks) cut(size int64) {
	b.size = size
	b.sectors = b.sectors[:min(len(b.sectors), sectorsIn(size))]
	if i, rest := int(size/sectorSize), size%sectorSize; rest > 0 && b.get(i) != nil {
		s := *b.sectors[i]
		clear(s[rest:])
		b.sectors[i] = &s
	}
}

// sectorsIn returns the number of sectors for size bytes.
func sectorsIn(size int64) int { return int((size + sectorSize - 1) / sectorSize) }

// maxVersions is the number of versions of one sector, between two syncs, that may be on the disk.
const maxVersions = 4

// content is the content of a file.
type content struct {
	now  blocks // as processes see it
	disk blocks // certainly on the disk

	dirty map[int][]*sector // by sector: versions since its last sync; the last is in now
	lost  map[int][]*sector // the same for sectors that a failed sync dropped

	// A truncation that is not durable may not have happened; then the content is before, whole.
	before   *blocks
	truncSeq int
}

// write returns the range of changed sectors.
func (c *content) write(p []byte, off int64) (first, end int) {
	if len(p) == 0 {
		return 0, 0
	}
	first, end = int(off/sectorSize), sectorsIn(off+int64(len(p)))
	for i := first; i < end; i++ {
		start := max(0, int(off-int64(i)*sectorSize))
		n := min(len(p), sectorSize-start)
		c.writeSector(i, p[:n], start)
		p = p[n:]
		off += int64(n)
	}
	c.now.size = max(c.now.size, off)
	return first, end
}

func (c *content) writeSector(i int, p []byte, start int) {
	s := c.now.get(i)
	if s != nil || !allZero(p) {
		next := new(sector)
		if s != nil {
			*next = *s
		}
		copy(next[start:], p)
		s = next
	}
	c.now.put(i, s)
	versions := append(c.lost[i], c.dirty[i]...)
	if len(versions) == maxVersions {
		versions = versions[1:]
	}
	if c.dirty == nil {
		c.dirty = make(map[int][]*sector)
	}
	c.dirty[i] = append(versions[:len(versions):len(versions)], s)
	delete(c.lost, i)
}

func allZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

// truncate empties the file.
func (p *PowerFS) truncate(n *node) {
	c := n.data
	if c.now.size == 0 && c.disk.size == 0 {
		return
	}
	p.seq++
	before := c.before
	if before == nil {
		disk := c.disk
		before = &disk
	}
	n.data = &content{before: before, truncSeq: p.seq}
	p.charge(n)
	n.mtime = p.tick()
}

// syncContent makes these sectors and the size durable.
func (p *PowerFS) syncContent(c *content, first, end int) {
	if p.off {
		return
	}
	for i := first; i < end; i++ {
		if versions := c.dirty[i]; versions != nil {
			c.disk.put(i, versions[len(versions)-1])
			delete(c.dirty, i)
		}
	}
	c.disk.size = c.now.size
	if c.before != nil {
		c.before = nil
		p.floor = max(p.floor, c.truncSeq)
	}
}

// lose drops the unsynced sectors.
func (c *content) lose() {
	if c.lost == nil {
		c.lost = make(map[int][]*sector)
	}
	maps.Copy(c.lost, c.dirty)
	c.dirty = nil
}

// found returns the content after a power cut.
func (c *content) found(mode PowerMode, rng *rand.Rand, truncated bool) blocks {
	if c.before != nil && !truncated {
		return c.before.clone()
	}
	unsynced := slices.AppendSeq(slices.Collect(maps.Keys(c.dirty)), maps.Keys(c.lost))
	clean := len(unsynced) == 0 && c.now.size == c.disk.size
	switch {
	case mode == Nothing || clean:
		return c.disk.clone()
	case mode == Everything:
		return c.now.clone()
	}
	slices.Sort(unsynced)
	b := c.disk.clone()
	b.size = c.now.size
	switch rng.IntN(5) {
	case 0: // no change
		b.size = c.disk.size
	case 1: // all changes
		b = c.now.clone()
	case 2: // the first sectors
		k := rng.IntN(len(unsynced) + 1)
		for _, i := range unsynced[:k] {
			b.put(i, c.now.get(i))
		}
		if k < len(unsynced) {
			b.size = max(c.disk.size, min(c.now.size, int64(unsynced[k])*sectorSize))
		}
	case 3: // the new size, with zeros
	case 4: // some sectors in any version, and any size
		for _, i := range unsynced {
			versions := append(c.lost[i], c.dirty[i]...)
			if v := rng.IntN(len(versions) + 1); v > 0 {
				b.put(i, versions[v-1])
			}
		}
		if rng.IntN(2) == 0 {
			b.size = c.disk.size + rng.Int64N(c.now.size-c.disk.size+1)
		}
	}
	b.cut(b.size)
	return b
}

// setLinks sets a field whose type depends on the processor.
func setLinks(st *syscall.Stat_t, links int) {
	switch nlink := any(&st.Nlink).(type) {
	case *uint64:
		*nlink = uint64(links)
	case *uint32:
		*nlink = uint32(links)
	}
}
