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
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
)

// blockSize is what groups are aligned to, in bytes: at least the unit in which any usual disk writes.
const blockSize = 4096

// A segment begins with a block that holds
//
//	magic [8]byte, life uint64, epoch uint64, checksum uint32 of these
//
// and a group with
//
//	magic [4]byte, checksum uint32 of what follows and the records, life uint64, number uint64, length uint32
//
// before its records, each a uint32 length and so many bytes. All numbers are big-endian, checksums CRC-32C.
const (
	segmentMagic  = "PBOXLOG1"
	segmentHeader = 28
	groupMagic    = "PBGR"
	groupHeader   = 28
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// segment is one file of a Log.
type segment struct {
	index int
	fsys  FS
	name  string
	file  File
	size  int64
	log   *slog.Logger

	// Guarded by Log.writing.
	life   uint64 // drawn at each cut
	epoch  uint64 // that of the file that was begun later is greater
	number uint64 // of the next group
	end    int64  // where the next group goes

	used     atomic.Bool    // there are groups in it
	pending  sync.WaitGroup // records whose change is being made
	doubtful atomic.Bool    // a sync failed since the last cut
}

// openSegment opens a file of a log, or makes it.
func openSegment(fsys FS, name string, index int, size int64, log *slog.Logger) (*segment, error) {
	fi, err := fsys.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && fi.Size() < 2*blockSize:
		// From end to end, so that its blocks are there and need no journal later.
		if err := WriteFrom(fsys, name, io.LimitReader(zeros{}, size), 0o600); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	default:
		size = fi.Size() // whatever it was made with
	}
	f, err := fsys.OpenFile(name, os.O_RDWR|syscall.O_DSYNC, 0)
	if err != nil {
		return nil, err
	}
	s := &segment{index: index, fsys: fsys, name: name, file: f, size: size, log: log}
	if err := s.readHeader(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return s, nil
}

// zeros is an endless source of them.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// readHeader learns which life the file is in. A header that cannot be understood is that of a new file: it is
// written in one sector, after everything in the file was settled.
func (s *segment) readHeader() error {
	h := make([]byte, segmentHeader)
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if _, err := io.ReadFull(s.file, h); err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	sum := binary.BigEndian.Uint32(h[24:])
	if string(h[:8]) == segmentMagic && sum == crc32.Checksum(h[:24], castagnoli) {
		s.life, s.epoch = binary.BigEndian.Uint64(h[8:]), binary.BigEndian.Uint64(h[16:])
	} else if !bytes.Equal(h, make([]byte, segmentHeader)) {
		s.log.Error("the beginning of a file of the log is damaged: if it held mail that was on its way, that is lost", "file", s.name)
	}
	return nil
}

// cut begins another life, in which the file holds nothing. It is in use until the caller says that it is not.
func (s *segment) cut(epoch uint64) error {
	var random [8]byte
	_, _ = rand.Read(random[:])                    // never fails
	life := binary.BigEndian.Uint64(random[:]) | 1 // 0 is that of a new file
	h := make([]byte, 0, segmentHeader)
	h = append(h, segmentMagic...)
	h = binary.BigEndian.AppendUint64(h, life)
	h = binary.BigEndian.AppendUint64(h, epoch)
	h = binary.BigEndian.AppendUint32(h, crc32.Checksum(h, castagnoli))
	if _, err := s.file.WriteAt(h, 0); err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	s.life, s.epoch, s.number, s.end = life, epoch, 0, blockSize
	s.doubtful.Store(false)
	return nil
}

func (s *segment) empty() bool { return !s.used.Load() }

func (s *segment) fits(g *group) bool { return s.end+int64(g.blocks()) <= s.size }

// write puts a group behind the last one.
func (s *segment) write(g *group) error {
	data := g.seal(s.life, s.number)
	if _, err := s.file.WriteAt(data, s.end); err != nil {
		// The group may be on the disk all the same. Nobody may find it after a crash, for its writers are told
		// that it is not; so at least its beginning has to go. The next group goes to the same place.
		_, again := s.file.WriteAt(make([]byte, groupHeader), s.end)
		return fmt.Errorf("%s: %w", s.name, errors.Join(err, again))
	}
	s.used.Store(true)
	s.pending.Add(g.records)
	s.number++
	s.end += int64(len(data))
	return nil
}

// records calls do for each record of the present life. The last group need not be whole; if there are others behind
// one that is not, the disk has lost something, and they are taken all the same. It reads through a handle of its own.
func (s *segment) records(do func(record []byte) error) error {
	if s.life == 0 {
		return nil
	}
	f, err := s.fsys.OpenFile(s.name, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	for at, number := int64(blockSize), uint64(0); ; number++ {
		payload, err := s.readGroup(f, at, number)
		if payload == nil && err == nil {
			gap := at
			if at, number, payload, err = s.behind(f, at+blockSize, number); payload != nil {
				s.log.Error("the log is damaged in the middle: mail that was on its way is lost", "file", s.name, "from byte", gap, "to byte", at)
			}
		}
		if payload == nil || err != nil {
			return err
		}
		at += roundUp(groupHeader + len(payload))
		for len(payload) > 0 {
			n := binary.BigEndian.Uint32(payload)
			if err := do(payload[4:][:n:n]); err != nil {
				return err
			}
			payload = payload[4+n:]
		}
	}
}

// behind looks for a whole group of the present life from a place on, with a greater number than this. The payload is
// nil if there is none.
func (s *segment) behind(f File, from int64, number uint64) (at int64, found uint64, payload []byte, err error) {
	h := make([]byte, groupHeader)
	for at = from; at+groupHeader <= s.size; at += blockSize {
		if err := s.readAt(f, h, at); err != nil {
			return 0, 0, nil, err
		}
		found = binary.BigEndian.Uint64(h[16:])
		if string(h[:4]) != groupMagic || binary.BigEndian.Uint64(h[8:]) != s.life || found <= number {
			continue
		}
		if payload, err = s.readGroup(f, at, found); payload != nil || err != nil {
			return at, found, payload, err
		}
	}
	return 0, 0, nil, nil
}

// readGroup returns nil where there is no whole group with this number.
func (s *segment) readGroup(f File, at int64, number uint64) (payload []byte, err error) {
	h := make([]byte, groupHeader)
	if at+groupHeader > s.size {
		return nil, nil
	}
	if err := s.readAt(f, h, at); err != nil {
		return nil, err
	}
	length := int64(binary.BigEndian.Uint32(h[24:]))
	if string(h[:4]) != groupMagic || binary.BigEndian.Uint64(h[8:]) != s.life ||
		binary.BigEndian.Uint64(h[16:]) != number || length > s.size-at-groupHeader {
		return nil, nil
	}
	payload = make([]byte, length)
	if err := s.readAt(f, payload, at+groupHeader); err != nil {
		return nil, err
	}
	sum := crc32.Update(crc32.Checksum(h[8:], castagnoli), castagnoli, payload)
	if sum != binary.BigEndian.Uint32(h[4:]) {
		return nil, nil
	}
	return payload, nil
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

// group is the records that are written together.
type group struct {
	data    []byte // room for the header, then the records
	records int
	enough  int // records that there is no need to wait beyond; 0: not known yet

	ahead     chan struct{} // closed when there is nothing to wait for
	aheadOnce sync.Once
	closed    chan struct{} // closed when no more records are taken
	done      chan struct{} // closed when it is written, or not
	segment   *segment      // set before done is closed
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

// add appends a record of this size unless the group becomes too large.
func (g *group) add(parts [][]byte, size int) bool {
	if g.records > 0 && len(g.data)+size > maxGroup {
		return false
	}
	g.data = binary.BigEndian.AppendUint32(g.data, uint32(size-4))
	for _, p := range parts {
		g.data = append(g.data, p...)
	}
	g.records++
	return true
}

func (g *group) goAhead() { g.aheadOnce.Do(func() { close(g.ahead) }) }

// blocks is the length of the sealed group.
func (g *group) blocks() int { return int(roundUp(len(g.data))) }

func roundUp(n int) int64 { return (int64(n) + blockSize - 1) / blockSize * blockSize }

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
