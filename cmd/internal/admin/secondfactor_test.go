package admin

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/auth"
	"pillarbox/mailstore/directory"
)

// A second factor needs a right code, never replaces another one, and can be removed by an operator of
// the domain. The audit log tells of each act, and has no secret.
func TestSecondFactor(t *testing.T) {
	o := town(t)
	const anna = "anna@ours.example"
	add := func(name, code string) (RecoveryCodes, string, error) {
		secret, _, err := auth.NewFactor("mail.ours.example", addr.Address{Local: "anna", Domain: "ours.example"})
		if err != nil {
			t.Fatal(err)
		}
		if code == "" {
			code, _ = totp.GenerateCode(secret, time.Now())
		}
		out, err := SecondFactorAdd.Do(t.Context(), o, SecondFactorToAdd{User: anna, Name: name, Secret: secret, Code: code})
		return out, secret, err
	}
	if _, _, err := add("phone", "12345"); !errors.Is(err, auth.ErrCode) {
		t.Errorf("a wrong code: %v", err)
	}
	first, secret, err := add("phone", "")
	if err != nil || len(first.Codes) != 10 {
		t.Fatalf("%+v, %v", first, err)
	}
	if _, _, err := add("PHONE", ""); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("the same name: %v", err)
	}
	second, _, err := add("tablet", "")
	if err != nil || len(second.Codes) != 0 {
		t.Errorf("%+v, %v", second, err)
	}
	shown, err := SecondFactorShow.Do(t.Context(), o, anna)
	if err != nil || len(shown.Factors) != 2 || shown.RecoveryCodes != 10 {
		t.Errorf("%+v, %v", shown, err)
	}
	details, err := MailboxShow.Do(t.Context(), o, anna)
	if err != nil {
		t.Fatal(err)
	}
	for _, way := range details.LogIns {
		if way.Can && way.Mechanism != auth.EXTERNAL {
			t.Errorf("%+v", way)
		}
	}
	op := Operator{Name: "op", Grants: []Grant{{Domains: []addr.Domain{"ours.example"}}}}
	if _, err := SecondFactorRemove.Do(t.Context(), o.For(Caller{Operator: &op}), Setting{Name: anna, Value: "Tablet"}); err != nil {
		t.Error(err)
	}
	if _, err := SecondFactorRemove.Do(t.Context(), o, Setting{Name: anna, Value: "tablet"}); err == nil {
		t.Error("removed twice")
	}
	if _, err := RecoveryCodesNew.Do(t.Context(), o, anna); err != nil {
		t.Error(err)
	}
	if _, err := SecondFactorRemove.Do(t.Context(), o, Setting{Name: anna}); err != nil {
		t.Error(err)
	}
	if _, err := RecoveryCodesNew.Do(t.Context(), o, anna); err == nil {
		t.Error("recovery codes without a second factor")
	}
	events, _, err := o.Audit(AuditQuestion{Object: anna})
	if err != nil {
		t.Fatal(err)
	}
	acts := ""
	for _, e := range events {
		acts += e.Act + "; "
		if text := string(e.Before) + string(e.After); strings.Contains(text, secret) || strings.Contains(text, first.Codes[0]) {
			t.Errorf("a secret in %s", text)
		}
	}
	if want := "mailbox second-factor add; mailbox second-factor add; mailbox second-factor remove; mailbox second-factor codes; mailbox second-factor remove; "; !strings.HasSuffix(acts, want) {
		t.Errorf("%s, want %s", acts, want)
	}
}

// A code that was used is no administrative act.
func TestUsedCodesAreNotAudited(t *testing.T) {
	o := town(t)
	const user = "anna@ours.example"
	anna := addr.Address{Local: "anna", Domain: "ours.example"}
	secret, _, err := auth.NewFactor("mail.ours.example", anna)
	if err != nil {
		t.Fatal(err)
	}
	before := time.Now().Add(-time.Minute)
	code, _ := totp.GenerateCode(secret, before)
	add := func(acc *directory.Account) error {
		_, err := o.Keeper.AddFactor(acc, "phone", secret, code, before)
		return err
	}
	if err := o.Dir.UpdateAccount(anna, add); err != nil {
		t.Fatal(err)
	}
	count := func() int {
		events, _, err := o.Audit(AuditQuestion{Object: user})
		if err != nil {
			t.Fatal(err)
		}
		return len(events)
	}
	was := count()
	code, _ = totp.GenerateCode(secret, time.Now())
	if err := o.Dir.UpdateAccount(anna, func(acc *directory.Account) error { return o.Keeper.UseCode(acc, code, time.Now()) }); err != nil {
		t.Fatal(err)
	}
	if n := count(); n != was {
		t.Errorf("%d events more", n-was)
	}
}
