package web

import (
	"cmp"
	"errors"
	"maps"
	"net/http"
	"time"

	"pillarbox/mailstore/auth"
)

const (
	// freshTime is how long after the login, or after the password was given again, a dangerous act
	// is done without asking for it.
	freshTime = 10 * time.Minute
	// heldTime is how long a form waits for the password.
	heldTime = 5 * time.Minute
)

// errProve means that an act needs the user's password again. The page then asks for it, and goes on
// with the act.
var errProve = errors.New("the password is needed again")

// dangerous marks an act that a stranger at an open page, or with a stolen cookie, must not do: it
// wants a password that was given within the last minutes, with the code of the second factor.
func dangerous(do act) act {
	return func(r *request) (outcome, error) {
		if time.Since(r.site.sessions.provedAt(r.session)) >= freshTime {
			return outcome{}, errProve
		}
		return do(r)
	}
}

// proving is what the page "prove" shows.
type proving struct {
	Path, Held string
	Code       bool // a code is wanted too
}

// askProof asks for the password in the middle of an act, and keeps the act's form meanwhile.
func (s *Site) askProof(w http.ResponseWriter, r *request) {
	id := s.sessions.hold(r.session, heldForm{
		path: r.URL.Path, form: maps.Clone(r.PostForm), until: time.Now().Add(heldTime),
	})
	s.renderProof(w, r, http.StatusOK, id, nil)
}

func (s *Site) renderProof(w http.ResponseWriter, r *request, status int, id string, p *problem) {
	r.problem = p
	s.render(w, r, status, func(r *request) (view, error) {
		return view{"prove", "Is it you?", proving{r.URL.Path, id, r.factor}}, nil
	})
}

// resume checks the password that was given for a held form, and puts the form in the place of the one
// that was sent. If it returns false, it has answered.
func (s *Site) resume(w http.ResponseWriter, r *request) bool {
	id, now := r.PostFormValue("held"), time.Now()
	if _, ok := s.sessions.release(r.session, id, r.URL.Path, false, now); !ok {
		s.fail(w, r, http.StatusForbidden, errHeld)
		return false
	}
	if text := s.checkProof(r); text != "" {
		s.renderProof(w, r, http.StatusUnprocessableEntity, id, &problem{Text: r.words.T(text)})
		return false
	}
	form, ok := s.sessions.release(r.session, id, r.URL.Path, true, now)
	if !ok { // two windows
		s.fail(w, r, http.StatusForbidden, errHeld)
		return false
	}
	s.sessions.prove(r.session, time.Now())
	r.PostForm, r.Form = form, form
	return true
}

var errHeld = errors.New("this took too long, or was sent twice; begin again")

// checkProof checks password and code of the user of a session; "" means that they are right.
func (s *Site) checkProof(r *request) (problem string) {
	c := client(r.Request)
	p, err := s.Logins.Password(r.Context(), c, r.session.user.String(), r.PostFormValue("prove_password"))
	if err != nil {
		return ownLoginProblem(err, wrongPassword)
	}
	if !p.NeedsCode {
		return ""
	}
	code := cmp.Or(r.PostFormValue("prove_code"), r.PostFormValue("prove_recovery"))
	if err := s.Logins.Code(r.Context(), c, auth.Principal{Address: p.Address}, code); err != nil {
		return codeProblem(err)
	}
	return ""
}
