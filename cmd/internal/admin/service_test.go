package admin

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"pillarbox/cmd/internal/config"
	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/durable"
)

func office(t *testing.T) *Service {
	t.Helper()
	cfg := config.Default()
	cfg.Data = t.TempDir()
	cfg.Mailboxes.DefaultQuota = 1000
	o, err := Open(&cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close() })
	return o
}

func must(t *testing.T, _ Change, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Deliveries obey a new quota.
func TestQuotaHolds(t *testing.T) {
	o := office(t)
	c, err := o.AddDomain("office.example")
	must(t, c, err)
	c, err = o.AddMailbox("anna", NewMailbox{})
	must(t, c, err)
	box, err := o.mailbox("anna")
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		size      string
		fits, not int64
	}{
		{"default", 1000, 1001}, {"2KB", 2000, 2001}, {"none", 1 << 40, 0}, {"default", 1000, 1001},
	} {
		c, err := o.SetQuota("anna", step.size)
		must(t, c, err)
		if err := o.Store.Room(box.Dir, step.fits); err != nil {
			t.Errorf("quota %s: no room for %d: %v", step.size, step.fits, err)
		}
		if step.not > 0 && o.Store.Room(box.Dir, step.not) == nil {
			t.Errorf("quota %s: room for %d", step.size, step.not)
		}
	}
}

// Errors keep their class and get a hint, unless they have a better one already.
func TestExplain(t *testing.T) {
	o := office(t)
	c, err := o.AddDomain("office.example")
	must(t, c, err)
	for _, tt := range []struct {
		class error
		hint  string
	}{
		{directory.ErrNotFound, "admin domain show"},
		{directory.ErrExists, "admin domain show"},
		{directory.ErrName, "1 to 64 letters"},
		{directory.ErrInUse, "--with-mailboxes"},
		{directory.ErrDamaged, o.Root.Name()},
		{durable.ErrLocked, "try again"},
		{fs.ErrPermission, "as root"},
	} {
		err := o.explain(fmt.Errorf("it: %w", tt.class), "office.example", "domain show")
		hinted, ok := errors.AsType[*HintError](err)
		if !ok || !errors.Is(err, tt.class) || !strings.Contains(hinted.Hint, tt.hint) {
			t.Errorf("%v: %#v, want the hint %q", tt.class, err, tt.hint)
		}
	}
	if err := o.explain(errors.New("disk on fire"), "office.example", ""); errors.As(err, new(*HintError)) {
		t.Error("a hint for an error that nobody knows")
	}
	first := Hint(directory.ErrNotFound, "first")
	if got := o.explain(first, "office.example", ""); got != first {
		t.Errorf("a second hint: %v", got)
	}
	if o.explain(nil, "office.example", "") != nil {
		t.Error("an error from nothing")
	}
}
