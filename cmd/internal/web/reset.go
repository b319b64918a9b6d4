package web

import (
	"crypto/rand"
	"errors"
	"net/http"

	"pillarbox/cmd/internal/admin"
)

// resetForm is what the page "reset" shows.
type resetForm struct{ Mailbox, Path, Rules, Token string }

const wrongLink = "This link is not valid, or not any more. Ask your administrator for a new one."

// The acts of who has a link to set a new password. The name is set by the link, not by a login.
func (s *Site) showReset(w http.ResponseWriter, hr *http.Request) {
	s.renderReset(w, hr, http.StatusOK, nil)
}

func (s *Site) resetVerb(hr *http.Request, in admin.ResetToUse) (admin.Change, error) {
	in.User, in.Key = hr.PathValue("name"), hr.PathValue("key")
	actor := admin.Actor{Who: in.User, From: "web page, reset link, " + remote(hr).String()}
	return admin.MailboxReset.Do(hr.Context(), s.Service.For(admin.Caller{Actor: actor}), in)
}

// renderReset shows the form if the link is valid. Its token is in a cookie too, as at the login.
func (s *Site) renderReset(w http.ResponseWriter, hr *http.Request, status int, p *problem) {
	visitor := &request{Request: hr, site: s, words: s.texts.of(hr), problem: p}
	c, err := s.resetVerb(hr, admin.ResetToUse{Try: true})
	if err != nil {
		s.failReset(w, visitor, err)
		return
	}
	form := resetForm{Mailbox: hr.PathValue("name"), Path: hr.URL.EscapedPath(), Rules: c.Text, Token: loginToken(w, hr)}
	s.render(w, visitor, status, func(*request) (view, error) {
		return view{"reset", "Set a new password", form}, nil
	})
}

func (s *Site) failReset(w http.ResponseWriter, visitor *request, err error) {
	if errors.Is(err, admin.ErrResetLink) {
		s.fail(w, visitor, http.StatusNotFound, errors.New(visitor.words.T(wrongLink)))
		return
	}
	s.Log.Error("a reset link cannot be checked", "error", err)
	s.fail(w, visitor, http.StatusServiceUnavailable,
		errors.New(visitor.words.T("The password cannot be checked now. Try again later.")))
}

func (s *Site) resetPassword(w http.ResponseWriter, hr *http.Request) {
	visitor := &request{Request: hr, site: s, words: s.texts.of(hr)}
	problemIs := func(status int, text string) {
		s.renderReset(w, hr, status, &problem{Text: visitor.words.T(text)})
	}
	if c, err := hr.Cookie(loginCookie); err != nil || !same(c.Value, hr.PostFormValue("token")) {
		problemIs(http.StatusForbidden, errForm.Error())
		return
	}
	password := hr.PostFormValue("password")
	if password != hr.PostFormValue("password_again") {
		problemIs(http.StatusUnprocessableEntity, "The two passwords differ.")
		return
	}
	_, err := s.resetVerb(hr, admin.ResetToUse{Password: password})
	switch {
	case errors.Is(err, admin.ErrResetLink):
		s.failReset(w, visitor, err)
	case err != nil:
		problemIs(http.StatusUnprocessableEntity, err.Error())
	default:
		http.Redirect(w, hr, afterPassword, http.StatusSeeOther)
	}
}

// loginToken returns the token of a form before the login, which is in a cookie too, so that a page
// elsewhere cannot send the form. The cookie stays as it is: the form may be open in another window.
func loginToken(w http.ResponseWriter, hr *http.Request) string {
	if c, err := hr.Cookie(loginCookie); err == nil && len(c.Value) == len(rand.Text()) {
		return c.Value
	}
	token := rand.Text()
	setCookie(w, loginCookie, token)
	return token
}
