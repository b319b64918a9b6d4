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
	"slices"
	"strings"
	"sync"
	"time"
)

// listing is what a mailbox was seen to hold. The entries have no strings, and are small, because the time to list a
// large mailbox goes into moving memory about, once the kernel has given the names.
type listing struct {
	entries []entry
	others  []other // what the entries say that stand for a file whose name is no Name
}

// entry is a message in a listing.
type entry struct {
	// arrived and serial are the two numbers of a Name.ID: the time, as 20060102150405, and the rest.
	arrived, serial uint64
	size            int64
	other           int32 // index in listing.others, or none
	dotted          bool
}

const (
	none     = -1
	noSerial = 1<<64 - 1 // of a message whose unique-id is no Name.ID
)

// other is a message that goes by another name or another unique-id than our own do.
type other struct {
	uid     string
	name    string
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

// verify holds the file that was opened against the listing; f is nil if we named the file.
func verify(fi fs.FileInfo, size int64, f *foreign) error {
	if f != nil {
		if identify(fi) != f.id {
			return fmt.Errorf("%w: changed since it was listed", ErrDamaged)
		}
		return nil
	}
	if fi.Size() != size {
		return fmt.Errorf("%w: it has %d bytes, its name says %d; rename it to serve it as it is",
			ErrDamaged, fi.Size(), size)
	}
	return nil
}

// list reads a mailbox that has passed checkMailbox, in no particular order. Messages with a Name are not looked at;
// the others are read once to learn their size as POP3 counts it. Only regular files count.
func (s *Store) list(dir string) (*listing, error) {
	files, err := s.fsys.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &NoMailboxError{Dir: dir}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	l := &listing{entries: make([]entry, 0, len(files))}
	for _, file := range files {
		if !file.Type().IsRegular() || !isMessage(file.Name()) {
			continue
		}
		if n, ok := ParseName(file.Name()); ok {
			l.add(n)
			continue
		}
		if err := s.addForeign(l, dir, file.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return l, nil
}

// add enters a file of ours.
func (l *listing) add(n Name) {
	e := entry{size: n.Size, other: none, dotted: n.Dotted}
	e.arrived, e.serial = idNumbers(n.ID)
	l.entries = append(l.entries, e)
}

// addForeign enters a file that we did not name.
func (s *Store) addForeign(l *listing, dir, file string) error {
	name := path.Join(dir, file)
	fi, err := s.fsys.Lstat(name)
	if err != nil {
		return err
	}
	id := identify(fi)
	size, ok := s.sizes.get(name, id)
	if !ok {
		size, err = s.measure(name, id)
		if errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	o := other{uid: foreignUID(file), name: strings.Clone(file), foreign: &foreign{id: id, err: err}}
	e := entry{arrived: clockNumber(id.mtime), serial: noSerial, size: size, dotted: true}
	// A name as the Windows service gave it survives copying; the time of the last change does not.
	if len(file) == idLen+len(nameSuffix) && isID(file[:idLen]) {
		arrived, serial := idNumbers(file)
		if e.arrived = arrived; isID(o.uid) {
			e.serial = serial
		}
	}
	e.other = int32(len(l.others))
	l.others = append(l.others, o)
	l.entries = append(l.entries, e)
	return nil
}

// uid is the unique-id of an entry.
func (l *listing) uid(e entry) string {
	if e.other != none {
		return l.others[e.other].uid
	}
	return string(appendID(nil, e.arrived, e.serial))
}

// name is the name of an entry's file.
func (l *listing) name(e entry) string {
	if e.other != none {
		return l.others[e.other].name
	}
	return Name{ID: l.uid(e), Size: e.size, Dotted: e.dotted}.String()
}

// arrange sorts by arrival and makes sure that no unique-id stands twice, which takes a copy made by hand.
func (l *listing) arrange() {
	l.presort()
	slices.SortFunc(l.entries, l.byArrival)
	last := entry{serial: noSerial}   // the last with a serial: equal ones follow each other
	uids := make(map[string]struct{}) // those of another form, of which there are few
	for i := range l.entries {
		e := &l.entries[i]
		twice := false
		if e.serial != noSerial {
			twice = e.serial == last.serial && e.arrived == last.arrived
			last = *e
		} else {
			_, twice = uids[l.uid(*e)]
		}
		if twice {
			l.rename(e, uids)
		}
		if e.serial == noSerial {
			uids[l.uid(*e)] = struct{}{}
		}
	}
}

// presort sorts a large listing by its numbers, byte for byte from the last one, each time into the other of two
// slices. What comes to SortFunc is in order then, but for a few, and it sees that: together they take a third of the
// time that SortFunc takes with names as ext4 gives them, in no order at all.
func (l *listing) presort() {
	if len(l.entries) < 1000 {
		return
	}
	from, to := l.entries, make([]entry, len(l.entries))
	for place := range 16 {
		var starts [256 + 1]int
		for i := range from {
			starts[int(from[i].byteAt(place))+1]++
		}
		if slices.Contains(starts[1:], len(from)) {
			continue // all have the same
		}
		for b := range 256 {
			starts[b+1] += starts[b]
		}
		for i := range from {
			b := from[i].byteAt(place)
			to[starts[b]] = from[i]
			starts[b]++
		}
		from, to = to, from
	}
	l.entries = from
}

// byteAt is byte 0 to 7 of the serial, or 8 to 15 of the time.
func (e *entry) byteAt(place int) byte {
	if place < 8 {
		return byte(e.serial >> (8 * place))
	}
	return byte(e.arrived >> (8 * (place - 8)))
}

// rename gives an entry a unique-id that is not in uids.
func (l *listing) rename(e *entry, uids map[string]struct{}) {
	if e.other == none {
		l.others = append(l.others, other{name: l.name(*e)})
		e.other = int32(len(l.others) - 1)
	}
	e.serial = noSerial
	o := &l.others[e.other]
	for name, taken := o.name, true; taken; name += "/" { // which no name has
		o.uid = hashUID(name)
		_, taken = uids[o.uid]
	}
}

// byArrival orders by time, then by name. Numbers are compared as far as they decide as the names would.
func (l *listing) byArrival(a, b entry) int {
	switch {
	case a.arrived != b.arrived:
		return cmp.Compare(a.arrived, b.arrived)
	case a.serial != b.serial && a.serial != noSerial && b.serial != noSerial:
		return cmp.Compare(a.serial, b.serial)
	}
	return cmp.Compare(l.name(a), l.name(b))
}

// idNumbers are the two numbers in a name that begins as a Name.ID.
func idNumbers(id string) (arrived, serial uint64) {
	digits := id[len(namePrefix):idLen]
	return number(digits[:stampLen]), number(digits[stampLen:])
}

// number is the value of at most 19 digits.
func number(digits string) (n uint64) {
	for i := range len(digits) {
		n = 10*n + uint64(digits[i]-'0')
	}
	return n
}

// appendID is the inverse of idNumbers.
func appendID(id []byte, arrived, serial uint64) []byte {
	id = append(id, namePrefix...)
	start := len(id)
	id = append(id, make([]byte, idDigits)...)
	putNumber(id[start:][:stampLen], arrived)
	putNumber(id[start+stampLen:], serial)
	return id
}

// putNumber fills digits with a number.
func putNumber(digits []byte, n uint64) {
	for i := len(digits) - 1; i >= 0; i-- {
		digits[i] = '0' + byte(n%10)
		n /= 10
	}
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

// clockNumber is a time as idNumbers has it.
func clockNumber(t time.Time) uint64 {
	t = t.UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	n := uint64(min(max(year, 0), 9999))
	for _, part := range []int{int(month), day, hour, minute, second} {
		n = 100*n + uint64(part)
	}
	return n
}

// sizeCacheMax is how many files each of the two halves of a sizeCache remembers.
const sizeCacheMax = 131_072

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
