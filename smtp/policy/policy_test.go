package policy

import (
	"fmt"
	"net/netip"
	"testing"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
)

var (
	lan  = Rules{PlaintextNetworks: []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24")}}
	in   = netip.MustParseAddr("::ffff:192.168.1.7")
	out  = netip.MustParseAddr("198.51.100.7")
	anna = addr.Address{Local: "anna", Domain: "office.example"}
	them = addr.Address{Local: "x", Domain: "remote.example"}
)

func code(d Decision) string {
	if d.Reply == nil {
		return d.Verdict.String()
	}
	return fmt.Sprintf("%s %d", d.Verdict, d.Reply.Code)
}

func TestDecisions(t *testing.T) {
	tests := []struct {
		name  string
		facts Facts
		login string
		mail  string
		relay string
	}{
		{"outside, 25", Facts{Remote: out, Recipient: them}, "refuse 538", "accept", "refuse 550"},
		{"outside, 25, to us", Facts{Remote: out, Recipient: anna, Hosted: true}, "refuse 538", "accept", "accept"},
		{"outside, 25, TLS", Facts{Remote: out, TLS: true, Recipient: them}, "accept", "accept", "refuse 550"},
		{"LAN, 25", Facts{Remote: in, Recipient: them}, "accept", "accept", "refuse 550"},
		{"LAN, 25, logged in", Facts{Remote: in, User: anna, Recipient: them}, "accept", "accept", "accept"},
		{"LAN, 587", Facts{Service: smtp.Submission, Remote: in, Recipient: them}, "accept", "refuse 530", "refuse 550"},
		{"outside, 587", Facts{Service: smtp.Submission, Remote: out, Recipient: them}, "refuse 538", "refuse 530", "refuse 550"},
		{"outside, 465, logged in", Facts{Service: smtp.SMTPS, Remote: out, TLS: true, User: anna, Recipient: them}, "accept", "accept", "accept"},
		{"no address known", Facts{Recipient: them}, "refuse 538", "accept", "refuse 550"},
	}
	for _, tt := range tests {
		for what, d := range map[string][2]string{
			"log in": {code(lan.LogIn(tt.facts)), tt.login},
			"mail":   {code(lan.Mail(tt.facts)), tt.mail},
			"relay":  {code(lan.Relay(tt.facts)), tt.relay},
		} {
			if d[0] != d[1] {
				t.Errorf("%s, %s: %s, want %s", tt.name, what, d[0], d[1])
			}
		}
	}
}

// Every decision says why.
func TestSteps(t *testing.T) {
	d := lan.Relay(Facts{Remote: out, Recipient: them})
	want := []Step{{"local domains", "remote.example is not delivered here"}, {"authenticated users", "nobody is logged in"}}
	if fmt.Sprint(d.Steps) != fmt.Sprint(want) || d.Reply.Text != "Unable to relay for x@remote.example" {
		t.Errorf("%v, %v", d.Steps, d.Reply)
	}
}
