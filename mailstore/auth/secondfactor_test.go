package auth

import (
	"encoding/base32"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pquerna/otp/totp"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
)

// The last six digits of the test vectors of RFC 6238 appendix B, and when they are accepted.
func TestMatchCode(t *testing.T) {
	secret := base32.StdEncoding.EncodeToString([]byte("12345678901234567890"))
	for _, test := range []struct {
		at   int64
		code string
		used int64
		want error
	}{
		{59, "287082", 0, nil},
		{1111111109, "081804", 0, nil},
		{1111111111, "050471", 0, nil},
		{1234567890, "005924", 0, nil},
		{2000000000, "279037", 0, nil},
		{2000000000 + 30, "279037", 0, nil}, // the clocks may differ by a step
		{2000000000 - 30, "279037", 0, nil},
		{2000000000 + 60, "279037", 0, errWrongCode},
		{2000000000 - 60, "279037", 0, errWrongCode},
		{2000000000, "279037", 2000000000 / 30, errUsedCode},
		{2000000000 + 30, "279037", 2000000000 / 30, errUsedCode},
		{2000000000, "279037", 2000000000/30 + 1, errUsedCode}, // an older one than the last
		{2000000000, "279037", 2000000000/30 - 1, nil},
		{2000000000, "279038", 0, errWrongCode},
		{2000000000, "79037", 0, errWrongCode},
		{2000000000, "", 0, errWrongCode},
		{2000000000, "69279037", 0, errWrongCode},
	} {
		step, err := matchCode(secret, test.code, time.Unix(test.at, 0), test.used)
		if !errors.Is(err, test.want) || (err == nil) != (step > test.used) {
			t.Errorf("%s at %d after %d: %d, %v, want %v", test.code, test.at, test.used, step, err, test.want)
		}
	}
}

func testStore(t *testing.T) *SecretStore {
	return NewSecretStore(NewSecretKey(t.TempDir()+"/secrets.key"), Rules{})
}

func codeOf(t *testing.T, secret string, at time.Time) string {
	t.Helper()
	code, err := totp.GenerateCode(secret, at)
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// addFactor adds a second factor with a code of a minute ago, so that the present one is unused.
func addFactor(t *testing.T, st *SecretStore, acc *directory.Account, name string) (secret string, recovery []string) {
	t.Helper()
	secret, url, err := NewFactor("mail.office.example", addr.Address{Local: "anna", Domain: "office.example"})
	if err != nil || !strings.HasPrefix(url, "otpauth://totp/mail.office.example:anna@office.example?") {
		t.Fatal(url, err)
	}
	before := time.Now().Add(-time.Minute)
	recovery, err = st.AddFactor(acc, name, secret, codeOf(t, secret, before), before)
	if err != nil {
		t.Fatal(err)
	}
	return secret, recovery
}

// Several second factors work beside each other. Each code is good once.
func TestUseCode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, now := testStore(t), time.Now()
		var acc directory.Account
		if _, err := st.AddFactor(&acc, "phone", "JBSWY3DPEHPK3PXP", "000000", now); !errors.Is(err, ErrCode) || acc.HasSecondFactor() {
			t.Errorf("set up with a wrong code: %v", err)
		}
		phone, recovery := addFactor(t, st, &acc, "phone")
		tablet, none := addFactor(t, st, &acc, "tablet")
		if len(recovery) != recoveryCodes || none != nil || len(acc.RecoveryCodes) != recoveryCodes || len(acc.SecondFactors) != 2 {
			t.Fatalf("%d, %d recovery codes", len(recovery), len(none))
		}
		use := func(code string, want error) {
			t.Helper()
			if err := st.UseCode(&acc, code, now); !errors.Is(err, want) {
				t.Errorf("%q: %v, want %v", code, err, want)
			}
		}
		code := codeOf(t, phone, now)
		use(code[:3]+" "+code[3:], nil)
		use(code, errUsedCode)
		use(codeOf(t, tablet, now), nil)
		use(codeOf(t, tablet, now), errUsedCode)
		use(codeOf(t, phone, now.Add(30*time.Second)), nil)
		use(codeOf(t, phone, now), errUsedCode)
		use(strings.ToUpper(recovery[3]), nil)
		use(recovery[3], errWrongCode)
		use("aaaa-aaaa-aaaa-aaaa", errWrongCode)
		use("", errWrongCode)
		use(strings.Repeat("9", 1000), errWrongCode)
		if len(acc.RecoveryCodes) != recoveryCodes-1 {
			t.Errorf("%d recovery codes are left", len(acc.RecoveryCodes))
		}
		if slices.ContainsFunc(acc.RecoveryCodes, func(hash string) bool { return slices.Contains(recovery, hash) }) {
			t.Error("recovery codes are stored in the clear")
		}

		// The secret of one does not serve for another, and needs the key.
		first, second := acc.SecondFactors[0].ID, acc.SecondFactors[1].ID
		swapped := acc
		swapped.FactorSecrets = map[string][]byte{first: acc.FactorSecrets[second], second: acc.FactorSecrets[first]}
		if err := st.UseCode(&swapped, codeOf(t, phone, now.Add(time.Minute)), now.Add(time.Minute)); !errors.Is(err, ErrSecretKey) {
			t.Errorf("swapped secrets: %v", err)
		}
		if err := testStore(t).UseCode(&acc, "123456", now); !errors.Is(err, ErrSecretKey) {
			t.Errorf("without the key: %v", err)
		}
		if err := testStore(t).UseCode(&acc, recovery[4], now); err != nil {
			t.Errorf("a recovery code without the key: %v", err)
		}

		if err := RemoveFactor(&acc, first); err != nil || len(acc.SecondFactors) != 1 || len(acc.RecoveryCodes) == 0 {
			t.Errorf("%v, %+v", err, acc)
		}
		if err := RemoveFactor(&acc, first); !errors.Is(err, directory.ErrNotFound) {
			t.Errorf("removed twice: %v", err)
		}
		if err := RemoveFactor(&acc, second); err != nil || acc.HasSecondFactor() || acc.RecoveryCodes != nil || acc.FactorSecrets != nil {
			t.Errorf("%v, %+v", err, acc)
		}
	})
}

// newFactor is an authenticator with a second factor for anna.
func newFactorTest(t *testing.T) (a *Authenticator, boxes *accounts, secret string, p Principal) {
	t.Helper()
	a, boxes, _ = newTest(t)
	a.Secrets = testStore(t)
	box := boxes.boxes["anna"]
	secret, _ = addFactor(t, a.Secrets, &box.Account, "phone")
	boxes.boxes["anna"], boxes.boxes["anna@office.example"] = box, box
	p, err := a.Password(t.Context(), Client{Service: ServiceWeb, Remote: here}, "anna", "secret")
	if err != nil || !p.NeedsCode {
		t.Fatal(p, err)
	}
	return a, boxes, secret, p
}

// A login counts with its code only, and the code counts once, whoever gives it again.
func TestCode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, boxes, secret, p := newFactorTest(t)
		var told []string
		a.LoggedIn = func(c Client, p Principal) { told = append(told, string(c.Service)) }
		c := Client{Service: ServiceWeb, Remote: here}
		if _, err := a.Password(t.Context(), c, "anna", "secret"); err != nil || told != nil {
			t.Errorf("the password alone is told as a login: %v, %v", err, told)
		}
		code := codeOf(t, secret, time.Now())
		if err := a.Code(t.Context(), c, p, code); err != nil || len(told) != 1 {
			t.Fatal(err, told)
		}
		began := time.Now()
		if err := a.Code(t.Context(), c, p, code); !errors.Is(err, ErrInvalid) || time.Since(began) < a.Delay {
			t.Errorf("the same code again: %v after %s", err, time.Since(began))
		}
		restarted := New(boxes, Options{Secrets: a.Secrets})
		if err := restarted.Code(t.Context(), Client{Service: ServiceWeb, Remote: there}, p, code); !errors.Is(err, ErrInvalid) {
			t.Errorf("the same code after a restart, from elsewhere: %v", err)
		}
		box := boxes.boxes["anna@office.example"]
		box.Locked = true
		boxes.boxes["anna@office.example"] = box
		time.Sleep(time.Minute)
		if err := a.Code(t.Context(), c, p, codeOf(t, secret, time.Now())); !errors.Is(err, ErrLocked) {
			t.Errorf("a locked mailbox: %v", err)
		}
	})
}

// Wrong codes count for bans, and for the mailbox from all addresses together.
func TestWrongCodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, secret, p := newFactorTest(t)
		wrong := func(n int) error {
			c := Client{Service: ServiceWeb, Remote: netip.AddrFrom4([4]byte{203, 0, 113, byte(n)})}
			return a.Code(t.Context(), c, p, fmt.Sprint("x", n))
		}
		for n := range maxWrongCodes {
			if err := wrong(n); !errors.Is(err, ErrInvalid) {
				t.Fatalf("%d: %v", n, err)
			}
		}
		if err := wrong(maxWrongCodes); !errors.Is(err, ErrTemporary) {
			t.Errorf("one more: %v", err)
		}
		c := Client{Service: ServiceWeb, Remote: here}
		if err := a.Code(t.Context(), c, p, codeOf(t, secret, time.Now())); !errors.Is(err, errTooMuch) {
			t.Errorf("the right one: %v", err)
		}
		time.Sleep(wrongCodePeriod)
		if err := a.Code(t.Context(), c, p, codeOf(t, secret, time.Now())); err != nil {
			t.Errorf("after an hour: %v", err)
		}
	})
}

// Guesses from elsewhere do not keep the user out at a known network, nor with a recovery code.
func TestWrongCodesElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, boxes, secret, p := newFactorTest(t)
		at := func(ip string) Client {
			return Client{Service: ServiceWeb, Remote: netip.MustParseAddr(ip)}
		}
		try := func(c Client, code string) error { return a.Code(t.Context(), c, p, code) }
		now := func() string { return codeOf(t, secret, time.Now()) }
		if err := try(at("192.0.2.9"), now()); err != nil {
			t.Fatal(err)
		}
		for n := range maxWrongCodes {
			if err := try(at(fmt.Sprint("203.0.113.", n)), "x"); !errors.Is(err, ErrInvalid) {
				t.Fatalf("%d: %v", n, err)
			}
		}
		time.Sleep(time.Minute)
		if err := try(at("198.51.100.1"), now()); !errors.Is(err, errTooMuch) {
			t.Errorf("the right code from elsewhere: %v", err)
		}
		if err := try(at("192.0.2.9"), now()); err != nil {
			t.Errorf("the right code at the known network: %v", err)
		}
		if err := try(at("203.0.113.99"), "x"); !errors.Is(err, errTooMuch) {
			t.Errorf("the login at the known network gives others new tries: %v", err)
		}
		box := boxes.boxes["anna@office.example"]
		recovery := NewRecoveryCodes(&box.Account)
		boxes.boxes["anna"], boxes.boxes["anna@office.example"] = box, box
		if err := try(at("198.51.100.1"), recovery[0]); err != nil {
			t.Errorf("a recovery code from elsewhere: %v", err)
		}
		for range maxWrongCodes {
			try(at("192.0.2.9"), "x")
		}
		time.Sleep(time.Minute)
		if err := try(at("192.0.2.9"), now()); !errors.Is(err, errTooMuch) {
			t.Errorf("the known network has no limit: %v", err)
		}
	})
}

// The networks that are known are the latest ones.
func TestKnownNetworks(t *testing.T) {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var known []directory.KnownNetwork
	for n := range maxKnownNetworks + 1 {
		ip := netip.AddrFrom4([4]byte{192, 0, 2, byte(n)})
		known = withNetwork(known, netip.PrefixFrom(ip, 32), begin.AddDate(0, 0, n))
	}
	known = withNetwork(known, netip.MustParsePrefix("192.0.2.3/32"), begin.AddDate(0, 0, 20))
	if len(known) != maxKnownNetworks || known[0].Network.String() != "192.0.2.3/32" ||
		known[1].Network.String() != "192.0.2.8/32" {
		t.Error(known)
	}
	if known = withNetwork(known, netip.MustParsePrefix("192.0.2.3/32"), begin.AddDate(1, 0, 0)); len(known) != 1 {
		t.Error("old ones stay:", known)
	}
}

func TestWrongCodesBan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, _, p := newFactorTest(t)
		a.Bans = NewBans(BanOptions{After: 3}, a.Log)
		c := Client{Service: ServiceWeb, Remote: netip.MustParseAddr("203.0.113.7")}
		for range 3 {
			if err := a.Code(t.Context(), c, p, "000000"); !errors.Is(err, ErrInvalid) {
				t.Fatal(err)
			}
		}
		if err := a.Code(t.Context(), c, p, "000000"); !errors.Is(err, ErrBanned) {
			t.Errorf("%v", err)
		}
	})
}
