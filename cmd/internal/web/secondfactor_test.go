package web

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/auth"
	"pillarbox/mailstore/directory"
)

// giveFactor gives a user a second factor whose present code is unused.
func (o *office) giveFactor(t *testing.T, user string) (secret string, recovery []string) {
	t.Helper()
	a, err := addr.Parse(user)
	if err != nil {
		t.Fatal(err)
	}
	secret, _, err = auth.NewFactor("mail.office.example", a)
	if err != nil {
		t.Fatal(err)
	}
	before := time.Now().Add(-2 * time.Minute)
	err = o.service.Dir.UpdateAccount(a, func(acc *directory.Account) error {
		recovery, err = o.service.Keeper.AddFactor(acc, "phone", secret, code(t, secret, before), before)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return secret, recovery
}

func code(t *testing.T, secret string, at time.Time) string {
	t.Helper()
	text, err := totp.GenerateCode(secret, at)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// halfWay gives the password, and returns a browser that is asked for the code.
func (o *office) halfWay(t *testing.T, user string) *browser {
	t.Helper()
	b := o.browser(t)
	res, text := b.post("/login", "/login", url.Values{"name": {user}, "password": {password}, "next": {"/me"}})
	if res.Header.Get("Location") != "/login/code" {
		t.Fatalf("%s %s %s", res.Status, res.Header.Get("Location"), text)
	}
	return b
}

func cookieNamed(res *http.Response, name string) *http.Cookie {
	for _, c := range res.Cookies() {
		if c.Name == name && c.MaxAge >= 0 {
			return c
		}
	}
	return nil
}

func (b *browser) setCookie(name, value string) {
	base, _ := url.Parse(b.office.URL)
	b.Jar.SetCookies(base, []*http.Cookie{{Name: name, Value: value, Path: "/", Secure: true}})
}

func (b *browser) cookie(name string) string {
	base, _ := url.Parse(b.office.URL)
	for _, c := range b.Jar.Cookies(base) {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

// The password alone opens nothing. The code opens the page, with another cookie than any that the
// browser had before, and no code opens it twice.
func TestSecondStep(t *testing.T) {
	o := newOffice(t)
	secret, recovery := o.giveFactor(t, anna)
	b := o.halfWay(t, anna)
	for _, path := range []string{"/me", "/", "/me/second-factor", "/mailboxes"} {
		if res, _ := b.get(path); !strings.HasPrefix(res.Header.Get("Location"), "/login") {
			t.Errorf("half a login opens %s: %s", path, res.Status)
		}
	}
	_, text := b.get("/login/code")
	for _, want := range []string{`autocomplete="one-time-code"`, `inputmode="numeric"`} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is missing in %s", want, text)
		}
	}
	// The cookie of the half login is none of a session, and a planted session does not become one.
	half := b.cookie(codeCookie)
	thief := o.browser(t)
	thief.setCookie(sessionCookie, half)
	if res, _ := thief.get("/me"); res.StatusCode != http.StatusSeeOther {
		t.Errorf("the cookie of half a login as a session: %s", res.Status)
	}
	b.setCookie(sessionCookie, half)
	now := code(t, secret, time.Now())
	res, text := b.post("/login/code", "/login/code", url.Values{"code": {now}})
	if res.Header.Get("Location") != "/me" {
		t.Fatalf("%s %s", res.Status, text)
	}
	own := cookieNamed(res, sessionCookie)
	if own == nil || own.Value == half {
		t.Fatalf("session cookie: %+v", own)
	}
	if res, _ := b.get("/me"); res.StatusCode != http.StatusOK {
		t.Errorf("after the code: %s", res.Status)
	}
	if res, _ := thief.get("/me"); res.StatusCode != http.StatusSeeOther {
		t.Errorf("a planted cookie became a session: %s", res.Status)
	}
	// The half login is over, and the same code opens no other one.
	thief.setCookie(codeCookie, half)
	if res, _ := thief.get("/login/code"); res.Header.Get("Location") != "/login" {
		t.Errorf("the half login lives on: %s", res.Status)
	}
	again := o.halfWay(t, anna)
	if res, text := again.post("/login/code", "/login/code", url.Values{"code": {now}}); res.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(text, wrongCode) {
		t.Errorf("the same code again: %s %s", res.Status, text)
	}
	if res, text := again.post("/login/code", "/login/code", url.Values{"recovery": {recovery[0]}}); res.Header.Get("Location") != "/me" {
		t.Errorf("a recovery code: %s %s", res.Status, text)
	}
	if res, _ := o.halfWay(t, anna).post("/login/code", "/login/code", url.Values{"recovery": {recovery[0]}}); res.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("the same recovery code again: %s", res.Status)
	}
	if res, _ := o.halfWay(t, anna).send("/login/code", url.Values{"code": {recovery[1]}}); res.StatusCode != http.StatusForbidden {
		t.Errorf("without the token: %s", res.Status)
	}
}

// Wrong codes end the half login.
func TestWrongCodesEndHalfLogin(t *testing.T) {
	o := newOffice(t)
	secret, _ := o.giveFactor(t, anna)
	b := o.halfWay(t, anna)
	half := b.cookie(codeCookie)
	for n := range codeTries {
		res, text := b.post("/login/code", "/login/code", url.Values{"code": {"abcdef"}})
		if res.StatusCode != http.StatusUnprocessableEntity || strings.Contains(text, `name="password"`) != (n == codeTries-1) {
			t.Errorf("try %d: %s %s", n, res.Status, text)
		}
	}
	b.setCookie(codeCookie, half)
	if res, _ := b.post("/login/code", "/login/code", url.Values{"code": {code(t, secret, time.Now())}}); res.Header.Get("Location") != "/login" {
		t.Errorf("the right code after that: %s %s", res.Status, res.Header.Get("Location"))
	}
}

// A half login ends with time, with another password and with another second factor.
func TestHalves(t *testing.T) {
	var all halves
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	cookie := all.begin(half{user: person(1)}, now)
	if h, ok := all.find(cookie, now.Add(codeTime-1)); !ok || h.user != person(1) || h.token == "" {
		t.Error("not found")
	}
	if _, ok := all.find(cookie, now.Add(codeTime)); ok {
		t.Error("it lives on")
	}
	if all.try(cookie, now.Add(codeTime)) {
		t.Error("a try after its time")
	}
	cookie = all.begin(half{user: person(1)}, now)
	for n := range codeTries + 2 {
		if got := all.try(cookie, now); got != (n < codeTries) {
			t.Errorf("try %d: %t", n, got)
		}
	}
	first := all.begin(half{user: person(2)}, now)
	for range maxHalves {
		all.begin(half{user: person(3)}, now.Add(time.Second))
	}
	if _, ok := all.find(first, now); ok || len(all.live) > maxHalves {
		t.Errorf("%d half logins", len(all.live))
	}

	o := newOffice(t)
	secret, _ := o.giveFactor(t, anna)
	b := o.halfWay(t, anna)
	if _, err := o.service.SetPassword(anna, "another long one 7"); err != nil {
		t.Fatal(err)
	}
	if res, _ := b.post("/login", "/login/code", url.Values{"code": {code(t, secret, time.Now())}}); res.Header.Get("Location") != "/login" {
		t.Errorf("after another password: %s", res.Status)
	}
}

var shownSetup = regexp.MustCompile(`class="secret">([A-Z2-7 ]+)<`)

// A user sets up a second factor with the password and a code. Other sessions end, this one goes on,
// POP3 wants an app password from then on, and a second telephone replaces nothing.
func TestSetUpSecondFactor(t *testing.T) {
	o := newOffice(t)
	b, elsewhere := o.logIn(t, anna), o.logIn(t, anna)
	start := func(name, own string) (*http.Response, string) {
		return b.post(factorPath, factorPath+"/start", url.Values{"factor_name": {name}, "own_password": {own}})
	}
	if res, text := start("phone", "wrong"); res.StatusCode != http.StatusUnprocessableEntity || strings.Contains(text, "<svg") {
		t.Errorf("with a wrong password: %s %s", res.Status, text)
	}
	setUp := func(name string) (recovery int) {
		t.Helper()
		if res, text := start(name, password); res.Header.Get("Location") != factorPath {
			t.Fatalf("%s %s", res.Status, text)
		}
		_, text := b.get(factorPath)
		shown := shownSetup.FindStringSubmatch(text)
		if shown == nil || !strings.Contains(text, `<svg class="qr"`) {
			t.Fatal(text)
		}
		if res, text := b.post(factorPath, factorPath+"/confirm", url.Values{"code": {"000000"}}); res.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(text, shown[1]) {
			t.Errorf("a wrong code: %s %s", res.Status, text)
		}
		res, text := b.post(factorPath, factorPath+"/confirm", url.Values{"code": {code(t, strings.ReplaceAll(shown[1], " ", ""), time.Now())}})
		if res.Header.Get("Location") != factorPath || cookieNamed(res, sessionCookie) == nil {
			t.Fatalf("%s %s", res.Status, text)
		}
		_, text = b.get(factorPath)
		if strings.Contains(text, shown[1]) {
			t.Error("the secret is shown after the set-up")
		}
		return strings.Count(text, "<li><code>")
	}
	if n := setUp("phone"); n != 10 {
		t.Errorf("%d recovery codes", n)
	}
	if res, _ := elsewhere.get("/me"); res.StatusCode != http.StatusSeeOther {
		t.Errorf("another session lives on: %s", res.Status)
	}
	if n := setUp("tablet"); n != 0 {
		t.Errorf("%d recovery codes with the second one", n)
	}
	_, text := b.get(factorPath)
	if !strings.Contains(text, "phone") || !strings.Contains(text, "tablet") {
		t.Error(text)
	}
	if _, err := o.site.Logins.Password(t.Context(), auth.Client{Service: auth.ServicePOP3}, anna, password); err == nil {
		t.Error("POP3 takes the password")
	}
	if _, text := b.get("/me/setup"); !strings.Contains(text, "An app password, because") {
		t.Error("the page for programs does not say that they need an app password")
	}
	o.halfWay(t, anna)
}

// An operator without a second factor reaches the page to set one up, and nothing else.
func TestOperatorsNeedSecondFactor(t *testing.T) {
	o := newOffice(t)
	cfg := *o.service.Config()
	cfg.Web.OperatorsSecondFactor = true
	if err := o.service.SetConfig(&cfg); err != nil {
		t.Fatal(err)
	}
	b := o.logIn(t, clerk)
	for _, path := range []string{"/", "/me", "/mailboxes", "/mailbox/" + anna, "/nothing", "/me/setup/text", "/me/second-factory"} {
		if res, _ := b.get(path); res.Header.Get("Location") != factorPath {
			t.Errorf("%s: %s %s", path, res.Status, res.Header.Get("Location"))
		}
	}
	if res, _ := b.post(factorPath, "/mailbox/"+anna+"/lock", url.Values{}); res.Header.Get("Location") != factorPath {
		t.Errorf("an act: %s", res.Status)
	}
	if box, err := o.service.Dir.Mailbox(addr.Address{Local: "anna", Domain: "office.example"}); err != nil || box.Locked {
		t.Error("the act was done")
	}
	if res, text := b.get(factorPath); res.StatusCode != http.StatusOK || !strings.Contains(text, "need a second factor") {
		t.Errorf("%s %s", res.Status, text)
	}
	if res, _ := o.logIn(t, anna).get("/me"); res.StatusCode != http.StatusOK {
		t.Errorf("a user: %s", res.Status)
	}
	o.giveFactor(t, boss)
	secret, _ := o.giveFactor(t, clerk)
	c := o.halfWay(t, clerk)
	c.post("/login/code", "/login/code", url.Values{"code": {code(t, secret, time.Now())}})
	if res, _ := c.get("/mailboxes"); res.StatusCode != http.StatusOK {
		t.Errorf("with one: %s", res.Status)
	}
}

// An operator removes the second factor of a user, whose sessions end.
func TestRemoveFactorOfAnother(t *testing.T) {
	o := newOffice(t)
	o.giveFactor(t, anna)
	b := o.logIn(t, clerk)
	if res, text := b.post("/mailbox/"+anna, "/mailbox/"+anna+"/second-factor-remove", url.Values{}); res.StatusCode != http.StatusSeeOther {
		t.Fatalf("%s %s", res.Status, text)
	}
	o.logIn(t, anna)
}
