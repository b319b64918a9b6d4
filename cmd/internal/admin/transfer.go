package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"pillarbox/mailstore"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/caught"
	"pillarbox/mailstore/directory"
	"pillarbox/quota"
)

// MailFormat is the format of mail outside the store.
type MailFormat string

// The values of MailFormat.
const (
	FormatGuess   MailFormat = ""        // guess from the target's name or from the source
	FormatEML     MailFormat = "eml"     // a directory with a file for each message, as in a mailbox
	FormatMbox    MailFormat = "mbox"    // one file, quoted as in mboxrd
	FormatMaildir MailFormat = "maildir" // a directory with cur, new and tmp
)

// ParseMailFormat parses the name of a format. Case is ignored.
func ParseMailFormat(text string) (MailFormat, error) {
	switch f := MailFormat(strings.ToLower(text)); f {
	case FormatGuess, FormatEML, FormatMbox, FormatMaildir:
		return f, nil
	}
	return "", Hint(fmt.Errorf("%q is not a format", text), "the formats are %s, %s and %s", FormatEML, FormatMbox, FormatMaildir)
}

// TransferOptions are the options of ImportMail and ExportMail. The zero value guesses the format.
type TransferOptions struct {
	Format MailFormat
	// BeyondQuota lets an import fill a mailbox beyond its limits.
	BeyondQuota bool
	// SourceOptions are for an import.
	SourceOptions
	// Progress, if set, is called after each message, by one goroutine at a time.
	Progress func(done, all int)
	// Failed, if set, is called for each message that could not be copied, by one goroutine at a
	// time. It is not called for messages that exceed the quota.
	Failed func(TransferFailure)
}

// TransferFailure is a message that could not be copied.
type TransferFailure struct {
	File  string `json:"file"`
	Error string `json:"error"`
}

// Transfer is the result of an import or export.
type Transfer struct {
	Mailbox    addr.Address      `json:"mailbox"`
	Place      string            `json:"place"` // the source of the import, or the target of the export
	Format     MailFormat        `json:"format"`
	Messages   int               `json:"messages"`    // number of messages copied
	Bytes      int64             `json:"bytes"`       // their size
	Already    int               `json:"already"`     // messages that the target already had
	Ignored    int               `json:"ignored"`     // files that are not messages
	Special    int               `json:"special"`     // those of Ignored that are not regular files: links, pipes
	PassedOver PassedOver        `json:"passed_over"` // of an import
	Failed     []TransferFailure `json:"failed"`
}

// TransferOrder is the input of MailboxExport and MailboxImport. These work on files of the
// caller, so 'pillarbox admin' does them itself, beside a running server too.
type TransferOrder struct {
	User, Place string
	Format      MailFormat
	BeyondQuota bool
	Deleted     bool // import the messages that their mail program had deleted, too
	Recursive   bool // import the folders below, too
}

func (o *Service) exportMail(ctx context.Context, in TransferOrder) (Transfer, error) {
	return o.ExportMail(ctx, in.User, in.Place, o.transferOptions(in))
}

func (o *Service) importMail(ctx context.Context, in TransferOrder) (Transfer, error) {
	return o.ImportMail(ctx, in.User, in.Place, o.transferOptions(in))
}

func (o *Service) transferOptions(in TransferOrder) TransferOptions {
	opts := TransferOptions{Format: in.Format, BeyondQuota: in.BeyondQuota, Progress: o.progress()}
	opts.SourceOptions = SourceOptions{Deleted: in.Deleted, Recursive: in.Recursive}
	if o.tell != nil {
		opts.Failed = func(f TransferFailure) { o.tell(Part{Failed: &f}) }
	}
	return opts
}

// copyWorkers is the number of messages that are copied at the same time. Each waits for its sync,
// and the store syncs many at once.
const copyWorkers = 16

// tally counts the results of the workers.
type tally struct {
	TransferOptions
	all      int
	name     func(i int) string // returns the name of message i
	log      *slog.Logger       // may be nil
	onePiece bool               // the target is one file, which appears when it is complete
	stop     context.CancelCauseFunc

	// mu guards the fields below.
	mu   sync.Mutex
	done int
	t    Transfer
	room shortage
}

// outcome is the result for one message.
type outcome struct {
	bytes   int64
	already bool
	gone    bool // deleted since the listing
	err     error
}

// add counts one message.
func (t *tally) add(file string, o outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.done++
	switch {
	case o.err != nil:
		t.failed(file, o)
	case o.gone:
	case o.already:
		t.t.Already++
	default:
		t.t.Messages++
		t.t.Bytes += o.bytes
	}
	if t.Progress != nil {
		t.Progress(t.done, t.all)
	}
}

// failed counts a message that could not be copied. It stops the transfer if the next message must
// fail too. That is not so with a full quota: the next message may be smaller.
func (t *tally) failed(file string, o outcome) {
	f := TransferFailure{File: file, Error: o.err.Error()}
	noRoom := errors.Is(o.err, mailstore.ErrOverQuota)
	if noRoom {
		f.Error = mailstore.ErrOverQuota.Error()
		t.room.add(o)
	}
	t.t.Failed = append(t.t.Failed, f)
	if t.Failed != nil && !noRoom {
		t.Failed(f)
	}
	if hopeless(o.err) {
		t.stop(o.err)
	}
}

// none resets the counts, because the incomplete target was removed.
func (t *tally) none() { t.done, t.t.Messages, t.t.Bytes, t.t.Failed = 0, 0, 0, nil }

// hopeless reports whether the next message must fail with the same error.
func hopeless(err error) bool {
	for _, class := range []error{
		mailstore.ErrNoMailbox, mailstore.ErrCrossDevice, syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS,
	} {
		if errors.Is(err, class) {
			return true
		}
	}
	return false
}

// contain calls do for message i. A panic counts as a failure of that message.
func (t *tally) contain(i int, do func() (file string, o outcome)) (file string, o outcome) {
	err := caught.Do(func() error { file, o = do(); return nil })
	if err != nil {
		file, o = t.name(i), outcome{err: err}
		caught.Log(t.log, err, "the copy of a message panicked; the other messages are still copied", "file", file)
	}
	return file, o
}

// each calls do for every message, with several workers, and counts the results. Messages start in
// their order. It ends early if ctx does.
func (t *tally) each(ctx context.Context, do func(i int) (file string, o outcome)) error {
	ctx, t.stop = context.WithCancelCause(ctx)
	defer t.stop(nil)
	var workers sync.WaitGroup
	next := make(chan int)
	for range min(copyWorkers, t.all) {
		workers.Go(func() {
			for i := range next {
				t.add(t.contain(i, func() (string, outcome) { return do(i) }))
			}
		})
	}
	for i := 0; i < t.all && ctx.Err() == nil; i++ {
		select {
		case next <- i:
		case <-ctx.Done():
		}
	}
	close(next)
	workers.Wait()
	return context.Cause(ctx)
}

// transferEnd returns the counts, and the error with its hint if a message was not copied.
func (t *tally) transferEnd(err error) (Transfer, error) {
	t.t.Failed, t.t.PassedOver.Folders = orEmpty(t.t.Failed), orEmpty(t.t.PassedOver.Folders)
	rest, failed := t.all-t.done+len(t.t.Failed), len(t.t.Failed)-t.room.messages
	again, retry := "the same command continues where this one ended", "the same command tries only these messages again"
	if t.onePiece {
		again = "no file was written: the same command starts from the beginning"
		retry = "the file holds all other messages; correct the cause, then export to another file"
	}
	switch {
	case errors.Is(err, context.Canceled):
		return t.t, Hint(fmt.Errorf("interrupted; %s not copied", messagesAre(rest)), "%s", again)
	case err != nil && t.done == 0:
		return Transfer{}, err
	case err != nil:
		return t.t, Hint(fmt.Errorf("stopped: %w; %s not copied", err, messagesAre(rest)), "correct the cause; then %s", again)
	case t.room.messages > 0 && failed > 0:
		return t.t, Hint(fmt.Errorf("%s: %s not copied; and %d for the reasons above", t.room.full(), messagesAre(t.room.messages), failed), "%s", t.room.hint())
	case t.room.messages > 0:
		return t.t, Hint(fmt.Errorf("%s: %s not copied", t.room.full(), messagesAre(t.room.messages)), "%s", t.room.hint())
	case failed > 0:
		return t.t, Hint(fmt.Errorf("%s not copied, for the reasons above", messagesAre(failed)), "%s", retry)
	}
	return t.t, nil
}

// shortage counts the messages that exceed the quota.
type shortage struct {
	messages int
	bytes    int64 // their size
	first    *quota.Error

	// size and number are the limits, in octets and in messages, that first's mailbox or domain
	// needs for the mail that it already holds; 0 if that limit refused no message.
	size   int64
	number int64
}

// add counts one message.
func (s *shortage) add(o outcome) {
	s.messages++
	s.bytes += o.bytes
	over, ok := errors.AsType[*quota.Error](o.err)
	if !ok {
		return
	}
	if s.first == nil {
		s.first = over
	}
	switch {
	case over.Dir != s.first.Dir:
	case over.Resource == quota.Messages:
		s.number = max(s.number, over.Limit, over.Used)
	default:
		s.size = max(s.size, over.Limit, over.Used)
	}
}

func (s *shortage) full() string {
	if s.first != nil && s.first.Domain {
		return "the domain is full"
	}
	return "the mailbox is full"
}

// hint returns the command that raises the quota so that all messages fit.
func (s *shortage) hint() string {
	const beyond = "--beyond-quota imports them in spite of the quota"
	if s.first == nil {
		return beyond
	}
	target := path.Base(s.first.Dir)
	if !s.first.Domain {
		a, _ := directory.AddressAt(s.first.Dir) // valid: the ledger has no other names
		target = a.String()
	}
	room := ""
	if s.size > 0 {
		room += sizeFlag(s.size + s.bytes)
	}
	if s.number > 0 {
		room += messagesFlag(s.number + int64(s.messages))
	}
	return fmt.Sprintf("'pillarbox admin quota set %s%s' makes room for them, then repeat the import; %s", target, room, beyond)
}

// sizeFlag returns the flag of 'quota set' for a limit just above this number of octets.
func sizeFlag(bytes int64) string { return fmt.Sprintf(" --size %dMB", bytes/1_000_000+1) }

func messagesFlag(n int64) string { return fmt.Sprintf(" --messages %d", n) }

func messagesAre(n int) string {
	if n == 1 {
		return "1 message was"
	}
	return fmt.Sprintf("%d messages were", n)
}

// guessSource returns the format of a source, from the type of the file or directory.
func guessSource(source string) (MailFormat, error) {
	fi, err := os.Stat(source)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", Hint(err, "name a directory with .eml files, an mbox file or a Maildir")
	case errors.Is(err, fs.ErrPermission):
		return "", Hint(err, "run the command as a user who may read it")
	case err != nil:
		return "", err
	case fi.Mode().IsRegular():
		return guessFile(source)
	case !fi.IsDir():
		return "", notPlain(source)
	}
	for _, name := range []string{"cur", "new"} {
		if fi, err := os.Lstat(filepath.Join(source, name)); err == nil && fi.IsDir() {
			return FormatMaildir, nil
		}
	}
	return FormatEML, nil
}

// guessFile returns the format of a regular file: one message if it begins with a header field.
func guessFile(source string) (MailFormat, error) {
	f := fileAt(source)
	head, err := f.begins()
	if err != nil {
		return "", err
	}
	if !anyField.Match(skipBlank(head)) || beginsMbox(head) {
		return FormatMbox, nil
	}
	if strings.EqualFold(filepath.Ext(source), ".eml") {
		return FormatEML, nil
	}
	file, _, err := f.open()
	if err != nil {
		return "", err
	}
	line, err := firstSeparator(file)
	if err = errors.Join(err, file.Close()); err == nil && line > 0 {
		return "", Hint(fmt.Errorf("%s: neither an mbox file nor one message: it begins with a header, and line %d begins a message of an mbox", source, line),
			"write a line such as 'From - Mon Jan  1 12:00:00 2024' above it, or import it as one message with --format eml")
	}
	return FormatEML, err
}

// skipBlank returns the beginning of a file without a byte order mark and blank lines.
func skipBlank(head []byte) []byte {
	return bytes.TrimLeft(bytes.TrimPrefix(head, utf8BOM), "\r\n")
}

// beginsMbox reports whether a file that begins with head begins like an mbox.
func beginsMbox(head []byte) bool {
	line := skipBlank(head)
	if end := bytes.IndexAny(line, "\r\n"); end >= 0 {
		line = line[:end]
	}
	return classify(line) != notFrom
}

// notPlain returns the error for a pipe, a device or a socket, which cannot be read twice.
func notPlain(source string) error {
	return Hint(fmt.Errorf("%s: neither a file nor a directory", source), "write the mail into a file first, and name that file")
}

// guessTarget returns the format of a target, from its name.
func guessTarget(target string) MailFormat {
	if strings.EqualFold(filepath.Ext(target), ".mbox") {
		return FormatMbox
	}
	return FormatEML
}
