package web

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"pillarbox/mailstore/auth"
)

var shownSecret = regexp.MustCompile(`class="secret">([^<]+)<`)

// A user makes an app password, which is shown once, opens POP3 and no page, and can be removed. Nobody
// else's page can remove it.
func TestOwnAppPassword(t *testing.T) {
	o := newOffice(t)
	b := o.logIn(t, anna)
	res, text := b.post("/me", "/me/app-password", url.Values{"app_name": {`<b>phone</b>`}, "app_for": {"pop3"}})
	if res.Header.Get("Location") != "/me" {
		t.Fatalf("%s %s", res.Status, text)
	}
	_, text = b.get("/me")
	secret := shownSecret.FindStringSubmatch(text)
	if secret == nil || !strings.Contains(text, "&lt;b&gt;phone") || strings.Contains(text, "<b>phone") {
		t.Fatalf("%v in %s", secret, text)
	}
	if _, again := b.get("/me"); strings.Contains(again, secret[1]) {
		t.Error("it is shown twice")
	}
	for service, right := range map[auth.Service]bool{auth.ServicePOP3: true, auth.ServiceSMTP: false, auth.ServiceWeb: false} {
		if _, err := o.site.Logins.Password(t.Context(), auth.Client{Service: service}, anna, secret[1]); (err == nil) != right {
			t.Errorf("%s: %v", service, err)
		}
	}
	if res, _ := o.browser(t).post("/login", "/login", url.Values{"name": {anna}, "password": {secret[1]}}); res.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("it opens the page: %s", res.Status)
	}
	id := secret[1][:4]
	stranger := o.logIn(t, other)
	if res, _ := stranger.post("/me", "/me/app-password-remove", url.Values{"app": {id}}); res.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("another's page removes it: %s", res.Status)
	}
	if res, text := b.post("/me", "/me/app-password-remove", url.Values{"app": {id}}); res.StatusCode != http.StatusSeeOther {
		t.Errorf("%s %s", res.Status, text)
	}
	if _, err := o.site.Logins.Password(t.Context(), auth.Client{Service: auth.ServicePOP3}, anna, secret[1]); err == nil {
		t.Error("it opens POP3 after its removal")
	}
	if res, text := b.post("/me", "/me/app-password", url.Values{"app_name": {""}}); res.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(text, "a name is missing") {
		t.Errorf("without a name: %s %s", res.Status, text)
	}
}

// An operator makes one for a mailbox of the own domain only.
func TestAppPasswordByOperator(t *testing.T) {
	o := newOffice(t)
	b := o.logIn(t, clerk)
	form := url.Values{"app_name": {"scanner"}, "app_for": {"smtp"}}
	if res, text := b.post("/me", mailboxPath(anna)+"/app-password", form); res.Header.Get("Location") != mailboxPath(anna) {
		t.Errorf("%s %s", res.Status, text)
	}
	if _, text := b.get(mailboxPath(anna)); !strings.Contains(text, "scanner") || shownSecret.FindString(text) == "" {
		t.Error(text)
	}
	for _, user := range []string{other, boss} {
		if res, text := b.post("/me", mailboxPath(user)+"/app-password", form); res.StatusCode != http.StatusForbidden {
			t.Errorf("for %s: %s %s", user, res.Status, text)
		}
	}
}
