package web

import (
	"encoding/xml"
	"net/http"
	"strings"
	"testing"
)

// Programs find POP3 and SMTP for every address of a hosted domain, whether or not there is such a
// mailbox, and nothing for others.
func TestDiscover(t *testing.T) {
	o := newOffice(t)
	get := func(method, host, path, body string) (int, string) {
		t.Helper()
		r, err := http.NewRequest(method, o.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		res, text := o.browser(t).do(r)
		return res.StatusCode, text
	}
	question := func(address string) string {
		return `<?xml version="1.0"?><Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006"><Request><EMailAddress>` +
			address + `</EMailAddress></Request></Autodiscover>`
	}
	for _, test := range []struct {
		method, host, path, body string
		code                     int
		want                     string
	}{
		{"GET", "autoconfig.office.example", "/mail/config-v1.1.xml?emailaddress=anna@office.example", "", 200, `type="pop3"`},
		{"GET", "autoconfig.office.example", "/mail/config-v1.1.xml?emailaddress=nobody@office.example", "", 200, `type="pop3"`},
		{"GET", "autoconfig.office.example", "/mail/config-v1.1.xml", "", 200, "<domain>office.example</domain>"},
		{"GET", "office.example", "/.well-known/autoconfig/mail/config-v1.1.xml?emailaddress=x@office.example", "", 200, "<port>995</port>"},
		{"GET", "office.example", "/.well-known/autoconfig/mail/config-v1.1.xml?emailaddress=x@elsewhere.example", "", 404, ""},
		{"GET", "192.168.1.2", "/mail/config-v1.1.xml", "", 404, ""},
		{"POST", "office.example", "/AutoDiscover/AutoDiscover.XML", question("anna@office.example"), 200, "<Type>POP3</Type>"},
		{"POST", "office.example", "/autodiscover/autodiscover.xml", question("nobody@office.example"), 200, "<LoginName>nobody@office.example</LoginName>"},
		{"POST", "office.example", "/autodiscover/autodiscover.xml", question("x@elsewhere.example"), 404, ""},
		{"POST", "office.example", "/autodiscover/autodiscover.xml", "<a><b", 404, ""},
		{"POST", "office.example", "/autodiscover/autodiscover.xml", question(strings.Repeat("x", 100_000)), 404, ""},
		{"GET", "office.example", "/autodiscover/Autodiscover.json?Email=x@office.example&protocol=AutodiscoverV1", "", 200, "https://mail.office.example/autodiscover/autodiscover.xml"},
		{"GET", "office.example", "/autodiscover/autodiscover.json?Protocol=ActiveSync", "", 400, "InvalidProtocol"},
	} {
		code, text := get(test.method, test.host, test.path, test.body)
		if code != test.code || !strings.Contains(text, test.want) || strings.Contains(strings.ToLower(text), "imap") {
			t.Errorf("%s %s %s: %d %s", test.method, test.host, test.path, code, text)
		}
		if code == 200 && strings.HasPrefix(text, "<?xml") {
			if err := xml.Unmarshal([]byte(text), new(struct{})); err != nil {
				t.Errorf("%s: %v", test.path, err)
			}
		}
	}
}

// A user gets the files for the own mailbox, without a password in them.
func TestSetupFiles(t *testing.T) {
	o := newOffice(t)
	b := o.logIn(t, anna)
	for _, program := range []string{"outlook-express", "outlook", "thunderbird", "apple", "windows-mail", "printer", "text"} {
		res, text := b.get("/me/setup/" + program)
		if res.StatusCode != 200 || !strings.Contains(text, anna) && program != "thunderbird" || strings.Contains(text, password) ||
			!strings.HasPrefix(res.Header.Get("Content-Disposition"), "attachment; filename=") {
			t.Errorf("%s: %s %q %s", program, res.Status, res.Header.Get("Content-Disposition"), text)
		}
	}
	if res, _ := b.get("/me/setup/nothing"); res.StatusCode != 404 {
		t.Error(res.Status)
	}
	if res, _ := o.browser(t).get("/me/setup/text"); res.StatusCode != http.StatusSeeOther {
		t.Errorf("without a login: %s", res.Status)
	}
}
