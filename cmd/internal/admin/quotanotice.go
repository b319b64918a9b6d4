package admin

import (
	"errors"
	"fmt"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/quota"
	"pillarbox/quota/quotamail"
)

// ErrNoNotice says that nobody is told of an event: notices are off.
var ErrNoNotice = errors.New("notices are off")

// WatchQuota makes fn be told when a mailbox or a domain has become fuller than it should, by whatever goroutine
// brought that about: it must not block.
func (o *Service) WatchQuota(fn func(quota.Event)) { o.watch.Store(&fn) }

func (o *Service) crossed(e quota.Event) {
	if fn := o.watch.Load(); fn != nil {
		(*fn)(e)
	}
}

// QuotaNotice writes the message about an event, and says into which mailboxes it goes: a warning into the mailbox that
// it is about, whatever that forwards, and everything else into the postmaster's. It is to be put there even if they are
// full. id makes its Message-ID unique. Errors are ErrNoNotice and those of the directory, as when the mailbox is gone.
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

// aboutWhom fills in what the event's directory tells, and who is told unless it is the postmaster.
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

// dirsOf are the mailboxes here that mail to an address reaches.
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
