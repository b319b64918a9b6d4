package web

import (
	"errors"
	"html/template"
	"net/http"
	"strings"
	"time"

	"pillarbox/cmd/internal/admin"
	"pillarbox/mailstore/auth"
)

const (
	factorPath = "/me/second-factor"
	// proposalTime is how long a new second factor waits for its first code.
	proposalTime = 15 * time.Minute
)

// proposal is a second factor that is being set up: it counts once a code of it was given.
type proposal struct {
	name, secret, url string
	until             time.Time
}

// factorPage is what the page "second_factor" shows.
type factorPage struct {
	admin.SecondFactorDetails
	Required bool // the page opens nothing else before one is set up

	// Of the one that is being set up, or "".
	Name   string
	Secret string // in groups, to type
	QR     template.HTML
}

func showSecondFactor(r *request) (view, error) {
	details, err := admin.SecondFactorShow.Do(r.Context(), r.own, r.session.user.String())
	if err != nil {
		return view{}, err
	}
	p := factorPage{SecondFactorDetails: details, Required: r.mustSetUp()}
	if next, ok := r.site.sessions.proposal(r.session, time.Now()); ok {
		p.Name, p.Secret = next.name, inGroups(next.secret)
		if p.QR, err = qrCode(next.url); err != nil {
			return view{}, err
		}
	}
	return view{"second_factor", "Second factor", p}, nil
}

// inGroups puts a blank after each four characters.
func inGroups(secret string) string {
	var groups []string
	for ; len(secret) > 4; secret = secret[4:] {
		groups = append(groups, secret[:4])
	}
	return strings.Join(append(groups, secret), " ")
}

// mustSetUp reports whether the user must set up a second factor before anything else.
func (r *request) mustSetUp() bool {
	return r.site.Service.Config().Web.OperatorsSecondFactor && operators(r.operator) && !r.factor
}

// startFactor makes the secret of a second factor. It wants the password, since a page may have been
// left open.
func startFactor(r *request) (outcome, error) {
	user := r.session.user
	_, err := r.site.Logins.Password(r.Context(), client(r.Request), user.String(), r.PostFormValue("own_password"))
	if err != nil {
		return outcome{}, errors.New(r.words.T(ownLoginProblem(err, wrongPassword)))
	}
	name := r.field("factor_name")
	if name == "" {
		return outcome{}, errors.New(r.words.T("Name the telephone or program."))
	}
	secret, url, err := auth.NewFactor(string(r.own.Config().Hostname), user)
	if err != nil {
		return outcome{}, err
	}
	r.site.sessions.propose(r.session, proposal{name, secret, url, time.Now().Add(proposalTime)})
	return outcome{next: factorPath}, nil
}

const wrongPassword = "The password is wrong."

// ownLoginProblem is loginProblem for a user who gives the own password again: wrong is what to say of
// a wrong one.
func ownLoginProblem(err error, wrong string) string {
	if text := loginProblem(err); text != wrongLogin {
		return text
	}
	return wrong
}

// confirmFactor makes a second factor count with its first code. All other sessions of the user end.
func confirmFactor(r *request) (outcome, error) {
	next, ok := r.site.sessions.proposal(r.session, time.Now())
	if !ok {
		return outcome{}, errors.New(r.words.T("The set-up took too long. Begin it again."))
	}
	made, err := admin.SecondFactorAdd.Do(r.Context(), r.own, admin.SecondFactorToAdd{
		User: r.session.user.String(), Name: next.name, Secret: next.secret, Code: r.PostFormValue("code"),
	})
	if errors.Is(err, auth.ErrCode) {
		return outcome{}, errors.New(r.words.T(wrongCode))
	}
	return recovered(made, err)
}

// recovered is the outcome of a change of the user's own second factor.
func recovered(made admin.RecoveryCodes, err error) (outcome, error) {
	done, err := then(factorPath, made.Change, err)
	done.Codes, done.renew = made.Codes, true
	return done, err
}

func cancelFactor(r *request) (outcome, error) {
	r.site.sessions.propose(r.session, proposal{})
	return outcome{next: factorPath}, nil
}

func removeOwnFactor(r *request) (outcome, error) {
	which := r.field("factor")
	if which == "" { // which would mean all of them
		return outcome{}, errors.New(r.words.T("Name the telephone or program."))
	}
	c, err := admin.SecondFactorRemove.Do(r.Context(), r.own,
		admin.Setting{Name: r.session.user.String(), Value: which})
	return recovered(admin.RecoveryCodes{Change: c}, err)
}

func newOwnCodes(r *request) (outcome, error) {
	return recovered(admin.RecoveryCodesNew.Do(r.Context(), r.own, r.session.user.String()))
}

// factorRoutes are about the user's own second factor. They are open to an operator who must set one
// up before anything else.
func (s *Site) factorRoutes(mux *http.ServeMux) {
	s.page(mux, factorPath, anyone, showSecondFactor)
	s.act(mux, factorPath+"/start", anyone, showSecondFactor, startFactor)
	s.act(mux, factorPath+"/confirm", anyone, showSecondFactor, dangerous(confirmFactor))
	s.act(mux, factorPath+"/cancel", anyone, showSecondFactor, cancelFactor)
	s.act(mux, factorPath+"/remove", anyone, showSecondFactor, dangerous(removeOwnFactor))
	s.act(mux, factorPath+"/codes", anyone, showSecondFactor, dangerous(newOwnCodes))
}
