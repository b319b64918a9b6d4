package dkim

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/durable"
)

const domain = addr.Domain("office.example")

func open(t *testing.T) (*Keys, string) {
	t.Helper()
	dir := t.TempDir()
	root, err := durable.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return Open(root), dir
}

// sign prepends the signature, as the daemon does.
func sign(t *testing.T, k *Keys, message string) string {
	t.Helper()
	field, ok, err := k.Signature(domain, strings.NewReader(message))
	if err != nil || !ok {
		t.Fatalf("%v, %v", ok, err)
	}
	return string(field) + message
}

// verify runs the library's verifier with a DNS that has the records.
func verify(t *testing.T, message string, records ...Record) error {
	t.Helper()
	found, err := dkim.VerifyWithOptions(strings.NewReader(message), &dkim.VerifyOptions{LookupTXT: func(name string) ([]string, error) {
		for _, r := range records {
			if r.Name == name {
				return []string{strings.Join(r.Strings(), "")}, nil
			}
		}
		return nil, errors.New("no such record")
	}})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 1 || found[0].Domain != string(domain) {
		t.Fatalf("%d signatures", len(found))
	}
	return found[0].Err
}

func record(t *testing.T, k *Keys, selector string) Record {
	t.Helper()
	r, err := k.Record(domain, selector, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const message = "From: anna@office.example\r\nTo: bob@customer.example\r\nSubject: M\r\n  x\r\nReceived: by a\r\n\r\nHello \t \r\n there\xe4\r\n\r\n"

func TestRoundTrip(t *testing.T) {
	for _, kind := range []Kind{RSA2048, Ed25519} {
		k, _ := open(t)
		if _, err := k.Create(domain, "", kind, time.Now()); err != nil {
			t.Fatal(err)
		}
		r := record(t, k, "")
		for _, text := range []string{
			message, "From: a@office.example\r\n\r\n", "From: a@office.example\r\n", "From: a@office.example\r\n\r\nno end",
			"From: a@office.example\r\n\r\n\r\n\r\n\r\n", "From: a@office.example\r\nTo: x@y\r\nTo: z@y\r\nSubject: M\xc3\xa4rz\r\n\r\nx\r\n",
		} {
			signed := sign(t, k, text)
			if text == "From: a@office.example\r\n" {
				signed += "\r\n" // as DATA sends it
			}
			if err := verify(t, signed, r); err != nil {
				t.Errorf("%s, %q: %v", kind, text, err)
			}
		}
		signed := sign(t, k, message)
		for what, changed := range map[string]string{
			"body":          strings.Replace(signed, "there", "where", 1),
			"subject":       strings.Replace(signed, "Subject: M", "Subject: N", 1),
			"From on top":   "From: eve@x\r\n" + signed,
			"second From":   strings.Replace(signed, "\r\nSubject:", "\r\nFrom: eve@x\r\nSubject:", 1),
			"added Cc":      strings.Replace(signed, "\r\nSubject:", "\r\nCc: eve@x\r\nSubject:", 1),
			"added to body": signed + "more\r\n",
		} {
			if changed == signed || verify(t, changed, r) == nil {
				t.Errorf("%s: %s changed, and the signature holds", kind, what)
			}
		}
		for what, changed := range map[string]string{
			"trace":       "Received: by b\r\n" + signed,
			"list fields": strings.Replace(signed, "\r\nSubject:", "\r\nList-Id: <x>\r\nSubject:", 1),
			"white space": strings.Replace(signed, "Hello \t ", "Hello", 1),
		} {
			if err := verify(t, changed, r); changed == signed || err != nil {
				t.Errorf("%s: %s changed, and the signature fails: %v", kind, what, err)
			}
		}
		for line := range strings.SplitSeq(strings.TrimSuffix(strings.TrimSuffix(signed, message), "\r\n"), "\r\n") {
			if len(line) > 998 || strings.ContainsAny(line, "\r\n") {
				t.Errorf("a line of the field is %q", line)
			}
		}
	}
}

func TestRecord(t *testing.T) {
	k, _ := open(t)
	if _, err := k.Create(domain, "sel", RSA2048, time.Now()); err != nil {
		t.Fatal(err)
	}
	r := record(t, k, "sel")
	pieces := r.Strings()
	if len(pieces) != 2 || len(pieces[0]) != 255 || strings.Join(pieces, "") != r.Value || r.Name != "sel._domainkey.office.example" {
		t.Errorf("%q", pieces)
	}
	if want := `sel._domainkey.office.example. IN TXT "` + pieces[0] + `" "` + pieces[1] + `"`; r.Zone() != want {
		t.Error(r.Zone())
	}
	if !strings.HasPrefix(r.String(), "sel._domainkey.office.example TXT v=DKIM1; k=rsa; p=") {
		t.Error(r)
	}
	if _, err := k.Record(domain, "other", time.Now()); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	for _, n := range []int{0, 255, 256, 511} {
		r := Record{Value: strings.Repeat("x", n)}
		if got := r.Strings(); strings.Join(got, "") != r.Value || len(got) != max(1, (n+254)/255) {
			t.Errorf("%d: %q", n, got)
		}
	}
}

func TestRotation(t *testing.T) {
	k, _ := open(t)

	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		if _, ok, err := k.Signature(domain, iotest.ErrReader(io.ErrUnexpectedEOF)); ok || err != nil {
			t.Errorf("without a key: %v, %v", ok, err)
		}
		if _, err := k.Rotate(domain, "", Ed25519, now, time.Hour, time.Hour); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
		first, err := k.Create(domain, "", Ed25519, now)
		if err != nil || first.State != Active || first.Selector != "pillarbox"+now.UTC().Format("200601") {
			t.Errorf("%+v, %v", first, err)
		}
		if _, err := k.Create(domain, "more", Ed25519, now); !errors.Is(err, ErrExists) {
			t.Error(err)
		}
		second, err := k.Rotate(domain, "", Ed25519, now, 24*time.Hour, 7*24*time.Hour)
		if err != nil || second.State != Waiting || second.Selector != first.Selector+"-2" {
			t.Errorf("%+v, %v", second, err)
		}
		if _, err := k.Rotate(domain, "third", Ed25519, now, 0, 0); !errors.Is(err, ErrExists) {
			t.Error(err)
		}
		old, fresh := record(t, k, first.Selector), record(t, k, "")
		if old == fresh {
			t.Error("the second key is the first")
		}
		for _, step := range []struct {
			wait          time.Duration
			uses          Record
			first, second State
		}{
			{0, old, Active, Waiting},
			{24*time.Hour - 2*time.Second, old, Active, Waiting},
			{2 * time.Second, fresh, Retired, Active},
			{7 * 24 * time.Hour, fresh, Over, Active},
		} {
			time.Sleep(step.wait)
			if err := verify(t, sign(t, k, message), step.uses); err != nil {
				t.Errorf("%+v: %v", step, err)
			}
			keys, err := k.Show(domain, time.Now())
			if err != nil || len(keys) != 2 || keys[0].State != step.first || keys[1].State != step.second {
				t.Errorf("%+v: %+v, %v", step, keys, err)
			}
		}
		now = time.Now()
		if err := k.Remove(domain, second.Selector, now); !errors.Is(err, ErrActive) {
			t.Error(err)
		}
		if err := k.Remove(domain, first.Selector, now); err != nil {
			t.Error(err)
		}
		if err := k.Remove(domain, first.Selector, now); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
		if err := k.Remove(domain, second.Selector, now); err != nil {
			t.Error(err)
		}
		if _, ok, err := k.Signature(domain, strings.NewReader(message)); ok || err != nil {
			t.Errorf("after the last key went: %v, %v", ok, err)
		}
	})
}

// A cancelled rotation leaves the key as it was.
func TestRotationCalledOff(t *testing.T) {
	k, _ := open(t)
	now := time.Now()
	k.Create(domain, "a", Ed25519, now)
	k.Rotate(domain, "b", Ed25519, now, time.Hour, time.Hour)
	if err := k.Remove(domain, "b", now); err != nil {
		t.Fatal(err)
	}
	keys, err := k.Show(domain, now.Add(time.Hour))
	if err != nil || len(keys) != 1 || keys[0].State != Active || !keys[0].Keep.IsZero() {
		t.Errorf("%+v, %v", keys, err)
	}
}

// Changes by another process take effect at once.
func TestFresh(t *testing.T) {
	server, dir := open(t)
	root, err := durable.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	command := Open(root)
	now := time.Now().Add(-time.Hour)
	if _, err := command.Create(domain, "a", Ed25519, now); err != nil {
		t.Fatal(err)
	}
	if err := verify(t, sign(t, server, message), record(t, command, "a")); err != nil {
		t.Error(err)
	}
	if _, err := command.Rotate(domain, "b", Ed25519, now, 0, time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := verify(t, sign(t, server, message), record(t, command, "b")); err != nil {
		t.Error(err)
	}
	if domains, err := server.Domains(); err != nil || len(domains) != 1 || domains[0] != domain {
		t.Errorf("%v, %v", domains, err)
	}
}

func TestFiles(t *testing.T) {
	k, dir := open(t)
	if _, err := k.Create(domain, "a", Ed25519, time.Now()); err != nil {
		t.Fatal(err)
	}
	sign(t, k, message)
	folder := filepath.Join(dir, "dkim", "office.example")
	for _, name := range []string{"a.pem", "keys.json"} {
		if info, err := os.Stat(filepath.Join(folder, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	for name, content := range map[string]string{
		"a.pem":     "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
		"keys.json": `{"keys":[{"selector":"../../a"}]}`,
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, ok, err := k.Signature(domain, strings.NewReader(message)); ok || !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v, %v", name, ok, err)
		}
	}
}

func TestNames(t *testing.T) {
	k, dir := open(t)
	now := time.Now()
	for _, selector := range []string{"../x", "a/b", "A", "a b", "x..y", ".", "[1.2.3.4]", "a\nb", "ä", strings.Repeat("a.", 60) + "a"} {
		if _, err := k.Create(domain, selector, Ed25519, now); !errors.Is(err, ErrName) {
			t.Errorf("%q: %v", selector, err)
		}
	}
	for _, d := range []addr.Domain{"", "..", "../x", "A.example", "[1.2.3.4]", "a/b"} {
		if _, err := k.Create(d, "a", Ed25519, now); !errors.Is(err, ErrName) {
			t.Errorf("%q: %v", d, err)
		}
		if _, ok, err := k.Signature(d, strings.NewReader(message)); ok || err != nil {
			t.Errorf("%q: %v, %v", d, ok, err)
		}
	}
	if _, err := k.Create(domain, "a", "dsa", now); !errors.Is(err, ErrName) {
		t.Error(err)
	}
	if made, _ := filepath.Glob(filepath.Join(dir, "dkim", "*", "*")); len(made) > 0 {
		t.Errorf("made %v", made)
	}
}

func TestReadError(t *testing.T) {
	k, _ := open(t)
	if _, err := k.Create(domain, "a", Ed25519, time.Now()); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken disk")
	if _, ok, err := k.Signature(domain, io.MultiReader(strings.NewReader(message), iotest.ErrReader(broken))); ok || !errors.Is(err, broken) {
		t.Errorf("%v, %v", ok, err)
	}
}
