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

// TestMailDuringRename: while a mailbox is being renamed, groups, aliases and forwards that name it
// lead to it all the time.
func TestMailDuringRename(t *testing.T) {
	d, _ := open(t, Options{})
	anna, anne, boss := a(t, "anna@x.example"), a(t, "anne@x.example"), a(t, "boss@x.example")
	all, sales := a(t, "all@x.example"), a(t, "sales@x.example")
	must(t, d.AddDomain("x.example"))
	for _, box := range []addr.Address{anna, boss} {
		_, err := d.AddMailbox(box, Account{})
		must(t, err)
	}
	must(t, errors.Join(d.AddGroup(all, []addr.Address{anna, boss}), d.AddAlias(sales, anna), d.SetForward(boss, []addr.Address{anna}, true)))
	looked := 0
	renamer := d.Observed(func(c Change) {
		looked++
		for from, want := range map[addr.Address]int{all: 2, sales: 1, boss: 2} {
			res, err := d.Resolve(from)
			if err != nil || len(res.Mailboxes) != want || res.Mailboxes[0].Address != anne {
				t.Errorf("during %v of %s: %s leads to %v, %v", c.What, c.User, from, res.Mailboxes, err)
			}
		}
	})
	must(t, renamer.RenameMailbox(anna, anne))
	if looked < 3 {
		t.Errorf("looked %d times", looked)
	}
	if res, err := d.Resolve(anna); err != nil || res.Kind != Unknown {
		t.Errorf("afterwards the old name is %v, %v", res.Kind, err)
	}
}

// TestMailBesideRenames: a walk that is overtaken by a rename finds the mailbox all the same.
func TestMailBesideRenames(t *testing.T) {
	d, _ := open(t, Options{})
	names := []addr.Address{a(t, "anna@x.example"), a(t, "anne@x.example")}
	all := a(t, "all@x.example")
	must(t, d.AddDomain("x.example"))
	_, err := d.AddMailbox(names[0], Account{})
	must(t, errors.Join(err, d.AddGroup(all, names[:1])))
	done := make(chan error)
	go func() {
		var err error
		for i := range 40 {
			err = errors.Join(err, d.RenameMailbox(names[i%2], names[1-i%2]))
		}
		done <- err
	}()
	for {
		select {
		case err := <-done:
			must(t, err)
			return
		default:
			if res, err := d.Resolve(all); err != nil || len(res.Mailboxes) != 1 {
				t.Fatalf("the group leads to %v, %v", res.Mailboxes, err)
			}
		}
	}
}
