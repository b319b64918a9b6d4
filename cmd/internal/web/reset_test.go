package web

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

var shownLink = regexp.MustCompile(`https://mail\.office\.example(/reset/[^<]+)<`)

// An operator makes a link, and its holder sets a new password once. All sessions end, and the second
// factor stays.
func TestResetLink(t *testing.T) {
	o := newOffice(t)
	cfg := *o.service.Config()
	cfg.Listen.Web = []string{":443"}
	if err := o.service.SetConfig(&cfg); err != nil {
		t.Fatal(err)
	}
	old := o.logIn(t, anna)
	operator := o.logIn(t, clerk)
	page := mailboxPath(anna)
	if res, text := operator.post(page, page+"/reset-link", url.Values{}); res.Header.Get("Location") != page {
		t.Fatalf("%s %s", res.Status, text)
	}
	_, text := operator.get(page)
	shown := shownLink.FindStringSubmatch(text)
	if shown == nil {
		t.Fatal(text)
	}
	if _, text := operator.get(page); shownLink.MatchString(text) {
		t.Error("the link is shown twice")
	}
	o.giveFactor(t, anna)

	b, link := o.browser(t), shown[1]
	if res, text := b.get(link); res.StatusCode != http.StatusOK || !strings.Contains(text, "needs at least 8 characters") {
		t.Errorf("%s %s", res.Status, text)
	}
	key := link[strings.LastIndexByte(link, '/'):]
	for _, wrong := range []string{"/reset/" + boss + key, "/reset/nobody@office.example" + key, "/reset/x" + key, link + "x", "/reset/" + anna + "/x"} {
		res, text := b.get(wrong)
		if res.StatusCode != http.StatusNotFound || !strings.Contains(text, wrongLink) {
			t.Errorf("%s: %s %s", wrong, res.Status, text)
		}
		if res, _ := b.post(link, wrong, url.Values{"password": {"a new long one 9"}, "password_again": {"a new long one 9"}}); res.StatusCode != http.StatusNotFound {
			t.Errorf("POST %s: %s", wrong, res.Status)
		}
	}
	set := func(first, second string) (*http.Response, string) {
		return b.post(link, link, url.Values{"password": {first}, "password_again": {second}})
	}
	for _, wrong := range [][2]string{{"a new long one 9", "other"}, {"short", "short"}, {"", ""}} {
		if res, text := set(wrong[0], wrong[1]); res.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(text, `name="password"`) {
			t.Errorf("%q: %s %s", wrong, res.Status, text)
		}
	}
	if res, _ := o.browser(t).send(link, url.Values{"password": {"a new long one 9"}, "password_again": {"a new long one 9"}}); res.StatusCode != http.StatusForbidden {
		t.Errorf("without the form: %s", res.Status)
	}
	if res, text := set("a new long one 9", "a new long one 9"); res.Header.Get("Location") != afterPassword {
		t.Fatalf("%s %s", res.Status, text)
	}
	if res, _ := set("another long one 8", "another long one 8"); res.StatusCode != http.StatusNotFound {
		t.Errorf("a second time: %s", res.Status)
	}
	if res, _ := old.get("/me"); res.StatusCode != http.StatusSeeOther {
		t.Errorf("an old session lives on: %s", res.Status)
	}
	res, _ := b.post("/login", "/login", url.Values{"name": {anna}, "password": {"a new long one 9"}})
	if res.Header.Get("Location") != "/login/code" {
		t.Errorf("the new password: %s %s", res.Status, res.Header.Get("Location"))
	}
	// It is no way to more rights.
	if res, _ := operator.post("/me", mailboxPath(boss)+"/reset-link", url.Values{}); res.StatusCode != http.StatusForbidden {
		t.Errorf("for an operator of all domains: %s", res.Status)
	}
}
