package arc

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// zone has the key records of a test.
type zone map[string]string

func (z zone) lookup(_ context.Context, name string) ([]string, error) {
	if z[name] == "fails" {
		return nil, errors.New("SERVFAIL")
	}
	if record, ok := z[name]; ok {
		return []string{record}, nil
	}
	return nil, nil
}

// sealer returns the Options of a server, whose key it publishes.
func (z zone) sealer(t testing.TB, domain string, key crypto.Signer) Options {
	t.Helper()
	kind, public := "rsa", []byte(nil)
	if raw, ok := key.Public().(ed25519.PublicKey); ok {
		kind, public = "ed25519", raw
	} else {
		var err error
		if public, err = x509.MarshalPKIXPublicKey(key.Public()); err != nil {
			t.Fatal(err)
		}
	}
	z["s1._domainkey."+domain] = "v=DKIM1; k=" + kind + "; p=" + base64.StdEncoding.EncodeToString(public)
	return Options{Domain: domain, Selector: "s1", Key: key, Hostname: "mail." + domain,
		Now: now, LookupTXT: z.lookup}
}

func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

const letter = "From: Anna <anna@first.example>\r\nTo: bob@second.example\r\nSubject:  folded\r\n\t subject \r\n" +
	"Date: Mon, 30 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@first.example>\r\n\r\nHello  Bob, \r\n\r\n\ttabs\t \r\n\r\n\r\n"

func seal(t testing.TB, text string, o Options, want Validation) string {
	t.Helper()
	text = "Authentication-Results: Mail." + o.Domain + ";\r\n\tspf=pass smtp.mailfrom=x@y.example;\r\n\tdkim=none\r\n" + text
	fields, v, err := Seal(t.Context(), strings.NewReader(text), o)
	if err != nil || v != want {
		t.Fatalf("%s: %v, want %s", v, err, want)
	}
	return string(fields) + text
}

// Each server adds its seal to an unbroken chain. A change after it breaks the chain for ever.
func TestChain(t *testing.T) {
	z := zone{}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	first, second, third := z.sealer(t, "first.example", newKey(t)), z.sealer(t, "second.example", private), z.sealer(t, "third.example", newKey(t))
	one := seal(t, letter, first, None)
	two := seal(t, "Received: by x\r\n"+one, second, Pass)
	three := seal(t, two, third, Pass)
	for _, part := range []string{"ARC-Seal: i=3; a=rsa-sha256; t=1796040000; cv=pass;", "ARC-Seal: i=2; a=ed25519-sha256;", "cv=none;",
		"ARC-Authentication-Results: i=3; mail.third.example;\r\n\tspf=pass smtp.mailfrom=x@y.example;\r\n\tdkim=none;\r\n\tarc=pass\r\n"} {
		if !strings.Contains(three, part) {
			t.Errorf("no %q in\n%s", part, three)
		}
	}
	for line := range strings.SplitSeq(three, "\r\n") {
		if len(line) > 78 {
			t.Errorf("a line of %d octets: %s", len(line), line)
		}
	}
	for name, change := range map[string]func(string) string{
		"body":      func(s string) string { return strings.Replace(s, "Hello", "Hallo", 1) },
		"subject":   func(s string) string { return strings.Replace(s, "subject \r\n", "offer\r\n", 1) },
		"results":   func(s string) string { return strings.Replace(s, "spf=pass", "spf=fail", 1) },
		"old":       func(s string) string { i := strings.LastIndex(s, "arc=none"); return s[:i] + "arc=pass" + s[i+8:] },
		"cv":        func(s string) string { return strings.Replace(s, "cv=none", "cv=pass", 1) },
		"two froms": func(s string) string { return strings.Replace(s, "\r\n\r\n", "\r\nFrom: x@y.example\r\n\r\n", 1) },
		"no key":    func(s string) string { return strings.ReplaceAll(s, "s=s1", "s=s2") },
	} {
		broken := change(three)
		if broken == three {
			t.Fatalf("%s changed nothing", name)
		}
		four := seal(t, broken, first, Fail)
		if !strings.Contains(four, "ARC-Seal: i=4; a=rsa-sha256; t=1796040000; cv=fail;") {
			t.Errorf("%s:\n%s", name, four)
		}
		seal(t, four, second, Fail)
	}
	// What the relaxed form permits does not break it.
	seal(t, strings.Replace(strings.Replace(three, "Hello  Bob, ", "Hello Bob,", 1), "Subject:  folded\r\n\t subject \r\n", "subject: folded subject\r\n", 1), first, Pass)
	seal(t, three+"\r\n\r\n", first, Pass)
}

func TestCannotBeSealed(t *testing.T) {
	z := zone{}
	o := z.sealer(t, "first.example", newKey(t))
	one := seal(t, letter, o, None)
	sealField := one[:strings.Index(one, "ARC-Message")]
	for name, text := range map[string]string{
		"incomplete":   "ARC-Seal: i=1; cv=none; d=x; s=y; b=\r\n" + letter,
		"twice":        sealField + one,
		"a gap":        strings.ReplaceAll(one, "i=1;", "i=2;"),
		"number":       strings.ReplaceAll(one, "i=1;", "i=x;"),
		"too many":     strings.ReplaceAll(one, "i=1;", "i=51;"),
		"no number":    strings.ReplaceAll(one, "i=1;", ""),
		"many fields":  strings.Repeat("X: y\r\n", maxFields) + letter,
		"large header": "X: " + strings.Repeat("x", maxHeader) + "\r\n" + letter,
	} {
		if fields, v, err := Seal(t.Context(), strings.NewReader(text), o); err == nil {
			t.Errorf("%s: %s, %s", name, v, fields)
		}
	}
	z["s1._domainkey.first.example"] = "fails"
	if _, _, err := Seal(t.Context(), strings.NewReader(one), o); err == nil || !strings.Contains(err.Error(), "SERVFAIL") {
		t.Errorf("got %v", err)
	}
}

// The messages were sealed by dkimpy 1.1.4, whose public key is in testdata.
func TestOtherSoftware(t *testing.T) {
	record, err := os.ReadFile("testdata/key.txt")
	if err != nil {
		t.Fatal(err)
	}
	z := zone{"arc._domainkey.example.org": strings.TrimSpace(string(record))}
	o := z.sealer(t, "first.example", newKey(t))
	for file, want := range map[string]Validation{"dkimpy1.eml": Pass, "dkimpy2.eml": Pass} {
		text, err := os.ReadFile("testdata/" + file)
		if err != nil {
			t.Fatal(err)
		}
		crlf := strings.ReplaceAll(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n", "\r\n")
		seal(t, crlf, o, want)
		seal(t, strings.Replace(crlf, "Hello", "Hallo", 1), o, Fail)
	}
}

// Bodies in the canonical forms of RFC 6376 §3.4.5, however they are cut into pieces.
func TestBody(t *testing.T) {
	for _, tt := range []struct{ in, simple, relaxed string }{
		{" C \r\nD \t E\r\n\r\n\r\n", " C \r\nD \t E\r\n", " C\r\nD E\r\n"},
		{"", "\r\n", ""},
		{"\r\n\r\n", "\r\n", ""},
		{"\r\n\r\nx", "\r\n\r\nx\r\n", "\r\n\r\nx\r\n"},
		{"a\rb\r\n \t\r\n", "a\rb\r\n \t\r\n", "a\rb\r\n"},
		{"x \r\n\r\n y", "x \r\n\r\n y\r\n", "x\r\n\r\n y\r\n"},
		{"x\r", "x\r\r\n", "x\r\r\n"},
	} {
		for step := 1; step <= 3; step++ {
			simple, relaxed := &body{hash: &recorder{}}, &body{hash: &recorder{}, relaxed: true}
			for rest := tt.in; rest != ""; rest = rest[min(step, len(rest)):] {
				for _, b := range []*body{simple, relaxed} {
					b.Write([]byte(rest[:min(step, len(rest))]))
				}
			}
			if got := string(simple.sum()); got != tt.simple {
				t.Errorf("%q: simple %q", tt.in, got)
			}
			if got := string(relaxed.sum()); got != tt.relaxed {
				t.Errorf("%q: relaxed %q", tt.in, got)
			}
		}
	}
}

// recorder is a hash that returns its input.
type recorder struct{ text []byte }

func (r *recorder) Write(p []byte) (int, error) { r.text = append(r.text, p...); return len(p), nil }
func (r *recorder) Sum([]byte) []byte           { return r.text }
func (r *recorder) Reset()                      {}
func (r *recorder) Size() int                   { return 0 }
func (r *recorder) BlockSize() int              { return 1 }

// FuzzSeal checks that no message makes Seal panic, and that what it seals is valid.
func FuzzSeal(f *testing.F) {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	z := zone{}
	o := z.sealer(f, "first.example", key)
	f.Add(letter)
	f.Add("ARC-Seal: i=1; cv=none; b=\r\nARC-Message-Signature: i=1; h=from; bh=; b=\r\nARC-Authentication-Results: i=1; x\r\n" + letter)
	f.Fuzz(func(t *testing.T, text string) {
		fields, v, err := Seal(t.Context(), strings.NewReader(text), o)
		if err != nil || v != None {
			return
		}
		if text == "" || !strings.Contains(strings.ToLower(text), "from:") || strings.HasPrefix(text, " ") || strings.HasPrefix(text, "\t") {
			return // nothing that a signature must cover, or a line that continues our field
		}
		if _, v, err := Seal(t.Context(), strings.NewReader(string(fields)+text), o); err != nil || v == None {
			t.Errorf("%s, %v", v, err)
		}
	})
}
