package remote

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"testing"
	"testing/synctest"
)

// scannedDelivery returns a delivery of a message, for a scan.
func scannedDelivery(text string) *delivery {
	a := attempt(text, "b@x.example")
	return &delivery{attempt: &a, remote: New(Options{})}
}

// scanned returns what a scan finds in a message, and the message in seven bits.
func scanned(t testing.TB, text string) (*content, string) {
	d := scannedDelivery(text)
	c, err := d.scan()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := c.convert(&out, strings.NewReader(text), true); err != nil {
		t.Fatal(err)
	}
	return c, out.String()
}

func TestConvert(t *testing.T) {
	const multi = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n boundary=\"b\"\r\nContent-Transfer-Encoding: 8bit\r\n\r\npreamble\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGrüße \r\n--b\r\nContent-Type: image/png\r\n\r\n\x89PNG\r\nab\r\n--b\r\nContent-Type: text/plain\r\n\r\nplain\r\n--b--\r\nend\r\n"
	for name, tt := range map[string]struct{ in, want string }{
		"seven bits":         {letter, letter},
		"old client":         {"Subject: x\r\n\r\n=Gr\xfc\xdfe=\r\n", "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=3DGr=FC=DFe=3D\r\n"},
		"text":               {"MIME-Version: 1.0\r\nContent-Type: text/html;\r\n charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\nTo: b\r\n\r\n<p>ü\r\n", "MIME-Version: 1.0\r\nContent-Type: text/html;\r\n charset=utf-8\r\nTo: b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<p>=C3=BC\r\n"},
		"multipart":          {multi, "MIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n boundary=\"b\"\r\nContent-Transfer-Encoding: 7bit\r\n\r\npreamble\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BC=C3=9Fe=20\r\n--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw0KYWI=\r\n--b\r\nContent-Type: text/plain\r\n\r\nplain\r\n--b--\r\nend\r\n"},
		"message in message": {"MIME-Version: 1.0\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\nSubject: y\r\n\r\n\xfc\r\n", "MIME-Version: 1.0\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\nSubject: y\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=FC\r\n"},
		"no body":            {"Subject: x\r\n", "Subject: x\r\n"},
		"empty":              {"", ""},
	} {
		c, got := scanned(t, tt.in)
		if got != tt.want || c.convertible != nil {
			t.Errorf("%s: %v\ngot  %q\nwant %q", name, c.convertible, got, tt.want)
		}
	}
	for name, in := range map[string]string{
		"header":      "Subject: \xfc\r\n\r\n",
		"part header": "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Description: \xfc\r\n\r\n\r\n--b--\r\n",
		"signed":      "Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n\xfc\r\n--b--\r\n",
		"base64":      "Content-Transfer-Encoding: base64\r\n\r\n\xfc\r\n",
		"unreadable":  "Content-Type: ;;\r\n\r\n\xfc\r\n",
		"two types":   "Content-Type: text/plain\r\nContent-Type: image/png\r\n\r\n\xfc\r\n",
		"preamble":    "Content-Type: multipart/mixed; boundary=b\r\n\r\n\xfc\r\n--b--\r\n",
		"report":      "Content-Type: message/delivery-status\r\n\r\n\xfc\r\n",
		"too deep":    strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 30) + "\r\n\xfc\r\n",
	} {
		if c, _ := scanned(t, in); c.convertible == nil && !c.header8 {
			t.Errorf("%s can be converted", name)
		}
	}
}

func TestDeliver8Bit(t *testing.T) {
	const text = "From: a@us.example\r\n\r\nGr\xfc\xdfe\r\n"
	for name, tt := range map[string]struct {
		offers []string
		text   string
		want   string
		got    string
	}{
		"offered":    {[]string{"8BITMIME"}, text, "delivered 250 2.0.0", text},
		"converted":  {nil, text, "delivered 250 2.0.0", "From: a@us.example\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nGr=FC=DFe\r\n"},
		"header":     {nil, "Subject: \xfc\r\n\r\nx\r\n", "delivered 250 2.0.0", "Subject: \xfc\r\n\r\nx\r\n"},
		"both":       {nil, "Subject: \xfc\r\n\r\n\xfc\r\n", "delivered 250 2.0.0", "Subject: \xfc\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=FC\r\n"},
		"not to be":  {nil, "Content-Transfer-Encoding: base64\r\n\r\n\xfc\r\n", "failed 554 5.6.3 ours", ""},
		"seven bits": {nil, letter, "delivered 250 2.0.0", letter},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &peer{behaviour: behaviour{offers: tt.offers}}
				r := via(t, p, nil)
				if got := summary(r.Deliver(t.Context(), attempt(tt.text, "b@x.example"))); got != tt.want {
					t.Errorf("got %s", got)
				}
				r.Close()
				if got := strings.Join(p.messages, ""); got != tt.got {
					t.Errorf("got %q", got)
				}
			})
		})
	}
}

// flatten returns the content of a message: the decoded leaf parts in order.
func flatten(t *testing.T, kind, encoding string, body io.Reader) []string {
	media, params, err := mime.ParseMediaType(kind)
	if err == nil && strings.HasPrefix(media, "multipart/") && params["boundary"] != "" {
		var all []string
		parts := multipart.NewReader(body, params["boundary"])
		for {
			p, err := parts.NextRawPart()
			if err != nil {
				return all
			}
			all = append(all, flatten(t, p.Header.Get("Content-Type"), p.Header.Get("Content-Transfer-Encoding"), p)...)
		}
	}
	switch strings.ToLower(encoding) {
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	}
	text, err := io.ReadAll(body)
	if err != nil {
		t.Fatalf("%v: %q", err, text)
	}
	return []string{string(text)}
}

// A converted message is seven-bit, if that is wanted, has no long line, and has the same content.
func FuzzConvert(f *testing.F) {
	f.Add("a\r\nb", "\xff\x00\r\n", true, 1, true)
	f.Add("Gr\xfc\xdfe", "x", false, 1, true)
	f.Add("Gr\xfc\xdfe ", "x", false, 500, false)
	f.Add("x\r\n", "-", false, 2000, false)
	f.Fuzz(func(t *testing.T, one, two string, image bool, times int, sevenBit bool) {
		crlf := strings.NewReplacer("\r", "", "\n", "\r\n")
		one, two = crlf.Replace(one), crlf.Replace(two)
		one = strings.Repeat(one, min(max(times, 0), 1+100_000/(len(one)+1)))
		if strings.Contains(one+two, "--b") {
			t.Skip()
		}
		kind := "text/plain"
		if image {
			kind = "image/png"
		}
		in := "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: " + kind + "\r\n\r\n" + one +
			"\r\n--b\r\n\r\n" + two + "\r\n--b--\r\n"
		c, out := scanned(t, in)
		if !sevenBit {
			out = roughly(t, in)
		} else if c.convertible != nil {
			return
		}
		if longest(out) > maxLine {
			t.Fatalf("a line of %d octets in %q", longest(out), out)
		}
		if strings.Contains(out, "\x00") {
			t.Fatalf("a NUL in %q", out)
		}
		m, err := mail.ReadMessage(strings.NewReader(out))
		if err != nil {
			t.Skip()
		}
		body, _ := io.ReadAll(m.Body)
		if sevenBit && has8Bit(body) {
			t.Fatalf("not in seven bits: %q", out)
		}
		got := flatten(t, m.Header.Get("Content-Type"), "", bytes.NewReader(body))
		if len(got) != 2 || got[0] != one || got[1] != two {
			t.Fatalf("%q and %q became %q in %q", one, two, got, out)
		}
	})
}
