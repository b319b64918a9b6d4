package web

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"pillarbox/cmd/internal/config"
	"pillarbox/cmd/internal/doctor"
)

func TestRemedyParts(t *testing.T) {
	type parts = []remedyPart
	for text, want := range map[string]parts{
		"":                           nil,
		"free space":                 {{"free space", false}},
		"pillarbox admin tls renew":  {{"pillarbox admin tls renew", true}},
		"type 'sudo x y', then wait": {{"type ", false}, {"sudo x y", true}, {", then wait", false}},
		"sudo a b; 'pillarbox c d' shows it": {
			{"sudo a b; ", false}, {"pillarbox c d", true}, {" shows it", false}},
		"set 'hostname' anew": {{"set 'hostname' anew", false}},
	} {
		if got := remedyParts(text); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, want %+v", text, got, want)
		}
	}
}

// Each page that mends something is one of a check that there is.
func TestMendings(t *testing.T) {
	found := make(map[string]bool)
	list, err := os.ReadFile("../doctor/checks/list.go") // its package imports this one
	if err != nil {
		t.Fatal(err)
	}
	for _, check := range regexp.MustCompile(`{Name: "([^"]+)"`).FindAllStringSubmatch(string(list), -1) {
		if m := mendingOf(check[1]); m.Path != "" {
			found[m.Path] = true
		}
	}
	for _, path := range []string{"/certificates", "/dns", "/queue", "/stray", "/mailboxes", "/settings"} {
		if !found[path] {
			t.Errorf("no check leads to %s", path)
		}
	}
}

// The value of a rule comes back from its field as it was.
func TestPlainValue(t *testing.T) {
	for value, want := range map[string]string{
		`""`: "", `"plain"`: "plain", `"\"quoted\""`: `"quoted"`, `"a \"b\" \\ c"`: `a "b" \ c`, `"\\"`: `\`,
		`"tab\u0009here"`: "tab\there", `"Grüße"`: "Grüße", "25": "25", "true": "true",
	} {
		k := config.KeyInfo{Kind: "a string"}
		k.Value = value
		if got := plainValue(k); got != want {
			t.Errorf("%s: %q, want %q", value, got, want)
		}
	}
}

// The overview shows what the doctor found, and how to mend it.
func TestDoctorOnOverview(t *testing.T) {
	o := newOffice(t)
	b := o.logIn(t, boss)
	const heading = "What the doctor found"
	if _, text := b.get("/overview"); strings.Contains(text, heading) {
		t.Error("it never ran")
	}
	report := doctor.Report{Time: time.Now(), Results: []doctor.Result{
		{Check: "clock", Findings: []doctor.Finding{{Severity: doctor.OK, Message: "the clock is right"}}},
		{Check: "certificate", Findings: []doctor.Finding{{Severity: doctor.Warning,
			Message: "it ends in <b>9</b> days", Fix: "pillarbox admin tls renew"}}},
		{Check: "disk", Findings: []doctor.Finding{{Severity: doctor.Error, Message: "it is full", Fix: "free space"}}},
	}}
	if err := doctor.Save(o.service.Root, report); err != nil {
		t.Fatal(err)
	}
	_, text := b.get("/overview")
	for _, want := range []string{heading, "it ends in &lt;b&gt;9&lt;/b&gt; days",
		`<code class="copy">pillarbox admin tls renew</code>`, `<a class="button" href="/certificates">`,
		"it is full", "<p lang=\"en\">free space</p>"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %s", want, text)
		}
	}
	if strings.Contains(text, "the clock is right") || strings.Contains(text, "Everything is in order") {
		t.Error(text)
	}
}
