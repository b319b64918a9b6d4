package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pillarbox/quota"
	"pillarbox/smtp"
	"pillarbox/smtp/decisionlog"
	"pillarbox/smtp/policy"
	"pillarbox/smtp/route"
)

// travels wants an output to be the same after its way through JSON.
func travels[T any](t *testing.T, name string, out T) {
	t.Helper()
	before, err := json.Marshal(out)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	var there T
	if err := json.Unmarshal(before, &there); err != nil {
		t.Errorf("%s: %v\n%s", name, err, before)
		return
	}
	if after, err := json.Marshal(there); err != nil || string(after) != string(before) {
		t.Errorf("%s: %v\n%s\n%s", name, err, before, after)
	}
}

// The outputs of verbs with types that encode themselves, or with parts that may be absent.
func TestOutputsTravel(t *testing.T) {
	o := town(t)
	must := func(_ Change, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(o.AddDevice(NewDevice{Name: "scanner", IPs: []string{"192.168.1.48/28"}, MaySendTo: "local", As: "anna@ours.example"}))
	must(o.AddDevice(NewDevice{Name: "ups", IPs: []string{"192.168.1.70"}, MaySendTo: "all", PerHour: 7}))
	for name, q := range map[string]Question{
		"refused":  {IP: netip.MustParseAddr("192.0.2.7"), Service: smtp.MTA, From: "<>", To: "nobody@ours.example"},
		"accepted": {IP: netip.MustParseAddr("2001:db8::7"), Service: smtp.SMTPS, User: "boss@ours.example", To: "carl@theirs.example"},
		"device":   {IP: netip.MustParseAddr("192.168.1.50"), Service: smtp.MTA, To: "anna@ours.example"},
	} {
		travels(t, "question "+name, q)
		e, err := Explain.Do(t.Context(), o, q)
		if err != nil || len(e.Decisions) == 0 {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
		travels(t, name, e)
	}
	devices, err := DeviceList.Do(t.Context(), o, struct{}{})
	if err != nil || len(devices) != 2 {
		t.Errorf("%+v, %v", devices, err)
	}
	travels(t, "devices", devices)
	cfg := *o.Config()
	isp := route.Host{Name: "mail.isp.example", Port: 587}
	cfg.Routes = route.Table{Routes: []route.Route{{Name: "isp", Domains: []string{"isp.example"}, SmartHost: []route.Host{isp}, TLS: route.TLSVerified, Hold: true}}}
	if err := o.SetConfig(&cfg); err != nil {
		t.Fatal(err)
	}
	routes, err := RouteList.Do(t.Context(), o, struct{}{})
	if err != nil || len(routes) != 2 {
		t.Errorf("%+v, %v", routes, err)
	}
	travels(t, "routes", routes)
	keys, err := DKIMCreate.Do(t.Context(), o, DKIMOrder{Domain: "ours.example", Type: "ed25519"})
	if err != nil || keys.State == "" {
		t.Errorf("%+v, %v", keys, err)
	}
	travels(t, "key", keys)
	facts := policy.Facts{Client: policy.Client{Service: smtp.MTA, Remote: netip.MustParseAddr("192.0.2.7")}}
	attempt := decisionlog.Attempt{Record: decisionlog.Record{Time: time.Now(), Facts: facts, Verdict: "refuse"}, Times: 3}
	travels(t, "attempts", Suggested{Attempts: []decisionlog.Attempt{attempt}})
	travels(t, "suggestion", Suggested{Suggestion: &Suggestion{Name: "x", Warnings: []string{}}})
	events, err := AuditShow.Do(t.Context(), o, AuditQuestion{})
	if err != nil || len(events) == 0 {
		t.Errorf("%+v, %v", events, err)
	}
	travels(t, "events", events)
	travels(t, "damaged", QuarantineShown{Message: Spooled{ID: "P3_1", Size: -1, Problem: "its message is missing", Damaged: true}, Hint: "x"})
}

// A check compares with what the running server believes, and tells if that cannot be.
func TestCheckAsksServer(t *testing.T) {
	o := mailOffice(t)
	var notes []string
	check := func(target string) (CheckReport, error) {
		notes = nil
		view := o.For(Caller{Tell: func(p Part) { notes = append(notes, p.Note) }})
		return Check.Do(context.Background(), view, CheckOrder{Target: target})
	}
	if _, err := check("anna"); err != nil || len(notes) != 1 || !strings.Contains(notes[0], "the server is not running") {
		t.Errorf("not running: %q, %v", notes, err)
	}
	if _, err := check("nobody"); err == nil || !strings.Contains(err.Error(), "not found") || len(notes) > 0 {
		t.Errorf("nobody: %q, %v", notes, err)
	}
	o.CountAgain = func() ([]quota.Recount, error) { return nil, errors.New("busy") }
	if _, err := check("anna"); err != nil || len(notes) != 1 || !strings.Contains(notes[0], "were not checked: busy") {
		t.Errorf("busy: %q, %v", notes, err)
	}
	o.CountAgain = func() ([]quota.Recount, error) {
		return []quota.Recount{{Dir: "mailbox/office.example/P3_anna.mbx", Before: quota.Usage{Bytes: 3, Messages: 1}, After: quota.Usage{Bytes: 6, Messages: 2}}}, nil
	}
	r, err := check("anna")
	if err != nil || len(notes) > 0 || len(r.Findings) == 0 || r.Findings[0].Problem != ProblemLedger {
		t.Errorf("wrong: %+v, %q, %v", r.Findings, notes, err)
	}
}
