package delivery

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pillarbox/etc/lab/dsntest"
	"pillarbox/mailstore"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/durable"
	"pillarbox/smtp"
	"pillarbox/smtp/badmail"
	"pillarbox/smtp/dsn"
	"pillarbox/smtp/queue"
)

// office has a Dispatcher, its store, and a queue that sends no mail.
type office struct {
	*Dispatcher
	t     *testing.T
	data  string
	root  *durable.Root
	items []*queue.Item
	from  queue.Source // of what is sent
}

func (o *office) Add(item *queue.Item) { o.items = append(o.items, item) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newOffice(t *testing.T) *office {
	o := &office{t: t, data: t.TempDir(), from: queue.Source{Service: "test", Standing: smtp.StandingLogin}}
	root, err := durable.Open(o.data)
	must(t, err)
	o.root = root
	t.Cleanup(func() { root.Close() })
	dir := directory.New(root, directory.Options{DefaultDomain: "office.example"})
	store, err := mailstore.Open(root, mailstore.Options{})
	must(t, err)
	o.Dispatcher = New(Config{Hostname: "mail.office.example", Success: true, Relayed: true, MaxReturn: 1 << 20},
		Parts{Dir: dir, Store: store, Badmail: badmail.New(root, slog.New(slog.DiscardHandler), nil), Log: slog.New(slog.DiscardHandler)})
	o.Queue = o
	must(t, dir.AddDomain("office.example"))
	for _, user := range []string{"anna", "boss", "postmaster"} {
		_, err := dir.AddMailbox(address(user+"@office.example"), directory.Account{})
		must(t, err)
	}
	must(t, dir.AddGroup(address("all@office.example"), []addr.Address{address("anna@office.example"), address("boss@office.example"), address("x@far.example")}))
	must(t, dir.AddAlias(address("away@office.example"), address("y@far.example")))
	return o
}

func address(s string) addr.Address {
	if s == "" {
		return addr.Address{}
	}
	a, err := addr.Parse(s)
	if err != nil {
		panic(err)
	}
	return a
}

// send delivers a message to several recipients with the same NOTIFY.
func (o *office) send(notify []string, from string, to ...string) string {
	o.t.Helper()
	env := smtp.Envelope{From: address(from), EnvID: "letter 7"}
	for _, a := range to {
		env.To = append(env.To, smtp.Recipient{Address: address(a), Notify: notify})
	}
	id, err := o.Inject(&env, o.from, "the test", strings.NewReader("Subject: hello\r\n\r\ntext\r\n"))
	must(o.t, err)
	return id
}

func (o *office) mailbox(user string) (all []string) {
	o.t.Helper()
	box, err := o.Dir.Mailbox(address(user + "@office.example"))
	must(o.t, err)
	m, err := o.Store.OpenMaildrop(box.Dir)
	must(o.t, err)
	defer m.Close()
	for i := range m.Messages() {
		r, err := m.Open(i)
		must(o.t, err)
		text, err := io.ReadAll(r)
		must(o.t, err)
		r.Close()
		all = append(all, string(text))
	}
	return all
}

// reports returns a mailbox's delivery reports: "action final (original) status".
func (o *office) reports(user string) (all []string) {
	o.t.Helper()
	for _, text := range o.mailbox(user) {
		all = append(all, summary(text)...)
	}
	slices.Sort(all)
	return all
}

func summary(text string) (all []string) {
	p, err := dsntest.Parse(strings.NewReader(text))
	if err != nil {
		return nil
	}
	for _, r := range p.Recipients {
		all = append(all, fmt.Sprintf("%s %s (%s) %d.%d.%d %s", r.Action, r.Final, r.ORcpt, r.Status[0], r.Status[1], r.Status[2], p.EnvID))
	}
	return all
}

// queued returns the messages given to the queue: "from to notify orcpt".
func (o *office) queued() (all []string) {
	for _, item := range o.items {
		for _, r := range item.To {
			all = append(all, fmt.Sprint(item.From, " ", r.Address, " ", r.Notify, " ", r.ORcpt))
		}
	}
	slices.Sort(all)
	return all
}

func (o *office) want(what string, got []string, want ...string) {
	o.t.Helper()
	if !slices.Equal(got, want) {
		o.t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func TestHereAndThere(t *testing.T) {
	o := newOffice(t)
	id := o.send(nil, "anna@office.example", "boss@office.example", "x@far.example", "X@FAR.example")
	if got := o.mailbox("boss"); len(got) != 1 || !strings.HasPrefix(got[0], "Return-Path: <anna@office.example>\r\nReceived: the test\r\n\tby mail.office.example id "+id) {
		t.Errorf("%q", got)
	}
	o.want("queue", o.queued(), "anna@office.example X@far.example [] ", "anna@office.example x@far.example [] ")
	r, _, err := o.Store.Spool().Open(id)
	must(t, err)
	defer r.Close()
	if text, err := io.ReadAll(r); err != nil || string(text) != o.mailbox("boss")[0] {
		t.Errorf("%q, %v", text, err)
	}
	o.want("reports", o.reports("anna"))
}

func TestSuccess(t *testing.T) {
	o := newOffice(t)
	o.send([]string{"SUCCESS", "FAILURE"}, "anna@office.example", "boss@office.example", "away@office.example")
	o.want("reports", o.reports("anna"), "delivered boss@office.example () 2.1.5 letter 7")
	o.want("queue", o.queued(), "anna@office.example y@far.example [SUCCESS FAILURE] away@office.example")
}

func TestExpanded(t *testing.T) {
	o := newOffice(t)
	o.send([]string{"SUCCESS"}, "anna@office.example", "all@office.example")
	o.want("reports", o.reports("anna"), "expanded all@office.example () 2.1.5 letter 7")
	o.want("queue", o.queued(), "anna@office.example x@far.example [NEVER] all@office.example")
	o.SetConfig(Config{Hostname: "mail.office.example"}) // reports of success are off
	o.send([]string{"SUCCESS"}, "boss@office.example", "anna@office.example")
	o.want("reports", o.reports("boss"))
}

// Reports of relaying can be off while those of success here are on.
func TestRelayed(t *testing.T) {
	for _, tt := range []struct{ success, relayed, want bool }{{true, true, true}, {true, false, false}, {false, true, false}} {
		o := newOffice(t)
		cfg := *o.config.Load()
		cfg.Success, cfg.Relayed = tt.success, tt.relayed
		o.SetConfig(cfg)
		o.send([]string{"SUCCESS"}, "anna@office.example", "away@office.example", "boss@office.example")
		item := o.items[0]
		item.To[0].Last = &queue.Last{Time: time.Now(), Reply: smtp.Reply{Code: 250, Enhanced: [3]int{2, 0, 0}}}
		must(t, o.Report(queue.DSNRequest{Item: item, Action: dsn.Relayed, Recipients: item.To}))
		var want []string
		if tt.success {
			want = append(want, "delivered boss@office.example () 2.1.5 letter 7")
		}
		if tt.want {
			want = append(want, "relayed y@far.example (away@office.example) 2.0.0 letter 7")
		}
		o.want("reports", o.reports("anna"), want...)
	}
}

func TestUnknown(t *testing.T) {
	o := newOffice(t)
	o.send(nil, "anna@office.example", "nobody@office.example", "boss@office.example")
	o.want("reports", o.reports("anna"), "failed nobody@office.example () 5.1.1 letter 7")
	if len(o.mailbox("boss")) != 1 {
		t.Error("boss has no mail")
	}
	o.send([]string{"NEVER"}, "anna@office.example", "nobody@office.example")
	o.want("reports", o.reports("anna"), "failed nobody@office.example () 5.1.1 letter 7")
	o.send(nil, "elsewhere@far.example", "nobody@office.example")
	o.want("queue", o.queued(), " elsewhere@far.example [NEVER] ")
}

// badmail lists the files in badmail.
func (o *office) badmail() (names []string) {
	all, _ := filepath.Glob(filepath.Join(o.data, "badmail/*"))
	for _, name := range all {
		names = append(names, filepath.Ext(name))
	}
	return names
}

func notice(o *office, from string) queue.DSNRequest {
	id := o.send(nil, from, "x@far.example")
	last := &queue.Last{Time: time.Now(), Reply: *smtp.NewReply(550, [3]int{5, 1, 1}, "nobody"), MTA: "mx.far.example"}
	return queue.DSNRequest{Item: o.items[len(o.items)-1], Action: dsn.Failed, Recipients: []queue.Recipient{{Address: address("x@far.example"), Last: last}}, RetryUntil: time.Now().Add(time.Duration(len(id)))}
}

// With RefuseGroups, mail that no session has refused is reported too. Reports and the postmaster's
// mail go to groups.
func TestRefuseGroups(t *testing.T) {
	o := newOffice(t)
	must(t, o.Dir.AddAlias(address("everyone@office.example"), address("all@office.example")))
	o.SetConfig(Config{Hostname: "mail.office.example", RefuseGroups: true})
	o.send(nil, "boss@office.example", "all@office.example", "everyone@office.example", "anna@office.example")
	o.want("reports", o.reports("boss"), "failed all@office.example () 5.7.1 letter 7", "failed everyone@office.example () 5.7.1 letter 7")
	if all := o.mailbox("anna"); len(all) != 1 {
		t.Errorf("%d messages, want the one to anna herself", len(all))
	}
}

// TestNullSender: no report is ever made about a report.
func TestNullSender(t *testing.T) {
	o := newOffice(t)
	must(t, o.Report(notice(o, "")))
	o.want("badmail", o.badmail(), ".eml", ".env", ".txt")
	reason, err := filepath.Glob(filepath.Join(o.data, "badmail/*.txt"))
	must(t, err)
	if text, err := os.ReadFile(reason[0]); err != nil || !strings.Contains(string(text), "x@far.example: failed at ") || !strings.Contains(string(text), "550 5.1.1 nobody (said mx.far.example)") {
		t.Errorf("%s, %v", text, err)
	}
	must(t, os.RemoveAll(filepath.Join(o.data, "badmail")))
	twice := notice(o, "")
	must(t, o.Report(twice))
	must(t, o.Report(twice)) // another recipient, later
	o.want("badmail", o.badmail(), ".eml", ".env", ".txt", ".eml", ".env", ".txt")
	must(t, os.RemoveAll(filepath.Join(o.data, "badmail")))
	o.SetConfig(Config{Hostname: "mail.office.example", NullSender: Discard})
	must(t, o.Report(notice(o, "")))
	o.want("badmail", o.badmail())
	o.SetConfig(Config{Hostname: "mail.office.example", NullSender: ToPostmaster})
	must(t, o.Report(notice(o, "")))
	o.want("postmaster", o.reports("postmaster"), "failed x@far.example () 5.1.1 letter 7")
	// A report to an unknown recipient is kept, whatever the setting.
	must(t, o.Report(notice(o, "gone@office.example")))
	o.want("badmail", o.badmail(), ".eml", ".env", ".txt")
}

// TestMayHear: the setting and the sender's standing decide about reports.
func TestMayHear(t *testing.T) {
	for standing, want := range map[smtp.Standing]string{
		smtp.StandingLogin: "none verified all", smtp.StandingLocal: "none verified all",
		smtp.StandingSPF: "verified all", smtp.StandingDMARC: "verified all",
		smtp.StandingNone: "all", smtp.StandingUnknown: "all", "new in a later version": "all",
	} {
		var got []string
		for i, setting := range []string{"none", "verified", "all"} {
			if mayGetReport(Strangers(i), standing) {
				got = append(got, setting)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: %q, want %q", standing, got, want)
		}
	}
}

// TestStranger: a sender that is not verified never gets a report. A failed message is kept,
// dropped, or reported to the postmaster.
func TestStranger(t *testing.T) {
	o := newOffice(t)
	o.from = queue.Source{Service: "smtp", Standing: smtp.StandingNone}
	const victim = "victim@far.example"
	about := func(action dsn.Action) queue.DSNRequest {
		n := notice(o, victim)
		n.Action = action
		return n
	}
	o.items = nil
	for _, action := range []dsn.Action{dsn.Delayed, dsn.Relayed, dsn.Delivered, dsn.Expanded} {
		must(t, o.Report(about(action)))
	}
	o.want("badmail", o.badmail())
	must(t, o.Report(about(dsn.Failed)))
	o.want("badmail", o.badmail(), ".eml", ".env", ".txt")
	reason, err := badmail.Read(o.root, o.items[len(o.items)-1].ID, ".txt")
	if err != nil || !strings.Contains(string(reason), "No report was sent: the sender has no standing.") {
		t.Errorf("%s, %v", reason, err)
	}
	o.send([]string{"SUCCESS"}, victim, "anna@office.example")
	o.send([]string{"SUCCESS"}, victim, "all@office.example")
	o.send(nil, victim, "nobody@office.example")
	for _, item := range o.items {
		if item.From.IsZero() {
			t.Errorf("a report left to %v", item.To)
		}
	}
	if n := o.Suppressed(); n != 8 {
		t.Errorf("%d reports suppressed", n)
	}
	o.SetConfig(Config{Hostname: "mail.office.example", NullSender: Discard})
	must(t, o.Report(about(dsn.Failed)))
	o.want("postmaster", o.reports("postmaster"))
	o.SetConfig(Config{Hostname: "mail.office.example", NullSender: ToPostmaster})
	must(t, o.Report(about(dsn.Failed)))
	o.want("postmaster", o.reports("postmaster"), "failed x@far.example () 5.1.1 letter 7")
}

// TestVouched: DNS is queried about a remote sender only when a report is due and the answer
// decides.
func TestVouched(t *testing.T) {
	tests := []struct {
		name      string
		standing  smtp.Standing
		strangers Strangers
		dns       smtp.Standing
		asked     int
		told      bool
	}{
		{"logged in", smtp.StandingLogin, VerifiedStrangers, smtp.StandingNone, 0, true},
		{"passed when it came", smtp.StandingSPF, VerifiedStrangers, smtp.StandingNone, 0, true},
		{"passes now", smtp.StandingNone, VerifiedStrangers, smtp.StandingSPF, 1, true},
		{"does not pass", smtp.StandingNone, VerifiedStrangers, smtp.StandingNone, 1, false},
		{"an old state", smtp.StandingUnknown, VerifiedStrangers, smtp.StandingSPF, 1, true},
		{"by setting nobody", smtp.StandingNone, NoStrangers, smtp.StandingSPF, 0, false},
		{"by setting all", smtp.StandingNone, AllStrangers, smtp.StandingNone, 0, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o := newOffice(t)
			o.from = queue.Source{Service: "smtp", Standing: test.standing}
			asked := 0
			o.SetConfig(Config{Hostname: "mail.office.example", Strangers: test.strangers, Vouch: func(*queue.Source, addr.Address) smtp.Standing {
				asked++
				return test.dns
			}})
			n := notice(o, "a@far.example")
			o.items = nil
			must(t, o.Report(n))
			if told := len(o.items) == 1; told != test.told || asked != test.asked {
				t.Errorf("told %v, want %v; DNS was asked %d times, want %d", told, test.told, asked, test.asked)
			}
		})
	}
}

// TestLimits: reports beyond the limits, to one address or to all, are not sent. Failed messages
// are kept all the same.
func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t)
		o.SetConfig(Config{Hostname: "mail.office.example", PerAddress: 3, PerHour: 5})
		o.SetConfig(Config{Hostname: "mail.office.example", PerAddress: 3, PerHour: 5, Strangers: VerifiedStrangers})
		o.from.Standing = smtp.StandingSPF // strangers with a domain of their own use up what is theirs
		for i := range 50 {
			must(t, o.Report(notice(o, fmt.Sprintf("x%d@evil.example", i))))
		}
		if n := o.Suppressed(); n != 45 {
			t.Errorf("%d suppressed", n)
		}
		o.suppressed.Store(0)
		must(t, os.RemoveAll(filepath.Join(o.data, "badmail")))
		o.from.Standing = smtp.StandingLogin
		failed := func(from string, n int) {
			for range n {
				must(t, o.Report(notice(o, from)))
			}
		}
		failed("anna@office.example", 10)
		if got := len(o.reports("anna")); got != 3 {
			t.Errorf("anna has %d reports", got)
		}
		failed("boss@office.example", 10)
		if got := len(o.reports("boss")); got != 2 {
			t.Errorf("boss has %d reports", got)
		}
		if kept, err := badmail.List(o.root); err != nil || len(kept) != 15 || o.Suppressed() != 15 {
			t.Errorf("%d kept, %d suppressed, %v", len(kept), o.Suppressed(), err)
		}
		time.Sleep(61 * time.Minute)
		failed("boss@office.example", 1)
		if got := len(o.reports("boss")); got != 3 {
			t.Errorf("boss has %d reports an hour later", got)
		}
	})
}

func TestReport(t *testing.T) {
	o := newOffice(t)
	o.SetConfig(Config{Hostname: "mail.office.example", CopyTo: address("boss@office.example"), Language: dsn.German, MaxReturn: 1 << 20,
		From: address("postmaster@office.example")})
	must(t, o.Report(notice(o, "anna@office.example")))
	const want = "failed x@far.example () 5.1.1 letter 7"
	o.want("anna", o.reports("anna"), want)
	o.want("boss", o.reports("boss"), want)
	text := o.mailbox("anna")[0]
	for _, part := range []string{"Return-Path: <>\r\n", "<postmaster@office.example>", "Grund: ", "550 5.1.1 nobody", "Subject: hello"} {
		if !strings.Contains(text, part) {
			t.Errorf("without %q:\n%s", part, text)
		}
	}
}

// TestNoRoom: reports are delivered even to a full mailbox. Recipients with full mailboxes are
// reported.
type narrow struct{}

func (narrow) OverQuota() bool          { return true }
func (narrow) Error() string            { return "no room" }
func (narrow) Room(string, int64) error { return nil }
func (narrow) Reserve(dir string, _ int64) (func(int64, int), error) {
	if strings.Contains(dir, "boss") {
		return nil, narrow{}
	}
	return func(int64, int) {}, nil
}
func (narrow) Release(string) func(int64, int) { return func(int64, int) {} }

func TestNoRoom(t *testing.T) {
	o := newOffice(t)
	var err error
	o.Store, err = mailstore.Open(o.root, mailstore.Options{Reserver: narrow{}})
	must(t, err)
	o.send(nil, "anna@office.example", "boss@office.example", "x@far.example")
	o.want("reports", o.reports("anna"), "failed boss@office.example () 5.2.2 letter 7")
	o.want("queue", o.queued(), "anna@office.example x@far.example [] ")
	env := smtp.Envelope{From: address("anna@office.example"), To: []smtp.Recipient{{Address: address("boss@office.example")}}}
	_, err = o.Inject(&env, queue.Source{}, "the test", strings.NewReader("Subject: x\r\n\r\n"))
	if r, ok := err.(*smtp.Reply); !ok || r.Code != 552 {
		t.Error(err)
	}
	o.send(nil, "boss@office.example", "nobody@office.example")
	o.want("boss", o.reports("boss"), "failed nobody@office.example () 5.1.1 letter 7")
}
