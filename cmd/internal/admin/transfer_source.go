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
)

// sourceMessage is a message that is to be imported.
type sourceMessage struct {
	name    string    // for people
	id      string    // that it is to keep, or ""
	size    int64     // that its name tells, or -1
	arrived time.Time // zero where nobody knows
	open    func() (f io.ReadCloser, size int64, err error)
	quoted  bool // as in an mbox
}

// mailSource is where messages come from. Close it.
type mailSource struct {
	messages []sourceMessage // in the order of their arrival
	ignored  int             // files that are no messages
	special  int             // of these, no plain files
	io.Closer
}

// openSource finds the messages in a source.
func openSource(source string, format MailFormat) (*mailSource, MailFormat, error) {
	found, err := guessSource(source)
	if err != nil {
		return nil, "", err
	}
	if format == FormatGuess {
		format = found
	}
	if (format == FormatMbox) != (found == FormatMbox) {
		return nil, "", Hint(fmt.Errorf("%s: not of the format %s", source, format), "without --format it is read as %s", found)
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

// nothing says that a source holds no messages, which it hardly was named for.
func (s *mailSource) nothing(source string, format, found MailFormat) error {
	err := fmt.Errorf("%s: it holds no messages of the format %s", source, format)
	switch {
	case format != found:
		return Hint(err, "without --format it is read as %s", found)
	case format == FormatMbox:
		return Hint(err, "the file is empty")
	case format == FormatMaildir:
		return Hint(err, "its cur and new are empty; folders are imported one at a time")
	case s.ignored > 0:
		return Hint(err, "a message's name ends in .eml, and it is a plain file; what is there beside: %d", s.ignored)
	}
	return Hint(err, "a message's name ends in .eml; mail of folders below is imported one at a time")
}

// openMbox finds the messages in an mbox file.
func openMbox(source string) (*mailSource, error) {
	// Should a pipe have taken its place by now, do not wait for a writer.
	f, err := os.OpenFile(source, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return nil, errors.Join(cmp.Or(err, notPlain(source)), f.Close())
	}
	all, err := indexMbox(f)
	if err != nil {
		return nil, errors.Join(Hint(fmt.Errorf("%s: %w", source, err), "a single message is imported from a directory, under a name that ends in .eml"), f.Close())
	}
	fi, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	s := &mailSource{Closer: f}
	for i, m := range all {
		if m.arrived.IsZero() {
			// As late as the one before: in a file that was appended to, the order is that of arrival.
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

// openMailDirectory finds the messages in a directory of .eml files, or, if subs are given, those of a Maildir.
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
		return nil // a Maildir may lack one
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		if e.IsDir() && sub == "." && strings.HasSuffix(strings.ToLower(name), ".mbx") {
			return Hint(errors.New("it holds mailboxes, not messages"), "import one at a time: name one of the directories in it, such as %s", name)
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

// newSourceMessage understands the name of a message's file.
func newSourceMessage(root *durable.Root, name string) (sourceMessage, error) {
	m := sourceMessage{name: filepath.Join(root.Name(), name), size: -1, open: func() (io.ReadCloser, int64, error) { return openPlain(root, name) }}
	base := filepath.Base(name)
	if id, size, ok := mailstore.ParseID(base); ok {
		m.id, m.size = id, size
	} else if parts := strings.SplitN(base, ".", 3); len(parts) == 3 && mailstore.IsID(parts[1]) {
		m.id = parts[1] // as we name them in a Maildir
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

// openPlain opens a regular file, and nothing else.
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

// finisher is a writer that may hold the end of what it was given.
type finisher interface {
	io.Writer
	Finish() error
}

// copyTo writes the message as a mailbox keeps it, and returns its size. A file that has the size that its name tells
// is one that a server of ours wrote, and is taken as it is. From all others the mailbox gets whole lines; if
// their name tells a size, it must be that of these.
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
		err = Hint(fmt.Errorf("it has %d bytes, its name says %d: it was cut short or changed", count.n, m.size),
			"to import it as it is, give it another name")
	}
	return count.n, err
}

func (m sourceMessage) normalise(w io.Writer, f io.Reader) error {
	lines := mailstore.NewNormaliser(w)
	chain := []finisher{lines}
	if m.quoted {
		chain = []finisher{&fromQuoter{w: lines, remove: true}, lines}
	}
	if _, err := io.Copy(chain[0], f); err != nil {
		return err
	}
	for _, one := range chain {
		if err := one.Finish(); err != nil {
			return err
		}
	}
	return nil
}

// counter counts what passes.
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
