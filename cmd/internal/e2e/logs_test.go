//go:build e2e

package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestW3CLog: a log analyser that others wrote reads every line of the W3C logs.
func TestW3CLog(t *testing.T) {
	needs(t, "goaccess")
	o := newOffice(t)
	dir := t.TempDir()
	o.set(t, "log.w3c", "directory", `"`+dir+`"`)
	o.set(t, "log.w3c", "services", `["smtp", "pop3"]`)
	o.set(t, "log.w3c", "fields", `["date", "time", "c-ip", "cs-username", "s-sitename", "s-computername",
		"s-ip", "s-port", "cs-method", "cs-uri-stem", "cs-uri-query", "sc-status", "sc-win32-status",
		"sc-bytes", "cs-bytes", "time-taken", "cs-version", "cs-host", "cs(User-Agent)", "cs(Cookie)",
		"cs(Referer)"]`)
	s := o.serve(t)
	o.pillarbox(t, "", "selftest")
	s.stop(t)
	for site, verb := range map[string]string{"SMTPSVC1": "EHLO", "POP3SVC1": "STAT"} {
		files, err := filepath.Glob(filepath.Join(dir, site, "ex??????.log"))
		if err != nil || len(files) == 0 {
			t.Errorf("%s: %q, %v", site, files, err)
			continue
		}
		text, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		lines := 0
		for line := range strings.Lines(string(text)) {
			if !strings.HasPrefix(line, "#") {
				lines++
			}
		}
		if lines == 0 || !strings.Contains(string(text), " "+verb+" - ") {
			t.Errorf("%s:\n%s", site, text)
		}
		if got := goaccess(t, files[0]); got.Total != lines || got.Valid != lines || got.Failed != 0 {
			t.Errorf("%s has %d lines; goaccess: %+v\n%s", site, lines, got, text)
		}
	}
}

// analysed is what goaccess says about a file.
type analysed struct {
	Total  int `json:"total_requests"`
	Valid  int `json:"valid_requests"`
	Failed int `json:"failed_requests"`
}

// goaccess reads a W3C log as the guide says.
func goaccess(t *testing.T, file string) analysed {
	t.Helper()
	out := filepath.Join(t.TempDir(), "report.json")
	mustRun(t, exec.Command("goaccess", file, "--no-global-config", "--no-strict-status",
		"--date-format=%Y-%m-%d", "--time-format=%H:%M:%S",
		"--log-format=%d %t %h %e %v %^ %^ %^ %U %^ %q %s %^ %b %^ %L %^", "-o", out))
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		General analysed `json:"general"`
	}
	if err := json.Unmarshal(text, &report); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return report.General
}
