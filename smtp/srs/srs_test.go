package srs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/durable"
)

var now = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

func parseAddress(t testing.TB, s string) addr.Address {
	t.Helper()
	a, err := addr.Parse(s)
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return a
}

// Every sender comes back, whatever happens to the case of its local part.
func TestForwardAndReverse(t *testing.T) {
	key := []byte("0123456789abcdef")
	for _, tt := range []struct{ from, want, back string }{
		{"carl@partner.example", "SRS0=", "carl@partner.example"},
		{"Carl.Müller@partner.example", "SRS0=", "Carl.Müller@partner.example"},
		{"a=b=c@partner.example", "SRS0=", "a=b=c@partner.example"},
		{`"john doe"@partner.example`, "SRS0=", `"john doe"@partner.example`},
		{"carl@[192.0.2.1]", "SRS0=", "carl@[192.0.2.1]"},
		{"SRS0=abcd=X3=first.example=carl@second.example", "SRS1=", "SRS0=abcd=X3=first.example=carl@second.example"},
		{"srs0+abcd=X3=first.example=carl@second.example", "SRS1=", "SRS0+abcd=X3=first.example=carl@second.example"},
		{"SRS1=hash=second.example==abcd=X3=first.example=carl@third.example", "SRS1=", "SRS0=abcd=X3=first.example=carl@second.example"},
		{"srs@partner.example", "SRS0=", "srs@partner.example"},
	} {
		to, err := forward(key, parseAddress(t, tt.from), "office.example", now)
		if err != nil || !strings.HasPrefix(to.Local, tt.want) || to.Domain != "office.example" {
			t.Errorf("%s: %s, %v", tt.from, to, err)
			continue
		}
		for _, local := range []string{to.Local, strings.ToLower(to.Local), strings.ToUpper(to.Local)} {
			got, err := reverse([][]byte{[]byte("another key, 16+"), key}, addr.Address{Local: local, Domain: "office.example"}, now.Add(20*day))
			if err != nil || !strings.EqualFold(got.String(), tt.back) {
				t.Errorf("%s: %s came back as %s, %v", tt.from, local, got, err)
			}
		}
		if got, _ := reverse([][]byte{key}, parseAddress(t, to.String()), now); got.String() != tt.back {
			t.Errorf("%s came back as %s", tt.from, got)
		}
	}
}

func TestReverseRefuses(t *testing.T) {
	key := []byte("0123456789abcdef")
	good, err := forward(key, parseAddress(t, "carl@partner.example"), "office.example", now)
	if err != nil {
		t.Fatal(err)
	}
	first, _ := forward(key, parseAddress(t, "SRS0=ab=cd=x.example=y@z.example"), "office.example", now)
	for name, tt := range map[string]struct {
		local string
		at    time.Time
		want  error
	}{
		"good":           {good.Local, now, nil},
		"after 21 days":  {good.Local, now.Add(21 * day), nil},
		"after 22 days":  {good.Local, now.Add(22 * day), ErrExpired},
		"after 1024 d":   {good.Local, now.Add(1023 * day), nil}, // the keys are gone by then
		"clock set back": {good.Local, now.Add(-day), nil},
		"far back":       {good.Local, now.Add(-3 * day), ErrExpired},
		"another sender": {strings.Replace(good.Local, "=carl", "=boss", 1), now, ErrForged},
		"another domain": {strings.Replace(good.Local, "partner", "victim", 1), now, ErrForged},
		"another day":    {strings.Replace(good.Local, "="+dayText(now)+"=", "="+dayText(now.Add(day))+"=", 1), now, ErrForged},
		"another server": {strings.Replace(first.Local, "z.example", "v.example", 1), now, ErrForged},
		"no hash":        {"SRS0==" + dayText(now) + "=partner.example=carl", now, ErrForged},
		"short":          {"SRS0=x", now, ErrForged},
		"bare":           {"SRS0=", now, ErrForged},
		"other form":     {strings.Replace(good.Local, "SRS0=", "SRS0+", 1), now, ErrForged},
		"SRS1 of SRS0":   {strings.Replace(good.Local, "SRS0", "SRS1", 1), now, nil},
	} {
		_, err := reverse([][]byte{key}, addr.Address{Local: tt.local, Domain: "office.example"}, tt.at)
		if name == "SRS1 of SRS0" { // its parts are no server's address
			if err == nil {
				t.Errorf("%s: taken", name)
			}
		} else if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := reverse([][]byte{[]byte("another key, 16+")}, good, now); !errors.Is(err, ErrForged) {
		t.Errorf("with another key: %v", err)
	}
	if _, err := forward(key, addr.Address{Local: strings.Repeat("x", 240), Domain: "partner.example"}, "office.example", now); !errors.Is(err, ErrTooLong) {
		t.Errorf("too long: %v", err)
	}
}

func TestIs(t *testing.T) {
	for local, want := range map[string]bool{"SRS0=a=b": true, "srs1=a": true, "SRS0+x=": true, "srs0-x": true, "SRS0": false,
		"SRS0x=": false, "SRS2=a=b": false, "srs": false, "": false, "SRS0=": true} {
		if got := Is(local); got != want {
			t.Errorf("%q: %v", local, got)
		}
	}
}

// The key changes every month. Addresses of the old one are good as long as they may be.
func TestRotation(t *testing.T) {
	disk := mailtest.NewPowerFS()
	keys := Open(disk)
	from := parseAddress(t, "carl@partner.example")
	var made []addr.Address
	at := now
	for range 5 {
		to, err := keys.Forward(from, "office.example", at)
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, to)
		if got, err := Open(disk).Reverse(to, at.Add(20*day)); err != nil || got != from {
			t.Errorf("another process: %v, %v", got, err)
		}
		at = at.Add(20 * day)
	}
	all, err := keys.file.Load()
	if err != nil || len(all) != 2 && len(all) != 3 {
		t.Errorf("%d keys, %v", len(all), err)
	}
	at = at.Add(-20 * day)
	for i, want := range []error{ErrExpired, ErrExpired, ErrExpired, nil, nil} {
		if _, err := keys.Reverse(made[i], at); !errors.Is(err, want) && !errors.Is(err, ErrForged) {
			t.Errorf("address %d: %v", i, err)
		} else if want == nil && err != nil {
			t.Errorf("address %d: %v", i, err)
		}
	}
}

// A file that cannot be read gives errors that pass. It is not overwritten.
func TestDamagedFile(t *testing.T) {
	dir := t.TempDir()
	root, err := durable.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	path := filepath.Join(dir, file)
	if err := os.WriteFile(path, []byte(`{"keys":[{"made":"2026-11-30T00:00:00Z","key":"c2hvcnQ="}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	keys := Open(root)
	from := parseAddress(t, "carl@partner.example")
	if to, err := keys.Forward(from, "office.example", now); err == nil {
		t.Errorf("made %s", to)
	}
	_, err = keys.Reverse(parseAddress(t, "SRS0=AAAAAAAA=AA=x.example=y@office.example"), now)
	if err == nil || errors.Is(err, ErrForged) {
		t.Errorf("got %v", err)
	}
	if text, _ := os.ReadFile(path); !strings.Contains(string(text), "c2hvcnQ=") {
		t.Errorf("overwritten: %s", text)
	}
}

// FuzzReverse checks that no address comes back that was not made here.
func FuzzReverse(f *testing.F) {
	key := []byte("0123456789abcdef")
	for _, seed := range []string{"SRS0=AAAAAAAA=AA=x.example=y", "SRS1=AAAAAAAA=x.example==a=b=c=d", "srs0+", "SRS1=="} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, local string) {
		to := addr.Address{Local: local, Domain: "office.example"}
		if got, err := reverse([][]byte{key}, to, now); err == nil {
			t.Errorf("%q came back as %s", local, got)
		}
		from := addr.Address{Local: local, Domain: "partner.example"}
		made, err := forward(key, from, "office.example", now)
		if err != nil || local == "" {
			return
		}
		got, err := reverse([][]byte{key}, made, now)
		if err == nil && !Is(local) && got != from {
			t.Errorf("%q came back as %s, %v", local, got, err)
		}
	})
}
