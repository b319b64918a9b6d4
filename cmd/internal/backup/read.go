package backup

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"pillarbox/mailstore/durable"
)

// openManifest opens a manifest; the caller calls closing.
func (r *Repo) openManifest(
	stored Stored, packs []Pack,
) (list *manifestReader, closing func(), err error) {
	f, err := r.FS.OpenFile(path.Join(manifestsDir, stored.Name), os.O_RDONLY, 0)
	if err != nil {
		return nil, nil, err
	}
	if list, err = newManifestReader(f, packs); err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return list, func() { f.Close() }, nil
}

// Entries calls each for every entry of a snapshot, in the order of the manifest. An error that
// comes after some entries means that the rest of the manifest cannot be read.
func (r *Repo) Entries(s *Snapshot, each func(Entry) error) error {
	list, closing, err := r.openManifest(s.Manifest, s.Packs)
	if err != nil {
		return fmt.Errorf("snapshot %s: %w", s.ID, err)
	}
	defer closing()
	for {
		e, err := list.next()
		if err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("snapshot %s: %w", s.ID, err)
		}
		if err := each(e); err != nil {
			return err
		}
	}
}

// mostOpen is the number of packs that are open at the same time.
const mostOpen = 8

// packReader reads the content of entries.
type packReader struct {
	repo  *Repo
	packs []Pack
	open  map[int]durable.File
	order []int // of open: the oldest first
	copyBuffer
}

func (r *Repo) newPackReader(s *Snapshot) *packReader {
	return &packReader{repo: r, packs: s.Packs, open: map[int]durable.File{}}
}

func (p *packReader) close() {
	for _, f := range p.open {
		f.Close()
	}
}

// pack opens a pack. The error is a *DamageError.
func (p *packReader) pack(i int) (durable.File, error) {
	if f, ok := p.open[i]; ok {
		return f, nil
	}
	if len(p.order) == mostOpen {
		p.open[p.order[0]].Close()
		delete(p.open, p.order[0])
		p.order = p.order[1:]
	}
	f, err := p.repo.FS.OpenFile(path.Join(packsDir, p.packs[i].Name), os.O_RDONLY, 0)
	if isGone(err) {
		err = errors.New("is missing")
	}
	if err != nil {
		return nil, &DamageError{Pack: p.packs[i].Name, Err: err}
	}
	p.open[i] = f
	p.order = append(p.order, i)
	return f, nil
}

// DamageError means that the content of a file cannot be read back.
type DamageError struct {
	Path string // of the entry; "": all of the pack is concerned
	Pack string
	Err  error
}

func (e *DamageError) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("the pack %s: %v", e.Pack, e.Err)
	}
	return fmt.Sprintf("%q in the pack %s: %v", e.Path, e.Pack, e.Err)
}

// Unwrap returns the reason.
func (e *DamageError) Unwrap() error { return e.Err }

var errSum = errors.New("its content is not the one that was stored")

// content writes the content of an entry. The error is a *DamageError, or that of w. What w got before
// a *DamageError must not be used.
func (p *packReader) content(w io.Writer, e *Entry) error {
	sum := sha256.Sum256(nil)
	if e.Size > 0 {
		f, err := p.pack(e.Pack)
		if err != nil {
			return err
		}
		if _, err := f.Seek(e.Offset, io.SeekStart); err != nil {
			return p.damaged(e, err)
		}
		n, read, err := p.copy(w, sourceReader{io.LimitReader(f, e.Size)})
		sum = read
		var unread *readError
		switch {
		case errors.As(err, &unread):
			return p.damaged(e, err)
		case err != nil:
			return err
		case n < e.Size:
			return p.damaged(e, errors.New("the pack is too short"))
		}
	}
	if sum != e.Sum {
		return p.damaged(e, errSum)
	}
	return nil
}

func (p *packReader) damaged(e *Entry, err error) error {
	d := &DamageError{Path: e.Path, Err: err}
	if e.Pack < len(p.packs) {
		d.Pack = p.packs[e.Pack].Name
	}
	return d
}

// Report is the result of Verify or Extract.
type Report struct {
	Files   int      `json:"files"` // that are whole
	Bytes   int64    `json:"bytes"`
	Damaged int      `json:"damaged"` // files that are not
	Damages []string `json:"damages"` // what is damaged, some of it if it is much
}

// add counts a file that cannot be read. It names a missing pack once.
func (r *Report) add(err error) {
	r.Damaged++
	text := err.Error()
	if n := len(r.Damages); n > 0 && r.Damages[n-1] == text || n > mostProblems {
		return
	} else if n == mostProblems {
		text = "and more"
	}
	r.Damages = append(r.Damages, text)
}

// Verify reads every file of a snapshot and compares it with its hash. The error is one of the
// description or the manifest; damaged files are in the Report.
func (r *Repo) Verify(ctx context.Context, s *Snapshot, progress func(Progress)) (Report, error) {
	return r.Extract(ctx, s, Wanted{
		Take: func(*Entry) bool { return true },
		To:   func(e *Entry, copy func(io.Writer) error) error { return copy(io.Discard) },
	}, progress)
}

// Wanted says what Extract reads.
type Wanted struct {
	// Take reports whether an entry is wanted. It is called for all, in order.
	Take func(*Entry) bool
	// Dir, if set, receives each directory that Take wants.
	Dir func(*Entry) error
	// To receives each wanted file: it calls copy with a writer and returns copy's error. What the
	// writer got is valid only if that is nil.
	To func(e *Entry, copy func(io.Writer) error) error
}

// Extract reads the wanted files of a snapshot. A file that is damaged does not stop it. Any other
// error of To does.
func (r *Repo) Extract(
	ctx context.Context, s *Snapshot, w Wanted, progress func(Progress),
) (report Report, err error) {
	packs := r.newPackReader(s)
	defer packs.close()
	err = r.Entries(s, func(e Entry) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		switch {
		case !w.Take(&e), e.IsDir() && w.Dir == nil:
			return nil
		case e.IsDir():
			return w.Dir(&e)
		}
		err := w.To(&e, func(to io.Writer) error { return packs.content(to, &e) })
		var damage *DamageError
		switch {
		case errors.As(err, &damage):
			report.add(damage)
		case err != nil:
			return err
		default:
			report.Files++
			report.Bytes += e.Size
		}
		if progress != nil {
			progress(Progress{Files: report.Files + report.Damaged, Bytes: report.Bytes})
		}
		return nil
	})
	return report, err
}
