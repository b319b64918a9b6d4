package web

import (
	"bytes"
	"mime/multipart"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// sendFile sends a form with a file, as a browser does.
func (b *browser) sendFile(path string, form map[string]string, file string) (*http.Response, string) {
	b.t.Helper()
	_, text := b.get(path)
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	if m := tokenField.FindStringSubmatch(text); m != nil {
		w.WriteField("token", m[1])
	}
	for name, value := range form {
		w.WriteField(name, value)
	}
	part, err := w.CreateFormFile("file", "list.csv")
	if err != nil {
		b.t.Fatal(err)
	}
	part.Write([]byte(file))
	w.Close()
	r, err := http.NewRequest("POST", b.office.URL+path, &body)
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Content-Type", w.FormDataContentType())
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return b.do(r)
}

// A list is looked at, then applied; the passwords are shown once.
func TestImport(t *testing.T) {
	o := newOffice(t)
	b := o.logIn(t, clerk)
	const path = "/mailboxes/import"
	has := func(what string, res *http.Response, text string, status int, want ...string) {
		t.Helper()
		if res.StatusCode != status {
			t.Errorf("%s: %s", what, res.Status)
		}
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("%s: no %q in %s", what, w, text)
			}
		}
	}
	const list = "address;name\njuergen@office.example;J\xfcrgen\nanna@office.example;\n" // Windows-1252
	res, text := b.sendFile(path, nil, list)
	has("file", res, text, http.StatusOK, "juergen@office.example", "to add", "exists", "Jürgen")
	if box, err := o.service.ShowMailbox("juergen@office.example"); err == nil {
		t.Fatalf("the preview has made %+v", box)
	}
	hidden := regexp.MustCompile(`name="list" value="([^"]*)"`).FindStringSubmatch(text)
	if hidden == nil {
		t.Fatal(text)
	}
	res, text = b.post(path, path, url.Values{"do": {"apply"}, "list": {hidden[1]}})
	has("apply", res, text, http.StatusOK, "added", "has the full name Jürgen")
	password := regexp.MustCompile(`<code>([a-z2-7-]{19})</code>`).FindStringSubmatch(text)
	if password == nil {
		t.Fatal(text)
	}
	o.service.SetMailboxAccess("juergen@office.example", "both")
	if res, text := o.browser(t).post("/login", "/login", url.Values{"name": {"juergen@office.example"}, "password": {password[1]}}); res.StatusCode != http.StatusSeeOther {
		t.Errorf("the password is wrong: %s %s", res.Status, text)
	}
	res, text = b.sendFile(path, map[string]string{"list": "address,quota\nx@office.example,100\n"}, "")
	has("typed, with mistakes", res, text, http.StatusOK, "the list has mistakes", "has no unit", "write 100MB")
	res, text = b.sendFile(path, nil, "name\nanna\n")
	has("no address", res, text, http.StatusUnprocessableEntity, "There is a problem", "the columns are")
	res, text = b.sendFile(path, nil, "address\nnew@other.example\n")
	has("another domain", res, text, http.StatusForbidden, "is not an operator of other.example")
	if res, _ = b.sendFile(path, nil, strings.Repeat("x", maxForm)); res.StatusCode != http.StatusBadRequest {
		t.Errorf("too long: %s", res.Status)
	}
	if res, _ := b.send(path, url.Values{"list": {list}}); res.StatusCode != http.StatusForbidden {
		t.Errorf("without a token: %s", res.Status)
	}
}
