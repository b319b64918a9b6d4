package web

import (
	"errors"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/clientsetup"
	"pillarbox/mailstore/addr"
)

// ownPage is what each user sees of the own mailbox.
type ownPage struct {
	mailboxPage
	Client clientsetup.Settings
}

// recentLogins returns the latest logins to a mailbox; none if no events are stored.
func recentLogins(r *request, service *admin.Service, name string) ([]admin.LoginEvent, error) {
	if !service.Config().Events.Enabled {
		return nil, nil
	}
	return admin.MailboxLogins.Do(r.Context(), service, name)
}

// showOwn shows a user the own mailbox. Its rights are not those of an operator: the verbs are done
// as the server itself, and only ever for the mailbox of the session.
func showOwn(r *request) (view, error) {
	user := r.session.user.String()
	p := ownPage{mailboxPage: mailboxPage{Rules: r.own.Keeper.Rules().Text()}}
	var err error
	if p.MailboxDetails, err = admin.MailboxShow.Do(r.Context(), r.own, user); err != nil {
		return view{}, err
	}
	if p.Quotas, err = admin.QuotaShow.Do(r.Context(), r.own, user); err != nil {
		return view{}, err
	}
	if p.Logins, err = recentLogins(r, r.own, user); err != nil {
		return view{}, err
	}
	p.Client, err = admin.ClientSettings.Do(r.Context(), r.own, user)
	return view{"own", "My mailbox", p}, err
}

// setOwnPassword wants the old password again, since a page may have been left open.
func setOwnPassword(r *request) (outcome, error) {
	user := r.session.user.String()
	_, err := r.site.Logins.Password(r.Context(), client(r.Request), user, r.PostFormValue("old_password"))
	if err != nil {
		return outcome{}, errors.New(r.words.T(ownLoginProblem(err, "The old password is wrong.")))
	}
	password := r.PostFormValue("password")
	if password != r.PostFormValue("password_again") {
		return outcome{}, errors.New(r.words.T("The two passwords differ."))
	}
	c, err := admin.MailboxPasswd.Do(r.Context(), r.own, admin.PasswordToSet{User: user, Password: password})
	if err != nil {
		return outcome{}, err
	}
	return then(afterPassword, c, nil) // all sessions have ended, this one too
}

// setOwnForward sets where the user's mail goes: only to whom everybody may send.
func setOwnForward(r *request) (outcome, error) {
	c, err := admin.MailboxForward.Do(r.Context(), r.guarded(), admin.Forwarding{
		User: r.session.user.String(), Targets: addresses(r.PostFormValue("targets")),
		KeepCopy: r.PostFormValue("keep_copy") != "",
	})
	return then("/me", c, err)
}

// guarded returns the service with the rights of an operator of the user's own domain, unless the
// user is an operator with more: where mail may be led is then limited as for such an operator.
func (r *request) guarded() *admin.Service {
	if r.operator.May(r.session.user.Domain, true) {
		return r.service
	}
	op := admin.Operator{Name: r.session.user.String(), OwnMailbox: true, Grants: []admin.Grant{{
		Name: r.session.user.String(), Domains: []addr.Domain{r.session.user.Domain},
	}}}
	return r.own.As(op)
}

func addOwnAppPassword(r *request) (outcome, error) {
	return addAppPassword(r, r.own, r.session.user.String(), "/me")
}

// addAppPassword makes an app password, which the next page shows once.
func addAppPassword(r *request, service *admin.Service, user, next string) (outcome, error) {
	made, err := admin.AppPasswordAdd.Do(r.Context(), service, admin.AppPasswordToAdd{
		User: user, Name: r.field("app_name"), For: r.field("app_for"),
	})
	done, err := then(next, made.Change, err)
	done.Secret = made.Password
	return done, err
}

func removeOwnAppPassword(r *request) (outcome, error) {
	c, err := admin.AppPasswordRemove.Do(r.Context(), r.own,
		admin.Setting{Name: r.session.user.String(), Value: r.field("app")})
	return then("/me", c, err)
}

func endOtherSessions(r *request) (outcome, error) {
	own := r.session
	r.site.sessions.end(func(s *session) bool { return s != own && s.user == own.user })
	return outcome{next: "/me", notice: notice{Text: r.words.T("All other sessions have ended.")}}, nil
}
