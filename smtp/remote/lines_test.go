package remote

import (
	"bytes"
	"encoding/base64"
	"mime"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	msgdkim "github.com/emersion/go-msgauth/dkim"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/smtp/dkim"
)

func TestShapeOf(t *testing.T) {
	full := strings.Repeat("x", maxLine)
	for text, want := range map[string]shape{
		"":                            {},
		"a\r\n\r\n":                   {},
		full + "\r\n" + full + "\r\n": {},
		full:                          {},
		full + "x\r\n":                {long: true},
		full + "x":                    {long: true},
		"a\x00\r\n":                   {nul: true},
		"a\nb\r\n":                    {bare: true},
		"a\rb\r\n":                    {bare: true},
		"a\r\r\n":                     {bare: true},
		"a\r":                         {bare: true},
		"a\r\n\r":                     {bare: true},
		"\n":                          {bare: true},
	} {
		want.size = int64(len(text))
		for _, size := range []int{1, 2, 3, 1024} {
			if got, err := shapeOf(strings.NewReader(text), make([]byte, size)); got != want || err != nil {
				t.Errorf("%.20q, %d at a time: %+v, %v", text, size, got, err)
			}
		}
	}
}

// roughly converts a message for a server with 8BITMIME.
func roughly(t testing.TB, text string) string {
	t.Helper()
	d := scannedDelivery(text)
	c, err := d.scan()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := c.convert(&out, iotest.HalfReader(strings.NewReader(text)), false); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func longest(text string) (most int) {
	for line := range strings.SplitSeq(text, "\r\n") {
		most = max(most, len(line))
	}
	return most
}

func TestConvertLongLines(t *testing.T) {
	long := strings.Repeat("long ü ", 300) + "end"
	encoded := strings.Repeat("QUJD", 500)
	for name, tt := range map[string]struct {
		in   string
		want []string // in the output
		kept bool     // nothing changes
	}{
		"short lines": {"Subject: x\r\nContent-Transfer-Encoding: 8bit\r\n\r\nü\r\n", nil, true},
		"HTML in one line": {"Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n<p>" + strings.Repeat(long, 50) + "\r\n",
			[]string{"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<p>long =C3=BC"}, false},
		"an image": {"Content-Type: image/x\r\n\r\n" + long + "\r\n", []string{"\r\nContent-Transfer-Encoding: base64\r\n\r\nbG9u"}, false},
		"a NUL":    {"Subject: x\r\n\r\n\x00.\r\n", []string{"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=00.\r\n"}, false},
		"one part of three": {"Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + long + "\r\n--b\r\n\r\nü\r\n--b\r\n\r\n" + long + "\r\n--b\r\nContent-Type: text/x\r\n\r\nü\r\n--b--\r\n" + long + "\r\n",
			[]string{"Content-Transfer-Encoding: 8bit", "long \r\n", "--b\r\n\r\nü\r\n--b\r\nContent-Type: text/plain; charset=unknown-8bit\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nlong =C3=BC", "end\r\n--b\r\nContent-Type: text/x\r\n\r\nü\r\n--b--\r\n"}, false},
		"base64 in one line": {"Content-Transfer-Encoding: base64\r\n\r\n" + encoded + "\r\nQUJD\r\n",
			[]string{strings.Repeat("QUJD", 19) + "\r\n" + strings.Repeat("QUJD", 19) + "\r\n", "QUJD\r\nQUJD\r\n"}, false},
		"quoted-printable": {"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + strings.Repeat("=C3=BC", 300) + "=\r\nx\r\n", []string{"=C3=\r\n=BC", "=\r\nx\r\n"}, false},
		"in a message":     {"Content-Type: message/rfc822\r\n\r\nSubject: y\r\n\r\n" + long + "\r\n", []string{"Subject: y\r\nMIME-Version: 1.0\r\n"}, false},
		"signed":           {"Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\nX: " + long + "\r\n\r\n" + long + "\r\n--b--\r\n", nil, true},
		"encrypted":        {"Content-Type: multipart/encrypted; boundary=b\r\n\r\n--b\r\nContent-Type: application/octet-stream\r\n\r\n" + long + "\r\n--b--\r\n", []string{"base64\r\n\r\nbG9u"}, false},
		"broken":           {"Content-Type: ;;\r\n\r\n" + long + "\r\n", []string{"Content-Type: ;;\r\n\r\nlong ü "}, false},
		"a false boundary": {"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("x", maxLine) + "--b\r\n--b--\r\n", []string{"x--b\r\n--b--\r\n"}, false},
	} {
		got := roughly(t, tt.in)
		for _, part := range tt.want {
			if !strings.Contains(got, part) {
				t.Errorf("%s: %q is missing in\n%q", name, part, got)
			}
		}
		if tt.kept != (got == tt.in) || !tt.kept && longest(got) > maxLine {
			t.Errorf("%s: %d octets in a line of\n%q", name, longest(got), got)
		}
	}
}

func TestFoldHeader(t *testing.T) {
	token := strings.Repeat("t", 2000)
	for name, tt := range map[string]struct {
		in, want string // want has ~ for a run of the same octet
	}{
		"short":             {"A: b\r\n c\r\n\r\n", "A: b\r\n c\r\n\r\n"},
		"at a blank":        {"A: b " + token[:990] + " " + token[:900] + "\r\n\r\n", "A: b t~\r\n t~\r\n\r\n"},
		"a folded line":     {"A:\r\n" + strings.Repeat(" aaaaaaaaa", 150) + "\r\n\r\n", "A:\r\n" + strings.Repeat(" aaaaaaaaa", 99) + "\r\n" + strings.Repeat(" aaaaaaaaa", 51) + "\r\n\r\n"},
		"at a comma":        {"To: " + strings.Repeat("a@b.example,", 100) + "c@d\r\n\r\n", "To: " + strings.Repeat("a@b.example,", 82) + "\r\n " + strings.Repeat("a@b.example,", 18) + "c@d\r\n\r\n"},
		"within a word":     {"X-Id: " + token + "\r\n\r\n", "X-Id: t~\r\n t~\r\n " + token[:11] + "\r\n\r\n"},
		"blanks":            {"A: b" + strings.Repeat(" ", 3000) + "c\r\n\r\n", "A: b\r\n c\r\n\r\n"},
		"blanks at the end": {"A: b" + strings.Repeat(" ", 3000) + "\r\n\r\n", "A: b\r\n\r\n"},
		"a NUL":             {"A: b\x00c\r\n\r\n", "A: bc\r\n\r\n"},
		"a long name":       {token + ": x\r\nA: b\r\n\r\n", "A: b\r\n\r\n"},
	} {
		got := string(foldHeader([]byte(tt.in)))
		if got = regexp.MustCompile(`t{100,}`).ReplaceAllString(got, "t~"); got != tt.want {
			t.Errorf("%s:\n%q, want\n%q", name, got, tt.want)
		}
	}
}

// TestFoldWords checks that a reader sees the same text in an unstructured field, or in an encoded
// word that was too long.
func TestFoldWords(t *testing.T) {
	text := strings.Repeat("Grüße€", 300)
	for name, in := range map[string]string{
		"subject":       "Subject: " + text + " end",
		"folded":        "Subject: Re:\r\n " + text,
		"encoded words": "X-Name: begin " + "=?utf-8?B?" + base64.StdEncoding.EncodeToString([]byte(text)) + "?= =?utf-8?q?end?=",
		"quoted":        "Subject: =?utf-8?Q?" + strings.Repeat("Gr=C3=BC=C3=9Fe_", 300) + "?=",
	} {
		got := string(foldHeader([]byte(in + "\r\n\r\n")))
		if longest(got) > 160 || strings.Contains(strings.TrimSuffix(got, "\r\n\r\n"), "\r\n\r\n") {
			t.Errorf("%s: %q", name, got)
		}
		if was, is := seen(t, in), seen(t, got); was != is {
			t.Errorf("%s: %q became\n%q in\n%q", name, was, is, got)
		}
	}
}

// seen returns a field as a mail program shows it.
func seen(t *testing.T, field string) string {
	t.Helper()
	text, err := new(mime.WordDecoder).DecodeHeader(strings.NewReplacer("\r\n", "").Replace(field))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// FuzzFoldHeader: every line is short enough, none is blank, and nothing but blanks changes unless
// encoded words are made.
func FuzzFoldHeader(f *testing.F) {
	for _, value := range []string{"a b", "a,", "=?utf-8?q?a?= ", "\t \t", "ü", "\xff", ";"} {
		f.Add("Subject", value, 500, true)
		f.Add("To", value, 2000, false)
	}
	f.Fuzz(func(t *testing.T, name, part string, times int, folded bool) {
		name = regexp.MustCompile(`[^!-9;-~]`).ReplaceAllString(name, "")
		part = strings.NewReplacer("\r", "", "\n", "", "\x00", "").Replace(part)
		value := strings.Repeat(part, min(max(times, 0), 1+5000/(len(part)+1)))
		if name == "" || len(name) > maxLine/2 || strings.Trim(value, " \t") == "" {
			t.Skip()
		}
		in := name + ": " + value + "\r\n"
		if folded {
			in += " x" + value + "\r\n"
		}
		out := string(foldHeader([]byte(in + "\r\n")))
		body, ok := strings.CutSuffix(out, "\r\n\r\n")
		if !ok || longest(out) > maxLine {
			t.Fatalf("%q became %q", in, out)
		}
		for line := range strings.SplitSeq(body, "\r\n") {
			if strings.Trim(line, " \t") == "" {
				t.Fatalf("%q became %q", in, out)
			}
		}
		solid := strings.NewReplacer(" ", "", "\t", "", "\r\n", "")
		if !strings.Contains(out, "=?") && solid.Replace(in) != solid.Replace(out) {
			t.Fatalf("%q became %q", in, out)
		}
	})
}

// TestSignatureOfConverted checks that our signature matches what is sent, in every form.
func TestSignatureOfConverted(t *testing.T) {
	head := "From: a@us.example\r\nSubject: x " + strings.Repeat("y ", 600) + "\r\n\r\n"
	for name, text := range map[string]string{
		"as it is": letter, "eight bits": "From: a@us.example\r\n\r\nGr\xfc\xdfe\r\n", "changed by hand": strings.ReplaceAll(letter, "\r\n", "\n"),
		"long lines": head + strings.Repeat("long ü ", 300) + "\r\n", "one long line": head + strings.Repeat("x", 200_000) + "\r\n",
	} {
		for _, offers := range [][]string{nil, {"8BITMIME", "SIZE 1000000"}} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					keys := dkim.Open(mailtest.NewPowerFS())
					_, err := keys.Create("us.example", "now", dkim.Ed25519, time.Now())
					record, err2 := keys.Record("us.example", "now", time.Now())
					if err != nil || err2 != nil {
						t.Fatal(err, err2)
					}
					p := &peer{behaviour: behaviour{offers: offers}}
					r := via(t, p, nil)
					s := NewSender(SenderConfig{Options: r.opts, Sign: true}, keys, nil)
					a := attempt(text, "b@x.example")
					a.Local = true
					if got := summary(s.Deliver(t.Context(), a)); got != "delivered 250 2.0.0" {
						t.Fatal(got)
					}
					s.Close()
					got := p.messages[0]
					found, err := msgdkim.VerifyWithOptions(strings.NewReader(got), &msgdkim.VerifyOptions{
						LookupTXT: func(string) ([]string, error) { return []string{strings.Join(record.Strings(), "")}, nil },
					})
					if err != nil || len(found) != 1 || found[0].Err != nil {
						t.Errorf("%v, %+v in %q", err, found, got)
					}
					if longest(got) > maxLine || strings.Contains(strings.ReplaceAll(got, "\r\n", ""), "\n") || offers == nil && has8Bit([]byte(got)) {
						t.Errorf("sent %q", got)
					}
				})
			})
		}
	}
}

// A message whose file has become shorter must not be sent.
func TestShortFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &peer{}
		r := via(t, p, nil)
		a := attempt(letter, "b@x.example")
		a.Size++
		if got := summary(r.Deliver(t.Context(), a)); got != "deferred 450 4.3.0 ours" && len(p.messages) > 0 {
			t.Errorf("%s, sent %q", got, p.messages)
		}
	})
}
