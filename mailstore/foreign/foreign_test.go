package foreign

import (
	"encoding/base64"
	"strings"
	"testing"
)

const secret = "IspTopSecret99"

func TestHide(t *testing.T) {
	m := NewMask(secret)
	b64 := base64.StdEncoding.EncodeToString
	for _, c := range []struct{ text, want string }{
		{"", ""},
		{"535 bad", "535 bad"},
		{"you sent IspTopSecret99 and IspTopSecret99!", "you sent *** and ***!"},
		{"ISPTOPSECRET99", "***"},
		{"AUTH PLAIN " + b64([]byte("\x00isp\x00"+secret)) + " is wrong", "AUTH PLAIN *** is wrong"},
		{strings.ToUpper("AUTH PLAIN " + b64([]byte("\x00isp\x00"+secret))), "AUTH PLAIN ***"},
		{b64([]byte(secret)), "***"},
		{b64([]byte("a"+secret)) + "," + b64([]byte("ab"+secret+"c")), "***,***"},
		{"cut off IspTopSec", "cut off ***"},
		{"Isp is fine", "Isp is fine"},
		{"é" + secret + "é", "é***é"},
		{secret + secret, "***"},
	} {
		if got := m.Hide(c.text); got != c.want {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
	}
	var none Mask
	if got := none.Hide(secret); got != secret {
		t.Errorf("without a secret: %q", got)
	}
}

// A secret is masked wherever it stands in encoded text, and a copy of a mask does not learn the
// other's secrets.
func TestHideAnyAlignment(t *testing.T) {
	for _, secret := range []string{"geheim", "ab12", "p\xe4sswort", "a much longer secret, with blanks + signs/"} {
		m := NewMask(secret)
		other := m
		other.Add("another")
		for before := range 7 {
			for after := range 4 {
				text := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", before) + secret + strings.Repeat("y", after)))
				if got := m.Hide("<" + text + ">"); got != "<***>" {
					t.Errorf("%q %d %d: %q", secret, before, after, got)
				}
			}
		}
		if got := m.Hide("another"); got != "another" {
			t.Errorf("the copy changed the mask: %q", got)
		}
	}
}

func TestPrintable(t *testing.T) {
	m := NewMask(secret)
	for _, c := range []struct {
		text  string
		limit int
		want  string
	}{
		{"a\x1b[31m\r\nb\u2028c\x80\u0085", 100, "a?[31m??b?c??"},
		{"käse", 2, "k"},
		{"IspTopSecret99x", 6, "***x"},
	} {
		if got := m.Printable(c.text, c.limit); got != c.want {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
	}
}

// No secret that was put into a text is left in it.
func FuzzHide(f *testing.F) {
	f.Add("secret", "the secret", 1)
	f.Fuzz(func(t *testing.T, secret, text string, at int) {
		if secret == "" || strings.Contains(secret, "*") {
			return // the mask itself could contain it
		}
		if at = at % (len(text) + 1); at < 0 {
			at = -at
		}
		m := NewMask(secret)
		if got := m.Hide(text[:at] + secret + text[at:]); strings.Contains(got, secret) {
			t.Errorf("%q in %q", secret, got)
		}
	})
}
