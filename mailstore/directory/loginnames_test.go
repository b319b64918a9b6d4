package directory

import (
	"errors"
	"strings"
	"testing"
)

func TestLoginByOtherNames(t *testing.T) {
	d, _ := newElsewhere(t)
	for _, name := range []string{"john", "jane", "zoe", "anna"} {
		if _, err := d.AddMailbox(at(name+"@office.example"), Account{}); err != nil {
			t.Fatal(err)
		}
	}
	must(t, d.AddAlias(at("sales@office.example"), at("john@office.example")))
	must(t, d.AddAlias(at("shop@office.example"), at("sales@office.example")))
	must(t, d.AddAlias(at("away@office.example"), at("x@far.example")))
	must(t, d.AddGroup(at("team@office.example"), nil))
	must(t, d.AddAlias(at("all@office.example"), at("team@office.example")))
	for name, full := range map[string]string{"john": "John  Doe", "jane": "Jane Roe", "zoe": "JANE ROE", "anna": "john"} {
		others, err := d.SetFullName(at(name+"@office.example"), full)
		if err != nil || len(others) > 1 {
			t.Fatalf("%s: %v, %v", name, others, err)
		}
	}
	const unknown = ""
	for name, want := range map[string][3]string{ // by mailbox, alias, name
		"john":                 {"john@office.example", "john@office.example", "john@office.example"}, // the mailbox, not anna's full name
		"sales":                {unknown, "john@office.example", "john@office.example"},
		"Shop@office.example":  {unknown, "john@office.example", "john@office.example"},
		`OFFICE\sales`:         {unknown, "john@office.example", "john@office.example"},
		"John Doe":             {unknown, unknown, "john@office.example"},
		"  john   DOE ":        {unknown, unknown, "john@office.example"},
		`OFFICE\John Doe`:      {unknown, unknown, "john@office.example"},
		`CORP\John Doe`:        {unknown, unknown, unknown}, // another domain
		"jane roe":             {unknown, unknown, unknown}, // two mailboxes have it
		"Nobody Known":         {unknown, unknown, unknown},
		"away":                 {unknown, unknown, unknown},
		"all":                  {unknown, unknown, unknown},
		"team":                 {unknown, unknown, unknown},
		"":                     {unknown, unknown, unknown},
		"John Doe@far.example": {unknown, unknown, unknown},
	} {
		for i, names := range []LoginNames{LoginByMailbox, LoginByAlias, LoginByName} {
			opts := *d.opts.Load()
			opts.LoginNames = names
			d.SetOptions(opts)
			box, err := d.Login(name)
			if want[i] == unknown && !errors.Is(err, ErrNotFound) || want[i] != unknown && (err != nil || box.Address.String() != want[i]) {
				t.Errorf("%q by %s: %v, %v, want %q", name, names, box.Address, err, want[i])
			}
		}
	}
}

// A full name follows its mailbox, and goes with it.
func TestFullNameFollows(t *testing.T) {
	d, _ := newElsewhere(t)
	opts := *d.opts.Load()
	opts.LoginNames = LoginByName
	d.SetOptions(opts)
	boss, next := at("boss@office.example"), at("chief@office.example")
	_, err := d.SetFullName(boss, "The Boss")
	must(t, err)
	must(t, d.RenameMailbox(boss, next))
	if box, err := d.Login("the boss"); err != nil || box.Address != next {
		t.Errorf("%v, %v", box.Address, err)
	}
	_, err = d.SetFullName(next, "Her Name")
	must(t, err)
	if _, err := d.Login("the boss"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	must(t, d.RemoveMailbox(next))
	file, err := d.Domain("office.example")
	if err != nil || len(file.Names) > 0 {
		t.Errorf("%v, %v", file.Names, err)
	}
	if _, err := d.SetFullName(next, "x"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	for _, bad := range []string{" ", "a@b", `a\b`, "a\x00", strings.Repeat("x", 101), "\xff"} {
		if name, err := ParseFullName(bad); !errors.Is(err, ErrFullName) {
			t.Errorf("%q: %q, %v", bad, name, err)
		}
	}
}
