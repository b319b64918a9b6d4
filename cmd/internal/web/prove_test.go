package web

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"pillarbox/mailstore/auth"
)

var heldField = regexp.MustCompile(`name="held" value="([^"]*)"`)

// stale makes the session of a user one whose password was given long ago.
func (o *office) stale(t *testing.T, user string) {
	t.Helper()
	o.site.sessions.prove(o.site.sessionOf(t, user), time.Now().Add(-freshTime))
}

// A dangerous act of an old session asks for the password, and then goes on with what was typed. The
// page that asks repeats no password.
func TestProve(t *testing.T) {
	o := newOffice(t)
	b := o.logIn(t, clerk)
	o.stale(t, clerk)
	page := "/mailbox/" + anna
	act := page + "/password"
	const next = "a new long one 9"
	form := url.Values{"password_way": {"typed"}, "password": {next}, "password_again": {next}}
	res, text := b.post(page, act, form)
	held := heldField.FindStringSubmatch(text)
	if res.StatusCode != http.StatusOK || held == nil || strings.Contains(text, next) {
		t.Fatalf("%s %s", res.Status, text)
	}
	works := func(password string) bool {
		_, err := o.site.Logins.Password(t.Context(), auth.Client{}, anna, password)
		return err == nil
	}
	if works(next) {
		t.Fatal("the password was set before")
	}
	give := func(path, id, own string) (*http.Response, string) {
		return b.post(page, path, url.Values{"held": {id}, "prove_password": {own}})
	}
	if res, text := give(act, held[1], "wrong"); res.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(text, held[1]) || works(next) {
		t.Errorf("a wrong password: %s %s", res.Status, text)
	}
	for _, wrong := range [][2]string{{act, "other"}, {act, ""}, {page + "/remove", held[1]}, {"/mailbox/" + boss + "/password", held[1]}} {
		if res, text := give(wrong[0], wrong[1], password); res.StatusCode != http.StatusForbidden || works(next) {
			t.Errorf("%q: %s %s", wrong, res.Status, text)
		}
	}
	if res, text := give(act, held[1], password); res.Header.Get("Location") != page || !works(next) {
		t.Fatalf("%s %s", res.Status, text)
	}
	if res, _ := give(act, held[1], password); res.StatusCode != http.StatusForbidden {
		t.Errorf("the same form again: %s", res.Status)
	}
	// It is not asked again within ten minutes.
	if res, text := b.post(page, act, form); res.StatusCode != http.StatusSeeOther {
		t.Errorf("again: %s %s", res.Status, text)
	}
}

// The form of another session cannot be sent on.
func TestProveForAnother(t *testing.T) {
	o := newOffice(t)
	b, thief := o.logIn(t, boss), o.logIn(t, clerk)
	o.stale(t, boss)
	_, text := b.post("/domains", "/domains/remove", url.Values{"domain": {"other.example"}})
	held := heldField.FindStringSubmatch(text)
	if held == nil {
		t.Fatal(text)
	}
	if res, _ := thief.post("/me", "/domains/remove", url.Values{"held": {held[1]}, "prove_password": {password}}); res.StatusCode != http.StatusForbidden {
		t.Errorf("%s", res.Status)
	}
}

// With a second factor, the code is wanted too.
func TestProveWithCode(t *testing.T) {
	o := newOffice(t)
	secret, _ := o.giveFactor(t, clerk)
	b := o.halfWay(t, clerk)
	b.post("/login/code", "/login/code", url.Values{"code": {code(t, secret, time.Now().Add(-30*time.Second))}})
	o.stale(t, clerk)
	page := "/mailbox/" + anna
	_, text := b.post(page, page+"/remove", url.Values{})
	held := heldField.FindStringSubmatch(text)
	if held == nil || !strings.Contains(text, "prove_code") {
		t.Fatal(text)
	}
	form := url.Values{"held": {held[1]}, "prove_password": {password}}
	if res, text := b.post(page, page+"/remove", form); res.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("without a code: %s %s", res.Status, text)
	}
	form.Set("prove_code", code(t, secret, time.Now()))
	if res, text := b.post(page, page+"/remove", form); res.StatusCode != http.StatusOK || !strings.Contains(text, "to confirm") {
		t.Errorf("%s %s", res.Status, text)
	}
}

// Every act that a stranger must not do at an open page asks.
func TestDangerousActs(t *testing.T) {
	o := newOffice(t)
	b := o.logIn(t, boss)
	o.giveFactor(t, anna)
	for path, danger := range map[string]bool{
		mailboxPath(anna) + "/remove":               true,
		mailboxPath(anna) + "/password":             true,
		mailboxPath(anna) + "/second-factor-remove": true,
		mailboxPath(anna) + "/app-password":         true,
		mailboxPath(anna) + "/reset-link":           true,
		"/domains/remove":                           true,
		"/operators/add":                            true,
		"/operators/remove":                         true,
		"/me/app-password":                          true,
		factorPath + "/confirm":                     true,
		factorPath + "/remove":                      true,
		factorPath + "/codes":                       true,
		mailboxPath(anna) + "/lock":                 false,
		"/me/forward":                               false,
	} {
		o.stale(t, boss)
		if _, text := b.post("/me", path, url.Values{}); (heldField.FindString(text) != "") != danger {
			t.Errorf("%s: %s", path, text)
		}
	}
}
