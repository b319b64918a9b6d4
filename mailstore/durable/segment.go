package durable

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// blockSize is the alignment of groups in bytes, at least the unit in which any usual disk writes.
const blockSize = 4096

// The first and the last block of a segment hold the same header:
//
//	magic [8]byte, salt uint64, epoch uint64, size uint64 of the file, checksum uint32 of these
//
// A group of records begins with
//
//	magic [4]byte, checksum uint32 of all that follows,
//	salt uint64, number uint64, length uint32 of the records
//
// before its records. Each record is a uint32 length and that many bytes. The upper half of a
// group's number is the epoch of its segment, the lower half counts the groups. All numbers are
// big-endian; checksums are CRC-32C.
//
// The first version had one header, of 28 bytes without the size, and no epoch in the numbers. It
// is read but not written.
const (
	segmentMagic  = "PBOXLOG2"
	segmentHeader = 36
	firstMagic    = "PBOXLOG1"
	firstHeader   = 28
	groupMagic    = "PBGR"
	groupHeader   = 28
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// header is the header of a segment.
type header struct {
	salt  uint64 // random, new at each reset; 0: a new file
	epoch uint64 // greater in the segment that was started later
	size  int64  // of the file
	first bool   // in the form of the first version
}

// number returns the number of the group with this count.
func (h header) number(count uint64) uint64 {
	if h.first {
		return count
	}
	return h.epoch<<32 | count
}

func (h header) encode() []byte {
	b := make([]byte, 0, segmentHeader)
	b = append(b, segmentMagic...)
	b = binary.BigEndian.AppendUint64(b, h.salt)
	b = binary.BigEndian.AppendUint64(b, h.epoch)
	b = binary.BigEndian.AppendUint64(b, uint64(h.size))
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decodeHeader parses either form of a header.
func decodeHeader(b []byte, size int64) (h header, ok bool) {
	whole := func(length int) bool {
		return binary.BigEndian.Uint32(b[length-4:]) == crc32.Checksum(b[:length-4], castagnoli)
	}
	h = header{salt: binary.BigEndian.Uint64(b[8:]), epoch: binary.BigEndian.Uint64(b[16:])}
	switch {
	case string(b[:8]) == segmentMagic && whole(segmentHeader):
		h.size = int64(binary.BigEndian.Uint64(b[24:]))
		return h, h.size >= 3*blockSize
	case string(b[:8]) == firstMagic && whole(firstHeader):
		h.size, h.first = size, true
		return h, size >= 3*blockSize
	}
	return header{}, false
}

// segment is one file of a Log.
type segment struct {
	index int
	fsys  FS
	name  string
	file  File

	// Guarded by Log.writing.
	header
	count   uint64          // of groups
	end     int64           // where the next group goes
	cost    int64           // of all records
	damage  string          // why records may be missing; "": no known damage
	pending *pendingChanges // records whose change is not made yet
}

// openSegment opens a segment, and creates it if it is missing. A damaged file is opened too, for
// its whole groups.
func openSegment(fsys FS, name string, index int, size int64) (*segment, error) {
	_, err := fsys.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		err = makeSegment(fsys, name, size)
	}
	if err != nil {
		return nil, err
	}
	s := &segment{index: index, fsys: fsys, name: name, pending: newPendingChanges()}
	if s.file, err = fsys.OpenFile(name, os.O_RDWR|syscall.O_DSYNC, 0); err != nil {
		return nil, err
	}
	if err := s.readHeader(); err != nil {
		return nil, errors.Join(err, s.file.Close())
	}
	return s, nil
}

// makeSegment writes a file from end to end, so that later writes need no new blocks.
func makeSegment(fsys FS, name string, size int64) error {
	return WriteFrom(fsys, name, io.LimitReader(zeros{}, size), 0o600)
}

// zeros is an endless source of zero bytes.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// readHeader reads either copy of the header, or reconstructs it from the groups.
func (s *segment) readHeader() error {
	fi, err := s.file.Stat()
	if err != nil {
		return err
	}
	length := fi.Size()
	front, err := s.block(0)
	if err != nil {
		return err
	}
	h, ok := decodeHeader(front, length)
	if ok && h.size <= length && h.first {
		s.header = h
		return nil
	}
	size := length
	if ok {
		size = h.size
	}
	back, err := s.block(size - blockSize)
	if err != nil {
		return err
	}
	second, backOK := decodeHeader(back, length)
	switch {
	case !ok && !backOK:
		s.header, err = s.findHeader(length)
		if isNew := s.salt == 0 && length >= 3*blockSize && empty(front) && empty(back); !isNew {
			s.damage = "both copies of the header are damaged"
		}
		return err
	case ok && backOK && second.epoch > h.epoch, !ok:
		h = second
	}
	s.header = h
	switch {
	// A new file may have no second copy yet.
	case length >= h.size && (!ok || !backOK && !empty(back)):
		s.damage = "one copy of the header is damaged"
	case length < h.size:
		s.damage = fmt.Sprintf("the file is cut short, to %d of %d bytes", length, h.size)
	}
	return nil
}

// block reads the beginning of the block at an offset. Bytes beyond the end of the file are zero.
func (s *segment) block(at int64) ([]byte, error) {
	b := make([]byte, segmentHeader)
	if _, err := s.file.Seek(max(0, at), io.SeekStart); err != nil {
		return nil, err
	}
	_, err := io.ReadFull(s.file, b)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	return b, nil
}

func empty(b []byte) bool { return bytes.Count(b, []byte{0}) == len(b) }

// findHeader reconstructs the header of a segment without a readable one. The first group has it.
// If that is damaged too, it is the latest one of any group. A reset clears the first group, so an
// emptied segment yields none.
func (s *segment) findHeader(length int64) (header, error) {
	none := header{size: max(length, 3*blockSize)}
	first, err := s.block(blockSize)
	if err != nil || empty(first[:groupHeader]) {
		return none, err
	}
	groups := make(map[header]int)
	best := none
	for at := int64(blockSize); at+groupHeader <= length; {
		found, group, err := s.anyGroup(s.file, at, length)
		if err != nil {
			return none, err
		}
		if group == nil {
			at += blockSize
			continue
		}
		found.size = none.size
		if at == blockSize {
			return found, nil
		}
		at += roundUp(len(group))
		groups[found]++
		// In the first version groups have no epoch.
		if found.epoch > best.epoch || found.epoch == best.epoch && groups[found] > groups[best] {
			best = found
		}
	}
	return best, nil
}

// anyGroup returns a whole group with any salt.
func (s *segment) anyGroup(f File, at, length int64) (header, []byte, error) {
	h := make([]byte, groupHeader)
	if err := s.readAt(f, h, at); err != nil {
		return header{}, nil, err
	}
	salt, number := binary.BigEndian.Uint64(h[8:]), binary.BigEndian.Uint64(h[16:])
	found := header{salt: salt, epoch: number >> 32}
	found.first = found.epoch == 0
	group, err := s.readGroup(f, at, salt, number, length)
	return found, group, err
}

// reset empties the segment: it draws a new salt.
func (s *segment) reset(epoch uint64) error {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	h := header{salt: binary.BigEndian.Uint64(random[:]) | 1, epoch: epoch, size: s.size}
	text := h.encode()
	for _, part := range []struct {
		data []byte
		at   int64
	}{{text, 0}, {make([]byte, groupHeader), blockSize}, {text, s.size - blockSize}} {
		if _, err := s.file.WriteAt(part.data, part.at); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	s.header, s.count, s.end, s.cost = h, 0, blockSize, 0
	s.pending = newPendingChanges()
	return nil
}

// hasRecords reports whether groups were written since the last reset.
func (s *segment) hasRecords() bool { return s.count > 0 }

// fits reports whether a group fits into the file and into the budget.
func (s *segment) fits(g *group, budget int64) bool {
	return s.end+int64(g.blocks()) <= s.size-blockSize &&
		(budget == 0 || s.cost == 0 || s.cost+g.cost <= budget)
}

// write appends a group.
func (s *segment) write(g *group) error {
	data := g.seal(s.salt, s.number(s.count))
	if _, err := s.file.WriteAt(data, s.end); err != nil {
		// The group may be on the disk nevertheless. Its writers are told that it is not, so a
		// restart must not find it: at least its header must be cleared. The next group goes to the
		// same offset.
		_, again := s.file.WriteAt(make([]byte, groupHeader), s.end)
		return fmt.Errorf("%s: %w", s.name, errors.Join(err, again))
	}
	s.pending.add(g.records)
	s.count++
	s.end += int64(len(data))
	s.cost += g.cost
	return nil
}

// records calls do for each record since the last reset. It opens the file again.
func (s *segment) records(do func(record []byte) error) error {
	f, err := s.fsys.OpenFile(s.name, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return s.groups(f, func(_ int64, group []byte) error { return splitGroup(group, do) })
}

// replay is records for a recovery: it also writes each group again and syncs them. Before the
// changes of a record are made, the record itself must be on the disk. A process that was killed
// while it wrote a group may have left it in memory only. If the sync of the changes then fails, the
// system can lose the record and the new content of its files, but keep the names of the files.
func (s *segment) replay(do func(record []byte) error) error {
	f, err := s.fsys.OpenFile(s.name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	found := false
	err = s.groups(f, func(at int64, group []byte) error {
		found = true
		if _, err := f.WriteAt(group, at); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		return splitGroup(group, do)
	})
	if err != nil || !found {
		return err
	}
	return f.Sync()
}

// groups calls each for each group since the last reset. The last group may be incomplete. If whole
// groups follow an incomplete one, the disk has lost data, and they are used too.
func (s *segment) groups(f File, each func(at int64, group []byte) error) error {
	if s.salt == 0 {
		return nil
	}
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	length := min(fi.Size(), s.size)
	for at, count := int64(blockSize), uint64(0); ; count++ {
		group, err := s.readGroup(f, at, s.salt, s.number(count), length)
		if group == nil && err == nil {
			gap := at
			at, count, group, err = s.nextGroup(f, at+blockSize, count, length)
			if group != nil {
				s.damage = fmt.Sprintf("bytes %d to %d are damaged", gap, at)
			}
		}
		if group == nil || err != nil {
			return err
		}
		if err := each(at, group); err != nil {
			return err
		}
		at += roundUp(len(group))
	}
}

// splitGroup calls do for each record of a group.
func splitGroup(group []byte, do func(record []byte) error) error {
	for rest := group[groupHeader:]; len(rest) > 0; {
		n := binary.BigEndian.Uint32(rest)
		if err := do(rest[4:][:n:n]); err != nil {
			return err
		}
		rest = rest[4+n:]
	}
	return nil
}

// nextGroup searches from an offset for a whole group with this salt and a greater count. group is
// nil if there is none.
func (s *segment) nextGroup(
	f File, from int64, count uint64, length int64,
) (at int64, found uint64, group []byte, err error) {
	h := make([]byte, groupHeader)
	for at = from; at+groupHeader <= length; at += blockSize {
		if err := s.readAt(f, h, at); err != nil {
			return 0, 0, nil, err
		}
		number := binary.BigEndian.Uint64(h[16:])
		if string(h[:4]) != groupMagic || binary.BigEndian.Uint64(h[8:]) != s.salt ||
			number <= s.number(count) {
			continue
		}
		if group, err = s.readGroup(f, at, s.salt, number, length); group != nil || err != nil {
			return at, number - s.number(0), group, err
		}
	}
	return 0, 0, nil, nil
}

// readGroup returns a group with its header, or nil if there is no whole group with this salt and
// number.
func (s *segment) readGroup(
	f File, at int64, salt, number uint64, length int64,
) (group []byte, err error) {
	h := make([]byte, groupHeader)
	if at+groupHeader > length {
		return nil, nil
	}
	if err := s.readAt(f, h, at); err != nil {
		return nil, err
	}
	n := int64(binary.BigEndian.Uint32(h[24:]))
	if string(h[:4]) != groupMagic || binary.BigEndian.Uint64(h[8:]) != salt ||
		binary.BigEndian.Uint64(h[16:]) != number || n > length-at-groupHeader {
		return nil, nil
	}
	group = append(make([]byte, 0, groupHeader+n), h...)[:groupHeader+n]
	if err := s.readAt(f, group[groupHeader:], at+groupHeader); err != nil {
		return nil, err
	}
	if crc32.Checksum(group[8:], castagnoli) != binary.BigEndian.Uint32(h[4:]) {
		return nil, nil
	}
	return group, nil
}

func (s *segment) readAt(f File, p []byte, at int64) error {
	_, err := f.Seek(at, io.SeekStart)
	if err == nil {
		_, err = io.ReadFull(f, p)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	return nil
}

func roundUp(n int) int64 { return (int64(n) + blockSize - 1) / blockSize * blockSize }
