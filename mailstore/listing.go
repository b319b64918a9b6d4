package mailstore

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync"
	"time"
)

// entry is a message in a listing.
type entry struct {
	Message
	name    string
	stamp   string   // time of arrival as in Name.ID
	foreign *foreign // nil if we named the file
}

// foreign is what is known of a file that we did not name; its lines may end in bare LF.
type foreign struct {
	id  fileID
	err error // why it could not be read
}

// fileID tells a file from a changed one.
type fileID struct {
	size  int64
	mtime time.Time
}

func identify(fi fs.FileInfo) fileID {
	return fileID{size: fi.Size(), mtime: fi.ModTime()}
}

func byArrival(a, b entry) int {
	if c := cmp.Compare(a.stamp, b.stamp); c != 0 {
		return c
	}
	return cmp.Compare(a.name, b.name)
}

// verify holds the file that was opened against the listing.
func (e *entry) verify(fi fs.FileInfo) error {
	if e.foreign != nil {
		if identify(fi) != e.foreign.id {
			return fmt.Errorf("%w: changed since it was listed", ErrDamaged)
		}
		return nil
	}
	if fi.Size() != e.Size {
		return fmt.Errorf("%w: it has %d bytes, its name says %d; rename it to serve it as it is",
			ErrDamaged, fi.Size(), e.Size)
	}
	return nil
}

// list reads a mailbox, in no particular order. Messages with a Name are not looked at; the others are read once to
// learn their size as POP3 counts it. Only regular files count.
func (s *Store) list(dir string) ([]entry, error) {
	if err := s.checkMailbox(dir); err != nil {
		return nil, err
	}
	files, err := s.fsys.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &NoMailboxError{Dir: dir}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	entries := make([]entry, 0, len(files))
	for _, file := range files {
		if !file.Type().IsRegular() || !isMessage(file.Name()) {
			continue
		}
		e, err := s.entry(dir, file.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

func (s *Store) entry(dir, file string) (entry, error) {
	n, ok := ParseName(file)
	if !ok {
		return s.foreignEntry(dir, file)
	}
	return entry{
		Message: Message{UID: n.ID, Size: n.Size, Dotted: n.Dotted},
		name:    file,
		stamp:   n.ID[len(namePrefix):][:stampLen],
	}, nil
}

func (s *Store) foreignEntry(dir, file string) (entry, error) {
	name := path.Join(dir, file)
	fi, err := s.fsys.Lstat(name)
	if err != nil {
		return entry{}, err
	}
	id := identify(fi)
	size, ok := s.sizes.get(name, id)
	if !ok {
		size, err = s.measure(name, id)
		if errors.Is(err, fs.ErrNotExist) {
			return entry{}, err
		}
	}
	return entry{
		Message: Message{UID: foreignUID(file), Size: size, Dotted: true},
		name:    file,
		stamp:   foreignStamp(file, id.mtime),
		foreign: &foreign{id: id, err: err},
	}, nil
}

// measure reads a file for its size with CRLF at the end of each line, and remembers it. When that fails, the
// size is the file's own: one message that cannot be read does not make the mailbox unreadable.
func (s *Store) measure(name string, id fileID) (int64, error) {
	f, fi, err := s.openRegular(name)
	if err != nil {
		return id.size, err
	}
	defer f.Close()
	if identify(fi) != id {
		return id.size, fmt.Errorf("%s: %w: changed while it was listed", name, ErrDamaged)
	}
	size, err := io.Copy(io.Discard, newCRLFReader(f))
	if err != nil {
		return id.size, fmt.Errorf("%s: %w", name, err)
	}
	s.sizes.put(name, id, size)
	return size, nil
}

// foreignUID makes a unique-id out of a file name: the name without ".eml" where that is allowed.
func foreignUID(file string) string {
	uid, ok := strings.CutSuffix(file, nameSuffix)
	notAllowed := func(r rune) bool { return r < 0x21 || r > 0x7E }
	if !ok || len(uid) > 70 || strings.ContainsFunc(uid, notAllowed) {
		return hashUID(file)
	}
	return uid
}

func hashUID(file string) string {
	sum := sha256.Sum256([]byte(file))
	return hex.EncodeToString(sum[:16])
}

// foreignStamp is the time of arrival: from a name like those of the Windows service, which survives copying,
// or else when the file was changed last.
func foreignStamp(file string, mtime time.Time) string {
	if len(file) == idLen+len(nameSuffix) && isID(file[:idLen]) {
		return file[len(namePrefix):][:stampLen]
	}
	return mtime.UTC().Format(stampLayout)
}

// sizeCacheMax is how many files each of the two halves of a sizeCache remembers.
const sizeCacheMax = 32_768

// sizeCache remembers what measure found. It forgets, about, what was not asked for longest. The zero value is ready.
type sizeCache struct {
	mu         sync.Mutex
	young, old map[string]measured // by path
}

type measured struct {
	id   fileID
	size int64
}

func (c *sizeCache) get(name string, id fileID) (size int64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m, ok := c.young[name]; ok {
		return m.size, m.id == id
	}
	m, ok := c.old[name]
	if !ok || m.id != id {
		return 0, false
	}
	c.add(name, m)
	return m.size, true
}

func (c *sizeCache) put(name string, id fileID, size int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(name, measured{id: id, size: size})
}

// add needs mu held.
func (c *sizeCache) add(name string, m measured) {
	if c.young == nil || len(c.young) >= sizeCacheMax {
		c.young, c.old = make(map[string]measured), c.young
	}
	c.young[name] = m
}
