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

// listing is the content of a mailbox. Entries are small and have no strings, because moving memory
// takes most of the time for a large mailbox.
type listing struct {
	entries []entry
	others  []other // of the entries whose file name is not a Name
}

// entry is a message in a listing.
type entry struct {
	// arrived and serial are the two numbers in a Name.ID: the time, as 20060102150405, and the
	// other digits.
	arrived, serial uint64
	size            int64
	other           int32 // index in listing.others, or none
	dotted          bool
}

const (
	none     = -1
	noSerial = 1<<64 - 1 // of a message whose unique-id is no Name.ID
)

// other describes a message whose file name or unique-id does not have our form.
type other struct {
	uid     string
	name    string
	foreign *foreign // nil if the store named the file
}

// foreign describes a file that the store has not named. Its lines may end in bare LF.
type foreign struct {
	id  fileID
	err error // why the file could not be read
}

// fileID identifies one version of a file's content.
type fileID struct {
	size  int64
	mtime time.Time
}

func identify(fi fs.FileInfo) fileID {
	return fileID{size: fi.Size(), mtime: fi.ModTime()}
}

// verify compares an opened file with the listing; f is nil if the store named the file.
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

// list reads a mailbox that has passed checkMailbox, in no particular order. It does not open
// messages with a Name. It reads each foreign file once to learn its size as POP3 counts it. Only
// regular files are messages.
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

// add adds a file with a Name.
func (l *listing) add(n Name) {
	e := entry{size: n.Size, other: none, dotted: n.Dotted}
	e.arrived, e.serial = idNumbers(n.ID)
	l.entries = append(l.entries, e)
}

// addForeign adds a foreign file.
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
	o := other{
		uid: foreignUID(file), name: strings.Clone(file), foreign: &foreign{id: id, err: err},
	}
	e := entry{arrived: clockNumber(id.mtime), serial: noSerial, size: size, dotted: true}
	// The time in a name of the Windows service survives copying; the file's modification time does
	// not.
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

// uid returns the unique-id of an entry.
func (l *listing) uid(e entry) string {
	if e.other != none {
		return l.others[e.other].uid
	}
	return string(appendID(nil, e.arrived, e.serial))
}

// name returns the file name of an entry.
func (l *listing) name(e entry) string {
	if e.other != none {
		return l.others[e.other].name
	}
	return Name{ID: l.uid(e), Size: e.size, Dotted: e.dotted}.String()
}

// arrange sorts by arrival and makes unique-ids unique. Only a copy made by hand can have the
// unique-id of another message.
func (l *listing) arrange() {
	l.presort()
	slices.SortFunc(l.entries, l.byArrival)
	last := entry{serial: noSerial}   // the last entry with a serial; equal ones are adjacent
	uids := make(map[string]struct{}) // the few unique-ids of another form
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

// presort is a radix sort of a large listing by its numbers, from the last byte to the first.
// SortFunc then meets an almost sorted slice and detects that. Together they take a third of the
// time of SortFunc alone on the random order that ext4 returns.
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
			continue // all entries have the same byte
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

// byteAt returns byte 0 to 7 of the serial, or 8 to 15 of the time.
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
	for name, taken := o.name, true; taken; name += "/" { // no file name has a slash
		o.uid = hashUID(name)
		_, taken = uids[o.uid]
	}
}

// byArrival orders by time, then by name. It compares numbers where they give the same order as the
// names.
func (l *listing) byArrival(a, b entry) int {
	switch {
	case a.arrived != b.arrived:
		return cmp.Compare(a.arrived, b.arrived)
	case a.serial != b.serial && a.serial != noSerial && b.serial != noSerial:
		return cmp.Compare(a.serial, b.serial)
	}
	return cmp.Compare(l.name(a), l.name(b))
}

// idNumbers returns the two numbers in a name that begins as a Name.ID.
func idNumbers(id string) (arrived, serial uint64) {
	digits := id[len(namePrefix):idLen]
	return number(digits[:stampLen]), number(digits[stampLen:])
}

// number parses at most 19 digits.
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

// putNumber fills digits with n.
func putNumber(digits []byte, n uint64) {
	for i := len(digits) - 1; i >= 0; i-- {
		digits[i] = '0' + byte(n%10)
		n /= 10
	}
}

// measure reads a foreign file for its size with CRLF at the end of each line, and caches it. On an
// error it returns the size of the file, so that one unreadable message does not make the mailbox
// unreadable.
func (s *Store) measure(name string, id fileID) (int64, error) {
	f, fi, err := s.openRegular(name)
	if err != nil {
		return id.size, err
	}
	defer f.Close()
	if identify(fi) != id {
		return id.size, fmt.Errorf("%s: %w: changed while it was listed", name, ErrDamaged)
	}
	size, err := io.Copy(io.Discard, foreignText(f))
	if err != nil {
		return id.size, fmt.Errorf("%s: %w", name, err)
	}
	s.sizes.put(name, id, size)
	return size, nil
}

// foreignUID makes a unique-id from a file name: the name without ".eml", or a hash if that is not
// allowed as a unique-id.
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

// clockNumber returns a time in the form of entry.arrived.
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

// sizeCacheMax is the number of files that each half of a sizeCache holds.
const sizeCacheMax = 131_072

// sizeCache caches the results of measure, about the most recently used ones. The zero value is
// ready to use.
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
