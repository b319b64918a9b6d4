package directory

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/durable"
)

// TestRenameOnFullDisk: a rename that fails for lack of space can be repeated, and then changes all
// references.
func TestRenameOnFullDisk(t *testing.T) {
	for _, file := range []string{".domain.json.", ".account.json."} {
		root, err := durable.Open(t.TempDir())
		must(t, err)
		defer root.Close()
		disk := mailtest.NewFailFS(root)
		d := New(disk, Options{})
		must(t, d.AddDomain("office.example"))
		d.add(t, "anna", "boss")
		must(t, d.AddAlias(a(t, "info"), a(t, "anna")))
		must(t, d.UpdateAccount(a(t, "boss"), func(acc *Account) error { acc.Forward = append(acc.Forward, a(t, "anna")); return nil }))
		disk.Start(func(_ int, op mailtest.Op) error {
			if op.Kind == "create" && strings.Contains(op.Name, file) {
				return syscall.ENOSPC
			}
			return nil
		})
		if err := d.RenameMailbox(a(t, "anna"), a(t, "anne")); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("on a full disk: %v", err)
		}
		disk.Start(nil)
		must(t, d.RenameMailbox(a(t, "anna"), a(t, "anne")))
		for to, want := range map[string]string{"info": "local: anne", "boss": "local: anne"} {
			if got := d.ends(t, to); !strings.HasPrefix(got, want) {
				t.Errorf("%s leads to %q, want %q", to, got, want)
			}
		}
	}
}
