package admin

import (
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

// MailFormat is how a copy of mail outside a mailbox is kept.
type MailFormat string

// The values of MailFormat.
const (
	FormatGuess   MailFormat = ""        // by the name, or by what is there
	FormatEML     MailFormat = "eml"     // a directory with a file for each message, as in a mailbox
	FormatMbox    MailFormat = "mbox"    // one file, quoted in the way of mboxrd
	FormatMaildir MailFormat = "maildir" // a directory with cur, new and tmp
)

// ParseMailFormat reads what a person typed.
func ParseMailFormat(text string) (MailFormat, error) {
	switch f := MailFormat(strings.ToLower(text)); f {
	case FormatGuess, FormatEML, FormatMbox, FormatMaildir:
		return f, nil
	}
	return "", Hint(fmt.Errorf("%q is not a format", text), "the formats are %s, %s and %s", FormatEML, FormatMbox, FormatMaildir)
}

// TransferOptions say how mail is copied. The zero value is good.
type TransferOptions struct {
	Format MailFormat
	// BeyondQuota lets an import fill a mailbox beyond its limits.
	BeyondQuota bool
	// Progress is told, by one goroutine at a time, how many messages of all are done; nil for nobody.
	Progress func(done, all int)
	// Failed is told of each message that could not be copied, in the same way, but not of those that find no room.
	Failed func(TransferFailure)
}

// TransferFailure is a message that could not be copied.
type TransferFailure struct {
	File  string `json:"file"`
	Error string `json:"error"`
}

// Transfer is what an import or export has done.
type Transfer struct {
	Mailbox  addr.Address      `json:"mailbox"`
	Place    string            `json:"place"` // where the copy is
	Format   MailFormat        `json:"format"`
	Messages int               `json:"messages"` // copied
	Bytes    int64             `json:"bytes"`    // of these
	Already  int               `json:"already"`  // that were there already
	Ignored  int               `json:"ignored"`  // files that are no messages
	Special  int               `json:"special"`  // of these, no plain files: symbolic links, pipes
	Failed   []TransferFailure `json:"failed"`
}

// TransferOrder is the input of MailboxExport and MailboxImport. These work on files of the
// caller, so 'pillarbox admin' does them itself, beside a running server too.
type TransferOrder struct {
	User, Place string
	Format      MailFormat
	BeyondQuota bool
}

func (o *Service) exportMail(ctx context.Context, in TransferOrder) (Transfer, error) {
	return o.ExportMail(ctx, in.User, in.Place, o.transferOptions(in))
}

func (o *Service) importMail(ctx context.Context, in TransferOrder) (Transfer, error) {
	return o.ImportMail(ctx, in.User, in.Place, o.transferOptions(in))
}

func (o *Service) transferOptions(in TransferOrder) TransferOptions {
	opts := TransferOptions{Format: in.Format, BeyondQuota: in.BeyondQuota, Progress: o.progress()}
	if o.tell != nil {
		opts.Failed = func(f TransferFailure) { o.tell(Part{Failed: &f}) }
	}
	return opts
}

// copyWorkers is how many messages are copied at once. Each waits for the disk, which takes many in one go.
const copyWorkers = 16

// tally gathers what the workers do.
type tally struct {
	TransferOptions
	all      int
	name     func(i int) string // of a message
	log      *slog.Logger       // may be nil
	onePiece bool               // the copy is one file, which is there when it is whole
	stop     context.CancelCauseFunc

	mu   sync.Mutex
	done int
	t    Transfer
	room shortage
}

// outcome is what became of a message.
type outcome struct {
	bytes   int64
	already bool
	gone    bool // it was deleted meanwhile
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

// failed counts one that could not be copied. Where there is no room, the next one may be smaller and fit.
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

// none says that nothing of what was done is left.
func (t *tally) none() { t.done, t.t.Messages, t.t.Bytes, t.t.Failed = 0, 0, 0, nil }

// hopeless reports whether the next message will fail as this one did.
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

// contain copies a message that may bring the program to a panic. It counts as one that could not be copied then.
func (t *tally) contain(i int, do func() (file string, o outcome)) (file string, o outcome) {
	err := caught.Do(func() error { file, o = do(); return nil })
	if err != nil {
		file, o = t.name(i), outcome{err: err}
		caught.Log(t.log, err, "the program goes wrong when a message is copied; the others go on", "file", file)
	}
	return file, o
}

// each calls do for all messages, with several workers, and counts what they return, until ctx ends. The messages are
// begun in their order.
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

// transferEnd makes an error of what went wrong.
func (t *tally) transferEnd(err error) (Transfer, error) {
	t.t.Failed = orEmpty(t.t.Failed)
	rest, failed := t.all-t.done+len(t.t.Failed), len(t.t.Failed)-t.room.messages
	again, retry := "the same command goes on where this one ended", "the same command tries them again and leaves the rest as it is"
	if t.onePiece {
		again = "nothing was written: the same command begins anew"
		retry = "the file holds all the others; export to another one when that is mended"
	}
	switch {
	case errors.Is(err, context.Canceled):
		return t.t, Hint(fmt.Errorf("interrupted; %s not copied", messagesAre(rest)), "%s", again)
	case err != nil && t.done == 0:
		return Transfer{}, err
	case err != nil:
		return t.t, Hint(fmt.Errorf("stopped: %w; %s not copied", err, messagesAre(rest)), "when that is mended, %s", again)
	case t.room.messages > 0 && failed > 0:
		return t.t, Hint(fmt.Errorf("%s: %s not copied; and %d for the reasons above", t.room.full(), messagesAre(t.room.messages), failed), "%s", t.room.hint())
	case t.room.messages > 0:
		return t.t, Hint(fmt.Errorf("%s: %s not copied", t.room.full(), messagesAre(t.room.messages)), "%s", t.room.hint())
	case failed > 0:
		return t.t, Hint(fmt.Errorf("%s not copied, for the reasons above", messagesAre(failed)), "%s", retry)
	}
	return t.t, nil
}

// shortage is what finds no room in a mailbox.
type shortage struct {
	messages int
	bytes    int64 // of these
	first    *quota.Error
	size     int64 // how much the limit of what is full would have to be, without these; 0 if the limit is not in the way
	number   int64
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

// hint is the command that makes room for all.
func (s *shortage) hint() string {
	const beyond = "--beyond-quota imports them all the same"
	if s.first == nil {
		return beyond
	}
	target := path.Base(s.first.Dir)
	if !s.first.Domain {
		a, _ := directory.AddressAt(s.first.Dir) // the ledger knows no others
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

// sizeFlag is how 'quota set' is told to allow this many bytes and a little more.
func sizeFlag(bytes int64) string { return fmt.Sprintf(" --size %dMB", bytes/1_000_000+1) }

func messagesFlag(n int64) string { return fmt.Sprintf(" --messages %d", n) }

func messagesAre(n int) string {
	if n == 1 {
		return "1 message was"
	}
	return fmt.Sprintf("%d messages were", n)
}

// guessSource says what a source is, by what is there.
func guessSource(source string) (MailFormat, error) {
	fi, err := os.Stat(source)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", Hint(err, "name a directory with .eml files, an mbox file or a Maildir")
	case errors.Is(err, fs.ErrPermission):
		return "", Hint(err, "run this as a user who may read it")
	case err != nil:
		return "", err
	case fi.Mode().IsRegular():
		return FormatMbox, nil
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

// notPlain refuses a pipe, a device or a socket: what comes out of it cannot be read twice.
func notPlain(source string) error {
	return Hint(fmt.Errorf("%s: neither a file nor a directory", source), "write the mail into a file first, and name that")
}

// guessTarget says what a target is to be, by its name.
func guessTarget(target string) MailFormat {
	if strings.EqualFold(filepath.Ext(target), ".mbox") {
		return FormatMbox
	}
	return FormatEML
}
