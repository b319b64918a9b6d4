//go:build crash

package crash

import (
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"testing"
)

// The log of QEMU's blklogwrites has the format of dm-log-writes. A sector describes the log. Then,
// for each request, a sector has its place, length in sectors and flags, followed by its data. All
// numbers are little-endian.
const (
	logMagic   = 0x6a736677736872
	logFlush   = 1 << 0
	logFUA     = 1 << 1
	logDiscard = 1 << 2
	sectorSize = 512
)

// request is one write or flush.
type request struct {
	sector, sectors int64
	flags           uint64
	data            int64 // offset in the log
}

// readLog returns the requests in the order in which they were completed.
func readLog(t *testing.T, log *os.File) (requests []request) {
	t.Helper()
	var super [sectorSize]byte
	_, err := log.ReadAt(super[:], 0)
	must(t, err)
	if binary.LittleEndian.Uint64(super[:]) != logMagic || binary.LittleEndian.Uint32(super[24:]) != sectorSize {
		t.Fatalf("the log of writes begins with % x", super[:32])
	}
	for at := int64(sectorSize); ; {
		var head [sectorSize]byte
		if _, err := log.ReadAt(head[:], at); errors.Is(err, io.EOF) {
			return requests
		} else {
			must(t, err)
		}
		r := request{
			sector:  int64(binary.LittleEndian.Uint64(head[:])),
			sectors: int64(binary.LittleEndian.Uint64(head[8:])),
			flags:   binary.LittleEndian.Uint64(head[16:]),
			data:    at + sectorSize,
		}
		at = r.data
		if r.flags&logDiscard == 0 {
			at += r.sectors * sectorSize
		}
		requests = append(requests, r)
	}
}

// cutPower turns the former content of the disk into that after a power cut at the end of the log.
// It applies all requests up to the last flush. Of each later request it applies none, all or some
// of its sectors.
func cutPower(t *testing.T, disk, log string, rng *rand.Rand) (flushed, kept, lost int) {
	t.Helper()
	l, err := os.Open(log)
	must(t, err)
	defer l.Close()
	d, err := os.OpenFile(disk, os.O_RDWR, 0)
	must(t, err)
	defer d.Close()
	requests := readLog(t, l)
	for i, r := range requests {
		if r.flags&logFlush != 0 {
			flushed = i + 1
		}
	}
	for i, r := range requests {
		odds := 1.0
		if i >= flushed && r.flags&logFUA == 0 {
			odds = []float64{0, 0.5, 1}[rng.IntN(3)]
		}
		k := apply(t, d, l, r, func() bool { return rng.Float64() < odds })
		if i >= flushed {
			kept += k
			lost += int(r.sectors) - k
		}
	}
	return flushed, kept, lost
}

// superblock is the end, in sectors, of the block with ext4's superblock. It has one checksum over
// two sectors and no copy in the journal: a file system whose superblock is torn cannot be mounted,
// whatever the server did.
const superblock = 8

// apply repeats a request, sector by sector, and returns how many sectors it kept. The superblock is
// kept as a whole or not at all.
func apply(t *testing.T, disk, log *os.File, r request, keep func() bool) (kept int) {
	t.Helper()
	if r.flags&logDiscard != 0 {
		return 0 // discarded sectors may stay
	}
	data := make([]byte, r.sectors*sectorSize)
	if n, err := log.ReadAt(data, r.data); err != nil {
		data = data[:n/sectorSize*sectorSize] // QEMU was killed while writing this
	}
	keepSuperblock := keep()
	for i := int64(0); i < int64(len(data)); i += sectorSize {
		inSuperblock := r.sector+i/sectorSize < superblock
		if inSuperblock && keepSuperblock || !inSuperblock && keep() {
			kept++
			_, err := disk.WriteAt(data[i:i+sectorSize], r.sector*sectorSize+i)
			must(t, err)
		}
	}
	return kept
}
