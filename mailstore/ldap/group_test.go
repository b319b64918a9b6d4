package ldap

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	ldapv3 "github.com/go-ldap/ldap/v3"

	"pillarbox/mailstore/addr"
)

// An unusable group and a directory that does not answer must differ: in the lookup, in the cache,
// in the log, and in Test.
func TestUnusableGroups(t *testing.T) {
	many := make([]string, MaxMembers+1)
	for i := range many {
		many[i] = fmt.Sprintf("m%d@else.example", i)
	}
	deep := make([]map[string]string, 12)
	for i := range deep {
		deep[i] = map[string]string{"dn": fmt.Sprintf("cn=g%d,dc=office", i), "member": fmt.Sprintf("cn=g%d,dc=office", i+1), "mail": "all@office.example"}
	}
	for name, test := range map[string]struct {
		group  map[string]string
		others []map[string]string
		refer  string // a name that another server has
		want   string
	}{
		"many":     {group: map[string]string{"dn": "cn=all,dc=office", "member": strings.Join(many, "|")}, want: "more than 1000 members"},
		"ranged":   {group: map[string]string{"dn": "cn=all,dc=office", "member;range=0-1499": "a@else.example"}, want: "more than 1000 members"},
		"deep":     {group: deep[0], others: deep[1:], want: "more than 8 groups deep"},
		"referral": {group: map[string]string{"dn": "cn=all,dc=office", "member": "cn=x,dc=else"}, refer: "cn=x,dc=else", want: "its member cn=x,dc=else is on another server"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			d, log := w.office(t, func(c *Config) { c.GroupFilter, c.MemberAttrs = "(objectClass=*)", []string{"member"} })
			w.entries["(mail=all@office.example)"] = []map[string]string{test.group}
			w.byDN = map[string]map[string]string{}
			for _, e := range append(test.others, test.group) {
				w.byDN[e["dn"]] = e
			}
			w.refers = test.refer
			a, _ := addr.Parse("all@office.example")
			var searches int
			for range 3 {
				_, err := d.Address(t.Context(), a)
				if !errors.Is(err, ErrUnusable) || errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), test.want) {
					t.Fatal(err)
				}
				if searches == 0 {
					searches = len(w.searches)
				}
			}
			if len(w.searches) != searches {
				t.Errorf("%d searches, then %d more", searches, len(w.searches)-searches)
			}
			if !strings.Contains(log.String(), test.want) {
				t.Errorf("log: %s", log.String())
			}
			steps := d.Test(t.Context(), Login{User: "all", Domain: "office.example"}, "")
			if last := steps[len(steps)-1]; last.What != "find the group all@office.example" || last.Err == nil || !strings.Contains(last.Err.Error(), test.want) {
				t.Errorf("trial: %+v", steps)
			}
			if s := d.Servers()[0]; s.Down {
				t.Errorf("the server counts as down: %+v", s)
			}
		})
	}
	// A whole search that gets a referral may succeed on the next server.
	if err := unavailable(&ldapv3.Error{ResultCode: ldapv3.LDAPResultReferral, Err: errors.New("x")}); !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUnusable) {
		t.Error(err)
	}
}
