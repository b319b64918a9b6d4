package web

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"pillarbox/cmd/internal/admin"
	"pillarbox/mailstore"
)

// The pages of rules and absence show for the user, and for an operator of the mailbox's domain.
func TestDeliveryPages(t *testing.T) {
	o := newOffice(t)
	b := map[string]*browser{boss: o.logIn(t, boss), clerk: o.logIn(t, clerk), anna: o.logIn(t, anna)}
	for _, test := range []struct {
		path              string
		boss, clerk, anna int
	}{
		{"/me/rules", 200, 200, 200},
		{"/me/absence", 200, 200, 200},
		{"/mailbox/" + anna + "/rules", 200, 200, 403},
		{"/mailbox/" + anna + "/absence", 200, 200, 403},
		{"/mailbox/" + other + "/rules", 200, 403, 403},
		{"/mailbox/" + other + "/absence", 200, 403, 403},
		{"/me/deleted", 200, 200, 200},
		{"/mailbox/" + anna + "/deleted", 200, 200, 403},
		{"/mailbox/" + other + "/deleted", 200, 403, 403},
	} {
		for user, want := range map[string]int{boss: test.boss, clerk: test.clerk, anna: test.anna} {
			res, text := b[user].get(test.path)
			if res.StatusCode != want {
				t.Errorf("%s for %s: %s, want %d\n%s", test.path, user, res.Status, want, text)
			}
			if strings.Contains(text, "cannot be shown") || strings.Contains(text, "ZgotmplZ") || strings.Contains(text, "%!") {
				t.Errorf("%s for %s: %s", test.path, user, text)
			}
		}
	}
	for _, path := range []string{"rules/add", "rules/remove", "rules/move", "absence/set", "absence/off", "deleted/restore", "deleted/restore-all", "deleted/purge"} {
		form := url.Values{"do": {"discard"}, "number": {"1"}, "to": {"1"}, "text": {"x"}}
		if res, text := b[clerk].post("/me", "/mailbox/"+other+"/"+path, form); res.StatusCode != http.StatusForbidden {
			t.Errorf("%s of another domain: %s %s", path, res.Status, text)
		}
	}
}

// A user makes rules, changes their order and removes one.
func TestOwnRules(t *testing.T) {
	o := newOffice(t)
	b := o.logIn(t, anna)
	done := func(path string, form url.Values) {
		t.Helper()
		if res, text := b.post("/me/rules", "/me/rules/"+path, form); res.StatusCode != http.StatusSeeOther {
			t.Errorf("%s: %s %s", path, res.Status, text)
		}
	}
	done("add", url.Values{
		"do": {"discard"}, "what1": {"from"}, "value1": {"@shop.example"}, "what2": {"header"},
		"value2": {"List-Id: <b>offers</b>"}, "not2": {"yes"}, "what3": {"over"}, "value3": {"10MB"},
	})
	done("add", url.Values{"do": {"forward"}, "targets": {clerk}, "keep_copy": {"yes"}})
	done("add", url.Values{"do": {"mark"}, "title": {"<i>"}})
	done("move", url.Values{"number": {"3"}, "to": {"1"}})
	_, text := b.get("/me/rules")
	for _, want := range []string{
		"sender @shop.example; not: field List-Id contains &lt;b&gt;offers&lt;/b&gt;; larger than 10 MB",
		"forward to " + clerk + " and keep a copy", "mark with: &lt;i&gt;", "every message",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not on the page:\n%s", want, text)
		}
	}
	done("remove", url.Values{"number": {"2"}})
	box, err := o.service.Dir.Mailbox(o.site.sessionOf(t, anna).user)
	if err != nil || len(box.Account.Rules) != 2 || box.Account.Rules[0].Do != "mark" || box.Account.Rules[1].Do != "forward" {
		t.Errorf("%+v, %v", box.Account.Rules, err)
	}
	for what, form := range map[string]url.Values{
		"no text": {"do": {"refuse"}},
		"no size": {"do": {"keep"}, "what1": {"over"}, "value1": {"much"}},
		"nobody":  {"do": {"forward"}, "targets": {"nobody@office.example"}},
	} {
		res, text := b.post("/me/rules", "/me/rules/add", form)
		if res.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(text, `name="do"`) {
			t.Errorf("%s: %s %s", what, res.Status, text)
		}
	}
	if res, _ := b.post("/me/rules", "/me/rules/remove", url.Values{"number": {"9"}}); res.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("a rule that does not exist: %s", res.Status)
	}
}

// A user sets an absence and ends it; the text stays in the form.
func TestOwnAbsence(t *testing.T) {
	o := newOffice(t)
	b := o.logIn(t, anna)
	form := url.Values{"to": {"2099-01-06"}, "subject": {"Away"}, "text": {"Back <soon>\r\n"}, "days": {"3"}}
	if res, text := b.post("/me/absence", "/me/absence/set", form); res.StatusCode != http.StatusSeeOther {
		t.Fatalf("%s %s", res.Status, text)
	}
	_, text := b.get("/me/absence")
	for _, want := range []string{"absent: senders get the notice", "Back &lt;soon&gt;", `value="2099-01-06"`, `value="3"`, "End the absence"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not on the page:\n%s", want, text)
		}
	}
	if res, text := b.post("/me/absence", "/me/absence/off", url.Values{}); res.StatusCode != http.StatusSeeOther {
		t.Fatalf("%s %s", res.Status, text)
	}
	if _, text := b.get("/me/absence"); !strings.Contains(text, "not absent") || !strings.Contains(text, "Back &lt;soon&gt;") {
		t.Errorf("after its end:\n%s", text)
	}
	form.Set("from", "2099-01-07")
	if res, text := b.post("/me/absence", "/me/absence/set", form); res.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(text, `value="2099-01-07"`) {
		t.Errorf("days in the wrong order: %s %s", res.Status, text)
	}
}

// An operator sets archive and footer of a domain.
func TestDomainFooter(t *testing.T) {
	o := newOffice(t)
	b := o.logIn(t, boss)
	for path, form := range map[string]url.Values{
		"archive": {"domain": {"office.example"}, "archive": {boss}},
		"footer":  {"domain": {"office.example"}, "footer": {"Doe & Sons"}},
	} {
		if res, text := b.post("/domains", "/domains/"+path, form); res.StatusCode != http.StatusSeeOther {
			t.Errorf("%s: %s %s", path, res.Status, text)
		}
	}
	file, err := o.service.Dir.Domain("office.example")
	if err != nil || file.Archive.String() != boss || file.Footer.Text != "Doe & Sons" {
		t.Errorf("%+v, %v", file, err)
	}
	if _, text := b.get("/domains"); !strings.Contains(text, "Doe &amp; Sons") {
		t.Errorf("the page is\n%s", text)
	}
}

// A user sees what was deleted by sender and subject, restores it, and removes the rest for good. What stands in a
// message does no harm on the page.
func TestDeletedMail(t *testing.T) {
	o := newOffice(t)
	b := o.logIn(t, anna)
	box := o.service.Root.Name() + "/mailbox/office.example/P3_anna.mbx/"
	text := "From: =?utf-8?q?J=C3=BCrgen?= <j@far.example>\r\nSubject: <script>alert(1)</script> offer\r\n\r\nhello\r\n"
	if err := os.Mkdir(box+mailstore.DeletedDir, 0o700); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for n := range 3 {
		id := fmt.Sprintf("P3_%s111100000%03d", time.Now().UTC().Format("20060102150405"), n)
		name := fmt.Sprintf("%s.P3_20050110090047026500000%03d_%d.eml", id, n, len(text))
		if err := os.WriteFile(box+mailstore.DeletedDir+"/"+name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	_, page := b.get("/me/deleted")
	if strings.Count(page, "Jürgen") != 3 || !strings.Contains(page, "&lt;script&gt;alert(1)&lt;/script&gt; offer") || strings.Contains(page, "<script>alert") {
		t.Errorf("the list: %s", page)
	}
	left := func() int {
		list, err := admin.UndeleteList.Do(t.Context(), o.service, admin.DeletedQuestion{Target: anna})
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	if res, text := b.post("/me/deleted", "/me/deleted/restore", url.Values{"id": {ids[1]}}); res.StatusCode != http.StatusSeeOther || left() != 2 {
		t.Errorf("restore: %s, %d left\n%s", res.Status, left(), text)
	}
	for _, wrong := range []url.Values{{}, {"id": {ids[1]}}, {"id": {"../x"}}} { // none, one that is back, and no name
		if res, text := b.post("/me/deleted", "/me/deleted/restore", wrong); res.StatusCode != http.StatusUnprocessableEntity || left() != 2 {
			t.Errorf("restore of %v: %s, %d left\n%s", wrong, res.Status, left(), text)
		}
	}
	if res, text := b.post("/me/deleted", "/me/deleted/purge", url.Values{}); !strings.Contains(text, "Are you sure?") || left() != 2 {
		t.Errorf("purge asks for nothing: %s, %d left\n%s", res.Status, left(), text)
	}
	if res, text := b.post("/me/deleted", "/me/deleted/purge", url.Values{"sure": {"yes"}}); res.StatusCode != http.StatusSeeOther || left() != 0 {
		t.Errorf("purge: %s, %d left\n%s", res.Status, left(), text)
	}
}
