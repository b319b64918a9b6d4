package directory

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/durable"
)

func open(t testing.TB, opts Options) (*Directory, string) {
	t.Helper()
	dir := t.TempDir()
	root, err := durable.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return New(root, opts), dir
}

func a(t testing.TB, s string) addr.Address {
	t.Helper()
	if !strings.Contains(s, "@") {
		s += "@office.example"
	}
	parsed, err := addr.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (d *Directory) add(t testing.TB, names ...string) {
	t.Helper()
	for _, n := range names {
		if _, err := d.AddMailbox(a(t, n), Account{}); err != nil {
			t.Fatal(err)
		}
	}
}

// ends formats a resolution as "local: anna boss | x@remote.example".
func (d *Directory) ends(t testing.TB, to string) string {
	t.Helper()
	res, err := d.Resolve(a(t, to))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString(res.Kind.String())
	for i, box := range res.Mailboxes {
		if i == 0 {
			b.WriteByte(':')
		}
		b.WriteString(" " + strings.TrimSuffix(box.Address.String(), "@office.example"))
	}
	for _, f := range res.Forward {
		b.WriteString(" | " + f.String())
	}
	return b.String()
}

func TestResolve(t *testing.T) {
	d, _ := open(t, Options{PlusSeparator: "+"})
	must(t, d.AddDomain("office.example"), d.AddDomain("second.example"))
	d.add(t, "anna", "boss", "carl", "dora", "erik", "müller", "zoe@second.example")
	must(t,
		d.AddAlias(a(t, "info"), a(t, "anna")),
		d.AddAlias(a(t, "outside"), a(t, "x@remote.example")),
		d.AddAlias(a(t, "info2"), a(t, "info")),
		d.AddGroup(a(t, "team"), []addr.Address{a(t, "anna"), a(t, "boss"), a(t, "ANNA")}),
		d.AddGroup(a(t, "all"), []addr.Address{a(t, "team"), a(t, "carl"), a(t, "info"), a(t, "zoe@second.example"), a(t, "y@remote.example")}),
		d.AddGroup(a(t, "empty"), nil),
		d.AddMember(a(t, "team"), a(t, "all")), // a loop
		d.SetForward(a(t, "carl"), []addr.Address{a(t, "anna")}, true),
		d.SetForward(a(t, "dora"), []addr.Address{a(t, "erik")}, false),
		d.SetForward(a(t, "boss"), []addr.Address{a(t, "z@remote.example")}, false),
	)
	check := func(want map[string]string) {
		t.Helper()
		for to, ends := range want {
			if got := d.ends(t, to); got != ends {
				t.Errorf("%s resolves to %q, want %q", to, got, ends)
			}
		}
	}
	check(map[string]string{
		"anna": "local: anna", "ANNA": "local: anna", "Müller": "local: müller", "mu\u0308ller": "local: müller",
		"info": "local: anna", "info2": "local: anna", "outside": "local | x@remote.example",
		"team": "local: anna carl zoe@second.example | y@remote.example | z@remote.example",
		"all":  "local: anna carl zoe@second.example | y@remote.example | z@remote.example",
		"carl": "local: anna carl", "dora": "local: erik", "empty": "unknown",
		"anna+lists": "local: anna", "info+x": "local: anna", "anna+": "local: anna", "+anna": "unknown", "nobody+x": "unknown",
		"nobody": "unknown", "zoe": "unknown", "anna@remote.example": "remote", "anna@[127.0.0.1]": "remote", "anna@sub.office.example": "remote",
		"../anna": "unknown", "anna/../boss": "unknown", "anna%remote.example": "unknown", `"anna@remote.example"@office.example`: "unknown",
		"p3_anna": "unknown", "con": "unknown", "postmaster": "local: anna", "postmaster@second.example": "local: zoe@second.example",
	})

	must(t, d.SetForward(a(t, "erik"), []addr.Address{a(t, "dora")}, false)) // dora → erik → dora
	check(map[string]string{"dora": "local: erik", "erik": "local: dora"})

	must(t, d.SetCatchAll("office.example", a(t, "carl")))
	check(map[string]string{"nobody": "local: anna carl", "empty": "local: anna carl", "anna": "local: anna", "postmaster": "local: anna", "nobody@second.example": "unknown"})

	d.SetOptions(Options{Postmaster: a(t, "boss@office.example")})
	check(map[string]string{"postmaster": "local | z@remote.example", "anna+lists": "local: anna carl"})
	must(t, d.AddAlias(a(t, "postmaster"), a(t, "dora")))
	check(map[string]string{"postmaster": "local: erik"})
}

// postmaster has a destination even if the only mailbox is in another domain, and even if the
// configured one is gone.
func TestPostmasterOfLastResort(t *testing.T) {
	d, _ := open(t, Options{Postmaster: a(t, "gone@office.example")})
	must(t, d.AddDomain("empty.example"))
	if got := d.ends(t, "postmaster@empty.example"); got != "local | gone@office.example" {
		t.Errorf("%q", got) // a postmaster elsewhere is an end
	}
	must(t, d.AddDomain("office.example"))
	if got := d.ends(t, "postmaster@empty.example"); got != "unknown" {
		t.Errorf("%q, with no mailbox at all", got)
	}
	d.add(t, "anna")
	if got := d.ends(t, "postmaster@empty.example"); got != "local: anna" {
		t.Errorf("%q", got)
	}
}

// abuse goes where postmaster goes, unless it has an address of its own (RFC 2142).
func TestAbuseIsPostmaster(t *testing.T) {
	d, _ := open(t, Options{Postmaster: a(t, "boss@office.example")})
	must(t, d.AddDomain("office.example"))
	d.add(t, "anna")
	d.add(t, "boss")
	must(t, d.SetCatchAll("office.example", a(t, "anna@office.example")))
	for _, name := range []string{"abuse@office.example", "Abuse@OFFICE.example"} {
		if got := d.ends(t, name); got != "local: boss" {
			t.Errorf("%s: %q", name, got)
		}
	}
	must(t, d.AddAlias(a(t, "abuse@office.example"), a(t, "anna@office.example")))
	if got := d.ends(t, "abuse@office.example"); got != "local: anna" {
		t.Errorf("with an alias: %q", got)
	}
}

func TestLogin(t *testing.T) {
	d, _ := open(t, Options{})
	must(t, d.AddDomain("office.example"))
	d.add(t, "anna")
	for _, name := range []string{"anna", "Anna", "anna@office.example", "ANNA@OFFICE.EXAMPLE"} {
		if box, err := d.Login(name); err != nil || box.Dir != "mailbox/office.example/P3_anna.mbx" {
			t.Errorf("%q: %v, %v", name, box, err)
		}
	}
	for _, name := range []string{"", "@", "anna@", "anna@other.example", "boss", "../anna", "anna\x00", "anna+x"} {
		if box, err := d.Login(name); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q logs in as %v, %v", name, box, err)
		}
	}
	must(t, d.AddDomain("second.example"))
	if _, err := d.Login("anna"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a bare name with two domains and no default: %v", err)
	}
	d.SetOptions(Options{DefaultDomain: "office.example"})
	if _, err := d.Login("anna"); err != nil {
		t.Error(err)
	}
}

func TestNamesCollide(t *testing.T) {
	d, _ := open(t, Options{})
	must(t, d.AddDomain("office.example"))
	d.add(t, "anna")
	must(t, d.AddAlias(a(t, "info"), a(t, "anna")), d.AddGroup(a(t, "team"), nil))
	for _, name := range []string{"ANNA", "Info", "team"} {
		if _, err := d.AddMailbox(a(t, name), Account{}); !errors.Is(err, ErrExists) {
			t.Errorf("mailbox %s: %v", name, err)
		}
		if err := d.AddAlias(a(t, name), a(t, "anna")); !errors.Is(err, ErrExists) {
			t.Errorf("alias %s: %v", name, err)
		}
		if err := d.AddGroup(a(t, name), nil); !errors.Is(err, ErrExists) {
			t.Errorf("group %s: %v", name, err)
		}
	}
	if err := d.AddDomain("office.example"); !errors.Is(err, ErrExists) {
		t.Error(err)
	}
	if _, err := d.AddMailbox(a(t, "anna@other.example"), Account{}); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	for _, name := range []string{`"../x"@office.example`, `"a/b"@office.example`, "con", "p3_x", "a+b", `"a b"@office.example`} {
		if _, err := d.AddMailbox(a(t, name), Account{}); !errors.Is(err, ErrName) {
			t.Errorf("%s: %v", name, err)
		}
	}
	err := d.AddAlias(a(t, "x"), a(t, "nobody"))
	if nobody, ok := errors.AsType[*UnknownTargetError](err); !ok || nobody.Target != a(t, "nobody") || !errors.Is(err, ErrNotFound) {
		t.Errorf("an alias to nobody: %v", err)
	}
	if err := d.AddMember(a(t, "team"), a(t, "nobody")); !errors.Is(err, ErrNotFound) {
		t.Errorf("a member that is nobody: %v", err)
	}
	must(t, d.AddMember(a(t, "team"), a(t, "anna")))
	if err := d.AddMember(a(t, "team"), a(t, "Anna")); !errors.Is(err, ErrExists) {
		t.Errorf("a member twice: %v", err)
	}
	if err := d.RemoveMember(a(t, "team"), a(t, "info")); !errors.Is(err, ErrNotFound) {
		t.Errorf("a member that is none: %v", err)
	}
}

func TestMembersAllOrNone(t *testing.T) {
	d, _ := open(t, Options{})
	must(t, d.AddDomain("office.example"))
	d.add(t, "anna", "boss", "carl")
	must(t, d.AddGroup(a(t, "team"), nil), d.AddMember(a(t, "team"), a(t, "anna"), a(t, "boss")))
	if err := d.AddMember(a(t, "team"), a(t, "carl"), a(t, "nobody")); !errors.Is(err, ErrNotFound) {
		t.Errorf("a member that is nobody: %v", err)
	}
	if err := d.AddMember(a(t, "team"), a(t, "carl"), a(t, "Carl")); !errors.Is(err, ErrExists) {
		t.Errorf("a new member named twice: %v", err)
	}
	if err := d.RemoveMember(a(t, "team"), a(t, "anna"), a(t, "carl")); !errors.Is(err, ErrNotFound) {
		t.Errorf("a member that is none: %v", err)
	}
	if got := d.ends(t, "team"); got != "local: anna boss" {
		t.Errorf("after failed changes the members are %q", got)
	}
	must(t, d.RemoveMember(a(t, "team"), a(t, "anna"), a(t, "boss")))
	if got := d.ends(t, "team"); got != "unknown" {
		t.Errorf("after the removal of all %q", got)
	}
}

// A catch-all must not hide a typing error in a target, least of all in its own.
func TestTargetsBesideCatchAll(t *testing.T) {
	d, _ := open(t, Options{PlusSeparator: "+"})
	must(t, d.AddDomain("office.example"))
	d.add(t, "anna")
	must(t, d.SetCatchAll("office.example", a(t, "anna")))
	if err := d.SetCatchAll("office.example", a(t, "nobody")); !errors.Is(err, ErrNotFound) {
		t.Errorf("a catch-all that only the catch-all takes: %v", err)
	}
	if err := d.AddAlias(a(t, "x"), a(t, "nobody")); !errors.Is(err, ErrNotFound) {
		t.Errorf("an alias to nobody: %v", err)
	}
	must(t, d.AddGroup(a(t, "empty"), nil))
	for _, target := range []string{"anna", "ANNA", "anna+x", "postmaster", "empty", "x@remote.example"} {
		must(t, d.SetCatchAll("office.example", a(t, target)))
	}
}

// AddMailbox accepts what CheckFree permits.
func TestCheckFree(t *testing.T) {
	d, _ := open(t, Options{})
	must(t, d.AddDomain("office.example"))
	d.add(t, "anna")
	for name, want := range map[string]error{
		"boss": nil, "Boss": nil, "ANNA": ErrExists, "p3_x": ErrName, "anna@other.example": ErrNotFound,
	} {
		if err := d.CheckFree(a(t, name)); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
}

// The next owner of a name inherits nothing, and all former names still reach a renamed mailbox.
func TestRemoveAndRename(t *testing.T) {
	d, dir := open(t, Options{})
	must(t, d.AddDomain("office.example"))
	d.add(t, "anna", "boss")
	must(t,
		d.AddAlias(a(t, "info"), a(t, "Anna")),
		d.AddGroup(a(t, "team"), []addr.Address{a(t, "anna"), a(t, "boss")}),
		d.SetCatchAll("office.example", a(t, "anna")),
		d.SetForward(a(t, "boss"), []addr.Address{a(t, "anna")}, true),
	)
	mail := filepath.Join(dir, "mailbox/office.example/P3_anna.mbx/P3_1.eml")
	must(t, os.WriteFile(mail, []byte("x\r\n"), 0o600))

	must(t, d.RenameMailbox(a(t, "anna"), a(t, "anne")))
	for to, want := range map[string]string{"info": "local: anne", "team": "local: anne boss", "x": "local: anne", "boss": "local: anne boss"} {
		if got := d.ends(t, to); got != want {
			t.Errorf("after the rename %s resolves to %q, want %q", to, got, want)
		}
	}
	if _, err := os.Stat(strings.Replace(mail, "anna", "anne", 1)); err != nil {
		t.Error(err)
	}
	if err := d.RenameMailbox(a(t, "anne"), a(t, "boss")); !errors.Is(err, ErrExists) {
		t.Errorf("renamed onto another: %v", err)
	}

	must(t, d.RemoveMailbox(a(t, "anne")))
	for to, want := range map[string]string{"anne": "unknown", "info": "unknown", "team": "local: boss", "x": "unknown", "boss": "local: boss"} {
		if got := d.ends(t, to); got != want {
			t.Errorf("after the removal %s resolves to %q, want %q", to, got, want)
		}
	}
	if err := d.RemoveMailbox(a(t, "anne")); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if err := d.RemoveDomain("office.example", false); !errors.Is(err, ErrInUse) {
		t.Errorf("a domain with mailboxes went: %v", err)
	}
	must(t, d.RemoveDomain("office.example", true))
	if left, _ := os.ReadDir(filepath.Join(dir, "mailbox")); slices.ContainsFunc(left, os.DirEntry.IsDir) {
		t.Errorf("left behind: %v", left)
	}
}

// A change by another process counts at once.
func TestFreshness(t *testing.T) {
	d, dir := open(t, Options{})
	root, err := durable.Open(dir)
	must(t, err)
	defer root.Close()
	other := New(root, Options{})
	must(t, d.AddDomain("office.example"))
	d.add(t, "anna")
	if box, err := other.Mailbox(a(t, "anna")); err != nil || box.Locked {
		t.Fatal(box, err)
	}
	for _, locked := range []bool{true, false, true} {
		must(t, d.UpdateAccount(a(t, "anna"), func(acc *Account) error { acc.Locked = locked; return nil }))
		if box, err := other.Mailbox(a(t, "anna")); err != nil || box.Locked != locked {
			t.Fatalf("locked %v is seen as %v, %v", locked, box.Locked, err)
		}
	}
	must(t, d.UpdateAccount(a(t, "anna"), func(acc *Account) error { acc.Locked = false; return nil }))
	must(t, d.UpdateDomain("office.example", func(f *DomainFile) error { f.Locked = true; return nil }))
	if box, err := other.Mailbox(a(t, "anna")); err != nil || !box.Locked {
		t.Fatalf("the domain's lock is not seen: %v", err)
	}
	// A mailbox copied from an old server has no account file.
	must(t, os.Mkdir(filepath.Join(dir, "mailbox/office.example/P3_old.mbx"), 0o700))
	if got := other.ends(t, "old"); got != "local: old" {
		t.Errorf("a copied mailbox resolves to %q", got)
	}
	// A typing error in an editor is an error. It makes no mailbox unknown or unlocked.
	must(t, os.WriteFile(filepath.Join(dir, "mailbox/office.example/P3_anna.mbx/account.json"), []byte(`{"lokced": true}`), 0o600))
	if _, err := other.Resolve(a(t, "anna")); !errors.Is(err, ErrDamaged) {
		t.Errorf("a damaged account: %v", err)
	}
	if err := d.RemoveMailbox(a(t, "anna")); err != nil {
		t.Errorf("a damaged mailbox cannot be removed: %v", err)
	}
}

func TestSymlinkIsNoMailbox(t *testing.T) {
	d, dir := open(t, Options{})
	must(t, d.AddDomain("office.example"))
	must(t, os.Symlink(t.TempDir(), filepath.Join(dir, "mailbox/office.example/P3_evil.mbx")))
	if _, err := d.Mailbox(a(t, "evil")); !errors.Is(err, ErrNotFound) {
		t.Errorf("a symlink is taken for a mailbox: %v", err)
	}
}

func TestPruneDrafts(t *testing.T) {
	d, dir := open(t, Options{})
	must(t, d.AddDomain("office.example"))
	d.add(t, "anna")
	for _, left := range []string{"mailbox/.removed-1/x", "mailbox/office.example/.new-2", "mailbox/office.example/.removed-3/y"} {
		must(t, os.MkdirAll(filepath.Join(dir, left), 0o700))
	}
	must(t, d.PruneDrafts())
	entries, _ := filepath.Glob(filepath.Join(dir, "mailbox/.[nr]*"))
	more, _ := filepath.Glob(filepath.Join(dir, "mailbox/office.example/.[nr]*"))
	if len(entries)+len(more) > 0 || d.ends(t, "anna") != "local: anna" {
		t.Errorf("left: %v %v", entries, more)
	}
}

func TestMailboxAt(t *testing.T) {
	d, _ := open(t, Options{})
	must(t, d.AddDomain("office.example"))
	d.add(t, "anna")
	if box, err := d.MailboxAt("mailbox/office.example/P3_anna.mbx"); err != nil || box.Address != a(t, "anna") {
		t.Errorf("%v, %v", box, err)
	}
	for _, dir := range []string{"", "mailbox", "mailbox/office.example", "mailbox/office.example/anna", "tls/x/P3_anna.mbx", "mailbox/office.example/P3_anna.mbx/x"} {
		if _, err := d.MailboxAt(dir); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %v", dir, err)
		}
	}
}

// The next owner of a removed alias or group inherits nothing.
func TestRemovedNamesLeaveNothing(t *testing.T) {
	d, _ := open(t, Options{})
	must(t, d.AddDomain("office.example"))
	d.add(t, "anna", "boss")
	must(t,
		d.AddAlias(a(t, "info"), a(t, "anna")),
		d.AddGroup(a(t, "inner"), []addr.Address{a(t, "anna")}),
		d.AddGroup(a(t, "outer"), []addr.Address{a(t, "inner"), a(t, "info"), a(t, "boss")}),
		d.AddAlias(a(t, "news"), a(t, "inner")),
		d.SetCatchAll("office.example", a(t, "info")),
		d.RemoveGroup(a(t, "inner")),
		d.RemoveAlias(a(t, "info")),
	)
	d.add(t, "inner", "info")
	for to, want := range map[string]string{"outer": "local: boss", "news": "unknown", "nobody": "unknown"} {
		if got := d.ends(t, to); got != want {
			t.Errorf("%s resolves to %q, want %q", to, got, want)
		}
	}
}

// TestAdoptNames adopts a tree from a server that ignored the case of names.
func TestAdoptNames(t *testing.T) {
	root, err := durable.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for _, dir := range []string{
		"mailbox/Wgcunion.com/P3_Aaron.mbx", "mailbox/Wgcunion.com/p3_BOB.MBX", "mailbox/office.example/P3_Anna.mbx",
		"mailbox/office.example/P3_anna.mbx", "mailbox/office.example/.Hidden", "mailbox/office.example/Other",
	} {
		if err := root.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	d := New(root, Options{})
	renamed, taken, err := d.AdoptNames()
	slices.Sort(renamed)
	want := []string{
		"mailbox/Wgcunion.com → wgcunion.com",
		"mailbox/wgcunion.com/P3_Aaron.mbx → P3_aaron.mbx",
		"mailbox/wgcunion.com/p3_BOB.MBX → P3_bob.mbx",
	}
	if !slices.Equal(renamed, want) || err != nil {
		t.Errorf("renamed %q, %v; want %q", renamed, err, want)
	}
	if !slices.Equal(taken, []string{"mailbox/office.example/P3_Anna.mbx"}) {
		t.Errorf("taken: %q", taken)
	}
	for _, name := range []string{"aaron@wgcunion.com", "bob@wgcunion.com", "anna@office.example"} {
		a, err := addr.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Mailbox(a); err != nil {
			t.Error(err)
		}
	}
	if renamed, _, err := d.AdoptNames(); len(renamed) != 0 || err != nil {
		t.Errorf("a second time: %q, %v", renamed, err)
	}
}

// An address of a shared domain that does not exist here is on another server.
func TestSharedDomain(t *testing.T) {
	d, _ := open(t, Options{
		Shared: func(d addr.Domain) bool { return d == "office.example" },
		Forwarded: func(a addr.Address) (addr.Address, bool, error) {
			return addr.Address{}, strings.EqualFold(a.Local, "SRS0=forged"), nil
		},
	})
	must(t, d.AddDomain("office.example"), d.AddDomain("second.example"))
	d.add(t, "anna")
	must(t, d.AddAlias(a(t, "info"), a(t, "there")), d.AddGroup(a(t, "team"), []addr.Address{a(t, "anna"), a(t, "there")}))
	check := func(want map[string]string) {
		t.Helper()
		for to, ends := range want {
			if got := d.ends(t, to); got != ends {
				t.Errorf("%s: %q, want %q", to, got, ends)
			}
		}
	}
	check(map[string]string{
		"anna": "local: anna", "there": "local | there@office.example", "info": "local | there@office.example",
		"team": "local: anna | there@office.example", "postmaster": "local: anna", "there@second.example": "unknown",
		"SRS0=forged": "unknown", "x@remote.example": "remote",
	})
	must(t, d.SetCatchAll("office.example", a(t, "anna")))
	check(map[string]string{"there": "local: anna", "info": "local: anna"})
}

// An address that forwarding made leads to the first sender. One that is not valid has no
// destination, not even the catch-all.
func TestForwardedSender(t *testing.T) {
	failure := errors.New("not now")
	d, _ := open(t, Options{Forwarded: func(to addr.Address) (addr.Address, bool, error) {
		switch to.Local {
		case "SRS0=good":
			return addr.Address{Local: "carl", Domain: "partner.example"}, true, nil
		case "SRS0=local":
			return addr.Address{Local: "anna", Domain: "office.example"}, true, nil
		case "SRS0=forged":
			return addr.Address{}, true, nil
		case "SRS0=fails":
			return addr.Address{}, true, failure
		}
		return addr.Address{}, false, nil
	}})
	must(t, d.AddDomain("office.example"))
	d.add(t, "anna")
	must(t, d.SetCatchAll("office.example", a(t, "anna")))
	for local, want := range map[string]string{"SRS0=good": "local | carl@partner.example", "SRS0=local": "local: anna",
		"SRS0=forged": "unknown", "other": "local: anna"} {
		if got := d.ends(t, local); got != want {
			t.Errorf("%s: %s, want %s", local, got, want)
		}
	}
	if _, err := d.Resolve(a(t, "SRS0=fails")); !errors.Is(err, failure) {
		t.Errorf("got %v", err)
	}
}
