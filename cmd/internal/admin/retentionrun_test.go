package admin

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pillarbox/cmd/internal/config"
)

func TestRetentionRunVerb(t *testing.T) {
	cfg := config.Default()
	cfg.Data, cfg.Mailboxes.DeleteAfter = t.TempDir(), 30
	o, err := Open(&cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close() })
	if _, err := o.AddDomain("office.example"); err != nil {
		t.Fatal(err)
	}
	if _, err := o.AddMailbox("anna", NewMailbox{}); err != nil {
		t.Fatal(err)
	}
	old := filepath.Join(cfg.Data, "mailbox/office.example/P3_anna.mbx",
		"P3_"+time.Now().AddDate(0, 0, -31).UTC().Format("20060102150405")+"471100000001_1.eml")
	if err := os.WriteFile(old, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(target string) ([]RetentionResult, error) {
		return RetentionRun.Do(t.Context(), o, RetentionOrder{Target: target, Delete: true})
	}
	if _, err := run("nobody@office.example"); err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("nobody: %v", err)
	}
	all, err := run("anna@office.example")
	if err != nil || len(all) != 1 || all[0].Messages != 1 || all[0].Mailbox.String() != "anna@office.example" || all[0].Rule.After != 30 {
		t.Errorf("%+v, %v", all, err)
	}
	if all, err = run(""); err != nil || all == nil || len(all) != 0 {
		t.Errorf("%+v, %v", all, err)
	}
}
