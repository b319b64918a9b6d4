package directory

import (
	"pillarbox/mailstore/addr"
)

// Happening is what became of a domain or a mailbox.
type Happening string

// The happenings.
const (
	Added   Happening = "added"
	Edited  Happening = "edited"
	Removed Happening = "removed" // its mail too
	Renamed Happening = "renamed"
)

// Change is one change of the files that is on the disk. What follows from it,
// such as an alias that goes with its mailbox, is a Change of its own.
type Change struct {
	What   Happening
	Domain addr.Domain
	User   string       // of a mailbox; "" for the domain itself
	Next   addr.Address // of a mailbox that was renamed: its address now

	// What account.json or domain.json said before and says now; nil where there
	// was none or is none any more, and where it could not be read. They hold
	// secrets, and are the receiver's to read only.
	AccountBefore, AccountAfter *Account
	DomainBefore, DomainAfter   *DomainFile
}

// Address is the mailbox that was changed; with an empty local part it is the
// domain.
func (c Change) Address() addr.Address { return addr.Address{Local: c.User, Domain: c.Domain} }

// Observed returns the same Directory, whose changes tell is called with, in
// their order and while no other change can be made: tell must not change the
// directory itself. Changes by way of d, or of another Observed, are not told.
func (d *Directory) Observed(tell func(Change)) *Directory {
	return &Directory{state: d.state, tell: tell}
}

func (d *Directory) told(c Change) {
	if d.tell != nil {
		d.tell(c)
	}
}

// writeDomain replaces the file of a domain.
func (d *Directory) writeDomain(name addr.Domain, before, after *DomainFile) error {
	if err := writeJSON(d.fsys, DomainDir(name)+"/"+domainFile, after); err != nil {
		return err
	}
	d.told(Change{What: Edited, Domain: name, DomainBefore: before, DomainAfter: after})
	return nil
}

// writeAccount replaces the file of a mailbox's account.
func (d *Directory) writeAccount(a addr.Address, before, after *Account) error {
	if err := writeJSON(d.fsys, MailboxDir(a)+"/"+accountFile, after); err != nil {
		return err
	}
	d.told(Change{What: Edited, Domain: a.Domain, User: a.Local, AccountBefore: before, AccountAfter: after})
	return nil
}

// toldRemoved tells that a mailbox is gone; account is nil where it could not be
// read.
func (d *Directory) toldRemoved(a addr.Address, account *Account) {
	d.told(Change{What: Removed, Domain: a.Domain, User: a.Local, AccountBefore: account})
}

// account is what a mailbox's account.json says.
func (d *Directory) account(a addr.Address) (*Account, error) {
	box, err := d.Mailbox(a)
	if err != nil {
		return nil, err
	}
	return &box.Account, nil
}
