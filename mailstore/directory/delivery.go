package directory

import (
	"errors"
	"fmt"
	"slices"

	"pillarbox/mailstore/absence"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/rules"
)

// UpdateRules changes the rules of a mailbox. edit gets a copy of the list, without its elements'
// lists, and returns the new one. The error is that of edit, one of the class rules.ErrRule, or an
// *UnknownTargetError for a forward to an unknown address here.
func (d *Directory) UpdateRules(
	a addr.Address, edit func([]rules.Rule) ([]rules.Rule, error),
) error {
	return d.UpdateAccount(a, func(acc *Account) error {
		list, err := edit(acc.Rules)
		if err != nil {
			return err
		}
		if err := rules.CheckList(list); err != nil {
			return err
		}
		for _, r := range list {
			for _, to := range r.To {
				if err := d.checkTarget(to); err != nil {
					return err
				}
			}
		}
		acc.Rules = list
		return nil
	})
}

// SetAbsence sets the absence of a mailbox's user; nil removes it. The error may be one of the class
// absence.ErrSettings.
func (d *Directory) SetAbsence(a addr.Address, s *absence.Settings) error {
	if s != nil {
		if err := s.Check(); err != nil {
			return err
		}
	}
	return d.UpdateAccount(a, func(acc *Account) error {
		acc.Absence = s
		return nil
	})
}

// ErrArchive means that a mailbox cannot be the archive of itself.
var ErrArchive = errors.New("a mailbox cannot be its own archive")

// SetArchive makes a mailbox here get a copy of all mail of another one; zero ends it. The archive is
// a mailbox, no alias and no group: its mail must not go on from there.
func (d *Directory) SetArchive(a, archive addr.Address) error {
	if archive = archive.Fold(); archive == a.Fold() {
		return ErrArchive
	}
	if err := d.checkArchive(archive); err != nil {
		return err
	}
	return d.UpdateAccount(a, func(acc *Account) error {
		acc.Archive = archive
		return nil
	})
}

// SetDomainArchive is SetArchive for all mail of a domain.
func (d *Directory) SetDomainArchive(name addr.Domain, archive addr.Address) error {
	archive = archive.Fold()
	if err := d.checkArchive(archive); err != nil {
		return err
	}
	return d.UpdateDomain(name, func(f *DomainFile) error {
		f.Archive = archive
		return nil
	})
}

func (d *Directory) checkArchive(archive addr.Address) error {
	if archive.IsZero() {
		return nil
	}
	_, err := d.Mailbox(archive)
	if errors.Is(err, ErrNotFound) {
		return &UnknownTargetError{archive}
	}
	return err
}

// maxFooter is the length of the longest footer in octets.
const maxFooter = 10_000

// ErrFooter is the class of errors of a footer that a user must correct.
var ErrFooter = errors.New("not a usable footer")

// SetFooter sets the footer of a domain; the zero Footer removes it.
func (d *Directory) SetFooter(name addr.Domain, footer Footer) error {
	for _, text := range []string{footer.Text, footer.HTML} {
		if !rules.IsText(text) {
			return fmt.Errorf("%w: it is longer than %d octets, or has a control character",
				ErrFooter, maxFooter)
		}
	}
	if footer.Text == "" && footer.HTML != "" {
		return fmt.Errorf("%w: it needs a text for messages without HTML", ErrFooter)
	}
	return d.UpdateDomain(name, func(f *DomainFile) error {
		f.Footer = footer
		return nil
	})
}

// replaceInRules changes every rule that forwards to old, and reports whether there was one. A zero
// next deletes the address; a rule without any then keeps the mail. The lists may be shared, so they
// are copied.
func (acc *Account) replaceInRules(old, next addr.Address) bool {
	forwards := func(r rules.Rule) bool { return names(r.To, old) }
	if !slices.ContainsFunc(acc.Rules, forwards) {
		return false
	}
	acc.Rules = slices.Clone(acc.Rules)
	for i := range acc.Rules {
		if forwards(acc.Rules[i]) {
			acc.Rules[i].To = replaceIn(acc.Rules[i].To, old, next)
		}
	}
	return true
}
