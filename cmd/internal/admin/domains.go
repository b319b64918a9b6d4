package admin

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
	"pillarbox/quota"
)

// DomainSummary is one line of the list of domains.
type DomainSummary struct {
	Domain    addr.Domain  `json:"domain"`
	Default   bool         `json:"default"`   // login names without a domain are in it
	Locked    bool         `json:"locked"`    // locks every mailbox in it
	CatchAll  addr.Address `json:"catch_all"` // "" for none
	Mailboxes int          `json:"mailboxes"` // numbers
	Aliases   int          `json:"aliases"`
	Groups    int          `json:"groups"`
	// Archive is the mailbox that gets a copy of all mail; "" for none.
	Archive addr.Address     `json:"archive"`
	Footer  directory.Footer `json:"footer,omitzero"` // of mail to other servers
}

// DomainDetails describes one domain.
type DomainDetails struct {
	Domain   addr.Domain  `json:"domain"`
	Default  bool         `json:"default"`
	Locked   bool         `json:"locked"`
	CatchAll addr.Address `json:"catch_all"`

	Method        directory.Method `json:"method"` // checks the passwords
	DefaultMethod bool             `json:"default_method"`

	Archive addr.Address     `json:"archive"`         // gets a copy of all mail; "" for none
	Footer  directory.Footer `json:"footer,omitzero"` // of mail to other servers

	Mailboxes []addr.Address `json:"mailboxes"`
	Aliases   []Alias        `json:"aliases"`
	Groups    []Group        `json:"groups"`
}

// DomainStat is the total of the mail in the mailboxes of a domain.
type DomainStat struct {
	Domain    addr.Domain `json:"domain"`
	Mailboxes int         `json:"mailboxes"`
	Messages  int         `json:"messages"`
	Bytes     int64       `json:"bytes"` // as POP3 counts them
}

// CheckNewDomain refuses a name that mail cannot be sent to: an IP address, or a name without a
// dot, which other programs take for a computer of the network.
func CheckNewDomain(d addr.Domain) error {
	const example = "write it like office.example"
	if _, err := netip.ParseAddr(string(d)); err == nil {
		return Hint(fmt.Errorf("%s is an IP address, not a domain: mail addresses end in a domain", d),
			example+"; clients reach the server at its address all the same")
	}
	if !d.IsLiteral() && !strings.Contains(string(d), ".") {
		return Hint(fmt.Errorf("%q has no dot: mail programs and other servers refuse such a domain", d),
			example+"; %[1]s.example and %[1]s.lan would do", d)
	}
	return nil
}

func (o *Service) parseDomain(name string) (addr.Domain, error) {
	d, err := addr.ParseDomain(name)
	return d, Hint(err, "write it like office.example")
}

// changeDomain is the common part of the verbs that change one domain.
func (o *Service) changeDomain(name, done string, do func(addr.Domain) (warnings []string, err error)) (Change, error) {
	d, err := o.parseDomain(name)
	if err != nil {
		return Change{}, err
	}
	if err := o.Require(d, true); err != nil {
		return Change{}, err
	}
	warnings, err := do(d)
	return changed(o.explain(err, d, "domain list"), warnings, "domain %s %s", d, done)
}

// AddDomain adds a hosted domain.
func (o *Service) AddDomain(name string) (Change, error) {
	return o.changeDomain(name, "added", func(d addr.Domain) ([]string, error) {
		if err := CheckNewDomain(d); err != nil {
			return nil, err
		}
		err := o.Dir.AddDomain(d)
		if errors.Is(err, directory.ErrName) {
			err = Hint(err, "write it like office.example")
		}
		return nil, err
	})
}

// RemoveDomain removes a hosted domain. With withMailboxes it also deletes its mailboxes and all
// their mail; without it, a domain with mailboxes is an error.
func (o *Service) RemoveDomain(name string, withMailboxes bool) (Change, error) {
	return o.changeDomain(name, "removed", func(d addr.Domain) ([]string, error) {
		refs, err := o.references(d, func(a addr.Address) bool { return a.Domain == d })
		if err != nil {
			return nil, err
		}
		var warnings []string
		for _, from := range refs.all() {
			warnings = append(warnings, fmt.Sprintf("%s still leads to an address in %s, which is now a remote domain", from, d))
		}
		for _, box := range refs.grants {
			warnings = append(warnings, fmt.Sprintf("%s may still send as an address in %s; 'pillarbox admin sendas list %[1]s' shows it", box, d))
		}
		return warnings, o.exclusively(func() error { return o.Dir.RemoveDomain(d, withMailboxes) })
	})
}

// DomainToRemove is the input of DomainRemove. Sure skips the question.
type DomainToRemove struct {
	Name                string
	WithMailboxes, Sure bool
}

// removeDomain asks first, unless the domain would stay anyway.
func (o *Service) removeDomain(in DomainToRemove) (Change, error) {
	if !in.Sure {
		d, err := o.StatDomain(in.Name)
		switch {
		case errors.Is(err, directory.ErrDamaged):
			err = confirm(false, "Remove the damaged domain %s with all its mail?", in.Name)
		case err == nil && (d.Mailboxes == 0 || in.WithMailboxes):
			err = confirm(false, "Remove the domain %s with %d mailboxes and their %d messages (%s)?", d.Domain, d.Mailboxes, d.Messages, quota.Approximate(d.Bytes, 0))
		}
		if err != nil {
			return Change{}, err
		}
	}
	return o.RemoveDomain(in.Name, in.WithMailboxes)
}

// LockDomain locks every mailbox of a domain: users cannot log in, but mail still arrives.
func (o *Service) LockDomain(name string) (Change, error) {
	return o.setDomainLock(name, "locked", true)
}

// UnlockDomain undoes LockDomain. Mailboxes with a lock of their own keep it.
func (o *Service) UnlockDomain(name string) (Change, error) {
	return o.setDomainLock(name, "unlocked", false)
}

func (o *Service) setDomainLock(name, done string, locked bool) (Change, error) {
	return o.changeDomain(name, done, func(d addr.Domain) ([]string, error) {
		return nil, o.Dir.UpdateDomain(d, func(f *directory.DomainFile) error {
			f.Locked = locked
			return nil
		})
	})
}

// SetCatchAll sets the address that gets the mail to unknown addresses of a domain.
func (o *Service) SetCatchAll(domain, target string) (Change, error) {
	if target == "" {
		return o.changeDomain(domain, "has no catch-all now", func(d addr.Domain) ([]string, error) {
			return nil, o.Dir.SetCatchAll(d, addr.Address{})
		})
	}
	d, err := o.parseDomain(domain)
	if err != nil {
		return Change{}, err
	}
	t, err := o.parseNext(target, d)
	if err != nil {
		return Change{}, err
	}
	if err := errors.Join(o.Require(d, true), o.requireTargets(t)); err != nil {
		return Change{}, err
	}
	err = o.Dir.SetCatchAll(d, t)
	return changed(o.explain(err, d, "domain show "+string(t.Domain)), o.elsewhere("unknown addresses of the domain", t), "domain %s: catch-all set to %s", d, t)
}

// ListDomains lists the hosted domains in alphabetical order.
func (o *Service) ListDomains() ([]DomainSummary, error) {
	all, standard := []DomainSummary{}, o.Dir.DefaultDomain()
	err := o.files("", func(d addr.Domain, file *directory.DomainFile) error {
		boxes, err := o.Dir.MailboxNames(d)
		all = append(all, DomainSummary{
			Domain: d, Default: d == standard, Locked: file.Locked, CatchAll: file.CatchAll,
			Mailboxes: len(boxes), Aliases: len(file.Aliases), Groups: len(file.Groups),
			Archive: file.Archive, Footer: file.Footer,
		})
		return err
	})
	return all, err
}

// ShowDomain returns the details of one domain.
func (o *Service) ShowDomain(name string) (DomainDetails, error) {
	d, err := o.parseDomain(name)
	if err != nil {
		return DomainDetails{}, err
	}
	if err := o.Require(d, false); err != nil {
		return DomainDetails{}, err
	}
	file, err := o.Dir.Domain(d)
	if err != nil {
		return DomainDetails{}, o.explain(err, d, "domain list")
	}
	boxes, err := o.Dir.MailboxesAsFound(d)
	details := DomainDetails{
		Domain: d, Default: d == o.Dir.DefaultDomain(), Locked: file.Locked, CatchAll: file.CatchAll,
		Mailboxes: []addr.Address{}, Aliases: aliasesOf(d, file), Groups: o.groupsOf(d, file),
		Archive: file.Archive, Footer: file.Footer,
	}
	for _, box := range boxes {
		details.Mailboxes = append(details.Mailboxes, box.Address)
	}
	if details.Method, details.DefaultMethod = o.Dir.Named(file.Method), file.Method == ""; details.DefaultMethod {
		details.Method = o.Dir.Named(o.Config().LogIns.Method)
	}
	return details, o.explain(err, d, "domain list")
}

// StatDomain counts the mail of a domain.
func (o *Service) StatDomain(name string) (DomainStat, error) {
	d, err := o.parseDomain(name)
	if err != nil {
		return DomainStat{}, err
	}
	boxes, err := o.StatMailboxes(name)
	total := DomainStat{Domain: d, Mailboxes: len(boxes)}
	for _, box := range boxes {
		total.Messages += box.Messages
		total.Bytes += box.Bytes
	}
	return total, err
}

// StatDomains counts the mail of every domain.
func (o *Service) StatDomains() ([]DomainStat, error) {
	all := []DomainStat{}
	names, err := o.domains("")
	for _, d := range names {
		one, err := o.StatDomain(string(d))
		if err != nil && unreadable(err) {
			o.cannotRead("domain "+string(d), d, err)
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, err
}
