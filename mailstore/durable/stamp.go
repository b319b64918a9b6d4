package durable

import (
	"io/fs"
	"syscall"
	"time"
)

// Stamp identifies one version of a file or directory. It changes when the file changes or another
// file takes its place. It includes the ctime, because programs such as rsync and tar set the mtime
// back.
type Stamp struct {
	dev, ino       uint64
	size           int64
	content, state time.Duration // mtime and ctime, since 1970
}

// StampOf returns the Stamp of a result of Lstat. ok is false if the file system does not provide
// what it needs.
func StampOf(fi fs.FileInfo) (st Stamp, ok bool) {
	sys, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return Stamp{}, false
	}
	return Stamp{
		dev:     uint64(sys.Dev),
		ino:     sys.Ino,
		size:    fi.Size(),
		content: time.Duration(sys.Mtim.Nano()),
		state:   time.Duration(sys.Ctim.Nano()),
	}, true
}

// settleTime is how old the last change must be at the time of a reading for the reading to be
// cached.
//
// The clock of a file system advances in ticks: 4 ms or 10 ms on Linux, a second on old disks, two
// on FAT. A change directly after a reading may fall into the same tick as the change before it,
// and leave the same times. So a reading that soon after a change is not cached. Once the last
// change is older than any tick, the next change has a new time. The margin also covers a file
// server whose clock is a little slow. A fast clock only makes for less caching.
const settleTime = 3 * time.Second

// Settled reports whether any later change will change the Stamp. now must be taken before Lstat,
// and Lstat must precede the reading.
func (s Stamp) Settled(now time.Time) bool {
	return time.Duration(now.UnixNano())-s.state >= settleTime
}
