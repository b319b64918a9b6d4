package policy

import (
	"cmp"

	"pillarbox/smtp"
)

// Outside sets which users may send to other servers, beside the right of each mailbox.
type Outside struct {
	Send, Receive          Setting[bool] // the rights of a mailbox that has none of its own
	AcceptFrom, RejectFrom AddressList   // users, groups, domains
	PerHour                Setting[int]  // remote recipients per account and hour; 0 means no limit
	Closed                 Setting[bool] // outbound.enabled = false: no mail leaves this server
}

// MayLeave reports whether mail of a user, or of nobody here, may go on to another server when a rule
// of a mailbox sends it there. The recipient was decided about before, as a mailbox.
func (r *Rules) MayLeave(u User) bool {
	f := new(Facts)
	f.User, f.Kind = u, RecipientRemote
	return decide("forward", f, r.closed, r.outside).Verdict != Refuse
}

// closed refuses mail to other servers if this server sends none.
func (r *Rules) closed(d *Decision, f *Facts) bool {
	if !r.Outside.Closed.Value || !f.LeavesServer() && !f.Shared {
		return true
	}
	d.step("outbound.enabled", r.Outside.Closed.Origin, "", isOff)
	return d.refuse(smtp.NewReply(550, [3]int{5, 7, 1}, "%s: this server does not send mail to other servers", f.To),
		"set outbound.enabled = true")
}

// outside decides whether a user may send to other servers.
func (r *Rules) outside(d *Decision, f *Facts) bool {
	u := &f.User
	if u.IsZero() {
		return true
	}
	o, user := &r.Outside, u.Address.String()
	refuse := func(remedy string) bool {
		return d.refuse(smtp.NewReply(550, [3]int{5, 7, 1}, "%s may not send mail to other servers", user), remedy)
	}
	if u.Held {
		d.step("outside.per_hour", o.PerHour.Origin, user, "has sent too much and is held")
		return d.refuse(smtp.NewReply(450, [3]int{4, 7, 1},
			"%s has sent too much mail to other servers and is held; ask your administrator", user),
			"pillarbox admin mailbox release "+user)
	}
	if line, ok := u.match(&o.RejectFrom); ok {
		d.step("outside.reject_from", line.Origin, line.Text, matches)
		return refuse("take \"" + line.Text + "\" (" + line.Origin + ") out of outside.reject_from")
	}
	if line, ok := u.match(&o.AcceptFrom); ok {
		d.step("outside.accept_from", line.Origin, line.Text, matches)
	} else if o.AcceptFrom.Len() > 0 {
		d.step("outside.accept_from", "", user, noMatch)
		return refuse("add \"" + user + "\" to outside.accept_from")
	}
	origin := cmp.Or(u.Right, o.Send.Origin)
	if !u.Outside {
		d.step("outside.send", origin, user, "may send to local recipients only")
		return refuse("pillarbox admin mailbox outside " + user + " allow")
	}
	d.step("outside.send", origin, user, "may send to other servers")
	return true
}

// match looks up the user, then the groups of the user.
func (u *User) match(l *AddressList) (Line, bool) {
	if line, ok := l.Match(u.Address); ok {
		return line, true
	}
	for _, g := range u.Groups {
		if entry, ok := l.exact[g]; ok {
			return l.lines[entry], true
		}
	}
	return Line{}, false
}
