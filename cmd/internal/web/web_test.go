package web

import (
	"errors"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/config"
	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/auth"
	"pillarbox/mailstore/directory"
)

const (
	boss  = "boss@office.example"  // operator of all domains
	clerk = "clerk@office.example" // operator of office.example
	anna  = "anna@office.example"  // no operator
	other = "eve@other.example"
)

const password = "correct horse 7 battery"

// office is a site with four users.
type office struct {
	*httptest.Server
	service *admin.Service
	site    *Site
}

func newOffice(t *testing.T) *office {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "pillarbox.toml")
	text := "hostname = \"mail.office.example\"\ndata = \"data\"\ndns.servers = [\"127.0.0.1:1\"]\n[senders]\ndeny = [\"spam.example\"]\n"
	err := errors.Join(os.WriteFile(file, []byte(text), 0o600), os.Mkdir(filepath.Join(dir, "data"), 0o700))
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := admin.Open(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	for _, domain := range []string{"office.example", "other.example"} {
		if _, err := s.AddDomain(domain); err != nil {
			t.Fatal(err)
		}
	}
	for _, user := range []string{boss, clerk, anna, other} {
		a, err := addr.Parse(user)
		if err == nil {
			_, err = s.Dir.AddMailbox(a, directory.Account{Verifier: mailtest.CheapVerifier(password)})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, op := range []admin.NewOperator{{Name: boss}, {Name: clerk, Domains: []string{"office.example"}}} {
		if _, err := s.AddOperator(op); err != nil {
			t.Fatal(err)
		}
	}
	logins := auth.New(s.Dir, auth.Options{Secrets: s.Keeper, Delay: time.Millisecond})
	site := New(Parts{Service: s, Logins: logins, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	o := &office{httptest.NewTLSServer(site), s, site}
	t.Cleanup(o.Close)
	return o
}

// browser is a client with cookies that follows no redirect.
type browser struct {
	t      *testing.T
	office *office
	*http.Client
}

func (o *office) browser(t *testing.T) *browser {
	c := o.Client()
	jar, _ := cookiejar.New(nil)
	return &browser{t, o, &http.Client{
		Transport: c.Transport, Jar: jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (b *browser) do(r *http.Request) (*http.Response, string) {
	b.t.Helper()
	res, err := b.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return res, string(text)
}

func (b *browser) get(path string) (*http.Response, string) {
	b.t.Helper()
	r, err := http.NewRequest("GET", b.office.URL+path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.do(r)
}

var tokenField = regexp.MustCompile(`name="token" value="([^"]*)"`)

// post opens a page, takes its token, and sends a form.
func (b *browser) post(page, path string, form url.Values) (*http.Response, string) {
	b.t.Helper()
	_, text := b.get(page)
	if m := tokenField.FindStringSubmatch(text); m != nil {
		form.Set("token", m[1])
	}
	return b.send(path, form)
}

func (b *browser) send(path string, form url.Values) (*http.Response, string) {
	b.t.Helper()
	r, err := http.NewRequest("POST", b.office.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return b.do(r)
}

// logIn logs in and returns the browser.
func (o *office) logIn(t *testing.T, user string) *browser {
	t.Helper()
	b := o.browser(t)
	res, text := b.post("/login", "/login", url.Values{"name": {user}, "password": {password}})
	if res.StatusCode != http.StatusSeeOther {
		t.Fatalf("login of %s: %s %s", user, res.Status, text)
	}
	return b
}

// inline finds a script or a style in an attribute.
var inline = regexp.MustCompile(`<[^>]* (on[a-z]+|style)=`)

// Every page shows for whom it is, and is refused to the others.
func TestPages(t *testing.T) {
	o := newOffice(t)
	b := map[string]*browser{boss: o.logIn(t, boss), clerk: o.logIn(t, clerk), anna: o.logIn(t, anna)}
	for _, test := range []struct {
		path              string
		boss, clerk, anna int
	}{
		{"/me", 200, 200, 200},
		{"/me/setup", 200, 200, 200},
		{"/me/setup/print", 200, 200, 200},
		{"/me/second-factor", 200, 200, 200},
		{"/overview", 200, 403, 403},
		{"/mailboxes", 200, 200, 403},
		{"/mailboxes?find=ann", 200, 200, 403},
		{"/mailboxes?domain=other.example", 200, 403, 403},
		{"/mailboxes/add", 200, 200, 403},
		{"/mailboxes/import", 200, 200, 403},
		{"/mailbox/" + anna, 200, 200, 403},
		{"/mailbox/" + other, 200, 403, 403},
		{"/mailbox/nobody@office.example", 422, 422, 403},
		{"/domains", 200, 200, 403},
		{"/dns", 200, 200, 403},
		{"/dns?domain=other.example", 200, 403, 403},
		{"/dns?domain=nowhere.example", 422, 403, 403},
		{"/groups", 200, 200, 403},
		{"/devices", 200, 403, 403},
		{"/queue", 200, 403, 403},
		{"/explain", 200, 200, 403},
		{"/explain?ip=192.168.1.20&to=x@remote.example", 200, 403, 403},
		{"/explain?ip=nonsense&to=x@remote.example", 200, 200, 403},
		{"/audit", 200, 200, 403},
		{"/policy", 200, 403, 403},
		{"/policy/rule?key=senders.deny", 200, 403, 403},
		{"/policy/rule?key=senders.deny&value=spam.example%0Amore.example", 200, 403, 403},
		{"/policy/rule?key=senders.deny&value=not+an+address", 200, 403, 403},
		{"/policy/rule?key=tls.key", 404, 403, 403},
		{"/settings", 200, 403, 403},
		{"/settings?match=greeting", 200, 403, 403},
		{"/refusals", 200, 403, 403},
		{"/bans", 200, 403, 403},
		{"/routes", 200, 403, 403},
		{"/routes?to=carl@office.example", 200, 403, 403},
		{"/certificates", 422, 403, 403}, // this office has none
		{"/operators", 200, 403, 403},
		{"/stray", 200, 403, 403},
		{"/backups", 200, 403, 403},
		{"/log", 200, 403, 403},
		{"/nothing", 404, 404, 404},
		{"/mailbox/..%2f..%2fetc%2fpasswd", 422, 422, 403},
	} {
		for user, want := range map[string]int{boss: test.boss, clerk: test.clerk, anna: test.anna} {
			res, text := b[user].get(test.path)
			if res.StatusCode != want {
				t.Errorf("%s for %s: %s, want %d\n%s", test.path, user, res.Status, want, text)
			}
			if strings.Count(text, "<script") != 1 || !strings.Contains(text, ownScript) || inline.MatchString(text) {
				t.Errorf("%s for %s has a script of its own: %s", test.path, user, text)
			}
			if strings.Contains(text, "cannot be shown") || strings.Contains(text, "ZgotmplZ") || strings.Contains(text, "%!") {
				t.Errorf("%s for %s: %s", test.path, user, text)
			}
		}
	}
	for user, want := range map[string]string{boss: "/overview", clerk: "/mailboxes", anna: "/me"} {
		if res, _ := b[user].get("/"); res.Header.Get("Location") != want {
			t.Errorf("the first page of %s is %s", user, res.Header.Get("Location"))
		}
	}
	if res, _ := o.browser(t).get("/queue"); res.Header.Get("Location") != "/login?next=%2Fqueue" {
		t.Errorf("without a login: %s %s", res.Status, res.Header.Get("Location"))
	}
}

func TestLogin(t *testing.T) {
	o := newOffice(t)
	b := o.browser(t)
	for _, wrong := range []url.Values{
		{"name": {anna}, "password": {"wrong"}},
		{"name": {"nobody@office.example"}, "password": {password}},
		{"name": {""}, "password": {""}},
	} {
		res, text := b.post("/login", "/login", wrong)
		if res.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(text, wrongLogin) {
			t.Errorf("%v: %s %s", wrong, res.Status, text)
		}
	}
	// The form works after a second window has shown it.
	_, text := b.get("/login")
	token := tokenField.FindStringSubmatch(text)[1]
	if _, again := b.get("/login?next=/favicon.ico"); tokenField.FindStringSubmatch(again)[1] != token {
		t.Error("a second window makes the form of the first invalid")
	}
	// A cookie that an attacker has planted does not become the session.
	base, _ := url.Parse(o.URL)
	b.Jar.SetCookies(base, []*http.Cookie{{Name: sessionCookie, Value: "planted", Path: "/", Secure: true}})
	res, _ := b.post("/login", "/login", url.Values{"name": {anna}, "password": {password}, "next": {"/me"}})
	if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/me" {
		t.Fatalf("%s %s", res.Status, res.Header.Get("Location"))
	}
	var own *http.Cookie
	for _, c := range res.Cookies() {
		if c.Name == sessionCookie {
			own = c
		}
	}
	if own == nil || own.Value == "planted" || !own.Secure || !own.HttpOnly || own.SameSite != http.SameSiteStrictMode || own.Path != "/" {
		t.Fatalf("cookie: %+v", own)
	}
	// Out again: the old cookie is worth nothing.
	if res, _ := b.post("/me", "/logout", url.Values{}); res.StatusCode != http.StatusSeeOther {
		t.Error(res.Status)
	}
	b.Jar.SetCookies(base, []*http.Cookie{own})
	if res, _ := b.get("/me"); res.StatusCode != http.StatusSeeOther {
		t.Errorf("after the log-out: %s", res.Status)
	}
}

// A form of another session, of another site or without a token does nothing.
func TestForgedForms(t *testing.T) {
	o := newOffice(t)
	b := o.logIn(t, boss)
	add := url.Values{"domain": {"forged.example"}}
	if res, _ := b.send("/domains/add", add); res.StatusCode != http.StatusForbidden {
		t.Errorf("without a token: %s", res.Status)
	}
	add.Set("token", o.site.sessionOf(t, clerk).token)
	if res, _ := b.send("/domains/add", add); res.StatusCode != http.StatusForbidden {
		t.Errorf("with the token of another: %s", res.Status)
	}
	add.Set("token", o.site.sessionOf(t, boss).token)
	r, _ := http.NewRequest("POST", o.URL+"/domains/add", strings.NewReader(add.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	if res, _ := b.do(r); res.StatusCode != http.StatusForbidden {
		t.Errorf("from another site: %s", res.Status)
	}
	if hosted, _ := o.service.Dir.Hosts("forged.example"); hosted {
		t.Error("the domain was added")
	}
	if res, _ := o.browser(t).send("/login", url.Values{"name": {anna}, "password": {password}}); res.StatusCode != http.StatusForbidden {
		t.Errorf("a login without the form: %s", res.Status)
	}
}

// sessionOf logs a user in if need be and returns the session.
func (s *Site) sessionOf(t *testing.T, user string) *session {
	t.Helper()
	s.sessions.mu.Lock()
	defer s.sessions.mu.Unlock()
	for _, one := range s.sessions.live {
		if one.user.String() == user {
			return one
		}
	}
	return &session{token: "none of " + user}
}

// An operator of one domain cannot change anything in another, by any act.
func TestForeignDomain(t *testing.T) {
	o := newOffice(t)
	b := o.logIn(t, clerk)
	for name := range mailboxActs() {
		form := url.Values{"password_way": {"made"}, "full_name": {"x"}, "access": {"none"}, "quota": {"1MB"},
			"targets": {anna}, "new_name": {"evil"}, "alias": {"evil"}, "sure": {"yes"}, "typed": {other},
			"app_name": {"x"}, "app": {"x"}}
		if res, text := b.post("/me", "/mailbox/"+other+"/"+name, form); res.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %s %s", name, res.Status, text)
		}
	}
	for name := range domainActs() {
		form := url.Values{"domain": {"other.example"}, "target": {"none"}, "sure": {"yes"}}
		if res, text := b.post("/me", "/domains/"+name, form); res.StatusCode != http.StatusForbidden {
			t.Errorf("domain %s: %s %s", name, res.Status, text)
		}
	}
	for name := range groupActs() {
		form := url.Values{"group": {"all@other.example"}, "members": {anna}, "accept": {"anyone"}, "alias": {"x@other.example"}, "target": {anna}}
		if res, text := b.post("/me", "/groups/"+name, form); res.StatusCode != http.StatusForbidden {
			t.Errorf("group %s: %s %s", name, res.Status, text)
		}
	}
}

// An operator of one domain does nothing to the server, by any act.
func TestForeignServer(t *testing.T) {
	o := newOffice(t)
	b := o.logIn(t, clerk)
	paths := []string{"/policy/set", "/bans/lift", "/routes/fetch", "/log/level"}
	for prefix, acts := range map[string]map[string]act{
		"/policy/": policyActs(), "/certificates/": certificateActs(), "/operators/": operatorActs(), "/stray/": strayActs(),
		"/backups/": backupActs(),
	} {
		for name := range acts {
			paths = append(paths, prefix+name)
		}
	}
	for _, path := range paths {
		form := url.Values{"key": {"senders.deny"}, "value": {"x.example"}, "list": {"yes"}, "name": {clerk},
			"id": {"P3_1"}, "part": {"smtp"}, "level": {"debug"}, "address": {"192.0.2.1"}, "sure": {"yes"}}
		if res, text := b.post("/me", path, form); res.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %s %s", path, res.Status, text)
		}
	}
}

// A rule is tried, set, found changed by another, given back, and the change undone.
func TestRules(t *testing.T) {
	o := newOffice(t)
	b := o.logIn(t, boss)
	const page = "/policy/rule?key=senders.deny"
	value := func() string {
		for _, k := range o.service.Config().Explain() {
			if k.Key == "senders.deny" {
				return k.Value
			}
		}
		return ""
	}
	_, text := b.get(page + "&value=spam.example%0A+more.example+%0A%0A")
	if want := `["spam.example", "more.example"]`; !strings.Contains(html.UnescapeString(text), want) || value() != `["spam.example"]` {
		t.Errorf("tried: %s, the page has no %s\n%s", value(), want, text)
	}
	set := url.Values{"key": {"senders.deny"}, "list": {"yes"}, "value": {"spam.example\nmore.example"}, "before": {`["spam.example"]`}}
	if res, text := b.post(page, "/policy/set", set); res.StatusCode != http.StatusSeeOther || value() != `["spam.example", "more.example"]` {
		t.Fatalf("set: %s, %s\n%s", res.Status, value(), text)
	}
	if _, text := b.get("/policy"); !strings.Contains(text, "policy.toml:") {
		t.Errorf("the page does not say where the rule is set: %s", text)
	}
	if res, text := b.post(page, "/policy/set", set); res.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(text, "has changed meanwhile") {
		t.Errorf("set over the change of another: %s", res.Status)
	}
	for _, bad := range []url.Values{
		{"key": {"senders.deny"}, "list": {"yes"}, "value": {"<script>alert(1)</script>"}},
		{"key": {"tls.key"}, "value": {"/etc/shadow"}},
		{"key": {"relay.i_know_this_is_an_open_relay"}, "value": {"true"}},
		{"key": {"relay.enforcement"}, "value": {"none"}},
	} {
		res, text := b.post("/policy", "/policy/set", bad)
		if res.StatusCode/100 == 3 || strings.Contains(text, "<script>alert") {
			t.Errorf("%v: %s", bad, res.Status)
		}
	}
	b.post("/policy", "/policy/reset", url.Values{"key": {"senders.deny"}})
	if value() != `["spam.example"]` {
		t.Errorf("given back: %s", value())
	}
	b.post("/policy", "/policy/undo", url.Values{})
	if value() != `["spam.example", "more.example"]` {
		t.Errorf("undone: %s", value())
	}
}

// An operator is made, and takes effect.
func TestOperators(t *testing.T) {
	o := newOffice(t)
	b := o.logIn(t, boss)
	if res, text := b.post("/operators", "/operators/add", url.Values{"name": {anna}, "domains": {"office.example"}, "read_only": {"yes"}}); res.StatusCode != http.StatusSeeOther {
		t.Fatalf("%s %s", res.Status, text)
	}
	if _, text := b.get("/operators"); !strings.Contains(text, anna) || !strings.Contains(text, "may look only") {
		t.Errorf("the page: %s", text)
	}
	if res, _ := o.logIn(t, anna).get("/mailboxes"); res.StatusCode != http.StatusOK {
		t.Errorf("the new operator gets %s", res.Status)
	}
	if res, _ := b.post("/operators", "/operators/remove", url.Values{"name": {anna}}); res.StatusCode != http.StatusSeeOther {
		t.Errorf("removal: %s", res.Status)
	}
	if res, _ := o.logIn(t, anna).get("/mailboxes"); res.StatusCode != http.StatusForbidden {
		t.Errorf("the former operator gets %s", res.Status)
	}
}

// TestMailbox lives through a mailbox: made with a password that is shown once, locked, filled with
// hostile text, removed.
func TestMailbox(t *testing.T) {
	o := newOffice(t)
	b := o.logIn(t, clerk)
	res, text := b.post("/mailboxes/add", "/mailboxes/add", url.Values{"name": {"carl"}, "domain": {"office.example"}, "password_way": {"typed"}, "password": {"one two three 4"}, "password_again": {"other"}})
	if res.StatusCode != 422 || !strings.Contains(text, "passwords differ") || !strings.Contains(text, `value="carl"`) || strings.Contains(text, "one two three 4") {
		t.Errorf("two passwords: %s %s", res.Status, text)
	}
	res, text = b.post("/mailboxes/add", "/mailboxes/add", url.Values{"name": {"carl"}, "domain": {"office.example"}, "password_way": {"made"}})
	if res.Header.Get("Location") != "/mailbox/carl@office.example" {
		t.Fatalf("%s %s %s", res.Status, res.Header.Get("Location"), text)
	}
	page := res.Header.Get("Location")
	_, text = b.get(page)
	secret := regexp.MustCompile(`class="secret">([^<]+)<`).FindStringSubmatch(text)
	if secret == nil {
		t.Fatalf("no password is shown: %s", text)
	}
	if _, text := b.get(page); strings.Contains(text, secret[1]) {
		t.Error("the password is shown twice")
	}
	if _, err := o.site.Logins.Password(t.Context(), auth.Client{}, "carl@office.example", secret[1]); err != nil {
		t.Errorf("the password that was shown: %v", err)
	}
	for path, form := range map[string]url.Values{
		"/name":    {"full_name": {`<script>alert(1)</script>'`}},
		"/lock":    {},
		"/quota":   {"quota": {"5MB"}},
		"/forward": {"targets": {anna}, "keep_copy": {"yes"}},
		"/alias":   {"alias": {"karl"}},
	} {
		if res, text := b.post(page, page+path, form); res.StatusCode != http.StatusSeeOther {
			t.Errorf("%s: %s %s", path, res.Status, text)
		}
	}
	_, text = b.get(page)
	for _, want := range []string{"&lt;script&gt;", "locked", "may hold 5MB", anna, "karl@office.example"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in %s", want, text)
		}
	}
	if strings.Count(text, "<script") != 1 || !strings.Contains(text, ownScript) {
		t.Error("a script came through")
	}
	res, text = b.post(page, page+"/remove", url.Values{})
	if res.StatusCode != 200 || !strings.Contains(text, "Type carl@office.example to confirm") {
		t.Errorf("%s %s", res.Status, text)
	}
	res, text = b.post(page, page+"/remove", url.Values{"sure": {"yes"}, "typed": {"carla"}})
	if res.StatusCode != 200 || !strings.Contains(text, "to confirm") {
		t.Errorf("the wrong name: %s %s", res.Status, text)
	}
	// What leads here goes first.
	b.post("/groups", "/groups/alias-remove", url.Values{"alias": {"karl@office.example"}})
	res, text = b.post(page, page+"/remove", url.Values{"sure": {"yes"}, "typed": {"Carl@office.example"}})
	if res.Header.Get("Location") != "/mailboxes" {
		t.Errorf("%s %s", res.Status, text)
	}
}

// A user changes the own password with the old one. It ends all sessions.
func TestOwnPassword(t *testing.T) {
	o := newOffice(t)
	b, elsewhere := o.logIn(t, anna), o.logIn(t, anna)
	change := func(old, first, second string) (*http.Response, string) {
		return b.post("/me", "/me/password", url.Values{"old_password": {old}, "password": {first}, "password_again": {second}})
	}
	for _, wrong := range [][3]string{{"wrong", "a new long one 9", "a new long one 9"}, {password, "a new long one 9", "another"}, {password, "", ""}} {
		if res, text := change(wrong[0], wrong[1], wrong[2]); res.StatusCode != 422 {
			t.Errorf("%q: %s %s", wrong, res.Status, text)
		}
	}
	if res, text := change(password, "a new long one 9", "a new long one 9"); res.Header.Get("Location") != afterPassword {
		t.Fatalf("%s %s", res.Status, text)
	}
	if _, text := b.get(afterPassword); !strings.Contains(text, "The password was changed. Log in with the new one.") {
		t.Error(text)
	}
	for _, one := range []*browser{b, elsewhere} {
		if res, _ := one.get("/me"); res.StatusCode != http.StatusSeeOther {
			t.Errorf("a session lives on: %s", res.Status)
		}
	}
}

// A user may lead the own mail only where everybody may write.
func TestOwnForward(t *testing.T) {
	o := newOffice(t)
	b := o.logIn(t, anna)
	if res, text := b.post("/me", "/me/forward", url.Values{"targets": {clerk}, "keep_copy": {"yes"}}); res.StatusCode != http.StatusSeeOther {
		t.Errorf("to a colleague: %s %s", res.Status, text)
	}
	box, err := o.service.Dir.Mailbox(o.site.sessionOf(t, anna).user)
	if err != nil || len(box.Account.Forward) != 1 || !box.Account.KeepCopy {
		t.Errorf("%+v, %v", box.Account.Forward, err)
	}
	if res, text := b.post("/me", "/me/forward", url.Values{"targets": {"nobody@office.example"}}); res.StatusCode != 422 {
		t.Errorf("to nobody: %s %s", res.Status, text)
	}
	if res, text := b.post("/me", "/me/forward", url.Values{}); res.StatusCode != http.StatusSeeOther {
		t.Errorf("to an end: %s %s", res.Status, text)
	}
}

// A lock and a lost right count at once, for sessions that have begun too.
func TestRightsAreReadAnew(t *testing.T) {
	o := newOffice(t)
	b := o.logIn(t, clerk)
	if _, err := o.service.RemoveOperator(clerk); err != nil {
		t.Fatal(err)
	}
	if res, _ := b.get("/mailboxes"); res.StatusCode != http.StatusForbidden {
		t.Errorf("without the right: %s", res.Status)
	}
	if _, err := o.service.LockMailbox(clerk); err != nil {
		t.Fatal(err)
	}
	if res, _ := b.get("/me"); res.StatusCode != http.StatusSeeOther {
		t.Errorf("locked: %s", res.Status)
	}
}

// ownScript begins the only script of a page.
const ownScript = `<script src="/copy.js" defer `

func TestHeaders(t *testing.T) {
	o := newOffice(t)
	if res, _ := o.browser(t).get("/copy.js"); res.StatusCode != http.StatusOK ||
		!strings.HasPrefix(res.Header.Get("Content-Type"), "text/javascript") {
		t.Errorf("/copy.js: %s, %s", res.Status, res.Header.Get("Content-Type"))
	}
	res, text := o.browser(t).get("/login")
	if policy := res.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "script-src 'self';") ||
		!strings.Contains(policy, "require-trusted-types-for 'script'; trusted-types 'none'") {
		t.Error(policy)
	}
	for name, want := range map[string]string{
		"Content-Security-Policy": "default-src 'none'", "X-Content-Type-Options": "nosniff",
		"Referrer-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin", "Cache-Control": "no-store",
	} {
		if !strings.Contains(res.Header.Get(name), want) {
			t.Errorf("%s: %q", name, res.Header.Get(name))
		}
	}
	if len(text) > 50<<10 || strings.Contains(text, "http:") || strings.Contains(text, "https:") {
		t.Errorf("the first page asks elsewhere, or is long: %s", text)
	}
	for host, want := range map[string]int{
		"mail.office.example": 200, "autoconfig.office.example:443": 200, "192.168.1.2": 200, "[::1]:8443": 200, "localhost": 200,
		"evil.example": 421, "office.example.evil.example": 421, "": 421,
	} {
		r, _ := http.NewRequest("GET", o.URL+"/login", nil)
		r.Host = host
		if host == "" {
			r.Host = "evil"
		}
		if res, _ := o.browser(t).do(r); res.StatusCode != want {
			t.Errorf("host %q: %s", host, res.Status)
		}
	}
}
