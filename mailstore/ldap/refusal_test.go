package ldap

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	ldapv3 "github.com/go-ldap/ldap/v3"
)

func TestBindErrors(t *testing.T) {
	const ad = "80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data "
	for _, test := range []struct {
		code   uint16
		text   string
		class  error
		reason Reason
	}{
		{49, "", ErrInvalid, WrongPassword},
		{49, ad + "52e, v1db1\x00", ErrInvalid, WrongPassword},
		{49, ad + "525, v1db1", ErrInvalid, UnknownUser},
		{49, ad + "530, v1db1", ErrInvalid, WrongTime},
		{49, ad + "531, v1db1", ErrInvalid, WrongPlace},
		{49, ad + "532, v1db1", ErrInvalid, PasswordExpired},
		{49, ad + "533, v1db1", ErrInvalid, Disabled},
		{49, ad + "701, v1db1", ErrInvalid, AccountExpired},
		{49, ad + "773, v1db1", ErrInvalid, MustChange},
		{49, ad + "775, v1db1", ErrInvalid, LockedOut},
		{49, ad + "57, v1db1", ErrInvalid, WrongPassword},
		{53, ad + "533, v1db1", ErrInvalid, Disabled},
		{48, "", ErrInvalid, NoPassword},
		{32, "", ErrInvalid, UnknownUser},
		{34, "invalid DN", ErrInvalid, UnknownUser},
		{19, "Exceed password retry limit.", ErrInvalid, LockedOut},
		{8, "The server requires binds to turn on integrity checking", ErrUnavailable, ""},
		{13, "", ErrUnavailable, ""},
		{3, "", ErrUnavailable, ""},
		{53, "Account inactivated. Contact system administrator.", ErrInvalid, Refused},
		{50, "", ErrInvalid, Refused},
		{1, "", ErrInvalid, Refused},
		{10, "", ErrInvalid, Refused},
	} {
		err := bindError(&ldapv3.Error{ResultCode: test.code, Err: errors.New(test.text)})
		if !errors.Is(err, test.class) {
			t.Errorf("%d %q is %v", test.code, test.text, err)
		}
		if r, ok := errors.AsType[*Refusal](err); ok != (test.reason != "") || ok && r.Reason != test.reason {
			t.Errorf("%d %q is %v, not %s", test.code, test.text, err, test.reason)
		}
		if strings.ContainsAny(err.Error(), "\x00\n") {
			t.Errorf("%d %q is %q", test.code, test.text, err)
		}
	}
	for _, err := range []error{
		&ldapv3.Error{ResultCode: ldapv3.ErrorNetwork, Err: errors.New("connection timed out")},
		&ldapv3.Error{ResultCode: ldapv3.LDAPResultBusy, Err: errors.New("")},
		&ldapv3.Error{ResultCode: ldapv3.LDAPResultUnavailable, Err: errors.New("shutting down")},
		errors.New("unable to read LDAP response packet: EOF"),
	} {
		if !broken(err) || bindError(err) != err || unavailable(err) != err {
			t.Errorf("%v is taken for an answer", err)
		}
	}
}

// Active Directory: names to bind as that are no DNs, and the reasons of refusals.
func TestActiveDirectory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		d, _ := w.office(t, func(c *Config) {
			c.Kind, c.BindDN, c.PasswordFile, c.UserDN = ActiveDirectory, "", "", `OFFICE\%u`
		})
		w.password[`OFFICE\anna`] = "secret"
		w.refuse[`OFFICE\bert`] = ldapv3.Error{ResultCode: 49, Err: errors.New("80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data 533, v1db1")}
		p, err := d.Check(t.Context(), anna, "secret")
		if err != nil || p.DN != "uid=anna,dc=office" || p.Mailbox.String() != "anna@office.example" {
			t.Errorf("Check says %v, %v", p, err)
		}
		_, err = d.Check(t.Context(), Login{"bert", "office.example"}, "secret")
		if r, ok := errors.AsType[*Refusal](err); !ok || r.Reason != Disabled {
			t.Errorf("Check says %v of a disabled account", err)
		}
		for _, name := range []string{`EVIL\anna`, "anna@evil.example", "cn=anna,dc=office"} {
			if _, err := d.Check(t.Context(), Login{name, "office.example"}, "secret"); !errors.Is(err, ErrNotFound) {
				t.Errorf("Check says %v of %s", err, name)
			}
		}
		if len(w.binds) != 2 {
			t.Errorf("the binds were %q", w.binds)
		}
		d.Close()
	})
}

func TestAmbiguous(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		d, log := w.office(t, nil)
		if _, err := d.Check(t.Context(), anna, "secret"); err != nil {
			t.Fatal(err)
		}
		w.entries["(uid=anna)"] = append(w.entries["(uid=anna)"], map[string]string{"dn": "uid=eve,dc=office", "mail": "anna@office.example"})
		_, err := d.Check(t.Context(), anna, "other")
		if !errors.Is(err, ErrAmbiguous) || !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "uid=eve,dc=office") {
			t.Errorf("Check says %v", err)
		}
		if !strings.Contains(log.String(), "several directory entries match") {
			t.Errorf("the log says %q", log)
		}
		d.Close()
	})
}

func TestEntryWithoutName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		d, _ := w.office(t, nil)
		w.entries["(uid=anna)"] = []map[string]string{{"dn": ""}}
		w.password[""] = "secret"
		if _, err := d.Check(t.Context(), anna, "secret"); !errors.Is(err, ErrUnavailable) {
			t.Errorf("Check says %v", err)
		}
		d.Close()
	})
}

func TestGreedyServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		d, _ := w.office(t, nil)
		w.entries["(uid=anna)"] = []map[string]string{{"dn": "uid=anna,dc=office", "mail": strings.Repeat("x", maxAnswer)}}
		if _, err := d.Find(t.Context(), anna); !errors.Is(err, ErrUnavailable) {
			t.Errorf("Find says %v", err)
		}
		d.Close()
	})
}

// A disabled account must not log in from the cache, whatever result the directory gives. A
// disabled search account is not the user's refusal.
func TestSwitchedOff(t *testing.T) {
	for _, code := range []uint16{1, 50, 53} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld()
			d, _ := w.office(t, nil)
			if _, err := d.Check(t.Context(), anna, "secret"); err != nil {
				t.Fatal(err)
			}
			inactive := ldapv3.Error{ResultCode: code, Err: errors.New("Account inactivated")}
			w.mu.Lock()
			w.refuse["uid=anna,dc=office"] = inactive
			w.mu.Unlock()
			time.Sleep(6 * time.Minute)
			_, err := d.Check(t.Context(), anna, "secret")
			if r, ok := errors.AsType[*Refusal](err); !ok || r.Reason != Refused || !strings.Contains(r.Detail, fmt.Sprintf("result %d,", code)) || !strings.Contains(r.Detail, "inactivated") {
				t.Errorf("Check says %v", err)
			}
			w.set("one", "refused")
			w.set("two", "refused")
			w.cut()
			if _, err := d.Check(t.Context(), anna, "secret"); !errors.Is(err, ErrUnavailable) {
				t.Errorf("without servers Check says %v", err)
			}
			d.Close()
		})
		synctest.Test(t, func(t *testing.T) {
			w := newWorld()
			d, _ := w.office(t, nil)
			w.refuse["cn=search"] = ldapv3.Error{ResultCode: code, Err: errors.New("Account inactivated")}
			if _, err := d.Check(t.Context(), anna, "secret"); !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrInvalid) {
				t.Errorf("Check says %v of the account that searches", err)
			}
			for _, s := range d.Test(t.Context(), Login{}, "") {
				if errors.Is(s.Err, ErrInvalid) {
					t.Errorf("%s: %v", s.What, s.Err)
				}
			}
			d.Close()
		})
	}
}

// An answer may be as large as a large group needs.
func TestLargeAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		d, _ := w.office(t, nil)
		members := make([]string, 2000)
		for i := range members {
			members[i] = fmt.Sprintf("cn=a person with a long name %d,ou=people of the house,ou=headquarters,dc=office,dc=example", i)
		}
		w.entries["(uid=anna)"] = []map[string]string{{"dn": "uid=anna,dc=office", "mail": "anna@office.example", "cn": strings.Join(members, "|")}}
		if _, err := d.Find(t.Context(), anna); err != nil {
			t.Errorf("Find says %v", err)
		}
		d.Close()
	})
}

// If a directory repeats the password, it must not get into an error or the log.
func TestPasswordsAreMasked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		d, log := w.office(t, nil)
		w.refuse["uid=anna,dc=office"] = ldapv3.Error{ResultCode: ldapv3.LDAPResultUnwillingToPerform, Err: errors.New("not with VerySecret77 or VERYSECRET77")}
		_, err := d.Check(t.Context(), Login{User: "anna", Domain: "office.example"}, "VerySecret77")
		steps := d.Test(t.Context(), Login{User: "anna", Domain: "office.example"}, "VerySecret77")
		all := strings.ToLower(fmt.Sprint(err, steps, log.String()))
		if err == nil || strings.Contains(all, "verysecret77") || !strings.Contains(all, "not with *** or ***") {
			t.Error(all)
		}
	})
}
