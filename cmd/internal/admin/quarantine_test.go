package admin

import (
	"io"
	"testing"
	"time"

	"pillarbox/mailstore"
	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
	"pillarbox/smtp/queue"
)

// TestRestoredSurvivesCrash checks a message that was moved back to the queue. The log still
// records its removal from there, which a recovery after a crash must not repeat.
func TestRestoredSurvivesCrash(t *testing.T) {
	o := office(t)
	if err := o.Store.Recover(mailstore.RecoverOptions{}); err != nil {
		t.Fatal(err)
	}
	o.Checkpoint = o.Store.Checkpoint
	spool := o.Store.Spool()
	in := o.Store.Create()
	if _, err := io.WriteString(in, "Subject: x\r\n\r\nx\r\n"); err != nil {
		t.Fatal(err)
	}
	to := smtp.Recipient{Address: addr.Address{Local: "x", Domain: "far.example"}}
	item := queue.NewItem(in.ID(), &smtp.Envelope{}, []smtp.Recipient{to}, queue.Source{}, in.Size(), time.Now())
	in.Spool(item.Encode())
	if _, err := in.Commit(nil); err != nil {
		t.Fatal(err)
	}
	in.Abort()
	if err := spool.Quarantine(item.ID); err != nil {
		t.Fatal(err)
	}
	if all, err := o.ListQuarantine(); err != nil || len(all) != 1 || all[0].Problem != "" {
		t.Fatalf("%+v, %v", all, err)
	}
	if _, err := o.RestoreQuarantined([]string{item.ID}, NewState{}, time.Now()); err != nil {
		t.Fatal(err)
	}
	// The log is as a crash leaves it: the first store is not closed.
	next, err := mailstore.Open(o.Root, mailstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := next.Recover(mailstore.RecoverOptions{}); err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	state, err := next.Spool().State(item.ID)
	if err != nil {
		t.Fatal(err)
	}
	back, err := queue.Decode(item.ID, state)
	if err != nil || back.Released.IsZero() {
		t.Errorf("%+v, %v", back, err)
	}
	r, _, err := next.Spool().Open(item.ID)
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
}
