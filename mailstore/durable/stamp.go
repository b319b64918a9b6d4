package durable

import (
	"io/fs"
	"syscall"
	"time"
)

// Stamp tells a file or directory from the same one after a change, or from another one in its place.
// The time of the last change of status is in it because the other time can be set back by anybody, as rsync
// and tar do when they have filled a directory.
type Stamp struct {
	dev, ino       uint64
	size           int64
	content, state time.Duration // mtime and ctime, since 1970
}

// StampOf makes a Stamp of what Lstat returned. It fails on a file system that does not tell enough.
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

// settleTime is how old the last change must be, when something is read, for what was read to be kept.
//
// The clock of a file system stands still between its ticks: 4 ms or 10 ms on Linux, a second on old disks, two on
// FAT. A change that comes right after a reading may come within the tick of the change before, and leave the
// same time as the reading saw. So what was read that soon is not kept; the next reading may be. Once the last
// change is older than any tick, each further one gives another time. The margin also covers the clock of a file
// server that is a little behind ours; a clock that is ahead makes for less keeping, not for a wrong view.
const settleTime = 3 * time.Second

// Settled reports whether a change from now on will show. The time is to be taken before Lstat, and Lstat called
// before the reading.
func (s Stamp) Settled(now time.Time) bool {
	return time.Duration(now.UnixNano())-s.state >= settleTime
}
