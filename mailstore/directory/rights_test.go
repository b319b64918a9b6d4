package directory

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pillarbox/mailstore/addr"
)

// texts formats addresses without the usual domain.
func texts(all []addr.Address) string {
	var words []string
	for _, one := range all {
		words = append(words, strings.TrimSuffix(one.String(), "@office.example"))
	}
	return strings.Join(words, " ")
}

func (d *Directory) box(t testing.TB, name string) Mailbox {
	t.Helper()
	box, err := d.Mailbox(a(t, name))
	must(t, err)
	return box
}

func (d *Directory) own(t testing.TB, name string) string {
	t.Helper()
	own, err := d.OwnAddresses(d.box(t, name))
	must(t, err)
	return texts(own)
}

func (d *Directory) groups(t testing.TB, name string) string {
	t.Helper()
	groups, err := d.GroupsOf(d.box(t, name))
	must(t, err)
	return texts(groups)
}

// say changes the settings of a group.
func (d *Directory) say(t testing.TB, group string, outside, inbound *bool) {
	t.Helper()
	must(t, d.UpdateGroup(a(t, group), func(g *Group) { g.Outside, g.Inbound = outside, inbound }))
}

// rightsOffice has the mailboxes anna, boss and carl and the aliases info, chief and sales. Group
// team holds anna and, by an alias, boss; all holds team, and team holds all.
func rightsOffice(t testing.TB) (*Directory, string) {
	d, dir := open(t, Options{PlusSeparator: "+"})
	must(t, d.AddDomain("office.example"), d.AddDomain("second.example"))
	d.add(t, "anna", "boss", "carl")
	must(t,
		d.AddAlias(a(t, "Info"), a(t, "Anna")),
		d.AddAlias(a(t, "sales@second.example"), a(t, "anna")),
		d.AddAlias(a(t, "help"), a(t, "info")),
		d.AddAlias(a(t, "lists"), a(t, "anna+lists")),
		d.AddAlias(a(t, "chief"), a(t, "boss")),
		d.AddGroup(a(t, "team"), []addr.Address{a(t, "ANNA"), a(t, "chief"), a(t, "x@remote.example")}),
		d.AddGroup(a(t, "all"), []addr.Address{a(t, "team")}),
		d.AddMember(a(t, "team"), a(t, "all")),
		d.AddAlias(a(t, "everybody"), a(t, "all")),
	)
	return d, dir
}

func TestOwnAddresses(t *testing.T) {
	d, dir := rightsOffice(t)
	must(t, d.GrantSendAs(a(t, "anna"), a(t, "Team")), d.GrantSendAs(a(t, "anna"), a(t, "Anna.Berger@remote.example")))
	for name, want := range map[string]string{
		"anna": "anna.berger@remote.example info lists sales@second.example team", // not help: it is an alias of info
		"boss": "chief",
		"carl": "",
	} {
		if got := d.own(t, name); got != want {
			t.Errorf("%s may send as %q, want %q", name, got, want)
		}
	}
	// A mailbox created by hand with the name of an alias is another mailbox.
	must(t, os.Mkdir(filepath.Join(dir, "mailbox/office.example/P3_chief.mbx"), 0o700))
	if got := d.own(t, "boss"); got != "" {
		t.Errorf("boss may send as %q, which is a mailbox", got)
	}
}

func TestGrants(t *testing.T) {
	d, _ := rightsOffice(t)
	grants := func(want string) {
		t.Helper()
		if got := texts(d.box(t, "anna").Account.SendAs); got != want {
			t.Errorf("anna is granted %q, want %q", got, want)
		}
	}
	must(t, d.GrantSendAs(a(t, "anna"), a(t, "BOSS")), d.GrantSendAs(a(t, "anna"), a(t, "chief")), d.GrantSendAs(a(t, "anna"), a(t, "team")))
	grants("boss chief team")
	if err := d.GrantSendAs(a(t, "anna"), a(t, "boss")); !errors.Is(err, ErrExists) {
		t.Errorf("a grant twice: %v", err)
	}
	if err := d.GrantSendAs(a(t, "anna"), a(t, "nobody")); !errors.Is(err, ErrNotFound) {
		t.Errorf("a grant of nobody: %v", err)
	}
	if err := d.RevokeSendAs(a(t, "anna"), a(t, "carl")); !errors.Is(err, ErrNotFound) {
		t.Errorf("a grant revoked that there is none of: %v", err)
	}
	// A renamed mailbox keeps the grants to send as it; the next owner of the old name gets
	// none.
	must(t, d.RenameMailbox(a(t, "boss"), a(t, "director")))
	grants("director chief team")
	must(t, d.RemoveAlias(a(t, "chief")))
	grants("director team")
	must(t, d.RemoveGroup(a(t, "team")))
	grants("director")
	must(t, d.RemoveMailbox(a(t, "director")))
	grants("")
	must(t, d.GrantSendAs(a(t, "anna"), a(t, "carl")), d.RevokeSendAs(a(t, "anna"), a(t, "Carl")))
	grants("")
}

func TestGroupsOf(t *testing.T) {
	d, dir := rightsOffice(t)
	must(t, d.AddGroup(a(t, "readers"), []addr.Address{a(t, "lists"), a(t, "carl+readers")}))
	for name, want := range map[string]string{
		"anna": "all readers team", "boss": "all team", "carl": "readers",
	} {
		if got := d.groups(t, name); got != want {
			t.Errorf("%s is in %q, want %q", name, got, want)
		}
	}
	for _, tt := range []struct {
		group, sender string
		want          bool
	}{
		{"all", "anna", true}, {"all", "ANNA+x", true}, {"all", "help", true}, {"all", "chief", true},
		{"all", "x@remote.example", true}, {"all", "team", true},
		{"all", "carl", false}, {"all", "nobody", false}, {"all", "anna@remote.example", false}, {"all", "anna@second.example", false},
		{"readers", "carl", true}, {"readers", "boss", false}, {"nobody", "anna", false},
	} {
		if got, err := d.IsMember(a(t, tt.group), a(t, tt.sender)); err != nil || got != tt.want {
			t.Errorf("%s in %s: %v, %v", tt.sender, tt.group, got, err)
		}
	}
	if got, err := d.IsMember(a(t, "all"), addr.Address{}); err != nil || got {
		t.Errorf("the null sender in all: %v, %v", got, err)
	}

	// A change by an editor or another process counts at once: of the domain's file, of a
	// mailbox with the plus in its name, and of the settings.
	must(t, d.RemoveMember(a(t, "team"), a(t, "chief")))
	if got := d.groups(t, "boss"); got != "" {
		t.Errorf("boss is still in %q", got)
	}
	d.SetOptions(Options{PlusSeparator: "-"})
	if got := d.groups(t, "carl"); got != "" {
		t.Errorf("with another separator carl is in %q", got)
	}
	must(t, d.AddGroup(a(t, "minus"), []addr.Address{a(t, "carl-x")}))
	if got := d.groups(t, "carl"); got != "minus" {
		t.Errorf("with another separator carl is in %q", got)
	}
	must(t, os.Mkdir(filepath.Join(dir, "mailbox/office.example/P3_carl-x.mbx"), 0o700))
	if got := d.groups(t, "carl"); got != "" {
		t.Errorf("carl is in %q, with a member's mail", got)
	}
}

func TestMayOutsideAndInbound(t *testing.T) {
	yes, no := new(true), new(false)
	for _, tt := range []struct {
		own, team, all *bool
		def, want      bool
	}{
		{nil, nil, nil, true, true},
		{nil, nil, nil, false, false},
		{nil, yes, nil, false, true},
		{nil, nil, yes, false, true},
		{nil, no, nil, true, false},
		{nil, yes, no, true, false},
		{nil, no, yes, true, false},
		{yes, no, no, false, true},
		{no, yes, yes, true, false},
	} {
		d, _ := rightsOffice(t)
		must(t, d.UpdateAccount(a(t, "anna"), func(acc *Account) error { acc.Outside, acc.Inbound = tt.own, tt.own; return nil }))
		d.say(t, "team", tt.team, nil)
		d.say(t, "all", tt.all, nil)
		may, err := d.MayOutside(d.box(t, "anna"), tt.def)
		if must(t, err); may != tt.want {
			t.Errorf("%v: may send outside: %v", tt, may)
		}
		rights, err := d.RightsOf(d.box(t, "anna"), tt.def)
		if must(t, err); rights.Outside != tt.want || texts(rights.Own) != d.own(t, "anna") || texts(rights.Groups) != "all team" {
			t.Errorf("%v: rights %v", tt, rights)
		}
		d.say(t, "team", nil, tt.team)
		d.say(t, "all", nil, tt.all)
		may, err = d.MayInbound(d.box(t, "anna"), tt.def)
		if must(t, err); may != tt.want {
			t.Errorf("%v: takes mail from outside: %v", tt, may)
		}
		if may, err := d.MayOutside(d.box(t, "carl"), tt.def); err != nil || may != tt.def {
			t.Errorf("%v: it changes what carl may: %v, %v", tt, may, err)
		}
	}
}

func TestTakesInbound(t *testing.T) {
	d, _ := rightsOffice(t)
	must(t,
		d.UpdateAccount(a(t, "boss"), func(acc *Account) error { acc.Inbound = new(false); return nil }),
		d.SetCatchAll("office.example", a(t, "boss")),
	)
	d.say(t, "all", nil, new(false))
	must(t, d.UpdateAccount(a(t, "anna"), func(acc *Account) error { acc.Inbound = new(true); return nil }))
	for to, want := range map[string]bool{
		"boss": false, "chief": false, "BOSS+x": false, "all": false, "everybody": false,
		"anna": true, "help": true, "team": true, "carl": true, "postmaster": true, "nobody": true, "x@remote.example": true,
	} {
		if got, err := d.TakesInbound(a(t, to), true); err != nil || got != want {
			t.Errorf("%s: %v, %v", to, got, err)
		}
	}
	if got, err := d.TakesInbound(a(t, "carl"), false); err != nil || got {
		t.Errorf("carl, by default not: %v, %v", got, err)
	}
}

func TestGroupAt(t *testing.T) {
	d, dir := rightsOffice(t)
	must(t, d.UpdateGroup(a(t, "All"), func(g *Group) { g.Accept = AcceptMembers }))
	must(t, d.AddMember(a(t, "all"), a(t, "carl"))) // a change that leaves the rest
	for _, name := range []string{"all", "ALL", "everybody"} {
		if own, g, err := d.GroupAt(a(t, name)); err != nil || own != a(t, "all") || g.Accept != AcceptMembers || len(g.Members) != 2 {
			t.Errorf("%s: %v %+v, %v", name, own, g, err)
		}
	}
	for _, name := range []string{"anna", "info", "nobody", "x@remote.example"} {
		if _, _, err := d.GroupAt(a(t, name)); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := d.UpdateGroup(a(t, "nobody"), func(*Group) {}); !errors.Is(err, ErrNotFound) {
		t.Errorf("a group that is none: %v", err)
	}
	// A typing error in an editor does not open a group.
	file := filepath.Join(dir, "mailbox/office.example/domain.json")
	data, err := os.ReadFile(file)
	must(t, err)
	must(t, os.WriteFile(file, []byte(strings.Replace(string(data), `"accept": "members"`, `"accept": "membrs"`, 1)), 0o600))
	if _, _, err := d.GroupAt(a(t, "all")); !errors.Is(err, ErrDamaged) {
		t.Errorf("a damaged group: %v", err)
	}
	if _, err := d.GroupsOf(Mailbox{Address: a(t, "anna")}); !errors.Is(err, ErrDamaged) {
		t.Errorf("groups from a damaged file: %v", err)
	}
}

// The index is built once while the files stay unchanged, even for domains without a file.
func TestParentIndexKept(t *testing.T) {
	d, _ := rightsOffice(t)
	must(t, d.AddDomain("bare.example"))
	first, err := d.parentIndex()
	must(t, err)
	second, err := d.parentIndex()
	must(t, err)
	if first != second {
		t.Error("made anew though nothing has changed")
	}
}

func BenchmarkRights(b *testing.B) {
	d, _ := rightsOffice(b)
	for i := range 10 {
		must(b, d.AddDomain(addr.Domain(fmt.Sprintf("d%d.example", i))))
	}
	box := d.box(b, "anna")
	for name, ask := range map[string]func() error{
		"index":   func() error { _, err := d.parentIndex(); return err },
		"own":     func() error { _, err := d.OwnAddresses(box); return err },
		"groups":  func() error { _, err := d.GroupsOf(box); return err },
		"outside": func() error { _, err := d.MayOutside(box, true); return err },
		"rights":  func() error { _, err := d.RightsOf(box, true); return err },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				must(b, ask())
			}
		})
	}
}
