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

// ImportMail copies the messages of a source into a mailbox, whether or not the server runs. A message whose name tells
// the ID that it had in a mailbox of ours keeps that, and so its unique-id; others get new ones, with the time
// that their file or the mbox tells, and come in that order. One that the mailbox has already is not copied again: a
// message of the same ID, or of the same second, with the same text. Lines that do not end in CRLF are made to
// (mailstore.Normaliser).
//
// Each message is in the mailbox whole and durable, or not at all. What fails is told and the rest goes on; the error then
// says how many. The Transfer says what was done in any case.
func (o *Service) ImportMail(ctx context.Context, user, source string, opts TransferOptions) (Transfer, error) {
	if err := o.RequireTarget(user, true); err != nil {
		return Transfer{}, err
	}
	box, err := o.mailbox(user)
	if err != nil {
		return Transfer{}, err
	}
	from, format, err := openSource(source, opts.Format)
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
	t.t = Transfer{Mailbox: box.Address, Place: source, Format: format, Ignored: from.ignored, Special: from.special}
	var done Transfer
	// What was deleted a moment ago would be deleted again after a crash, if it came back under its old name.
	err = o.checkpointed(func() (err error) {
		done, err = t.transferEnd(t.each(ctx, in.one))
		return err
	})
	o.recordTransfer("imported", done)
	return done, err
}

// importLock is the file in a mailbox that an import holds locked. It stays.
const importLock = ".import"

// lockImport lets one import at a time into a mailbox: each compares with what is there when it begins, so that two
// would bring everything in twice.
func (o *Service) lockImport(box directory.Mailbox) (unlock func(), err error) {
	unlock, err = durable.TryLock(o.Root, box.Dir+"/"+importLock)
	if taken, ok := errors.AsType[*durable.LockedError](err); ok {
		who := "another process"
		if taken.PID != 0 {
			who = fmt.Sprintf("process %d", taken.PID)
		}
		return nil, Hint(fmt.Errorf("mailbox %s: an import is under way", box.Address), "%s imports into it; repeat the command when it has ended", who)
	}
	return unlock, err
}

// importer copies messages into a mailbox. Its methods may be called by many.
type importer struct {
	office   *Service
	dir      string
	beyond   bool
	messages []sourceMessage
	fresh    []string // by message: the ID that it gets if it keeps none
	there    *present
}

// assign makes up IDs, in the order of the source, and lets an ID that stands twice in the source go to the first.
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

// attempts is how often a message is tried. A server that starts clears away what is on its way into a mailbox.
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
		err = fmt.Errorf("the mailbox has just got a message of this name: %w", err)
	}
	return outcome{bytes: size, err: err}
}

// present is what the mailbox holds when the import begins.
type present struct {
	*mailstore.Snapshot
	byID map[string]int

	mu     sync.Mutex
	byText map[textKey][]int // those that no message of the source was found to be
}

// textKey is what messages with the same text that arrived at the same time have in common.
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

// hasID reports whether the mailbox has a message with this ID, and whether that is m.
func (p *present) hasID(id string, m sourceMessage) (same, taken bool, err error) {
	i, taken := p.byID[id]
	if !taken {
		return false, false, nil
	}
	same, err = p.same(i, m)
	return same, true, err
}

// hasText reports whether the mailbox has a message that arrived when m did, with the same text. One message there
// stands for one of the source: what the source has twice, the mailbox gets twice.
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

// same compares message i with one of the source. One that is damaged, or gone, is not the same. If it cannot be read now,
// the message of the source is not copied: it could be there twice then.
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
