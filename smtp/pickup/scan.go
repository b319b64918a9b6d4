package pickup

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"pillarbox/mailstore/caught"
	"pillarbox/smtp"
)

const (
	takingDir = ".taking" // in the folder: files being sent
	badDir    = "bad"     // in the folder: files that cannot be sent
)

// errBusy means that a file is still being written.
var errBusy = errors.New("the file is still being written")

// Scan processes the complete files. It returns true if it stopped before the end.
func (f *Folder) Scan(ctx context.Context) (more bool) {
	root, err := os.OpenRoot(f.opts.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	} else if err != nil {
		f.logError(err)
		return false
	}
	defer root.Close()
	s := &scan{Folder: f, root: root, ctx: ctx, now: time.Now()}
	if err := errors.Join(s.retryClaimed(), s.takeNew()); err != nil {
		f.logError(err)
	}
	if s.changed { // otherwise a sent file could reappear after a power failure
		if err := syncDir(root, takingDir); err != nil {
			f.logError(err)
		}
	}
	return s.taken >= perScan && ctx.Err() == nil
}

// scan is one pass over the folder.
type scan struct {
	*Folder
	root    *os.Root
	ctx     context.Context
	now     time.Time
	taken   int
	failed  int // consecutive failures
	changed bool
}

func (s *scan) over() bool {
	return s.ctx.Err() != nil || s.taken >= perScan || s.failed >= maxInRow
}

// retryClaimed retries the files in takingDir: those that failed temporarily, and those that the
// last run of the server did not finish.
func (s *scan) retryClaimed() error {
	listed := map[string]bool{}
	err := s.list(takingDir, func(name string) error { listed[name] = true; return nil })
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	for _, name := range slices.Sorted(maps.Keys(listed)) {
		if w, ok := s.waiting[name]; !s.over() && (!ok || !s.now.Before(w.next)) {
			listed[s.take(name)] = true
		}
	}
	for name := range s.waiting {
		if err == nil && !s.over() && !listed[name] {
			delete(s.waiting, name)
		}
	}
	return err
}

// takeNew takes the complete files.
func (s *scan) takeNew() error {
	seen := map[string]sighting{}
	var failure error
	err := s.list(".", func(name string) error {
		if len(s.waiting) >= maxWaiting {
			return io.EOF // enough for one scan
		}
		if ignored(name) {
			return nil
		}
		info, err := s.root.Lstat(name)
		if err != nil {
			return nil // the file is gone
		}
		at, settled := s.settled(name, info)
		if !settled || info.Mode().IsRegular() && s.written(name, &at) {
			if len(seen) < maxSeen {
				seen[name] = at
			}
			return nil
		}
		claimed, err := s.claim(name)
		if err != nil {
			failure = err
			return nil
		}
		s.take(claimed)
		return nil
	})
	s.seen = seen
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return errors.Join(err, failure)
}

// list calls do for each name in a directory, until the scan is over or do fails.
func (s *scan) list(dir string, do func(name string) error) error {
	d, err := s.root.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	for !s.over() {
		names, err := d.Readdirnames(256)
		for _, name := range names {
			if s.over() {
				return nil
			}
			if err := do(name); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
	return nil
}

// ignored reports whether a file is not for pickup: it is hidden, or its name marks an unfinished
// file.
func ignored(name string) bool {
	ending := strings.ToLower(path.Ext(name))
	return name == badDir || strings.HasPrefix(name, ".") || ending == ".tmp" || ending == ".part"
}

// settled reports whether a file has not changed for some time. It uses the file's own time; if
// that is in the future, it uses the time since the last observed change.
func (f *Folder) settled(name string, info fs.FileInfo) (sighting, bool) {
	patience := settleTime
	if info.Mode().IsRegular() && info.Size() == 0 {
		patience = emptyTime
	}
	now := time.Now()
	at := f.seen[name]
	if at.since.IsZero() || at.size != info.Size() || !at.changed.Equal(info.ModTime()) {
		at = sighting{size: info.Size(), changed: info.ModTime(), since: now}
	}
	return at, now.Sub(info.ModTime()) >= patience || now.Sub(at.since) >= patience
}

// written reports whether a program has a file open for writing. Such a program may pause for longer
// than settleTime. Where the system does not tell, a file that has settled counts as complete.
func (s *scan) written(name string, at *sighting) bool {
	file, err := s.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return false // send reports it
	}
	defer file.Close()
	open := openElsewhere(file)
	if open && !at.logged && s.now.Sub(at.changed) > longOpen {
		at.logged = true
		s.log.Warn("pickup: file waits because a program has it open for writing",
			"file", name, "changed", at.changed)
	}
	return open
}

// claim moves a file to takingDir, so that no other program finds it in the folder.
func (s *scan) claim(name string) (string, error) {
	if err := s.mkdir(s.root, takingDir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	// An earlier failed file may have had the same name.
	claimed := rand.Text() + "." + name[:min(len(name), 200)]
	return claimed, s.root.Rename(name, path.Join(takingDir, claimed))
}

// original returns the name that a claimed file had.
func original(claimed string) string {
	if _, name, ok := strings.Cut(claimed, "."); ok && name != "" {
		return name
	}
	return claimed
}

// accepted reports whether the message of a claimed file was accepted before a crash, so that only
// the file is left.
func (s *scan) accepted(claimed string) bool {
	id, _, _ := strings.Cut(claimed, ".")
	if s.opts.Accepted == nil || !s.opts.Accepted(id) {
		return false
	}
	s.log.Info("pickup: file removed, its message was accepted before the restart",
		"file", original(claimed), "message_id", id)
	return true
}

// take sends a claimed file. It then removes the file, moves it to badDir or schedules a retry. It
// returns the name that the file has or had last.
func (s *scan) take(file string) (claimed string) {
	s.taken++
	var err error
	if claimed = file; !s.waiting[file].done && !s.accepted(file) {
		err = caught.Do(func() error { return s.send(&claimed) })
		caught.Log(s.log, err, "pickup: panic while processing a file", "file", original(claimed))
	}
	bad, reason := badReason(err)
	switch {
	case s.ctx.Err() != nil && err != nil && !bad:
		return claimed // the server is stopping
	case bad:
		if err = s.moveToBad(claimed, reason); err != nil {
			s.wait(claimed, false, err)
			return claimed
		}
	case err != nil:
		s.wait(claimed, false, err)
		return claimed
	default:
		if err := s.root.Remove(path.Join(takingDir, claimed)); err != nil {
			s.wait(claimed, true,
				fmt.Errorf("the message was sent, but the file cannot be removed: %w", err))
			return claimed
		}
	}
	delete(s.waiting, claimed)
	s.changed, s.failed = true, 0
	return claimed
}

// nameByID gives a claimed file the ID of its message, durably.
func (s *scan) nameByID(claimed *string, id string) error {
	name := id + "." + original(*claimed)
	if err := s.root.Rename(path.Join(takingDir, *claimed), path.Join(takingDir, name)); err != nil {
		return err
	}
	if w, ok := s.waiting[*claimed]; ok {
		s.waiting[name] = w
		delete(s.waiting, *claimed)
	}
	*claimed = name
	return syncDir(s.root, takingDir)
}

// wait keeps a file for a retry.
func (s *scan) wait(claimed string, done bool, err error) {
	w := s.waiting[claimed]
	w.done = done
	if errors.Is(err, errBusy) {
		w.next = s.now.Add(settleTime)
		s.waiting[claimed] = w
		return
	}
	s.failed++
	w.delay = min(max(2*w.delay, firstRetry), lastRetry)
	w.next = s.now.Add(w.delay)
	s.waiting[claimed] = w
	s.log.Warn("pickup: file deferred", "file", original(claimed),
		"claimed_as", path.Join(s.opts.Dir, takingDir,
			claimed), "retry_after", w.delay, "error", err)
}

// badReason tells permanent errors from temporary ones.
func badReason(err error) (bad bool, reason string) {
	if e, ok := errors.AsType[*BadError](err); ok {
		return true, e.Reason
	}
	if caught.Is(err) {
		return true, "an internal error occurred (" + err.Error() + "); the log has details"
	}
	if r, ok := errors.AsType[*smtp.Reply](err); ok && !r.Temporary() {
		return true, "it was refused: " + r.Error()
	}
	return false, ""
}

// send injects a claimed file, whose name changes.
func (s *scan) send(claimed *string) error {
	file, size, err := s.open(path.Join(takingDir, *claimed))
	if err != nil {
		return err
	}
	defer file.Close()
	// The name in takingDir is new, so only a program that opened the file before can be there: after
	// written looked, or before an earlier release claimed it.
	if openElsewhere(file) {
		return errBusy
	}
	message, err := ReadFile(&steady{file: file})
	if err != nil {
		return err
	}
	env, err := message.Envelope(s.defaultDomain(), s.maxHops())
	if err != nil {
		return err
	}
	message.Complete(rand.Text(), s.opts.Hostname(), s.now)
	id, err := s.opts.Inject(env, "from localhost (pickup folder)",
		&limited{r: message.Reader(), limit: s.maxSize()},
		func(id string) error { return s.nameByID(claimed, id) })
	if err == nil {
		s.log.Info("pickup: file sent", "file", original(*claimed), "message_id", id,
			"from", env.From.String(), "recipients", len(env.To), "size", size)
	}
	return err
}

// open opens a claimed file if it is a regular file.
func (s *scan) open(name string) (*os.File, int64, error) {
	if info, err := s.root.Lstat(name); err != nil {
		return nil, 0, err
	} else if err := checkKind(info); err != nil {
		return nil, 0, err
	}
	// If other users can write to the folder, it may be a different file by now, possibly one that
	// blocks.
	file, err := s.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrPermission) {
		return nil, 0, badf("the server may not read the file; " +
			"make it readable for the account of the server")
	} else if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err == nil {
		err = checkKind(info)
	}
	if limit := s.maxSize(); err == nil && limit > 0 && info.Size() > limit {
		err = badf("the file has %d octets; messages may have %d (smtp.max_message_size)",
			info.Size(), limit)
	}
	if err != nil {
		file.Close()
		return nil, 0, err
	}
	return file, info.Size(), nil
}

func checkKind(info fs.FileInfo) error {
	switch {
	case info.IsDir():
		return badf("it is a folder; put files here")
	case info.Mode()&fs.ModeSymlink != 0:
		return badf("it is a symbolic link; put the file itself here")
	case !info.Mode().IsRegular():
		return badf("it is not a regular file (%s)", info.Mode().Type())
	case info.Size() == 0:
		return badf("the file is empty")
	}
	return nil
}

// steady reads a file and checks at its end that no program wrote to it meanwhile.
type steady struct {
	file  *os.File
	begun fs.FileInfo
}

func (r *steady) Read(p []byte) (int, error) {
	if r.begun == nil {
		info, err := r.file.Stat()
		if err != nil {
			return 0, err
		}
		r.begun = info
	}
	n, err := r.file.Read(p)
	if errors.Is(err, io.EOF) {
		now, statErr := r.file.Stat()
		switch {
		case statErr != nil:
			return n, statErr
		case now.Size() != r.begun.Size() || !now.ModTime().Equal(r.begun.ModTime()):
			return n, errBusy
		}
	}
	return n, err
}

// limited ends a message that is too long with the added line ends. Once the limit is exceeded it
// returns only the error, never data with it: bufio.Reader.WriteTo goes on as long as data comes.
type limited struct {
	r     io.Reader
	limit int64 // 0 means no limit
	read  int64
}

func (l *limited) Read(p []byte) (int, error) {
	if l.limit > 0 && l.read <= l.limit {
		p = p[:min(int64(len(p)), l.limit-l.read+1)]
	}
	if !l.over() {
		n, err := l.r.Read(p)
		if l.read += int64(n); !l.over() {
			return n, err
		}
	}
	return 0, badf("the message has more than %d octets with its line ends (smtp.max_message_size)",
		l.limit)
}

func (l *limited) over() bool {
	return l.limit > 0 && l.read > l.limit
}

// moveToBad moves a file to badDir and writes the reason next to it.
func (s *scan) moveToBad(claimed, reason string) error {
	if err := s.mkdir(s.root, badDir, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	name, err := s.freeName(original(claimed))
	if err != nil {
		return err
	}
	if err := s.root.Rename(path.Join(takingDir, claimed), name); err != nil {
		return err
	}
	s.log.Warn("pickup: file cannot be sent, moved", "file", path.Join(s.opts.Dir, name), "reason",
		reason)
	text := fmt.Sprintf("%s could not be sent (%s).\r\n\r\nWhy: %s.\r\n\r\n"+
		"Correct the file and put it back into %s, or delete it. Then delete this text.\r\n",
		original(claimed), s.now.Format(smtp.DateLayout), strings.TrimSuffix(reason,
			"."), s.opts.Dir)
	if err := s.root.WriteFile(name+reasonEnding, []byte(text), 0o640); err != nil {
		s.log.Warn("pickup: cannot write the reason file", "file", name, "error", err)
	}
	return nil
}

const reasonEnding = ".reason.txt"

// freeName returns a name in badDir that no file and no reason file has.
func (s *scan) freeName(base string) (string, error) {
	for n := 1; n < 10_000; n++ {
		name := path.Join(badDir, base)
		if n > 1 {
			name = fmt.Sprintf("%s-%d", name, n)
		}
		taken := slices.ContainsFunc([]string{name, name + reasonEnding}, func(name string) bool {
			_, err := s.root.Lstat(name)
			return !errors.Is(err, fs.ErrNotExist)
		})
		if !taken {
			return name, nil
		}
	}
	return "", fmt.Errorf("%s has too many files with the name %s", badDir, base)
}

func syncDir(root *os.Root, name string) error {
	d, err := root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
