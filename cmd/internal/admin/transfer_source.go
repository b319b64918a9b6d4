package admin

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"pillarbox/mailstore"
	"pillarbox/mailstore/mailtext"
)

// sourceMessage is a message to import.
type sourceMessage struct {
	name    string    // for messages
	id      string    // the ID that it keeps, or ""
	size    int64     // the size in its file name, or -1
	arrived time.Time // zero if unknown
	open    func() (f io.ReadCloser, size int64, err error)
	quoted  bool  // as in an mbox
	broken  error // why the message cannot be imported; nil if it can
}

// mailSource is the source of an import.
type mailSource struct {
	messages []sourceMessage // in the order of their arrival
	ignored  int             // number of files that are not messages
	special  int             // those of ignored that are not regular files
	left     PassedOver
	closers  []io.Closer
}

// Close closes what the messages are read from.
func (s *mailSource) Close() error {
	var errs []error
	for _, c := range s.closers {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// PassedOver counts what an import found and did not take.
type PassedOver struct {
	Deleted  int      `json:"deleted"`  // messages that their mail program had deleted
	Internal int      `json:"internal"` // data of a folder in the form of a message
	Empty    int      `json:"empty"`    // messages without any text
	Folders  []string `json:"folders"`  // folders below the source, if it was not searched for them
}

// Messages returns the number of messages that were left out.
func (l PassedOver) Messages() int { return l.Deleted + l.Internal + l.Empty }

// SourceOptions are what an import takes of a source.
type SourceOptions struct {
	Deleted   bool // the messages that their mail program had deleted, too
	Recursive bool // the folders below the source, too
}

// openSource lists the messages of a source. It guesses the format if none is given.
func openSource(source string, format MailFormat, opts SourceOptions) (*mailSource, MailFormat, error) {
	found, err := guessSource(source)
	if err != nil {
		return nil, "", err
	}
	isFile, err := isRegular(source)
	if err != nil {
		return nil, "", err
	}
	if format == FormatGuess {
		format = found
	}
	if isFile && format == FormatMaildir || !isFile && format == FormatMbox {
		return nil, "", Hint(fmt.Errorf("%s: not in the format %s", source, format), "without --format it is read as %s", found)
	}
	s := &mailSource{}
	if isFile {
		err = s.readFile(source, format, opts)
	} else {
		err = s.readDirectory(source, format, opts)
	}
	if err != nil {
		return nil, "", errors.Join(err, s.Close())
	}
	if len(s.messages)+s.left.Messages() == 0 {
		return nil, "", errors.Join(s.nothing(source, format, found), s.Close())
	}
	return s, format, nil
}

func isRegular(source string) (bool, error) {
	fi, err := os.Stat(source)
	return err == nil && fi.Mode().IsRegular(), err
}

// nothing returns the error for a source without messages: the caller probably meant another one.
func (s *mailSource) nothing(source string, format, found MailFormat) error {
	err := fmt.Errorf("%s: no messages in the format %s", source, format)
	folders := s.left.Folders
	switch {
	case format != found:
		return Hint(err, "without --format it is read as %s", found)
	case len(folders) > 0:
		return Hint(err, "%s: %s; name one of them, or import all with --recursive", foldersBelow(len(folders)), firstOf(folders))
	case format == FormatMaildir:
		return Hint(err, "its cur and new are empty")
	case s.ignored > 0:
		return Hint(err, "a message is a regular file whose name ends in .eml; other files there: %d", s.ignored)
	}
	return Hint(err, "the name of a message ends in .eml")
}

func foldersBelow(n int) string {
	if n == 1 {
		return "1 folder below holds mail"
	}
	return fmt.Sprintf("%d folders below hold mail", n)
}

// firstOf returns a list of names, cut short.
func firstOf(names []string) string {
	const most = 5
	text := strings.Join(names[:min(most, len(names))], ", ")
	if len(names) > most {
		text += ", …"
	}
	return text
}

// plainFile is an open regular file.
type plainFile interface {
	io.ReadSeekCloser
	Stat() (fs.FileInfo, error)
}

// sourceFile is a file that may hold mail.
type sourceFile struct {
	name string // for messages
	open func() (plainFile, fs.FileInfo, error)
}

// fileAt returns the file that a path names. Links are followed.
func fileAt(path string) sourceFile {
	return sourceFile{path, func() (plainFile, fs.FileInfo, error) {
		// With O_NONBLOCK the open does not wait for a writer if the file was replaced by a pipe.
		f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			return nil, nil, err
		}
		return statPlain(f)
	}}
}

// statPlain returns an open file that is regular. Any other kind of file is an error.
func statPlain(f plainFile) (plainFile, fs.FileInfo, error) {
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, fi, nil
}

// section opens a part of the file. It fails if the file has been replaced or cut since it was
// indexed as was.
func (f sourceFile) section(was fs.FileInfo, start, end int64) (io.ReadCloser, int64, error) {
	file, fi, err := f.open()
	if err != nil {
		return nil, 0, err
	}
	if !os.SameFile(was, fi) || fi.Size() < end {
		err = Hint(errors.New("the file has changed since the import began"), "stop the program that writes it, then repeat the command")
	} else {
		_, err = file.Seek(start, io.SeekStart)
	}
	if err != nil {
		return nil, 0, errors.Join(err, file.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(file, end-start), file}, end - start, nil
}

// begins returns the first octets of the file.
func (f sourceFile) begins() ([]byte, error) {
	file, _, err := f.open()
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return readStart(file)
}

func readStart(r io.Reader) ([]byte, error) {
	head := make([]byte, mailtext.SignatureSize)
	n, err := io.ReadFull(r, head)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return head[:n], err
}

// readFile lists the messages of an mbox file, and of the folders below it as Thunderbird keeps them,
// or the one message of a file.
func (s *mailSource) readFile(source string, format MailFormat, opts SourceOptions) error {
	f := fileAt(source)
	head, err := f.begins()
	if err == nil && len(bytes.TrimLeft(head, "\r\n")) == 0 && len(head) < mailtext.SignatureSize {
		return Hint(fmt.Errorf("%s: no messages in the format %s", source, format), "the file is empty")
	}
	if err = cmp.Or(err, recognize(head)); err != nil {
		return fmt.Errorf("%s: %w", source, err)
	}
	if format == FormatEML {
		return s.addFile(f, filepath.Base(source), mailFolder{opts: opts})
	}
	if err := s.addMbox(f, mailFolder{opts: opts}); err != nil {
		return Hint(err, "--format eml imports the file as a single message")
	}
	below := source + ".sbd"
	if fi, err := os.Stat(below); err != nil || !fi.IsDir() {
		return nil
	} else if !opts.Recursive {
		s.left.Folders = append(s.left.Folders, filepath.Base(below))
		return nil
	}
	return s.readDirectory(below, FormatGuess, opts)
}

// addMbox lists the messages of an mbox file.
func (s *mailSource) addMbox(f sourceFile, in mailFolder) error {
	file, fi, err := f.open()
	if err != nil {
		return err
	}
	all, err := indexMbox(file)
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("%s: %w", f.name, err)
	}
	last := fi.ModTime()
	for i, m := range all {
		// Without any date, take the time of the previous message: programs append to an mbox, so
		// it is in the order of arrival.
		last = firstTime(m.arrived, m.head.arrived, last)
		facts := m.head
		facts.expunged = facts.expunged || facts.flagged
		if m.id == "" && s.leaveOut(facts, m.blank, in) {
			continue
		}
		s.messages = append(s.messages, sourceMessage{
			name: fmt.Sprintf("%s, message %d", f.name, i+1), id: m.id, size: -1, arrived: last, quoted: !m.verbatim,
			open: func() (io.ReadCloser, int64, error) { return f.section(fi, m.start, m.end) },
		})
	}
	return nil
}

// firstTime returns the first time that is not zero.
func firstTime(all ...time.Time) time.Time {
	for _, t := range all {
		if !t.IsZero() {
			return t
		}
	}
	return time.Time{}
}

// mailFolder is the folder that messages are in.
type mailFolder struct {
	opts    SourceOptions
	trash   bool // the folder for deleted messages
	maildir bool
}

// leaveOut reports whether a message is not to be imported, and counts it then.
func (s *mailSource) leaveOut(facts headFacts, blank bool, in mailFolder) bool {
	switch {
	case blank:
		s.left.Empty++
	case facts.internal:
		s.left.Internal++
	case !in.opts.Deleted && (in.trash || facts.expunged):
		s.left.Deleted++
	default:
		return false
	}
	return true
}

// addFile adds the one message of a file. base is the file's name.
func (s *mailSource) addFile(f sourceFile, base string, in mailFolder) error {
	m := sourceMessage{name: f.name, size: -1, open: func() (io.ReadCloser, int64, error) {
		file, fi, err := f.open()
		if err != nil {
			return nil, 0, err
		}
		return file, fi.Size(), nil
	}}
	m.id, m.size = ownID(base)
	if m.arrived = mailstore.IDTime(m.id); !m.arrived.IsZero() {
		s.messages = append(s.messages, m)
		return nil
	}
	m.id = ""
	facts, times, blank, err := f.facts()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // moved or deleted since the listing
	}
	m.broken = err // copyTo returns it: the other messages are imported
	if in.maildir {
		var named time.Time
		named, facts.expunged = parseMaildirName(base)
		m.arrived = firstTime(named, times.changed)
	} else {
		m.arrived = firstTime(times.separator, facts.arrived, times.changed)
	}
	if err != nil || !s.leaveOut(facts, blank, in) {
		s.messages = append(s.messages, m)
	}
	return nil
}

// ownID returns the ID and the size that a file name of this server has, or "" and -1.
func ownID(base string) (id string, size int64) {
	if id, size, ok := mailstore.ParseID(base); ok {
		return id, size
	}
	if parts := strings.SplitN(base, ".", 3); len(parts) == 3 && mailstore.IsID(parts[1]) {
		return parts[1], -1 // the name is from an export to a Maildir
	}
	return "", -1
}

// fileTimes are the times that a file with a message states outside the message.
type fileTimes struct{ separator, changed time.Time }

// facts reads the header of the file's message.
func (f sourceFile) facts() (facts headFacts, times fileTimes, blank bool, err error) {
	file, fi, err := f.open()
	if err != nil {
		return facts, times, false, err
	}
	defer file.Close()
	times.changed = fi.ModTime()
	head, err := readStart(file)
	if err = cmp.Or(err, recognize(head)); err != nil {
		return facts, times, false, err
	}
	facts, from, blank, err := readHead(io.MultiReader(bytes.NewReader(head), file))
	times.separator = from.arrived
	return facts, times, blank, err
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
	if m.broken != nil {
		return 0, m.broken
	}
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
	chain := []finisher{mailtext.NewWriter(w)}
	if m.quoted {
		quotes := &fromQuoter{w: w, remove: true}
		chain = []finisher{mailtext.NewWriter(quotes), quotes}
	}
	in := bufio.NewReaderSize(f, mailtext.SignatureSize)
	if start, _ := in.Peek(len(utf8BOM)); bytes.Equal(start, utf8BOM) {
		_, _ = in.Discard(len(utf8BOM)) // is buffered
	}
	if _, err := io.Copy(chain[0], mailtext.WithoutSeparator(in)); err != nil {
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
