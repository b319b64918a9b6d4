package web

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// Keys are made, replaced and removed on the page of the records. DNS that does not answer is no error.
func TestDNS(t *testing.T) {
	o := newOffice(t)
	b := o.logIn(t, clerk)
	const page = "/dns?domain=office.example"
	res, text := b.get(page)
	for _, want := range []string{
		"office.example. IN MX 10 mail.office.example.", "v=DMARC1; p=none", "cannot look up", "so its mail is not signed",
	} {
		if res.StatusCode != http.StatusOK || !strings.Contains(text, want) {
			t.Errorf("%s, no %q: %s", res.Status, want, text)
		}
	}
	act := func(name string, form url.Values, want int) string {
		t.Helper()
		form.Set("domain", "office.example")
		res, text := b.post(page, "/dns/"+name, form)
		if res.StatusCode != want {
			t.Fatalf("%s: %s %s", name, res.Status, text)
		}
		if want == http.StatusSeeOther {
			if to := res.Header.Get("Location"); to != page {
				t.Errorf("%s leads to %s", name, to)
			}
			_, text = b.get(page)
		}
		return text
	}
	text = act("create", url.Values{"selector": {"mail1"}, "type": {"ed25519"}}, http.StatusSeeOther)
	if !strings.Contains(text, "mail1._domainkey.office.example. IN TXT") || !strings.Contains(text, "The key mail1 is made") {
		t.Error(text)
	}
	if text = act("create", url.Values{"selector": {"A B"}}, http.StatusUnprocessableEntity); !strings.Contains(text, "There is a problem") {
		t.Error(text)
	}
	text = act("rotate", url.Values{"selector": {"mail2"}, "type": {"ed25519"}}, http.StatusSeeOther)
	if !strings.Contains(text, "The key mail2 is made and signs from") {
		t.Error(text)
	}
	if text = act("remove", url.Values{"selector": {"mail2"}}, http.StatusOK); !strings.Contains(text, "Are you sure?") {
		t.Error(text)
	}
	text = act("remove", url.Values{"selector": {"mail2"}, "sure": {"yes"}}, http.StatusSeeOther)
	if strings.Contains(text, "mail2._domainkey.office.example. IN TXT") {
		t.Error(text)
	}
	// An operator of one domain has no key of another.
	if res, _ := b.post(page, "/dns/create", url.Values{"domain": {"other.example"}}); res.StatusCode != http.StatusForbidden {
		t.Error(res.Status)
	}
}
