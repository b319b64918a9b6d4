package remote

import (
	"bytes"
	"encoding/base64"
	"mime"
	"regexp"
	"slices"
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
		"a blank line":      {"A: b\r\n" + strings.Repeat(" ", 1200) + "\r\n \t\r\n c\r\nD: e\r\n\r\n", "A: b\r\n c\r\nD: e\r\n\r\n"},
		"a line of NULs":    {"A: b\r\n\x00\x00\r\n \x00\r\nD: e\r\n\r\n", "A: b\r\nD: e\r\n\r\n"},
		"only the end":      {"\r\n", "\r\n"},
		"a false boundary":  {"A: b\r\n--b" + strings.Repeat(" ", 1200) + "x\r\nD: e\r\n\r\n", "A: b\r\nD: e\r\n\r\n"},
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

// FuzzFoldHeader: every line is short enough, none is blank, the header has as many fields and ends
// where it did, and nothing but blanks changes unless encoded words are made.
func FuzzFoldHeader(f *testing.F) {
	for _, value := range []string{"a b", "a,", "=?utf-8?q?a?= ", "\t \t", "ü", "\xff", ";", "\x00", " \x00"} {
		f.Add("Subject", value, 500, true)
		f.Add("To", value, 2000, false)
	}
	f.Fuzz(func(t *testing.T, name, part string, times int, folded bool) {
		name = regexp.MustCompile(`[^!-9;-~]`).ReplaceAllString(name, "")
		part = strings.NewReplacer("\r", "", "\n", "").Replace(part)
		value := strings.Repeat(part, min(max(times, 0), 1+5000/(len(part)+1)))
		if name == "" || len(name) > maxLine/2 {
			t.Skip()
		}
		in := name + ": " + value + "\r\n"
		if folded {
			in += " " + value + "\r\n x" + value + "\r\n"
		}
		in += "X-Last: z\r\n"
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
		if was, is := names(in), names(out); !slices.Equal(was, is) || !strings.HasSuffix(body, "\r\nX-Last: z") {
			t.Fatalf("%q became %q in %q", was, is, out)
		}
		solid := strings.NewReplacer("\x00", "", " ", "", "\t", "", "\r\n", "")
		if !strings.Contains(out, "=?") && solid.Replace(in) != solid.Replace(out) {
			t.Fatalf("%q became %q", in, out)
		}
	})
}

// names returns the names of the fields of a header.
func names(header string) (all []string) {
	for name := range fields([]byte(header)) {
		all = append(all, name)
	}
	return all
}

// boundaries returns the boundary lines of a message, up to the final one.
func boundaries(text, boundary string) (all []string) {
	for line := range strings.SplitSeq(text, "\r\n") {
		if len(line) >= walkerLine-1 {
			continue
		}
		line = strings.TrimRight(line, " \t")
		if line == "--"+boundary || line == "--"+boundary+"--" {
			all = append(all, line)
		}
		if line == "--"+boundary+"--" {
			break
		}
	}
	return all
}

// TestConvertNULs checks that no NUL leaves, and that a reader finds the same parts and fields
// whether or not it would have dropped the NULs.
func TestConvertNULs(t *testing.T) {
	const smuggled = "x\r\n\x00.\r\nMAIL FROM:<a@b.example>\r\n-\x00-b\r\n--b\x00\r\n"
	for name, in := range map[string]string{
		"base64":           "Content-Transfer-Encoding: base64\r\n\r\n" + smuggled,
		"quoted-printable": "Content-Transfer-Encoding: quoted-printable\r\n\r\n" + smuggled,
		"preamble":         "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + smuggled + "--b\r\n\r\nx\r\n--b--\r\n" + smuggled,
		"signed":           "Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\nA: b\r\n\x00\r\nC: d\r\n\r\n" + smuggled + "--b--\r\n",
		"signed leaf":      "Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n\x00.\r\n--b--\r\n",
		"broken":           "Content-Type: ;;\r\n\r\n" + smuggled,
		"report":           "Content-Type: message/delivery-status\r\n\r\n" + smuggled,
		"field name":       "Fr\x00om: a@b.example\r\nContent-\x00Type: multipart/mixed; boundary=c\r\n\r\nx\r\n",
		"header":           "Subject: x\r\n\x00\r\n \x00 \r\nX: y\r\n\r\nx\r\n",
		"a leaf":           "Subject: x\r\n\r\n" + smuggled,
	} {
		for _, got := range []string{roughly(t, in), second(scanned(t, in))} {
			if strings.Contains(got, "\x00") || strings.Contains(got, "\r\n.\r\n") {
				t.Errorf("%s: sent %q", name, got)
			}
			if was, is := boundaries(in, "b"), boundaries(got, "b"); !slices.Equal(was, is) {
				t.Errorf("%s: %q became %q in %q", name, was, is, got)
			}
			if strings.Contains(got, "From:") || strings.Contains(got, "\r\nContent-Type: multipart/mixed; boundary=c") ||
				strings.Count(got, "\r\n\r\n") != strings.Count(in, "\r\n\r\n") {
				t.Errorf("%s: the header of %q", name, got)
			}
		}
	}
	got := roughly(t, "Content-Type: multipart/mixed; boundary=\"b\x00c\"\r\n\r\n--b\x00c\r\n\r\nx\r\n--b\x00c--\r\n")
	if want := "Content-Type: multipart/mixed; boundary=\"b?c\"\r\n\r\n--b?c\r\n\r\nx\r\n--b?c--\r\n"; got != want {
		t.Errorf("a boundary: %q", got)
	}
}

func second[T any](_ any, b T) T { return b }

// TestConvertBoundaries checks that the boundary lines are short enough and match the header.
func TestConvertBoundaries(t *testing.T) {
	blanks := strings.Repeat(" ", 1200)
	message := func(head, boundary string) string {
		return head + "\r\n\r\n--" + boundary + blanks + "\r\n\r\nx\r\n--" + boundary + "--" + blanks + "\r\n"
	}
	long := strings.Repeat("q", 900)
	for name, tt := range map[string]struct{ head, boundary string }{
		"blanks":              {"Content-Type: multipart/mixed; boundary=b", "b"},
		"folded":              {"Content-Type: multipart/mixed; boundary=" + long, long},
		"no blank before":     {"Content-Type:multipart/mixed;boundary=" + long, long},
		"longest":             {"Content-Type: multipart/mixed; boundary=\"" + long + long[:80] + "\"", long + long[:80]},
		"a comma in it":       {"Content-Type:multipart/mixed;x=" + long + ";boundary=\"aa,bb" + long[:60] + "\"", "aa,bb" + long[:60]},
		"blanks in it":        {"Content-Type: multipart/mixed;x=" + long + ";boundary=\"aa   bb" + long[:60] + "\"", "aa   bb" + long[:60]},
		"after a long value":  {"Content-Type: multipart/mixed;x=" + long + long + ";boundary=bb" + long[:60], "bb" + long[:60]},
		"cut by the width":    {"Content-Type:multipart/mixed;x=\"" + long + "\";boundary=bb" + long[:70], "bb" + long[:70]},
		"a quote and a slash": {"Content-Type: multipart/mixed;x=" + long + ";boundary=\"a\\\"\\\\,b" + long[:70] + "\"", "a\"\\,b" + long[:70]},
	} {
		got := roughly(t, message(tt.head, tt.boundary))
		head, _, _ := strings.Cut(got, "\r\n\r\n")
		_, params, err := typeOf([]byte(head))
		want := []string{"--" + tt.boundary, "--" + tt.boundary + "--"}
		if longest(got) > maxLine || err != nil || params["boundary"] != tt.boundary || !slices.Equal(boundaries(got, tt.boundary), want) {
			t.Errorf("%s: %v, %d octets in a line, %q", name, err, longest(got), got)
		}
	}
	long += long
	got := roughly(t, message("Content-Type: multipart/mixed; boundary="+long+"\r\nSubject: x", long))
	if !strings.HasPrefix(got, "Subject: x\r\n\r\n --qqq") || longest(got) > maxLine {
		t.Errorf("a boundary that does not fit: %q", got)
	}
}

// FuzzRewrap: text that is not decoded keeps its boundary lines, gets no other, and loses its NULs.
func FuzzRewrap(f *testing.F) {
	for _, kind := range []string{"base64", "quoted-printable", "8bit"} {
		f.Add(kind, "--b", " ", "x", 1200)
		f.Add(kind, "", "x", "--b", maxLine)
		f.Add(kind, "", "x", "--b", walkerLine)
		f.Add(kind, "", "-", "-b", 2000)
		f.Add(kind, "\x00--b", "\x00", "--b", walkerLine)
		f.Add(kind, "--b", " ", "", walkerLine)
		f.Add(kind, "", "=", "", walkerLine)
		f.Add(kind, "x", "=a", "", walkerLine)
		f.Add(kind, "x", "=3D", "=", walkerLine)
	}
	f.Fuzz(func(t *testing.T, encoding, begin, middle, end string, times int) {
		clean := strings.NewReplacer("\r", "", "\n", "")
		encoding, middle = clean.Replace(encoding), clean.Replace(middle)
		line := clean.Replace(begin) + strings.Repeat(middle, min(max(times, 0), 1+140_000/(len(middle)+1))) + clean.Replace(end) + "\r\n"
		in := "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + line + "--b\r\nContent-Type: ;;\r\nContent-Transfer-Encoding: " +
			encoding + "\r\n\r\n" + line + "--b\r\n" + line + "A: b\r\n\r\nx\r\n--b--\r\n" + line
		out := roughly(t, in)
		if strings.Contains(out, "\x00") || longest(out) > maxLine && longest(in) < maxHeader {
			t.Fatalf("a line of %d octets in %q", longest(out), out)
		}
		if was, is := boundaries(in, "b"), boundaries(out, "b"); !slices.Equal(was, is) {
			t.Fatalf("%q became %q: %q", was, is, out)
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
