package web

import (
	"cmp"
	"errors"
	"net/http"
	"time"

	"pillarbox/mailstore/auth"
	"pillarbox/mailstore/directory"
)

// halfLogin returns the half login of a request, and its cookie. It ends with another password, or
// another second factor.
func (s *Site) halfLogin(hr *http.Request) (h half, box directory.Mailbox, cookie string, ok bool) {
	c, err := hr.Cookie(codeCookie)
	if err != nil {
		return h, box, "", false
	}
	if h, ok = s.halves.find(c.Value, time.Now()); !ok {
		return h, box, "", false
	}
	box, err = s.Service.Dir.Mailbox(h.user)
	if err != nil || proofOf(box.Account) != h.proof {
		s.halves.end(c.Value)
		return h, box, "", false
	}
	return h, box, c.Value, true
}

// askCode begins the second step of a login.
func (s *Site) askCode(w http.ResponseWriter, hr *http.Request, box directory.Mailbox, next string) {
	if c, err := hr.Cookie(codeCookie); err == nil {
		s.halves.end(c.Value)
	}
	h := half{user: box.Address, proof: proofOf(box.Account), next: next}
	setCookie(w, codeCookie, s.halves.begin(h, time.Now()))
	http.Redirect(w, hr, "/login/code", http.StatusSeeOther)
}

func (s *Site) showCode(w http.ResponseWriter, hr *http.Request) {
	h, _, _, ok := s.halfLogin(hr)
	if !ok {
		http.Redirect(w, hr, "/login", http.StatusSeeOther)
		return
	}
	s.renderCode(w, hr, http.StatusOK, h, nil)
}

func (s *Site) renderCode(w http.ResponseWriter, hr *http.Request, status int, h half, p *problem) {
	visitor := &request{Request: hr, site: s, words: s.texts.of(hr), problem: p}
	if p != nil {
		p.Text = visitor.words.T(p.Text)
	}
	s.render(w, visitor, status, func(*request) (view, error) {
		return view{"code", "Second step", h.token}, nil
	})
}

func (s *Site) logInWithCode(w http.ResponseWriter, hr *http.Request) {
	h, box, cookie, ok := s.halfLogin(hr)
	if !ok {
		http.Redirect(w, hr, "/login", http.StatusSeeOther)
		return
	}
	if !same(h.token, hr.PostFormValue("token")) {
		s.renderCode(w, hr, http.StatusForbidden, h, &problem{Text: errForm.Error()})
		return
	}
	if !s.halves.try(cookie, time.Now()) {
		http.Redirect(w, hr, "/login", http.StatusSeeOther)
		return
	}
	code := cmp.Or(hr.PostFormValue("code"), hr.PostFormValue("recovery"))
	err := s.Logins.Code(hr.Context(), client(hr), auth.Principal{Address: h.user}, code)
	if err != nil {
		s.refuseCode(w, hr, h, cookie, err)
		return
	}
	s.halves.end(cookie)
	dropCookie(w, codeCookie)
	s.begin(w, hr, box, h.next)
}

// refuseCode asks again. The last try ends the half login: the password is wanted again.
func (s *Site) refuseCode(w http.ResponseWriter, hr *http.Request, h half, cookie string, err error) {
	text := codeProblem(err)
	if h.tries+1 < codeTries {
		s.renderCode(w, hr, http.StatusUnprocessableEntity, h, &problem{Text: text})
		return
	}
	s.halves.end(cookie)
	dropCookie(w, codeCookie)
	s.renderLogin(w, hr, http.StatusUnprocessableEntity, loginForm{Next: h.next}, &problem{Text: text})
}

const wrongCode = "The code is wrong, or was used before."

// codeProblem chooses the words for a code that was not accepted.
func codeProblem(err error) string {
	switch {
	case errors.Is(err, auth.ErrInvalid), errors.Is(err, auth.ErrCode):
		return wrongCode
	case errors.Is(err, auth.ErrTemporary):
		return "The code cannot be checked now. Try again later."
	}
	return loginProblem(err)
}

// begin begins a session, in which an older one of the browser ends, and leads to its first page.
func (s *Site) begin(w http.ResponseWriter, hr *http.Request, box directory.Mailbox, next string) {
	s.logOutCookie(hr)
	setCookie(w, sessionCookie, s.sessions.begin(s.newSession(box), time.Now()))
	http.Redirect(w, hr, cmp.Or(next, "/"), http.StatusSeeOther)
}

// newSession returns a session of a mailbox, which has not begun.
func (s *Site) newSession(box directory.Mailbox) *session {
	next := &session{user: box.Address, proof: proofOf(box.Account), idle: userIdle, age: userAge}
	if op, err := s.Service.MailOperator(box.Address); err == nil && operators(op) {
		next.idle, next.age = operatorIdle, operatorAge
	}
	return next
}

// renew replaces the session of a request by a new one that knows the account as it is now, and ends
// all other sessions of the user.
func (s *Site) renew(w http.ResponseWriter, r *request) {
	box, err := s.Service.Dir.Mailbox(r.session.user)
	if err != nil {
		return // the next page wants a login
	}
	s.sessions.end(func(one *session) bool { return one.user == box.Address })
	proved := s.sessions.provedAt(r.session)
	r.session = s.newSession(box)
	setCookie(w, sessionCookie, s.sessions.begin(r.session, time.Now()))
	s.sessions.prove(r.session, proved) // nobody has given a password now
}
