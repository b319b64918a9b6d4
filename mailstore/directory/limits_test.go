package directory

import (
	"encoding/json"
	"errors"
	"math"
	"path"
	"slices"
	"testing"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/durable"
)

func TestLevelOf(t *testing.T) {
	for _, tt := range []struct {
		level     Level
		limit     int64
		byDefault int
		want      int64
	}{
		{"", 1000, 90, 900},
		{"", 1000, 0, 0},
		{"", 0, 90, 0},
		{"", -1, 90, 0},
		{"none", 1000, 90, 0},
		{"80%", 1000, 90, 800},
		{"80%", 0, 90, 0},
		{"80%", 7, 90, 5},
		{"99%", math.MaxInt64, 90, 9131138316486228046 + 2},
		{"750", 1000, 90, 750},
		{"750", 0, 90, 750},
	} {
		if got := tt.level.Of(tt.limit, tt.byDefault); got != tt.want {
			t.Errorf("%q of %d, default %d: %d, want %d", tt.level, tt.limit, tt.byDefault, got, tt.want)
		}
	}
}

func TestLevelIsChecked(t *testing.T) {
	for text, good := range map[string]bool{
		`""`: true, `"none"`: true, `"1%"`: true, `"99%"`: true, `"1"`: true, `"9223372036854775807"`: true,
		`"0"`: false, `"0%"`: false, `"100%"`: false, `"-1"`: false, `"+1"`: false, `"9223372036854775808"`: false,
		`"90 %"`: false, `"%"`: false, `"90MB"`: false, `"None"`: false, `90`: false,
	} {
		var l Level
		if err := json.Unmarshal([]byte(text), &l); (err == nil) != good {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// Files of an older version load unchanged, and the new fields are added to the old ones.
func TestLimitsInFiles(t *testing.T) {
	root, err := durable.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	d := New(root, Options{})
	anna := addr.Address{Local: "anna", Domain: "office.example"}
	if err := d.AddDomain(anna.Domain); err != nil {
		t.Fatal(err)
	}
	if _, err := d.AddMailbox(anna, Account{}); err != nil {
		t.Fatal(err)
	}
	account, domain := MailboxDir(anna)+"/account.json", DomainDir(anna.Domain)+"/domain.json"
	files := func(a, b string) (Mailbox, error) {
		t.Helper()
		for name, text := range map[string]string{account: a, domain: b} {
			if err := durable.WriteFile(root, name, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return d.Mailbox(anna)
	}
	box, err := files(`{"quota": 1000, "locked": true}`, `{"locked": true}`)
	if err != nil || box.Account.Limits != (Limits{Quota: 1000}) || box.DomainLimits != (Limits{}) {
		t.Errorf("old files: %+v, %v", box, err)
	}
	box, err = files(`{"quota": -1, "quota_messages": 50, "quota_warn": "80%", "quota_warn_messages": "40"}`, `{"quota": 5000, "quota_warn": "none"}`)
	if want := (Limits{Quota: -1, MaxMessages: 50, Warn: "80%", WarnMessages: "40"}); err != nil || box.Account.Limits != want || box.DomainLimits != (Limits{Quota: 5000, Warn: NoLevel}) {
		t.Errorf("new files: %+v, %v", box, err)
	}
	if err := d.UpdateDomain(anna.Domain, func(f *DomainFile) error { f.MaxMessages = 7; return nil }); err != nil {
		t.Fatal(err)
	}
	if err := d.UpdateAccount(anna, func(a *Account) error { a.Quota = 0; return nil }); err != nil {
		t.Fatal(err)
	}
	box, err = d.Mailbox(anna)
	if want := (Limits{MaxMessages: 50, Warn: "80%", WarnMessages: "40"}); err != nil || box.Account.Limits != want || box.DomainLimits != (Limits{Quota: 5000, MaxMessages: 7, Warn: NoLevel}) {
		t.Errorf("changed: %+v, %v", box, err)
	}
	if _, err := files(`{"quota_warn": "90"}`, `{"quota_warn": "much"}`); !errors.Is(err, ErrDamaged) {
		t.Errorf("a level that is none: %v", err)
	}
}

func TestDirectories(t *testing.T) {
	root, err := durable.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	d := New(root, Options{})
	if err := d.AddDomain("office.example"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"boss", "anna"} {
		if _, err := d.AddMailbox(addr.Address{Local: name, Domain: "office.example"}, Account{}); err != nil {
			t.Fatal(err)
		}
	}
	dirs, err := d.MailboxDirs("office.example")
	if want := []string{"mailbox/office.example/P3_anna.mbx", "mailbox/office.example/P3_boss.mbx"}; err != nil || !slices.Equal(dirs, want) {
		t.Errorf("got %q, %v", dirs, err)
	}
	if _, err := d.MailboxDirs("other.example"); !errors.Is(err, ErrNotFound) {
		t.Errorf("another domain: %v", err)
	}
	if name, err := d.DomainAt(path.Dir(dirs[0])); err != nil || name != "office.example" {
		t.Errorf("got %q, %v", name, err)
	}
	for _, dir := range []string{"mailbox", "mailbox/../office.example", "office.example", dirs[0], ""} {
		if name, err := d.DomainAt(dir); !errors.Is(err, ErrNotFound) {
			t.Errorf("DomainAt(%q): %q, %v", dir, name, err)
		}
	}
}
