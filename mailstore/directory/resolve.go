package directory

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"pillarbox/mailstore/addr"
)

// Kind says what an address is to this server.
type Kind int

const (
	Unknown Kind = iota // the domain is hosted here, but has no such address
	Local               // leads to mailboxes here, or by alias, group or forward to remote ones
	Remote              // the domain is not hosted here
)

func (k Kind) String() string { return [...]string{"unknown", "local", "remote"}[k] }

// Resolution is where mail for one address goes.
type Resolution struct {
	Kind      Kind
	Mailboxes []Mailbox      // in alphabetical order, without duplicates
	Forward   []addr.Address // remote addresses, without duplicates
	// Passed are mailboxes on the way that forward without a copy, so that nothing is stored there.
	Passed []Mailbox
	// Archives are the mailboxes that get a copy, by the settings of the domains and mailboxes on the
	// way. They are folded, in alphabetical order, without duplicates.
	Archives []addr.Address
}

// Resolve follows an address through aliases, groups, forwarding, plus addressing and the catch-all
// to its final destinations. An address of Options.Forwarded leads to the sender that it stands for.
// An address of a shared domain that does not exist here is a remote one. Loops are harmless.
// postmaster (RFC 5321 §4.5.1) always has a destination. It is the mailbox, alias or group of that
// name, or else the configured postmaster, or else the first mailbox of the domain, or else the
// first mailbox of all. abuse (RFC 2142) goes the same way.
//
// An error of the file system or an ErrDamaged means that the destination is unknown at present. An
// ErrUnusable stays until an administrator changes the external directory.
func (d *Directory) Resolve(a addr.Address) (Resolution, error) {
	for {
		renames := d.renames.seen()
		r, missed, err := d.resolve(a)
		// A walk that read a group before a rename, and looked for the mailbox after it, starts again.
		if !missed || renames == d.renames.seen() {
			return r, err
		}
	}
}

// resolve is one walk. missed reports that an address on the way had no destination.
func (d *Directory) resolve(a addr.Address) (r Resolution, missed bool, err error) {
	w := d.walk(*d.opts.Load())
	r, err = w.resolve(a)
	return r, w.missed, err
}

func (w *walk) resolve(a addr.Address) (Resolution, error) {
	if _, err := w.domain(a.Domain); errors.Is(err, ErrNotFound) {
		return Resolution{Kind: Remote}, nil
	} else if err != nil {
		return Resolution{}, err
	}
	reached, err := w.follow(a)
	if err == nil && !reached {
		reached, err = w.otherwise(a)
	}
	if err != nil {
		return Resolution{}, err
	}
	if !reached {
		return Resolution{Kind: Unknown}, nil
	}
	slices.SortFunc(w.boxes, func(a, b Mailbox) int { return cmp.Compare(a.Dir, b.Dir) })
	slices.SortFunc(w.forward,
		func(a, b addr.Address) int { return cmp.Compare(a.String(), b.String()) })
	return Resolution{
		Kind: Local, Mailboxes: w.boxes, Forward: w.forward, Passed: w.passed,
		Archives: w.archives(),
	}, nil
}

// archives returns the archives of the domains and mailboxes on the way.
func (w *walk) archives() (all []addr.Address) {
	for _, file := range w.files {
		all = appendArchive(all, file.Archive)
	}
	for _, boxes := range [][]Mailbox{w.boxes, w.passed} {
		for i := range boxes {
			all = appendArchive(all, boxes[i].Account.Archive)
		}
	}
	return sortedOnce(all)
}

func appendArchive(all []addr.Address, a addr.Address) []addr.Address {
	if a.IsZero() {
		return all
	}
	return append(all, a.Fold())
}

// walk is the state of one Resolve.
type walk struct {
	d       *Directory
	opts    Options
	seen    map[addr.Address]bool // visited; true if it is known to lead to a destination
	files   map[addr.Domain]*DomainFile
	boxes   []Mailbox
	passed  []Mailbox // forward without a copy
	forward []addr.Address
	missed  bool // an address had no destination
}

func (d *Directory) walk(opts Options) *walk {
	return &walk{d: d, opts: opts, seen: make(map[addr.Address]bool),
		files: make(map[addr.Domain]*DomainFile)}
}

// follow adds the destinations of a, and reports whether it has any. An address that is already
// being followed counts as having none, so a loop of forwards without a destination is detected
// where it closes.
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
	if next, ok := w.d.renames.nextName(key); ok {
		reached, err := w.follow(next)
		w.missed = w.missed || !reached
		return reached, err
	}
	if w.elsewhere(file, key) {
		w.forward = append(w.forward, a)
		return true, nil
	}
	w.missed = true
	return false, nil
}

// elsewhere reports whether an address that does not exist here is on another server of its domain. A
// catch-all takes all addresses, and postmaster is always here.
func (w *walk) elsewhere(file *DomainFile, a addr.Address) bool {
	if w.opts.Shared == nil || !file.CatchAll.IsZero() || addr.IsPostmaster(a.Local) ||
		!w.opts.Shared(a.Domain) {
		return false
	}
	if w.opts.Forwarded != nil {
		_, ok, err := w.opts.Forwarded(a)
		return !ok && err == nil
	}
	return true
}

// followPerson follows an address that an external directory may know.
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

// domain returns a hosted domain's file and reads it only once.
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

// followMailbox stores in the mailbox unless it forwards without a copy, and a forward leads to a
// destination.
func (w *walk) followMailbox(box Mailbox) (bool, error) {
	forwarded, err := w.followAll(box.Account.Forward)
	if err != nil {
		return false, err
	}
	if !forwarded || box.Account.KeepCopy {
		w.boxes = append(w.boxes, box)
	} else {
		w.passed = append(w.passed, box)
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

// otherwise handles an address without a destination of its own. A report about forwarded mail goes
// to the first sender; the catch-all must not get what only looks like one.
func (w *walk) otherwise(a addr.Address) (bool, error) {
	if w.opts.Forwarded != nil {
		sender, ok, err := w.opts.Forwarded(a)
		if err != nil || ok && sender.IsZero() {
			return false, err
		} else if ok {
			return w.follow(sender)
		}
	}
	return w.fallback(a.Fold())
}

// fallback handles an address without a destination: postmaster and abuse have their own rules,
// others go to the catch-all.
func (w *walk) fallback(a addr.Address) (bool, error) {
	if alwaysRead(a.Local) {
		return w.postmaster(a.Domain)
	}
	file, err := w.domain(a.Domain)
	if err != nil || file.CatchAll.IsZero() {
		return false, err
	}
	return w.follow(file.CatchAll)
}

// alwaysRead reports whether every domain must have a reader for a local part.
func alwaysRead(local string) bool {
	return addr.IsPostmaster(local) || addr.FoldName(local) == "abuse"
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
		// Skip another domain that cannot be read; the next one may be readable.
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

// plusBase is the local part before the separator, or "" without a separator.
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
