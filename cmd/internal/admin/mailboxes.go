package admin

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"pillarbox/cmd/internal/clientsetup"
	"pillarbox/cmd/internal/lastlogin"
	"pillarbox/cmd/internal/netinfo"
	"pillarbox/mailstore/absence"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/auth"
	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/track"
	"pillarbox/quota"
)

// NewMailbox holds the first settings of a mailbox.
type NewMailbox struct {
	Password string // "" for none: mail arrives, but a login is impossible
	Quota    string // in the form of SetQuota; "" for the default

	Store []directory.SecretKind // secrets to store beside the password's hash
}

// MailboxSummary is one line of the list of mailboxes.
type MailboxSummary struct {
	Mailbox  addr.Address   `json:"mailbox"`
	Locked   bool           `json:"locked"`            // by itself or by its domain
	Access   string         `json:"access"`            // services that its user may log in to: both, pop3, smtp or none
	Password bool           `json:"password"`          // it has a password
	Quota    int64          `json:"quota"`             // the effective limit in octets; 0 for none
	Forward  []addr.Address `json:"forward"`           // targets of its mail
	KeepCopy bool           `json:"keep_copy"`         // with Forward: the mail also stays here
	Held     bool           `json:"held"`              // it sent too much to other servers, and may send no more until released
	Damaged  bool           `json:"damaged,omitempty"` // its account cannot be read; the other fields are unknown

	Method directory.Method `json:"method"` // checks the password

	Messages  int   `json:"messages"`
	Bytes     int64 `json:"bytes"`               // as POP3 counts them
	Uncounted bool  `json:"uncounted,omitempty"` // the mail could not be counted

	LastLogin        *time.Time   `json:"last_login"`         // null for never, or not since the mailbox was made
	LastLoginService auth.Service `json:"last_login_service"` // "" for never
}

// MailboxStat is the size and the limit of a mailbox.
type MailboxStat struct {
	Mailbox  addr.Address   `json:"mailbox"`
	Messages int            `json:"messages"`
	Bytes    int64          `json:"bytes"` // as POP3 counts them
	Quota    int64          `json:"quota"`
	Forward  []addr.Address `json:"forward"`
	KeepCopy bool           `json:"keep_copy"`
}

// MailboxDetails describes one mailbox.
type MailboxDetails struct {
	MailboxSummary
	Name           string         `json:"name"` // the full name of its user; "" for none
	LockedByDomain bool           `json:"locked_by_domain"`
	DefaultQuota   bool           `json:"default_quota"`  // the quota is from the directory or the default
	Created        *time.Time     `json:"created"`        // null if unknown, as with a mailbox from an old server
	Aliases        []addr.Address `json:"aliases"`        // aliases that lead here in one step
	Groups         []addr.Address `json:"groups"`         // groups that it is a member of
	ForwardedFrom  []addr.Address `json:"forwarded_from"` // mailboxes that forward here
	CatchAllOf     []addr.Domain  `json:"catch_all_of"`
	SendAs         []addr.Address `json:"send_as"`    // addresses that it was granted
	SentAsBy       []addr.Address `json:"sent_as_by"` // mailboxes that may send as this one
	Outside        Entitlement    `json:"outside"`    // the right to send to other servers
	Inbound        Entitlement    `json:"inbound"`    // the right to get mail from other servers

	PasswordSet *time.Time             `json:"password_set"` // null if unknown
	Expired     bool                   `json:"password_expired,omitempty"`
	Secrets     []directory.SecretKind `json:"secrets"` // stored beside the password's hash
	LogIns      []LogInWay             `json:"log_ins"`
	ClientCerts []directory.ClientCert `json:"client_certs"`

	AppPasswords []AppPasswordStatus `json:"app_passwords"`
	SecondFactor SecondFactorDetails `json:"second_factor"`
	Archive      addr.Address        `json:"archive"`    // gets a copy of all mail; "" for none
	RuleCount    int                 `json:"rule_count"` // number of its rules
	Absence      absence.State       `json:"absence"`    // of its user, today
}

// Entitlement is a right with its origin.
type Entitlement struct {
	May bool  `json:"may"` // the effective right
	Own Right `json:"own"` // the setting of the mailbox itself
}

// changeMailbox is the common part of the verbs that change one mailbox.
func (o *Service) changeMailbox(user, done string, do func(addr.Address) (warnings []string, err error)) (Change, error) {
	a, err := o.ParseUser(user)
	if err != nil {
		return Change{}, err
	}
	a = a.Fold()
	if err := o.requireName(a); err != nil {
		return Change{}, err
	}
	warnings, err := do(a)
	return changed(o.explain(err, a.Domain, "domain show "+string(a.Domain)), warnings, "mailbox %s %s", a, done)
}

// MailboxToAdd is the input of MailboxAdd. Try only checks the name and a password that is given,
// so that no person is asked for a password in vain, and returns the rules for a password.
type MailboxToAdd struct {
	User string
	NewMailbox
	Try bool
}

func (o *Service) addMailbox(in MailboxToAdd) (Change, error) {
	if err := checkSecrets(in.Store); err != nil {
		return Change{}, err
	}
	if in.Try {
		_, err := o.changeMailbox(in.User, "", func(a addr.Address) ([]string, error) {
			if err := o.Dir.CheckFree(a); err != nil {
				return nil, err
			}
			return nil, o.tryPassword(a, in.Password)
		})
		return Change{Text: o.Keeper.Rules().Text()}, err
	}
	return o.AddMailbox(in.User, in.NewMailbox)
}

// AddMailbox adds a mailbox.
func (o *Service) AddMailbox(user string, n NewMailbox) (Change, error) {
	return o.changeMailbox(user, "added", func(a addr.Address) ([]string, error) {
		if err := o.Dir.CheckFree(a); err != nil {
			return nil, err
		}
		account, err := o.newAccount(a, n)
		if err == nil {
			_, err = o.Dir.AddMailbox(a, account)
		}
		warnings := o.choiceWarnings(a, n.Store)
		if note := ASCIINote(a); note != "" {
			warnings = append(warnings, note)
		}
		return warnings, err
	})
}

// RemoveMailbox deletes a mailbox, its mail, and every alias, membership and forwarding to it.
func (o *Service) RemoveMailbox(user string) (Change, error) {
	return o.changeMailbox(user, "removed", func(a addr.Address) ([]string, error) {
		if err := o.requireStanding(a); err != nil {
			return nil, err
		}
		if err := o.exclusively(func() error { return o.Dir.RemoveMailbox(a) }); err != nil {
			return nil, err
		}
		o.addEvent(track.Event{Kind: track.Removed, To: a.String(), Text: "the whole mailbox"})
		return nil, nil
	})
}

// MailboxToRemove is the input of MailboxRemove. Sure skips the question.
type MailboxToRemove struct {
	User string
	Sure bool
}

// removeMailbox asks first. A damaged mailbox can go too, though its mail cannot be counted.
func (o *Service) removeMailbox(in MailboxToRemove) (Change, error) {
	if !in.Sure {
		box, err := o.StatMailbox(in.User)
		switch {
		case errors.Is(err, directory.ErrDamaged):
			err = confirm(false, "Remove the damaged mailbox %s with all its mail?", in.User)
		case err == nil:
			err = confirm(false, "Remove the mailbox %s with its %d messages (%s)?", box.Mailbox, box.Messages, quota.Approximate(box.Bytes, 0))
		}
		return Change{}, err
	}
	return o.RemoveMailbox(in.User)
}

// RenameMailbox gives a mailbox another name. Aliases, groups and forwardings to it follow.
func (o *Service) RenameMailbox(user, name string) (Change, error) {
	old, names, err := o.parseNames(user, name)
	if err != nil {
		return Change{}, err
	}
	next := names[0].Fold()
	if err := o.requireStanding(old); err != nil {
		return Change{}, err
	}
	if err := o.requireMembers(next); err != nil {
		return Change{}, err
	}
	err = o.exclusively(func() error { return o.Dir.RenameMailbox(old, next) })
	domain := old.Domain
	if _, missing := o.Dir.Mailbox(old); missing == nil {
		domain = next.Domain // the old mailbox exists, so the new name is the problem
	}
	warnings := []string{fmt.Sprintf("mail to the old address is now refused; to accept it, run 'pillarbox admin alias add %s %s'", old, next)}
	if note := ASCIINote(next); note != "" {
		warnings = append(warnings, note)
	}
	return changed(o.explain(err, domain, "domain show "+string(domain)), warnings, "mailbox %s renamed to %s", old, next)
}

// updateAccount is changeMailbox for a change of only the account file.
func (o *Service) updateAccount(user, done string, edit func(*directory.Account) error) (Change, error) {
	return o.changeMailbox(user, done, func(a addr.Address) ([]string, error) {
		return nil, o.Dir.UpdateAccount(a, edit)
	})
}

// LockMailbox locks a mailbox: its user cannot log in, but mail still arrives.
func (o *Service) LockMailbox(user string) (Change, error) {
	return o.updateAccount(user, "locked", func(acc *directory.Account) error {
		acc.Locked = true
		return nil
	})
}

// UnlockMailbox undoes LockMailbox. The mailbox stays locked if its domain is.
func (o *Service) UnlockMailbox(user string) (Change, error) {
	return o.changeMailbox(user, "unlocked", func(a addr.Address) (warnings []string, err error) {
		err = o.Dir.UpdateAccount(a, func(acc *directory.Account) error {
			acc.Locked = false
			return nil
		})
		if box, lookup := o.Dir.Mailbox(a); lookup == nil && box.Locked {
			warnings = []string{fmt.Sprintf("the domain %s is locked, and so is every mailbox in it; 'pillarbox admin domain unlock %[1]s'", a.Domain)}
		}
		return warnings, err
	})
}

// SetMailboxName gives a mailbox the full name of its user, or none if name is "".
func (o *Service) SetMailboxName(user, name string) (Change, error) {
	done := "has no full name now"
	if name != "" {
		done = "has the full name " + strings.Join(strings.Fields(name), " ")
	}
	return o.changeMailbox(user, done, func(a addr.Address) (warnings []string, err error) {
		others, err := o.Dir.SetFullName(a, name)
		if errors.Is(err, directory.ErrFullName) {
			err = Hint(err, "write it as 'John Doe'")
		}
		if len(others) > 0 {
			warnings = append(warnings, fmt.Sprintf("%s has this name too: no login by it is possible", joinAddresses(others)))
		}
		if names := o.Config().LogIns.Names; err == nil && name != "" && names != directory.LoginByName {
			warnings = append(warnings, fmt.Sprintf("no user can log in by a full name, because auth.login_names is %q", names))
		}
		return warnings, err
	})
}

// accessBoth is directory.AccessBoth in the form of the command line.
const accessBoth = "both"

// SetMailboxAccess sets the services that the user of a mailbox may log in to: pop3, smtp, both or
// none. Mail still arrives.
func (o *Service) SetMailboxAccess(user, services string) (Change, error) {
	var access directory.Access
	if services = strings.ToLower(services); services != accessBoth {
		if err := access.UnmarshalText([]byte(services)); err != nil || services == "" {
			return Change{}, Hint(fmt.Errorf("%q does not name the services of a mailbox", services), "write pop3, smtp, both or none")
		}
	}
	done := map[directory.Access]string{
		directory.AccessBoth: "may use POP3 and SMTP", directory.AccessPOP3: "may use POP3 only: it cannot send",
		directory.AccessSMTP: "may use SMTP only: it cannot be read", directory.AccessNone: "may use neither POP3 nor SMTP",
	}[access]
	return o.updateAccount(user, done, func(acc *directory.Account) error {
		acc.Access = access
		return nil
	})
}

func accessText(a directory.Access) string {
	if a == directory.AccessBoth {
		return accessBoth
	}
	return string(a)
}

// SetForward forwards the mail of a mailbox to other addresses, local or remote. With keepCopy, a
// copy stays in the mailbox.
func (o *Service) SetForward(user string, targets []string, keepCopy bool) (Change, error) {
	a, all, err := o.parseNames(user, targets...)
	if err != nil {
		return Change{}, err
	}
	for _, t := range all {
		if t.Fold() == a {
			return Change{}, Hint(fmt.Errorf("%s cannot forward to itself", a), "--keep-copy leaves a copy in the mailbox")
		}
	}
	if err := o.requireTargets(all...); err != nil {
		return Change{}, err
	}
	done := "forwards to " + joinAddresses(all) + "; no copy stays in it"
	if keepCopy {
		done = "forwards to " + joinAddresses(all) + "; a copy stays in it"
	}
	return o.changeMailbox(user, done, func(a addr.Address) ([]string, error) {
		warnings := o.elsewhere(a.String(), all...)
		before, lookup := o.Dir.Mailbox(a)
		err := o.Dir.SetForward(a, all, keepCopy)
		if old := before.Account.Forward; lookup == nil && len(old) > 0 && !slices.Equal(old, all) {
			warnings = append(warnings, "it no longer forwards as before, to "+joinAddresses(old)+
				"; for several targets, name them all")
		}
		return warnings, err
	})
}

// Forwarding is the input of MailboxForward; without Targets it is turned off.
type Forwarding struct {
	User     string
	Targets  []string
	KeepCopy bool
}

func (o *Service) forward(in Forwarding) (Change, error) {
	if len(in.Targets) == 0 {
		return o.ClearForward(in.User)
	}
	return o.SetForward(in.User, in.Targets, in.KeepCopy)
}

// ClearForward ends the forwarding.
func (o *Service) ClearForward(user string) (Change, error) {
	return o.changeMailbox(user, "does not forward now", func(a addr.Address) ([]string, error) {
		return nil, o.Dir.SetForward(a, nil, false)
	})
}

func joinAddresses(all []addr.Address) string {
	texts := make([]string, len(all))
	for i, a := range all {
		texts[i] = a.String()
	}
	return strings.Join(texts, ", ")
}

// ListMailboxes lists the mailboxes of a domain, or of all domains for "".
func (o *Service) ListMailboxes(domain string) ([]MailboxSummary, error) {
	return eachMailbox(o, domain, o.lister())
}

// lister returns a function that makes the line of a mailbox for a list.
func (o *Service) lister() func(directory.Mailbox) (MailboxSummary, error) {
	lastLogin := o.lastLogins()
	return func(box directory.Mailbox) (MailboxSummary, error) {
		m := o.summary(box)
		m.setLastLogin(lastLogin(box.Address, "", box.Account.Created))
		used, err := o.usage(box.Dir)
		if err != nil {
			o.note("the mail of %s cannot be counted: %v", box.Address, err)
		}
		m.Messages, m.Bytes, m.Uncounted = int(used.Messages), used.Bytes, err != nil
		return m, nil
	}
}

// lastLogins returns a function that finds last logins: see lastlogin.Keeper.Snapshot.
func (o *Service) lastLogins() lastlogin.Find {
	find, err := o.LastLogins.Snapshot()
	if err != nil {
		o.note("last logins cannot be read: %v", err)
	}
	return find
}

func (m *MailboxSummary) setLastLogin(l lastlogin.Login, ok bool) {
	if ok {
		m.LastLogin, m.LastLoginService = &l.Time, l.Service
	}
}

// StatMailboxes counts the mail of each mailbox of a domain, or of all domains for "".
func (o *Service) StatMailboxes(domain string) ([]MailboxStat, error) {
	return eachMailbox(o, domain, o.stat)
}

func eachMailbox[T any](o *Service, domain string, look func(directory.Mailbox) (T, error)) ([]T, error) {
	all := []T{}
	err := o.files(domain, func(d addr.Domain, _ *directory.DomainFile) error {
		boxes, err := o.Dir.MailboxesAsFound(d)
		if err != nil {
			return err
		}
		more, err := lookAt(o, boxes, look)
		all = append(all, more...)
		return err
	})
	return all, err
}

// lookAt returns the results of look for mailboxes, and notes those that cannot be read.
func lookAt[T any](
	o *Service, boxes []directory.Mailbox, look func(directory.Mailbox) (T, error),
) (all []T, err error) {
	for _, box := range boxes {
		one, err := look(box)
		if box.Damage != nil {
			o.cannotRead("mailbox "+box.Address.String(), box.Address.Domain, box.Damage)
		} else if errors.Is(err, fs.ErrPermission) {
			o.cannotRead("mailbox "+box.Address.String(), box.Address.Domain, err)
			continue
		}
		if err != nil {
			return all, err
		}
		all = append(all, one)
	}
	return all, nil
}

func (o *Service) summary(box directory.Mailbox) MailboxSummary {
	return MailboxSummary{
		Mailbox:  box.Address,
		Locked:   box.Locked,
		Access:   accessText(box.Account.Access),
		Password: box.Account.Verifier != "",
		Quota:    o.limitsOf(box).Bytes,
		Forward:  orEmpty(box.Account.Forward),
		KeepCopy: box.Account.KeepCopy,
		Held:     box.Account.Held,
		Damaged:  box.Damage != nil,
		Method:   box.Method,
	}
}

func (o *Service) stat(box directory.Mailbox) (MailboxStat, error) {
	held, err := o.Store.Stat(box.Dir)
	return MailboxStat{
		Mailbox:  box.Address,
		Messages: held.Messages,
		Bytes:    held.Bytes,
		Quota:    o.limitsOf(box).Bytes,
		Forward:  orEmpty(box.Account.Forward),
		KeepCopy: box.Account.KeepCopy,
	}, err
}

// mailbox returns the mailbox of a user name or an address.
func (o *Service) mailbox(user string) (directory.Mailbox, error) {
	a, err := o.ParseUser(user)
	if err != nil {
		return directory.Mailbox{}, err
	}
	if err := o.Require(a.Domain, false); err != nil {
		return directory.Mailbox{}, err
	}
	box, err := o.Dir.Mailbox(a)
	return box, o.explain(err, a.Domain, "domain show "+string(a.Domain))
}

// StatMailbox counts the mail of one mailbox.
func (o *Service) StatMailbox(user string) (MailboxStat, error) {
	box, err := o.mailbox(user)
	if err != nil {
		return MailboxStat{}, err
	}
	return o.stat(box)
}

// ClientSettings are what the user of a mailbox types into a mail program.
func (o *Service) ClientSettings(user string) (clientsetup.Settings, error) {
	a, err := o.ParseUser(user)
	if err == nil {
		err = o.Require(a.Domain, false)
	}
	if err != nil {
		return clientsetup.Settings{}, err
	}
	box, err := o.Dir.Mailbox(a)
	if err != nil {
		return clientsetup.Settings{}, Hint(err, "pillarbox admin mailbox list")
	}
	interfaces, err := netinfo.Interfaces()
	if err != nil {
		return clientsetup.Settings{}, fmt.Errorf("network interfaces: %w", err)
	}
	s := clientsetup.For(o.Config(), box.Address, netinfo.Addresses(interfaces))
	if m, err := OpenCertificate(o.Config()); err == nil && m.Info().CA != nil {
		s.CA = m.Info().CA.Fingerprint
	}
	return s, nil
}

// ShowMailbox returns the details of one mailbox, without its verifier.
func (o *Service) ShowMailbox(user string) (MailboxDetails, error) {
	box, err := o.mailbox(user)
	if err != nil {
		return MailboxDetails{}, err
	}
	held, err := o.Store.Stat(box.Dir)
	if err != nil {
		return MailboxDetails{}, err
	}
	domain, err := o.Dir.Domain(box.Address.Domain)
	if err != nil {
		return MailboxDetails{}, o.explain(err, box.Address.Domain, "domain list")
	}
	refs, err := o.references("", func(a addr.Address) bool { return a.Fold() == box.Address })
	if err != nil {
		return MailboxDetails{}, o.explain(err, box.Address.Domain, "domain list")
	}
	details := MailboxDetails{
		MailboxSummary: o.summary(box),
		Name:           domain.FullName(box.Address),
		LockedByDomain: domain.Locked,
		DefaultQuota:   box.Account.Quota == 0,
		Aliases:        orEmpty(refs.aliases),
		Groups:         orEmpty(refs.groups),
		ForwardedFrom:  orEmpty(refs.forwards),
		CatchAllOf:     orEmpty(refs.catchAlls),
		SendAs:         orEmpty(box.Account.SendAs),
		SentAsBy:       orEmpty(refs.grants),
		Outside:        Entitlement{Own: rightOf(box.Account.Outside)},
		Inbound:        Entitlement{Own: rightOf(box.Account.Inbound)},
		Secrets:        orEmpty(box.Account.Secrets.Kinds),
		LogIns:         o.logInWays(box),
		ClientCerts:    orEmpty(box.Account.ClientCerts),
		AppPasswords:   o.appPasswords(box),
		SecondFactor:   secondFactors(box),
		Archive:        box.Account.Archive,
		RuleCount:      len(box.Account.Rules),
		Absence:        box.Account.Absence.StateAt(time.Now()),
		Expired:        box.Method == directory.ByFile && box.Account.Verifier != "" && o.Keeper.Expired(&box.Account, time.Now()),
	}
	if details.Outside.May, err = o.Dir.MayOutside(box, o.Config().Policy.Outside.Send.Value); err != nil {
		return MailboxDetails{}, o.explain(err, box.Address.Domain, "domain list")
	}
	if details.Inbound.May, err = o.Dir.MayInbound(box, o.Config().Policy.Outside.Receive.Value); err != nil {
		return MailboxDetails{}, o.explain(err, box.Address.Domain, "domain list")
	}
	details.Messages, details.Bytes = held.Messages, held.Bytes
	details.setLastLogin(o.lastLogins()(box.Address, "", box.Account.Created))
	if !box.Account.Created.IsZero() {
		details.Created = &box.Account.Created
	}
	if !box.Account.PasswordSet.IsZero() {
		details.PasswordSet = &box.Account.PasswordSet
	}
	return details, nil
}
