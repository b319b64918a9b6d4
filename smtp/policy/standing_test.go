package policy

import (
	"net/netip"
	"strings"
	"testing"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
)

func hostList(t *testing.T, words string) HostList {
	t.Helper()
	var lines []Line
	for word := range strings.SplitSeq(words, ",") {
		if word != "" {
			lines = append(lines, Line{Text: word})
		}
	}
	l, errs := ParseHosts(lines, nil)
	if errs != nil {
		t.Fatal(errs)
	}
	return l
}

// TestStanding: neither a hosted sender nor a trusted network vouches for a message; both together do.
func TestStanding(t *testing.T) {
	anna := addr.Address{Local: "anna", Domain: "office.example"}
	ours := Transaction{FromHosted: true}
	const login, office, stranger = smtp.StandingLogin, smtp.StandingLocal, smtp.StandingNone
	tests := []struct {
		name            string
		facts           Facts
		rules           string // "list = hosts", separated by semicolons
		standing        smtp.Standing
		asMTA, asSubmit bool // DSN is offered
	}{
		{"logged in", Facts{Client: Client{User: User{Address: anna}}}, "", login, true, true},
		{"logged in, any sender", Facts{Client: Client{User: User{Address: anna}}, Transaction: Transaction{FromHosted: false}}, "", login, true, true},
		{"nobody", Facts{}, "", stranger, false, true},
		{"a forged address of ours", Facts{Transaction: ours}, "", stranger, false, true},
		{"device", Facts{Client: Client{Device: &Device{}}, Transaction: ours}, "", office, true, true},
		{"device with a foreign sender", Facts{Client: Client{Device: &Device{}}}, "", stranger, true, true},
		{"device with a sender of its own", Facts{Client: Client{Device: &Device{As: anna}}}, "", office, true, true},
		{"web server that may send as us", Facts{Transaction: ours}, "trusted = 192.0.2.0/24", office, true, true},
		{"the same, a foreign sender", Facts{}, "trusted = 192.0.2.0/24", stranger, true, true},
		{"another host", Facts{Transaction: ours}, "trusted = 198.51.100.0/24", stranger, false, true},
		{"may relay", Facts{Transaction: ours}, "allow = 192.0.2.7; deny = *", office, true, true},
		{"may relay, and is denied", Facts{Transaction: ours}, "allow = 192.0.2.7; deny = 192.0.2.7", stranger, false, true},
		{"denied by a wider entry", Facts{Transaction: ours}, "allow = 192.0.2.7; deny = 192.0.2.0/24", office, true, true},
		{"denied by a wider entry that wins", Facts{Transaction: ours}, "allow = 192.0.2.7; deny = 192.0.2.0/24; wins", stranger, false, true},
		{"excluded from the checks", Facts{Transaction: ours}, "exclude = 192.0.2.7", office, true, true},
		{"everybody may relay", Facts{Transaction: ours}, "allow = *", stranger, false, true},
		{"all of IPv4 may relay", Facts{Transaction: ours}, "allow = 0.0.0.0/0", stranger, false, true},
		{"everybody may send as us", Facts{Transaction: ours}, "trusted = [*]", stranger, false, true},
		{"everybody is excluded", Facts{Transaction: ours}, "exclude = [*.*.*.*]", stranger, false, true},
		{"a host of ours by its name", Facts{Client: Client{InternalName: true, NameState: NameVerified}, Transaction: ours}, "external", office, true, true},
		{"its name leads elsewhere", Facts{Client: Client{InternalName: true, NameState: NameUnverified}, Transaction: ours}, "external", stranger, false, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var r Rules
			r.Relay.Enforcement.Value = EnforceAll
			for rule := range strings.SplitSeq(test.rules, ";") {
				name, hosts, _ := strings.Cut(strings.TrimSpace(rule), " = ")
				switch name {
				case "trusted":
					r.Senders.TrustedHosts = hostList(t, hosts)
				case "allow":
					r.Relay.AllowHosts = hostList(t, hosts)
				case "deny":
					r.Relay.DenyHosts = hostList(t, hosts)
				case "exclude":
					r.Relay.ExcludeHosts = hostList(t, hosts)
				case "wins":
					r.Relay.DenyWins.Value = true
				case "external":
					r.Relay.Enforcement.Value = EnforceExternal
				}
			}
			f := test.facts
			f.Remote = netip.MustParseAddr("192.0.2.7")
			if got := r.Standing(&f); got != test.standing {
				t.Errorf("standing %s, want %s", got, test.standing)
			}
			for service, want := range map[smtp.Service]bool{smtp.MTA: test.asMTA, smtp.Submission: test.asSubmit, smtp.SMTPS: test.asSubmit, smtp.Local: true} {
				f.Service = service
				if got := r.OffersDSN(&f); got != want {
					t.Errorf("%v: DSN offered %v, want %v", service, got, want)
				}
			}
		})
	}
}
