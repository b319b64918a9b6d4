package backup

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"pillarbox/mailstore/durable"
)

// Entry is one file of a snapshot, or a directory.
type Entry struct {
	// Path begins with "data/", the data directory, or "config/". That of a directory ends in "/".
	// It need not be UTF-8.
	Path     string
	Mode     fs.FileMode // permissions
	Size     int64
	Modified time.Time
	Sum      [sha256.Size]byte
	Pack     int   // index in Snapshot.Packs
	Offset   int64 // of the content in the pack
}

// IsDir reports whether the entry is a directory. It has a Path and a Mode only.
func (e *Entry) IsDir() bool { return strings.HasSuffix(e.Path, "/") }

// The two parts of a backup, and what the walk visits first in the data directory.
const (
	DataPart   = "data/"
	ConfigPart = "config/"
)

// A manifest is text, compressed with gzip. Each line is an entry:
//
//	mode size modified pack offset sha256 "path"
//
// The mode is octal, the time in nanoseconds since 1970. The path is quoted as in Go. Lines are in
// the order of compare. The last line has the number of entries and the SHA-256 of all lines before.
const (
	firstLine = "pillarbox manifest 1\n"
	lastWord  = "end"
	maxLine   = 64 << 10
	maxFile   = 1 << 50 // octets; as in package mailstore
)

// compare orders paths as the walk visits them: in each directory first the files, then the
// directories, both by name. In the data directory, pickup and queue come before the other
// directories: messages leave these two for others, and must not be missed in both.
func compare(a, b string) int {
	for depth := 0; ; depth++ {
		x, restA, dirA := strings.Cut(a, "/")
		y, restB, dirB := strings.Cut(b, "/")
		switch {
		case dirA != dirB && dirB:
			return -1
		case dirA != dirB:
			return 1
		case x != y && depth == 1 && dirA && early(x) != early(y):
			return early(y) - early(x)
		case x != y:
			return strings.Compare(x, y)
		case !dirA:
			return 0
		}
		a, b = restA, restB
	}
}

// early is greater for directories that are visited earlier.
func early(name string) int {
	switch name {
	case "pickup":
		return 2
	case "queue":
		return 1
	}
	return 0
}

// manifestWriter writes a manifest.
type manifestWriter struct {
	zip   *gzip.Writer
	out   *bufio.Writer // to zip and sum
	sum   hash.Hash
	count int
	last  string
	line  []byte
}

func newManifestWriter(w io.Writer) *manifestWriter {
	zip, _ := gzip.NewWriterLevel(w, gzip.BestSpeed) // the level is valid
	m := &manifestWriter{zip: zip, sum: sha256.New()}
	m.out = bufio.NewWriterSize(io.MultiWriter(zip, m.sum), 64<<10)
	_, _ = m.out.WriteString(firstLine) // an error stays until Flush
	return m
}

// add appends an entry, which must come after the last one.
func (m *manifestWriter) add(e *Entry) error {
	if m.last != "" && compare(m.last, e.Path) >= 0 {
		return fmt.Errorf("manifest: %q does not come after %q", e.Path, m.last)
	}
	m.last = e.Path
	m.count++
	m.line = e.append(m.line[:0])
	_, err := m.out.Write(m.line)
	return err
}

func (e *Entry) append(line []byte) []byte {
	line = strconv.AppendUint(line, uint64(e.Mode.Perm()), 8)
	for _, n := range []int64{e.Size, e.Modified.UnixNano(), int64(e.Pack), e.Offset} {
		line = strconv.AppendInt(append(line, ' '), n, 10)
	}
	line = hex.AppendEncode(append(line, ' '), e.Sum[:])
	line = strconv.AppendQuote(append(line, ' '), e.Path)
	return append(line, '\n')
}

// finish writes the last line.
func (m *manifestWriter) finish() error {
	if err := m.out.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(m.zip, "%s %d %x\n", lastWord, m.count, m.sum.Sum(nil))
	return errors.Join(err, m.zip.Close())
}

// manifestReader reads a manifest. It trusts nothing in it.
type manifestReader struct {
	packs []Pack
	in    *bufio.Reader
	sum   hash.Hash
	count int
	last  string
}

// errManifest means that a manifest is damaged.
var errManifest = errors.New("the list of its files is damaged")

func newManifestReader(r io.Reader, packs []Pack) (*manifestReader, error) {
	zip, err := gzip.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errManifest, err)
	}
	m := &manifestReader{packs: packs, in: bufio.NewReaderSize(zip, maxLine), sum: sha256.New()}
	line, err := m.line()
	if err != nil || string(line) != firstLine {
		return nil, errors.Join(errManifest, err)
	}
	m.sum.Write(line)
	return m, nil
}

func (m *manifestReader) line() ([]byte, error) {
	line, err := m.in.ReadSlice('\n')
	if err != nil {
		return nil, fmt.Errorf("%w after %d entries: %w", errManifest, m.count, noEOF(err))
	}
	return line, nil
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// next returns the next entry; the error io.EOF means that the manifest was whole.
func (m *manifestReader) next() (e Entry, err error) {
	line, err := m.line()
	if err != nil {
		return e, err
	}
	if bytes.HasPrefix(line, []byte(lastWord+" ")) {
		want := fmt.Sprintf("%s %d %x\n", lastWord, m.count, m.sum.Sum(nil))
		if string(line) != want {
			return e, fmt.Errorf("%w: its hash is wrong", errManifest)
		}
		if _, err := m.in.ReadByte(); err != io.EOF { // here gzip compares its checksum
			return e, errors.Join(fmt.Errorf("%w at its end", errManifest), err)
		}
		return e, io.EOF
	}
	m.sum.Write(line)
	if err = e.parse(line); err == nil {
		err = e.check(m.packs)
	}
	if err == nil && m.last != "" && compare(m.last, e.Path) >= 0 {
		err = fmt.Errorf("%q is not in its place", e.Path)
	}
	if err != nil {
		return Entry{}, fmt.Errorf("%w: entry %d: %w", errManifest, m.count+1, err)
	}
	m.count++
	m.last = e.Path
	return e, nil
}

var errLine = errors.New("a line that no release writes")

// parse is the inverse of append.
func (e *Entry) parse(line []byte) error {
	rest := strings.TrimSuffix(string(line), "\n")
	var fields [6]string
	for i := range fields {
		var ok bool
		if fields[i], rest, ok = strings.Cut(rest, " "); !ok {
			return errLine
		}
	}
	mode, err := strconv.ParseUint(fields[0], 8, 9)
	var n [4]int64
	for i := range n {
		var failed error
		n[i], failed = strconv.ParseInt(fields[i+1], 10, 64)
		err = errors.Join(err, failed)
	}
	sum, failed := hex.DecodeString(fields[5])
	name, unquoted := strconv.Unquote(rest)
	if errors.Join(err, failed, unquoted) != nil || len(sum) != sha256.Size || n[2] != int64(int(n[2])) {
		return errLine
	}
	*e = Entry{
		Path: name, Mode: fs.FileMode(mode), Size: n[0], Modified: time.Unix(0, n[1]),
		Pack: int(n[2]), Offset: n[3], Sum: [sha256.Size]byte(sum),
	}
	return nil
}

// check refuses a path that leads elsewhere, and a place outside the packs.
func (e *Entry) check(packs []Pack) error {
	name := strings.TrimSuffix(e.Path, "/")
	switch {
	case !durable.ValidName(name) || name == ".",
		!strings.HasPrefix(e.Path, DataPart) && !strings.HasPrefix(e.Path, ConfigPart):
		return fmt.Errorf("the path %.200q", e.Path)
	case e.Size < 0 || e.Size > maxFile || e.Offset < 0:
		return fmt.Errorf("%q: the size %d, the offset %d", e.Path, e.Size, e.Offset)
	case e.IsDir() || e.Size == 0:
		return nil
	case e.Pack < 0 || e.Pack >= len(packs) || e.Offset > packs[e.Pack].Size-e.Size:
		return fmt.Errorf("%q: pack %d, offset %d", e.Path, e.Pack, e.Offset)
	}
	return nil
}
