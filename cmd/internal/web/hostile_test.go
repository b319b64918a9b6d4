package web

import (
	"bytes"
	"fmt"
	"maps"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// hostilePaths are all paths that take a form. The names of the fields are those of their acts.
func hostilePaths() (paths []string) {
	for prefix, acts := range map[string]map[string]act{
		"/mailbox/" + anna + "/": mailboxActs(), "/me/rules/": rulesActs(), "/me/absence/": absenceActs(), "/me/deleted/": deletedActs(),
		"/mailbox/" + anna + "/rules/": rulesActs(), "/domains/": domainActs(), "/dns/": dkimActs(),
		"/groups/": groupActs(), "/devices/": deviceActs(), "/policy/": policyActs(),
		"/operators/": operatorActs(), "/stray/": strayActs(), "/certificates/": certificateActs(),
		"/backups/": backupActs(),
	} {
		for _, name := range slices.Sorted(maps.Keys(acts)) {
			paths = append(paths, prefix+name)
		}
	}
	slices.Sort(paths)
	return append(paths, "/policy/set", "/mailboxes/add", "/mailboxes/import", "/queue", "/log/level",
		"/me/app-password", "/me/app-password-remove", "/me/forward", factorPath+"/start",
		factorPath+"/confirm", factorPath+"/remove", "/sessions/kill", "/bans/lift", "/language")
}

var hostileFields = strings.Fields("name domain user key value before list targets do what1 value1 not1 title text " +
	"number to from days subject app app_name app_for factor factor_name code quota full_name access new_name alias " +
	"archive footer footer_html selector type now address part level id sure typed match page prove_password")

// No form brings a page to a panic or to an error of the server, and no name leads out of the site. The
// connection of a panic ends without an answer.
func TestHostileForms(t *testing.T) {
	o := newOffice(t)
	b := o.logIn(t, boss)
	token := o.site.sessionOf(t, boss).token
	long := strings.Repeat("x@y.example,\n", 300) // all fields together stay below maxForm
	values := []string{"", "\x00", "\xff\xfe", "a\r\nBcc: x@y.example", "-1", "9223372036854775808",
		"<script>alert(1)</script>", "../../etc/passwd", "//evil.example", "[", "a@\xff.example", long}
	for _, path := range hostilePaths() {
		for _, value := range values {
			form := url.Values{}
			for _, field := range hostileFields {
				form[field] = []string{value, value}
			}
			form.Set("token", token)
			res, text := b.send(path, form)
			at := res.Header.Get("Location")
			if res.StatusCode >= 500 && res.StatusCode != http.StatusServiceUnavailable ||
				strings.Contains(text, "<script>alert") || at != "" && (at[0] != '/' || strings.HasPrefix(at, "//")) {
				t.Errorf("%s with %.20q: %s, to %q", path, value, res.Status, at)
			}
		}
	}
	if res, _ := b.get("/me"); res.StatusCode != http.StatusOK {
		t.Errorf("the session has ended, so the last forms were not read: %s", res.Status)
	}
}

// A form with files, and a broken one, is refused where no file is wanted.
func TestHostileMultipart(t *testing.T) {
	o := newOffice(t)
	b := o.logIn(t, boss)
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	w.WriteField("token", o.site.sessionOf(t, boss).token)
	for i := range 2000 {
		f, err := w.CreateFormFile("file", fmt.Sprintf("../../%d\x00\n.csv", i))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(f, "address\n")
	}
	w.Close()
	for _, path := range []string{"/mailboxes/import", "/policy/set", "/login", "/login/code", "/reset/x/y", "/me/forward"} {
		for _, text := range []string{body.String(), body.String()[:body.Len()/2], "--", ""} {
			r, err := http.NewRequest("POST", o.URL+path, strings.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", w.FormDataContentType())
			r.Header.Set("Sec-Fetch-Site", "same-origin")
			if res, _ := b.do(r); res.StatusCode >= 500 {
				t.Errorf("%s: %s", path, res.Status)
			}
		}
	}
}

// The address after a login never leads to another site.
func TestLocal(t *testing.T) {
	for _, next := range []string{"//evil.example", "/\\evil.example", "https://evil.example", "/\t/evil.example",
		"/\r\nSet-Cookie: x=y", "evil.example", "\\\\evil.example", "javascript:alert(1)", ""} {
		if got := local(next); got != "" {
			t.Errorf("%q leads to %q", next, got)
		}
	}
	if local("/mailbox/a@b?x=//y") == "" {
		t.Error("a page of this site is refused")
	}
}
