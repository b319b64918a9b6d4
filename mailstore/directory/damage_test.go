package directory

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/durable"
)

// damages are things that may be in the place of a JSON file.
func damages(good string) map[string]func(file string) error {
	text := func(s string) func(string) error {
		return func(file string) error { return os.WriteFile(file, []byte(s), 0o600) }
	}
	return map[string]func(string) error{
		"unknown member": text(strings.Replace(good, "{", `{"new": 1,`, 1)),
		"newer major":    text(strings.Replace(good, "{", `{"version": "2.0",`, 1)),
		"no version":     text(strings.Replace(good, "{", `{"version": "new",`, 1)),
		"empty":          text(""),
		"zeros":          text(strings.Repeat("\x00", len(good))),
		"half":           text(good[:len(good)/2]),
		"twice":          text(good + good),
		"no JSON":        text("hello"),
		"a list":         text("[]"),
		"too large":      func(file string) error { return os.Truncate(file, durable.MaxSmall+1) },
		"a directory":    func(file string) error { return errors.Join(os.Remove(file), os.Mkdir(file, 0o700)) },
		"a pipe":         func(file string) error { return errors.Join(os.Remove(file), syscall.Mkfifo(file, 0o600)) },
	}
}

// twoDomains is an office whose second domain is damaged by the tests. Names of each domain lead to
// the other.
func twoDomains(t *testing.T) (d *Directory, dir string) {
	d, dir = open(t, Options{DefaultDomain: "office.example", PlusSeparator: "+", Lookups: map[string]Lookup{"corp": {NetBIOS: []string{"OFFICE"}}}})
	must(t, d.AddDomain("office.example"), d.AddDomain("second.example"), d.AddDomain("third.example"))
	d.add(t, "anna", "boss", "xaver@second.example")
	must(t,
		d.AddAlias(a(t, "info"), a(t, "anna")),
		d.AddAlias(a(t, "x"), a(t, "xaver@second.example")),
		d.AddAlias(a(t, "help@second.example"), a(t, "anna")),
		d.AddGroup(a(t, "staff"), []addr.Address{a(t, "anna")}),
		d.AddGroup(a(t, "club@second.example"), []addr.Address{a(t, "boss")}),
		d.AddGroup(a(t, "all"), []addr.Address{a(t, "club@second.example"), a(t, "anna")}),
	)
	return d, dir
}

// TestDamagedDomainStaysAlone damages one domain's file in every way, and makes the lookups of the
// other domains' sessions. One server has read the file before, and another has just started.
func TestDamagedDomainStaysAlone(t *testing.T) {
	for what := range damages("{}") {
		t.Run(what, func(t *testing.T) {
			before, dir := twoDomains(t)
			must(t, before.KeepCopies())
			if _, err := before.RightsOf(before.box(t, "anna"), true); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir, "mailbox/second.example/domain.json")
			good, err := os.ReadFile(file)
			must(t, err, damages(string(good))[what](file))
			root, err := durable.Open(dir)
			must(t, err)
			defer root.Close()
			var told []string
			started := New(root, *before.opts.Load())
			started.Report(durable.NewDamageReporter(func(name string, err error) { told = append(told, name) }))
			for name, d := range map[string]*Directory{"running": before, "started": started} {
				t.Run(name, func(t *testing.T) { othersWork(t, d) })
				t.Run(name, func(t *testing.T) { damagedRefused(t, d) })
			}
			if own, err := before.OwnAddresses(before.box(t, "anna")); err != nil || fmt.Sprint(own) != "[help@second.example info@office.example]" {
				t.Errorf("a running server forgot what led from the damaged domain: %v, %v", own, err)
			}
			if len(told) != 1 || told[0] != "mailbox/second.example/domain.json" {
				t.Errorf("told: %q", told)
			}
			must(t, os.RemoveAll(file), os.WriteFile(file, good, 0o600))
			if _, err := started.Mailbox(a(t, "xaver@second.example")); err != nil {
				t.Errorf("after it is mended: %v", err)
			}
		})
	}
}

func othersWork(t *testing.T, d *Directory) {
	for to, want := range map[string]string{"anna": "local: anna", "INFO+x": "local: anna", "staff": "local: anna", "nobody": "unknown", "x@remote.example": "remote"} {
		if got := d.ends(t, to); got != want {
			t.Errorf("%s: %s", to, got)
		}
	}
	if res, err := d.Resolve(a(t, "postmaster@third.example")); err != nil || len(res.Mailboxes) != 1 {
		t.Errorf("postmaster of a domain without mailboxes: %v, %v", res, err)
	}
	box := d.box(t, "anna")
	rights, err := d.RightsOf(box, true)
	if err != nil || !rights.Outside || !strings.Contains(fmt.Sprint(rights.Own), "info@office.example") {
		t.Errorf("rights: %+v, %v", rights, err)
	}
	if member, err := d.IsMember(a(t, "all"), a(t, "anna")); err != nil || !member {
		t.Errorf("member: %v, %v", member, err)
	}
	_, err1 := d.MayInbound(box, true)
	_, err2 := d.TakesInbound(a(t, "info"), true)
	_, err3 := d.Plain(a(t, "anna+x"))
	_, err4 := d.StoredKinds()
	_, err5 := d.Login(`OFFICE\anna`)
	_, err6 := d.Login("anna")
	if err := errors.Join(err1, err2, err3, err4, err5, err6, d.PruneDrafts()); err != nil {
		t.Error(err)
	}
}

func damagedRefused(t *testing.T, d *Directory) {
	_, err1 := d.Resolve(a(t, "xaver@second.example"))
	_, err2 := d.Resolve(a(t, "x")) // it leads there
	_, err3 := d.Login("xaver@second.example")
	_, err4 := d.Plain(a(t, "help@second.example")) // as a sender
	_, err5 := d.GroupsOf(Mailbox{Address: a(t, "xaver@second.example")})
	err6 := d.UpdateDomain("second.example", func(*DomainFile) error { return nil })
	for i, err := range []error{err1, err2, err3, err4, err5, err6} {
		damaged, ok := errors.AsType[*DamagedError](err)
		if !ok || damaged.File != "mailbox/second.example/domain.json" || !errors.Is(err, ErrDamaged) {
			t.Errorf("%d: %v", i+1, err)
		}
	}
}

// TestGroupOfDamagedDomainForbids has a group of one domain that restricts a mailbox of another.
// The restriction must stay in force when the group's file is damaged, in the running server and
// after a start.
func TestGroupOfDamagedDomainForbids(t *testing.T) {
	before, dir := twoDomains(t)
	must(t, before.KeepCopies())
	must(t, before.UpdateDomain("second.example", func(f *DomainFile) error {
		g := f.Groups["club"]
		g.Outside, g.Inbound = new(false), new(false)
		f.Groups["club"] = g
		return nil
	}))
	if may, err := before.MayOutside(before.box(t, "boss"), true); may || err != nil { // the files are read
		t.Fatal(may, err)
	}
	must(t, os.WriteFile(filepath.Join(dir, "mailbox/second.example/domain.json"), []byte("{"), 0o600))
	root, err := durable.Open(dir)
	must(t, err)
	defer root.Close()
	started := New(root, *before.opts.Load())
	for what, d := range map[string]*Directory{"running": before, "started": started} {
		boss, anna := d.box(t, "boss"), d.box(t, "anna")
		rights, err1 := d.RightsOf(boss, true)
		in, err2 := d.MayInbound(boss, true)
		others, err3 := d.RightsOf(anna, true)
		if rights.Outside || in || !others.Outside || errors.Join(err1, err2, err3) != nil {
			t.Errorf("%s: boss may send outside %v, gets from outside %v; anna may send outside %v; %v %v %v", what, rights.Outside, in, others.Outside, err1, err2, err3)
		}
		if _, err := d.Resolve(a(t, "club@second.example")); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: the damaged domain itself: %v", what, err)
		}
	}
	must(t, started.KeepCopies())
	if text, err := os.ReadFile(filepath.Join(dir, "mailbox/second.example", copyFile)); err != nil || !strings.Contains(string(text), `"club"`) {
		t.Errorf("the copy after a start with the damaged file: %s, %v", text, err)
	}
}

// IsMember must not deny membership through the damaged domain, but may deny it for an address
// outside all groups.
func TestMembershipThroughDamagedDomainIsUnknown(t *testing.T) {
	_, dir := twoDomains(t)
	must(t, os.WriteFile(filepath.Join(dir, "mailbox/second.example/domain.json"), nil, 0o600))
	root, err := durable.Open(dir)
	must(t, err)
	defer root.Close()
	d := New(root, Options{})
	if member, err := d.IsMember(a(t, "all"), a(t, "boss")); member || !errors.Is(err, ErrDamaged) {
		t.Errorf("of all: %v, %v", member, err)
	}
	if member, err := d.IsMember(a(t, "staff"), a(t, "boss")); member || err != nil {
		t.Errorf("of a group that the damage cannot concern: %v, %v", member, err)
	}
}

// TestDamagedAccountStaysAlone is TestDamagedDomainStaysAlone for one mailbox.
func TestDamagedAccountStaysAlone(t *testing.T) {
	for what := range damages("{}") {
		t.Run(what, func(t *testing.T) {
			d, dir := twoDomains(t)
			must(t, d.AddAlias(a(t, "chief"), a(t, "boss")))
			file := filepath.Join(dir, "mailbox/office.example/P3_boss.mbx/account.json")
			good, err := os.ReadFile(file)
			must(t, err, damages(string(good))[what](file))
			othersWork(t, d)
			for _, to := range []string{"boss", "chief", "boss+x"} {
				if _, err := d.Resolve(a(t, to)); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "P3_boss.mbx/account.json") {
					t.Errorf("%s: %v", to, err)
				}
			}
		})
	}
}

// TestNewerFilesAreKept changes files that a newer release wrote.
func TestNewerFilesAreKept(t *testing.T) {
	d, dir := twoDomains(t)
	files := map[string]string{}
	for name, at := range map[string]string{"domain": "mailbox/office.example/domain.json", "account": "mailbox/office.example/P3_anna.mbx/account.json"} {
		files[name] = filepath.Join(dir, at)
		text, err := os.ReadFile(files[name])
		must(t, err, os.WriteFile(files[name], []byte(strings.Replace(string(text), "{", `{"version": "1.9", "new": {"a": 1},`, 1)), 0o600))
	}
	must(t,
		d.AddAlias(a(t, "sales"), a(t, "anna")),
		d.UpdateAccount(a(t, "anna"), func(acc *Account) error { acc.Locked = true; return nil }),
	)
	for name, member := range map[string]string{"domain": `"sales"`, "account": `"locked": true`} {
		text, err := os.ReadFile(files[name])
		must(t, err)
		for _, part := range []string{`"version": "1.9"`, `"new": {`, `"a": 1`, member} {
			if !strings.Contains(string(text), part) {
				t.Errorf("%s: %s is not in\n%s", name, part, text)
			}
		}
	}
}

// counting counts file accesses.
type counting struct {
	durable.FS
	looks int
}

func (c *counting) Lstat(name string) (fs.FileInfo, error) {
	c.looks++
	return c.FS.Lstat(name)
}

// TestAliasesCostNothing compares a mailbox with one alias and one with thousands.
func TestAliasesCostNothing(t *testing.T) {
	d, dir := open(t, Options{})
	must(t, d.AddDomain("office.example"))
	d.add(t, "few", "many")
	must(t, d.UpdateDomain("office.example", func(f *DomainFile) error {
		f.Aliases["one"] = a(t, "few")
		for i := range 8000 {
			f.Aliases[fmt.Sprintf("al%d", i)] = a(t, "many")
		}
		return nil
	}))
	root, err := durable.Open(dir)
	must(t, err)
	defer root.Close()
	count := &counting{FS: root}
	d = New(count, Options{})
	looks := func(user, alias string) int {
		box, err := d.Mailbox(a(t, user))
		must(t, err)
		from := count.looks
		_, err1 := d.MayInbound(box, true)
		_, err2 := d.TakesInbound(a(t, alias), true)
		_, err3 := d.IsMember(a(t, "none"), a(t, alias))
		_, err4 := d.Resolve(a(t, alias))
		must(t, err1, err2, err3, err4)
		return count.looks - from
	}
	few, many := looks("few", "one"), looks("many", "al7")
	if index, err := d.parentIndex(); few != many || err != nil || len(index.above) != 0 {
		t.Errorf("%d looks at files with one alias, %d with 8,000; %d ways up to groups where there are none; %v", few, many, len(index.above), err)
	}
}

// TestCacheIsBounded reads more mailboxes than the cache holds, and one of them repeatedly.
func TestCacheIsBounded(t *testing.T) {
	var c fileCache[Account]
	kept := cached[Account]{value: new(Account)}
	c.keep("kept", kept)
	for i := range 5 * cacheGeneration {
		c.keep(fmt.Sprint(i), cached[Account]{})
		if e, ok := c.find("kept"); i%(cacheGeneration/2) == 0 && (!ok || e.value != kept.value) {
			t.Fatalf("after %d others it is gone", i)
		}
		if n := len(c.young) + len(c.old); n > 2*cacheGeneration {
			t.Fatalf("%d files are kept", n)
		}
	}
}

// TestRenameChangesAllOrNothing renames a mailbox that a damaged file may refer to.
func TestRenameChangesAllOrNothing(t *testing.T) {
	for _, file := range []string{"mailbox/second.example/domain.json", "mailbox/second.example/P3_xaver.mbx/account.json"} {
		d, dir := twoDomains(t)
		good, err := os.ReadFile(filepath.Join(dir, file))
		must(t, err, os.WriteFile(filepath.Join(dir, file), []byte("{"), 0o600))
		if err := d.RenameMailbox(a(t, "anna"), a(t, "ann")); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", file, err)
		}
		if got := d.ends(t, "info"); got != "local: anna" {
			t.Errorf("%s: info is %s", file, got)
		}
		must(t, os.WriteFile(filepath.Join(dir, file), good, 0o600), d.RenameMailbox(a(t, "anna"), a(t, "ann")))
		if got := d.ends(t, "info") + " " + d.ends(t, "help@second.example"); got != "local: ann local: ann" {
			t.Errorf("%s mended: %s", file, got)
		}
	}
}
