package web

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strings"

	"pillarbox/cmd/internal/admin"
)

// problem is an error as a page shows it.
type problem struct{ Text, Hint string }

func problemOf(err error) *problem {
	p := &problem{Text: err.Error()}
	if h, ok := errors.AsType[*admin.HintError](err); ok {
		p.Hint = h.Hint
	}
	return p
}

// layout is what every template sees: the page's data, and what all pages have.
type layout struct {
	*words
	Title    string
	Problem  *problem
	Notice   notice
	User     string // "" before the login
	Operator bool
	All      bool // an operator who may read what belongs to no domain
	Token    string
	Path     string // of the page, to mark it in the menu
	Data     any

	form func(name string) string
}

// Input returns what was typed into a field, for a form that is shown again.
func (l *layout) Input(name string) string { return l.form(name) }

// Typed returns what was typed into a field, or another value if the form was not sent.
func (l *layout) Typed(name, other string) string {
	if l.Problem == nil {
		return other
	}
	return cmp.Or(l.form(name), other)
}

// parsePages reads the templates: each page with the layout and the parts that pages share. It
// panics on a template that cannot be parsed, which a test would have found.
func parsePages() map[string]*template.Template {
	pages := make(map[string]*template.Template)
	names, err := fs.Glob(files, "templates/*.html")
	if err != nil {
		panic(err)
	}
	shared := []string{"templates/layout.html", "templates/parts.html"}
	for _, name := range names {
		if name == shared[0] || name == shared[1] {
			continue
		}
		t := template.New("layout.html").Funcs(template.FuncMap{"list": list})
		pages[strings.TrimSuffix(path.Base(name), ".html")] = template.Must(
			t.ParseFS(files, append(shared, name)...))
	}
	return pages
}

// list makes one value of several, for a part that needs more than one.
func list(values ...any) []any { return values }

// render shows a page, or the error of it.
func (s *Site) render(w http.ResponseWriter, r *request, status int, p show) {
	page, status, err := s.produce(r, status, p)
	if err != nil {
		return // the client has gone
	}
	s.send(w, status, page)
}

// produce makes a page, or the page of its error, when it is its turn.
func (s *Site) produce(r *request, status int, p show) (page *bytes.Buffer, _ int, err error) {
	if !s.turns.take(r.Context()) {
		return nil, 0, r.Context().Err()
	}
	r.turn = true
	defer func() {
		r.turn = false
		s.turns.end()
	}()
	v, err := p(r)
	if err != nil {
		r.problem = problemOf(err)
		v, status = view{"problem", "This did not work", nil}, statusOf(err)
	}
	page = s.execute(r, v)
	return page, status, nil
}

// fail shows an error instead of a page.
func (s *Site) fail(w http.ResponseWriter, r *request, status int, err error) {
	r.problem = problemOf(err)
	s.write(w, r, status, view{"problem", "This did not work", nil})
}

// write shows what fills a page already.
func (s *Site) write(w http.ResponseWriter, r *request, status int, v view) {
	s.render(w, r, status, func(*request) (view, error) { return v, nil })
}

// execute fills a template; nil if that fails, which a test would have found.
func (s *Site) execute(r *request, v view) *bytes.Buffer {
	l := &layout{
		words: r.words, Title: r.words.T(v.title), Problem: r.problem, Data: v.data,
		Path: r.URL.Path, form: r.FormValue,
	}
	if r.session != nil {
		l.User, l.Token = r.session.user.String(), r.session.token
		l.Operator, l.All = operators(r.operator), r.operator.MayAll(false)
		l.Notice = s.sessions.take(r.session)
	}
	page := new(bytes.Buffer) // whole, so that an error leaves no half page
	if err := s.pages[v.name].Execute(page, l); err != nil {
		s.Log.Error("cannot show a page", "page", v.name, "error", err)
		return nil
	}
	return page
}

func (s *Site) send(w http.ResponseWriter, status int, page *bytes.Buffer) {
	if page == nil {
		http.Error(w, "this page cannot be shown; the server's log says why", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Length", fmt.Sprint(page.Len()))
	w.WriteHeader(status)
	page.WriteTo(w)
}

// file serves a file that all pages use.
func file(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=300")
		http.ServeFileFS(w, r, files, name)
	}
}
