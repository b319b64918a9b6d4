package directory

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"pillarbox/mailstore/addr"
)

// Kind is what an address is to this server.
type Kind int

const (
	Unknown Kind = iota // the domain is hosted here, the address is nobody's
	Local               // ends in mailboxes here, or in addresses that those forward to
	Remote              // the domain is not hosted here
)

func (k Kind) String() string { return [...]string{"unknown", "local", "remote"}[k] }

// Resolution is where mail for one address goes.
type Resolution struct {
	Kind      Kind
	Mailboxes []Mailbox      // each once, in alphabetical order
	Forward   []addr.Address // addresses elsewhere, each once
}

// Resolve follows an address through aliases, groups, forwarding, plus
// addressing and the catch-all to its ends. Loops are harmless. postmaster
// (RFC 5321 §4.5.1) always has an end: a mailbox, alias or group of that name;
// else the configured postmaster; else the first mailbox of the domain; else
// the first mailbox of all.
//
// An error is the file system's, or ErrDamaged: the answer is not known now. An
// ErrUnusable stays until somebody changes a directory elsewhere.
func (d *Directory) Resolve(a addr.Address) (Resolution, error) {
	w := d.walk(*d.opts.Load())
	if _, err := w.domain(a.Domain); errors.Is(err, ErrNotFound) {
		return Resolution{Kind: Remote}, nil
	} else if err != nil {
		return Resolution{}, err
	}
	reached, err := w.follow(a)
	if err == nil && !reached {
		reached, err = w.lastResort(a.Fold())
	}
	if err != nil {
		return Resolution{}, err
	}
	if !reached {
		return Resolution{Kind: Unknown}, nil
	}
	slices.SortFunc(w.boxes, func(a, b Mailbox) int { return cmp.Compare(a.Dir, b.Dir) })
	slices.SortFunc(w.forward, func(a, b addr.Address) int { return cmp.Compare(a.String(), b.String()) })
	return Resolution{Kind: Local, Mailboxes: w.boxes, Forward: w.forward}, nil
}

// walk is one Resolve under way.
type walk struct {
	d       *Directory
	opts    Options
	seen    map[addr.Address]bool // visited; true once it is known to reach an end
	files   map[addr.Domain]*DomainFile
	boxes   []Mailbox
	forward []addr.Address
}

func (d *Directory) walk(opts Options) *walk {
	return &walk{d: d, opts: opts, seen: make(map[addr.Address]bool), files: make(map[addr.Domain]*DomainFile)}
}

// follow adds the ends of a, and reports whether it has any. An address that is
// being followed further up the path counts as having none, so that a loop of
// forwards without an end is found where it closes.
func (w *walk) follow(a addr.Address) (bool, error) {
	key := a.Fold()
	if reached, ok := w.seen[key]; ok {
		return reached, nil
	}
	w.seen[key] = false
	reached, err := w.followNew(a)
	w.seen[key] = reached
	return reached, err
}

func (w *walk) followNew(a addr.Address) (bool, error) {
	file, err := w.domain(a.Domain)
	if errors.Is(err, ErrNotFound) {
		w.forward = append(w.forward, a)
		return true, nil
	} else if err != nil {
		return false, err
	}
	key := a.Fold()
	box, err := w.mailbox(file, key)
	if err == nil {
		return w.followMailbox(box)
	} else if !errors.Is(err, ErrNotFound) {
		return false, err
	}
	if target, ok := file.Aliases[key.Local]; ok {
		return w.follow(target)
	}
	if group, ok := file.Groups[key.Local]; ok {
		return w.followAll(group.Members)
	}
	if reached, known, err := w.followPerson(file, key); known || err != nil {
		return reached, err
	}
	if base := w.opts.plusBase(key.Local); base != "" {
		return w.follow(addr.Address{Local: base, Domain: a.Domain})
	}
	return false, nil
}

// followPerson follows an address that a directory elsewhere may know.
func (w *walk) followPerson(file *DomainFile, a addr.Address) (reached, known bool, err error) {
	person, method, err := w.d.personAt(a, file)
	switch {
	case errors.Is(err, ErrNotFound):
		return false, false, nil
	case err != nil:
		return false, false, err
	case person.Mailbox.IsZero():
		reached, err = w.followAll(person.Members)
		return reached, true, err
	case person.Mailbox.Fold() != a:
		reached, err = w.follow(person.Mailbox)
		return reached, true, err
	}
	box, err := w.d.personMailbox(person, method)
	lookup, _ := w.opts.lookup(method)
	if errors.Is(err, ErrNotFound) || err == nil && !lookup.AtDelivery {
		return false, false, nil
	} else if err != nil {
		return false, false, err
	}
	w.boxes = append(w.boxes, box)
	return true, true, nil
}

func (w *walk) mailbox(file *DomainFile, a addr.Address) (Mailbox, error) {
	if addr.CheckMailboxName(a.Local) != nil {
		return Mailbox{}, fmt.Errorf("mailbox %s: %w", a, ErrNotFound)
	}
	return w.d.mailboxIn(file, a)
}

// domain is a hosted domain's file, looked at once.
func (w *walk) domain(name addr.Domain) (*DomainFile, error) {
	if file := w.files[name]; file != nil {
		return file, nil
	}
	file, err := w.d.Domain(name)
	if err == nil {
		w.files[name] = file
	}
	return file, err
}

// followMailbox stores in the mailbox unless it forwards without a copy to an
// address that reaches somebody.
func (w *walk) followMailbox(box Mailbox) (bool, error) {
	elsewhere, err := w.followAll(box.Account.Forward)
	if err != nil {
		return false, err
	}
	if !elsewhere || box.Account.KeepCopy {
		w.boxes = append(w.boxes, box)
	}
	return true, nil
}

func (w *walk) followAll(targets []addr.Address) (bool, error) {
	reached := false
	for _, t := range targets {
		ok, err := w.follow(t)
		if err != nil {
			return false, err
		}
		reached = reached || ok
	}
	return reached, nil
}

// lastResort tries what stands behind the names of a domain: the postmaster's
// own ways, then the catch-all.
func (w *walk) lastResort(a addr.Address) (bool, error) {
	if addr.IsPostmaster(a.Local) {
		return w.postmaster(a.Domain)
	}
	file, err := w.domain(a.Domain)
	if err != nil || file.CatchAll.IsZero() {
		return false, err
	}
	return w.follow(file.CatchAll)
}

func (w *walk) postmaster(domain addr.Domain) (bool, error) {
	if pm := w.opts.Postmaster; !pm.IsZero() {
		if reached, err := w.follow(pm); reached || err != nil {
			return reached, err
		}
	}
	all, err := w.d.Domains()
	if err != nil {
		return false, err
	}
	for i, name := range append([]addr.Domain{domain}, all...) {
		reached, err := w.firstMailbox(name)
		if reached || err != nil && i == 0 {
			return reached, err
		}
		// Another domain that cannot be read is passed over: there may be one after it.
	}
	return false, nil
}

func (w *walk) firstMailbox(domain addr.Domain) (bool, error) {
	names, err := w.d.mailboxNames(domain)
	if err != nil || len(names) == 0 {
		return false, err
	}
	return w.follow(addr.Address{Local: names[0], Domain: domain})
}

// plusBase is the local part before the separator, or "" where there is none.
func (o Options) plusBase(local string) string {
	if o.PlusSeparator == "" {
		return ""
	}
	base, _, found := strings.Cut(local, o.PlusSeparator)
	if !found {
		return ""
	}
	return base
}
