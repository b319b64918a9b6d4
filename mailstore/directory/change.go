package directory

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/durable"
)

// change runs fn under the lock that excludes all other changes, in this process and in others.
func (d *Directory) change(fn func() error) error {
	if err := d.fsys.MkdirAll(rootDir, 0o700); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), lockWait)
	defer cancel()
	unlock, err := durable.Lock(ctx, d.fsys, lockFile)
	if err != nil {
		return err
	}
	defer unlock()
	return fn()
}

// AddDomain creates a hosted domain. Errors: ErrExists, ErrName.
func (d *Directory) AddDomain(name addr.Domain) error {
	if err := addr.CheckDomainName(name); err != nil {
		return fmt.Errorf("domain %s: %w: %w", name, ErrName, err)
	}
	return d.change(func() error {
		err := d.fsys.Mkdir(DomainDir(name), 0o700)
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("domain %s: %w", name, ErrExists)
		} else if err != nil {
			return err
		}
		if err := d.fsys.SyncDir(rootDir); err != nil {
			return err
		}
		d.notify(Change{What: Added, Domain: name, DomainAfter: new(DomainFile)})
		return nil
	})
}

// RemoveDomain removes a hosted domain. A domain with mailboxes is removed with all their mail if
// withMailboxes is set; otherwise the error is ErrInUse.
func (d *Directory) RemoveDomain(name addr.Domain, withMailboxes bool) error {
	return d.change(func() error {
		file, err := d.Domain(name)
		if err != nil && !errors.Is(err, ErrDamaged) {
			return err
		}
		names, err := d.mailboxNames(name)
		if err != nil {
			return err
		}
		if len(names) > 0 && !withMailboxes {
			return fmt.Errorf("domain %s: %w: it has %d mailboxes", name, ErrInUse, len(names))
		}
		var notices []func()
		for _, user := range names {
			a := addr.Address{Local: user, Domain: name}
			account, _ := d.account(a)
			notices = append(notices, func() { d.notifyRemoved(a, account) })
		}
		return d.removeTree(DomainDir(name), rootDir, func() {
			for _, notify := range notices {
				notify()
			}
			d.notify(Change{What: Removed, Domain: name, DomainBefore: file})
		})
	})
}

// removeTree hides a directory in one step and then deletes it, so that a crash leaves no half
// mailbox. It calls notify as soon as the directory is hidden.
func (d *Directory) removeTree(dir, parent string, notify func()) error {
	gone := fmt.Sprintf("%s/.removed-%d", parent, time.Now().UnixNano())
	if err := d.fsys.Rename(dir, gone); err != nil {
		return err
	}
	notify()
	if err := d.fsys.SyncDir(parent); err != nil {
		return err
	}
	return d.fsys.RemoveAll(gone)
}

// UpdateDomain changes a domain's file: edit changes a copy, which is then written.
func (d *Directory) UpdateDomain(name addr.Domain, edit func(*DomainFile) error) error {
	return d.change(func() error { return d.updateDomain(name, edit) })
}

func (d *Directory) updateDomain(name addr.Domain, edit func(*DomainFile) error) error {
	file, err := d.Domain(name)
	if err != nil {
		return err
	}
	next := file.clone()
	if err := edit(next); err != nil {
		return err
	}
	return d.writeDomain(name, file, next)
}

// clone copies the file and its maps.
func (f *DomainFile) clone() *DomainFile {
	next := *f
	next.Aliases = maps.Clone(f.Aliases)
	if next.Aliases == nil {
		next.Aliases = make(map[string]addr.Address)
	}
	next.Groups = make(map[string]Group, len(f.Groups))
	for name, g := range f.Groups {
		g.Members = slices.Clone(g.Members)
		next.Groups[name] = g
	}
	next.Names = f.cloneNames()
	return &next
}

// AddMailbox creates a mailbox. Errors: ErrNotFound without the domain, ErrName, and ErrExists if a
// mailbox, an alias or a group has the name.
func (d *Directory) AddMailbox(a addr.Address, account Account) (Mailbox, error) {
	a = a.Fold()
	err := d.change(func() error {
		if err := d.CheckFree(a); err != nil {
			return err
		}
		// The account is written before the mailbox becomes visible, so its password and
		// its lock apply from the start.
		parent := DomainDir(a.Domain)
		draft := fmt.Sprintf("%s/.new-%d", parent, time.Now().UnixNano())
		if err := d.fsys.Mkdir(draft, 0o700); err != nil {
			return err
		}
		account.Created = time.Now().UTC().Truncate(time.Second)
		err := writeJSON(d.fsys, draft+"/"+accountFile, &account)
		if err == nil {
			err = d.fsys.Rename(draft, MailboxDir(a))
		}
		if err != nil {
			return errors.Join(err, d.fsys.RemoveAll(draft))
		}
		if err := d.fsys.SyncDir(parent); err != nil {
			return err
		}
		d.notify(Change{What: Added, Domain: a.Domain, User: a.Local, AccountAfter: &account})
		return nil
	})
	if err != nil {
		return Mailbox{}, err
	}
	return d.Mailbox(a)
}

// CheckFree reports whether a new mailbox, alias or group may have this address. Errors:
// ErrNotFound without the domain, ErrName, ErrExists.
func (d *Directory) CheckFree(a addr.Address) error {
	a = a.Fold()
	if err := addr.CheckMailboxName(a.Local); err != nil {
		return fmt.Errorf("%s: %w: %w", a, ErrName, err)
	}
	file, err := d.Domain(a.Domain)
	if err != nil {
		return err
	}
	_, err = d.Mailbox(a)
	switch {
	case err == nil:
		return fmt.Errorf("%s: %w, as a mailbox", a, ErrExists)
	case !errors.Is(err, ErrNotFound):
		return err
	}
	if _, ok := file.Aliases[a.Local]; ok {
		return fmt.Errorf("%s: %w, as an alias", a, ErrExists)
	}
	if _, ok := file.Groups[a.Local]; ok {
		return fmt.Errorf("%s: %w, as a group", a, ErrExists)
	}
	return nil
}

// RemoveMailbox deletes a mailbox, its mail and every reference to it: a later mailbox of the same
// name must inherit nothing.
func (d *Directory) RemoveMailbox(a addr.Address) error {
	a = a.Fold()
	return d.change(func() error {
		account, err := d.account(a)
		remove := func() error {
			return d.removeTree(MailboxDir(a), DomainDir(a.Domain),
				func() { d.notifyRemoved(a, account) })
		}
		if errors.Is(err, ErrDamaged) { // references can only be changed once it is gone
			return errors.Join(remove(), d.replaceReferences(a, addr.Address{}))
		} else if err != nil {
			return err
		}
		// References are deleted first: in the other order, a crash in between would leave
		// them to the next mailbox of that name.
		if err := d.replaceReferences(a, addr.Address{}); err != nil {
			return err
		}
		return remove()
	})
}

// RenameMailbox renames a mailbox. Its mail keeps its UIDs. Aliases, groups, catch-alls, forwards
// and grants that name the mailbox are changed to the new name.
func (d *Directory) RenameMailbox(old, next addr.Address) error {
	old, next = old.Fold(), next.Fold()
	return d.change(func() error {
		account, err := d.account(old)
		if err != nil {
			return err
		}
		if err := d.CheckFree(next); err != nil {
			return err
		}
		if err := d.readable(); err != nil { // otherwise only some references would be changed
			return err
		}
		defer d.renames.begin(old, next)()
		// After an error everything is restored, for which even a full disk has space, so
		// the command can be repeated.
		if err := d.moveMailbox(old, next, account); err != nil {
			return errors.Join(err, d.moveBack(old, next, account))
		}
		if err := d.replaceReferences(old, next); err != nil {
			return errors.Join(err, d.moveBack(old, next, account), d.replaceReferences(next, old))
		}
		return nil
	})
}

// moveMailbox renames a mailbox's directory and syncs.
func (d *Directory) moveMailbox(old, next addr.Address, account *Account) error {
	if err := d.fsys.Rename(MailboxDir(old), MailboxDir(next)); err != nil {
		return err
	}
	for _, domain := range []addr.Domain{old.Domain, next.Domain} {
		if err := d.fsys.SyncDir(DomainDir(domain)); err != nil {
			return err
		}
	}
	d.notify(Change{What: Renamed, Domain: old.Domain, User: old.Local, Next: next,
		AccountBefore: account, AccountAfter: account})
	return nil
}

// moveBack undoes a complete or partial moveMailbox.
func (d *Directory) moveBack(old, next addr.Address, account *Account) error {
	if _, err := d.fsys.Lstat(MailboxDir(next)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return d.moveMailbox(next, old, account)
}

// readable reads every file that may hold a reference to a mailbox.
func (d *Directory) readable() error {
	all, err := d.Domains()
	if err != nil {
		return err
	}
	for _, name := range all {
		if _, err := d.Mailboxes(name); err != nil {
			return err
		}
	}
	return nil
}

// replaceReferences changes every alias, group, catch-all, forward and grant that names old to
// next. A zero next deletes them.
func (d *Directory) replaceReferences(old, next addr.Address) error {
	all, err := d.Domains()
	if err != nil {
		return err
	}
	for _, name := range all {
		file, err := d.Domain(name)
		if err != nil {
			return err
		}
		if changed := file.replace(old, next); changed != nil {
			if err := d.writeDomain(name, file, changed); err != nil {
				return err
			}
		}
	}
	return d.editAccounts(all, func(acc *Account) bool {
		changed := names(acc.Forward, old) || names(acc.SendAs, old) || acc.Archive.Fold() == old
		acc.Forward = replaceIn(acc.Forward, old, next)
		acc.SendAs = replaceIn(acc.SendAs, old, next)
		if acc.Archive.Fold() == old {
			acc.Archive = next
		}
		return acc.replaceInRules(old, next) || changed
	})
}

// dropGrants revokes all grants to send as a.
func (d *Directory) dropGrants(a addr.Address) error {
	all, err := d.Domains()
	if err != nil {
		return err
	}
	return d.editAccounts(all, func(acc *Account) bool {
		granted := names(acc.SendAs, a)
		acc.SendAs = replaceIn(acc.SendAs, a, addr.Address{})
		return granted
	})
}

// editAccounts calls edit for each account of the domains, and writes those for which edit returns
// true.
func (d *Directory) editAccounts(domains []addr.Domain, edit func(*Account) bool) error {
	for _, name := range domains {
		boxes, err := d.Mailboxes(name)
		if err != nil {
			return err
		}
		for _, box := range boxes {
			before := box.Account
			if !edit(&box.Account) {
				continue
			}
			if err := d.writeAccount(box.Address, &before, &box.Account); err != nil {
				return err
			}
		}
	}
	return nil
}

// replace returns a changed copy, or nil if the file does not name old.
func (f *DomainFile) replace(old, next addr.Address) *DomainFile {
	c, changed := f.clone(), false
	if f.CatchAll.Fold() == old {
		c.CatchAll, changed = next, true
	}
	if f.Archive.Fold() == old {
		c.Archive, changed = next, true
	}
	for alias, target := range f.Aliases {
		if target.Fold() != old {
			continue
		}
		changed = true
		if c.Aliases[alias] = next; next.IsZero() {
			delete(c.Aliases, alias)
		}
	}
	for name, g := range f.Groups {
		if names(g.Members, old) {
			g.Members = replaceIn(g.Members, old, next)
			c.Groups[name], changed = g, true
		}
	}
	if changed = c.renameIn(old, next) || changed; !changed {
		return nil
	}
	return c
}

func names(list []addr.Address, a addr.Address) bool {
	return slices.ContainsFunc(list, func(m addr.Address) bool { return m.Fold() == a })
}

func replaceIn(list []addr.Address, old, next addr.Address) []addr.Address {
	out := make([]addr.Address, 0, len(list))
	there := make(map[addr.Address]bool, len(list))
	for _, m := range list {
		if m.Fold() == old {
			m = next
		}
		if key := m.Fold(); !m.IsZero() && !there[key] {
			there[key] = true
			out = append(out, m)
		}
	}
	return out
}

// UpdateAccount changes a mailbox's account file: edit changes a copy, which is then written.
func (d *Directory) UpdateAccount(a addr.Address, edit func(*Account) error) error {
	a = a.Fold()
	return d.change(func() error {
		box, err := d.Mailbox(a)
		if err != nil {
			return err
		}
		before := box.Account
		box.Account.Forward = slices.Clone(box.Account.Forward)
		box.Account.SendAs = slices.Clone(box.Account.SendAs)
		box.Account.Rules = slices.Clone(box.Account.Rules)
		if err := edit(&box.Account); err != nil {
			return err
		}
		return d.writeAccount(a, &before, &box.Account)
	})
}

// AddAlias adds another name for one address, local or remote.
func (d *Directory) AddAlias(alias, target addr.Address) error {
	alias = alias.Fold()
	return d.change(func() error {
		if err := d.CheckFree(alias); err != nil {
			return err
		}
		if err := d.checkTarget(target); err != nil {
			return err
		}
		return d.updateDomain(alias.Domain, func(f *DomainFile) error {
			f.Aliases[alias.Local] = target
			return nil
		})
	})
}

// UnknownTargetError is an ErrNotFound for the target of an alias, a group, a forward or a grant.
type UnknownTargetError struct{ Target addr.Address }

func (e *UnknownTargetError) Error() string {
	return fmt.Sprintf("%s: %v here", e.Target, ErrNotFound)
}

// Is makes it an ErrNotFound.
func (e *UnknownTargetError) Is(target error) bool { return target == ErrNotFound }

// checkTarget returns an *UnknownTargetError for an unknown address in a hosted domain. An address
// that only the catch-all would receive counts as unknown: it is probably a typing error, and a
// catch-all that points to itself would lose mail. An empty group counts as known.
func (d *Directory) checkTarget(target addr.Address) error {
	w := d.walk(*d.opts.Load())
	reached, err := w.follow(target)
	key := target.Fold()
	if err == nil && !reached && alwaysRead(key.Local) {
		reached, err = w.postmaster(target.Domain)
	}
	if reached || err != nil {
		return err
	}
	if file, err := d.Domain(target.Domain); err == nil {
		if _, ok := file.Groups[key.Local]; ok {
			return nil
		}
	}
	return &UnknownTargetError{target}
}

// RemoveAlias deletes an alias and the grants to send as it. Otherwise the old holders of the
// grants could send as the next owner of the name. Error: ErrNotFound.
func (d *Directory) RemoveAlias(alias addr.Address) error {
	alias = alias.Fold()
	return d.removeName(alias, func(f *DomainFile) error {
		if _, ok := f.Aliases[alias.Local]; !ok {
			return fmt.Errorf("alias %s: %w", alias, ErrNotFound)
		}
		delete(f.Aliases, alias.Local)
		return nil
	})
}

// removeName deletes a name from its domain's file, with all references to it, so that the next
// owner of the name inherits nothing. It revokes the grants first. If an account cannot be read,
// its grants are unknown and the name stays.
func (d *Directory) removeName(a addr.Address, edit func(*DomainFile) error) error {
	return d.change(func() error {
		err := d.updateDomain(a.Domain, func(f *DomainFile) error {
			if err := edit(f); err != nil {
				return err
			}
			return d.dropGrants(a)
		})
		if err != nil {
			return err
		}
		return d.replaceReferences(a, addr.Address{})
	})
}

// AddGroup creates a group, with or without members.
func (d *Directory) AddGroup(group addr.Address, members []addr.Address) error {
	group = group.Fold()
	return d.change(func() error {
		if err := d.CheckFree(group); err != nil {
			return err
		}
		for _, m := range members {
			if err := d.checkTarget(m); err != nil {
				return err
			}
		}
		return d.updateDomain(group.Domain, func(f *DomainFile) error {
			f.Groups[group.Local] = Group{
				Members: replaceIn(members, addr.Address{}, addr.Address{}), // without duplicates
			}
			return nil
		})
	})
}

// RemoveGroup deletes a group and the grants to send as it. The members' mailboxes stay. Error:
// ErrNotFound.
func (d *Directory) RemoveGroup(group addr.Address) error {
	group = group.Fold()
	return d.removeName(group, func(f *DomainFile) error {
		if _, ok := f.Groups[group.Local]; !ok {
			return fmt.Errorf("group %s: %w", group, ErrNotFound)
		}
		delete(f.Groups, group.Local)
		return nil
	})
}

// AddMember adds members to a group: all of them or, after an error, none. A member may be a
// mailbox, an alias, another group, or a remote address. Errors: ErrNotFound, ErrExists.
func (d *Directory) AddMember(group addr.Address, members ...addr.Address) error {
	return d.change(func() error {
		for _, m := range members {
			if err := d.checkTarget(m); err != nil {
				return err
			}
		}
		return d.editMembers(group, func(list []addr.Address) ([]addr.Address, error) {
			for _, m := range members {
				if names(list, m.Fold()) {
					return nil, fmt.Errorf("%s: %w in %s", m, ErrExists, group)
				}
				list = append(list, m)
			}
			return list, nil
		})
	})
}

// RemoveMember removes members from a group: all of them or, after an error, none. Error:
// ErrNotFound.
func (d *Directory) RemoveMember(group addr.Address, members ...addr.Address) error {
	return d.change(func() error {
		return d.editMembers(group, func(list []addr.Address) ([]addr.Address, error) {
			for _, m := range members {
				if !names(list, m.Fold()) {
					return nil, fmt.Errorf("%s: %w in %s", m, ErrNotFound, group)
				}
				list = replaceIn(list, m.Fold(), addr.Address{})
			}
			return list, nil
		})
	})
}

func (d *Directory) editMembers(group addr.Address,
	edit func([]addr.Address) ([]addr.Address, error)) error {
	return d.editGroup(group, func(g *Group) (err error) {
		g.Members, err = edit(g.Members)
		return err
	})
}

func (d *Directory) editGroup(group addr.Address, edit func(*Group) error) error {
	group = group.Fold()
	return d.updateDomain(group.Domain, func(f *DomainFile) error {
		g, ok := f.Groups[group.Local]
		if !ok {
			return fmt.Errorf("group %s: %w", group, ErrNotFound)
		}
		err := edit(&g)
		f.Groups[group.Local] = g // not written if err is set
		return err
	})
}

// SetCatchAll sets the address that receives mail for unknown addresses of the domain. The zero
// address turns it off.
func (d *Directory) SetCatchAll(name addr.Domain, target addr.Address) error {
	return d.change(func() error {
		if !target.IsZero() {
			if err := d.checkTarget(target); err != nil {
				return err
			}
		}
		return d.updateDomain(name, func(f *DomainFile) error {
			f.CatchAll = target
			return nil
		})
	})
}

// SetForward makes a mailbox forward its mail. No targets turn forwarding off.
func (d *Directory) SetForward(a addr.Address, targets []addr.Address, keepCopy bool) error {
	for _, t := range targets {
		if err := d.checkTarget(t); err != nil {
			return err
		}
	}
	return d.UpdateAccount(a, func(acc *Account) error {
		acc.Forward, acc.KeepCopy = targets, keepCopy && len(targets) > 0
		return nil
	})
}

// PruneDrafts deletes the remains of interrupted changes. The server calls it at start. It
// continues after an error.
func (d *Directory) PruneDrafts() error {
	return d.change(func() error {
		all, err := d.Domains()
		if err != nil {
			return err
		}
		errs := []error{d.pruneIn(rootDir)}
		for _, name := range all {
			errs = append(errs, d.pruneIn(DomainDir(name)))
		}
		return errors.Join(errs...)
	})
}

func (d *Directory) pruneIn(dir string) error {
	entries, err := d.fsys.ReadDir(dir)
	errs := []error{err}
	for _, e := range entries {
		if e.IsDir() && (strings.HasPrefix(e.Name(), ".new-") ||
			strings.HasPrefix(e.Name(), ".removed-")) {
			errs = append(errs, d.fsys.RemoveAll(dir+"/"+e.Name()))
		}
	}
	return errors.Join(errs...)
}

// GrantSendAs permits a mailbox to send as an address of a mailbox, of a group, or of a remote
// server. Errors: ErrNotFound, ErrExists.
func (d *Directory) GrantSendAs(box, as addr.Address) error {
	as = as.Fold()
	if err := d.checkTarget(as); err != nil {
		return err
	}
	return d.UpdateAccount(box, func(acc *Account) error {
		if names(acc.SendAs, as) {
			return fmt.Errorf("grant of %s: %w for %s", as, ErrExists, box)
		}
		acc.SendAs = append(acc.SendAs, as)
		return nil
	})
}

// RevokeSendAs revokes a grant. Error: ErrNotFound.
func (d *Directory) RevokeSendAs(box, as addr.Address) error {
	as = as.Fold()
	return d.UpdateAccount(box, func(acc *Account) error {
		if !names(acc.SendAs, as) {
			return fmt.Errorf("grant of %s: %w for %s", as, ErrNotFound, box)
		}
		acc.SendAs = replaceIn(acc.SendAs, as, addr.Address{})
		return nil
	})
}

// UpdateGroup changes a group: edit changes a copy, which is then written. Error: ErrNotFound.
func (d *Directory) UpdateGroup(group addr.Address, edit func(*Group)) error {
	return d.change(func() error {
		return d.editGroup(group, func(g *Group) error {
			edit(g)
			return nil
		})
	})
}

// AdoptNames renames domain and mailbox directories to lower case. The old Windows server ignored
// the case of their names; here only lower-case names are found. If both spellings exist, it
// changes neither. It returns the renamed directories as "old → new", and those that it could not
// rename.
func (d *Directory) AdoptNames() (renamed, taken []string, err error) {
	err = d.change(func() error {
		domains, err := d.adoptIn(rootDir, "", "", &renamed, &taken)
		if err != nil {
			return err
		}
		var errs []error
		for _, name := range domains {
			_, err := d.adoptIn(rootDir+"/"+name, mailboxPrefix, mailboxSuffix, &renamed, &taken)
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
	return renamed, taken, err
}

// adoptIn renames the directories in dir that have this prefix and suffix, in any case, and returns
// their present names.
func (d *Directory) adoptIn(
	dir, prefix, suffix string, renamed, taken *[]string,
) (names []string, err error) {
	entries, err := d.fsys.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	changed := false
	for _, e := range entries {
		name := e.Name()
		if !e.IsDir() || len(name) <= len(prefix)+len(suffix) || strings.HasPrefix(name, ".") ||
			!strings.EqualFold(name[:len(prefix)], prefix) ||
			!strings.EqualFold(name[len(name)-len(suffix):], suffix) {
			continue
		}
		lower := prefix + strings.ToLower(name[len(prefix):len(name)-len(suffix)]) + suffix
		if lower != name {
			if _, err := d.fsys.Lstat(dir + "/" + lower); !errors.Is(err, fs.ErrNotExist) {
				*taken = append(*taken, dir+"/"+name)
				continue
			}
			if err := d.fsys.Rename(dir+"/"+name, dir+"/"+lower); err != nil {
				return nil, err
			}
			*renamed = append(*renamed, dir+"/"+name+" → "+lower)
			changed = true
		}
		names = append(names, lower)
	}
	if changed {
		err = d.fsys.SyncDir(dir)
	}
	return names, err
}
