package policy

import (
	"strconv"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
	"pillarbox/smtp/route"
)

// Routes sets who may send by which route ("Delivery restrictions" of a connector). The zero value
// restricts nothing.
type Routes struct {
	Table *route.Table
	Limit []RouteLimit // parallel to Table.Routes
}

// RouteLimit restricts one route: users, groups and domains of senders, and the size of messages.
type RouteLimit struct {
	AcceptFrom, RejectFrom AddressList
	MaxSize                Setting[int64] // octets; 0 means no limit
}

// of returns the limit of the route of a domain, and the name of the route.
func (r *Routes) of(domain addr.Domain) (*RouteLimit, string) {
	if r.Table == nil {
		return nil, ""
	}
	found := r.Table.For(domain)
	for i := range r.Limit {
		if &r.Table.Routes[i] == found {
			return &r.Limit[i], found.Name
		}
	}
	return nil, ""
}

// route decides whether a message may go by the route of its recipient. A user goes by address and
// groups, another sender by the envelope. Reports, which have no sender, are not restricted.
func (r *Rules) route(d *Decision, f *Facts) bool {
	limit, name := r.Routes.of(f.To.Domain)
	if limit == nil || f.Kind != RecipientRemote {
		return true
	}
	if max := limit.MaxSize; max.Value > 0 && f.Size > max.Value {
		d.step("route.max_size", max.Origin, strconv.FormatInt(f.Size, 10)+" octets", "are more than the route permits")
		return d.refuse(smtp.NewReply(552, [3]int{5, 3, 4},
			"The message is too large: at most %d octets may go to %s", max.Value, f.To.Domain),
			"set a larger max_size in the route "+name)
	}
	sender, match := f.User.Address, f.User.match
	if f.User.IsZero() {
		sender, match = f.From, func(l *AddressList) (Line, bool) { return l.Match(f.From) }
	}
	if sender.IsZero() {
		return true
	}
	refuse := func(remedy string) bool {
		return d.refuse(smtp.NewReply(550, [3]int{5, 7, 1}, "%s may not send mail to %s", sender,
			f.To.Domain), remedy)
	}
	if line, ok := match(&limit.RejectFrom); ok {
		d.step("route.reject_from", line.Origin, line.Text, matches)
		return refuse("take \"" + line.Text + "\" (" + line.Origin + ") out of reject_from of the route " +
			name)
	}
	if line, ok := match(&limit.AcceptFrom); ok {
		d.step("route.accept_from", line.Origin, line.Text, matches)
	} else if limit.AcceptFrom.Len() > 0 {
		d.step("route.accept_from", "", sender.String(), noMatch)
		return refuse("add \"" + sender.String() + "\" to accept_from of the route " + name)
	}
	return true
}
