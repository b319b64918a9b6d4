// Package backup keeps copies of an office in a directory: it makes them, lists them, verifies them
// and reads files back.
//
// Start with [Repo], the directory of the backups. [Repo.Create] makes a snapshot of a
// [Source]; [Repo.Verify] reads one back against its hashes; [Repo.Extract] reads files out of one; [Repo.Prune]
// removes those that a [Keep] rule does not keep. Package admin has the verbs, and knows how a
// running server is copied consistently. This package knows files only.
//
// # The directory
//
//	pillarbox-backup       marks the directory, with the version of the format
//	lock                   held by a create or a prune
//	snapshots/ID.json      a snapshot: times, counts, its manifest and its packs
//	manifests/ID.gz        the files of the snapshot: path, size, SHA-256, pack and offset
//	packs/ID-0001.tar      the content of the files that were new in the snapshot
//
// A message never changes, and its file's name has its size. So a snapshot takes over what the
// snapshot before has under the same name, and stores only new files. It refers to the packs of
// earlier snapshots, but it needs no earlier snapshot. A pack is a plain tar archive: without this
// program, tar reads it.
//
// The file in snapshots is written last, when everything that it names is on the disk. What a
// killed backup leaves is named by no snapshot, and the next backup removes it.
//
// Both manifests are in one order ([compare]), that of the walk through the source. So a new one is
// made by merging, and a million messages need little memory.
package backup

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"pillarbox/mailstore/durable"
)

const (
	formatVersion = 1

	markFile     = "pillarbox-backup"
	lockFile     = "lock"
	snapshotsDir = "snapshots"
	manifestsDir = "manifests"
	packsDir     = "packs"

	idLayout = "20060102T150405Z" // UTC

	filePerm fs.FileMode = 0o600
	dirPerm  fs.FileMode = 0o700

	// maxHeader is the largest size of a file in snapshots: it names each pack.
	maxHeader = 64 << 20
)

// ErrNoBackups means that a directory is not one of backups.
var ErrNoBackups = errors.New("this is not a directory of backups")

// ErrNoSnapshot means that a directory has no such snapshot.
var ErrNoSnapshot = errors.New("no such snapshot")

// Snapshot is the state of an office at one time.
type Snapshot struct {
	Format  int           `json:"format"`
	ID      string        `json:"id"`
	Time    time.Time     `json:"time"` // all that was acknowledged before is in it
	Took    time.Duration `json:"took"`
	Program string        `json:"program"` // the version that made it

	Files    int   `json:"files"`
	Bytes    int64 `json:"bytes"`
	NewFiles int   `json:"new_files"` // those that this snapshot stored
	NewBytes int64 `json:"new_bytes"`

	Manifest Stored `json:"manifest"`
	Packs    []Pack `json:"packs"`
	// Problems are the files that could not be read, and why.
	Problems []string `json:"problems,omitempty"`
}

// Stored is a file of the directory.
type Stored struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
	Sum  string `json:"sha256"`
}

// Pack is a pack that a snapshot refers to.
type Pack struct {
	Stored
	Used int64 `json:"used"` // octets of the pack that the snapshot needs
}

var (
	idForm    = regexp.MustCompile(`^\d{8}T\d{6}Z$`)
	plainName = regexp.MustCompile(`^\d{8}T\d{6}Z[-.0-9a-z]{0,20}$`)
)

// check refuses a header that names files elsewhere: the directory may come from a stranger.
func (s *Snapshot) check(id string) error {
	switch {
	case s.Format > formatVersion:
		return fmt.Errorf("snapshot %s was made by a newer release", id)
	case s.Format < 1 || s.ID != id || !plainName.MatchString(s.Manifest.Name) || s.Manifest.Size < 0:
		return fmt.Errorf("snapshot %s: its description is damaged", id)
	}
	for _, p := range s.Packs {
		if !plainName.MatchString(p.Name) || p.Size < 0 {
			return fmt.Errorf("snapshot %s: its description names a pack %.60q", id, p.Name)
		}
	}
	return nil
}

// Repo is a directory of backups.
type Repo struct {
	FS durable.FS

	// PackSize is the size at which a pack ends; 0: a default.
	PackSize int64
}

// Open returns the Repo in a directory. The error is ErrNoBackups if none was made there.
func Open(fsys durable.FS) (*Repo, error) {
	r := &Repo{FS: fsys}
	text, err := durable.ReadSmall(fsys, markFile, 1<<10)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoBackups
	} else if err != nil {
		return nil, err
	}
	if string(text) != markText() {
		return nil, fmt.Errorf("%s: a newer release made these backups, or the file is damaged", markFile)
	}
	return r, nil
}

func markText() string { return fmt.Sprintf("Backups of Pillarbox, format %d\n", formatVersion) }

// Init is Open, but makes an empty directory one of backups.
func Init(fsys durable.FS) (*Repo, error) {
	r, err := Open(fsys)
	if !errors.Is(err, ErrNoBackups) {
		return r, err
	}
	names, err := fsys.ReadNames(".")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		// An Init that was cut off has left some of these.
		if !slices.Contains([]string{snapshotsDir, manifestsDir, packsDir, lockFile, "lost+found"}, name) &&
			!durable.IsTemp(name) {
			return nil, fmt.Errorf("the directory has other files, such as %s", name)
		}
	}
	for _, dir := range []string{snapshotsDir, manifestsDir, packsDir} {
		if err := fsys.MkdirAll(dir, dirPerm); err != nil {
			return nil, err
		}
	}
	if err := durable.WriteFile(fsys, markFile, []byte(markText()), filePerm); err != nil {
		return nil, err
	}
	return Open(fsys)
}

// lock keeps other processes from changing the directory.
func (r *Repo) lock() (unlock func(), err error) {
	unlock, err = durable.TryLock(r.FS, lockFile)
	if errors.Is(err, durable.ErrLocked) {
		return nil, fmt.Errorf("another backup, or a prune, is at work in the directory: %w", err)
	}
	return unlock, err
}

// List returns the snapshots, the oldest first. damaged are the problems of those that cannot be
// read.
func (r *Repo) List() (all []Snapshot, damaged []error, err error) {
	names, err := r.FS.ReadNames(snapshotsDir)
	if err != nil {
		return nil, nil, err
	}
	slices.Sort(names)
	for _, name := range names {
		id, ok := strings.CutSuffix(name, ".json")
		if !ok || !idForm.MatchString(id) {
			continue
		}
		s, err := r.Snapshot(id)
		if err != nil {
			damaged = append(damaged, err)
			continue
		}
		all = append(all, s)
	}
	return all, damaged, nil
}

// Snapshot reads the description of a snapshot. The ID "" is the newest one that can be read.
func (r *Repo) Snapshot(id string) (s Snapshot, err error) {
	if id == "" {
		all, damaged, err := r.List()
		if err != nil || len(all) == 0 {
			return s, errors.Join(append(damaged, err, ErrNoSnapshot)...)
		}
		return all[len(all)-1], nil
	}
	if !idForm.MatchString(id) {
		return s, fmt.Errorf("%.60q: %w", id, ErrNoSnapshot)
	}
	text, err := durable.ReadSmall(r.FS, path.Join(snapshotsDir, id+".json"), maxHeader)
	if errors.Is(err, fs.ErrNotExist) {
		return s, fmt.Errorf("%s: %w", id, ErrNoSnapshot)
	} else if err != nil {
		return s, fmt.Errorf("snapshot %s: %w", id, err)
	}
	if err := durable.DecodeStrict(text, &s); err != nil {
		return s, fmt.Errorf("snapshot %s: its description is damaged: %w", id, err)
	}
	return s, s.check(id)
}

// sweep removes what no snapshot names: the rest of a killed backup, or of a prune. It removes
// nothing while a description cannot be read.
func (r *Repo) sweep() error {
	all, damaged, err := r.List()
	if err != nil || len(damaged) > 0 {
		return err
	}
	named := map[string]bool{}
	for _, s := range all {
		named[path.Join(manifestsDir, s.Manifest.Name)] = true
		for _, p := range s.Packs {
			named[path.Join(packsDir, p.Name)] = true
		}
	}
	for _, dir := range []string{packsDir, manifestsDir, snapshotsDir} {
		names, err := r.FS.ReadNames(dir)
		if err != nil {
			return err
		}
		for _, base := range names {
			name := path.Join(dir, base)
			ours := dir != snapshotsDir && plainName.MatchString(base) || durable.IsTemp(base)
			if !ours || named[name] {
				continue
			}
			if err := r.FS.Remove(name); err != nil {
				return err
			}
		}
	}
	return nil
}
