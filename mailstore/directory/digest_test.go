package directory

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pillarbox/mailstore/addr"
)

// A digest knows a change of this process at once, and one by hand after a minute.
func TestDigests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, dir := open(t, Options{})
		must(t, d.AddDomain("office.example"))
		d.add(t, "anna", "bob", "carl")
		expect := func(when, want string) {
			t.Helper()
			all, err := d.Digests("office.example")
			must(t, err)
			var got []string
			for _, e := range all {
				text := e.Name
				for _, f := range e.Forward {
					text += ">" + f.Local
				}
				if e.Locked {
					text += " locked"
				}
				if e.Damage != nil {
					text += " damaged"
				}
				got = append(got, text)
			}
			if got := strings.Join(got, ", "); got != want {
				t.Errorf("%s: %q, want %q", when, got, want)
			}
		}
		expect("at first", "anna, bob, carl")
		must(t, d.SetForward(a(t, "anna"), []addr.Address{a(t, "bob")}, true))
		expect("after a change", "anna>bob, bob, carl")
		must(t, d.RenameMailbox(a(t, "bob"), a(t, "zoe")))
		expect("after a new name", "anna>zoe, carl, zoe")
		must(t, d.RemoveMailbox(a(t, "anna")))
		d.add(t, "anna")
		expect("after another of the name", "anna, carl, zoe")

		file := func(name string) string {
			return filepath.Join(dir, MailboxDir(a(t, name)), accountFile)
		}
		must(t, os.WriteFile(file("carl"), []byte(`{"locked": true}`), 0o600))
		must(t, os.WriteFile(file("zoe"), []byte(`{`), 0o600))
		time.Sleep(digestAge)
		expect("a minute after a change by hand", "anna, carl locked, zoe damaged")
		if _, err := d.Digests("remote.example"); err == nil {
			t.Error("a domain that is not hosted has digests")
		}
	})
}
