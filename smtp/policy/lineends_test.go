package policy

import (
	"net/netip"
	"testing"

	"pillarbox/mailstore/addr"
)

func TestRepairs(t *testing.T) {
	anna := User{Address: addr.Address{Local: "anna", Domain: "office.example"}}
	clients := []struct {
		name  string
		facts Facts
	}{
		{"stranger", Facts{Client: Client{Remote: netip.MustParseAddr("192.0.2.1")}}},
		{"user", Facts{Client: Client{Remote: netip.MustParseAddr("192.0.2.1"), User: anna}}},
		{"device", Facts{Client: Client{Remote: netip.MustParseAddr("192.0.2.1"), Device: &Device{}}}},
		{"listed", Facts{Client: Client{Remote: netip.MustParseAddr("10.1.0.1")}}},
		{"listed user", Facts{Client: Client{Remote: netip.MustParseAddr("10.1.0.1"), User: anna}}},
	}
	type repairs struct{ normalise, dotAtLF bool }
	for setting, want := range map[BareLineEndings][]repairs{
		RefuseBare:    {{}, {}, {}, {}, {}},
		KnownBare:     {{}, {true, false}, {true, true}, {true, true}, {true, true}},
		NormaliseBare: {{true, false}, {true, false}, {true, true}, {true, true}, {true, true}},
	} {
		rules := Rules{LineEnds: LineEnds{Bare: setting, Networks: hostList(t, "10.0.0.0/8")}}
		for i, client := range clients {
			if normalise, dot := rules.Repairs(&client.facts); want[i] != (repairs{normalise, dot}) {
				t.Errorf("%s, %s: %v and %v, want %v", setting, client.name, normalise, dot, want[i])
			}
		}
	}
}
