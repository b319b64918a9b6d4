package admin

import (
	"encoding/json"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"

	"pillarbox/mailstore/addr"
)

// inputs name something in a domain, "%", for each verb that asks for the right to a domain. With
// "" the verb names none: it leaves out what the caller may not see.
var inputs = map[string]string{
	"domain list": "", "domain show": `"%"`, "domain catch-all": `{"Name": "%", "Value": "anna@%"}`,
	"mailbox add": `{"User": "new@%"}`, "mailbox remove": `{"User": "anna@%", "Sure": true}`, "mailbox list": `"%"`,
	"mailbox find": `{"Domain": "%"}`,
	"mailbox show": `"anna@%"`, "mailbox passwd": `{"User": "anna@%", "Password": "x4-y5-z6-w7"}`,
	"mailbox secrets": `{"Name": "anna@%", "Members": ["none"]}`, "mailbox migrate-auth": `{"User": "anna@%", "Method": "file"}`,
	"mailbox add-many": `{"List": "address\nnew@%\n"}`,
	"mailbox name":     `{"Name": "anna@%", "Value": "Anna Lee"}`,
	"mailbox access":   `{"Name": "anna@%", "Value": "pop3"}`,
	"mailbox lock":     `"anna@%"`, "mailbox unlock": `"anna@%"`, "mailbox rename": `{"Name": "anna@%", "Value": "x"}`,
	"mailbox stat": `"anna@%"`, "mailbox forward": `{"User": "anna@%"}`, "mailbox quota": `{"Name": "anna@%", "Value": "none"}`,
	"mailbox logins":           `"anna@%"`,
	"mailbox app-password add": `{"User": "anna@%", "Name": "phone"}`, "mailbox app-password list": `"anna@%"`,
	"mailbox app-password remove": `{"Name": "anna@%", "Value": "phone"}`,
	"mailbox second-factor show":  `"anna@%"`, "mailbox second-factor remove": `{"Name": "anna@%"}`,
	"mailbox reset-link": `"anna@%"`,
	"domain footer":      `{"Domain": "%", "Text": "x"}`, "domain archive": `{"Name": "%", "Value": "anna@%"}`,
	"mailbox archive": `{"Name": "anna@%", "Value": "carl@%"}`, "mailbox rules show": `"anna@%"`,
	"mailbox rules add": `{"User": "anna@%", "Do": "keep"}`, "mailbox rules remove": `{"User": "anna@%", "Number": 1}`,
	"mailbox rules move": `{"User": "anna@%", "Number": 1, "To": 1}`, "mailbox rules test": `{"User": "anna@%"}`,
	"mailbox absence show": `"anna@%"`, "mailbox absence set": `{"User": "anna@%", "Text": "x"}`, "mailbox absence off": `"anna@%"`,
	"quota set": `{"Target": "anna@%", "Size": "none"}`, "quota show": `"%"`, "quota list": `{"Domain": "%"}`,
	"retention show": `"%"`, "retention set": `{"Target": "anna@%", "After": "1", "Sure": true}`,
	"undelete list": `{"Target": "%"}`, "undelete show": `{"User": "anna@%", "Limit": 9}`, "undelete restore": `{"User": "anna@%", "All": true}`, "undelete purge": `{"User": "anna@%", "Sure": true}`,
	"retention run": `{"Target": "anna@%", "Delete": true}`,
	"alias add":     `{"Name": "x@%", "Value": "anna@%"}`, "alias remove": `"x@%"`, "alias list": `"%"`,
	"group add": `{"Name": "x@%"}`, "group remove": `"staff@%"`, "group list": `"%"`, "group show": `"staff@%"`,
	"group member add": `{"Name": "staff@%", "Members": ["carl@%"]}`, "group member remove": `{"Name": "staff@%", "Members": ["anna@%"]}`,
	"group accept": `{"Name": "staff@%", "Value": "inside"}`,
	"sendas grant": `{"Name": "carl@%", "Value": "anna@%"}`, "sendas revoke": `{"Name": "carl@%", "Value": "anna@%"}`, "sendas list": `"anna@%"`,
	"dkim create": `{"Domain": "%"}`, "dkim show": `"%"`, "dkim rotate": `{"Domain": "%"}`,
	"dkim remove":      `{"Domain": "%", "Selector": "x", "Sure": true}`,
	"tls client-certs": `"anna@%"`, "tls client-revoke": `{"User": "anna@%", "Fingerprint": "ab"}`,
	"tls export-ca": "", // the CA is public: every client may see it
	"check":         `{"Target": "%", "Repair": false}`, "audit": "",
	"dns":          `{"Domain": "%"}`,
	"stats":        `{"Domain": "%"}`,
	"client-setup": `{"User": "anna@%", "For": "text"}`,
	"settings":     `"anna@%"`, "winpop stat": "", "winpop stat domain": `"%"`,
}

// Every verb gives a caller what its permission says, and no more.
func TestPermissions(t *testing.T) {
	const ours, theirs = addr.Domain("ours.example"), addr.Domain("theirs.example")
	grant := func(g Grant) Operator { return Operator{Name: "op", Grants: []Grant{g}} }
	none, one := Operator{Name: "op"}, grant(Grant{Domains: []addr.Domain{ours}})
	oneReads, allRead := grant(Grant{Domains: []addr.Domain{ours}, ReadOnly: true}), grant(Grant{All: true, ReadOnly: true})
	o := town(t)
	refused := func(v Command, op Operator, input string, want bool) {
		t.Helper()
		_, err := v.Call(t.Context(), o.For(Caller{Operator: &op}), json.RawMessage(input))
		if errors.Is(err, ErrArguments) || errors.Is(err, ErrNotPermitted) != want {
			t.Errorf("%s %s for an operator of %s: %v", v.Name(), input, op.Scope(), err)
		}
	}
	for _, v := range Verbs() {
		switch p := v.Permission(); p {
		case SeesAll:
			refused(v, none, "null", true)
			refused(v, one, "null", true)
			refused(v, allRead, "null", false)
		case ChangesAll:
			refused(v, none, "null", true)
			refused(v, one, "null", true)
			refused(v, allRead, "null", true)
		case RootOnly:
			refused(v, none, "null", true)
			refused(v, Everything("op"), "null", true)
		case SeesDomain, ChangesDomain:
			input, ok := inputs[v.Name()]
			if !ok {
				t.Errorf("%s has no input in this test", v.Name())
			}
			if input == "" {
				continue
			}
			in := func(d addr.Domain) string { return strings.ReplaceAll(input, "%", string(d)) }
			refused(v, none, in(ours), true)
			refused(v, one, in(theirs), true)
			refused(v, allRead, in(ours), p == ChangesDomain)
			refused(v, oneReads, in(ours), p == ChangesDomain)
		default:
			t.Errorf("%s has no permission", v.Name())
		}
	}
	if all, err := o.As(none).ListDomains(); err != nil || len(all) > 0 {
		t.Errorf("a non-operator sees %v, %v", all, err)
	}
	if all, _, err := o.As(none).Audit(AuditQuestion{}); err != nil || len(all) > 0 {
		t.Errorf("a non-operator sees %v, %v", all, err)
	}
}

// Every verb that is declared can be found, by a name of its own.
func TestVerbs(t *testing.T) {
	text, err := os.ReadFile("verbs.go")
	if err != nil {
		t.Fatal(err)
	}
	declared := regexp.MustCompile(`(?m)^\t\w+ += (longVerb|verb)\("`).FindAll(text, -1)
	names := make(map[string]bool)
	for _, v := range Verbs() {
		names[v.Name()] = true
	}
	if len(declared) != len(Verbs()) || len(names) != len(Verbs()) {
		t.Errorf("%d verbs are declared, and Verbs has %d with %d names", len(declared), len(Verbs()), len(names))
	}
}

// A verb that asks changes nothing before it is sure.
func TestConfirm(t *testing.T) {
	o := town(t)
	for name, do := range map[string]func(sure bool) error{
		"Remove the mailbox anna@ours.example with its 0 messages (0 B)?": func(sure bool) error {
			return ask(o, MailboxRemove, MailboxToRemove{User: "anna@ours.example", Sure: sure})
		},
		"Remove the domain theirs.example with 3 mailboxes and their 0 messages (0 B)?": func(sure bool) error {
			return ask(o, DomainRemove, DomainToRemove{Name: "theirs.example", WithMailboxes: true, Sure: sure})
		},
		"Let ours.example delete mail after 1 day?": func(sure bool) error {
			return ask(o, RetentionSet, RetentionToSet{Target: "ours.example", RetentionChange: RetentionChange{After: "1"}, Sure: sure})
		},
	} {
		for range 2 {
			if err := do(false); !errors.Is(err, ErrConfirm) || err.Error() != name {
				t.Errorf("%v, want %s", err, name)
			}
		}
		if err := do(true); err != nil {
			t.Errorf("%s %v", name, err)
		}
	}
}
