package admin

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pillarbox/cmd/internal/audit"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
)

type auditEvent = audit.Event

// lines formats events as "object before after".
func auditLines(all []audit.Event) []string {
	var lines []string
	for _, e := range all {
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s %s>%s %s", e.Object, e.Before, e.After, e.Next)))
	}
	return lines
}

// TestAuditOfVerbs checks the record of each verb: the change, its consequences and the actor.
func TestAuditOfVerbs(t *testing.T) {
	root := office(t)
	o := root.By(Actor{Who: "root (sudo by carol)", From: "command line", Act: "test"})
	verbs := []struct {
		name string
		do   func() (Change, error)
		want []string
	}{
		{"domain", func() (Change, error) { return o.AddDomain("office.example") }, []string{"office.example >{}"}},
		{"lock", func() (Change, error) { return o.LockDomain("office.example") }, []string{`office.example {}>{"locked":true}`}},
		{"locked again", func() (Change, error) { return o.LockDomain("office.example") }, []string{"office.example {}>{}"}},
		{"unlock", func() (Change, error) { return o.UnlockDomain("office.example") }, []string{`office.example {"locked":true}>{}`}},
		{"quota", func() (Change, error) {
			c, err := o.AddMailbox("boss", NewMailbox{})
			must(t, c, err)
			return o.SetQuota("boss", "1GB")
		}, []string{"", `boss@office.example {}>{"quota":1000000000}`}},
		{"alias", func() (Change, error) { return o.AddAlias("info", "boss") }, []string{`info@office.example >{"alias":"boss@office.example"}`}},
		{"group", func() (Change, error) { return o.AddGroup("all", "boss", "info") },
			[]string{`all@office.example >{"group":{"members":["boss@office.example","info@office.example"]}}`}},
		{"accept", func() (Change, error) { return o.SetGroupAccept("all", "inside") },
			[]string{`all@office.example {"group":{}}>{"group":{"accept":"inside"}}`}},
		{"rename", func() (Change, error) { return o.RenameMailbox("boss", "chief") }, []string{
			`boss@office.example {"address":"boss@office.example"}>{"address":"chief@office.example"} chief@office.example`,
			`info@office.example {"alias":"boss@office.example"}>{"alias":"chief@office.example"}`,
			`all@office.example {"group":{"members":["boss@office.example"]}}>{"group":{"members":["chief@office.example"]}}`,
		}},
		{"device", func() (Change, error) {
			return o.AddDevice(NewDevice{Name: "scanner", IPs: []string{"198.51.100.7"}, MaySendTo: "local"})
		}, []string{`device scanner >{"may_send_to":"local","name":"scanner","networks":["198.51.100.7/32"]}`}},
		{"operator", func() (Change, error) { return o.AddOperator(NewOperator{Name: "unix:root"}) },
			[]string{`operator unix:root >{"all":true,"name":"unix:root"}`}},
		{"no operator", func() (Change, error) { return o.RemoveOperator("unix:root") },
			[]string{`operator unix:root {"all":true,"name":"unix:root"}>`}},
		{"catch-all", func() (Change, error) { return o.SetCatchAll("office.example", "chief") },
			[]string{`office.example {}>{"catch_all":"chief@office.example"}`}},
	}
	for _, v := range verbs {
		before := len(allEvents(t, o))
		c, err := v.do()
		must(t, c, err)
		events := allEvents(t, o)[before:]
		got := auditLines(events)
		for i := range min(len(got), len(v.want)) {
			if v.want[i] == "" {
				got[i] = "" // not of interest
			}
		}
		if !slices.Equal(got, v.want) {
			t.Errorf("%s:\ngot  %s\nwant %s", v.name, strings.Join(got, "\n     "), strings.Join(v.want, "\n     "))
		}
		for _, e := range events {
			if e.Who != "root (sudo by carol)" || e.From != "command line" || e.Act != "test" || time.Since(e.Time) > time.Minute {
				t.Errorf("%s: %+v", v.name, e)
			}
		}
	}
	// Acts of the server itself.
	if err := root.Dir.UpdateAccount(mustAddress(t, o, "chief"), func(a *directory.Account) error { a.Held = true; return nil }); err != nil {
		t.Fatal(err)
	}
	if all := allEvents(t, o); all[len(all)-1].Who != "server" || string(all[len(all)-1].After) != `{"held":true}` {
		t.Errorf("held: %+v", all[len(all)-1])
	}
}

func allEvents(t *testing.T, o *Service) []audit.Event {
	t.Helper()
	all, damaged, err := o.Audit(AuditQuestion{})
	if err != nil || damaged > 0 {
		t.Fatal(damaged, err)
	}
	return all
}

// The log contains no secret: not a new or changed one, nor one of a removed mailbox.
func TestAuditHasNoSecrets(t *testing.T) {
	o := office(t)
	c, err := o.AddDomain("office.example")
	must(t, c, err)
	const first, second = "first-Pass-word-1", "second-Pass-word-2"
	c, err = o.AddMailbox("anna", NewMailbox{Password: first, Store: directory.SecretKinds()})
	must(t, c, err)
	c, err = o.SetPassword("anna", second)
	must(t, c, err)
	box, err := o.mailbox("anna")
	if err != nil {
		t.Fatal(err)
	}
	c, err = o.RemoveMailbox("anna")
	must(t, c, err)
	text, err := os.ReadFile(filepath.Join(o.Root.Name(), "audit.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{first, second, "$argon2id", box.Account.Verifier, "sealed"} {
		if secret == "" || strings.Contains(string(text), secret) {
			t.Errorf("%q is in the log:\n%s", secret, text)
		}
	}
	if !strings.Contains(string(text), `"verifier":"changed"`) || !strings.Contains(string(text), `"verifier":"set"`) {
		t.Errorf("the password's changes are not in the log:\n%s", text)
	}
}

// A new member of the account must be in secretOf or in this list of members that the audit log may
// contain.
func TestEveryMemberIsOpenOrSecret(t *testing.T) {
	secret := []string{"verifier", "secrets", "password_history", "app_verifiers", "factor_secrets", "recovery_codes", "reset"}
	for _, name := range jsonNames(reflect.TypeFor[directory.Account]()) {
		if secretOf(name) != slices.Contains(secret, name) {
			t.Errorf("%s of an account: is it a secret?", name)
		}
	}
	for _, name := range jsonNames(reflect.TypeFor[directory.DomainFile]()) {
		if name != "aliases" && name != "groups" && secretOf(name) {
			t.Errorf("%s of a domain: is it a secret?", name)
		}
	}
}

func jsonNames(t reflect.Type) (names []string) {
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			names = append(names, jsonNames(f.Type)...)
		default:
			names = append(names, name)
		}
	}
	return names
}

// An act that cannot be recorded is still done, and the failure is reported.
func TestAuditThatFails(t *testing.T) {
	o := office(t)
	if err := os.Mkdir(filepath.Join(o.Root.Name(), "audit.log"), 0o700); err != nil {
		t.Fatal(err)
	}
	var told []error
	o.OnAuditFailure(func(err error) { told = append(told, err) })
	c, err := o.By(Actor{Who: "carol"}).AddDomain("office.example")
	must(t, c, err)
	if len(told) != 1 || !strings.Contains(told[0].Error(), "not recorded in the audit log") {
		t.Errorf("told: %v", told)
	}
}

func TestAuditQuestion(t *testing.T) {
	o := office(t)
	for _, who := range []string{"root (sudo by Carol)", "dave"} {
		for _, object := range []string{"a.example", "b.example"} {
			o.By(Actor{Who: who}).Record(object, nil, nil)
		}
	}
	o.By(Actor{Who: "eve"}).RecordRefusal(o.As(Operator{Name: "eve"}).RequireAll(true))
	o.By(Actor{Who: "eve"}).RecordRefusal(errors.New("something else"))
	for _, tt := range []struct {
		AuditQuestion
		want string
	}{
		{AuditQuestion{}, "root (sudo by Carol) a.example; root (sudo by Carol) b.example; dave a.example; dave b.example; eve !"},
		{AuditQuestion{By: "carol"}, "root (sudo by Carol) a.example; root (sudo by Carol) b.example"},
		{AuditQuestion{Object: "A.example"}, "root (sudo by Carol) a.example; dave a.example"},
		{AuditQuestion{Limit: 2}, "dave b.example; eve !"},
		{AuditQuestion{Since: time.Now().Add(time.Hour)}, ""},
	} {
		all, _, err := o.Audit(tt.AuditQuestion)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range all {
			line := e.Who + " " + e.Object
			if e.Refused != "" {
				line += "!"
			}
			got = append(got, line)
		}
		if strings.Join(got, "; ") != tt.want {
			t.Errorf("%+v: %s", tt.AuditQuestion, strings.Join(got, "; "))
		}
	}
}

func mustAddress(t *testing.T, o *Service, name string) addr.Address {
	t.Helper()
	a, err := o.ParseUser(name)
	if err != nil {
		t.Fatal(err)
	}
	return a
}
