package server

import (
	"bufio"
	"fmt"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"

	"pillarbox/etc/lab/dsntest"
	"pillarbox/mailstore"
	"pillarbox/mailstore/addr"
	"pillarbox/quota"
	"pillarbox/smtp"
	"pillarbox/smtp/delivery"
	"pillarbox/smtp/dsn"
)

// room is a Reserver with little space for some mailboxes.
type room struct {
	mu   sync.Mutex
	free map[string]int64 // by directory; a mailbox that is not in it has no limit
}

type overQuota struct{}

func (overQuota) Error() string   { return "no room" }
func (overQuota) OverQuota() bool { return true }

func (r *room) Room(dir string, bytes int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if free, ok := r.free[dir]; ok && bytes > free {
		return overQuota{}
	}
	return nil
}

func (r *room) Reserve(dir string, bytes int64) (func(int64, int), error) {
	if err := r.Room(dir, bytes); err != nil {
		return nil, err
	}
	return r.Release(dir), nil
}

func (r *room) Release(string) func(int64, int) { return func(int64, int) {} }

// ledger returns the real Reserver, with a limit that no test reaches.
func (o *office) ledger() mailstore.Reserver {
	return quota.NewLedger(quota.Options{
		Limits: func(dir string) (box, domain quota.Limits, err error) {
			_, err = o.dir.MailboxAt(dir)
			return quota.Limits{Bytes: 1 << 50, WarnBytes: 1 << 49}, quota.Limits{}, err
		},
		Usage: func(dir string) (quota.Usage, error) {
			st, err := o.store.Stat(dir)
			return quota.Usage{Bytes: st.Bytes, Messages: int64(st.Messages)}, err
		},
	})
}

var traceCode = regexp.MustCompile(`\[[A-Z2-7]{6}\]$`)

// TestOverQuota: a mailbox with space gets the message. A full one is refused at RCPT, if the client
// has declared the size or no message fits, otherwise after DATA.
func TestOverQuota(t *testing.T) {
	const (
		full  = "552 5.2.2 The mailbox boss@office.example is full [TRACE]"
		later = "452 4.2.2 The mailbox boss@office.example is full, try again later [TRACE]"
		taken = "250 2.6.0 Message accepted, queued as ID"
	)
	tests := []struct {
		name    string
		free    int64
		defers  bool
		size    string
		to      string
		replies string // to each RCPT, then to the message
		has     string
		told    string // senders that get a report; quota settings may include strangers
	}{
		{"SIZE tells at RCPT", 500, false, " SIZE=600", "anna boss carla", "250 " + full + " 250 " + taken, "anna carla", ""},
		{"by setting, for now", 500, true, " SIZE=600", "anna boss carla", "250 " + later + " 250 " + taken, "anna carla", ""},
		{"no SIZE, full to the brim", -1, false, "", "anna boss", "250 " + full + " " + taken, "anna", ""},
		{"no SIZE, found out at the end", 500, false, "", "anna boss carla",
			"250 250 250 " + taken + ", but not for boss@office.example: full", "anna carla", "a@b.example about [boss@office.example]"},
		{"no SIZE, nobody else", 500, false, "", "boss", "250 " + full, "", ""},
		{"no SIZE, nobody else, for now", 500, true, "", "boss", "250 " + later, "", ""},
		{"a group with one full member", -1, false, "", "all",
			"250 " + taken + ", but not for boss@office.example: full", "anna carla", "a@b.example about [boss@office.example]"},
		{"a group and the member too", -1, false, "", "all boss",
			"250 " + full + " " + taken + ", but not for boss@office.example: full", "anna carla", "a@b.example about [boss@office.example]"},
		{"a stranger, found out at the end", 500, false, "", "anna boss carla",
			"250 250 250 " + taken + ", but not for boss@office.example: full", "anna carla", ""},
		{"a stranger, a group with one full member", -1, false, "", "all",
			"250 " + taken + ", but not for boss@office.example: full", "anna carla", ""},
		{"a stranger, just become full", 1200, false, " SIZE=10", "anna boss carla",
			"250 250 250 452 4.2.2 The mailbox boss@office.example has just become full; send the message again, to the others [TRACE]", "", ""},
		{"just become full", 1200, false, " SIZE=10", "anna boss carla",
			"250 250 250 " + taken + ", but not for boss@office.example: full", "anna carla", "a@b.example about [boss@office.example]"},
		{"room for it", 5000, false, " SIZE=600", "anna boss", "250 250 " + taken, "anna boss", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o := newOffice(t, smtp.MTA, nil)
			cfg := delivery.Config{Hostname: "mail.office.example", DeferOverQuota: test.defers}
			if test.told != "" {
				cfg.Strangers = delivery.AllStrangers
			}
			o.desk.SetConfig(cfg)
			for _, user := range []string{"anna", "boss", "carla"} {
				o.mailbox(t, user, "")
			}
			if err := o.dir.AddGroup(address(t, "all"), []addr.Address{address(t, "anna"), address(t, "boss"), address(t, "carla")}); err != nil {
				t.Fatal(err)
			}
			o.room.free["mailbox/office.example/P3_boss.mbx"] = test.free
			if got := o.sendTo(t, test.size, strings.Fields(test.to)); got != test.replies {
				t.Errorf("replies\n%s\nwant\n%s", got, test.replies)
			}
			for _, user := range []string{"anna", "boss", "carla"} {
				want := 0
				if strings.Contains(test.has, user) {
					want = 1
				}
				if got := len(o.messages(t, user)); got != want {
					t.Errorf("%s has %d messages, want %d", user, got, want)
				}
			}
			if told := o.told(t); told != test.told {
				t.Errorf("told %q, want %q", told, test.told)
			}
		})
	}
}

// told returns what remote senders are told by the reports in the queue.
func (o *office) told(t *testing.T) string {
	t.Helper()
	var all []string
	for _, item := range o.outbox.all() {
		r, _, err := o.store.Spool().Open(item.ID)
		if err != nil {
			t.Fatal(err)
		}
		report, err := dsntest.Parse(r)
		r.Close()
		if err != nil {
			t.Fatal(err)
		}
		var about []string
		for _, rcpt := range report.Recipients {
			if rcpt.Action != string(dsn.Failed) || rcpt.Status != [3]int{5, 2, 2} {
				t.Errorf("%+v", rcpt)
			}
			about = append(about, rcpt.Final)
		}
		all = append(all, fmt.Sprint(item.To[0].Address, " about ", about))
	}
	return strings.Join(all, "\n")
}

// sendTo returns the replies to RCPT and to the message; a 250 is without its text.
func (o *office) sendTo(t *testing.T, size string, to []string) string {
	t.Helper()
	c, err := net.Dial("tcp", o.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r := bufio.NewReader(c)
	say := func(line string) (reply string) {
		fmt.Fprint(c, line, "\r\n")
		for reply = ""; len(reply) < 4 || reply[3] != ' '; {
			if reply, err = r.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		return traceCode.ReplaceAllString(strings.TrimSpace(reply), "[TRACE]")
	}
	r.ReadString('\n') // the greeting
	say("EHLO pc.office.example")
	say("MAIL FROM:<a@b.example>" + size)
	var replies []string
	accepted := false
	for _, user := range to {
		reply := say("RCPT TO:<" + user + "@office.example>")
		if strings.HasPrefix(reply, "250 ") {
			reply, accepted = "250", true
		}
		replies = append(replies, reply)
	}
	if accepted {
		say("DATA")
		reply := say(strings.Repeat("text\r\n", 300) + ".")
		replies = append(replies, volatile.ReplaceAllString(reply, "ID"))
	}
	return strings.Join(replies, " ")
}
