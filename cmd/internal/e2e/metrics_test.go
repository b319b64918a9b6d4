//go:build e2e

package e2e

import (
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestPromtool: Prometheus' own program accepts the figures of a server that has received mail, and
// the alert rules.
func TestPromtool(t *testing.T) {
	needs(t, "promtool")
	rules, err := filepath.Abs("../../../etc/monitoring/pillarbox-alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	if out := mustRun(t, exec.Command("promtool", "check", "rules", rules)); !strings.Contains(out, "SUCCESS") {
		t.Error(out)
	}

	o := newOffice(t)
	address := "127.0.0.1:" + freePort(t)
	o.set(t, "listen", "metrics", `["`+address+`"]`)
	o.serve(t)
	o.pillarbox(t, "", "selftest")
	if text := httpGet(t, "http://"+address+"/readyz"); text != "ready\n" {
		t.Errorf("readyz: %q", text)
	}
	figures := httpGet(t, "http://"+address+"/metrics")
	cmd := exec.Command("promtool", "check", "metrics")
	cmd.Stdin = strings.NewReader(figures)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
	for _, want := range []string{
		"pillarbox_ready 1\n", "pillarbox_disk_answers 1\n", `pillarbox_sessions{service="smtp"} `,
		`pillarbox_store_duration_seconds_count{step="commit"} `,
	} {
		if !strings.Contains(figures, want) {
			t.Errorf("no %q", want)
		}
	}
}

// httpGet returns the text of an answer.
func httpGet(t *testing.T, url string) string {
	t.Helper()
	client := http.Client{Timeout: 30 * time.Second}
	res, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
