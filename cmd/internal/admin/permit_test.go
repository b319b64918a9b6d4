package admin

import (
	"errors"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"pillarbox/smtp/queue"
)

// TestEveryVerbAsks calls each method of Service for an operator without rights. It fails if a
// method is in neither of the two lists.
func TestEveryVerbAsks(t *testing.T) {
	o := town(t)
	v := o.As(Operator{Name: "nobody"})
	ctx, now := t.Context(), time.Now()
	const box, domain = "carl@ours.example", "ours.example"
	only := func(_ any, err error) error { return err }
	asks := map[string]func() error{
		"AddAlias":          func() error { return only(v.AddAlias("x@"+domain, box)) },
		"AddDevice":         func() error { return only(v.AddDevice(NewDevice{})) },
		"AddDomain":         func() error { return only(v.AddDomain("new.example")) },
		"AddGroup":          func() error { return only(v.AddGroup("x@" + domain)) },
		"AddMailbox":        func() error { return only(v.AddMailbox("x@"+domain, NewMailbox{})) },
		"AddMembers":        func() error { return only(v.AddMembers("staff@"+domain, box)) },
		"AddOperator":       func() error { return only(v.AddOperator(NewOperator{Name: "unix:nobody"})) },
		"ChangeQuota":       func() error { return only(v.ChangeQuota(box, QuotaChange{Size: "none"})) },
		"ChangeRetention":   func() error { return only(v.ChangeRetention(RetentionPreview{Target: box})) },
		"CheckMail":         func() error { return only(v.CheckMail(ctx, box, CheckOptions{})) },
		"CheckMailbox":      func() error { return v.CheckMailbox(box) },
		"CheckNewMailbox":   func() error { return v.CheckNewMailbox("x@" + domain) },
		"CheckTarget":       func() error { return v.CheckTarget(box) },
		"ClientCerts":       func() error { return only(v.ClientCerts(box)) },
		"IssueClientCert":   func() error { _, _, err := v.IssueClientCert(box, NewClientCert{}); return err },
		"RevokeClientCert":  func() error { return only(v.RevokeClientCert(box, "ab")) },
		"RevokeClientCerts": func() error { return only(v.RevokeClientCerts(box)) },
		"ClearCatchAll":     func() error { return only(v.ClearCatchAll(domain)) },
		"ClearForward":      func() error { return only(v.ClearForward(box)) },
		"CountQuotas":       func() error { return only(v.CountQuotas(domain, 0, nil)) },
		"CreateDKIM":        func() error { return only(v.CreateDKIM(domain, "", "", now)) },
		"DKIMState":         func() error { return only(v.DKIMState(domain, "x", now)) },
		"DueNow":            func() error { return only(v.DueNow(box, now)) },
		"Explain":           func() error { return only(v.Explain(ctx, Question{})) },
		"ExportMail":        func() error { return only(v.ExportMail(ctx, box, t.TempDir(), TransferOptions{})) },
		"GrantSendAs":       func() error { return only(v.GrantSendAs(box, "anna@"+domain)) },
		"ImportMail":        func() error { return only(v.ImportMail(ctx, box, t.TempDir(), TransferOptions{})) },
		"ListAliases":       func() error { return only(v.ListAliases(domain)) },
		"ListDevices":       func() error { return only(v.ListDevices()) },
		"ListDirectories":   func() error { return only(v.ListDirectories()) },
		"ListGroups":        func() error { return only(v.ListGroups(domain)) },
		"ListMailboxes":     func() error { return only(v.ListMailboxes(domain)) },
		"ListOperators":     func() error { return only(v.ListOperators()) },
		"ListQuotas":        func() error { return only(v.ListQuotas(domain, 0)) },
		"ListSendAs":        func() error { return only(v.ListSendAs(box)) },
		"LockDomain":        func() error { return only(v.LockDomain(domain)) },
		"LockMailbox":       func() error { return only(v.LockMailbox(box)) },
		"MigrateAuth":       func() error { return only(v.MigrateAuth(box, Migration{Method: "file"})) },
		"PolicyDiff":        func() error { _, _, _, err := v.PolicyDiff(v.Config()); return err },
		"PreviewRetention":  func() error { return only(v.PreviewRetention(box, RetentionChange{After: "1"}, now)) },
		"QueueIDs":          func() error { return only(v.QueueIDs(nil)) },
		"RefusedStrangers":  func() error { return only(v.RefusedStrangers()) },
		"ReleaseMailbox":    func() error { return only(v.ReleaseMailbox(box)) },
		"RemoveAlias":       func() error { return only(v.RemoveAlias("x@" + domain)) },
		"RemoveDKIM":        func() error { return only(v.RemoveDKIM(domain, "x", now)) },
		"RemoveDevice":      func() error { return only(v.RemoveDevice("x")) },
		"RemoveDomain":      func() error { return only(v.RemoveDomain(domain, true)) },
		"RemoveGroup":       func() error { return only(v.RemoveGroup("staff@" + domain)) },
		"RemoveMailbox":     func() error { return only(v.RemoveMailbox(box)) },
		"RemoveMembers":     func() error { return only(v.RemoveMembers("staff@"+domain, box)) },
		"RemoveOperator":    func() error { return only(v.RemoveOperator("unix:carol")) },
		"RenameMailbox":     func() error { return only(v.RenameMailbox(box, "x")) },
		"RevokeSendAs":      func() error { return only(v.RevokeSendAs(box, "anna@"+domain)) },
		"RotateDKIM":        func() error { return only(v.RotateDKIM(domain, "", "", now, 0)) },
		"RouteAddresses":    func() error { _, _, err := v.RouteAddresses("x@remote.example", ""); return err },
		"RetentionTargets":  func() error { _, _, err := v.RetentionTargets(box); return err },
		"RunRetention":      func() error { return only(v.RunRetention(ctx, "", now)) },
		"SetCatchAll":       func() error { return only(v.SetCatchAll(domain, box)) },
		"SetDomainMethod":   func() error { return only(v.SetDomainMethod(domain, "default")) },
		"SetForward":        func() error { return only(v.SetForward(box, []string{"anna"}, false)) },
		"SetGroupAccept":    func() error { return only(v.SetGroupAccept("staff@"+domain, "inside")) },
		"SetGroupInbound":   func() error { return only(v.SetGroupInbound("staff@"+domain, "allow")) },
		"SetGroupOutside":   func() error { return only(v.SetGroupOutside("staff@"+domain, "allow")) },
		"SetMailboxInbound": func() error {
			return only(v.SetMailboxInbound(box, "allow"))
		},
		"SetMailboxOutside":  func() error { return only(v.SetMailboxOutside(box, "allow")) },
		"SetPassword":        func() error { return only(v.SetPassword(box, "x4-y5-z6-w7")) },
		"SetQuota":           func() error { return only(v.SetQuota(box, "none")) },
		"SetSecrets":         func() error { return only(v.SetSecrets(box, "none")) },
		"ShowDKIM":           func() error { return only(v.ShowDKIM(domain, now)) },
		"ShowDevice":         func() error { return only(v.ShowDevice("x")) },
		"ShowDomain":         func() error { return only(v.ShowDomain(domain)) },
		"ShowGroup":          func() error { return only(v.ShowGroup("staff@" + domain)) },
		"ShowMailbox":        func() error { return only(v.ShowMailbox(box)) },
		"ShowOperator":       func() error { return only(v.ShowOperator("unix:carol")) },
		"ShowQuota":          func() error { return only(v.ShowQuota(domain)) },
		"ShowRetention":      func() error { return only(v.ShowRetention(box, now)) },
		"StatDomain":         func() error { return only(v.StatDomain(domain)) },
		"StatMailbox":        func() error { return only(v.StatMailbox(box)) },
		"StatMailboxes":      func() error { return only(v.StatMailboxes(domain)) },
		"SuggestDevice":      func() error { return only(v.SuggestDevice("192.0.2.1")) },
		"TestDevice":         func() error { return only(v.TestDevice(ctx, "x", "")) },
		"TestDirectory":      func() error { return only(v.TestDirectory("", "", "")) },
		"UnlockDomain":       func() error { return only(v.UnlockDomain(domain)) },
		"UnlockMailbox":      func() error { return only(v.UnlockMailbox(box)) },
		"Require":            func() error { return v.Require(domain, false) },
		"RequireAll":         func() error { return v.RequireAll(false) },
		"RequireTarget":      func() error { return v.RequireTarget(box, false) },
		"ListBadmail":        func() error { return only(v.ListBadmail()) },
		"BadmailIDs":         func() error { return only(v.BadmailIDs(nil, 0, now)) },
		"ShowBadmail":        func() error { return only(v.ShowBadmail("x")) },
		"RemoveBadmail":      func() error { return v.RemoveBadmail(nil) },
		"ListQuarantine":     func() error { return only(v.ListQuarantine()) },
		"QuarantineIDs":      func() error { return only(v.QuarantineIDs(nil)) },
		"ShowQuarantined":    func() error { return only(v.ShowQuarantined("x")) },
		"RemoveQuarantined":  func() error { return v.RemoveQuarantined(nil) },
		"RestoreQuarantined": func() error { return v.RestoreQuarantined(nil, NewState{}, now) },
		"ReadQueue":          func() error { _, _, _, err := v.ReadQueue(queue.Filter{}, 0, now); return err },
	}
	free := []string{
		"Close", "Config", "SetConfig", "ParseUser", "ParseMethod", // no secrets, no change
		"As", "By", "Operator", "MailOperator", "UnixOperator", "Record", "RecordRefusal", "OnAuditFailure",
		"Audit", "ListDomains", "StatDomains", "ListRoutes", // leave out what he may not see
		"TestRoute",                                                                              // after RouteAddresses
		"WatchQuota", "QuotaNotice", "KeptDays", "NotesFetched", "RetentionRound", "KeepVersion", // the server's own
		"AuthSettings", "Backend", "LogInWarnings",
	}
	for _, name := range slices.Sorted(maps.Keys(asks)) {
		if err := asks[name](); !errors.Is(err, ErrNotPermitted) {
			t.Errorf("%s: %v", name, err)
		}
	}
	methods := reflect.TypeFor[*Service]()
	for m := range methods.Methods() {
		_, asked := asks[m.Name]
		if asked == slices.Contains(free, m.Name) {
			t.Errorf("%s: does it ask what an operator may? It is to be in one of the lists", m.Name)
		}
	}
	if all, err := v.ListDomains(); err != nil || len(all) > 0 {
		t.Errorf("he sees %v, %v", all, err)
	}
	if all, _, err := v.Audit(AuditQuestion{}); err != nil || len(all) > 0 {
		t.Errorf("he sees %v, %v", all, err)
	}
}
