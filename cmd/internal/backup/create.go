package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"syscall"
	"time"

	"pillarbox/mailstore/durable"
)

// Options are the options of Create.
type Options struct {
	Program string // the version of this program
	// Progress, if set, is called after each file.
	Progress func(Progress)
}

// Progress is how far a backup, a verification or a restore has come.
type Progress struct {
	Files int   `json:"files"` // that were looked at
	Bytes int64 `json:"bytes"` // that were copied or read
}

const (
	// mostPasses limits the walks of a backup: see Create.
	mostPasses = 5
	// settled is the age from which a file's time of modification proves that it did not change: a
	// clock of the file system may be coarse.
	settled = 2 * time.Second
)

// Create makes a snapshot. All that was in the files of the source at the call is in it, if it is
// still there when the walk comes by. A file that cannot be read is a problem of the snapshot, not
// an error: the snapshot then has it as the one before has it.
//
// A mailbox that is renamed during the walk could be missed under both names. So the walk is
// repeated if there are mailboxes at the end that it did not see; it copies only what is new.
func (r *Repo) Create(ctx context.Context, src Source, o Options) (s Snapshot, err error) {
	unlock, err := r.lock()
	if err != nil {
		return s, err
	}
	defer unlock()
	if err := r.sweep(); err != nil {
		return s, err
	}
	c := &creator{Repo: r, ctx: ctx, src: src, options: o, began: time.Now()}
	c.packs = map[string]int{}
	if err := c.begin(); err != nil {
		return s, err
	}
	defer func() {
		if err != nil {
			_ = r.sweep() // or the next backup does
		}
	}()
	for {
		before, err := c.previous()
		if err != nil {
			return s, err
		}
		err = c.pass(before)
		before.close()
		if err != nil {
			return s, err
		}
		missed, err := c.missed()
		if err != nil {
			return s, err
		}
		if !missed {
			return c.finish()
		}
		if c.passes == mostPasses {
			return s, errors.New("mailboxes were renamed or added all the time: try again")
		}
	}
}

// creator makes one snapshot.
type creator struct {
	*Repo
	ctx     context.Context
	src     Source
	options Options
	began   time.Time

	snapshot Snapshot
	old      Snapshot // the one before; its ID is "" if there is none
	intact   []bool   // by index in the packs of before: the pack is there
	worth    []bool   // and what is in it need not be stored again

	pack   *packWriter    // nil: none is open
	packs  map[string]int // the index of each pack in snapshot.Packs
	number int            // of the last pack
	passes int

	list     *manifestWriter
	listFile *storedFile
	before   *cursor
	since    time.Time         // when the walk of before began
	seen     map[string]bool   // directories
	linked   map[inode]Entry   // files with several names that were copied
	problems map[string]string // by path
	copied   int64
	files    int
}

type inode struct{ device, number uint64 }

// begin chooses the ID, and finds out what can be taken over.
func (c *creator) begin() error {
	all, _, err := c.List()
	if err != nil {
		return err
	}
	c.snapshot = Snapshot{Format: formatVersion, Time: c.began.UTC(), Program: c.options.Program}
	at := c.began.UTC()
	if len(all) > 0 {
		c.old = all[len(all)-1]
		c.since = c.old.Time
		// After a change of the clock the new snapshot is still the newest.
		if last, err := time.Parse(idLayout, c.old.ID); err == nil && !at.Truncate(time.Second).After(last) {
			at = last.Add(time.Second)
		}
	}
	c.snapshot.ID = at.Format(idLayout)
	c.intact, c.worth = make([]bool, len(c.old.Packs)), make([]bool, len(c.old.Packs))
	for i, p := range c.old.Packs {
		fi, err := c.FS.Lstat(path.Join(packsDir, p.Name))
		c.intact[i] = err == nil && fi.Size() == p.Size
		c.worth[i] = c.intact[i] && worthKeeping(p)
	}
	return nil
}

// worthKeeping is the rule for packs that have become empty: when a snapshot needs less than a third
// of a pack, the next one stores these files again. The pack goes with the last snapshot that names
// it.
func worthKeeping(p Pack) bool { return p.Used >= p.Size/3 }

// cursor reads the manifest before in step with the walk.
type cursor struct {
	list  *manifestReader // nil: there is none
	next  Entry
	more  bool
	close func()
}

// previous opens the manifest of the pass before, or of the snapshot before. A damaged one is not
// used: everything is copied again.
func (c *creator) previous() (*cursor, error) {
	stored, packs := c.old.Manifest, c.old.Packs
	if c.listFile != nil {
		stored, packs = c.listFile.Stored, c.snapshot.Packs
		c.intact = slices.Repeat([]bool{true}, len(packs))
		c.worth = c.intact
		c.since = c.began
	}
	none := &cursor{close: func() {}}
	if stored.Name == "" {
		return none, nil
	}
	if err := c.wholeManifest(stored, packs); err != nil {
		if c.listFile != nil {
			return nil, err
		}
		return none, nil
	}
	list, closing, err := c.openManifest(stored, packs)
	if err != nil {
		return nil, err
	}
	cur := &cursor{list: list, close: closing}
	return cur, cur.advance()
}

// wholeManifest reads a manifest to its end.
func (r *Repo) wholeManifest(stored Stored, packs []Pack) error {
	list, closing, err := r.openManifest(stored, packs)
	if err != nil {
		return err
	}
	defer closing()
	for err == nil {
		_, err = list.next()
	}
	if err == io.EOF {
		return nil
	}
	return err
}

func (k *cursor) advance() (err error) {
	k.next, err = k.list.next()
	k.more = err == nil
	if err == io.EOF {
		return nil
	}
	return err
}

// find returns the entry of a path. Paths must come in the order of compare.
func (k *cursor) find(name string) (Entry, bool, error) {
	for k.more && compare(k.next.Path, name) < 0 {
		if err := k.advance(); err != nil {
			return Entry{}, false, err
		}
	}
	return k.next, k.more && k.next.Path == name, nil
}

// pass walks through the source once and writes a manifest.
func (c *creator) pass(before *cursor) error {
	c.passes++
	old := c.listFile
	file, err := c.create(manifestsDir, fmt.Sprintf("%s-%d.gz", c.snapshot.ID, c.passes))
	if err != nil {
		return err
	}
	c.listFile, c.list, c.before = file, newManifestWriter(file), before
	c.seen, c.linked, c.problems = map[string]bool{}, map[inode]Entry{}, map[string]string{}
	c.files, c.snapshot.Bytes = 0, 0
	for i := range c.snapshot.Packs {
		c.snapshot.Packs[i].Used = 0
	}
	err = c.walk()
	if err == nil {
		err = c.list.finish()
	}
	err = errors.Join(err, c.endPack(), file.finish())
	if err == nil && old != nil {
		err = c.FS.Remove(path.Join(manifestsDir, old.Name))
	}
	return err
}

func (c *creator) walk() error {
	for _, name := range slices.Sorted(maps.Keys(c.src.Config)) {
		content := c.src.Config[name]
		e := Entry{
			Path: ConfigPart + name, Mode: filePerm, Size: int64(len(content)), Modified: c.began,
		}
		if err := c.store(&e, bytes.NewReader(content)); err != nil {
			return err
		}
	}
	return walk(c.src.Data, ".", c)
}

// missed reports whether there are mailboxes that the pass did not see.
func (c *creator) missed() (bool, error) {
	dirs, err := mailboxDirs(c.src.Data)
	for dir := range dirs {
		if !c.seen[dir] {
			return true, err
		}
	}
	return false, err
}

func (c *creator) directory(name string) error {
	c.seen[name] = true
	fi, err := c.src.Data.Lstat(name)
	if isGone(err) {
		return nil
	} else if err != nil {
		c.passedOver(name, err.Error())
		return nil
	}
	return c.list.add(&Entry{Path: DataPart + name + "/", Mode: fi.Mode().Perm(), Modified: fi.ModTime()})
}

func (c *creator) passedOver(name, why string) { c.problems[DataPart+name] = why }

// file takes over a file from the snapshot before, or copies it.
func (c *creator) file(name string) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	before, found, err := c.before.find(DataPart + name)
	if err != nil {
		return err
	}
	found = found && !before.IsDir() && (before.Size == 0 || c.intact[before.Pack])
	worth := found && (before.Size == 0 || c.worth[before.Pack])
	if size, ok := sizeInName(name); worth && ok && size == before.Size {
		return c.keep(before)
	}
	err = c.copy(name, before, worth)
	var unread *readError
	switch {
	case err == nil || isGone(err):
		return nil
	case !errors.As(err, &unread):
		return err
	}
	c.passedOver(name, unread.Error())
	if found {
		return c.keep(before)
	}
	return nil
}

// copy copies a file, unless its time and size show that it is the one of the snapshot before.
func (c *creator) copy(name string, before Entry, worth bool) error {
	// A link or a pipe may have taken its place since it was listed.
	f, err := c.src.Data.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return &readError{err}
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return &readError{err}
	}
	if !fi.Mode().IsRegular() {
		return &readError{errors.New("is not a regular file")}
	}
	e := Entry{
		Path: DataPart + name, Mode: fi.Mode().Perm(), Size: fi.Size(), Modified: fi.ModTime(),
	}
	if worth && before.Size == e.Size && before.Modified.Equal(e.Modified) &&
		before.Modified.Before(c.since.Add(-settled)) {
		before.Mode = e.Mode
		return c.keep(before)
	}
	id, several := severalNames(fi)
	if known, ok := c.linked[id]; several && ok && known.Size == e.Size {
		e.Sum, e.Pack, e.Offset = known.Sum, known.Pack, known.Offset
		return c.add(&e)
	}
	if err := c.store(&e, sourceReader{f}); err != nil {
		return err
	}
	if several {
		c.linked[id] = e
	}
	return nil
}

// severalNames identifies a file that has more than one name.
func severalNames(fi fs.FileInfo) (inode, bool) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || st.Nlink < 2 {
		return inode{}, false
	}
	return inode{uint64(st.Dev), st.Ino}, true
}

// keep takes over an entry of the manifest before.
func (c *creator) keep(e Entry) error {
	if e.Size > 0 {
		e.Pack = c.indexOf(c.before.list.packs[e.Pack])
	}
	return c.add(&e)
}

// indexOf returns the index of a pack in the snapshot.
func (c *creator) indexOf(p Pack) int {
	i, ok := c.packs[p.Name]
	if !ok {
		i = len(c.snapshot.Packs)
		c.packs[p.Name] = i
		c.snapshot.Packs = append(c.snapshot.Packs, Pack{Stored: p.Stored})
	}
	return i
}

// store copies content into a pack.
func (c *creator) store(e *Entry, content io.Reader) error {
	e.Sum = sha256.Sum256(nil)
	if e.Size > 0 {
		if err := c.openPack(); err != nil {
			return err
		}
		e.Pack = c.packs[c.pack.Name]
		if err := c.pack.add(e, content); err != nil {
			return err
		}
	}
	c.copied += e.Size
	c.snapshot.NewFiles++
	c.snapshot.NewBytes += e.Size
	return c.add(e)
}

// add appends an entry to the manifest.
func (c *creator) add(e *Entry) error {
	c.files++
	c.snapshot.Bytes += e.Size
	if e.Size > 0 {
		c.snapshot.Packs[e.Pack].Used += footprint(e.Size)
	}
	if c.options.Progress != nil {
		c.options.Progress(Progress{Files: c.files, Bytes: c.copied})
	}
	return c.list.add(e)
}

// openPack makes a pack with room for a file.
func (c *creator) openPack() error {
	size := c.PackSize
	if size == 0 {
		size = defaultPackSize
	}
	if c.pack != nil && c.pack.size < size {
		return nil
	}
	if err := c.endPack(); err != nil {
		return err
	}
	c.number++
	p, err := c.createPack(fmt.Sprintf("%s-%04d.tar", c.snapshot.ID, c.number))
	if err != nil {
		return err
	}
	c.pack = p
	c.packs[p.Name] = len(c.snapshot.Packs)
	c.snapshot.Packs = append(c.snapshot.Packs, Pack{Stored: Stored{Name: p.Name}})
	return nil
}

// endPack finishes the pack that is open.
func (c *creator) endPack() error {
	if c.pack == nil {
		return nil
	}
	p := c.pack
	c.pack = nil
	err := p.finish()
	c.snapshot.Packs[c.packs[p.Name]].Stored = p.Stored
	return err
}

// finish makes the snapshot valid.
func (c *creator) finish() (Snapshot, error) {
	s := &c.snapshot
	s.Manifest, s.Files, s.Took = c.listFile.Stored, c.files, time.Since(c.began)
	for _, name := range slices.Sorted(maps.Keys(c.problems)) {
		if len(s.Problems) == mostProblems {
			s.Problems = append(s.Problems, fmt.Sprintf("and %d more", len(c.problems)-mostProblems))
			break
		}
		s.Problems = append(s.Problems, fmt.Sprintf("%q: %s", name, c.problems[name]))
	}
	for _, dir := range []string{packsDir, manifestsDir} {
		if err := c.FS.SyncDir(dir); err != nil {
			return *s, err
		}
	}
	return *s, c.writeHeader(s)
}

// mostProblems limits the problems that a snapshot names.
const mostProblems = 100

func (r *Repo) writeHeader(s *Snapshot) error {
	return durable.WriteJSON(r.FS, path.Join(snapshotsDir, s.ID+".json"), s)
}

func isGone(err error) bool { return errors.Is(err, fs.ErrNotExist) }
