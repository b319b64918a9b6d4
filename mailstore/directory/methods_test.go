package directory

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/durable"
)

// elsewhere is a test double for an LDAP directory.
type elsewhere struct {
	logins    map[string]Person
	addresses map[string]Person
	err       error
}

func (e *elsewhere) Login(user, domain string) (Person, error) { return e.find(e.logins, user) }

func (e *elsewhere) Address(a addr.Address) (Person, error) { return e.find(e.addresses, a.String()) }

func (e *elsewhere) find(in map[string]Person, name string) (Person, error) {
	if e.err != nil {
		return Person{}, e.err
	}
	p, ok := in[name]
	if !ok {
		return p, fmt.Errorf("%s: %w", name, ErrNotFound)
	}
	return p, nil
}

func at(s string) addr.Address {
	a, err := addr.Parse(s)
	if err != nil {
		panic(err)
	}
	return a
}

// newElsewhere is an office with two domains: office.example has its own users, and those of
// corp.example are in an external directory.
func newElsewhere(t *testing.T) (*Directory, *elsewhere) {
	t.Helper()
	root, err := durable.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	smith := Person{Mailbox: at("anna.smith@corp.example"), Aliases: []addr.Address{at("anna@corp.example"), at("boss@office.example"), at("x@far.example")}, Quota: 1000}
	people := &elsewhere{
		logins: map[string]Person{"asmith": smith, "guest": {Mailbox: at("boss@office.example")}},
		addresses: map[string]Person{
			"anna.smith@corp.example": smith, "anna@corp.example": smith,
			"all@corp.example": {Members: []addr.Address{at("anna@corp.example"), at("boss@office.example")}},
		},
	}
	d := New(root, Options{DefaultDomain: "office.example", First: "corp", Lookups: map[string]Lookup{
		"corp": {People: people, AtDelivery: true, AtLogin: true, NetBIOS: []string{"CORPORATION"}},
	}})
	for _, err := range []error{d.AddDomain("office.example"), d.AddDomain("corp.example"),
		d.UpdateDomain("corp.example", func(f *DomainFile) error { f.Method = ByDirectory; return nil })} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.AddMailbox(at("boss@office.example"), Account{}); err != nil {
		t.Fatal(err)
	}
	return d, people
}

func TestParseMethod(t *testing.T) {
	for _, good := range []string{"file", "system", "directory", "directory:corp"} {
		if m, err := ParseMethod(good); err != nil || string(m) != good {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "File", "ldap", "directory:", "directory:a:b", "directory:a b", "file:x"} {
		if m, err := ParseMethod(bad); !errors.Is(err, ErrMethod) {
			t.Errorf("%q: %q, %v", bad, m, err)
		}
	}
}

func TestListAt(t *testing.T) {
	d, _ := newElsewhere(t)
	must(t, d.AddAlias(at("everyone@office.example"), at("all@corp.example")))
	must(t, d.AddGroup(at("team@office.example"), nil))
	for name, want := range map[string]int{
		"all@corp.example": 2, "everyone@office.example": 2, "team@office.example": -1, "boss@office.example": -1,
		"anna@corp.example": -1, "none@corp.example": -1, "x@far.example": -1,
	} {
		members, ok, err := d.ListAt(at(name))
		if err != nil || ok != (want >= 0) || len(members) != max(0, want) {
			t.Errorf("%s: %v, %v, %v", name, members, ok, err)
		}
	}
}

func TestLoginNames(t *testing.T) {
	d, _ := newElsewhere(t)
	for name, want := range map[string]string{
		"boss":                            "boss@office.example",
		"boss@office.example":             "boss@office.example",
		`office.example\boss`:             "boss@office.example",
		`OFFICE\boss`:                     "boss@office.example",
		`WORKSTATION7\boss`:               "boss@office.example",
		`.\boss`:                          "boss@office.example",
		`\boss`:                           "boss@office.example",
		`CORP\boss@office.example`:        "boss@office.example",
		`CORP\asmith`:                     "anna.smith@corp.example",
		`corporation\asmith`:              "anna.smith@corp.example",
		`corp.example\asmith`:             "anna.smith@corp.example",
		"asmith@corp.example":             "anna.smith@corp.example",
		"asmith":                          "", // not in the default domain
		`CORP\guest`:                      "", // a mailbox whose password is not the directory's
		`CORP\nobody`:                     "",
		`office.example\asmith`:           "",
		`CORP\`:                           "",
		`a\b\c`:                           "",
		"anna.smith@corp.example@evil":    "",
		"../boss":                         "",
		`CORP\../../office.example/P3_x.`: "",
	} {
		box, err := d.Login(name)
		if got := box.Address.String(); want == "" && !errors.Is(err, ErrNotFound) || want != "" && (err != nil || got != want) {
			t.Errorf("%s: %s, %v; want %q", name, got, err, want)
		}
	}
}

func TestPersonIsMade(t *testing.T) {
	d, people := newElsewhere(t)
	box, err := d.Login("asmith@corp.example")
	if err != nil || !box.New || box.Method != "directory:corp" || box.Login != at("asmith@corp.example") {
		t.Fatalf("%+v, %v", box, err)
	}
	made, err := d.Make(box)
	if err != nil || made.New || made.Dir != box.Dir || made.Login != box.Login {
		t.Errorf("%+v, %v", made, err)
	}
	if err := d.UpdateAccount(box.Address, func(a *Account) error { a.Method = ByFile; return nil }); err != nil {
		t.Fatal(err)
	}
	if taken, err := d.Make(box); !errors.Is(err, ErrExists) {
		t.Errorf("a mailbox with a password of its own is handed over: %+v, %v", taken, err)
	}
	if err := d.UpdateAccount(box.Address, func(a *Account) error { a.Method = ""; return nil }); err != nil {
		t.Fatal(err)
	}
	if again, err := d.Make(box); err != nil || again.Address != box.Address {
		t.Errorf("made by somebody else meanwhile: %+v, %v", again, err)
	}
	if box, err := d.Login("asmith@corp.example"); err != nil || box.New {
		t.Errorf("%+v, %v", box, err)
	}
	// Now that the mailbox exists, its user can log in by its name without a lookup. Whether
	// the password can be checked is another question.
	people.err = errors.New("down")
	if box, err := d.Login("anna.smith@corp.example"); err != nil || box.New {
		t.Errorf("%+v, %v", box, err)
	}
	if _, err := d.Login("asmith@corp.example"); err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("a directory that is down knows: %v", err)
	}
}

func TestResolvePeople(t *testing.T) {
	d, people := newElsewhere(t)
	boxes := func(name string) (all []string) {
		t.Helper()
		res, err := d.Resolve(at(name))
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range res.Mailboxes {
			all = append(all, b.Address.String())
		}
		return all
	}
	smith := []string{"anna.smith@corp.example"}
	for name, want := range map[string][]string{
		"anna.smith@corp.example": smith, "Anna@corp.example": smith,
		"all@corp.example": {"anna.smith@corp.example", "boss@office.example"}, "nobody@corp.example": nil,
	} {
		if got := boxes(name); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	opts := *d.opts.Load()
	opts.PlusSeparator = "+"
	d.SetOptions(opts)
	if got := boxes("anna+x@corp.example"); !slices.Equal(got, smith) {
		t.Errorf("plus addressing: %v", got)
	}
	lookup := opts.Lookups["corp"]
	lookup.AtDelivery = false
	opts.Lookups = map[string]Lookup{"corp": lookup}
	d.SetOptions(opts)
	if got := boxes("anna@corp.example"); got != nil {
		t.Errorf("a mailbox that is not made at delivery: %v", got)
	}
	people.err = errors.New("down")
	if res, err := d.Resolve(at("anna@corp.example")); err == nil {
		t.Errorf("the directory is down, and the answer is %v", res.Kind)
	}
	if got := boxes("boss@office.example"); len(got) != 1 {
		t.Errorf("the other domain suffers: %v", got)
	}
}

func TestPersonRights(t *testing.T) {
	d, people := newElsewhere(t)
	box, err := d.Login("asmith@corp.example")
	if err == nil {
		box, err = d.Make(box)
	}
	if err != nil {
		t.Fatal(err)
	}
	own, err := d.OwnAddresses(box)
	if want := []addr.Address{at("anna@corp.example")}; err != nil || !slices.Equal(own, want) {
		t.Errorf("may send as %v, %v; want %v: not another's mailbox, and nothing elsewhere", own, err, want)
	}
	if q := d.PersonQuota(box); q != 1000 {
		t.Errorf("quota %d", q)
	}
	if rights, err := d.RightsOf(box, true); err != nil || !slices.Equal(rights.Own, own) {
		t.Errorf("the rights are %+v, %v", rights, err)
	}
	people.err = errors.New("down")
	if q := d.PersonQuota(box); q != 0 {
		t.Errorf("quota %d from a directory that is down", q)
	}
	if _, err := d.OwnAddresses(box); err == nil {
		t.Error("nothing can be known of the addresses, and it is not said")
	}
	if rights, err := d.RightsOf(box, true); err != nil || len(rights.Own) != 0 || !rights.Outside {
		t.Errorf("while the directory is down the rights are %+v, %v; want those that files give", rights, err)
	}
}

func TestStoredKinds(t *testing.T) {
	d, _ := newElsewhere(t)
	if sets, err := d.StoredKinds(); err != nil || len(sets) != 0 {
		t.Errorf("%v, %v", sets, err)
	}
	if err := d.UpdateAccount(at("boss@office.example"), func(a *Account) error {
		a.Verifier = "x"
		a.Secrets = Secrets{Kinds: []SecretKind{SecretSPA}, Sealed: []byte("x")}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if sets, err := d.StoredKinds(); err != nil || !slices.ContainsFunc(sets, func(s []SecretKind) bool { return slices.Equal(s, []SecretKind{SecretSPA}) }) {
		t.Errorf("%v, %v", sets, err)
	}
}

// Any form of the login name means a mailbox in its domain's directory, or none. The address of an
// existing mailbox means that mailbox.
func FuzzLogin(f *testing.F) {
	for _, seed := range []string{"anna", "anna@office.example", `OFFICE\anna`, `a\b\c`, "../../x", `"a b"@office.example`, "\x00", "ä@office.example", `\`, "@", `CORP\@`} {
		f.Add(seed)
	}
	root, err := durable.Open(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	defer root.Close()
	people := &elsewhere{logins: map[string]Person{"asmith": {Mailbox: at("anna.smith@corp.example")}}}
	d := New(root, Options{DefaultDomain: "office.example", First: "corp", Lookups: map[string]Lookup{"corp": {People: people, AtLogin: true}}})
	for _, domain := range []addr.Domain{"office.example", "corp.example"} {
		if err := d.AddDomain(domain); err != nil {
			f.Fatal(err)
		}
	}
	if err := d.UpdateDomain("corp.example", func(file *DomainFile) error { file.Method = ByDirectory; return nil }); err != nil {
		f.Fatal(err)
	}
	if _, err := d.AddMailbox(at("anna@office.example"), Account{}); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, name string) {
		box, err := d.Login(name)
		if errors.Is(err, ErrNotFound) {
			return
		}
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		if a, ok := AddressAt(box.Dir); !ok || a != box.Address || (a != at("anna@office.example") && a != at("anna.smith@corp.example")) {
			t.Errorf("%q is %s in %s", name, box.Address, box.Dir)
		}
		if again, err := d.Login(box.Address.String()); box.New == (err == nil) || !box.New && again.Address != box.Address {
			t.Errorf("%q is %s, which is %s, %v", name, box.Address, again.Address, err)
		}
	})
}
