package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"pillarbox/mailstore"
	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/durable"
)

// ImportMail copies the messages of a source into a mailbox. The server may run meanwhile.
//
// A message that was exported from a Pillarbox mailbox has its ID in its name and keeps it, so POP3
// clients see the same unique-id. Other messages get new IDs with the time of arrival that the file
// or the mbox states, in that order. A message that the mailbox already has is not copied again:
// one with the same text, and with the same ID or the same second of arrival. Line endings become
// CRLF (package mailtext).
//
// Each message is imported completely and durably, or not at all. ImportMail reports a failed
// message through opts.Failed, and continues; its error then states the number of failures. The
// Transfer is valid even with an error.
func (o *Service) ImportMail(ctx context.Context, user, source string, opts TransferOptions) (Transfer, error) {
	if err := o.RequireTarget(user, true); err != nil {
		return Transfer{}, err
	}
	box, err := o.mailbox(user)
	if err != nil {
		return Transfer{}, err
	}
	from, format, err := openSource(source, opts.Format, opts.SourceOptions)
	if err != nil {
		return Transfer{}, err
	}
	defer from.Close()
	unlock, err := o.lockImport(box)
	if err != nil {
		return Transfer{}, err
	}
	defer unlock()
	there, err := o.newPresent(box.Dir)
	if err != nil {
		return Transfer{}, err
	}
	in := &importer{office: o, dir: box.Dir, beyond: opts.BeyondQuota, messages: from.messages, there: there}
	in.assign()
	t := &tally{TransferOptions: opts, all: len(from.messages), name: func(i int) string { return from.messages[i].name }, log: o.log}
	t.t = Transfer{Mailbox: box.Address, Place: source, Format: format, Ignored: from.ignored, Special: from.special, PassedOver: from.left}
	var done Transfer
	// The checkpoint empties the log first: after a crash, an old record of a deletion would delete
	// a message again that was imported under the same name.
	err = o.checkpointed(func() (err error) {
		done, err = t.transferEnd(t.each(ctx, in.one))
		return err
	})
	o.recordTransfer("imported", done)
	return done, err
}

// importLock is the file in a mailbox that an import locks. It is never removed.
const importLock = ".import"

// lockImport permits one import into a mailbox at a time. An import compares the source with the
// messages that the mailbox holds at its start, so two at a time would import everything twice.
func (o *Service) lockImport(box directory.Mailbox) (unlock func(), err error) {
	unlock, err = durable.TryLock(o.Root, box.Dir+"/"+importLock)
	if taken, ok := errors.AsType[*durable.LockedError](err); ok {
		who := "another process"
		if taken.PID != 0 {
			who = fmt.Sprintf("process %d", taken.PID)
		}
		return nil, Hint(fmt.Errorf("mailbox %s: another import is running", box.Address), "%s imports into it; repeat the command when it has ended", who)
	}
	return unlock, err
}

// importer copies messages into a mailbox. It is safe for concurrent use after assign.
type importer struct {
	office   *Service
	dir      string
	beyond   bool
	messages []sourceMessage
	fresh    []string // for each message, the ID that it gets unless it keeps its own
	there    *present
}

// assign gives each message a new ID, in the order of the source. Of several messages with the same
// ID, only the first may keep it.
func (in *importer) assign() {
	in.fresh = make([]string, len(in.messages))
	kept := make(map[string]struct{})
	for i := range in.messages {
		m := &in.messages[i]
		in.fresh[i] = in.office.Store.NewID(m.arrived)
		if _, twice := kept[m.id]; twice {
			m.id = ""
		} else if m.id != "" {
			kept[m.id] = struct{}{}
		}
	}
}

// attempts is the number of tries for one message. A server that starts meanwhile removes the files
// of imports, so that a try fails with fs.ErrNotExist.
const attempts = 3

func (in *importer) one(i int) (file string, o outcome) {
	m := in.messages[i]
	for try := 1; ; try++ {
		o = in.try(m, in.fresh[i])
		if try == attempts || !errors.Is(o.err, fs.ErrNotExist) || hopeless(o.err) {
			break
		}
	}
	return m.name, o
}

// try imports one message.
func (in *importer) try(m sourceMessage, fresh string) outcome {
	id := m.id
	if id != "" {
		same, taken, err := in.there.hasID(id, m)
		switch {
		case err != nil:
			return outcome{err: err}
		case same:
			return outcome{already: true}
		case taken:
			id = ""
		}
	}
	letter := in.office.Store.Create()
	defer letter.Abort()
	size, err := m.copyTo(letter)
	if err != nil {
		return outcome{err: err}
	}
	if id == "" {
		same, err := in.there.hasText(size, m)
		if err != nil || same {
			return outcome{already: same, err: err}
		}
	}
	if in.beyond {
		letter.IgnoreQuota()
	}
	err = letter.CommitAs(cmp.Or(id, fresh), in.dir)
	if errors.Is(err, fs.ErrExist) {
		err = fmt.Errorf("the mailbox has just received a message with the same name: %w", err)
	}
	return outcome{bytes: size, err: err}
}

// present is the content of the mailbox when the import begins.
type present struct {
	*mailstore.Snapshot
	byID map[string]int

	mu     sync.Mutex
	byText map[textKey][]int // messages that have not matched one of the source yet; guarded by mu
}

// textKey is equal for messages that may have the same text: same second of arrival, same size.
type textKey struct {
	second int64
	size   int64
}

func (o *Service) newPresent(dir string) (*present, error) {
	held, err := o.Store.Snapshot(dir)
	if err != nil {
		return nil, err
	}
	p := &present{Snapshot: held, byID: make(map[string]int), byText: make(map[textKey][]int)}
	for i, m := range held.Messages() {
		if mailstore.IsID(m.UID) {
			p.byID[m.UID] = i
		}
		key := newTextKey(held.Arrived(i), m.Size)
		p.byText[key] = append(p.byText[key], i)
	}
	return p, nil
}

func newTextKey(arrived time.Time, size int64) textKey { return textKey{arrived.Unix(), size} }

// hasID reports whether a message of the mailbox has this ID, and whether its text is that of m.
func (p *present) hasID(id string, m sourceMessage) (same, taken bool, err error) {
	i, taken := p.byID[id]
	if !taken {
		return false, false, nil
	}
	same, err = p.same(i, m)
	return same, true, err
}

// hasText reports whether the mailbox has a message with the text of m and the same second of
// arrival. Each message of the mailbox matches only once, so a message that is twice in the source
// is twice in the mailbox.
func (p *present) hasText(size int64, m sourceMessage) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := newTextKey(m.arrived, size)
	for at, i := range p.byText[key] {
		same, err := p.same(i, m)
		if err != nil {
			return false, err
		}
		if same {
			all := p.byText[key]
			p.byText[key] = append(all[:at:at], all[at+1:]...)
			return true, nil
		}
	}
	return false, nil
}

// same reports whether message i of the mailbox has the text of m. A damaged or deleted message
// does not. If message i cannot be read, same returns the error, and m is not imported: it might be
// a duplicate.
func (p *present) same(i int, m sourceMessage) (bool, error) {
	there, err := p.Open(i)
	if errors.Is(err, mailstore.ErrDamaged) || errors.Is(err, mailstore.ErrGone) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer there.Close()
	compare := mailstore.NewComparer(there)
	_, err = m.copyTo(compare)
	if err == nil {
		err = compare.Finish()
	}
	if errors.Is(err, mailstore.ErrDiffers) {
		return false, nil
	}
	return err == nil, err
}
