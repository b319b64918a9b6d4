package directory

import (
	"pillarbox/mailstore/addr"
)

// ChangeKind is what happened to a domain or a mailbox.
type ChangeKind string

// The kinds of change.
const (
	Added   ChangeKind = "added"
	Edited  ChangeKind = "edited"
	Removed ChangeKind = "removed" // with its mail
	Renamed ChangeKind = "renamed"
)

// Change is one change of the files, already on disk. Consequences, such as an alias that is
// deleted with its mailbox, are Changes of their own.
type Change struct {
	What   ChangeKind
	Domain addr.Domain
	User   string       // local part of the mailbox; "" for the domain itself
	Next   addr.Address // the new address of a renamed mailbox

	// The content of account.json or domain.json before and after; nil if there was no file or
	// it could not be read. They hold secrets, and the receiver must not change them.
	AccountBefore, AccountAfter *Account
	DomainBefore, DomainAfter   *DomainFile
}

// Address is the address of the mailbox that changed. An empty local part means the domain itself.
func (c Change) Address() addr.Address { return addr.Address{Local: c.User, Domain: c.Domain} }

// Observed returns the same Directory with an observer. The observer is called for each change made
// through the result, in order, while the lock excludes other changes. It must not change the
// directory. Changes through d or another Observed are not reported to it.
func (d *Directory) Observed(observer func(Change)) *Directory {
	return &Directory{state: d.state, observer: observer}
}

func (d *Directory) notify(c Change) {
	if c.User != "" {
		d.digests.changed(c.Address())
		d.digests.changed(c.Next)
	}
	if d.observer != nil {
		d.observer(c)
	}
}

func (d *Directory) writeDomain(name addr.Domain, before, after *DomainFile) error {
	if err := writeJSON(d.fsys, DomainDir(name)+"/"+domainFile, after); err != nil {
		return err
	}
	d.notify(Change{What: Edited, Domain: name, DomainBefore: before, DomainAfter: after})
	return nil
}

func (d *Directory) writeAccount(a addr.Address, before, after *Account) error {
	if err := writeJSON(d.fsys, MailboxDir(a)+"/"+accountFile, after); err != nil {
		return err
	}
	d.notify(Change{What: Edited, Domain: a.Domain, User: a.Local,
		AccountBefore: before, AccountAfter: after})
	return nil
}

// notifyRemoved reports a deleted mailbox; account is nil if it could not be read.
func (d *Directory) notifyRemoved(a addr.Address, account *Account) {
	d.notify(Change{What: Removed, Domain: a.Domain, User: a.Local, AccountBefore: account})
}

func (d *Directory) account(a addr.Address) (*Account, error) {
	box, err := d.Mailbox(a)
	if err != nil {
		return nil, err
	}
	return &box.Account, nil
}
