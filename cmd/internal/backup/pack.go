package backup

import (
	"archive/tar"
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path"

	"pillarbox/mailstore/durable"
)

// defaultPackSize is the size at which a pack ends. It is also what a damaged pack can cost, and
// what is stored again when most of a pack is no longer needed.
const defaultPackSize = 256 << 20

// storedFile writes a file of the directory. Its hash is that of what is on the disk.
type storedFile struct {
	file durable.File
	out  *bufio.Writer // to file and sum
	sum  hash.Hash
	size int64 // octets that were written to out
	Stored
}

func (r *Repo) create(dir, name string) (*storedFile, error) {
	f, err := r.FS.OpenFile(path.Join(dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, filePerm)
	if err != nil {
		return nil, err
	}
	s := &storedFile{file: f, sum: sha256.New(), Stored: Stored{Name: name}}
	s.out = bufio.NewWriterSize(io.MultiWriter(f, s.sum), 1<<20)
	return s, nil
}

// Write implements io.Writer.
func (s *storedFile) Write(p []byte) (int, error) {
	n, err := s.out.Write(p)
	s.size += int64(n)
	return n, err
}

// finish syncs the content. The name becomes durable with its directory.
func (s *storedFile) finish() error {
	err := s.out.Flush()
	if err == nil {
		err = s.file.Sync()
	}
	s.Size, s.Sum = s.size, hex.EncodeToString(s.sum.Sum(nil))
	return errors.Join(err, s.file.Close())
}

// packWriter writes a pack: a tar archive.
type packWriter struct {
	*storedFile
	tar *tar.Writer
	copyBuffer
}

// copyBuffer saves a buffer for each file.
type copyBuffer struct{ buf []byte }

// copy is io.Copy that also returns the hash of what was copied.
func (b *copyBuffer) copy(w io.Writer, r io.Reader) (n int64, sum [sha256.Size]byte, err error) {
	if b.buf == nil {
		b.buf = make([]byte, 64<<10)
	}
	hash := sha256.New()
	n, err = io.CopyBuffer(io.MultiWriter(w, hash), r, b.buf)
	return n, [sha256.Size]byte(hash.Sum(nil)), err
}

func (r *Repo) createPack(name string) (*packWriter, error) {
	s, err := r.create(packsDir, name)
	if err != nil {
		return nil, err
	}
	return &packWriter{storedFile: s, tar: tar.NewWriter(s)}, nil
}

// errShort means that a file was cut short while it was copied.
var errShort = errors.New("was cut short while it was read")

// add appends a file of e.Size octets. It sets the entry's Offset and Sum. After errShort the pack
// is whole, but the content is filled with zeros.
func (p *packWriter) add(e *Entry, content io.Reader) error {
	if err := writeTar(p.tar, e); err != nil {
		return err
	}
	e.Offset = p.size
	n, sum, err := p.copy(p.tar, io.LimitReader(content, e.Size))
	var unread *readError
	if err != nil && !errors.As(err, &unread) {
		return err // of the pack
	}
	e.Sum = sum
	if n == e.Size && err == nil {
		return nil
	}
	_, failed := io.CopyN(p.tar, zeros{}, e.Size-n)
	if failed != nil {
		return failed
	}
	if err == nil {
		err = &readError{errShort}
	}
	return err
}

// footprint is what a file of this size takes in a pack: a header, and whole blocks.
func footprint(size int64) int64 {
	const block = 512
	return block + (size+block-1)/block*block
}

// writeTar writes the header of a file.
func writeTar(w *tar.Writer, e *Entry) error {
	h := &tar.Header{
		Typeflag: tar.TypeReg, Name: e.Path, Size: e.Size, Mode: int64(e.Mode.Perm()),
		ModTime: e.Modified,
	}
	if err := w.WriteHeader(h); err != nil {
		// A name that tar cannot hold. The manifest has the true one.
		h.Name = fmt.Sprintf("%sunnamed/%x", DataPart, sha256.Sum256([]byte(e.Path)))
		return w.WriteHeader(h)
	}
	return nil
}

// readError is an error of the source, not of the backup.
type readError struct{ error }

func (e *readError) Unwrap() error { return e.error }

// sourceReader marks the errors of a source.
type sourceReader struct{ r io.Reader }

// Read implements io.Reader.
func (s sourceReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		err = &readError{err}
	}
	return n, err
}

type zeros struct{}

// Read implements io.Reader.
func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// finish ends the archive and syncs it.
func (p *packWriter) finish() error {
	err := p.tar.Close()
	return errors.Join(err, p.storedFile.finish())
}
