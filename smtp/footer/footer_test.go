package footer

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"

	"pillarbox/etc/lab/mailtest"
)

// german has a letter that is not in ASCII.
func german() Footer { return Footer{Text: "-- \nMüller & Söhne\n"} }

// english is a footer in ASCII.
func english() Footer { return Footer{Text: "Doe Ltd\nFrom 1 to 9\n"} }

func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

// shape is a message, and what becomes of it.
type shape struct {
	name    string
	text    string // with LF
	footer  Footer
	why     string   // a word of the reason; "": it is changed
	decoded []string // the text parts afterwards, decoded, with LF
	eight   bool
}

const germanHTML = "<div>-- <br>\r\nM&#252;ller &amp; S&#246;hne</div>"

func shapes() []shape {
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(crlf(s))) }
	mixed := "Subject: x\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"b b\"\n\npreamble\n"
	return []shape{
		{name: "plain", text: "Subject: x\n\nhello\n", footer: english(),
			decoded: []string{"hello\n\nDoe Ltd\nFrom 1 to 9\n"}},
		{name: "plain without a line end", text: "Subject: x\n\nhello", footer: english(),
			decoded: []string{"hello\n\nDoe Ltd\nFrom 1 to 9\n"}},
		{name: "empty", text: "Subject: x\n\n", footer: english(),
			decoded: []string{"\nDoe Ltd\nFrom 1 to 9\n"}},
		{name: "old plain in German", text: "Subject: x\n\nhello\n", footer: german(), eight: true,
			decoded: []string{"hello\n\n-- \nMüller & Söhne\n"}},
		{name: "us-ascii in German", footer: german(), eight: true,
			text:    "MIME-Version: 1.0\nContent-Type: text/plain; charset=US-ASCII\nContent-Transfer-Encoding: 7bit\n\nhello\n",
			decoded: []string{"hello\n\n-- \nMüller & Söhne\n"}},
		{name: "utf-8", footer: german(), eight: true,
			text:    "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nGrüße\n",
			decoded: []string{"Grüße\n\n-- \nMüller & Söhne\n"}},
		{name: "raw octets", text: "Subject: x\n\nGr\xfc\xdfe\n", footer: german(), why: "not declared"},
		{name: "flowed", footer: english(),
			text:    "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8; format=flowed\n\nhello \nworld \n",
			decoded: []string{"hello \nworld \n\nDoe Ltd\n From 1 to 9\n"}},
		{name: "iso-8859-1", footer: german(), eight: true,
			text:    "MIME-Version: 1.0\nContent-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: 8bit\n\nGr\xfc\xdfe\n",
			decoded: []string{"Grüße\n\n-- \nMüller & Söhne\n"}},
		{name: "iso-8859-1 has no euro", footer: Footer{Text: "10 €"}, why: "letters",
			text: "MIME-Version: 1.0\nContent-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: 8bit\n\nGr\xfc\xdfe\n"},
		{name: "iso-8859-15 has a euro", footer: Footer{Text: "10 €"},
			text:    "MIME-Version: 1.0\nContent-Type: text/plain; charset=ISO-8859-15\nContent-Transfer-Encoding: quoted-printable\n\nGr=FC=DFe\n",
			decoded: []string{"Grüße\n\n10 €\n"}},
		{name: "koi8-r, footer in ASCII", footer: english(),
			text:    "MIME-Version: 1.0\nContent-Type: text/plain; charset=koi8-r\nContent-Transfer-Encoding: 8bit\n\nabc\n",
			decoded: []string{"abc\n\nDoe Ltd\nFrom 1 to 9\n"}},
		{name: "koi8-r, footer in German", footer: german(), why: "not known",
			text: "MIME-Version: 1.0\nContent-Type: text/plain; charset=koi8-r\nContent-Transfer-Encoding: 8bit\n\nabc\n"},
		{name: "utf-16", footer: english(), why: "not known",
			text: "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-16\nContent-Transfer-Encoding: base64\n\n" + b64("abc") + "\n"},
		{name: "quoted-printable", footer: german(),
			text:    "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\nGr=C3=BC=C3=9F=\ne\n",
			decoded: []string{"Grüße\n\n-- \nMüller & Söhne\n"}},
		{name: "quoted-printable in ASCII gets utf-8", footer: german(),
			text:    "MIME-Version: 1.0\nContent-Type: text/plain\nContent-Transfer-Encoding: quoted-printable\n\n1+1=3D2\n",
			decoded: []string{"1+1=2\n\n-- \nMüller & Söhne\n"}},
		{name: "quoted-printable with a soft end", footer: english(), why: "does not end",
			text: "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\nhello=\n"},
		{name: "base64, whole groups", footer: german(),
			text:    "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\n" + b64("abcd\n") + "\n",
			decoded: []string{"abcd\n\n-- \nMüller & Söhne\n"}},
		{name: "base64, padded", footer: german(),
			text:    "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: BASE64\n\n" + b64("abcdefgh") + "\n",
			decoded: []string{"abcdefgh\n\n-- \nMüller & Söhne\n"}},
		{name: "base64, padded, one group", footer: english(),
			text:    "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\n" + b64("a") + "\n",
			decoded: []string{"a\n\nDoe Ltd\nFrom 1 to 9\n"}},
		{name: "base64, group over two lines", footer: english(),
			text:    "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\nYWJ\njYQ\n==\n",
			decoded: []string{"abca\n\nDoe Ltd\nFrom 1 to 9\n"}},
		{name: "base64, cut short", footer: english(), why: "cannot be read",
			text: "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\nYWJ\n"},
		{name: "html", footer: german(),
			text:    "MIME-Version: 1.0\nContent-Type: text/html; charset=utf-8\n\n<html><body><p>hello</p></BODY></html>\n",
			decoded: []string{"<html><body><p>hello</p>\n" + strings.ReplaceAll(germanHTML, "\r", "") + "\n</BODY></html>\n"}},
		{name: "html without body", footer: Footer{Text: "x", HTML: "<p>Müller</p>"},
			text:    "MIME-Version: 1.0\nContent-Type: text/html; charset=iso-8859-1\n\n<p>hello\n",
			decoded: []string{"<p>hello\n\n<p>M&#252;ller</p>\n"}},
		{name: "html quoted-printable", footer: german(),
			text:    "MIME-Version: 1.0\nContent-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n<body>hello</body>\n",
			decoded: []string{"<body>hello" + strings.ReplaceAll(germanHTML, "\r", "") + "</body>\n"}},
		{name: "html base64", footer: german(),
			text:    "MIME-Version: 1.0\nContent-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: base64\n\n" + b64("<body>hello</body>\n") + "\n",
			decoded: []string{"<body>hello</body>\n\n" + strings.ReplaceAll(germanHTML, "\r", "") + "\n"}},
		{name: "alternative with an invitation", footer: german(), eight: true,
			text: "MIME-Version: 1.0\nContent-Type: multipart/alternative; boundary=b\n\n--b\n\nhello\n--b\n" +
				"Content-Type: text/html; charset=utf-8\n\n<b>hello</b>\n--b\n" +
				"Content-Type: text/calendar; method=REQUEST; charset=utf-8\n\nBEGIN:VCALENDAR\n--b--\n",
			decoded: []string{"hello\n\n-- \nMüller & Söhne", "<b>hello</b>\n\n" + strings.ReplaceAll(germanHTML, "\r", "")}},
		{name: "mixed", footer: german(), eight: true,
			text: mixed + "--b b\nContent-Type: text/plain; charset=us-ascii\nContent-Transfer-Encoding: 7bit\n\nhello\n\n--b b \n" +
				"Content-Type: text/plain; name=notes.txt\nContent-Disposition: attachment\n\nnotes\n--b b--\nepilogue\n",
			decoded: []string{"hello\n\n\n-- \nMüller & Söhne"}},
		{name: "mixed with an empty text", footer: english(),
			text:    mixed + "--b b\nContent-Type: text/plain\n\n--b b\nContent-Type: image/png\n\nPNG\n--b b--\n",
			decoded: []string{"Doe Ltd\nFrom 1 to 9"}},
		{name: "mixed around alternative around related", footer: english(),
			text: mixed + "--b b\nContent-Type: multipart/alternative; boundary=c\n\n--c\nContent-Type: text/plain\n\nhello\n--c\n" +
				"Content-Type: multipart/related; boundary=d\n\n--d\nContent-Type: text/html\n\n<b>hello</b>\n--d\nContent-Type: image/png\n\nPNG\n--d--\n--c--\n" +
				"--b b\nContent-Type: application/pdf\nContent-Transfer-Encoding: base64\n\nJVBERg==\n--b b--\n",
			decoded: []string{"hello\n\nDoe Ltd\nFrom 1 to 9", "<b>hello</b>\n\n<div>Doe Ltd<br>\nFrom 1 to 9</div>"}},
		{name: "mixed with a forwarded, signed message", footer: english(),
			text: mixed + "--b b\n\nsee below\n--b b\nContent-Type: message/rfc822\n\n" +
				"Content-Type: multipart/signed; boundary=s\n\n--s\n\nsigned\n--s\nContent-Type: application/pgp-signature\n\nsig\n--s--\n--b b--\n",
			decoded: []string{"see below\n\nDoe Ltd\nFrom 1 to 9"}},
		{name: "signed", footer: english(), why: "signed",
			text: "MIME-Version: 1.0\nContent-Type: multipart/signed; protocol=\"application/pkcs7-signature\"; boundary=b\n\n--b\n\nhello\n--b\nContent-Type: application/pkcs7-signature\n\nx\n--b--\n"},
		{name: "signed within mixed", footer: english(), why: "signed",
			text: mixed + "--b b\nContent-Type: multipart/signed; boundary=c\n\n--c\n\nhello\n--c\nContent-Type: application/pgp-signature\n\nx\n--c--\n--b b--\n"},
		{name: "encrypted", footer: english(), why: "signed",
			text: "MIME-Version: 1.0\nContent-Type: multipart/encrypted; boundary=b\n\n--b\n\nVersion: 1\n--b--\n"},
		{name: "S/MIME", footer: english(), why: "encrypted",
			text: "MIME-Version: 1.0\nContent-Type: application/pkcs7-mime; smime-type=enveloped-data\nContent-Transfer-Encoding: base64\n\nYWJj\n"},
		{name: "PGP in the text", footer: english(), why: "PGP",
			text: "Subject: x\n\n-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nhello\n-----BEGIN PGP SIGNATURE-----\n\nx\n-----END PGP SIGNATURE-----\n"},
		{name: "DKIM of another", footer: english(), why: "DKIM",
			text: "DKIM-Signature: v=1; d=far.example;\n\tb=x\nSubject: x\n\nhello\n"},
		{name: "calendar", footer: english(), why: "does not begin with text",
			text: "MIME-Version: 1.0\nContent-Type: text/calendar; method=REPLY\n\nBEGIN:VCALENDAR\n"},
		{name: "picture first", footer: english(), why: "does not begin with text",
			text: mixed + "--b b\nContent-Type: image/png\n\nPNG\n--b b\n\nhello\n--b b--\n"},
		{name: "text as an attachment", footer: english(), why: "does not begin with text",
			text: "MIME-Version: 1.0\nContent-Type: text/plain; name=log\nContent-Disposition: attachment; filename=log\n\nhello\n"},
		{name: "report", footer: english(), why: "does not begin with text",
			text: "MIME-Version: 1.0\nContent-Type: multipart/report; boundary=b\n\n--b\n\nhello\n--b--\n"},
		{name: "no end", footer: english(), why: "does not end", text: mixed + "--b b\n\nhello\n"},
		{name: "no boundary", footer: english(), why: "does not begin with text",
			text: "MIME-Version: 1.0\nContent-Type: multipart/mixed\n\nhello\n"},
		{name: "two types", footer: english(), why: "twice",
			text: "Content-Type: text/plain\nContent-Type: text/html\n\nhello\n"},
		{name: "unknown encoding", footer: english(), why: "not known",
			text: "MIME-Version: 1.0\nContent-Type: text/plain\nContent-Transfer-Encoding: x-uuencode\n\nhello\n"},
		{name: "no body", footer: english(), why: "no body", text: "Subject: x\n"},
		{name: "no footer", why: "no footer", text: "Subject: x\n\nhello\n"},
	}
}

func TestShapes(t *testing.T) {
	for _, c := range shapes() {
		in := crlf(c.text)
		plan, why, err := Make(strings.NewReader(in), c.footer)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if (plan == nil) != (c.why != "") || !strings.Contains(why, c.why) {
			t.Errorf("%s: the reason is %q, want %q", c.name, why, c.why)
			continue
		}
		if plan == nil {
			continue
		}
		out, err := io.ReadAll(plan.Apply(iotest.OneByteReader(strings.NewReader(in))))
		if err != nil || int64(len(out)-len(in)) != plan.Delta {
			t.Errorf("%s: it grew by %d, not by %d: %v", c.name, len(out)-len(in), plan.Delta, err)
		}
		if plan.EightBit != c.eight {
			t.Errorf("%s: eight bits: %v", c.name, plan.EightBit)
		}
		if strings.Contains(strings.ReplaceAll(string(out), "\r\n", ""), "\n") {
			t.Errorf("%s: a line does not end with CRLF", c.name)
		}
		before, after := parts(t, c.name, []byte(in)), parts(t, c.name, out)
		checkParts(t, c, before, after)
	}
}

// part is a leaf of a message, decoded.
type part struct{ kind, text, encoding string }

// checkParts: the text parts have the footer, and all others are as they were.
func checkParts(t *testing.T, c shape, before, after []part) {
	t.Helper()
	if len(before) != len(after) {
		t.Errorf("%s: %d parts became %d", c.name, len(before), len(after))
		return
	}
	var changed []string
	for i := range after {
		if after[i].text != before[i].text {
			changed = append(changed, strings.ReplaceAll(after[i].text, "\r\n", "\n"))
		}
		if after[i].kind != before[i].kind {
			t.Errorf("%s: %s became %s", c.name, before[i].kind, after[i].kind)
		}
	}
	if !slices.Equal(changed, c.decoded) {
		t.Errorf("%s: the text parts are\n%q, want\n%q", c.name, changed, c.decoded)
	}
}

// parts reads a message with the parsers of the standard library, which share no code with the scan.
func parts(t *testing.T, name string, text []byte) (all []part) {
	t.Helper()
	m, err := mail.ReadMessage(bytes.NewReader(text))
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return nil
	}
	return leaves(t, name, m.Header.Get("Content-Type"), m.Header.Get("Content-Transfer-Encoding"), m.Body)
}

func leaves(t *testing.T, name, kind, encoding string, body io.Reader) (all []part) {
	t.Helper()
	media, params := "text/plain", map[string]string{}
	if kind != "" {
		var err error
		if media, params, err = mime.ParseMediaType(kind); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if strings.HasPrefix(media, "multipart/") {
		r := multipart.NewReader(body, params["boundary"])
		for {
			p, err := r.NextRawPart()
			if errors.Is(err, io.EOF) {
				return all
			} else if err != nil {
				t.Errorf("%s: %v", name, err)
				return all
			}
			all = append(all, leaves(t, name, p.Header.Get("Content-Type"), p.Header.Get("Content-Transfer-Encoding"), p)...)
		}
	}
	switch strings.ToLower(encoding) {
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	case "7bit":
		body = sevenBits{t, name, body}
	}
	text, err := io.ReadAll(body)
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
	switch strings.ToLower(params["charset"]) {
	case "iso-8859-1":
		text, err = charmap.ISO8859_1.NewDecoder().Bytes(text)
	case "iso-8859-15":
		text, err = charmap.ISO8859_15.NewDecoder().Bytes(text)
	case "", "us-ascii":
		if strings.HasPrefix(media, "text/") && has8Bit(text) {
			t.Errorf("%s: a part in ASCII has octets above 127", name)
		}
	}
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
	return []part{{media, string(text), strings.ToLower(encoding)}}
}

// sevenBits is a reader of text that is declared as 7bit.
type sevenBits struct {
	t    *testing.T
	name string
	io.Reader
}

func (s sevenBits) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if has8Bit(p[:n]) {
		s.t.Errorf("%s: a part declared as 7bit has octets above 127", s.name)
	}
	return n, err
}

// TestAround: multiparts around a part with eight bits are declared so too.
func TestAround(t *testing.T) {
	for _, c := range shapes() {
		if c.name != "mixed" {
			continue
		}
		plan, _, err := Make(strings.NewReader(crlf(c.text)), c.footer)
		if err != nil {
			t.Fatal(err)
		}
		out, _ := io.ReadAll(plan.Apply(strings.NewReader(crlf(c.text))))
		if n := strings.Count(string(out), "Content-Transfer-Encoding: 8bit\r\n"); n != 2 {
			t.Errorf("%d declarations of 8bit in\n%s", n, out)
		}
	}
}

// TestCutShort: a message that has become shorter is an error, not a message without its end.
func TestCutShort(t *testing.T) {
	text := crlf("Subject: x\n\nhello\n")
	plan, _, err := Make(strings.NewReader(text), english())
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.ReadAll(plan.Apply(strings.NewReader(text[:len(text)-3])))
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the error is %v", err)
	}
	broken := errors.New("disk")
	if _, _, err := Make(iotest.ErrReader(broken), english()); !errors.Is(err, broken) {
		t.Errorf("the error is %v", err)
	}
}

// TestLongFooter: no footer makes a line that other servers refuse.
func TestLongFooter(t *testing.T) {
	for _, word := range []string{"word ", "größer ", "& ", "x", "ü", "\n> quoted ", "—"} {
		for _, f := range []Footer{
			{Text: strings.Repeat(word, 10_000/len(word))},
			{Text: "short", HTML: "<p>" + strings.Repeat(word, 10_000/len(word)) + "</p>"},
		} {
			for _, flowed := range []bool{false, true} {
				for line := range strings.Lines(f.lines(flowed)) {
					if len(line) > 1000 || !utf8.ValidString(line) {
						t.Errorf("%q: a line of %d octets", word, len(line))
					}
				}
				words := func(s string) string { return strings.ReplaceAll(strings.Join(strings.Fields(s), ""), ">", "") }
				if words(f.lines(flowed)) != words(f.Text) {
					t.Errorf("%q: the text has changed", word)
				}
			}
			for line := range strings.Lines(f.html()) {
				if len(line) > 1000 && strings.Contains(word, " ") {
					t.Errorf("%q: a line of HTML of %d octets", word, len(line))
				}
			}
		}
	}
}

// TestLongLine: a line end of a text stays whole, wherever the long line before it is cut. Otherwise the
// message would get a lone CR or LF, which ends a message for some servers.
func TestLongLine(t *testing.T) {
	for _, encoding := range []string{"8bit", "quoted-printable"} {
		for n := lineSize - 3; n <= lineSize+3; n++ {
			text := crlf("MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\n" +
				"Content-Transfer-Encoding: " + encoding + "\n\n" + strings.Repeat("x", n) + "\n--b--\n")
			plan, why, err := Make(strings.NewReader(text), english())
			if err != nil || plan == nil {
				t.Fatal(why, err)
			}
			out, err := io.ReadAll(plan.Apply(strings.NewReader(text)))
			if err != nil {
				t.Fatal(err)
			}
			rest := strings.ReplaceAll(string(out), "\r\n", "")
			if strings.ContainsAny(rest, "\r\n") || strings.Count(string(out), "\r\n--b") != 2 {
				t.Errorf("a line of %d octets: …%q", n, out[len(out)-60:])
			}
		}
	}
	for n := lineSize - 3; n <= lineSize+3; n++ { // a soft line break at the end
		text := crlf("MIME-Version: 1.0\nContent-Transfer-Encoding: quoted-printable\n\n" + strings.Repeat("x", n) + "=\n")
		if plan, _, err := Make(strings.NewReader(text), english()); err != nil || plan != nil {
			t.Errorf("a soft line break after %d octets: %v, %v", n, plan, err)
		}
	}
}

func TestLinear(t *testing.T) {
	mailtest.Linear(t, func(text string) {
		for _, f := range []Footer{english(), german()} {
			if plan, _, err := Make(strings.NewReader(text), f); err == nil && plan != nil {
				io.Copy(io.Discard, plan.Apply(strings.NewReader(text)))
			}
		}
	}, append(mailtest.Messages(), mailtest.Headers("Content-Type", "Content-Transfer-Encoding")...)...)
}

func FuzzMake(f *testing.F) {
	for _, c := range shapes() {
		f.Add(crlf(c.text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		plan, _, err := Make(strings.NewReader(text), german())
		if err != nil || plan == nil {
			return
		}
		out, err := io.ReadAll(plan.Apply(strings.NewReader(text)))
		if err != nil || int64(len(out)-len(text)) != plan.Delta {
			t.Errorf("it grew by %d, not by %d: %v", len(out)-len(text), plan.Delta, err)
		}
		// Without the edits, the message is as it was.
		var rest []byte
		at := int64(0)
		for _, e := range plan.edits {
			rest = append(rest, text[at:e.at]...)
			at = e.at + e.drop
		}
		rest = append(rest, text[at:]...)
		if len(rest) > len(text) || fmt.Sprint(len(out)) == "" {
			t.Error("the edits overlap")
		}
	})
}
