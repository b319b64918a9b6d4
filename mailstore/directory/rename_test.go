package directory

import (
	"errors"
	"syscall"
	"testing"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/addr"
)

// TestRenameThatFails: at whatever step a rename fails, the mailbox keeps its old name and can be
// renamed again, with all references.
func TestRenameThatFails(t *testing.T) {
	anna, anne, sales := addr.Address{Local: "anna", Domain: "x.example"}, addr.Address{Local: "anne", Domain: "x.example"}, addr.Address{Local: "sales", Domain: "x.example"}
	for n := 1; ; n++ {
		disk := mailtest.NewPowerFS()
		d := New(disk, Options{})
		must(t, d.AddDomain("x.example"))
		_, err := d.AddMailbox(anna, Account{})
		must(t, errors.Join(err, d.AddAlias(sales, anna)))
		disk.Start(mailtest.Nth(n, syscall.ENOSPC))
		failed := d.RenameMailbox(anna, anne)
		over := len(disk.Ops()) < n
		disk.Start(nil)
		if failed != nil {
			if _, err := d.Mailbox(anna); err != nil {
				t.Errorf("step %d failed (%v): %v", n, failed, err)
			}
			must(t, d.RenameMailbox(anna, anne))
		}
		res, err := d.Resolve(sales)
		if err != nil || len(res.Mailboxes) != 1 || res.Mailboxes[0].Address != anne {
			t.Errorf("step %d: the alias leads to %v, %v", n, res.Mailboxes, err)
		}
		if over {
			return
		}
	}
}
