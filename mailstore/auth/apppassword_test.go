package auth

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
)

func TestParseAppPassword(t *testing.T) {
	for text, want := range map[string]string{
		"abcd-efgh-2345-mnop":          "abcd abcd-efgh-2345-mnop",
		"ABCD EFGH 2345 MNOP":          "abcd abcd-efgh-2345-mnop",
		"abcdefgh2345mnop":             "abcd abcd-efgh-2345-mnop",
		" Abcd-efgh-2345-mnop ":        "abcd abcd-efgh-2345-mnop",
		"abcd-efgh-2345-mno":           "",
		"abcd-efgh-2345-mnopq":         "",
		"abcd-efgh-2345-mno1":          "", // 0, 1, 8 and 9 are not used
		"abcd-efgh-2345-mnö":           "",
		"":                             "",
		strings.Repeat(" ", 100) + "x": "",
	} {
		id, canonical, ok := parseAppPassword(text)
		if got := strings.TrimSpace(id + " " + canonical); got != want || ok != (want != "") {
			t.Errorf("%q: %q, %t", text, got, ok)
		}
	}
}

// withApp gives a mailbox an app password and returns it.
func withApp(t *testing.T, boxes *accounts, user string, scope directory.Access) (password string) {
	t.Helper()
	id := "ab" + string(scope + "cd")[:2]
	password = id + "-efgh-2345-mnop"
	err := boxes.UpdateAccount(addr.Address{Local: user}, func(acc *directory.Account) error {
		return acc.AddAppPassword(directory.AppPassword{ID: id, Name: "phone", Scope: scope}, cheap(password))
	})
	if err != nil {
		t.Fatal(err)
	}
	boxes.boxes[user+"@office.example"] = boxes.boxes[user]
	return password
}

func withFactor(boxes *accounts, user string) {
	boxes.UpdateAccount(addr.Address{Local: user}, func(acc *directory.Account) error {
		acc.SecondFactors = []directory.SecondFactor{{ID: "1", Name: "phone"}}
		return nil
	})
	boxes.boxes[user+"@office.example"] = boxes.boxes[user]
}

// What opens which service. The client cannot tell why something does not.
func TestAppPasswordScope(t *testing.T) {
	type service = directory.Service
	const app, main = "app", "main"
	for _, test := range []struct {
		name   string
		scope  directory.Access
		factor bool
		what   string
		opens  []service
		log    string
	}{
		{"both", directory.AccessBoth, false, app, []service{ServicePOP3, ServiceSMTP}, "not for this service"},
		{"POP3", directory.AccessPOP3, false, app, []service{ServicePOP3}, "not for this service"},
		{"SMTP", directory.AccessSMTP, false, app, []service{ServiceSMTP}, "not for this service"},
		{"the mailbox's own", directory.AccessPOP3, false, main, []service{ServicePOP3, ServiceSMTP, ServiceWeb}, ""},
		{"app, with a second factor", directory.AccessBoth, true, app, []service{ServicePOP3, ServiceSMTP}, "not for this service"},
		{"the mailbox's own, with a second factor", directory.AccessBoth, true, main, []service{ServiceWeb}, "app passwords only"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, boxes, log := newTest(t)
				password := withApp(t, boxes, "anna", test.scope)
				if test.factor {
					withFactor(boxes, "anna")
				}
				if test.what == main {
					password = "secret"
				}
				for _, s := range []service{ServicePOP3, ServiceSMTP, ServiceWeb} {
					c := Client{Service: s, Remote: here}
					log.Reset()
					began := time.Now()
					p, err := a.Password(t.Context(), c, "anna", password)
					opens := false
					for _, o := range test.opens {
						opens = opens || o == s
					}
					switch {
					case opens && err != nil:
						t.Errorf("%s: %v", s, err)
					case opens && (p.App != "") != (test.what == app):
						t.Errorf("%s: %+v", s, p)
					case opens && p.NeedsCode != (test.factor && s == ServiceWeb):
						t.Errorf("%s: %+v", s, p)
					case !opens && (!errors.Is(err, ErrInvalid) || time.Since(began) < a.Delay):
						t.Errorf("%s: %v after %s", s, err, time.Since(began))
					case !opens && !strings.Contains(log.String(), test.log):
						t.Errorf("%s: %s", s, log)
					}
					if _, err := a.Password(t.Context(), c, "anna", password[:len(password)-1]+"2"); !errors.Is(err, ErrInvalid) {
						t.Errorf("%s, a wrong one: %v", s, err)
					}
				}
			})
		})
	}
}

// An app password is typed in any form, and by the mechanisms that send a password.
func TestAppPasswordForms(t *testing.T) {
	a, boxes, _ := newTest(t)
	password := withApp(t, boxes, "anna", directory.AccessBoth)
	for _, typed := range []string{password, strings.ToUpper(password), strings.ReplaceAll(password, "-", ""), strings.ReplaceAll(password, "-", " ")} {
		c := Client{Service: ServicePOP3, Remote: here}
		if p, err := lead(a, c, PLAIN, plain("anna", typed)); err != nil {
			t.Errorf("%q: %+v, %v", typed, p, err)
		}
		if _, err := lead(a, c, LOGIN, []answer{say("anna"), say(typed)}); err != nil {
			t.Errorf("%q by LOGIN: %v", typed, err)
		}
	}
}

func say(text string) answer { return func([]byte) []byte { return []byte(text) } }

// A removed app password opens nothing, although the login was remembered. Open sessions end.
func TestAppPasswordRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, boxes, _ := newTest(t)
		password := withApp(t, boxes, "anna", directory.AccessBoth)
		c := Client{Service: ServicePOP3, Remote: here}
		p, err := a.Password(t.Context(), c, "anna", password)
		if err != nil || p.App == "" {
			t.Fatal(p, err)
		}
		if err := a.StillPermits(p, ServicePOP3); err != nil {
			t.Errorf("before: %v", err)
		}
		boxes.UpdateAccount(p.Address, func(acc *directory.Account) error { return acc.RemoveAppPassword(p.App) })
		boxes.boxes["anna@office.example"] = boxes.boxes["anna"]
		if _, err := a.Password(t.Context(), c, "anna", password); !errors.Is(err, ErrInvalid) {
			t.Errorf("after: %v", err)
		}
		if err := a.StillPermits(p, ServicePOP3); !errors.Is(err, ErrInvalid) {
			t.Errorf("an open session: %v", err)
		}
	})
}

// A session of the mailbox's password ends when the mailbox gets a second factor, except at the page.
func TestStillPermitsAfterSecondFactor(t *testing.T) {
	a, boxes, _ := newTest(t)
	p, err := a.Password(t.Context(), Client{Service: ServiceSMTP, Remote: here}, "anna", "secret")
	if err != nil {
		t.Fatal(err)
	}
	withFactor(boxes, "anna")
	for s, want := range map[Service]error{ServicePOP3: ErrInvalid, ServiceSMTP: ErrInvalid, ServiceWeb: nil} {
		if err := a.StillPermits(p, s); !errors.Is(err, want) {
			t.Errorf("%s: %v", s, err)
		}
	}
	if err := a.StillPermits(Principal{Address: p.Address}, ServicePOP3); err != nil {
		t.Errorf("a certificate: %v", err)
	}
}

// removing removes an app password while the login is checked.
type removing struct {
	*accounts
	id    string
	reads int
}

func (r *removing) Login(name string) (directory.Mailbox, error) {
	if r.reads++; r.reads == 2 {
		r.UpdateAccount(addr.Address{Local: name}, func(acc *directory.Account) error { return acc.RemoveAppPassword(r.id) })
	}
	return r.accounts.Login(name)
}

func TestAppPasswordRemovedDuringLogin(t *testing.T) {
	_, boxes, _ := newTest(t)
	password := withApp(t, boxes, "anna", directory.AccessBoth)
	a := New(&removing{accounts: boxes, id: password[:4]}, Options{})
	if p, err := a.Password(t.Context(), Client{Remote: here}, "anna", password); !errors.Is(err, ErrTemporary) || p != (Principal{}) {
		t.Errorf("%+v, %v", p, err)
	}
}

// A proof of the password is refused like a wrong one when there is a second factor.
func TestProofWithSecondFactor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, boxes, log := newTest(t)
		withFactor(boxes, "anna")
		always := func(*Secrets) (had, right bool) { return true, true }
		_, err := a.prove(t.Context(), Client{Service: ServicePOP3, Remote: here}, CRAMMD5, "anna", always)
		if !errors.Is(err, ErrInvalid) || !strings.Contains(log.String(), "app passwords only") {
			t.Errorf("%v, %s", err, log)
		}
	})
}

// A backend is not asked for a mailbox whose app password was given, nor for one with a second factor.
func TestAppPasswordBesideBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, boxes, _ := newTest(t)
		box := boxes.boxes["anna"]
		box.Method, box.Account.Verifier = "directory", ""
		boxes.boxes["anna"] = box
		asked := 0
		a.Backend = func(directory.Method) Backend { return countingBackend{&asked} }
		password := withApp(t, boxes, "anna", directory.AccessBoth)
		c := Client{Service: ServicePOP3, Remote: here}
		if p, err := a.Password(t.Context(), c, "anna", password); err != nil || p.App == "" || asked != 0 {
			t.Errorf("%+v, %v, %d", p, err, asked)
		}
		if p, err := a.Password(t.Context(), c, "anna", "theirs"); err != nil || !p.Password || asked != 1 {
			t.Errorf("%+v, %v, %d", p, err, asked)
		}
		withFactor(boxes, "anna")
		if _, err := a.Password(t.Context(), c, "anna", "theirs"); !errors.Is(err, ErrInvalid) || asked != 1 {
			t.Errorf("with a second factor: %v, %d", err, asked)
		}
	})
}

type countingBackend struct{ asked *int }

func (b countingBackend) Check(_ context.Context, _, _ addr.Address, password string) error {
	*b.asked++
	if password == "theirs" {
		return nil
	}
	return ErrInvalid
}

func TestNewAppPassword(t *testing.T) {
	var acc directory.Account
	seen := make(map[string]bool)
	for range 3 {
		password, add, err := NewAppPassword(acc, "phone", directory.AccessPOP3, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		p, err := add(&acc)
		if err != nil || !strings.HasPrefix(password, p.ID+"-") || seen[p.ID] {
			t.Fatalf("%s, %+v, %v", password, p, err)
		}
		seen[p.ID] = true
		if _, stored, ok := acc.AppPassword(p.ID); !ok || !fits(stored, password) {
			t.Errorf("%s does not fit", password)
		}
		if _, err := add(&acc); !errors.Is(err, directory.ErrExists) {
			t.Errorf("added twice: %v", err)
		}
		store := NewSecretStore(NewSecretKey(t.TempDir()+"/key"), Rules{})
		var rule *RuleError
		if _, err := store.New(addr.Address{Local: "anna"}, acc, password, time.Now()); !errors.As(err, &rule) || rule.Rule != "app_password" {
			t.Errorf("an app password as the password of the mailbox: %v", err)
		}
	}
}
