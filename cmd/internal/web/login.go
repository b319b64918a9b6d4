package web

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"pillarbox/mailstore/auth"
)

// loginForm is what the page "login" shows.
type loginForm struct {
	Name, Next, Token string
	Changed           bool // the password was changed a moment ago
}

// afterPassword is the page after a change of the password, which has ended all sessions.
const afterPassword = "/login?changed=yes"

func (s *Site) showLogin(w http.ResponseWriter, hr *http.Request) {
	if s.identify(hr) != nil {
		http.Redirect(w, hr, "/", http.StatusSeeOther)
		return
	}
	form := loginForm{Next: local(hr.FormValue("next")), Changed: hr.FormValue("changed") != ""}
	s.renderLogin(w, hr, http.StatusOK, form, nil)
}

// renderLogin shows the form with a token, so that a page elsewhere cannot log its visitor in to
// somebody's mailbox.
func (s *Site) renderLogin(
	w http.ResponseWriter, hr *http.Request, status int, form loginForm, p *problem,
) {
	form.Token = loginToken(w, hr)
	visitor := &request{Request: hr, site: s, words: s.texts.of(hr), problem: p}
	if p != nil {
		p.Text = visitor.words.T(p.Text)
	}
	s.render(w, visitor, status, func(*request) (view, error) {
		return view{"login", "Log in", form}, nil
	})
}

func (s *Site) logIn(w http.ResponseWriter, hr *http.Request) {
	form := loginForm{Name: strings.TrimSpace(hr.PostFormValue("name")), Next: local(hr.PostFormValue("next"))}
	if c, err := hr.Cookie(loginCookie); err != nil || !same(c.Value, hr.PostFormValue("token")) {
		s.renderLogin(w, hr, http.StatusForbidden, form, &problem{Text: errForm.Error()})
		return
	}
	p, err := s.Logins.Password(hr.Context(), client(hr), form.Name, hr.PostFormValue("password"))
	if err != nil {
		s.renderLogin(w, hr, http.StatusUnprocessableEntity, form, &problem{Text: loginProblem(err)})
		return
	}
	box, err := s.Service.Dir.Mailbox(p.Address)
	if err != nil {
		s.renderLogin(w, hr, http.StatusServiceUnavailable, form, &problem{Text: loginProblem(auth.ErrTemporary)})
		return
	}
	if p.NeedsCode {
		s.askCode(w, hr, box, form.Next)
		return
	}
	s.begin(w, hr, box, form.Next)
}

const wrongLogin = "The name or the password is wrong."

// loginProblem chooses the words for a login that failed. A stranger learns no more than by POP3.
func loginProblem(err error) string {
	switch {
	case errors.Is(err, auth.ErrBanned), errors.Is(err, auth.ErrTemporary):
		return "The password cannot be checked now. Try again later."
	case errors.Is(err, auth.ErrLocked):
		return "This mailbox is locked. Ask your administrator."
	case errors.Is(err, auth.ErrAccess):
		return "This mailbox may not log in. Ask your administrator."
	case errors.Is(err, auth.ErrExpired):
		return "This password is too old. Ask your administrator for a new one."
	}
	return wrongLogin
}

func (s *Site) logOut(w http.ResponseWriter, hr *http.Request) {
	if r := s.identify(hr); r != nil && !same(hr.PostFormValue("token"), r.session.token) {
		s.fail(w, r, http.StatusForbidden, errForm)
		return
	}
	s.logOutCookie(hr)
	dropCookie(w, sessionCookie)
	http.Redirect(w, hr, "/login", http.StatusSeeOther)
}

func (s *Site) logOutCookie(hr *http.Request) {
	if c, err := hr.Cookie(sessionCookie); err == nil {
		if old := s.sessions.find(c.Value, time.Now()); old != nil {
			s.sessions.end(func(one *session) bool { return one == old })
		}
	}
}

func setCookie(w http.ResponseWriter, name, value string) {
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: "/", Secure: true, HttpOnly: true,
		SameSite: http.SameSiteStrictMode,
	})
}

func dropCookie(w http.ResponseWriter, name string) {
	http.SetCookie(w, &http.Cookie{Name: name, Path: "/", Secure: true, HttpOnly: true, MaxAge: -1})
}

// local returns a path of this site, or "" for any other address.
func local(next string) string {
	if !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\\r\n\t") {
		return ""
	}
	return next
}
