package backup

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"pillarbox/mailstore/durable"
)

// ConfigDir is the directory in a restored data directory that gets the configuration file and what
// it names.
const ConfigDir = "restored-config"

// ErrNotEmpty means that a restore would mix two offices.
var ErrNotEmpty = errors.New("the directory is not empty")

// Restore writes the files of a snapshot that take wants into an empty directory, target. The caller
// holds the lock file held there. A restore that was cut off is begun again by the same call; until
// it has finished, RestoreMark is in the directory. Damaged files are in the Report; they are left
// out.
func (r *Repo) Restore(
	ctx context.Context, s *Snapshot, target durable.FS, held string, take func(*Entry) bool,
	progress func(Progress),
) (report Report, err error) {
	if err := begin(target, s, held); err != nil {
		return report, err
	}
	w := restorer{target: target, linked: map[place]string{}}
	report, err = r.Extract(ctx, s, Wanted{
		Take: func(e *Entry) bool { return take(e) },
		Dir: func(e *Entry) error {
			return makeDirs(target, strings.TrimSuffix(restored(e), "/"), e.Mode)
		},
		To: w.file,
	}, progress)
	if err != nil {
		return report, err
	}
	if err := target.SyncAll(); err != nil {
		return report, err
	}
	if err := target.Remove(RestoreMark); err != nil {
		return report, err
	}
	return report, target.SyncDir(".")
}

// begin marks an empty directory.
func begin(target durable.FS, s *Snapshot, held string) error {
	names, err := target.ReadNames(".")
	if err != nil {
		return err
	}
	if slices.Contains(names, RestoreMark) {
		text, err := durable.ReadSmall(target, RestoreMark, 1<<10)
		if err != nil {
			return err
		}
		if string(text) != s.ID {
			return fmt.Errorf("%w: a restore of another snapshot, %.30q, has not finished there",
				ErrNotEmpty, text)
		}
		return nil
	}
	for _, name := range names {
		if name != held && name != "lost+found" {
			return fmt.Errorf("%w: it has %s", ErrNotEmpty, name)
		}
	}
	return durable.WriteFile(target, RestoreMark, []byte(s.ID), filePerm)
}

// restored is the name of an entry in the target.
func restored(e *Entry) string {
	if name, ok := strings.CutPrefix(e.Path, DataPart); ok {
		return name
	}
	return ConfigDir + "/" + strings.TrimPrefix(e.Path, ConfigPart)
}

// restorer writes into an empty directory. Messages to several mailboxes are one file again.
type restorer struct {
	target durable.FS
	linked map[place]string
}

type place struct {
	pack   int
	offset int64
}

func (w *restorer) file(e *Entry, copy func(io.Writer) error) error {
	name := restored(e)
	if err := makeDirs(w.target, path.Dir(name), dirPerm); err != nil {
		return err
	}
	if err := w.target.Remove(name); err != nil && !isGone(err) { // of a restore that was cut off
		return err
	}
	at := place{e.Pack, e.Offset}
	if first, ok := w.linked[at]; ok && e.Size > 0 && w.target.Link(first, name) == nil {
		return nil
	}
	if err := writeFile(w.target, name, e, copy); err != nil {
		return err
	}
	if _, ok := sizeInName(name); ok {
		w.linked[at] = name
	}
	return nil
}

// modes are the permissions that a restored file can have. Who made the backup may be a stranger.
const modes fs.FileMode = 0o755

// makeDirs makes a directory and its parents. They become durable with SyncAll.
func makeDirs(fsys durable.FS, name string, mode fs.FileMode) error {
	if name == "." {
		return nil
	}
	err := fsys.Mkdir(name, mode&modes|dirPerm)
	switch {
	case isGone(err):
		if err := makeDirs(fsys, path.Dir(name), dirPerm); err != nil {
			return err
		}
		return fsys.Mkdir(name, mode&modes|dirPerm)
	case errors.Is(err, fs.ErrExist):
		return nil
	}
	return err
}

// writeFile writes a new file. After an error it is removed again.
func writeFile(fsys durable.FS, name string, e *Entry, copy func(io.Writer) error) error {
	f, err := fsys.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, e.Mode&modes|filePerm)
	if err != nil {
		return err
	}
	err = copy(f)
	setTime(f, e.Modified)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, fsys.Remove(name))
	}
	return nil
}

// setTime sets the time of modification, which is that of arrival for messages without a time in
// their name. A file system that cannot is no reason to lose the message.
func setTime(f durable.File, at time.Time) {
	conn, err := f.SyscallConn()
	if err != nil {
		return
	}
	tv := syscall.NsecToTimeval(at.UnixNano())
	_ = conn.Control(func(fd uintptr) { _ = syscall.Futimes(int(fd), []syscall.Timeval{tv, tv}) })
}

// PutBack writes the file of an entry under a name that must be free; the error is fs.ErrExist if it
// is not. The file appears when it is complete. It becomes durable with SyncAll.
func PutBack(fsys durable.FS, name string, e *Entry, copy func(io.Writer) error) error {
	temp := path.Join(path.Dir(name), ".restore."+rand.Text()+".tmp")
	if err := writeFile(fsys, temp, e, copy); err != nil {
		return err
	}
	err := fsys.Link(temp, name)
	return errors.Join(err, fsys.Remove(temp))
}

// Same reports whether a file has the content of an entry.
func Same(fsys durable.FS, name string, e *Entry) (bool, error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return false, err
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || fi.Size() != e.Size || !fi.Mode().IsRegular() {
		return false, err
	}
	sum := sha256.New()
	_, err = io.Copy(sum, io.LimitReader(f, e.Size))
	return err == nil && [sha256.Size]byte(sum.Sum(nil)) == e.Sum, err
}
