package admin

import (
	"errors"
	"fmt"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/quota"
	"pillarbox/quota/quotamail"
)

// ErrNoNotice means that notices are off, so the event has no message.
var ErrNoNotice = errors.New("notices are off")

// WatchQuota makes fn the function that is called when a mailbox or a domain reaches its warning
// level or its limit. The goroutine that stores the mail calls it, so fn must not block.
func (o *Service) WatchQuota(fn func(quota.Event)) { o.watch.Store(&fn) }

func (o *Service) crossed(e quota.Event) {
	if fn := o.watch.Load(); fn != nil {
		(*fn)(e)
	}
}

// QuotaNotice returns the message about an event, and the directories of the mailboxes that get it.
// A warning goes to the full mailbox itself, even if that forwards its mail. Any other message goes
// to the postmaster. The caller must deliver it even into a full mailbox. id makes the Message-ID
// unique. Errors are ErrNoNotice and those of the directory, for example if the mailbox was
// removed.
func (o *Service) QuotaNotice(e quota.Event, id string, now time.Time) (dirs []string, text []byte, err error) {
	cfg := o.Config()
	if cfg.Mailboxes.Templates.None() {
		return nil, nil, ErrNoNotice
	}
	f := quotamail.Facts{Event: e, Hostname: cfg.Hostname, Date: now, ID: id}
	if err := o.aboutWhom(&f); err != nil {
		return nil, nil, err
	}
	dirs = []string{e.Dir}
	if f.To.IsZero() {
		f.To = addr.Address{Local: "postmaster", Domain: f.Domain}
		if dirs, err = o.dirsOf(f.To); err != nil {
			return nil, nil, err
		}
	}
	text, err = cfg.Mailboxes.Templates.Compose(f)
	return dirs, text, err
}

// aboutWhom sets the domain and the subject of the message. It sets the recipient of a warning.
func (o *Service) aboutWhom(f *quotamail.Facts) (err error) {
	if f.Event.Domain {
		f.Domain, err = o.Dir.DomainAt(f.Event.Dir)
		f.About = string(f.Domain)
		return err
	}
	box, err := o.Dir.MailboxAt(f.Event.Dir)
	f.Domain, f.About = box.Address.Domain, box.Address.String()
	if f.Event.Kind == quota.Warning {
		f.To = box.Address
	}
	return err
}

// dirsOf returns the directories of the mailboxes that get the mail of an address.
func (o *Service) dirsOf(to addr.Address) (dirs []string, err error) {
	res, err := o.Dir.Resolve(to)
	for _, box := range res.Mailboxes {
		dirs = append(dirs, box.Dir)
	}
	if err == nil && dirs == nil {
		err = fmt.Errorf("%s has no mailbox here", to)
	}
	return dirs, err
}
