package config

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// allKeys returns every row: the keys outside the tables, and those of a first entry of each table,
// which the configuration has.
func allKeys() (Config, []key) {
	c := Default()
	for _, t := range tables() {
		t.grow(&c)
	}
	return c, c.keys()
}

// A row has a text, and a default that its own check accepts.
func TestRows(t *testing.T) {
	c, all := allKeys()
	seen := map[string]bool{}
	for _, k := range all {
		if seen[k.name] {
			t.Errorf("%s is there twice", k.name)
		}
		seen[k.name] = true
		if k.doc == "" {
			t.Errorf("%s has no text", k.name)
		}
		if k.in == nil && k.reset == nil {
			t.Errorf("%s has no default", k.name)
		}
		if k.restart && k.copy == nil {
			t.Errorf("%s needs a restart and cannot be kept", k.name)
		}
		shown := k.sample
		if shown == "" {
			shown = k.show(&c)
		}
		if k.name == "hostname" {
			continue // it has no default
		}
		if faults := k.set(&c, decoded(shown), func(int) string { return byDefault }); faults != nil {
			t.Errorf("%s = %s: %+v", k.name, shown, faults)
		}
		if k.sample == "" && k.show(&c) != shown {
			t.Errorf("%s = %s became %s", k.name, shown, k.show(&c))
		}
	}
}

// The first text of a section is for its first key.
func TestTextsBegin(t *testing.T) {
	for _, row := range sectionRows() {
		if len(row.keys) > 0 && row.keys[0].doc == above && row.intro == "" {
			t.Errorf("[%s] begins without a text", row.name)
		}
	}
	for _, table := range tables() {
		c := Default()
		if _, keys := table.grow(&c); keys[0].doc == above || table.intro == "" {
			t.Errorf("[[%s]] begins without a text", table.name)
		}
	}
}

// Each key and each section is in the sample once. scanners is the example of [groups].
func TestSampleHasEachKeyOnce(t *testing.T) {
	lines := map[string]int{}
	section := ""
	header := regexp.MustCompile(`^(?:# )?\[\[?([a-z0-9.]+)\]\]?$`)
	assignment := regexp.MustCompile(`^(?:#   |# )?([a-z0-9_]+) = `)
	for line := range strings.SplitSeq(string(Render(sampleValues())), "\n") {
		if found := header.FindStringSubmatch(line); found != nil {
			section = found[1] + "."
			lines[section]++
		} else if found := assignment.FindStringSubmatch(line); found != nil && found[1] != "scanners" {
			lines[section+found[1]]++
		}
		if len([]rune(line)) > 78 && strings.HasPrefix(line, "# ") && !assignment.MatchString(line) {
			t.Errorf("a long line: %s", line)
		}
	}
	_, all := allKeys()
	for _, k := range all {
		if n := lines[strings.Replace(k.name, "[1]", "", 1)]; n != 1 {
			t.Errorf("%s is in the sample %d times", k.name, n)
		}
	}
	for _, row := range sectionRows() {
		if row.name != "" && lines[row.name+"."] != 1 {
			t.Errorf("[%s] is in the sample %d times", row.name, lines[row.name+"."])
		}
	}
	if n := len(all) + len(sectionRows()) - 1 + len(tables()); len(lines) != n {
		t.Errorf("%d keys and sections are in the sample, not %d", len(lines), n)
	}
}

// Settings that need a restart keep their effective value. Paths become absolute.
func TestKeepRestartKeys(t *testing.T) {
	inForce := mustLoad(t, "hostname = \"a.example\"\n")
	next := mustLoad(t, `hostname = "b.example"
data = "/other"
listen = { smtp = [":26"], odmr = [":366"] }
log = { level = "debug", format = "json" }
pickup.enabled = false
local = { enabled = false, outside = false, socket = "/s" }
operators = { enabled = false, socket = "/o" }
`)
	next.KeepRestartKeys(inForce)
	changed := Diff(inForce, next)
	if got := RestartKeys(changed); len(got) > 0 {
		t.Errorf("%v did not stay", got)
	}
	if next.Hostname != "b.example" || next.Local.Outside {
		t.Errorf("other keys stayed: %v", changed)
	}
	if !reflect.DeepEqual(next.Listen, inForce.Listen) || next.Local.Socket != inForce.Local.Socket {
		t.Errorf("got %+v", next)
	}
}

// A quota without a unit would be one of a few octets.
func TestQuotaNeedsAUnit(t *testing.T) {
	for text, want := range map[string]string{
		`mailboxes.default_quota = "500"`:  `"500" has no unit; write "500MB" for megabytes, "500B" for bytes, or "0" for no limit`,
		`mailboxes.default_quota = 500`:    `write "500MB" for megabytes, "500B" for bytes, or "0" for no limit`,
		`reports.max_return = " 70 "`:      `" 70 " has no unit; write "70MB" for megabytes, "70B" for bytes, or "0" for only headers`,
		`mailboxes.default_quota = "500B"`: "",
		`mailboxes.default_quota = "0"`:    "",
		`reports.max_return = "0"`:         "",
	} {
		_, err := Parse("pillarbox.toml", []byte("hostname = \"mail.office.example\"\n"+text+"\n"), nil)
		if got := fmt.Sprint(err); want == "" && err != nil || !strings.HasSuffix(got, want) && want != "" {
			t.Errorf("%s: %s", text, got)
		}
	}
}
