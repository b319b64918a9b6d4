package admin

import (
	"strings"
	"testing"

	"pillarbox/mailstore"
	"pillarbox/mailstore/durable"
)

// TestCheckLogOfRunningServer checks that entries in the log are no finding while a server has the
// data directory. Without a server they are one, even if a command has the directory.
func TestCheckLogOfRunningServer(t *testing.T) {
	o := mailOffice(t)
	if err := o.Store.Recover(mailstore.RecoverOptions{LogSize: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	in := o.Store.Create()
	in.Write([]byte("hello\r\n"))
	if _, err := in.Commit([]string{"mailbox/office.example/P3_anna.mbx"}); err != nil {
		t.Fatal(err)
	}
	for as, want := range map[string]bool{"": true, "admin": true, ServerLock: false} {
		unlock := func() {}
		if as != "" {
			var err error
			if unlock, err = durable.TryLockAs(o.Root, DataLock, as); err != nil {
				t.Fatal(err)
			}
		}
		r, err := o.CheckMail(t.Context(), "", CheckOptions{})
		unlock()
		told := false
		for _, f := range r.Findings {
			told = told || f.Problem == ProblemLog && strings.Contains(f.Text, "did not stop cleanly")
		}
		if err != nil || told != want {
			t.Errorf("lock of %q: %v, %+v", as, err, r.Findings)
		}
	}
}
