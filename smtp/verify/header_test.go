package verify

import (
	"bytes"
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/authres"
)

func TestHeader(t *testing.T) {
	r := Results{
		SPF:   SPF{Value: Fail, Identity: "mailfrom", Address: "a@bank.example", Domain: "bank.example"},
		Helo:  SPF{Value: None, Identity: "helo", Address: "pc12"},
		DKIM:  []DKIM{{Value: Pass, Domain: "bank.example", Identifier: "@bank.example"}, {Value: Fail, Reason: "body hash did not verify", Domain: "list.example"}},
		DMARC: DMARC{Value: Pass, Domain: "bank.example", Policy: "reject", Disposition: "none"},
	}
	const want = "Authentication-Results: mail.office.example;\r\n" +
		"\tspf=fail smtp.mailfrom=a@bank.example;\r\n" +
		"\tspf=none smtp.helo=pc12;\r\n" +
		"\tdkim=pass header.d=bank.example header.i=@bank.example;\r\n" +
		"\tdkim=fail reason=\"body hash did not verify\" header.d=list.example;\r\n" +
		"\tdmarc=pass (p=reject) header.from=bank.example\r\n"
	got := string(r.Header("mail.office.example"))
	if got != want {
		t.Errorf("%s", got)
	}
	if !Forged([]byte(got), "Mail.Office.Example") {
		t.Error("our own field is not ours")
	}
}

// Another parser gets the same results from every header.
func TestHeaderInjection(t *testing.T) {
	for _, evil := range []string{"x\r\nBcc: y", "x; dmarc=pass", `a" b\`, "a (comment", "x y", "ä", "a@b@c", strings.Repeat("x", 5000), "a\x00"} {
		r := Results{
			SPF:  SPF{Value: Fail, Identity: "mailfrom", Address: evil},
			Helo: SPF{Value: Fail, Identity: "helo", Address: evil},
			DKIM: []DKIM{{Value: Fail, Identifier: evil}}, DMARC: DMARC{Value: Fail},
		}
		text := string(r.Header("mx.example"))
		for line := range strings.SplitSeq(strings.TrimSuffix(text, "\r\n"), "\r\n") {
			if len(line) > 998 || strings.ContainsAny(line, "\r\n\x00") || line[0] != '\t' && !strings.HasPrefix(line, "Authentication-Results: mx.example;") {
				t.Errorf("%.40q makes the line %.80q", evil, line)
			}
		}
		if strings.Contains(strings.ReplaceAll(text, `"x; dmarc=pass"`, ""), "dmarc=pass") {
			t.Errorf("%q: %s", evil, text)
		}
	}
}

func TestForged(t *testing.T) {
	for field, want := range map[string]bool{
		"Authentication-Results: mx.example; spf=pass":                    true,
		"authentication-results:MX.EXAMPLE;spf=pass":                      true,
		"AUTHENTICATION-RESULTS : mx.example 1; none":                     true,
		"Authentication-Results:\r\n\tmx.example;\r\n\tspf=pass":          true,
		"Authentication-Results: (a (nested\\)) one) mx.example; none":    true,
		"Authentication-Results: \"mx.example\"; none":                    true,
		"Authentication-Results: \"mx\\.example\"; none":                  true,
		"Authentication-Results: mx.example(x); none":                     true,
		"Authentication-Results: mx.example.; none":                       true,
		"Authentication-Results: mx.example":                              true,
		"Authentication-Results:":                                         true,
		"Authentication-Results: (open mx.example":                        true,
		"Authentication-Results: \"open":                                  true,
		"Authentication-Results: m\"x.example\"; none":                    true,
		"Authentication-Results: other.example; spf=pass":                 false,
		"Authentication-Results: mx.example.org; spf=pass":                false,
		"Authentication-Results: other.example; x=y smtp.helo=mx.example": false,
		"ARC-Authentication-Results: i=1; mx.example; none":               false,
		"Subject: Authentication-Results: mx.example":                     false,
		"Authentication-Results":                                          false,
	} {
		if got := Forged([]byte(field), "mx.example"); got != want {
			t.Errorf("%q: %v", field, got)
		}
	}
}

func TestStrip(t *testing.T) {
	const header = "Received: x\r\n\tby y\r\nAuthentication-Results:\r\n mx.example;\r\n spf=pass\r\nAuthentication-Results: other.example; none\r\nauthentication-results: mx.example; none\r\nSubject: x\r\n\r\n"
	if got := string(Strip([]byte(header), "mx.example")); got != "Received: x\r\n\tby y\r\nAuthentication-Results: other.example; none\r\nSubject: x\r\n\r\n" {
		t.Errorf("%q", got)
	}
	for _, s := range []string{"", "\r\n", "Subject: x", " \r\n\r\n", header[:11]} {
		if got := Strip([]byte(s), "mx.example"); string(got) != s {
			t.Errorf("%q became %q", s, got)
		}
	}
}

// No field that another parser takes for ours passes Strip.
func FuzzForged(f *testing.F) {
	f.Add("Authentication-Results: mx.example; spf=pass")
	f.Add("Authentication-Results:\r\n (x) \"mx.example\" 1; spf=pass")
	f.Fuzz(func(t *testing.T, field string) {
		name, value, _ := strings.Cut(field, ":")
		id, _, err := authres.Parse(strings.TrimSpace(value))
		if strings.EqualFold(name, "Authentication-Results") && err == nil && strings.EqualFold(id, "mx.example") && !Forged([]byte(field), "mx.example") {
			t.Fatalf("%q goes through", field)
		}
		var all []byte
		for f := range fields([]byte(field)) {
			all = append(all, f...)
		}
		if !bytes.Equal(all, []byte(field)) {
			t.Fatalf("%q is divided into %q", field, all)
		}
	})
}
