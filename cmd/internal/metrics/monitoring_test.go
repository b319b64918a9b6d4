package metrics

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const folder = "../../../etc/monitoring/"

var metricName = regexp.MustCompile(`\bpillarbox_[a-z0-9_]+`)

// wholeScrape returns a scrape of a server in which everything has happened once.
func wholeScrape(t *testing.T) string {
	m := newMetrics()
	m.Watch(newReadings())
	store, err := openStore(t)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range allKinds() {
		e.ID = store.NewID(e.Time)
		m.Read(&e)
	}
	return scrape(t, m)
}

// TestMonitoringNames: each metric in the alert rules and in the dashboard exists.
func TestMonitoringNames(t *testing.T) {
	known := names(wholeScrape(t))
	for _, file := range []string{"pillarbox-alerts.yml", "grafana-dashboard.json"} {
		text, err := os.ReadFile(folder + file)
		if err != nil {
			t.Fatal(err)
		}
		found := metricName.FindAllString(string(text), -1)
		if len(found) < 10 {
			t.Errorf("%s: only %d metrics", file, len(found))
		}
		for _, name := range found {
			if !slices.Contains(known, name) {
				t.Errorf("%s: the server has no %s", file, name)
			}
		}
	}
}

// TestConventions: names follow "Metric and label naming" of Prometheus.
func TestConventions(t *testing.T) {
	text := wholeScrape(t)
	for line := range strings.SplitSeq(text, "\n") {
		fields := strings.Fields(line)
		if len(fields) != 4 || fields[1] != "TYPE" || !strings.HasPrefix(fields[2], "pillarbox_") {
			continue
		}
		name, kind := fields[2], fields[3]
		if strings.HasSuffix(name, "_total") != (kind == "counter") {
			t.Errorf("%s is a %s", name, kind)
		}
		for _, unit := range []string{"_ms", "_minutes", "_megabytes", "_percent", "_count"} {
			if strings.HasSuffix(name, unit) {
				t.Errorf("%s is not in a base unit", name)
			}
		}
	}
}

// TestDashboard: the dashboard is what Grafana imports, with the panels that the guide names.
func TestDashboard(t *testing.T) {
	text, err := os.ReadFile(folder + "grafana-dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		UID           string `json:"uid"`
		Title         string `json:"title"`
		SchemaVersion int    `json:"schemaVersion"`
		Templating    struct {
			List []struct{ Name, Type string } `json:"list"`
		} `json:"templating"`
		Panels []struct {
			ID      int                      `json:"id"`
			Type    string                   `json:"type"`
			Title   string                   `json:"title"`
			GridPos struct{ H, W, X, Y int } `json:"gridPos"`
			Targets []struct {
				Expr  string `json:"expr"`
				RefID string `json:"refId"`
			} `json:"targets"`
			Datasource struct{ Type, UID string } `json:"datasource"`
		} `json:"panels"`
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	if d.UID == "" || d.Title == "" || d.SchemaVersion < 36 || len(d.Templating.List) == 0 {
		t.Errorf("%q %q %d", d.UID, d.Title, d.SchemaVersion)
	}
	ids, titles := map[int]bool{}, ""
	for _, p := range d.Panels {
		titles += p.Title + "\n"
		g := p.GridPos
		if ids[p.ID] || g.W <= 0 || g.H <= 0 || g.X+g.W > 24 || len(p.Targets) == 0 ||
			p.Datasource.UID != "${datasource}" {
			t.Errorf("panel %d %q: %+v", p.ID, p.Title, p)
		}
		ids[p.ID] = true
		for _, target := range p.Targets {
			if target.RefID == "" || !metricName.MatchString(target.Expr) {
				t.Errorf("panel %q: %+v", p.Title, target)
			}
		}
	}
	for _, want := range []string{
		"Sessions", "Accepted and refused", "Queue", "Latency", "Disk", "Certificate",
	} {
		if !strings.Contains(titles, want) {
			t.Errorf("no panel %q", want)
		}
	}
}
