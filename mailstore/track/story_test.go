package track

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pillarbox/etc/lab/mailtest"
)

// TestStory tells a message with three recipients from its acceptance to its end.
func TestStory(t *testing.T) {
	pc, phone := netip.MustParseAddr("10.0.0.5"), netip.MustParseAddr("10.0.0.9")
	synctest.Test(t, func(t *testing.T) {
		fsys := mailtest.NewPowerFS()
		l := Open(fsys, Options{}, quiet)
		for _, e := range []Event{
			{Kind: Connected, Service: "submission", Remote: pc},
			{Kind: LoggedIn, User: "anna@office.example", Remote: pc, Text: "PLAIN, TLS 1.3"},
			{Kind: Accepted, ID: "M1", From: "anna@office.example", MessageID: "1@pc", Service: "submission", Remote: pc, Host: "pc7",
				User: "anna@office.example", Size: 12_345, Count: 2, Rule: "outside.send", Text: "Thunderbird"},
			{Kind: Expanded, ID: "M1", From: "anna@office.example", To: "chef@office.example", Target: "boss@office.example"},
			{Kind: Delivered, ID: "M1", From: "anna@office.example", To: "boss@office.example"},
			{Kind: OverQuota, ID: "M1", From: "anna@office.example", To: "carl@office.example"},
			{Kind: Queued, ID: "M1", From: "anna@office.example", To: "z@far.example"},
			{Kind: Deferred, ID: "M1", To: "z@far.example", Host: "mx.far.example", Reply: "451 4.3.0 later", Count: 1, Next: time.Now().Add(time.Hour)},
			{Kind: Held, ID: "M1"},
			{Kind: Released, ID: "M1"},
			{Kind: Failed, ID: "M1", To: "z@far.example", Host: "mx.far.example", Reply: "550 5.1.1 unknown", Count: 2},
			{Kind: Accepted, ID: "M2", Parent: "M1", Service: "report", Size: 2000, Count: 1},
			{Kind: Delivered, ID: "M2", To: "anna@office.example"},
			{Kind: Reported, ID: "M2", Parent: "M1", To: "anna@office.example", Text: "failed"},
			{Kind: Fetched, ID: "M1", User: "boss@office.example", To: "boss@office.example", Service: "pop3s", Remote: phone, Text: "TLS 1.2"},
			{Kind: Deleted, ID: "M1", User: "boss@office.example", To: "boss@office.example", Service: "pop3s", Remote: phone},
			{Kind: Deleted, ID: "M2", User: "anna@office.example", To: "anna@office.example", Service: "pop3", Remote: pc},
			{Kind: Connected, User: "anna@office.example", Remote: pc, Service: "smtps"},
			{Kind: Secured, User: "anna@office.example", Remote: pc, Service: "smtps", Text: "TLS 1.2"},
			{Kind: Refused, Trace: "QYVUJ2", From: "anna@office.example", To: "nobody@office.example", Remote: pc, Service: "submission",
				Reply: "550 5.1.1 no such mailbox", Text: "mailboxes: nobody does not exist"},
		} {
			l.Add(e)
			time.Sleep(time.Second)
		}
		l.Close()
		found, err := FindStories(t.Context(), fsys, Query{Name: "anna@office.example"}, 10)
		if err != nil || found.More {
			t.Fatal(found, err)
		}
		var got strings.Builder
		for _, s := range found.Messages {
			fmt.Fprintf(&got, "%s %s %s\n", s.ID, s.From, s.MessageID)
			for _, e := range s.Events {
				fmt.Fprintf(&got, "  %s\n", strings.ReplaceAll(e.Words(), e.Next.Local().Format(time.DateTime), "NEXT"))
			}
			for _, r := range s.Recipients {
				fmt.Fprintf(&got, "  = %s: %s\n", r.To, r.State)
			}
		}
		for _, e := range found.Others {
			fmt.Fprintf(&got, "%s\n", e.Words())
		}
		if want := strings.TrimLeft(story, "\n"); got.String() != want {
			t.Errorf("got:\n%s\nwant:\n%s", got.String(), want)
		}
		found, err = FindStories(t.Context(), fsys, Query{}, 1)
		if err != nil || !found.More || len(found.Messages) != 1 || len(found.Others) != 1 || found.Messages[0].ID != "M2" {
			t.Errorf("the newest: %+v, %v", found, err)
		}
	})
}

const story = `
M1 anna@office.example 1@pc
  accepted from 10.0.0.5 (pc7) over submission, sent by anna@office.example: 12.3 KB for 2 recipients, permitted by outside.send, written with Thunderbird
  chef@office.example stands for boss@office.example
  delivered to the mailbox boss@office.example
  not delivered to carl@office.example: the mailbox is full
  queued for z@far.example
  attempt 1 for z@far.example at mx.far.example failed: 451 4.3.0 later; next attempt NEXT
  held by an administrator
  released by an administrator
  cannot be delivered to z@far.example at mx.far.example: 550 5.1.1 unknown
  delivery report (failed) about M1 sent to anna@office.example as M2
  fetched by boss@office.example from 10.0.0.9 over pop3s (TLS 1.2)
  deleted by boss@office.example from 10.0.0.9 over pop3s
  = boss@office.example: fetched and deleted
  = carl@office.example: refused: the mailbox is full
  = z@far.example: not delivered
M2  
  made by this server: 2.0 KB for 1 recipient
  delivered to the mailbox anna@office.example
  delivery report (failed) about M1 sent to anna@office.example as M2
  deleted by anna@office.example from 10.0.0.5 over pop3
  = anna@office.example: deleted without being fetched
anna@office.example logged in from 10.0.0.5 (PLAIN, TLS 1.3)
refused for nobody@office.example from 10.0.0.5 over submission: 550 5.1.1 no such mailbox (mailboxes: nobody does not exist)
`

// TestEveryKindHasWords makes sure that no event is told as unknown.
func TestEveryKindHasWords(t *testing.T) {
	for k := Kind(1); k < lastKind; k++ {
		e := Event{Kind: k}
		var again Kind
		if again.UnmarshalText([]byte(k.String())); again != k || k.String() == "" || strings.Contains(e.Words(), "newer release") {
			t.Errorf("kind %d: %q, %q", k, k, e.Words())
		}
	}
	if e := (Event{Kind: lastKind}); e.Kind.String() != "unknown" || !strings.Contains(e.Words(), "newer release") {
		t.Errorf("a kind of a newer release: %q", e.Words())
	}
}
