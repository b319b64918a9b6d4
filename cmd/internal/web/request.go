package web

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"pillarbox/cmd/internal/admin"
	"pillarbox/mailstore/auth"
	"pillarbox/mailstore/directory"
)

const (
	sessionCookie = "__Host-pillarbox"
	loginCookie   = "__Host-pillarbox-login" // its value must come back in the form of the login
	languageName  = "__Host-pillarbox-language"
)

// request is a request of a user who has logged in.
type request struct {
	*http.Request
	site     *Site
	session  *session
	operator admin.Operator // without grants for a user who is no operator
	service  *admin.Service // with the rights of the operator
	own      *admin.Service // as the server itself: only for the mailbox of the user
	words    *words
	factor   bool // the user has a second factor
	turn     bool // the request has one of Site.turns

	problem *problem // of the act that the page is shown again for
}

// view is a page to show: a template and what fills it.
type view struct {
	name  string // of the template
	title string // in English; shown in the user's language
	data  any
}

// outcome is what an act has done: the page to go to, and what it says there.
type outcome struct {
	next  string
	renew bool // the account has changed: a new session replaces all sessions of the user
	notice
}

// field returns what was typed into a field, without blanks around it.
func (r *request) field(name string) string { return strings.TrimSpace(r.PostFormValue(name)) }

// then is the outcome of a verb after which a page comes.
func then(next string, c admin.Change, err error) (outcome, error) {
	return outcome{next: next, notice: notice{Text: c.Text, Warnings: c.Warnings}}, err
}

// show fills a page. act does one thing.
type (
	show func(*request) (view, error)
	act  func(*request) (outcome, error)
)

// who decides whether a user may ask for a page at all. What the page shows is decided by the verbs.
type who func(admin.Operator) bool

func anyone(admin.Operator) bool       { return true }
func operators(op admin.Operator) bool { return len(op.Grants) > 0 }

// page answers GET with a page.
func (s *Site) page(mux *http.ServeMux, path string, may who, p show) {
	mux.HandleFunc("GET "+path, func(w http.ResponseWriter, hr *http.Request) {
		if r := s.admit(w, hr, may); r != nil {
			s.render(w, r, http.StatusOK, p)
		}
	})
}

// act answers POST with an act. If the act fails, the page p is shown again, with the error and what
// was typed.
func (s *Site) act(mux *http.ServeMux, path string, may who, p show, do act) {
	mux.HandleFunc("POST "+path, func(w http.ResponseWriter, hr *http.Request) {
		r := s.admit(w, hr, may)
		if r == nil {
			return
		}
		if given := hr.PostFormValue("token"); !same(given, r.session.token) {
			s.fail(w, r, http.StatusForbidden, errForm)
			return
		}
		if hr.PostForm.Has("held") && !s.resume(w, r) {
			return
		}
		done, err := do(r)
		if err != nil {
			s.refuse(w, r, p, err)
			return
		}
		if done.renew {
			s.renew(w, r)
		}
		s.sessions.leave(r.session, done.notice)
		http.Redirect(w, hr, done.next, http.StatusSeeOther)
	})
}

// form answers POST with a page, such as a preview, or what is shown once. A page with an error is
// shown with it. The form may bring a file.
func (s *Site) form(mux *http.ServeMux, path string, may who, p show) {
	mux.HandleFunc("POST "+path, func(w http.ResponseWriter, hr *http.Request) {
		if err := hr.ParseMultipartForm(maxForm); err != nil && !errors.Is(err, http.ErrNotMultipart) {
			http.Error(w, "the form cannot be read, or is too long", http.StatusBadRequest)
			return
		}
		r := s.admit(w, hr, may)
		if r == nil {
			return
		}
		if given := hr.PostFormValue("token"); !same(given, r.session.token) {
			s.fail(w, r, http.StatusForbidden, errForm)
			return
		}
		v, err := p(r)
		if err != nil {
			r.problem = problemOf(err)
			s.write(w, r, statusOf(err), v)
			return
		}
		s.write(w, r, http.StatusOK, v)
	})
}

var errForm = errors.New("this form is from another session; open the page anew")

func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// refuse answers an act that was not done: with its question, or with the page and the error.
func (s *Site) refuse(w http.ResponseWriter, r *request, p show, err error) {
	if errors.Is(err, errProve) {
		s.askProof(w, r)
		return
	}
	if errors.Is(err, admin.ErrConfirm) {
		s.render(w, r, http.StatusOK, func(r *request) (view, error) {
			return view{"confirm", "Are you sure?", confirmation(r, err)}, nil
		})
		return
	}
	r.problem = problemOf(err)
	s.render(w, r, statusOf(err), p)
}

// statusOf is the status of an answer that is an error of a verb.
func statusOf(err error) int {
	switch {
	case errors.Is(err, admin.ErrNotPermitted):
		return http.StatusForbidden
	case errors.Is(err, errNoPage):
		return http.StatusNotFound
	}
	return http.StatusUnprocessableEntity
}

// question is what the page "confirm" asks, with the form to send again.
type question struct {
	Text, Path string
	Fields     url.Values
	Typed      string // what must be typed; "" nothing
}

func confirmation(r *request, err error) question {
	fields := url.Values{"sure": {"yes"}}
	for name, values := range r.PostForm {
		if name != "token" && name != "sure" && !strings.Contains(name, "password") {
			fields[name] = values
		}
	}
	q := question{Text: err.Error(), Path: r.URL.Path, Fields: fields}
	if t := (*typedError)(nil); errors.As(err, &t) {
		q.Typed = t.name
	}
	return q
}

// typedError is a question whose answer is a name, for what cannot be undone.
type typedError struct {
	error
	name string
}

func (e *typedError) Unwrap() error { return e.error }

// sure reports whether the question of an act was answered.
func (r *request) sure() bool { return r.PostFormValue("sure") == "yes" }

// admit returns the request of a user who may see a page. Otherwise it has answered, and returns nil.
func (s *Site) admit(w http.ResponseWriter, hr *http.Request, may who) *request {
	if err := hr.ParseForm(); err != nil {
		http.Error(w, "the form cannot be read", http.StatusBadRequest)
		return nil
	}
	r := s.identify(hr)
	if r == nil {
		to := "/login"
		if hr.Method == http.MethodGet && hr.URL.Path != "/" {
			to += "?next=" + url.QueryEscape(hr.URL.RequestURI())
		}
		http.Redirect(w, hr, to, http.StatusSeeOther)
		return nil
	}
	if r.mustSetUp() && !strings.HasPrefix(hr.URL.Path+"/", factorPath+"/") {
		http.Redirect(w, hr, factorPath, http.StatusSeeOther)
		return nil
	}
	if !may(r.operator) {
		s.fail(w, r, http.StatusForbidden, errNoOperator)
		return nil
	}
	return r
}

var errNoOperator = admin.Hint(errors.New("this page is for operators"),
	"an operator of all domains can give the right: pillarbox admin operator add")

// identify returns the request of the user who is logged in; nil if there is none. It reads the
// rights and locks of the user anew.
func (s *Site) identify(hr *http.Request) *request {
	c, err := hr.Cookie(sessionCookie)
	if err != nil {
		return nil
	}
	live := s.sessions.find(c.Value, time.Now())
	if live == nil {
		return nil
	}
	box, err := s.Service.Dir.Mailbox(live.user)
	if err != nil || proofOf(box.Account) != live.proof {
		return nil
	}
	if s.Logins.StillPermits(auth.Principal{Address: live.user}, auth.ServiceWeb) != nil {
		return nil
	}
	op, err := s.Service.MailOperator(live.user)
	if err != nil {
		return nil
	}
	actor := admin.Actor{Who: live.user.String(), From: "web page, " + remote(hr).String()}
	return &request{
		Request: hr, site: s, session: live, operator: op, words: s.texts.of(hr),
		factor:  box.Account.HasSecondFactor(),
		service: s.Service.For(admin.Caller{Actor: actor, Operator: &op}),
		own:     s.Service.For(admin.Caller{Actor: actor}),
	}
}

// proofOf changes with the password of an account and with its second factors. It differs for another
// mailbox of the same name, also if another system checks its password.
func proofOf(acc directory.Account) (proof [sha256.Size]byte) {
	h := sha256.New()
	io.WriteString(h, acc.Verifier+" "+acc.Created.UTC().String())
	for _, f := range acc.SecondFactors {
		io.WriteString(h, " "+f.ID)
	}
	h.Sum(proof[:0])
	return proof
}
