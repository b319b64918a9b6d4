package pickup

import (
	"context"
	"crypto/rand"
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

	"pillarbox/mailstore/caught"
	"pillarbox/smtp"
)

const (
	takingDir = ".taking" // below the folder: what is being taken in
	badDir    = "bad"     // below the folder: what could not be sent
)

// errBusy says that a file is still being written.
var errBusy = errors.New("the file is still being written")

// Scan takes what is complete. more reports that it stopped before it was through.
func (f *Folder) Scan(ctx context.Context) (more bool) {
	root, err := os.OpenRoot(f.opts.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	} else if err != nil {
		f.complain(err)
		return false
	}
	defer root.Close()
	s := &scan{Folder: f, root: root, ctx: ctx, now: time.Now()}
	if err := errors.Join(s.retake(), s.takeNew()); err != nil {
		f.complain(err)
	}
	if s.changed { // else a file that was sent could be back after a power cut
		if err := syncDir(root, takingDir); err != nil {
			f.complain(err)
		}
	}
	return s.taken >= perScan && ctx.Err() == nil
}

// scan is one look at the folder.
type scan struct {
	*Folder
	root    *os.Root
	ctx     context.Context
	now     time.Time
	taken   int
	failed  int // in a row
	changed bool
}

func (s *scan) over() bool {
	return s.ctx.Err() != nil || s.taken >= perScan || s.failed >= maxInRow
}

// retake tries again what is in takingDir: what failed for now, and what the last run of the server did not finish.
func (s *scan) retake() error {
	listed := map[string]bool{}
	err := s.list(takingDir, func(name string) error {
		listed[name] = true
		if w, ok := s.waiting[name]; !ok || !s.now.Before(w.next) {
			s.take(name)
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	for name := range s.waiting {
		if err == nil && !s.over() && !listed[name] {
			delete(s.waiting, name)
		}
	}
	return err
}

// takeNew takes the files that are complete.
func (s *scan) takeNew() error {
	seen := map[string]sighting{}
	var failure error
	err := s.list(".", func(name string) error {
		if len(s.waiting) >= maxWaiting {
			return io.EOF // enough
		}
		if ignored(name) {
			return nil
		}
		info, err := s.root.Lstat(name)
		if err != nil {
			return nil // gone
		}
		if at, settled := s.settled(name, info); !settled {
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

// list calls do for what is in a directory, until the scan is over or do fails.
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

// ignored reports whether a file is none for us: hidden, or under a name for unfinished files.
func ignored(name string) bool {
	ending := strings.ToLower(path.Ext(name))
	return name == badDir || strings.HasPrefix(name, ".") || ending == ".tmp" || ending == ".part"
}

// settled reports whether a file did not change for some time: by its own time, or, where that is ahead of our clock, by what
// was seen.
func (f *Folder) settled(name string, info fs.FileInfo) (sighting, bool) {
	patience := settleTime
	if info.Mode().IsRegular() && info.Size() == 0 {
		patience = emptyTime
	}
	now := time.Now()
	at := f.seen[name]
	if at.since.IsZero() || at.size != info.Size() || !at.changed.Equal(info.ModTime()) {
		at = sighting{info.Size(), info.ModTime(), now}
	}
	return at, now.Sub(info.ModTime()) >= patience || now.Sub(at.since) >= patience
}

// claim makes a file ours: whoever looks for it in the folder finds it no more.
func (s *scan) claim(name string) (string, error) {
	if err := s.root.Mkdir(takingDir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	claimed := rand.Text() + "." + name[:min(len(name), 200)] // one that failed before may have had the same name
	return claimed, s.root.Rename(name, path.Join(takingDir, claimed))
}

// original is the name that a claimed file had.
func original(claimed string) string {
	if _, name, ok := strings.Cut(claimed, "."); ok && name != "" {
		return name
	}
	return claimed
}

// take sends a claimed file and removes it, or moves it aside, or lets it wait.
func (s *scan) take(claimed string) {
	s.taken++
	var err error
	if !s.waiting[claimed].done {
		err = caught.Do(func() error { return s.send(claimed) })
		caught.Log(s.log, err, "pickup: the program goes wrong with a file; it is moved aside", "file", original(claimed))
	}
	bad, reason := badReason(err)
	switch {
	case s.ctx.Err() != nil && err != nil && !bad:
		return // the server stops
	case bad:
		if err = s.putAside(claimed, reason); err != nil {
			s.wait(claimed, false, err)
			return
		}
	case err != nil:
		s.wait(claimed, false, err)
		return
	default:
		if err := s.root.Remove(path.Join(takingDir, claimed)); err != nil {
			s.wait(claimed, true, fmt.Errorf("it was sent, but cannot be removed: %w", err))
			return
		}
	}
	delete(s.waiting, claimed)
	s.changed, s.failed = true, 0
}

// wait keeps a file for another try.
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
	s.log.Warn("pickup: a file has to wait", "file", original(claimed), "kept", path.Join(s.opts.Dir, takingDir, claimed), "again", w.delay, "error", err)
}

// badReason tells errors that never pass from those that may.
func badReason(err error) (bad bool, reason string) {
	if e, ok := errors.AsType[*BadError](err); ok {
		return true, e.Reason
	}
	if caught.Is(err) {
		return true, "it brings " + err.Error() + " to light; the log has more"
	}
	if r, ok := errors.AsType[*smtp.Reply](err); ok && !r.Temporary() {
		return true, "it was refused: " + r.Error()
	}
	return false, ""
}

// send injects a claimed file.
func (s *scan) send(claimed string) error {
	file, size, err := s.open(path.Join(takingDir, claimed))
	if err != nil {
		return err
	}
	defer file.Close()
	letter, err := ReadFile(&steady{file: file})
	if err != nil {
		return err
	}
	env, err := letter.Envelope(s.defaultDomain())
	if err != nil {
		return err
	}
	letter.Complete(rand.Text(), s.opts.Hostname(), s.now)
	id, err := s.opts.Inject(env, "from localhost (pickup folder)", &limited{r: letter.Reader(), limit: s.maxSize()})
	if err == nil {
		s.log.Info("pickup: file sent", "file", original(claimed), "id", id, "from", env.From.String(), "recipients", len(env.To), "size", size)
	}
	return err
}

// open opens a claimed file if it is one.
func (s *scan) open(name string) (*os.File, int64, error) {
	if info, err := s.root.Lstat(name); err != nil {
		return nil, 0, err
	} else if err := checkKind(info); err != nil {
		return nil, 0, err
	}
	// Where others may write to the folder, it could be another file by now: one that blocks, perhaps.
	file, err := s.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrPermission) {
		return nil, 0, badf("the server may not read the file: make it readable for the user that the server runs as")
	} else if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err == nil {
		err = checkKind(info)
	}
	if limit := s.maxSize(); err == nil && limit > 0 && info.Size() > limit {
		err = badf("the file has %d octets; messages may have %d (smtp.max_message_size)", info.Size(), limit)
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
		return badf("it is a folder; only files are taken")
	case info.Mode()&fs.ModeSymlink != 0:
		return badf("it is a symbolic link; put the file itself here")
	case !info.Mode().IsRegular():
		return badf("it is no ordinary file (%s)", info.Mode().Type())
	case info.Size() == 0:
		return badf("the file is empty")
	}
	return nil
}

// steady reads a file, and makes sure at its end that nobody has written to it meanwhile.
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

// limited ends a message that is longer than its file was: line ends that were added count. From the octet above the limit
// on it gives nothing but the error: a reader that gives something with it is no limit, since bufio.Reader.WriteTo goes on
// as long as something comes.
type limited struct {
	r     io.Reader
	limit int64 // 0: none
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
	return 0, badf("the message has more than %d octets with its line ends (smtp.max_message_size)", l.limit)
}

func (l *limited) over() bool {
	return l.limit > 0 && l.read > l.limit
}

// putAside moves a file to badDir, and says why beside it.
func (s *scan) putAside(claimed, reason string) error {
	if err := s.root.Mkdir(badDir, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	name, err := s.freeName(original(claimed))
	if err != nil {
		return err
	}
	if err := s.root.Rename(path.Join(takingDir, claimed), name); err != nil {
		return err
	}
	s.log.Warn("pickup: a file cannot be sent and was moved aside", "file", path.Join(s.opts.Dir, name), "reason", reason)
	text := fmt.Sprintf("%s could not be sent (%s).\r\n\r\nWhy: %s.\r\n\r\nCorrect the file and put it back into %s, or delete it. This text is not needed any more then.\r\n",
		original(claimed), s.now.Format(smtp.DateLayout), strings.TrimSuffix(reason, "."), s.opts.Dir)
	if err := s.root.WriteFile(name+reasonEnding, []byte(text), 0o640); err != nil {
		s.log.Warn("pickup: the reason cannot be written", "file", name, "error", err)
	}
	return nil
}

const reasonEnding = ".reason.txt"

// freeName is a name in badDir that neither a file nor the reason of one has.
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
	return "", fmt.Errorf("%s holds too many files of the name %s", badDir, base)
}

func syncDir(root *os.Root, name string) error {
	d, err := root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
