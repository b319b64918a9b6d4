package server

import (
	"fmt"
	"strings"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
	"pillarbox/smtp"
	"pillarbox/smtp/policy"
)

// gatherDeviceUse adds the fact that the device has used up its limit for this hour.
func (s *session) gatherDeviceUse(f *policy.Facts) {
	if key, limit := deviceKey(f); limit > 0 {
		f.Device.Over = s.srv.Rates.Used(key) >= limit
	}
}

// countDevice counts an accepted recipient of a device.
func (s *session) countDevice(f *policy.Facts) {
	if key, limit := deviceKey(f); limit > 0 {
		s.srv.Rates.Take(key, 1, limit)
	}
}

func deviceKey(f *policy.Facts) (key string, limit int) {
	if f.Device == nil || !f.User.IsZero() {
		return "", 0
	}
	return "device " + f.Device.Name, f.Device.PerHour
}

// countRemote counts a remote recipient of the user, and returns the refusal if the account has
// used up its limit for this hour. The account is then held until an administrator releases it: a
// stolen password looks like this. The postmaster gets one notice.
func (s *session) countRemote(f *policy.Facts) *smtp.Reply {
	if !f.LeavesServer() || f.User.IsZero() || s.cfg.Rules.Outside.PerHour.Value == 0 {
		return nil
	}
	user := f.User.Address
	key, limit := "user "+user.String(), s.cfg.Rules.Outside.PerHour.Value
	s.srv.holding.Lock()
	defer s.srv.holding.Unlock()
	use := s.srv.Rates.Take(key, 1, limit)
	if !use.OK && !use.First && s.released(user) {
		s.srv.Rates.Forget(key)
		use = s.srv.Rates.Take(key, 1, limit)
	}
	if use.OK {
		return nil
	}
	held := smtp.NewReply(450, [3]int{4, 7, 1}, "%s has sent too much mail to other servers and is held; ask your administrator", user)
	if !use.First {
		return held
	}
	s.log.Warn("account held: too much mail to other servers", "user", user.String(), "recipients_in_hour", use.Used, "limit", limit)
	if err := s.srv.Dir.UpdateAccount(user, func(a *directory.Account) error { a.Held = true; return nil }); err != nil {
		s.log.Error("cannot hold an account", "user", user.String(), "error", err)
	}
	s.notifyPostmaster(user)
	return held
}

// released reports whether an administrator has released an account that was held. Its hour then
// begins anew.
func (s *session) released(user addr.Address) bool {
	box, err := s.srv.Dir.Mailbox(user)
	return err == nil && !box.Account.Held
}

// notifyPostmaster delivers a notice to the postmaster, unless there were too many within the hour.
func (s *session) notifyPostmaster(user addr.Address) {
	postmaster := addr.Address{Local: "postmaster", Domain: user.Domain}
	res, err := s.srv.Dir.Resolve(postmaster)
	if err != nil || len(res.Mailboxes) == 0 {
		s.log.Error("cannot deliver the notice to the postmaster", "user", user.String(), "error", err)
		return
	}
	var dirs []string
	for _, box := range res.Mailboxes {
		dirs = append(dirs, box.Dir)
	}
	if !s.srv.Delivery.MayNotify(strings.Join(dirs, " ")) {
		s.log.Info("notice not delivered: too many within the hour", "mailboxes", dirs,
			"suppressed", s.srv.Delivery.SuppressNotice())
		return
	}
	in := s.srv.Store.Create()
	defer in.Abort()
	host, date := s.cfg.Wire.Hostname, s.srv.now().Format(smtp.DateLayout)
	text := fmt.Sprintf(heldNotice, host, postmaster, user, date, in.ID(), host,
		user, s.cfg.Rules.Outside.PerHour.Value, s.remote.Addr(), user, user)
	fmt.Fprint(in, strings.ReplaceAll(text, "\n", "\r\n"))
	if _, err := in.Commit(dirs); err != nil {
		s.log.Error("cannot deliver the notice to the postmaster", "user", user.String(), "error", err)
	}
}

const heldNotice = `Return-Path: <>
From: Mail server <postmaster@%s>
To: <%s>
Subject: %s is held: too much mail to other servers
Date: %s
Message-ID: <%s@%s>
Auto-Submitted: auto-generated

The account %s has sent to more than %d recipients on other servers within an
hour, most recently from %s. Its mail to other servers is refused until you
release it. It can still read mail, and send to local recipients.

The cause may be a newsletter. If the password may be stolen, change it first.

    pillarbox admin mailbox passwd %s
    pillarbox admin mailbox release %s
`
