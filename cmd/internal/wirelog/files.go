package wirelog

import (
	"cmp"
	"io/fs"
	"os"
	"slices"
	"time"
)

// toDelete chooses the files that are older than keep, and then the oldest until the rest has most
// octets. keep 0 is no limit of age; most may be noLimit.
func toDelete(files []fs.FileInfo, now time.Time, keep time.Duration, most int64) []fs.FileInfo {
	slices.SortFunc(files, func(a, b fs.FileInfo) int {
		return cmp.Or(a.ModTime().Compare(b.ModTime()), cmp.Compare(a.Name(), b.Name()))
	})
	var total int64
	for _, f := range files {
		total += f.Size()
	}
	var chosen []fs.FileInfo
	for _, f := range files {
		old := keep > 0 && now.Sub(f.ModTime()) > keep
		if !old && (most == noLimit || total <= most) {
			continue
		}
		chosen = append(chosen, f)
		total -= f.Size()
	}
	return chosen
}

// noLimit is a number of octets without a limit.
const noLimit = int64(-1 << 62)

// diskFile is a file on disk.
type diskFile struct {
	*os.File
	size  int64
	whole bool
}

func (f diskFile) Size() (int64, bool) { return f.size, f.whole }

// openFile opens a file to append to it. Other users of the machine must not read it.
func openFile(path string) (file, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	d := diskFile{f, info.Size(), true}
	if d.size > 0 {
		var last [1]byte
		_, err := f.ReadAt(last[:], d.size-1)
		d.whole = err == nil && last[0] == '\n'
	}
	return d, nil
}
