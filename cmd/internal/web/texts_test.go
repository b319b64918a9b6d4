package web

import (
	"io/fs"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/dnscheck"
)

// texts in templates and code: T "…" and T("…"), the titles of views, and the tabs.
var textUses = []*regexp.Regexp{
	regexp.MustCompile(`\bT "([^"]+)"`),
	regexp.MustCompile(`\bT\("([^"]+)"`),
	regexp.MustCompile(`view\{"[a-z_]+", "([^"]+)"`),
	regexp.MustCompile(`"tab" list \. "[^"]+" "([^"]+)"`),
}

// usedTexts returns the texts of the page, in English.
func usedTexts(t *testing.T) (all []string) {
	t.Helper()
	sources, err := fs.Glob(os.DirFS("."), "*.go")
	if err != nil {
		t.Fatal(err)
	}
	templates, err := fs.Glob(os.DirFS("."), "templates/*.html")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(sources, templates...) {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, use := range textUses {
			for _, m := range use.FindAllStringSubmatch(string(data), -1) {
				all = append(all, m[1])
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Every text of the page is in the German catalogue, and nothing else is. A translation has the verbs
// of its text.
func TestGerman(t *testing.T) {
	catalogue := german()
	verbs := regexp.MustCompile(`%[a-z%]`)
	texts := append(usedTexts(t), wordsFromServer()...)
	slices.Sort(texts)
	for _, text := range slices.Compact(texts) {
		translated, ok := catalogue[text]
		if !ok {
			t.Errorf("no German for %q", text)
			continue
		}
		if a, b := verbs.FindAllString(text, -1), verbs.FindAllString(translated, -1); !slices.Equal(a, b) {
			t.Errorf("%q has %v, its translation %v", text, a, b)
		}
		delete(catalogue, text)
	}
	for text := range catalogue {
		t.Errorf("%q is not on the page", text)
	}
}

// wordsFromServer are words that templates translate without naming them: states of the queue, and
// what login says.
func wordsFromServer() []string {
	return append(setupWords(),
		"mailbox", "group", "user", "user group", // kinds of operators
		"delivered", "failed", "trying", "kept", "unreachable", "hours", "turn",
		wrongLogin, "The password cannot be checked now. Try again later.",
		"This mailbox is locked. Ask your administrator.",
		"This mailbox may not log in. Ask your administrator.",
		"This password is too old. Ask your administrator for a new one.",
		"The old password is wrong.", "The password is wrong.", wrongCode, wrongLink,
		"The code cannot be checked now. Try again later.",
	)
}

// setupWords are what records are for, and the states of records, keys and lines of a list.
func setupWords() []string {
	return append(dnscheck.Purposes(), "right", "missing", "different", "cannot look up",
		"waiting", "active", "retired", "over",
		admin.StateAdded, admin.StateExists, admin.StateToAdd, admin.StateLeft)
}

func TestLanguage(t *testing.T) {
	o := newOffice(t)
	for _, test := range []struct{ accept, cookie, want string }{
		{"", "", "Log in"}, {"de-AT,en;q=0.5", "", "Anmelden"}, {"fr", "", "Log in"},
		{"de", "en", "Log in"}, {"en", "de", "Anmelden"}, {"en", "<script>", "Log in"},
	} {
		r, _ := http.NewRequest("GET", o.URL+"/login", nil)
		r.Header.Set("Accept-Language", test.accept)
		if test.cookie != "" {
			r.AddCookie(&http.Cookie{Name: languageName, Value: test.cookie})
		}
		if _, text := o.browser(t).do(r); !strings.Contains(text, "<h1>"+test.want+"</h1>") {
			t.Errorf("%+v: %s", test, text)
		}
	}
}
