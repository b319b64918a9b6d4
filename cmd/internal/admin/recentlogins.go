package admin

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/auth"
	"pillarbox/mailstore/track"
)

const (
	recentLogins  = 20                  // that are shown
	recentPeriod  = 31 * 24 * time.Hour // that is searched
	invalidPrefix = "invalid user name or password: "
)

// LoginEvent is an attempt to log in to a mailbox.
type LoginEvent struct {
	Time      time.Time    `json:"time"`
	Service   auth.Service `json:"service"`
	Remote    string       `json:"remote_ip"`
	OK        bool         `json:"ok"`
	Reason    string       `json:"reason"`    // why it failed
	Mechanism string       `json:"mechanism"` // and the version of TLS
}

// recentLogins returns the latest attempts to log in to a mailbox, the newest first: those that
// succeeded, and those that failed by its address or, in the default domain, by its name alone.
func (o *Service) recentLogins(ctx context.Context, user string) ([]LoginEvent, error) {
	box, err := o.mailbox(user)
	if err != nil {
		return nil, err
	}
	if !o.Config().Events.Enabled {
		return nil, errNoEvents()
	}
	o.Events.Flush()
	names := []string{box.Address.String()}
	if box.Address.Domain == o.Dir.DefaultDomain() {
		names = append(names, box.Address.Local)
	}
	all := []LoginEvent{}
	for _, name := range names {
		found, err := track.Search(ctx, o.Root, track.Query{
			Name: name, Kinds: []track.Kind{track.LoggedIn, track.LoginFailed},
			Since: latest(time.Now().Add(-recentPeriod), box.Account.Created), Limit: recentLogins,
		})
		if err != nil {
			return nil, err
		}
		for i := range found.Events {
			if isLoginOf(&found.Events[i], box.Address, name) {
				all = append(all, loginEvent(&found.Events[i]))
			}
		}
	}
	slices.SortStableFunc(all, func(a, b LoginEvent) int { return b.Time.Compare(a.Time) })
	return all[:min(len(all), recentLogins)], nil
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// isLoginOf reports whether an event with a name is a login to a mailbox. A search finds all events
// that have the name anywhere.
func isLoginOf(e *track.Event, mailbox addr.Address, name string) bool {
	return strings.EqualFold(e.User, name) || strings.EqualFold(e.User, mailbox.String())
}

func loginEvent(e *track.Event) LoginEvent {
	l := LoginEvent{
		Time: e.Time, Service: auth.Service(e.Service), OK: e.Kind == track.LoggedIn, Mechanism: e.Text,
	}
	if e.Remote.IsValid() {
		l.Remote = e.Remote.String()
	}
	if !l.OK {
		l.Reason = cmp.Or(strings.ReplaceAll(e.Rule, invalidPrefix, ""), "failed")
	}
	return l
}
