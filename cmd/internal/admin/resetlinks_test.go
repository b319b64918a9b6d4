package admin

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/auth"
	"pillarbox/mailstore/directory"
)

func TestKeyOpens(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	open := directory.Reset{Hash: hashKey("key"), Expires: now.Add(time.Second)}
	for _, test := range []struct {
		reset directory.Reset
		key   string
		at    time.Time
		want  bool
	}{
		{open, "key", now, true},
		{open, "Key", now, false},
		{open, "", now, false},
		{open, hashKey("key"), now, false},
		{open, "key", now.Add(time.Second), false},
		{directory.Reset{}, "", now, false},
		{directory.Reset{Expires: now.Add(time.Hour)}, "", now, false},
	} {
		if got := keyOpens(test.reset, test.key, test.at); got != test.want {
			t.Errorf("%+v, %q at %s: %t", test.reset, test.key, test.at, got)
		}
	}
}

// A link sets a password once, for its own mailbox, within a day, and no longer than the password is
// the old one. The second factor stays.
func TestResetLink(t *testing.T) {
	o := town(t)
	cfg := *o.Config()
	cfg.Listen.Web = []string{":443"}
	if err := o.SetConfig(&cfg); err != nil {
		t.Fatal(err)
	}
	const anna, carl, first, second = "anna@ours.example", "carl@ours.example", "x4-y5-z6-w7", "q4-r5-s6-t7"
	if err := o.Dir.UpdateAccount(addr.Address{Local: "anna", Domain: "ours.example"}, func(acc *directory.Account) error {
		acc.SecondFactors = []directory.SecondFactor{{ID: "x", Name: "phone"}}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	link := func() string {
		t.Helper()
		made, err := MailboxResetLink.Do(t.Context(), o, anna)
		if err != nil {
			t.Fatal(err)
		}
		key, ok := strings.CutPrefix(made.Link, "https://"+string(cfg.Hostname)+"/reset/anna@ours.example/")
		if !ok || len(key) != 43 {
			t.Fatal(made.Link)
		}
		return key
	}
	use := func(user, key, password string, want error) {
		t.Helper()
		if _, err := MailboxReset.Do(t.Context(), o, ResetToUse{User: user, Key: key, Password: password}); !errors.Is(err, want) {
			t.Errorf("%s %s %s: %v, want %v", user, key, password, err, want)
		}
	}
	key := link()
	use(carl, key, first, ErrResetLink)
	use("nobody@ours.example", key, first, ErrResetLink)
	use("nonsense", key, first, ErrResetLink)
	use(anna, "", first, ErrResetLink)
	use(anna, key, "short", auth.ErrPassword) // it can be tried again
	use(anna, key, first, nil)
	use(anna, key, second, ErrResetLink)
	box, err := o.Dir.Mailbox(addr.Address{Local: "anna", Domain: "ours.example"})
	if err != nil || !box.Account.HasSecondFactor() {
		t.Errorf("the second factor is gone: %v", err)
	}
	old := link()
	use(anna, link(), second, nil)
	use(anna, old, first, ErrResetLink)
	key = link()
	if _, err := o.SetPassword(anna, "u4-v5-w6-x7"); err != nil {
		t.Fatal(err)
	}
	use(anna, key, first, ErrResetLink)
}
