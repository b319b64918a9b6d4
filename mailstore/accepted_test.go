package mailstore

import (
	"os"
	"testing"

	"pillarbox/mailstore/durable"
)

// TestAcceptedAfterCrash checks that a recovery names every message that was accepted just before a
// crash, even if it has left the spool since, and no other message.
func TestAcceptedAfterCrash(t *testing.T) {
	h := newHouse(t, Options{})
	must(t, h.Recover(RecoverOptions{}))
	want := map[string]bool{}
	for _, body := range []string{"small\r\n", bigBody} {
		for _, dirs := range [][]string{nil, {anna, boss}} {
			id, err := spool(h.Store, body, "state", dirs...)
			must(t, err)
			want[id] = true
		}
		gone, err := spool(h.Store, body, "state")
		must(t, err)
		must(t, h.Spool().Remove(gone))
		want[gone] = true
	}
	refused := h.Create()
	if _, err := refused.Commit([]string{"mailbox/office.example/P3_nobody.mbx"}); err == nil {
		t.Fatal("a mailbox that is not there took a message")
	}
	after := t.TempDir() // what a killed server leaves
	must(t, os.CopyFS(after, os.DirFS(h.dir)))
	must(t, h.Close())

	root, err := durable.Open(after)
	must(t, err)
	defer root.Close()
	next, err := Open(root, Options{})
	must(t, err)
	got := map[string]bool{}
	must(t, next.Recover(RecoverOptions{Accepted: func(id string) { got[id] = true }}))
	must(t, next.Close())
	for id := range want {
		if !got[id] {
			t.Errorf("%s is missing", id)
		}
	}
	if len(got) != len(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
