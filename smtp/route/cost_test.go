package route

import (
	"strings"
	"testing"

	"pillarbox/mailstore/addr"
)

// Of routes with the same pattern, the one with the lowest cost is used, then the next. A route with
// a worse pattern is no second choice.
func TestCost(t *testing.T) {
	table := &Table{Default: Route{Name: "default"}, Routes: []Route{
		{Name: "dear", Domains: []string{"*.partner.example", "partner.example"}, Cost: 20},
		{Name: "cheap", Domains: []string{"partner.example"}, Cost: 10},
		{Name: "same", Domains: []string{"partner.example"}, Cost: 10},
		{Name: "all", Domains: []string{"*"}, Cost: 0},
		{Name: "all2", Domains: []string{"*"}, Cost: 1},
	}}
	for domain, want := range map[addr.Domain]string{
		"partner.example":   "cheap same dear",
		"a.partner.example": "dear",
		"other.example":     "all all2",
	} {
		var got []string
		for _, r := range table.All(domain) {
			got = append(got, r.Name)
		}
		if strings.Join(got, " ") != want || table.For(domain).Name != got[0] {
			t.Errorf("%s: %q, For %q", domain, got, table.For(domain).Name)
		}
	}
	if all := (&Table{Default: Route{Name: "default"}}).All("x.example"); len(all) != 1 || all[0].Name != "default" {
		t.Errorf("%v", all)
	}
}
