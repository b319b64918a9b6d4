package admin

import (
	"errors"
	"strings"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
)

// MailboxSearch asks for some of the mailboxes of a domain, or of all domains for "".
type MailboxSearch struct {
	Domain string
	Find   string // a part of the address
	Locked bool   // only locked mailboxes
	From   int    // the first one to return, from 0 on
	Limit  int    // how many to return
}

// MailboxesFound is the answer to a MailboxSearch: some of the mailboxes, and the number of all that
// were found.
type MailboxesFound struct {
	Mailboxes []MailboxSummary `json:"mailboxes"`
	Count     int              `json:"count"`
}

// findMailboxes searches by name, and counts mail only in the mailboxes that it returns.
func (o *Service) findMailboxes(q MailboxSearch) (out MailboxesFound, err error) {
	var wanted []directory.Mailbox
	find := strings.ToLower(strings.TrimSpace(q.Find))
	err = o.files(q.Domain, func(d addr.Domain, file *directory.DomainFile) error {
		names, err := o.candidates(d, q.Locked && !file.Locked)
		for _, name := range names {
			if !contains(name, string(d), find) {
				continue
			}
			if out.Count++; out.Count > q.From && len(wanted) < q.Limit {
				a := addr.Address{Local: name, Domain: d}
				box, err := o.Dir.MailboxAsFound(a)
				if errors.Is(err, directory.ErrNotFound) {
					continue // removed since the listing
				} else if err != nil {
					return err
				}
				wanted = append(wanted, box)
			}
		}
		return err
	})
	if err != nil {
		return out, err
	}
	rows, err := lookAt(o, wanted, o.lister())
	out.Mailboxes = orEmpty(rows)
	return out, err
}

// candidates returns the names of the mailboxes of a domain, or only of those whose account is
// locked.
func (o *Service) candidates(d addr.Domain, locked bool) (names []string, err error) {
	if !locked {
		return o.Dir.MailboxNames(d)
	}
	all, err := o.Dir.Digests(d)
	for i := range all {
		if all[i].Locked {
			names = append(names, all[i].Name)
		}
	}
	return names, err
}

// contains reports whether an address has a text in it. It makes an address only if the text has an
// "@", because a large office has many.
func contains(local, domain, text string) bool {
	if strings.Contains(text, "@") {
		return strings.Contains(local+"@"+domain, text)
	}
	return strings.Contains(local, text) || strings.Contains(domain, text)
}
