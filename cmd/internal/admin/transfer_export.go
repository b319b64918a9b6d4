package admin

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"pillarbox/mailstore"
	"pillarbox/mailstore/caught"
	"pillarbox/mailstore/durable"
)

// ExportMail copies the messages of a mailbox to a target, byte for byte as POP3 sends them. The
// server may run meanwhile. The mailbox does not change.
//
// ExportMail overwrites no file. An existing file with the same content counts as exported already;
// one with other content is an error. Only the user that runs the command can read the new files.
// They are durable when ExportMail returns. It reports failures like ImportMail.
func (o *Service) ExportMail(ctx context.Context, user, target string, opts TransferOptions) (Transfer, error) {
	if err := o.RequireTarget(user, true); err != nil { // reading mail takes more than the right to look
		return Transfer{}, err
	}
	box, err := o.mailbox(user)
	if err != nil {
		return Transfer{}, err
	}
	if opts.Format == FormatGuess {
		opts.Format = guessTarget(target)
	}
	if err := o.outside(target); err != nil {
		return Transfer{}, err
	}
	held, err := o.Store.Snapshot(box.Dir)
	if err != nil {
		return Transfer{}, err
	}
	t := &tally{TransferOptions: opts, all: len(held.Messages()), onePiece: opts.Format == FormatMbox, name: held.File, log: o.log}
	t.t = Transfer{Mailbox: box.Address, Place: target, Format: opts.Format}
	if opts.Format == FormatMbox {
		err = exportMbox(ctx, t, held, target)
	} else {
		err = exportFiles(ctx, t, held, target)
	}
	done, err := t.transferEnd(err)
	o.recordTransfer("exported", done)
	return done, err
}

// outside refuses a target in the data directory, where an exported file would become mail.
func (o *Service) outside(target string) error {
	data, err := realPath(o.Root.Name())
	if err != nil {
		return err
	}
	place, err := realPath(target)
	if err != nil {
		return err
	}
	if rel, err := filepath.Rel(data, place); err == nil && filepath.IsLocal(rel) {
		return Hint(fmt.Errorf("%s is in the data directory", target), "choose a target outside %s; 'pillarbox admin mailbox import' copies into a mailbox", o.Root.Name())
	}
	return nil
}

// realPath returns the absolute path of a file, without symbolic links. The file, and directories
// above it, may be missing.
func realPath(name string) (string, error) {
	name, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	for rest, dir := "", name; ; {
		real, err := filepath.EvalSymlinks(dir)
		if err == nil {
			return filepath.Join(real, rest), nil
		}
		if !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			return "", err
		}
		dir, rest = filepath.Dir(dir), filepath.Join(filepath.Base(dir), rest)
	}
}

// exportFiles writes a directory of .eml files, or a Maildir.
func exportFiles(ctx context.Context, t *tally, held *mailstore.Snapshot, target string) error {
	root, err := openTarget(target)
	if err != nil {
		return err
	}
	defer root.Close()
	out := exporter{held: held, root: root, dir: ".", temp: "."}
	if t.t.Format == FormatMaildir {
		out.dir, out.temp, out.maildir = "new", "tmp", true
		for _, dir := range []string{"cur", "new", "tmp"} {
			if err := root.MkdirAll(dir, 0o700); err != nil {
				return err
			}
		}
	}
	err = t.each(ctx, out.one)
	return errors.Join(err, root.SyncDir(out.dir))
}

// openTarget opens a directory. If it is missing, openTarget creates it durably.
func openTarget(target string) (*durable.Root, error) {
	parent, err := durable.Open(filepath.Dir(filepath.Clean(target)))
	if err != nil {
		return nil, Hint(err, "create the directory for it first")
	}
	defer parent.Close()
	if _, err := os.Stat(target); errors.Is(err, fs.ErrNotExist) {
		if err := parent.MkdirAll(filepath.Base(filepath.Clean(target)), 0o700); err != nil {
			return nil, err
		}
	}
	root, err := durable.Open(target)
	if err != nil {
		return nil, Hint(err, "name a directory, or a file that ends in .mbox")
	}
	return root, nil
}

// exporter writes one file for each message. It is safe for concurrent use.
type exporter struct {
	held      *mailstore.Snapshot
	root      *durable.Root
	dir, temp string // below root: for complete files, and for incomplete ones
	maildir   bool
}

func (e *exporter) one(i int) (string, outcome) {
	name := path.Join(e.dir, e.fileName(i))
	file := filepath.Join(e.root.Name(), name)
	var o outcome
	if e.maildir && e.moved(path.Base(name)) {
		return file, outcome{already: true}
	}
	_, err := e.root.Lstat(name)
	switch {
	case err == nil:
		o.err = e.compare(i, name)
		o.already = o.err == nil
	case errors.Is(err, fs.ErrNotExist):
		o.bytes, o.err = e.write(i, name)
	default:
		o.err = err
	}
	if errors.Is(o.err, mailstore.ErrGone) {
		return file, outcome{gone: true}
	}
	return file, o
}

// fileName returns the name of the file of message i. In a plain directory it is the name of the
// file in the mailbox, so that an administrator can copy the file into another mailbox. In a
// Maildir it has the form "seconds.unique.host", with the message's ID in the middle.
func (e *exporter) fileName(i int) string {
	if !e.maildir {
		return e.held.File(i)
	}
	uid := e.held.Messages()[i].UID
	if !mailstore.IsID(uid) {
		sum := sha256.Sum256([]byte(uid))
		uid = "H" + hex.EncodeToString(sum[:12])
	}
	return fmt.Sprintf("%d.%s.pillarbox", e.held.Arrived(i).Unix(), uid)
}

// moved reports whether the message with this name is in cur, where mail programs move the messages
// that they have seen.
func (e *exporter) moved(name string) bool {
	for _, flags := range []string{"", ":2,", ":2,S"} {
		if _, err := e.root.Lstat("cur/" + name + flags); err == nil {
			return true
		}
	}
	return false
}

// compare returns an error if the existing file differs from message i.
func (e *exporter) compare(i int, name string) error {
	f, _, err := openPlain(e.root, name)
	if err != nil {
		return err
	}
	defer f.Close()
	c, err := e.held.Open(i)
	if err != nil {
		return err
	}
	defer c.Close()
	compare := mailstore.NewComparer(f)
	_, err = io.Copy(compare, c)
	if err == nil {
		err = compare.Finish()
	}
	if errors.Is(err, mailstore.ErrDiffers) {
		return errors.New("another file with this name exists and was not changed")
	}
	return err
}

// write writes the file of message i. The file appears only when it is complete and synced.
func (e *exporter) write(i int, name string) (int64, error) {
	f, err := newFresh(e.root, e.temp)
	if err != nil {
		return 0, err
	}
	defer f.discard()
	size, err := copyMessage(f, e.held, i)
	if err != nil {
		return 0, err
	}
	return size, f.publish(name)
}

// copyMessage writes message i as POP3 sends it.
func copyMessage(w io.Writer, held *mailstore.Snapshot, i int) (int64, error) {
	c, err := held.Open(i)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	size := held.Messages()[i].Size
	return size, c.CopyTo(w, size)
}

// exportMbox writes one file, which appears only when it is complete.
func exportMbox(ctx context.Context, t *tally, held *mailstore.Snapshot, target string) error {
	root, err := durable.Open(filepath.Dir(filepath.Clean(target)))
	if err != nil {
		return Hint(err, "create the directory for it first")
	}
	defer root.Close()
	name := filepath.Base(filepath.Clean(target))
	if _, err := root.Lstat(name); err == nil {
		return Hint(fmt.Errorf("%s: %w", target, fs.ErrExist), "an export overwrites no file; choose another name")
	}
	f, err := newFresh(root, ".")
	if err != nil {
		return err
	}
	defer f.discard()
	ctx, t.stop = context.WithCancelCause(ctx)
	defer t.stop(nil)
	for i, end := 0, int64(0); i < t.all && ctx.Err() == nil; i++ {
		file, o := t.contain(i, func() (file string, o outcome) {
			end, o.bytes, o.err = appendMbox(f, end, held, i)
			return held.File(i), o
		})
		switch {
		case errors.Is(o.err, mailstore.ErrGone):
			o = outcome{gone: true}
		case caught.Is(o.err):
			o.err = errors.Join(o.err, f.truncate(end))
		}
		t.add(file, o)
	}
	if err := context.Cause(ctx); err != nil {
		t.none() // the incomplete file is removed
		return err
	}
	if err := f.publish(name); err != nil {
		t.none()
		return err
	}
	return root.SyncDir(".")
}

// appendMbox appends message i to the file. After an error the file ends at end again.
func appendMbox(f *fresh, end int64, held *mailstore.Snapshot, i int) (newEnd, size int64, err error) {
	count := &counter{w: f}
	w := bufio.NewWriterSize(count, 32<<10)
	tail := &lastByte{w: w}
	quote := &fromQuoter{w: tail}
	_, err = w.WriteString(formatFromLine(held.Messages()[i].UID, held.Arrived(i)))
	if err == nil {
		size, err = copyMessage(quote, held, i)
	}
	if err == nil {
		err = quote.Finish()
	}
	if err == nil && tail.last != '\n' && size > 0 {
		_, err = w.WriteString("\r\n")
	}
	if err == nil {
		_, err = w.WriteString("\r\n")
	}
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		return end + count.n, size, nil
	}
	return end, 0, errors.Join(err, f.truncate(end))
}

// lastByte is a writer that remembers the last byte.
type lastByte struct {
	w    io.Writer
	last byte
}

// Write implements io.Writer.
func (l *lastByte) Write(p []byte) (int, error) {
	if len(p) > 0 {
		l.last = p[len(p)-1]
	}
	return l.w.Write(p)
}

// fresh is a new file that gets its name when it is complete.
type fresh struct {
	durable.File
	root *durable.Root
	temp string // the temporary name; "" if the file system supports files without a name
}

func newFresh(root *durable.Root, dir string) (*fresh, error) {
	f, err := root.Unnamed(dir, 0o600)
	if !errors.Is(err, errors.ErrUnsupported) {
		return &fresh{File: f, root: root}, err
	}
	temp := path.Join(dir, ".export."+rand.Text()+".tmp")
	f, err = root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	return &fresh{File: f, root: root, temp: temp}, err
}

// truncate cuts the file at end; the next write continues there.
func (f *fresh) truncate(end int64) error {
	file, ok := f.File.(*os.File)
	if !ok {
		return errors.ErrUnsupported
	}
	_, err := file.Seek(end, io.SeekStart)
	return errors.Join(file.Truncate(end), err)
}

// publish syncs the content and gives the file its name. The caller must sync the directory, which
// makes the name durable.
func (f *fresh) publish(name string) error {
	if err := f.Sync(); err != nil {
		return err
	}
	if f.temp == "" {
		return f.root.LinkFile(f.File, name)
	}
	return f.root.Link(f.temp, name)
}

// discard closes the file and removes its temporary name. A file that was not published is gone.
func (f *fresh) discard() {
	_ = f.Close()
	if f.temp != "" {
		_ = f.root.Remove(f.temp)
	}
}
