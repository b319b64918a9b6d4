package admin

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"pillarbox/mailstore"
	"pillarbox/mailstore/durable"
	"pillarbox/mailstore/mailtext"
)

// sourceMessage is a message to import.
type sourceMessage struct {
	name    string    // for messages
	id      string    // the ID that it keeps, or ""
	size    int64     // the size in its file name, or -1
	arrived time.Time // zero if unknown
	open    func() (f io.ReadCloser, size int64, err error)
	quoted  bool // as in an mbox
}

// mailSource is the source of an import. The caller must close it.
type mailSource struct {
	messages []sourceMessage // in the order of their arrival
	ignored  int             // number of files that are not messages
	special  int             // those of ignored that are not regular files
	io.Closer
}

// openSource lists the messages of a source. It guesses the format if none is given.
func openSource(source string, format MailFormat) (*mailSource, MailFormat, error) {
	found, err := guessSource(source)
	if err != nil {
		return nil, "", err
	}
	if format == FormatGuess {
		format = found
	}
	if (format == FormatMbox) != (found == FormatMbox) {
		return nil, "", Hint(fmt.Errorf("%s: not in the format %s", source, format), "without --format it is read as %s", found)
	}
	var s *mailSource
	switch format {
	case FormatMbox:
		s, err = openMbox(source)
	case FormatMaildir:
		s, err = openMailDirectory(source, "cur", "new")
	default:
		s, err = openMailDirectory(source)
	}
	if err != nil {
		return nil, "", err
	}
	if len(s.messages) == 0 {
		return nil, "", errors.Join(s.nothing(source, format, found), s.Close())
	}
	return s, format, nil
}

// nothing returns the error for a source without messages: the caller probably meant another one.
func (s *mailSource) nothing(source string, format, found MailFormat) error {
	err := fmt.Errorf("%s: no messages in the format %s", source, format)
	switch {
	case format != found:
		return Hint(err, "without --format it is read as %s", found)
	case format == FormatMbox:
		return Hint(err, "the file is empty")
	case format == FormatMaildir:
		return Hint(err, "its cur and new are empty; import each folder by itself")
	case s.ignored > 0:
		return Hint(err, "a message is a regular file whose name ends in .eml; other files there: %d", s.ignored)
	}
	return Hint(err, "the name of a message ends in .eml; import each folder below by itself")
}

// openMbox lists the messages of an mbox file.
func openMbox(source string) (*mailSource, error) {
	// With O_NONBLOCK the open does not wait for a writer if the file was replaced by a pipe.
	f, err := os.OpenFile(source, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return nil, errors.Join(cmp.Or(err, notPlain(source)), f.Close())
	}
	all, err := indexMbox(f)
	if err != nil {
		return nil, errors.Join(Hint(fmt.Errorf("%s: %w", source, err), "to import a single message, put it into a directory, under a name that ends in .eml"), f.Close())
	}
	fi, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	s := &mailSource{Closer: f}
	for i, m := range all {
		if m.arrived.IsZero() {
			// Take the time of the previous message: programs append to an mbox, so it is in the
			// order of arrival.
			if m.arrived = fi.ModTime(); i > 0 {
				m.arrived = s.messages[i-1].arrived
			}
		}
		s.messages = append(s.messages, sourceMessage{
			name: fmt.Sprintf("%s, message %d", source, i+1), id: m.id, size: -1, arrived: m.arrived, quoted: true,
			open: func() (io.ReadCloser, int64, error) {
				return io.NopCloser(io.NewSectionReader(f, m.start, m.end-m.start)), m.end - m.start, nil
			},
		})
	}
	return s, nil
}

// openMailDirectory lists the messages of a directory of .eml files, or, with subs, of a Maildir.
func openMailDirectory(source string, subs ...string) (*mailSource, error) {
	root, err := durable.Open(source)
	if err != nil {
		return nil, err
	}
	s := &mailSource{Closer: root}
	if len(subs) == 0 {
		err = s.list(root, ".", mailstore.IsMessageFile)
	}
	for _, sub := range subs {
		if err == nil {
			err = s.list(root, sub, func(name string) bool { return !strings.HasPrefix(name, ".") })
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", source, err), root.Close())
	}
	slices.SortStableFunc(s.messages, func(a, b sourceMessage) int {
		return cmp.Or(a.arrived.Compare(b.arrived), cmp.Compare(a.id, b.id), cmp.Compare(filepath.Base(a.name), filepath.Base(b.name)))
	})
	return s, nil
}

// list adds the messages of one directory.
func (s *mailSource) list(root *durable.Root, sub string, isMessage func(string) bool) error {
	entries, err := root.ReadDir(sub)
	if errors.Is(err, fs.ErrNotExist) && sub != "." {
		return nil // a Maildir may lack cur or new
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		if e.IsDir() && sub == "." && strings.HasSuffix(strings.ToLower(name), ".mbx") {
			return Hint(errors.New("contains mailboxes, not messages"), "import one at a time: name one of its directories, such as %s", name)
		}
		if !e.Type().IsRegular() || !isMessage(name) {
			if name != "account.json" && !strings.HasPrefix(name, ".") && !e.IsDir() {
				s.ignored++
				if !e.Type().IsRegular() {
					s.special++
				}
			}
			continue
		}
		path := name
		if sub != "." {
			path = sub + "/" + name
		}
		m, err := newSourceMessage(root, path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // moved or deleted since the listing
		}
		if err != nil {
			return err
		}
		s.messages = append(s.messages, m)
	}
	return nil
}

// newSourceMessage takes ID, size and time of arrival from the name of a message's file, or the
// time from the file itself.
func newSourceMessage(root *durable.Root, name string) (sourceMessage, error) {
	m := sourceMessage{name: filepath.Join(root.Name(), name), size: -1, open: func() (io.ReadCloser, int64, error) { return openPlain(root, name) }}
	base := filepath.Base(name)
	if id, size, ok := mailstore.ParseID(base); ok {
		m.id, m.size = id, size
	} else if parts := strings.SplitN(base, ".", 3); len(parts) == 3 && mailstore.IsID(parts[1]) {
		m.id = parts[1] // the name is from an export to a Maildir
	}
	if m.arrived = mailstore.IDTime(m.id); !m.arrived.IsZero() {
		return m, nil
	}
	fi, err := root.Lstat(name)
	if err != nil {
		return m, err
	}
	m.id, m.arrived = "", fi.ModTime()
	return m, nil
}

// openPlain opens a regular file. Any other kind of file is an error.
func openPlain(root *durable.Root, name string) (io.ReadCloser, int64, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, 0, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, fi.Size(), nil
}

// finisher is a writer that may hold back output until Finish.
type finisher interface {
	io.Writer
	Finish() error
}

// copyTo writes the message in the form of a mailbox, and returns its size. A file whose size is
// the one in its name was written by a Pillarbox server, and is copied unchanged. The lines of any
// other file are normalised; if its name has a size, the result must have that size.
func (m sourceMessage) copyTo(w io.Writer) (int64, error) {
	f, size, err := m.open()
	if err != nil {
		return 0, err
	}
	defer f.Close()
	count := &counter{w: w}
	buffered := bufio.NewWriterSize(count, 32<<10)
	if m.size >= 0 && m.size == size {
		_, err = io.Copy(buffered, f)
	} else {
		err = m.normalise(buffered, f)
	}
	if err == nil {
		err = buffered.Flush()
	}
	if err == nil && m.size >= 0 && count.n != m.size {
		err = Hint(fmt.Errorf("it has %d bytes, its name says %d: it was truncated or changed", count.n, m.size),
			"to import it as it is, rename it")
	}
	return count.n, err
}

func (m sourceMessage) normalise(w io.Writer, f io.Reader) error {
	lines := mailtext.NewWriter(w)
	chain := []finisher{lines}
	if m.quoted {
		chain = []finisher{&fromQuoter{w: lines, remove: true}, lines}
	}
	if _, err := io.Copy(chain[0], mailtext.WithoutSeparator(f)); err != nil {
		return err
	}
	for _, one := range chain {
		if err := one.Finish(); err != nil {
			return err
		}
	}
	return nil
}

// counter is a writer that counts the octets.
type counter struct {
	w io.Writer
	n int64
}

// Write implements io.Writer.
func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
