package track

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"time"

	"pillarbox/mailstore/durable"
)

// A .pack file is
//
//	blocks   each: blockMark, compressed length, raw length, CRC-32C of the compressed octets (4
//	         octets each, little endian), and the records, compressed by DEFLATE
//	index    for each block: its place, times and filter (appendEntry)
//	footer   place (8 octets), length and CRC-32C of the index (4 each), packMark
//
// If the index is damaged, the blocks can be read one after the other.
const (
	blockMark = "PBTB"
	packMark  = "PBTPACK1"
	blockHead = 16
	footerLen = 24
	blockSize = 64 << 10 // raw octets after which a block ends
)

// block is the entry of a block in the index.
type block struct {
	offset   int64 // of its head
	min, max int64 // times of its events, Unix microseconds
	filter   filter
}

// packJob is a request to pack the complete files and to delete old ones.
type packJob struct {
	current string // the file that is being written
	options Options
}

// pack starts to pack complete files in the background, and to delete old ones. A call while an
// earlier one is at work is carried out after it.
func (w *writer) pack(closing <-chan struct{}, o Options, complain func(string, error)) {
	w.toPack.Store(&packJob{w.name, o})
	select {
	case w.packing <- struct{}{}:
	default:
		return
	}
	go func() {
		defer func() { <-w.packing }()
		for job := w.toPack.Swap(nil); job != nil; job = w.toPack.Swap(nil) {
			complain("cannot pack the events of mail", packAll(w.fsys, job.current, closing))
			complain("cannot delete old events of mail", prune(w.fsys, job.options, time.Now().UTC()))
		}
	}()
}

// packAll packs every .events file but the current one and those of today, to which an opened Log
// may still append.
func packAll(fsys durable.FS, current string, closing <-chan struct{}) error {
	files, err := list(fsys)
	if err != nil {
		return err
	}
	today := time.Now().UTC().Format(dayLayout)
	for i, f := range files {
		last := i == len(files)-1 && f.day == today
		if f.name == current || last {
			continue
		}
		if f.packed { // a crash came between its two last steps
			err := fsys.Remove(fileName(f.day, f.number, liveSuffix))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			continue
		}
		if err := packFile(fsys, f, closing); err != nil {
			if errors.Is(err, errClosing) {
				return nil // the next start packs it
			}
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return nil
}

var errClosing = errors.New("the log is being closed")

// packFile replaces a .events file by a .pack file.
func packFile(fsys durable.FS, f eventFile, closing <-chan struct{}) error {
	records, err := readFile(fsys, f.name)
	if err != nil {
		return err
	}
	var p packer
	for len(records) > 0 {
		select {
		case <-closing:
			return errClosing
		default:
		}
		payload, rest, _ := next(records)
		if payload == nil {
			break
		}
		p.add(payload)
		records = rest
	}
	p.endBlock()
	name := fileName(f.day, f.number, packSuffix)
	if err := durable.WriteFile(fsys, name, p.finish(), 0o600); err != nil {
		return err
	}
	return fsys.Remove(f.name)
}

// packer makes a .pack file.
type packer struct {
	out     bytes.Buffer
	index   []byte
	entries int

	raw      []byte // of the current block
	keys     map[uint64]struct{}
	min, max int64
	deflate  *flate.Writer
}

// add adds a record.
func (p *packer) add(payload []byte) {
	at := int64(binary.LittleEndian.Uint64(payload[1:]))
	if len(p.raw) == 0 {
		p.min, p.max = at, at
		p.keys = make(map[uint64]struct{})
	}
	p.min, p.max = min(p.min, at), max(p.max, at)
	addKeys(p.keys, payload)
	start := len(p.raw)
	p.raw = append(append(p.raw, make([]byte, headLen)...), payload...)
	seal(p.raw[start:])
	if len(p.raw) >= blockSize {
		p.endBlock()
	}
}

// endBlock compresses the current block.
func (p *packer) endBlock() {
	if len(p.raw) == 0 {
		return
	}
	var small bytes.Buffer
	if p.deflate == nil {
		p.deflate, _ = flate.NewWriter(&small, flate.BestSpeed)
	} else {
		p.deflate.Reset(&small)
	}
	p.deflate.Write(p.raw)
	p.deflate.Close()
	offset := int64(p.out.Len())
	head := binary.LittleEndian.AppendUint32([]byte(blockMark), uint32(small.Len()))
	head = binary.LittleEndian.AppendUint32(head, uint32(len(p.raw)))
	head = binary.LittleEndian.AppendUint32(head, crc32.Checksum(small.Bytes(), castagnoli))
	p.out.Write(head)
	p.out.Write(small.Bytes())
	p.index = appendEntry(p.index, block{offset, p.min, p.max, newFilter(p.keys)})
	p.entries++
	p.raw = p.raw[:0]
}

// finish returns the whole file.
func (p *packer) finish() []byte {
	offset := p.out.Len()
	p.out.Write(p.index)
	var footer []byte
	footer = binary.LittleEndian.AppendUint64(footer, uint64(offset))
	footer = binary.LittleEndian.AppendUint32(footer, uint32(len(p.index)))
	footer = binary.LittleEndian.AppendUint32(footer, crc32.Checksum(p.index, castagnoli))
	p.out.Write(append(footer, packMark...))
	return p.out.Bytes()
}

// appendEntry appends the entry of a block to an index: offset, min, max (8 octets each), the
// length of the filter (4), the filter.
func appendEntry(b []byte, e block) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(e.offset))
	b = binary.LittleEndian.AppendUint64(b, uint64(e.min))
	b = binary.LittleEndian.AppendUint64(b, uint64(e.max))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(e.filter)))
	return append(b, e.filter...)
}

// readIndex returns the blocks of a .pack file. Their filters share its memory.
func readIndex(f durable.File) ([]block, error) {
	size, err := f.Seek(-footerLen, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	footer := make([]byte, footerLen)
	if _, err := io.ReadFull(f, footer); err != nil {
		return nil, err
	}
	offset, n := binary.LittleEndian.Uint64(footer), binary.LittleEndian.Uint32(footer[8:])
	if string(footer[16:]) != packMark || offset+uint64(n) != uint64(size) {
		return nil, errDamaged
	}
	if _, err := f.Seek(int64(offset), io.SeekStart); err != nil {
		return nil, err
	}
	index := make([]byte, n)
	if _, err := io.ReadFull(f, index); err != nil {
		return nil, err
	}
	if crc32.Checksum(index, castagnoli) != binary.LittleEndian.Uint32(footer[12:]) {
		return nil, errDamaged
	}
	var blocks []block
	for len(index) >= 28 {
		e := block{
			offset: int64(binary.LittleEndian.Uint64(index)),
			min:    int64(binary.LittleEndian.Uint64(index[8:])),
			max:    int64(binary.LittleEndian.Uint64(index[16:])),
		}
		n := int(binary.LittleEndian.Uint32(index[24:]))
		if n > len(index)-28 {
			return nil, errDamaged
		}
		e.filter, index = index[28:28+n:28+n], index[28+n:]
		blocks = append(blocks, e)
	}
	return blocks, nil
}

var errDamaged = errors.New("the file is damaged")

// unpacker reads the blocks of a file. It keeps its buffers.
type unpacker struct {
	small, raw []byte
	inflate    io.ReadCloser
}

// blockAt reads the head of the block at an offset.
func blockAt(f durable.File, offset int64) (head [blockHead]byte, err error) {
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return head, err
	}
	if _, err := io.ReadFull(f, head[:]); err != nil {
		return head, err
	}
	n, rawLen := binary.LittleEndian.Uint32(head[4:]), binary.LittleEndian.Uint32(head[8:])
	if string(head[:4]) != blockMark || n > 1<<20 || rawLen > 1<<20 {
		return head, errDamaged
	}
	return head, nil
}

// blocksOf finds the blocks of a file whose index is damaged. They end where the index begins, or at a
// damaged head.
func blocksOf(f durable.File) (all []block) {
	for offset := int64(0); ; {
		head, err := blockAt(f, offset)
		if err != nil {
			return all
		}
		all = append(all, block{offset: offset})
		offset += blockHead + int64(binary.LittleEndian.Uint32(head[4:]))
	}
}

// block returns the records of the block at an offset. They are valid until the next call.
func (u *unpacker) block(f durable.File, offset int64) (records []byte, err error) {
	head, err := blockAt(f, offset)
	if err != nil {
		return nil, err
	}
	n, rawLen := binary.LittleEndian.Uint32(head[4:]), binary.LittleEndian.Uint32(head[8:])
	u.small = append(u.small[:0], make([]byte, n)...)
	if _, err := io.ReadFull(f, u.small); err != nil {
		return nil, err
	}
	if crc32.Checksum(u.small, castagnoli) != binary.LittleEndian.Uint32(head[12:]) {
		return nil, errDamaged
	}
	if u.inflate == nil {
		u.inflate = flate.NewReader(bytes.NewReader(u.small))
	} else if err := u.inflate.(flate.Resetter).Reset(bytes.NewReader(u.small), nil); err != nil {
		return nil, err
	}
	u.raw = append(u.raw[:0], make([]byte, rawLen)...)
	if _, err := io.ReadFull(u.inflate, u.raw); err != nil {
		return nil, errDamaged
	}
	return u.raw, nil
}

// readFile returns the content of a file. A file that is gone is empty.
func readFile(fsys durable.FS, name string) ([]byte, error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// prune deletes the files of days before o.Keep, and then the oldest until the rest has o.MaxSize.
// It never deletes the newest file.
func prune(fsys durable.FS, o Options, now time.Time) error {
	files, err := list(fsys)
	if err != nil || len(files) == 0 {
		return err
	}
	var total int64
	sizes := make([]int64, len(files))
	for i, f := range files {
		if info, err := fsys.Lstat(f.name); err == nil {
			sizes[i] = info.Size()
			total += sizes[i]
		}
	}
	oldest := now.Add(-o.Keep).Format(dayLayout)
	for i, f := range files[:len(files)-1] {
		tooOld := o.Keep > 0 && f.day < oldest
		tooMany := o.MaxSize > 0 && total > o.MaxSize
		if !tooOld && !tooMany {
			break
		}
		if err := fsys.Remove(f.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		total -= sizes[i]
	}
	return nil
}
